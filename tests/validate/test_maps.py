"""Difference, bias and skill maps: right pixels, right place, right step."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from geoforecast.raster.grid import Tile
from geoforecast.settings import ValidateSettings
from geoforecast.validate import maps
from geoforecast.validate.maps import (
    DIFFERENCE,
    DifferenceWriter,
    MapKey,
    Preview,
    bias_and_skill,
    file_slugs,
    write_differences,
)
from geoforecast.validate.result import ValidateResult
from geoforecast.validate.scoring.accumulate import TileScores, score_raster
from geoforecast.validate.scoring.shown import expected_steps, shown_steps
from geoforecast.validate.writing import write_validation


def test_bias_and_skill_of_two_by_two() -> None:
    scored = np.array([[2, 2], [1, 0]], np.int32)
    error = np.array([[3.0, -2.0], [0.0, 0.0]])
    squared = np.array([[9.0, 2.0], [0.0, 0.0]])
    reference = np.array([[36.0, 0.5], [0.0, 0.0]])
    bias, skill = bias_and_skill(scored, error, squared, reference)
    # 3 / 2, -2 / 2, 0 / 1, nothing scored
    np.testing.assert_array_equal(bias, [[1.5, -1.0], [0.0, np.nan]])
    # 1 - sqrt(9 / 36), 1 - sqrt(2 / 0.5), a reference without error, nothing scored
    np.testing.assert_array_equal(skill, [[0.5, -1.0], [np.nan, np.nan]])


def read(result: ValidateResult, name: str) -> tuple[np.ndarray, Any, dict[str, str]]:
    with rasterio.open(result.folder / "maps" / name) as dataset:
        return dataset.read(1), dataset.profile, dataset.tags()


def test_difference_is_georeferenced_and_right(engine: Any, result: ValidateResult) -> None:
    pixels, profile, tags = read(result, "LST_lead2_difference.tif")
    assert profile["crs"].to_wkt() == engine.cube.grid.wkt
    assert profile["transform"] == engine.cube.grid.transform
    assert np.isnan(profile["nodata"])
    assert tags["VALID_TIME"] == "2024-07-27T00:00:00Z"  # the last step, 13 x 16 days on
    hindcast = next(
        h for h in engine.hindcasts(engine.cube.grid.whole, range(13, 14)) if h.lead == 2
    )
    expected = hindcast.forecasts["forecast"][1] - hindcast.observed[1]
    np.testing.assert_array_equal(pixels, np.where(hindcast.valid[1], expected, np.nan))


def test_bias_and_skill_maps_hold_all_test_steps(engine: Any, result: ValidateResult) -> None:
    bias, _, _ = read(result, "NDVI_lead1_bias.tif")
    skill, _, tags = read(result, "NDVI_lead1_rmse_skill.tif")
    whole = engine.hindcasts(engine.cube.grid.whole, engine.split.test_steps)
    errors = [
        np.where(h.valid[0], h.forecasts["forecast"][0] - h.observed[0], np.nan)
        for h in whole
        if h.lead == 1
    ]
    count = np.isfinite(errors).sum(axis=0)
    mean = np.nansum(errors, axis=0) / np.where(count, count, np.nan)
    np.testing.assert_allclose(bias, mean, rtol=1e-4, atol=1e-7)
    # At lead 1 the engine errs by half of what persistence does, everywhere.
    np.testing.assert_allclose(skill[np.isfinite(skill)], 0.5, atol=1e-4)
    assert tags["REFERENCE"] == "persistence"
    assert tags["FIRST_VALID_TIME"] == "2024-06-09T00:00:00Z"


def test_maps_do_not_depend_on_tiles_or_junk(engine: Any, tmp_path: Path) -> None:
    steps = expected_steps(engine)
    shown = write_differences(tmp_path / "whole", engine, engine.methods, steps, 512)
    junk = dataclasses.replace(engine, junk=1e9)
    tiled = write_differences(tmp_path / "tiled", junk, engine.methods, steps, 7)
    for key, values in shown.maps.items():
        np.testing.assert_array_equal(tiled.maps[key], values)
    assert np.nanmax(np.abs(shown.maps[MapKey(0, 0, DIFFERENCE)])) < 1
    assert np.nanmax(tiled.pairs[1][0]) < 400


@pytest.mark.parametrize("tile_px", [7, 512])
def test_the_pass_keeps_what_hindcasting_again_would_show(
    engine: Any, tmp_path: Path, tile_px: int
) -> None:
    steps = expected_steps(engine)
    junk = dataclasses.replace(engine, junk=1e9)
    again = write_differences(tmp_path / "again", junk, engine.methods, steps, tile_px)
    with DifferenceWriter(tmp_path / "kept", junk, steps) as writer:

        def take(tile: Tile, found: TileScores) -> None:
            for at, kept in found.views.kept.items():
                writer.put(at, kept, tile)

        scores = score_raster(junk, junk.methods, tile_px, take)
    assert shown_steps(scores) == steps
    shown = writer.shown
    for key, values in again.maps.items():
        np.testing.assert_array_equal(shown.maps[key], values)
    for band, pair in again.pairs.items():
        for values, other in zip(pair, shown.pairs[band], strict=True):
            np.testing.assert_array_equal(values, other)
    names = sorted(path.name for path in (tmp_path / "again").iterdir())
    assert len(names) == 6
    for name in names:
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "kept" / name).read_bytes()


def test_a_step_that_no_method_covers_is_not_shown(
    engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the pass expected another step, the one that was scored is hindcast once more."""
    hindcasts = type(engine).hindcasts

    def hindcast(self: Any, tile: Tile, steps: range, *args: Any, **kwargs: Any) -> Any:
        for one in hindcasts(self, tile, steps, *args, **kwargs):
            if one.step == 13:  # the last one
                one.forecasts["persistence"] = np.full_like(one.observed, np.nan)
            yield one

    assert set(expected_steps(engine).values()) == {13}
    monkeypatch.setattr(type(engine), "hindcasts", hindcast)
    result = write_validation(tmp_path / "run", engine, ValidateSettings(tile=16))
    pixels, _, tags = read(result, "NDVI_lead1_difference.tif")
    assert tags["VALID_TIME"] == "2024-07-11T00:00:00Z"
    hindcast_12 = next(engine.hindcasts(engine.cube.grid.whole, range(12, 13)))
    expected = hindcast_12.forecasts["forecast"][0] - hindcast_12.observed[0]
    np.testing.assert_array_equal(pixels, np.where(hindcast_12.valid[0], expected, np.nan))


def test_the_step_shown_is_the_last_well_covered_one(engine: Any) -> None:
    scores = score_raster(engine, engine.methods, 512, lambda *_: None)
    sums = scores.sums.copy()
    sums[..., 0] = 0
    sums[:, 0, :, 0, 0] = np.array([300, 200, 100, 0])[:, None]  # of 713: a quarter is 178.25
    sums[:, 1, :, 0, 0] = np.array([10, 20, 5, 0])[:, None]
    chosen = shown_steps(dataclasses.replace(scores, sums=sums))
    # lead 1: the second test step (11); lead 2: none is a quarter, the best is 11; lead 3 and
    # the other band: nothing.
    assert chosen == {(0, 0): 11, (0, 1): 11}


def test_the_step_that_is_expected_is_known_from_the_cube(engine: Any) -> None:
    _, valid = engine.cube.read(10, 14)
    counts = valid.sum(axis=(2, 3))
    assert (counts[-1] >= 0.25 * 713).all()  # half of the last one is under clouds
    assert expected_steps(engine) == {(band, lead): 13 for band in (0, 1) for lead in range(3)}
    early = dataclasses.replace(engine, split=dataclasses.replace(engine.split, steps=12))
    assert set(expected_steps(early).values()) == {11}


@pytest.mark.parametrize("tile_px", [3, 8, 64])
def test_preview_keeps_every_nth_pixel(monkeypatch: pytest.MonkeyPatch, tile_px: int) -> None:
    monkeypatch.setattr(maps, "PREVIEW_PX", 10)
    values = np.arange(23 * 31, dtype=np.float32).reshape(23, 31)
    preview = Preview(values.shape)
    for row in range(0, 23, tile_px):
        for col in range(0, 31, tile_px):
            tile = Tile(row, min(row + tile_px, 23), col, min(col + tile_px, 31))
            preview.put(values[tile.slices], tile)
    np.testing.assert_array_equal(preview.values, values[::4, ::4])  # 31 / 10, rounded up


def test_band_names_make_distinct_file_names() -> None:
    assert file_slugs(["NDVI", "a/b c", "../x", "ndvi", "é"]) == [
        "NDVI",
        "a-b-c",
        "x",
        "ndvi-4",
        "band5",
    ]
