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


def test_a_cube_of_the_format_before_is_made_again(store):
    change_meta(store, format=1)
    with pytest.raises(CubeError, match="older geoforecast") as caught:
        open_cube(store)
    assert "--overwrite" in str(caught.value)
