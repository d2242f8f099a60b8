"""Courses of pixels through time: beside numpy and scipy, by hand, and a forecast that lags."""

import math

import numpy as np
import pytest
from scipy.stats import linregress, pearsonr

from geoforecast.raster.grid import Tile
from geoforecast.validate.metrics import temporal
from geoforecast.validate.metrics.pooled import evaluate, metric_names
from geoforecast.validate.metrics.temporal import TEMPORAL_SUMS, Courses, PooledTemporal


def found(forecast, observed, scored=None, persistence=None, shift=0.0, tile=None):
    """Metrics of (step, y, x) arrays."""
    scored = np.ones(observed.shape, bool) if scored is None else scored
    tile = tile or Tile(0, observed.shape[1], 0, observed.shape[2])
    courses = Courses(tile, observed.shape[1:], shift, len(observed))
    for step in range(len(observed)):
        last = None if persistence is None else persistence[step]
        courses.add(step, forecast[step], observed[step], scored[step], last)
    return courses.found()


def value(name, sums):
    pooled = PooledTemporal(1, dict(zip(TEMPORAL_SUMS, sums.tolist(), strict=True)))
    return evaluate(name, pooled)[0]


def fields(seed, steps=12, shape=(5, 6)):
    rng = np.random.default_rng(seed)
    observed = 290 + np.cumsum(rng.standard_normal((steps, *shape)), axis=0)
    forecast = observed + rng.standard_normal(observed.shape)
    return forecast, observed, rng.random(observed.shape) < 0.8


def test_the_numbers_are_those_of_each_pixel_by_itself():
    forecast, observed, scored = fields(1)
    last = np.roll(observed, 1, axis=0)
    sums = found(np.where(scored, forecast, np.nan), observed, scored, last, shift=288.0)
    swings, trends, peaks, echoes, squares, spread = [], [], [], [], 0.0, 0.0
    for row, col in np.ndindex(*observed.shape[1:]):
        ok = scored[:, row, col]
        if ok.sum() < temporal.LEAST_STEPS:
            continue
        t = np.flatnonzero(ok)
        f, o, p = (one[ok, row, col] for one in (forecast, observed, last))
        swings.append(pearsonr(f, o).statistic)
        b, c = linregress(t, o).slope, linregress(t, f).slope
        trends.append(1 - abs(b - c) / (abs(b) + abs(c)))
        peaks.append(abs(t[f.argmax()] - t[o.argmax()]))
        echoes.append(pearsonr(f, p).statistic - swings[-1])
        squares += ((f - o) ** 2).sum()
        spread += ((o - o.mean()) ** 2).sum()
    assert value("temporal_correlation", sums) == pytest.approx(np.mean(swings), rel=1e-9)
    assert value("trend_similarity", sums) == pytest.approx(np.mean(trends), rel=1e-9)
    assert value("peak_timing", sums) == pytest.approx(np.mean(peaks))
    assert value("echo", sums) == pytest.approx(np.mean(echoes), rel=1e-8)
    assert value("nse", sums) == pytest.approx(1 - squares / spread, rel=1e-9)


def test_a_perfect_forecast_and_one_that_lags():
    _, observed, _ = fields(2, steps=30)
    last = np.roll(observed, 1, axis=0)
    perfect = found(observed, observed, persistence=last)
    best = {"temporal_correlation": 1, "nse": 1, "trend_similarity": 1, "peak_timing": 0}
    for name, expected in best.items():
        assert value(name, perfect) == pytest.approx(expected, abs=1e-9)
    assert value("echo", perfect) < 0
    assert value("echo", found(last, observed, persistence=last)) > 0
    reverse = found(-observed, observed)
    assert value("temporal_correlation", reverse) == pytest.approx(-1)
    assert value("trend_similarity", reverse) == pytest.approx(0)


def test_what_does_not_vary_or_is_seldom_seen_is_left_out():
    forecast, observed, _ = fields(3)
    scored = np.zeros(observed.shape, bool)
    scored[:4] = True  # one step too few
    few = found(forecast, observed, scored)
    constant = found(np.full_like(observed, 0.1), np.full_like(observed, 290.1))
    for sums in (few, constant):
        for name in metric_names("temporal"):
            assert math.isnan(value(name, sums))
    assert math.isnan(value("echo", found(forecast, observed)))  # not known what was seen
    flat = found(np.full_like(observed, 0.1), observed)
    assert math.isnan(value("temporal_correlation", flat))
    assert math.isfinite(value("nse", flat))


def test_tiles_add_up_and_the_lattice_is_fixed_to_the_raster(monkeypatch):
    forecast, observed, scored = fields(4, shape=(17, 23))
    for most in (10**6, 100):
        monkeypatch.setattr(temporal, "MOST_PX", most)
        whole = found(forecast, observed, scored, observed, shift=290.0)
        total = 0
        for row in range(0, 17, 5):
            for col in range(0, 23, 7):
                tile = Tile(row, min(row + 5, 17), col, min(col + 7, 23))
                part = (slice(None), *tile.slices)
                courses = Courses(tile, (17, 23), 290.0, len(observed))
                for step in range(len(observed)):
                    values = [one[part][step] for one in (forecast, observed, scored, observed)]
                    courses.add(step, *values)
                total = total + courses.found()
        np.testing.assert_allclose(total, whole, rtol=1e-9)
    assert 0 < whole[TEMPORAL_SUMS.index("correlations")] <= 9 * 12


def test_a_forecast_that_is_late_is_so_many_steps_late():
    steps = np.arange(24)[:, None, None]
    places = np.linspace(0, 6, 20).reshape(1, 4, 5)
    observed = 280 + 5 * np.sin(2 * np.pi * steps / 24 + places)
    for late in (-3, 0, 2):
        forecast = 281 + 2 * np.sin(2 * np.pi * (steps - late) / 24 + places)
        assert value("temporal_phase", found(forecast, observed)) == pytest.approx(late, abs=1e-9)
    scored = np.random.default_rng(2).random(observed.shape) < 0.7
    gaps = value("temporal_phase", found(forecast, observed, scored, shift=280.0))
    assert gaps == pytest.approx(2, abs=0.2)


def test_the_phase_is_that_of_the_first_fourier_coefficients():
    forecast, observed, _ = fields(3)
    waves = [np.fft.fft(values, axis=0)[1] for values in (forecast, observed)]
    expected = -np.angle((waves[0] * waves[1].conj()).sum()) * 12 / (2 * np.pi)
    sums = found(forecast, observed, shift=285.0)
    assert value("temporal_phase", sums) == pytest.approx(expected, rel=1e-8)


def test_waves_without_anything_in_common_have_no_phase():
    steps = np.arange(24)[:, None, None] + np.zeros((1, 20, 20))
    slow, fast = (np.sin(2 * np.pi * times * steps / 24) for times in (1, 2))
    anywhere = np.random.default_rng(1).uniform(0, 2 * np.pi, (1, 20, 20))
    shifted = np.sin(2 * np.pi * steps / 24 + anywhere)
    for forecast in (fast, shifted):  # only rounding goes round once; each pixel another way
        pooled = dict(zip(TEMPORAL_SUMS, found(forecast, slow).tolist(), strict=True))
        assert evaluate("temporal_phase", PooledTemporal(1, pooled))[1] == (
            "forecast and observation share no slow rise and fall"
        )
