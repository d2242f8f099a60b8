"""The verb stack from files to cube: pixels, times, errors, reruns, real series."""

from __future__ import annotations

import csv
import dataclasses
import json
import logging
import subprocess
import sys
import types

import numpy as np
import pytest
from affine import Affine

from geoforecast.errors import (
    CubeError,
    DateError,
    GridMismatchError,
    InputError,
    SceneError,
    SeriesTooShortError,
    SettingsError,
)
from geoforecast.project import Project, read_history
from geoforecast.raster import cube_writer, measures
from geoforecast.raster.cube import open_cube, update_meta
from geoforecast.settings import SplitSettings, StackSettings
from geoforecast.stack import stack_scenes
from geoforecast.stack.pixels import sources, units
from geoforecast.stack.pixels import unit_pixels as pass_module
from geoforecast.stack.pixels import warp as warp_module

START = np.datetime64("2020-01-01")


def day(step, every=16):
    return str(START + every * step).replace("-", "")


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path / "project")


def stack(project, folder, *, split=None, **options):
    extra = {k: options.pop(k) for k in ("jobs", "dry_run", "shard", "finalise") if k in options}
    return stack_scenes(
        project, [folder], StackSettings(**options), split or SplitSettings(), **extra
    )


def pixels(project):
    cube = open_cube(project.cube_path)
    return cube, *cube.read(0, len(cube.times))


def test_values_times_and_meta(project, tiny_folder):
    result = stack(project, tiny_folder)
    cube, values, valid = pixels(project)
    assert values.dtype == np.float32
    assert valid.all()
    assert (values[3, 0, 5] == 300 + np.arange(24)).all()
    assert str(cube.times[1]) == "2020-01-17T00:00:00"
    assert cube.grid.transform == Affine(10, 0, 500000, 0, -10, 5200000)
    assert cube.bands == ("ndvi",)
    meta = cube.meta
    assert meta["kind"] == "continuous"
    assert meta["cadence"] == {"step": "none", "median_seconds": 16 * 86400.0}
    # 12 steps: 3 test, 2 validation of 9 (ceil 20 %), 7 train.
    assert meta["split"]["validation_start"] == str(cube.times[7])
    assert meta["split"]["test_start"] == str(cube.times[9])
    # Steps 0..6 and columns 0..23: mean 300 + 11.5.
    assert meta["normaliser"]["statistics"][0]["mean"] == pytest.approx(311.5)
    assert (result.steps, result.used, result.valid_fraction) == (12, 12, 1.0)
    assert result.disk_bytes > 0
    assert "12 steps, 2020-01-01T00:00:00 to 2020-06-25T00:00:00" in result.describe()
    assert read_history(project)[0]["outcome"] == "done"


def test_test_steps_do_not_reach_the_normaliser(project, tiny_folder, write_tif, tmp_path):
    stack(project, tiny_folder)
    first = open_cube(project.cube_path).meta["normaliser"]
    for step in range(7, 12):  # validation and test
        write_tif(tiny_folder / f"ndvi_{day(step)}.tif", np.full((20, 24), 999, np.float32))
    other = Project(tmp_path / "other")
    stack(other, tiny_folder)
    assert open_cube(other.cube_path).meta["normaliser"] == first


def test_scale_offset_nodata_and_units(project, write_tif, tmp_path):
    raw = np.array([[0, 10, 255]], np.uint8)
    for step in range(8):
        write_tif(
            tmp_path / "in" / f"{day(step)}.tif", raw, nodata=0, scale=0.5, offset=-3.0, units="K"
        )
    stack(project, tmp_path / "in")
    cube, values, valid = pixels(project)
    assert cube.units == ("K",)
    assert valid[0, 0].tolist() == [[False, True, True]]  # nodata is compared before scaling
    np.testing.assert_array_equal(values[0, 0], [[np.nan, 2.0, 124.5]])
    stack(project, tmp_path / "in", overwrite=True, scale=2.0, offset=1.0, nodata=255.0)
    np.testing.assert_array_equal(pixels(project)[1][0, 0], [[1.0, 21.0, np.nan]])
    stack(project, tmp_path / "in", overwrite=True, nodata=float("nan"))
    np.testing.assert_array_equal(pixels(project)[1][0, 0], [[-3.0, 2.0, 124.5]])


def test_alpha_and_own_mask(project, write_tif, tmp_path):
    data = np.full((2, 2, 3), 7, np.uint8)
    data[1] = [[0, 255, 255], [255, 255, 255]]
    for step in range(8):
        write_tif(tmp_path / "in" / f"{day(step)}.tif", data, photometric="minisblack", alpha="yes")
    stack(project, tmp_path / "in")
    _, _, valid = pixels(project)
    assert valid[0].tolist() == [[[False, True, True], [True, True, True]]]


def write_masked(write_tif, folder, *, mask_px=1, steps=8):
    """Scenes of 8 x 8 pixels with one cloud in the mask at (2, 3) of its pixels."""
    for step in range(steps):
        write_tif(folder / f"S2_{day(step)}_NDVI.tif", np.full((8, 8), step, np.float32))
        mask = np.zeros((8 // mask_px, 8 // mask_px), np.uint8)
        mask[2, 3] = 1
        transform = Affine(10.0 * mask_px, 0, 500000, 0, -10.0 * mask_px, 5200000)
        write_tif(folder / f"S2_{day(step)}_CLM.tif", mask, transform=transform)
    return folder


@pytest.mark.parametrize("mask_px", [1, 2])
def test_clouds_are_masked_whatever_the_masks_pixels(project, write_tif, tmp_path, mask_px):
    result = stack(project, write_masked(write_tif, tmp_path / "in", mask_px=mask_px))
    _, values, valid = pixels(project)
    expected = np.ones((8, 8), bool)
    expected[2 * mask_px : 3 * mask_px, 3 * mask_px : 4 * mask_px] = False
    assert (valid == expected).all()
    assert np.isnan(values[0, 0][~expected]).all()
    assert result.masks == 8
    assert any("'CLM' as cloud" in text for text in result.messages)


def test_dilation_crosses_strips(project, write_tif, tmp_path):
    folder = write_masked(write_tif, tmp_path / "in")
    stack(project, folder, dilate=2, chunk=32)
    expected = np.ones((8, 8), bool)
    expected[0:5, 1:6] = False
    assert (pixels(project)[2] == expected).all()


def test_mask_values_and_none(project, write_tif, tmp_path):
    folder = write_masked(write_tif, tmp_path / "in")
    stack(project, folder, mask="none")
    assert pixels(project)[2].all()
    stack(project, folder, mask_values=(0,), overwrite=True)
    assert pixels(project)[2].sum() == 8  # only the cloud is usable now


def test_clouds_do_not_bleed_into_bilinear_neighbours(project, write_tif, tmp_path):
    for step in range(8):
        data = np.full((8, 8), 1, np.float32)
        data[2, 3] = 1000
        mask = np.zeros((8, 8), np.uint8)
        mask[2, 3] = 1
        write_tif(tmp_path / "in" / f"{day(step)}_NDVI.tif", data)
        write_tif(tmp_path / "in" / f"{day(step)}_CLM.tif", mask)
    stack(project, tmp_path / "in", res=(5.0,))
    _, values, valid = pixels(project)
    assert values.shape[2:] == (16, 16)
    assert (values[valid] == 1).all()
    assert (~valid[0]).sum() == 4


def write_zones(write_tif, folder, *, steps=10):
    """Scenes in two UTM zones, several on one day, with gaps and a mask."""
    rng = np.random.default_rng(0)
    zone_33 = Affine(10, 0, 343200, 0, -10, 5194300)
    zone_32 = Affine(10, 0, 800100, 0, -10, 5200000)
    for step in range(steps):
        for tile, crs, transform in (
            ("T33UVP", "EPSG:32633", zone_33),
            ("T32TQS", "EPSG:32632", zone_32),
        ):
            data = rng.integers(1, 1000, (2, 70, 60)).astype(np.uint16)
            data[:, rng.random((70, 60)) < 0.1] = 0
            write_tif(
                folder / f"S2_{tile}_{day(step, 5)}_refl.tif", data, nodata=0, scale=1e-3,
                descriptions=("red", "nir"), crs=crs, transform=transform, compress="deflate",
            )  # fmt: skip
            mask = (rng.random((35, 30)) < 0.1).astype(np.uint8)
            coarse = transform @ Affine.scale(2)
            write_tif(folder / f"S2_{tile}_{day(step, 5)}_CLM.tif", mask, crs=crs, transform=coarse)
    return folder


@pytest.mark.parametrize("cadence", ["none", pytest.param("10D", marks=pytest.mark.slow)])
def test_the_cube_is_the_same_to_the_bit_for_any_jobs_and_strips(
    tmp_path, write_tif, monkeypatch, cadence
):
    monkeypatch.setattr(measures, "CELL_PX", 32)  # several units of work
    monkeypatch.setattr(cube_writer, "CELL_PX", 32)
    monkeypatch.setattr(units, "UNIT_VALUES", 1)  # of one chunk each
    monkeypatch.setattr(cube_writer, "SHARD_VALUES", 1)
    folder = write_zones(write_tif, tmp_path / "in", steps=8 if cadence == "none" else 16)
    options = {"dilate": 1, "cadence": cadence}
    results = []
    runs = [{"jobs": j, "chunk": c} for c in (32, 64, 256) for j in (1, 2, 5)]
    for number, extra in enumerate(runs):
        project = Project(tmp_path / f"p{number}")
        stack(project, folder, **options, **extra)
        cube, values, valid = pixels(project)
        results.append((values.tobytes(), valid.tobytes(), json.dumps(cube.meta["normaliser"])))
    assert cube.grid.crs.to_epsg() in (32632, 32633)
    assert 0.2 < valid.mean() < 0.95
    assert all(result == results[0] for result in results)


@pytest.mark.slow
def test_a_coarse_target_does_not_hold_a_whole_source(project, tmp_path, write_tif, monkeypatch):
    folder = write_zones(write_tif, tmp_path / "in")
    stack(project, folder, res=(40.0,))
    _, values, _ = pixels(project)
    monkeypatch.setattr(pass_module, "HELD_PIXELS", 600)
    monkeypatch.setattr(warp_module, "WINDOW_PIXELS", 600)
    monkeypatch.setattr(sources, "KEPT_BYTES", 1)
    monkeypatch.setattr(sources, "MOST_OPEN", 1)
    other = Project(tmp_path / "other")
    stack(other, folder, res=(40.0,))
    np.testing.assert_array_equal(pixels(other)[1], values)


def test_merge_rules(project, write_tif, tmp_path):
    east = Affine(10, 0, 500020, 0, -10, 5200000)
    for step in range(8):
        a, b = np.full((2, 4), 1, np.float32), np.full((2, 4), 3, np.float32)
        write_tif(tmp_path / "in" / f"a_T33UVP_{day(step)}.tif", a)
        write_tif(tmp_path / "in" / f"a_T33UWP_{day(step)}.tif", b, transform=east)
    result = stack(project, tmp_path / "in")
    assert pixels(project)[1][0, 0, 0].tolist() == [1, 1, 1, 1, 3, 3]
    assert "Merged: several scenes of one band at 8 times." in result.messages
    stack(project, tmp_path / "in", merge="mean", overwrite=True)
    assert pixels(project)[1][0, 0, 0].tolist() == [1, 1, 2, 2, 3, 3]


def test_cadence_and_composites(project, write_tif, tmp_path):
    # Days 0 4 8 of value 1 2 6 fall into the first slot; slot 2 has no scene.
    days = [0, 4, 8, *range(32, 160, 16)]
    for number, offset in enumerate(days):
        value = {0: 1, 1: 2, 2: 6}.get(number, 9)
        write_tif(tmp_path / "in" / f"{day(offset, 1)}.tif", np.full((2, 2), value, np.float32))
    for rule, expected in (("median", 2), ("mean", 3), ("max", 6), ("first", 1), ("last", 6)):
        stack(project, tmp_path / "in", cadence="16D", composite=rule, overwrite=True)
        cube, values, valid = pixels(project)
        assert values[0, 0, 0, 0] == expected
        assert not valid[1].any()
        assert cube.observed.tolist() == [True, False] + [True] * 8
        assert (np.diff(cube.times) == np.timedelta64(16, "D")).all()
        assert cube.meta["cadence"]["step"] == "16D"


def test_categorical_keeps_codes(project, write_tif, tmp_path):
    for step in range(8):
        data = np.array([[1, 14, 255], [2, 2, 2]], np.uint8)
        write_tif(tmp_path / "in" / f"lc_{2001 + step}.tif", data, nodata=255, scale=0.5)
    stack(project, tmp_path / "in", kind="categorical")
    cube, values, valid = pixels(project)
    assert values.dtype == np.uint8
    assert values[0, 0].tolist() == [[1, 14, 0], [2, 2, 2]]
    assert (~valid[0]).sum() == 1
    assert cube.meta["normaliser"] is None
    assert cube.kind == "categorical"
    for options in ({"resampling": "bilinear"}, {"composite": "mean"}, {"merge": "mean"}):
        with pytest.raises(SettingsError, match="would make class codes that do not exist"):
            stack(project, tmp_path / "in", kind="categorical", **options)
    stack(project, tmp_path / "in", kind="categorical", res=(3.0,), overwrite=True)
    assert set(np.unique(pixels(project)[1])) == {0, 1, 2, 14}


def test_rotated_scenes_with_an_explicit_target(project, write_tif, tmp_path):
    turned = Affine(10, 0, 500000, 0, -10, 5200000) @ Affine.rotation(30)
    for step in range(8):
        write_tif(tmp_path / "in" / f"{day(step)}.tif", np.ones((20, 20)), transform=turned)
    with pytest.raises(GridMismatchError, match="rotated grid"):
        stack(project, tmp_path / "in")
    result = stack(project, tmp_path / "in", crs="EPSG:32633", res=(10.0,))
    # 200 m x 200 m of 100 m2 pixels, whatever the angle.
    assert pixels(project)[2][0].sum() == pytest.approx(400, rel=0.03)
    assert not result.grid.rotated


def test_dry_run_writes_nothing(project, tiny_folder):
    result = stack(project, tiny_folder, dry_run=True)
    assert result.dry_run
    assert result.bytes == 12 * 20 * 24 * 5
    assert result.grid.shape == (20, 24)
    assert "Dates: YYYYMMDD in the file name" in result.describe()
    assert not project.root.exists()


def test_running_again_does_nothing(project, tiny_folder, caplog):
    stack(project, tiny_folder)
    before = sorted((p, p.stat().st_mtime_ns) for p in project.cube_path.rglob("*"))
    for path in tiny_folder.iterdir():
        path.touch()  # times of files do not count, their content does
    with caplog.at_level(logging.INFO, "geoforecast"):
        result = stack(project, tiny_folder)
    assert result.up_to_date
    assert result.valid_fraction == 1
    assert "up to date" in caplog.text
    assert sorted((p, p.stat().st_mtime_ns) for p in project.cube_path.rglob("*")) == before


def test_other_settings_or_files_need_overwrite(project, tiny_folder, write_tif):
    stack(project, tiny_folder)
    with pytest.raises(CubeError, match="was made from other files or settings") as caught:
        stack(project, tiny_folder, scale=2.0)
    assert "--scale: none then, 2.0 now" in str(caught.value)
    assert "--overwrite" in str(caught.value)
    with pytest.raises(CubeError, match="--test: 0"):
        stack(project, tiny_folder, split=SplitSettings(test=4))
    write_tif(tiny_folder / f"ndvi_{day(12)}.tif", np.zeros((20, 24), np.float32))
    write_tif(tiny_folder / f"ndvi_{day(0)}.tif", np.zeros((20, 24), np.float32))
    with pytest.raises(CubeError, match="files: 1 new, 0 gone, 1 changed"):
        stack(project, tiny_folder)
    assert len(open_cube(project.cube_path).times) == 12
    stack(project, tiny_folder, overwrite=True)
    assert len(open_cube(project.cube_path).times) == 13


def test_incomplete_and_broken_cubes_are_made_again(project, tiny_folder):
    stack(project, tiny_folder)
    for damage in ("zarr.json", "spatial_ref/zarr.json"):
        (project.cube_path / damage).unlink()
        assert not stack(project, tiny_folder).up_to_date
        assert open_cube(project.cube_path).grid.shape == (20, 24)


def test_a_cube_with_an_unreadable_chunk_is_made_again(project, tiny_folder):
    stack(project, tiny_folder)
    (project.cube_path / "values/c/0/0/0/0").write_bytes(b"\xff" * 40)
    assert not stack(project, tiny_folder).up_to_date
    assert pixels(project)[2].all()


def test_overwrite_makes_an_equal_cube_again(project, tiny_folder):
    stack(project, tiny_folder)
    before = project.cube_path.stat().st_ino
    assert not stack(project, tiny_folder, overwrite=True).up_to_date
    assert project.cube_path.stat().st_ino != before


def test_a_file_in_the_cubes_place_stops_before_any_work(project, tiny_folder):
    project.root.mkdir()
    project.cube_path.write_text("mine")
    for options in ({}, {"overwrite": True}, {"dry_run": True}):
        with pytest.raises(CubeError, match=r"cube.zarr is a file, not a cube"):
            stack(project, tiny_folder, **options)
    assert project.cube_path.read_text() == "mine"
    assert read_history(project) == []


def test_only_one_tile_of_an_old_cube_is_read(project, tiny_folder, monkeypatch):
    from geoforecast.raster.cube import Cube
    from geoforecast.stack import identity

    stack(project, tiny_folder)
    monkeypatch.setattr(identity, "PROBE_PX", 8)
    seen, read = [], Cube.read
    monkeypatch.setattr(Cube, "read", lambda *args: seen.append(args[1:]) or read(*args))
    assert stack(project, tiny_folder).up_to_date
    assert [(start, stop, tile.shape) for start, stop, tile in seen] == [(0, 1, (8, 8))]


def test_scenes_csv_is_always_written(project, tiny_folder):
    stack(project, tiny_folder)
    before = project.scenes_path.read_text()
    project.scenes_path.write_text("path,sha256\n")
    assert stack(project, tiny_folder).up_to_date
    assert project.scenes_path.read_text() == before


MOON = (
    'GEOGCS["Moon 2000",DATUM["D_Moon_2000",SPHEROID["Moon_2000_IAU_IAG",1737400,0]],'
    'PRIMEM["Greenwich",0],UNIT["Decimal_Degree",0.0174532925199433]]'
)


@pytest.mark.parametrize(
    "options", [{}, {"res": (10.0,), "bounds": (5e5, 5.1998e6, 500240, 5.2e6)}]
)
def test_a_scene_of_another_planet(project, tiny_folder, write_tif, options):
    bad = write_tif(
        tiny_folder / f"ndvi_{day(20)}.tif",
        np.ones((4, 4), np.float32),
        crs=MOON,
        transform=Affine(1, 0, 10, 0, -1, 50),
    )
    with pytest.raises(SceneError, match=f"{bad.name} does not fit the other scenes"):
        stack(project, tiny_folder, **options)
    result = stack(project, tiny_folder, on_error="quarantine", **options)
    assert (result.steps, result.quarantined, result.used) == (12, 1, 12)
    assert "does not fit" in project.scenes_path.read_text()
    assert stack(project, tiny_folder, on_error="quarantine", **options).up_to_date


def test_one_band_and_one_time_are_said_in_the_singular(project, tiny_folder, write_tif):
    write_tif(tiny_folder / f"b/ndvi_{day(0)}.tif", np.full((20, 24), 9, np.float32))
    text = stack(project, tiny_folder).describe()
    assert "; 1 band: ndvi." in text
    assert "at one time." in text


def test_cube_from_a_newer_version(project, tiny_folder):
    stack(project, tiny_folder)
    update_meta(project.cube_path, format=99)
    with pytest.raises(CubeError, match="written by a newer geoforecast"):
        stack(project, tiny_folder)
    assert not stack(project, tiny_folder, overwrite=True).up_to_date


def test_a_failure_leaves_the_old_cube(project, tiny_folder, write_tif):
    stack(project, tiny_folder)
    old = pixels(project)[1]
    for step in range(12):
        write_tif(tiny_folder / f"ndvi_{day(step)}.tif", np.full((20, 24), np.nan, np.float32))
    with pytest.raises(InputError, match="All pixels of all 12 scenes are masked or nodata"):
        stack(project, tiny_folder, overwrite=True)
    np.testing.assert_array_equal(pixels(project)[1], old)
    assert not list(project.root.glob(".cube-*"))
    assert not project.stacking_dir.exists()


@pytest.mark.parametrize("jobs", [1, 2])
def test_undecodable_pixels(tmp_path, write_tif, jobs):
    project = Project(tmp_path / "project")
    rng = np.random.default_rng(0)
    for step in range(10):
        data = rng.integers(0, 255, (300, 40)).astype(np.uint8)
        write_tif(tmp_path / "in" / f"{day(step)}.tif", data, compress="deflate", blockysize=32)
    bad = tmp_path / "in" / f"{day(4)}.tif"
    content = bytearray(bad.read_bytes())
    content[-1500:-900] = b"\xff" * 600  # the last strips only, past the first unit of work
    bad.write_bytes(bytes(content))
    with pytest.raises(SceneError, match=r"20200305.tif has pixels that cannot be decoded"):
        stack(project, tmp_path / "in", jobs=jobs)
    assert not project.cube_path.exists()
    result = stack(project, tmp_path / "in", on_error="quarantine", jobs=jobs)
    assert (result.steps, result.quarantined, result.used) == (9, 1, 9)
    with project.scenes_path.open() as stream:
        rows = {row["path"][-12:]: row for row in csv.DictReader(stream)}
    assert rows["20200305.tif"]["status"] == "quarantined"
    assert "cannot be decoded" in rows["20200305.tif"]["reason"]
    again = stack(project, tmp_path / "in", on_error="quarantine", jobs=jobs)
    assert again.up_to_date
    assert (again.steps, again.quarantined) == (9, 1)
    with pytest.raises(SceneError, match=r"20200305.tif has pixels that cannot be decoded"):
        stack(project, tmp_path / "in", jobs=jobs)  # fatal as asked, up to date or not
    # The cube is as if the file had never been there.
    bad.unlink()
    other = Project(tmp_path / "other")
    stack(other, tmp_path / "in", jobs=jobs)
    np.testing.assert_array_equal(pixels(other)[1], pixels(project)[1])


def test_truncated_file_is_set_aside(project, tiny_folder):
    bad = tiny_folder / f"ndvi_{day(4)}.tif"
    bad.write_bytes(bad.read_bytes()[:900])
    with pytest.raises(SceneError, match="is truncated"):
        stack(project, tiny_folder)
    result = stack(project, tiny_folder, on_error="quarantine")
    assert (result.steps, result.quarantined) == (11, 1)


def test_all_invalid_steps_stay(project, tiny_folder, write_tif, caplog):
    write_tif(tiny_folder / f"ndvi_{day(4)}.tif", np.full((20, 24), np.nan, np.float32))
    with caplog.at_level(logging.WARNING, "geoforecast"):
        result = stack(project, tiny_folder)
    assert (result.steps, result.empty_steps) == (12, 1)
    assert "1 of 12 steps have no valid pixel" in caplog.text
    assert open_cube(project.cube_path).observed.all()


def test_one_date_only(project, write_tif, tmp_path):
    for name in ("a_20200101_B1.tif", "a_20200101_B2.tif"):
        write_tif(tmp_path / "in" / name, np.ones((2, 2)))
    with pytest.raises(DateError, match="All 2 scenes have one date, 2020-01-01T00:00:00"):
        stack(project, tmp_path / "in")


def test_dates_that_collide(project, write_tif, tmp_path):
    for step in range(8):
        for hour in (1, 2):
            write_tif(tmp_path / "in" / f"x{hour}" / f"a_{day(step)}.tif", np.ones((2, 2)))
    with pytest.raises(DateError, match="Dates that collide: at 8 of 8 times") as caught:
        stack(project, tmp_path / "in")
    assert "--merge first" in str(caught.value)
    assert stack(project, tmp_path / "in", merge="first").steps == 8


def test_too_few_steps_for_the_split(project, write_tif, tmp_path):
    for step in range(7):
        write_tif(tmp_path / "in" / f"a_{day(step)}.tif", np.ones((2, 2)))
    with pytest.raises(SeriesTooShortError, match="7 steps are too few"):
        stack(project, tmp_path / "in")


def test_gcp_only_scene(project, real_data, tiny_folder):
    source = real_data("_hostile") / "au-gcp.tif"
    (tiny_folder / f"ndvi_{day(20)}.tif").write_bytes(source.read_bytes())
    with pytest.raises(SceneError, match="by ground control points only"):
        stack(project, tiny_folder)


def test_a_cube_larger_than_the_disk(project, tiny_folder, monkeypatch):
    import shutil

    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(InputError, match="The cube would be too large: 12 steps x 1 bands x 20"):
        stack(project, tiny_folder)


def test_a_filled_cube_needs_room_for_both_stores(project, tiny_folder, monkeypatch):
    import shutil

    stack(project, tiny_folder)
    pixels = int(np.prod(open_cube(project.cube_path).shape))
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=11 * pixels - 1))
    stack(project, tiny_folder, overwrite=True)
    with pytest.raises(InputError, match="The cube would be too large"):
        stack(project, tiny_folder, overwrite=True, fill="linear")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=11 * pixels))
    stack(project, tiny_folder, overwrite=True, fill="linear")


def test_settings_that_contradict(project, tiny_folder):
    with pytest.raises(SettingsError, match="--mask none leaves nothing"):
        stack(project, tiny_folder, mask="none", dilate=1)
    with pytest.raises(SettingsError, match="--scale 0"):
        stack(project, tiny_folder, scale=0.0)
    with pytest.raises(SettingsError, match="--cadence often is no step"):
        stack(project, tiny_folder, cadence="often")


def test_every_setting_changes_the_fingerprint_but_those_that_cannot_matter(tmp_path, write_tif):
    write_tif(tmp_path / "ndvi.tif", np.ones((2, 2), np.float32))
    from geoforecast.stack.identity import content_of, digest_of

    plan = types.SimpleNamespace(files=())
    plain = digest_of(content_of(plan, StackSettings(), SplitSettings(), {}))
    resplit = SplitSettings(resplit=True)
    assert digest_of(content_of(plan, StackSettings(), resplit, {})) == plain
    assert digest_of(content_of(plan, StackSettings(), SplitSettings(test=4), {})) != plain
    for field in dataclasses.fields(StackSettings):
        value = {"bool": True, "int": 7, "str": "x"}.get(str(field.type).split("[")[0], (1,))
        if field.name in ("static", "drivers"):
            value = (str(tmp_path / "ndvi.tif"),)
        changed = dataclasses.replace(StackSettings(), **{field.name: value})
        same = digest_of(content_of(plan, changed, SplitSettings(), {})) == plain
        assert same == (field.name in ("overwrite", "on_error")), field.name


def test_progress_is_told(project, tiny_folder):
    seen = []
    stack_scenes(
        project,
        [tiny_folder],
        StackSettings(),
        SplitSettings(),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]  # 12 steps in chunks of 4


def test_importing_the_package_is_light():
    code = "import sys, geoforecast.stack; print('rasterio' in sys.modules, 'numba' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.split() == ["False", "False"]


@pytest.mark.parametrize(
    ("name", "options", "steps", "fraction"),
    [
        ("s2_ndvi_slovenia", {}, 68, 0.604),
        ("s2_earthnet_29SND", {}, 26, 0.915),
        ("ostia_sst_monthly", {}, 54, 0.736),
        ("modis_evi_matogrosso", {"bands": ("EVI",)}, 137, 1.0),
        ("modis_ndvi_sinop", {"scale": 1e-4}, 12, 1.0),
        ("lulc_itanhanga", {"kind": "categorical"}, 16, 0.629),
    ],
)
def test_real_series(project, real_data, name, options, steps, fraction):
    result = stack(project, real_data(name), **options)
    assert result.steps == steps
    assert result.valid_fraction == pytest.approx(fraction, abs=1e-3)


def test_real_landsat_scenes_have_their_acquisition_dates(project, real_data):
    result = stack(project, real_data("landsat8_ny_mixed"), nodata=0.0)
    assert str(result.times[0]) == "2018-01-06T00:00:00"
    assert str(result.times[-1]) == "2018-12-17T00:00:00"
    assert (result.steps, result.bands, result.masks) == (17, ("B4", "B5", "B8"), 19)
    assert any("'BQA' as landsat-c1" in text for text in result.messages)
