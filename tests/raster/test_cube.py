"""The cube: damage is told, not read; units of its axes."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
import zarr
from affine import Affine
from rasterio.crs import CRS

from geoforecast.errors import CubeError
from geoforecast.raster.cube import CubeWriter, open_cube
from geoforecast.raster.cube_writer import _unit
from geoforecast.raster.grid import Grid


@pytest.fixture
def store(make_project):
    """A cube of 12 steps of 4 x 5 pixels, one of them invalid."""
    values = np.ones((12, 1, 4, 5), np.float32)
    values[3, 0, 1, 2] = np.nan
    return make_project(values, normalise="none").cube_path


def test_a_whole_cube_is_read(store):
    values, valid = open_cube(store).read(0, 12)
    assert (~valid).sum() == 1
    assert np.isnan(values[3, 0, 1, 2])


def test_a_missing_chunk_is_damage(store):
    (store / "values/c/1/0/0/0").unlink()
    cube = open_cube(store)
    cube.read(0, 4)  # the first chunk is whole
    with pytest.raises(CubeError, match="is damaged: steps 4 to 7") as caught:
        cube.read(4, 8)
    assert "a chunk is missing" in str(caught.value)
    assert "stack FOLDER --overwrite" in str(caught.value)


def test_a_missing_chunk_of_validity_is_damage(store):
    (store / "valid/c/0/0/0/0").unlink()
    with pytest.raises(CubeError, match="is damaged: steps 0 to 7"):
        open_cube(store).read(0, 8)


@pytest.mark.parametrize("name", ["values", "valid"])
@pytest.mark.parametrize("content", [b"", b"\xff" * 40])
def test_a_chunk_that_cannot_be_decoded_is_damage(store, name, content):
    (store / name / "c/0/0/0/0").write_bytes(content)
    with pytest.raises(CubeError, match="is damaged: steps 0 to 0") as caught:
        open_cube(store).read(0, 1)
    assert "stack FOLDER --overwrite" in str(caught.value)


def change_meta(store, **changes):
    path = store / "zarr.json"
    content = json.loads(path.read_text())
    content["attributes"]["geoforecast"].update(changes)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "damage",
    [
        lambda store: (store / "zarr.json").write_text("null"),
        lambda store: (store / "zarr.json").write_text("{half"),
        lambda store: change_meta(store, format="1"),
        lambda store: change_meta(store, format=None),
        lambda store: change_meta(store, bands=7),
        lambda store: shutil.rmtree(store / "values"),
        lambda store: shutil.rmtree(store / "valid"),
        lambda store: shutil.rmtree(store / "spatial_ref"),
        lambda store: (store / "values/zarr.json").write_bytes((store / "zarr.json").read_bytes()),
        lambda store: (store / "time/c/0").unlink(),  # all times become 1970
        lambda store: (store / "time/c/0").write_bytes(b"\xff" * 40),
        lambda store: shutil.rmtree(store) or store.write_text("a file"),
    ],
)
def test_what_is_not_a_complete_cube_says_so(store, damage):
    damage(store)
    with pytest.raises(CubeError, match="is not a complete cube") as caught:
        open_cube(store)
    assert "stack FOLDER --overwrite" in str(caught.value)


@pytest.mark.parametrize(
    ("epsg", "unit"),
    [(32633, "m"), (2263, "US_survey_foot"), (27493, "m"), (4326, "degrees_east")],
)
def test_the_axes_have_the_unit_of_the_crs(make_project, tmp_path, epsg, unit):
    template = open_cube(make_project(np.ones((12, 1, 4, 5), np.float32)).cube_path)
    CubeWriter(
        tmp_path / "other.zarr",
        times=template.times,
        bands=["a"],
        grid=dataclasses.replace(template.grid, wkt=CRS.from_epsg(epsg).to_wkt()),
        dtype="float32",
        observed=template.observed,
    )
    assert zarr.open_group(tmp_path / "other.zarr")["x"].attrs["units"] == unit


def test_axes_of_a_crs_without_units_are_metres():
    plant = 'ENGCRS["plant",EDATUM["here"],CS[ordinal,2],AXIS["i",east],AXIS["j",north]]'
    for wkt in (plant, "no CRS at all"):
        assert _unit(Grid(wkt, Affine.identity(), (1, 1))) == "m"


def test_measures_are_those_of_the_pixels(make_project):
    values = np.random.default_rng(3).normal(280, 9, (11, 2, 300, 270)).astype(np.float32)
    values[:, :, 40:90, 200:] = np.nan
    values[4] = np.nan
    cube = open_cube(make_project(values).cube_path)
    statistics = cube.step_statistics()
    assert statistics.shape == (11, 2, 5)
    assert (statistics[4, :, 0] == 0).all()
    assert np.isnan(statistics[4, :, 1:]).all()
    for step, band in ((0, 0), (10, 1)):
        x = values[step, band].astype(np.float64)
        x = x[np.isfinite(x)]
        expected = [x.size, x.mean(), ((x - x.mean()) ** 2).sum(), x.min(), x.max()]
        assert statistics[step, band] == pytest.approx(expected, rel=1e-12)
    overview = cube.overview()
    assert overview.stride == 2
    np.testing.assert_array_equal(overview.read(3, 11), values[3:11, :, ::2, ::2])


def sided_cube(path, dtype="float32"):
    """One step block, 3 x 3 chunks in shards of 1 x 2 and 1 x 1: clear, empty and mixed ones."""
    valid = np.ones((4, 2, 600, 700), bool)
    valid[:, :, :256] = False  # a row of shards without any value
    valid[:, :, 256:512, 256:512] = False  # one chunk of a shard
    valid[0, 0, 520, 3] = False  # one pixel of a chunk
    valid[2:, :, 512:, 600:] = False  # some steps of a chunk that reaches beyond the grid
    values = np.random.default_rng(1).normal(5, 1, valid.shape).astype(dtype)
    values[~valid] = np.nan if dtype == "float32" else 0
    writer = CubeWriter(
        path,
        times=np.arange(4).astype("datetime64[D]"),
        bands=("a", "b"),
        grid=Grid(CRS.from_epsg(32633).to_wkt(), Affine.scale(10, -10), (600, 700)),
        dtype=dtype,
        observed=np.ones(4, bool),
    )
    for row in range(0, 600, writer.block[2]):
        for col in range(0, 700, writer.block[3]):
            here = (..., slice(row, row + writer.block[2]), slice(col, col + writer.block[3]))
            writer.write(0, row, values[here], valid[here], col=col)
    meta = {"kind": "continuous", "units": ["", ""], "split": None, "quarantined": {}}
    writer.finish(meta)
    return values, valid


def chunk_files(path):
    return sorted(p for name in ("values", "valid") for p in path.glob(f"cube/{name}/c/0/0/*/*"))


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_chunks_without_values_are_left_out_and_read_as_they_were(tmp_path, monkeypatch, dtype):
    monkeypatch.setattr("geoforecast.raster.cube_writer.SHARD_VALUES", 2**20)
    values, valid = sided_cube(tmp_path / "cube", dtype)
    found = open_cube(tmp_path / "cube").read(0, 4)
    np.testing.assert_array_equal(found[0], values)
    np.testing.assert_array_equal(found[1], valid)
    # Zarr reads the same by itself.
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "cube/values", mode="r")[:], values)
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "cube/valid", mode="r")[:], valid)
    sizes = {str(p.relative_to(tmp_path)): p.stat().st_size for p in chunk_files(tmp_path)}
    assert len(sizes) == 12  # no file is left out
    empty = 2 * 16 + 4  # two places that say "absent", and their checksum
    nothing = [name for name, size in sizes.items() if size == empty]
    assert sorted(nothing) == ["cube/valid/c/0/0/1/1"] + [f"cube/values/c/0/0/0/{x}" for x in "01"]


def test_a_lost_file_shows_although_chunks_are_left_out(tmp_path, monkeypatch):
    """Unless it held nothing: then what is read is what was written."""
    monkeypatch.setattr("geoforecast.raster.cube_writer.SHARD_VALUES", 2**20)
    values, valid = sided_cube(tmp_path / "cube")
    noticed = 0
    for path in chunk_files(tmp_path):
        content = path.read_bytes()
        path.unlink()
        try:
            found = open_cube(tmp_path / "cube").read(0, 4)
        except CubeError:
            noticed += 1
        else:
            np.testing.assert_array_equal(found[0], values)
            np.testing.assert_array_equal(found[1], valid)
        path.write_bytes(content)
    assert noticed == 9  # all but the three that hold no chunk


def test_a_cube_of_the_format_before_is_made_again(store):
    change_meta(store, format=1)
    with pytest.raises(CubeError, match="older geoforecast") as caught:
        open_cube(store)
    assert "--overwrite" in str(caught.value)
