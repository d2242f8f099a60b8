"""Every option of stack from files to cube: bands, time, pixels, layers, inputs."""

from __future__ import annotations

import csv
import json
import types

import numpy as np
import pytest
import zarr
from affine import Affine

from geoforecast.errors import CubeError, SceneError, SettingsError
from geoforecast.project import Project
from geoforecast.raster import cube_writer, measures
from geoforecast.raster.cube import open_cube
from geoforecast.raster.layers import read_static
from geoforecast.settings import SplitSettings, StackSettings
from geoforecast.stack import planning, stack_scenes
from geoforecast.stack.derived.drivers import GROUP
from geoforecast.stack.pixels import fractions, units
from geoforecast.stack.pixels import making as making_module

UTM = Affine(10.0, 0.0, 500000.0, 0.0, -10.0, 5200000.0)


@pytest.fixture(autouse=True)
def no_report(monkeypatch):
    """The quality report takes longer than these small stacks."""
    told = types.SimpleNamespace(describe=lambda: "")
    monkeypatch.setattr("geoforecast.stack.verb.write_quality", lambda *_: told)


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path / "project")


def stack(project, folder, **options):
    extra = {k: options.pop(k) for k in ("jobs", "shard", "finalise") if k in options}
    inputs = folder if isinstance(folder, list) else [folder]
    return stack_scenes(project, inputs, StackSettings(**options), SplitSettings(), **extra)


def pixels(project, **how):
    cube = open_cube(project.cube_path)
    return cube, *cube.read(0, len(cube.times), **how)


def same_pixels(*projects):
    """The pixels of all, which must be alike to the bit."""
    first, *others = [pixels(project)[1:] for project in projects]
    for other in others:
        np.testing.assert_array_equal(first[0], other[0])
        np.testing.assert_array_equal(first[1], other[1])
    return first


def day(step, every=16):
    return str(np.datetime64("2020-01-01") + every * step).replace("-", "")


def noise(step, shape=(6, 7), bands=2, low=1, high=900):
    return np.random.default_rng(step).integers(low, high, (bands, *shape)).astype(np.uint16)


def coloured(write_tif, folder, steps=10, every=16, **options):
    """Scenes of red and near infrared, a thousandth a number, one red pixel missing."""
    for step in range(steps):
        data = noise(step)
        data[0, 2, 3] = 0
        write_tif(
            folder / f"a_{day(step, every)}.tif",
            data,
            **{"nodata": 0, "scale": 1e-3, "descriptions": ("red", "nir"), **options},
        )
    return folder


def plain_scenes(write_tif, folder, frames, every=16, **options):
    """A scene of one band for each of some frames."""
    for step, frame in enumerate(frames):
        write_tif(folder / f"a_{day(step, every)}.tif", np.asarray(frame), **options)
    return folder


def spoil(path):
    """Zeros in the compressed pixels of a file."""
    content = bytearray(path.read_bytes())
    place = content.index(b"\x78")  # where the first block's zlib stream begins
    content[place : place + 60] = bytes(60)
    path.write_bytes(bytes(content))


def ratio(step):
    red, nir = noise(step).astype(np.float32) * np.float32(1e-3)
    return (nir - red) / (nir + red)


def test_an_index_can_be_all_that_is_kept(project, write_tif, tmp_path):
    folder = coloured(write_tif, tmp_path / "in")
    stack(project, folder, index=("NDVI",), bands=("NDVI",))
    cube, values, valid = pixels(project)
    assert (cube.bands, cube.units) == (("NDVI",), ("1",))
    expected = np.ones((6, 7), bool)
    expected[2, 3] = False  # one of its inputs is missing
    assert (valid == expected).all()
    for step in range(10):
        np.testing.assert_allclose(
            values[step, 0][expected], ratio(step)[expected], rtol=2e-6, atol=2e-7
        )


def test_expressions_use_one_another_and_stand_beside_the_bands(project, write_tif, tmp_path):
    data = np.array([[[0, 4]], [[6, 8]]], np.float32)
    folder = plain_scenes(write_tif, tmp_path / "in", [data] * 8, descriptions=("red", "nir"))
    stack(project, folder, expression="twice = red * 2; ratio = nir / twice")
    cube, values, valid = pixels(project)
    assert cube.bands == ("red", "nir", "twice", "ratio")
    assert valid[0, :, 0, 0].tolist() == [True, True, True, False]  # 6 / 0 is no number
    assert values[0, :, 0, 1].tolist() == [4, 8, 8, 1]


def test_bands_are_derived_before_times_are_combined(project, write_tif, tmp_path):
    folder = coloured(write_tif, tmp_path / "in", steps=16, every=8, nodata=None)
    stack(
        project, folder, index=("NDVI",), bands=("NDVI",), cadence="16D", composite="max", nodata=0
    )
    _, values, _ = pixels(project)
    clear = np.ones((6, 7), bool)
    clear[2, 3] = False
    expected = np.maximum(ratio(0), ratio(1))
    np.testing.assert_allclose(values[0, 0][clear], expected[clear], rtol=2e-6, atol=2e-7)


def test_static_layers_and_drivers_lie_beside_the_series(project, write_tif, tmp_path):
    folder = coloured(write_tif, tmp_path / "in")
    # The plane falls by 1 in 10 m towards the east: 45 degrees of nothing but east.
    wide = Affine(10.0, 0.0, 499900.0, 0.0, -10.0, 5200100.0)
    plane = np.broadcast_to(100 - 10 * np.arange(40.0), (40, 40)).astype(np.float32)
    height = write_tif(tmp_path / "dem.tif", plane, transform=wide)
    for number in range(40):
        write_tif(tmp_path / "weather" / f"t_{day(number, 10)}.tif", np.full((6, 7), number, "f4"))
    options = {
        "static": (str(height),),
        "terrain": ("slope", "aspect"),
        "drivers": (str(tmp_path / "weather"),),
    }
    result = stack(project, folder, **options)
    names, values, valid = read_static(project.cube_path)
    assert names == ("dem", "slope", "aspect")
    assert valid.all()
    np.testing.assert_array_equal(values[0], plane[10:16, 10:17])
    np.testing.assert_allclose(values[1], 45.0, atol=0.05)
    np.testing.assert_allclose(values[2], 90.0, atol=0.05)
    drivers = open_cube(project.cube_path / GROUP)
    assert drivers.grid == open_cube(project.cube_path).grid
    assert drivers.times[-1] > result.times[-1]  # they are known ahead
    assert drivers.read(39, 40)[0].tolist() == np.full((1, 1, 6, 7), 39.0).tolist()
    assert any("Drivers: 40 steps" in text for text in result.messages)
    assert stack(project, folder, **options).up_to_date
    write_tif(height, plane + 1, transform=wide)
    with pytest.raises(CubeError, match="--static or --drivers: other files or other contents"):
        stack(project, folder, **options)
    write_tif(folder / f"a_{day(10)}.tif", noise(10), scale=1e-3, descriptions=("red", "nir"))
    with pytest.raises(CubeError, match="--static or --drivers: other files or other contents"):
        stack(project, folder, **options)  # a new date does not make an append of it


@pytest.mark.parametrize("method", ["linear", "harmonic", "whittaker"])
def test_filled_pixels_are_marked_and_nothing_is_fitted_on_them(tmp_path, write_tif, method):
    def scene(step):
        data = noise(step, bands=1).astype(np.float32)
        if step in (7, 8):
            data[0, :, 2] = np.nan
        if step == 23:
            data[0, :, 4] = np.nan
        return write_tif(tmp_path / "in" / f"a_{day(step)}.tif", data)

    for step in range(24):
        scene(step)
    plain, filled = Project(tmp_path / "plain"), Project(tmp_path / "filled")
    stack(plain, tmp_path / "in")
    stack(filled, tmp_path / "in", fill=method)
    values, valid = same_pixels(plain, filled)
    cube, all_values, all_valid = pixels(filled, filled=True)
    assert cube.filled
    assert cube.observed.tolist() == [True] * 24
    observed = np.asarray(zarr.open_group(cube.path, mode="r")["observed"][:])
    np.testing.assert_array_equal(observed & all_valid, valid)
    invented = all_valid & ~valid
    assert invented[7:9, 0, :, 2].all()
    assert invented.sum() == 12  # nothing after a pixel's last observation
    np.testing.assert_array_equal(all_values[valid], values[valid])
    assert np.isfinite(all_values[invented]).all()
    if method == "linear":
        thirds = (2 * values[6, 0, :, 2] + values[9, 0, :, 2]) / 3
        np.testing.assert_allclose(all_values[7, 0, :, 2], thirds, rtol=1e-6)
    other = open_cube(plain.cube_path)
    np.testing.assert_array_equal(cube.step_statistics(), other.step_statistics())
    for name in ("normaliser", "valid_pixels", "split"):
        assert cube.meta[name] == other.meta[name]
    # Once a later date is there the last gap lies between observations.
    scene(24)
    fresh = Project(tmp_path / "fresh")
    stack(filled, tmp_path / "in", fill=method)
    stack(fresh, tmp_path / "in", fill=method)
    _, later, seen = pixels(filled, filled=True)
    assert seen[23, 0, :, 4].all()
    np.testing.assert_array_equal(later, pixels(fresh, filled=True)[1])


def half_scenes(write_tif, folder, steps=10, shape=(8, 8)):
    """Scenes of which the fifth holds one row of eight only."""
    for step in range(steps):
        data = noise(step, shape, bands=1).astype(np.float32)
        if step == 4:
            data[:, 1:] = np.nan
        write_tif(folder / f"a_{day(step)}.tif", data)
    return folder


def test_scenes_with_few_valid_pixels_are_left_out_and_listed(
    project, write_tif, tmp_path, monkeypatch
):
    folder = half_scenes(write_tif, tmp_path / "in")
    result = stack(project, folder, min_valid=0.5)
    assert (result.steps, result.used, result.skipped) == (9, 9, 1)
    with project.scenes_path.open() as stream:
        rows = {row["path"][-12:]: row for row in csv.DictReader(stream)}
    assert rows["20200305.tif"]["status"] == "skipped"
    assert rows["20200305.tif"]["reason"] == "only 12 % of the grid is valid (--min-valid)"
    before = project.scenes_path.read_text()
    with monkeypatch.context() as patch:  # no pixel is looked at again
        patch.setattr(planning, "scene_fractions", lambda *_: 1 / 0)
        assert stack(project, folder, min_valid=0.5).up_to_date
    assert project.scenes_path.read_text() == before
    # What was found of each scene is kept for the next time.
    write_tif(folder / f"a_{day(10)}.tif", noise(10, (8, 8), bands=1).astype(np.float32))
    measured = []
    measure = fractions._fraction
    monkeypatch.setattr(
        fractions, "_fraction", lambda *args: measured.append(args[1]) or measure(*args)
    )
    assert stack(project, folder, min_valid=0.5).steps == 10
    assert measured == [10]
    fresh = Project(tmp_path / "fresh")
    stack(fresh, folder, min_valid=0.5)
    same_pixels(project, fresh)
    assert stack(fresh, folder, min_valid=0.125, overwrite=True).steps == 11  # least, not more


def test_tiles_of_one_time_count_as_one_scene(project, write_tif, tmp_path):
    mosaic(write_tif, tmp_path / "in", cut=20)
    assert stack(project, tmp_path / "in", min_valid=0.9).skipped == 0


@pytest.mark.parametrize(
    "options",
    [{"min_valid": 0.01}, {"cadence": "32D", "composite": "best"}],
    ids=["min-valid", "best"],
)
def test_undecodable_pixels_are_met_before_the_pixel_pass_too(
    project, write_tif, tmp_path, options
):
    frames = [noise(step, (64, 64), bands=1) for step in range(20)]
    folder = plain_scenes(write_tif, tmp_path / "in", frames, compress="deflate")
    spoil(folder / f"a_{day(5)}.tif")
    with pytest.raises(SceneError, match=r"a_20200321.tif has pixels that cannot be decoded"):
        stack(project, folder, **options)
    result = stack(project, folder, on_error="quarantine", **options)
    assert (result.used, result.quarantined) == (19, 1)
    assert "a_20200321.tif,quarantined" in project.scenes_path.read_text()
    assert stack(project, folder, on_error="quarantine", **options).up_to_date
    write_tif(folder / f"a_{day(20)}.tif", noise(20, (64, 64), bands=1))
    assert stack(project, folder, on_error="quarantine", **options).used == 20
    fresh = Project(tmp_path / "fresh")
    (folder / f"a_{day(5)}.tif").unlink()
    stack(fresh, folder, **options)
    same_pixels(project, fresh)


def test_a_mask_that_cannot_be_decoded_sets_all_its_scenes_aside(
    project, write_tif, tmp_path, monkeypatch
):
    for step in range(9):
        for band in ("B1", "B2", "B3"):
            write_tif(tmp_path / "in" / f"a_{day(step)}_{band}.tif", noise(step, (32, 32), 1))
        mask = (noise(step, (32, 32), 1) > 800).astype(np.uint8)
        write_tif(tmp_path / "in" / f"a_{day(step)}_CLM.tif", mask, compress="deflate")
    spoil(tmp_path / "in" / f"a_{day(3)}_CLM.tif")
    passes = []
    write = making_module.write_pixels
    monkeypatch.setattr(
        making_module, "write_pixels", lambda *args, **how: passes.append(1) or write(*args, **how)
    )
    result = stack(project, tmp_path / "in", on_error="quarantine")
    assert (result.steps, result.quarantined) == (8, 3)
    assert len(passes) == 2  # not one for each band


@pytest.fixture
def small_units(monkeypatch):
    """Units of one chunk of 32 pixels."""
    for module in (measures, cube_writer, making_module):
        monkeypatch.setattr(module, "CELL_PX", 32)
    monkeypatch.setattr(units, "UNIT_VALUES", 1)
    monkeypatch.setattr(cube_writer, "SHARD_VALUES", 1)


@pytest.mark.usefixtures("small_units")
def test_the_best_scene_is_so_everywhere(project, write_tif, tmp_path):
    """The second of two scenes has more pixels in all, though none in the first chunk."""
    for step in range(16):
        data = np.full((40, 70), step + 1, np.float32)
        if step % 2:
            data[:, :32] = np.nan
        else:
            data[:, 40:] = np.nan
            data[:, 10:12] = np.nan
        write_tif(tmp_path / "in" / f"a_{day(step, 8)}.tif", data)
    # 38 columns against 38: of equal ones the earlier; then one column less for the earlier.
    data = np.full((40, 70), 3, np.float32)
    data[:, 39:] = data[:, 10:12] = np.nan
    write_tif(tmp_path / "in" / f"a_{day(2, 8)}.tif", data)
    stack(project, tmp_path / "in", cadence="16D", composite="best", chunk=32)
    _, values, valid = pixels(project)
    first, second = values[0, 0, 0], values[1, 0, 0]
    assert [first[0], first[35], first[60]] == [1, 1, 2]
    assert [second[0], second[35], second[60]] == [3, 4, 4]
    assert not valid[:, 0, :, 10:12].any()


@pytest.mark.parametrize(
    ("res", "resampling", "expected"),
    [
        (30.0, "auto", "mean"),
        (30.0, "bilinear", "centre"),
        (30.0, "average", "mean"),
        (20.0, "auto", "mean"),  # the four around the centre: bilinear and average are one
        (10 / 3, "auto", "centre"),
    ],
)
def test_coarse_targets_are_averages(project, write_tif, tmp_path, res, resampling, expected):
    frames = [noise(step, (12, 18), 1).astype(np.float32) for step in range(8)]
    folder = plain_scenes(write_tif, tmp_path / "in", frames)
    stack(project, folder, res=(res,), resampling=resampling, bounds=(5e5, 5199880, 500180, 5.2e6))
    _, values, _ = pixels(project)
    step = round(res / 10)
    if expected == "mean":
        blocks = frames[0].reshape(12 // step, step, 18 // step, step).mean(axis=(1, 3))
        np.testing.assert_allclose(values[0, 0], blocks, rtol=1e-6)
    elif step:
        np.testing.assert_array_equal(values[0, 0], frames[0][0, 1::3, 1::3])
    else:
        np.testing.assert_allclose(values[0, 0, 1::3, 1::3], frames[0][0], rtol=1e-5)


@pytest.mark.parametrize(("res", "expected"), [(20.06, "bilinear"), (20.8, "average")])
def test_a_projection_does_not_part_scenes_of_half_the_size(write_tif, tmp_path, res, expected):
    """Twice as coarse but for what a projection does to it: as if it were exactly twice."""
    frames = [noise(step, (12, 18), 1).astype(np.float32) for step in range(8)]
    folder = plain_scenes(write_tif, tmp_path / "in", frames)
    found = {}
    for resampling in ("auto", "bilinear", "average"):
        project = Project(tmp_path / resampling)
        stack(project, folder, res=(res,), resampling=resampling)
        found[resampling] = pixels(project)[1]
    assert not np.array_equal(found["bilinear"], found["average"], equal_nan=True)
    np.testing.assert_array_equal(found["auto"], found[expected])


def test_chunks_are_as_asked_for(project, write_tif, tmp_path):
    folder = plain_scenes(write_tif, tmp_path / "in", [noise(s, (50, 70), 1) for s in range(8)])
    stack(project, folder, chunk=32)
    other = Project(tmp_path / "other")
    stack(other, folder)
    same_pixels(project, other)
    assert zarr.open_group(project.cube_path, mode="r")["values"].chunks == (4, 1, 32, 32)
    with pytest.raises(CubeError, match="--chunk: 32 then, 256 now"):
        stack(project, folder)
    with pytest.raises(SettingsError, match="--chunk 100 is no power of two"):
        stack(project, folder, chunk=100)


SENSOR = """
title = "Mine"
[recognise]
bands = ["one", "two"]
[defaults]
scale = 0.5
[[band]]
name = "one"
patterns = ["one"]
role = "{first}"
[[band]]
name = "two"
patterns = ["two"]
role = "{second}"
{more}
"""


def own_sensor(path, first="R", second="N", more="", scale="0.5"):
    text = SENSOR.format(first=first, second=second, more=more)
    path.write_text(text.replace("0.5", scale), encoding="utf-8")
    return str(path)


def test_a_sensor_file_of_ones_own(project, write_tif, tmp_path):
    frames = [noise(step) for step in range(8)]
    folder = plain_scenes(write_tif, tmp_path / "in", frames, descriptions=("one", "two"))
    path = own_sensor(tmp_path / "mine.toml")
    stack(project, folder, sensor=path, index=("NDVI",))
    cube, values, _ = pixels(project)
    assert cube.bands == ("one", "two", "NDVI")
    np.testing.assert_array_equal(values[:, :2], np.array(frames, np.float32) / 2)
    np.testing.assert_allclose(values[3, 2], ratio(3), rtol=2e-6, atol=2e-7)
    assert stack(project, folder, sensor=path, index=("NDVI",)).up_to_date
    own_sensor(tmp_path / "mine.toml", scale="0.25")
    with pytest.raises(CubeError, match="--sensor: "):
        stack(project, folder, sensor=path, index=("NDVI",))
    stack(project, folder, sensor=path, index=("NDVI",), overwrite=True)
    np.testing.assert_array_equal(pixels(project)[1][:, :2], np.array(frames, np.float32) / 4)


def test_units_of_another_index_are_not_taken_over(project, write_tif, tmp_path):
    """The same files, options and names, but red and infrared have changed places."""
    frames = [noise(step) for step in range(8)]
    folder = plain_scenes(write_tif, tmp_path / "in", frames, descriptions=("one", "two"))
    options = {"sensor": own_sensor(tmp_path / "mine.toml", "N", "R"), "index": ("NDVI",)}
    stack(project, folder, shard=(0, 1), **options)  # as a kill just before the end leaves it
    own_sensor(tmp_path / "mine.toml", "R", "N")
    stack(project, folder, **options)
    np.testing.assert_allclose(pixels(project)[1][3, 2], ratio(3), rtol=2e-6, atol=2e-7)


def test_a_band_that_is_converted_leaves_its_neighbour_alone(project, write_tif, tmp_path):
    frames = [noise(step) for step in range(8)]
    folder = plain_scenes(write_tif, tmp_path / "in", frames, descriptions=("one", "two"))
    path = own_sensor(tmp_path / "mine.toml", more='conversion = "power-to-db"')
    stack(project, folder, sensor=path)
    values = pixels(project)[1]
    half = np.array(frames, np.float64) / 2
    np.testing.assert_array_equal(values[:, 0], half[:, 0])
    np.testing.assert_allclose(values[:, 1], 10 * np.log10(half[:, 1]), rtol=1e-5)


def masked_scenes(write_tif, folder, codes):
    for step in range(8):
        write_tif(folder / f"a_{day(step)}_NDVI.tif", np.ones((1, len(codes)), np.float32))
        write_tif(folder / f"a_{day(step)}_QA.tif", np.array([codes], np.uint16))
    return folder


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"clear_values": (1, 8)}, [False, True, True, False, False, False]),
        ({"mask_bits": "3"}, [True, True, False, True, False, False]),
        ({"mask_bits": "8-9=2|3"}, [True, True, True, True, False, False]),
        ({"mask_values": (256,)}, [True, True, True, False, True, True]),
    ],
)
def test_the_users_own_rule_for_the_mask(project, write_tif, tmp_path, options, expected):
    codes = [0, 1, 8, 256, 512 + 8, 768 + 9]
    folder = masked_scenes(write_tif, tmp_path / "in", codes)
    stack(project, folder, mask="QA", **options)
    assert pixels(project)[2][3, 0, 0].tolist() == expected


def test_a_scale_for_each_file(project, write_tif, tmp_path):
    rng = np.random.default_rng(0)
    fields = [rng.uniform(0.1, 0.9, (30, 30)).astype(np.float32) for _ in range(12)]
    frames = [f * np.float32(1e4) if step == 5 else f for step, f in enumerate(fields)]
    folder = plain_scenes(write_tif, tmp_path / "in", frames)
    with pytest.raises(SceneError, match="1 of 12 files hold band_1 as numbers 10000 times larger"):
        stack(project, folder)
    stack(project, folder, per_file_scale=True)
    np.testing.assert_allclose(pixels(project)[1][:, 0], fields, rtol=1e-6)


def test_bands_that_are_times(project, write_tif, tmp_path):
    data = noise(0, bands=10)
    write_tif(tmp_path / "in" / "ndvi_one.tif", data, nodata=0, scale=0.5)
    stack(project, tmp_path / "in", bands_are_times="2001-01-31/1M")
    cube, values, _ = pixels(project)
    assert [str(time)[:10] for time in cube.times[[0, 1, 9]]] == [
        "2001-01-31", "2001-02-28", "2001-10-31",
    ]  # fmt: skip
    np.testing.assert_array_equal(values[:, 0], data.astype(np.float32) / 2)


def test_files_of_dated_bands_grow_by_another_place(project, write_tif, tmp_path):
    """A tile beside the first, of the same times: an append that equals a fresh stack."""
    data = noise(1, (6, 14), bands=9)
    options = {"bands_are_times": "2001-01-01/16D", "bounds": (5e5, 5199940, 500140, 5.2e6)}
    for number in range(2):  # two tiles tell that their names are those of tiles
        write_tif(tmp_path / "in" / f"NDVI_T33UV{'PQ'[number]}.tif", data[..., number : number + 4],
                  transform=UTM @ Affine.translation(number, 0))  # fmt: skip
    stack(project, tmp_path / "in", **options)
    write_tif(
        tmp_path / "in" / "NDVI_T33UVR.tif",
        data[..., 5:],
        transform=UTM @ Affine.translation(5, 0),
    )
    result = stack(project, tmp_path / "in", **options)
    assert not result.up_to_date
    fresh = Project(tmp_path / "fresh")
    stack(fresh, tmp_path / "in", **options)
    values, _ = same_pixels(project, fresh)
    np.testing.assert_array_equal(values[:, 0], data.astype(np.float32))


def stac_item(name, time, assets):
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "properties": {"datetime": time},
        "assets": {
            band: {"href": f"./in/{path.name}", "type": "image/tiff; application=geotiff"}
            for band, path in assets.items()
        },
    }


def test_folders_manifests_and_stac_items_make_one_cube(tmp_path, write_tif):
    rows, items = ["path,time,band"], []
    for step in range(8):
        stamp = str(np.datetime64("2020-01-01") + 16 * step)
        assets = {}
        for number, band in enumerate(("red", "nir")):
            name = f"a_{day(step)}_{band}.tif"
            assets[band] = write_tif(tmp_path / "in" / name, noise(step)[number])
            rows.append(f"in/{name},{stamp},{band}")
        items.append(stac_item(f"i{step}", f"{stamp}T00:00:00Z", assets))
    (tmp_path / "m.csv").write_text("\n".join(rows) + "\n")
    collection = {"type": "FeatureCollection", "features": items}
    (tmp_path / "items.json").write_text(json.dumps(collection))
    (tmp_path / "list.txt").write_text("\n".join(str(p) for p in (tmp_path / "in").iterdir()))
    projects = []
    for name in ("in", "m.csv", "items.json", "@list.txt", "in/*.tif"):
        projects.append(Project(tmp_path / f"p{len(projects)}"))
        at = f"@{tmp_path / 'list.txt'}" if name[0] == "@" else tmp_path / name
        stack(projects[-1], [at], bands=("red", "nir"))
        assert open_cube(projects[-1].cube_path).bands == ("red", "nir")
    values, _ = same_pixels(*projects)
    np.testing.assert_array_equal(values[5], noise(5).astype(np.float32))


def test_manifests_settle_which_file_is_first_in_name_order(project, write_tif, tmp_path):
    """Files of one grid are warped together; the order in which they merge is of the names."""
    shifted = UTM @ Affine.translation(0, 2)
    rows = ["path,time,band"]
    for step in range(8):
        for number, (band, transform) in enumerate(
            [("B1", UTM), ("B1", shifted), ("B2", shifted), ("B2", UTM)]
        ):
            name = f"{'abcd'[number]}_{day(step)}.tif"
            frame = np.full((8, 8), number + 1, np.float32)
            write_tif(tmp_path / "in" / name, frame, transform=transform)
            rows.append(f"in/{name},{np.datetime64('2020-01-01') + 16 * step},{band}")
    (tmp_path / "m.csv").write_text("\n".join(rows) + "\n")
    stack(project, tmp_path / "m.csv", merge="first")
    cube, values, _ = pixels(project)
    assert cube.bands == ("B1", "B2")
    assert values[0, :, 4, 4].tolist() == [1, 3]


def test_a_band_that_is_missing_once_leaves_nothing_of_other_steps(project, write_tif, tmp_path):
    for step in range(20):
        for number, band in enumerate(("B1", "B2")):
            if (step, band) != (17, "B2"):
                frame = noise(step)[number]
                write_tif(tmp_path / "in" / f"a_{day(step)}_{band}.tif", frame)
    stack(project, tmp_path / "in", jobs=1)
    _, values, valid = pixels(project)
    assert valid.all(axis=(2, 3))[17].tolist() == [True, False]
    assert np.isnan(values[17, 1]).all()
    assert valid.sum() == 39 * 42


def test_twins_without_a_value_leave_nothing_of_other_steps(project, write_tif, tmp_path):
    for step in range(20):
        for number in range(2 if step == 17 else 1):
            frame = noise(step, bands=1)
            frame[0, 3, 3] = 0 if step == 17 else 5
            write_tif(tmp_path / "in" / str(number) / f"a_{day(step)}.tif", frame, nodata=0)
    stack(project, tmp_path / "in", merge="first", jobs=1)
    _, values, valid = pixels(project)
    assert np.argwhere(~valid).tolist() == [[17, 0, 3, 3]]
    assert np.isnan(values[17, 0, 3, 3])


def mosaic(write_tif, folder, cut, steps=8, **options):
    """Scenes of 24 x 50 pixels in two tiles that meet at a column."""
    frames = [noise(step, (24, 50), 1) for step in range(steps)]
    for step, frame in enumerate(frames):
        for tile, cols in (("T33UVP", slice(0, cut)), ("T33UWP", slice(cut, 50))):
            write_tif(
                folder / f"S_{tile}_{day(step)}.tif",
                frame[..., cols],
                transform=UTM @ Affine.translation(cols.start, 0),
                **options,
            )
    return frames


def test_tiles_of_a_mosaic_meet_without_a_seam(project, write_tif, tmp_path):
    frames = mosaic(write_tif, tmp_path / "in", cut=20)
    result = stack(project, tmp_path / "in")
    assert (result.steps, result.used) == (8, 16)
    _, values, valid = pixels(project)
    assert valid.all()
    np.testing.assert_array_equal(values[:, 0], np.array(frames, np.float32)[:, 0])


def test_a_value_beyond_float32_is_no_value(project, write_tif, tmp_path):
    """A sentinel that no tag names, and a scale that makes it infinite."""
    frame = np.arange(64, dtype=np.float32).reshape(8, 8)
    frame[4, 4] = np.finfo(np.float32).min
    folder = plain_scenes(write_tif, tmp_path / "in", [frame] * 8)
    stack(project, folder, scale=10.0)
    assert (~pixels(project)[2][0]).sum() == 1
