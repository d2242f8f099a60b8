"""Outliers, duplicates and saturation are found; seasons and weather are not mistaken."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from geoforecast.raster.cube import Cube
from geoforecast.stack.quality.checks import (
    Outlier,
    _over_time,
    find_duplicates,
    find_outliers,
    saturated,
)
from geoforecast.stack.quality.survey import survey_cube

MakeCube = Callable[..., Cube]
DAYS = np.datetime64("2018-01-01") + np.arange(0, 1600, 16)


def outliers_of(cube: Cube) -> list[Outlier]:
    pixels = cube.shape[2] * cube.shape[3]
    return find_outliers(
        survey_cube(cube), cube.times, categorical=cube.kind == "categorical", pixels=pixels
    )


def seasonal(seed: int = 0) -> np.ndarray:
    """Four years of a vegetation index, 16-daily, half of the raster cloudy in turn."""
    rng = np.random.default_rng(seed)
    day = (DAYS - DAYS[0]).astype(int)[:, None, None]
    y, x = np.mgrid[:30, :40]
    season = np.clip(np.sin(2 * np.pi * (day - 100) / 365.25), -0.3, 1)
    values = 0.4 + 0.01 * x + 0.3 * season * (1 + 0.01 * y)
    values = values + 0.02 * rng.standard_normal(values.shape)
    values[::3, :, :25] = np.nan  # only the bright part is seen: no outlier
    return values[:, None].astype(np.float32)


def test_season_trend_and_clouds_are_no_outliers(make_cube: MakeCube) -> None:
    assert outliers_of(make_cube(seasonal(), times=DAYS)) == []
    trend = np.arange(20)[:, None, None, None] * 10 + np.random.default_rng(0).random((20, 1, 9, 9))
    assert outliers_of(make_cube(trend.astype(np.float32), name="trend")) == []


@pytest.mark.parametrize("step", [0, 1, 50, 99])
def test_a_shifted_level_is_found(step: int, make_cube: MakeCube) -> None:
    values = seasonal()
    values[step] += 0.6
    (found,) = outliers_of(make_cube(values, times=DAYS))
    assert (found.step, found.band) == (step, 0)
    assert "above its neighbours'" in found.text


def test_a_wrong_scale_is_found_in_its_band(make_cube: MakeCube) -> None:
    values = np.concatenate([seasonal(1), seasonal(2)], axis=1)
    values[30, 1] *= 10_000
    found = outliers_of(make_cube(values, times=DAYS))
    assert {(item.step, item.band) for item in found} == {(30, 1)}
    assert any("wider" in item.text for item in found)


def test_a_flat_scene_is_found(make_cube: MakeCube) -> None:
    values = seasonal()
    values[41] = np.nanmedian(values[41]) + 0.01 * (values[41] - np.nanmedian(values[41]))
    found = outliers_of(make_cube(values, times=DAYS))
    assert [item.step for item in found] == [41]
    assert "narrower" in found[0].text


def test_a_sharp_season_is_known_from_other_years(make_cube: MakeCube) -> None:
    values = seasonal()
    # A wet season that clouds let through once a year.
    from_peak = np.abs((DAYS - DAYS[0]).astype(int) % 365.25 - 100)
    burst = from_peak <= 8
    assert burst.sum() == 5
    values[burst] += 0.6
    values[(from_peak > 8) & (from_peak < 32)] = np.nan
    assert outliers_of(make_cube(values, times=DAYS)) == []
    short = outliers_of(make_cube(values[:40], times=DAYS[:40], name="short"))
    assert {item.step for item in short} == {*np.flatnonzero(burst[:40])}


def test_rain_is_no_outlier_but_its_unit_is(make_cube: MakeCube) -> None:
    rng = np.random.default_rng(4)
    wet = np.repeat(rng.random(12) < 0.5, 4)
    fields = rng.gamma(0.5, 2.0, (48, 1, 40, 40)) * (rng.random((48, 1, 40, 40)) < 0.3)
    values = (fields * np.where(wet, 1, 0.2)[:, None, None, None]).astype(np.float32)
    values[20:23] = 0  # dry
    assert outliers_of(make_cube(values)) == []
    values[33] *= 1000
    (found,) = outliers_of(make_cube(values, name="unit"))
    assert found.step == 33
    assert "larger" in found.text


def test_classes_that_change_at_once_are_found(make_cube: MakeCube) -> None:
    rng = np.random.default_rng(5)
    codes = rng.choice([1, 2, 3], p=[0.5, 0.3, 0.2], size=(12, 1, 40, 40)).astype(np.uint8)
    assert outliers_of(make_cube(codes)) == []
    codes[7] = np.where(codes[7] == 1, 3, codes[7])
    (found,) = outliers_of(make_cube(codes, name="swap"))
    assert found.step == 7
    assert 45 < int(found.text.partition(" %")[0]) < 55


def test_few_valid_pixels_and_few_steps_are_not_judged(make_cube: MakeCube) -> None:
    values = seasonal()
    values[60] += 3
    values[60, :, 1:] = np.nan  # 40 of 1200 pixels are left
    assert outliers_of(make_cube(values, times=DAYS)) == []
    values = seasonal()[:4]
    values[2] += 3
    assert outliers_of(make_cube(values, times=DAYS[:4], name="short")) == []


def test_duplicates_need_evidence(make_cube: MakeCube) -> None:
    rng = np.random.default_rng(6)
    values = rng.random((12, 2, 9, 9)).astype(np.float32)
    values[5] = values[2]
    values[7] = values[2]
    values[[3, 4]] = 0.0  # dry twice
    values[[8, 9]] = np.nan  # empty twice
    values[[10, 11]] = np.nan
    values[[10, 11], :, 0, :2] = (0.1, 0.2)  # four pixels alike
    assert find_duplicates(survey_cube(make_cube(values))) == [(2, 5, 7)]


def test_equal_overviews_alone_are_no_duplicates(make_cube: MakeCube) -> None:
    values = np.random.default_rng(7).random((2, 1, 300, 300)).astype(np.float32)
    values[1] = values[0]
    assert find_duplicates(survey_cube(make_cube(values))) == [(0, 1)]
    values[1, 0, 1, 1] += 0.5  # between the pixels of the overview
    survey = survey_cube(make_cube(values, name="b"))
    assert survey.digests[0] == survey.digests[1]
    assert find_duplicates(survey) == []


def test_saturation_is_the_share_at_the_greatest_value(make_cube: MakeCube) -> None:
    values = np.random.default_rng(8).random((6, 3, 20, 20)).astype(np.float32)
    values[:, 0, :5] = 1.0  # a quarter, always
    values[0, 1, 0, 0] = 2.0  # one greatest value, as any band has
    values[:, 2] = 4.0  # constant: said elsewhere
    survey = survey_cube(make_cube(values))
    assert saturated(survey, 0) == pytest.approx(0.25)
    assert saturated(survey, 1) == 0
    assert saturated(survey, 2) == 0


def test_the_median_over_time_of_the_greatest_values_is_finite():
    great = np.finfo(np.float32).max
    sample = np.array([[[great, 1]], [[great, 4]], [[np.nan, np.nan]]], np.float32)
    np.testing.assert_array_equal(_over_time(sample), np.array([[great, 2.5]], np.float32))
