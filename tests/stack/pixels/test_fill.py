"""Filling gaps: each method against an independent solution, and what all of them promise."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from geoforecast.errors import SettingsError
from geoforecast.settings import StackSettings
from geoforecast.stack.pixels import fill as module
from geoforecast.stack.pixels.fill import METHODS, check_fill, fill
from geoforecast.stack.pixels.whittaker import PENALTIES, roughness, second_differences, smooth

DAY = np.timedelta64(86400, "s")


def steps(count, days=16.0, jitter=0.0, seed=0):
    gaps = days * (1 + jitter * np.random.default_rng(seed).uniform(-1, 1, count - 1))
    offsets = np.concatenate([[0.0], np.cumsum(gaps)]) * 86400
    return np.datetime64("2018-03-05T10:00:00") + np.rint(offsets).astype("timedelta64[s]")


def seconds_of(times):
    return times.astype("datetime64[s]").astype(np.int64)


def gappy(times, shape=(4, 5), share=0.4, noise=0.02, seed=1):
    """Seasonal values with noise, and which of them were observed."""
    rng = np.random.default_rng(seed)
    phase = 2 * np.pi * seconds_of(times) / module.YEAR_SECONDS
    clean = 0.5 + 0.3 * np.sin(phase) + 0.08 * np.cos(2 * phase)
    values = clean[:, None, None] + noise * rng.standard_normal((len(times), *shape))
    valid = rng.random(values.shape) > share
    return np.where(valid, values, np.nan).astype(np.float32), valid


def between(valid):
    """Gaps that lie between two observations of their pixel."""
    later = valid[::-1].cumsum(axis=0)[::-1] > 0
    return ~valid & (valid.cumsum(axis=0) > 0) & later


def test_linear_by_hand():
    times = np.datetime64("2020-01-01T00:00:00") + np.array([0, 1, 4, 5, 9]) * DAY
    values = np.array([np.nan, 2.0, np.nan, 6.0, np.nan], np.float32)[:, None, None]
    result, filled = fill(values, np.isfinite(values), times, "linear")
    # Three of four days from 2 to 6; nothing before the first and after the last.
    np.testing.assert_array_equal(result[:, 0, 0], [np.nan, 2, 5, 6, np.nan])
    assert filled[:, 0, 0].tolist() == [False, False, True, False, False]


def test_linear_equals_numpy():
    times = steps(60, jitter=0.6)
    values, valid = gappy(times)
    result, filled = fill(values, valid, times, "linear")
    axis = seconds_of(times).astype(float)
    for i, j in np.ndindex(values.shape[1:]):
        ok = valid[:, i, j]
        expected = np.interp(axis, axis[ok], values[ok, i, j])
        gap = filled[:, i, j]
        np.testing.assert_allclose(result[gap, i, j], expected[gap], rtol=1e-6)
    assert (filled == between(valid)).all()


def clipped(expected, observed):
    return np.clip(expected, observed.min(), observed.max())


@pytest.mark.parametrize(("days", "count", "waves"), [(16, 70, 2), (0.125, 300, 3)])
def test_harmonic_equals_ridge_regression(days, count, waves):
    times = steps(count, days, jitter=0.3)
    values, valid = gappy(times)
    result, filled = fill(values, valid, times, "harmonic")
    t = seconds_of(times).astype(float)
    periods = [365.2425 * 86400, 365.2425 * 43200, 86400.0][:waves]
    angles = [2 * np.pi * t / period for period in periods]
    terms = np.stack([f(a) for a in angles for f in (np.sin, np.cos)], axis=1)
    for i, j in np.ndindex(values.shape[1:]):
        ok, gap = valid[:, i, j], filled[:, i, j]
        observed = values[ok, i, j].astype(float)
        model = Ridge(alpha=1e-4 * ok.sum()).fit(terms[ok], observed)
        expected = clipped(model.predict(terms[gap]), observed)
        np.testing.assert_allclose(result[gap, i, j], expected, atol=2e-6)
    assert (filled == between(valid)).all()


def test_harmonic_is_least_squares_on_a_full_record():
    times = steps(92)  # four years
    values, valid = gappy(times, share=0.3, noise=0.05)
    result, filled = fill(values, valid, times, "harmonic")
    t = 2 * np.pi * seconds_of(times) / module.YEAR_SECONDS
    design = np.stack([np.ones_like(t), np.cos(t), np.sin(t), np.cos(2 * t), np.sin(2 * t)], 1)
    ok = valid[:, 0, 0]
    numbers, *_ = np.linalg.lstsq(design[ok], values[ok, 0, 0].astype(float), rcond=None)
    gap = filled[:, 0, 0]
    expected = clipped(design[gap] @ numbers, values[ok, 0, 0])
    np.testing.assert_allclose(result[gap, 0, 0], expected, atol=2e-4)


def test_harmonic_leaves_what_it_cannot_fit():
    times = steps(40)
    values, _ = gappy(times, share=0.0)
    valid = np.zeros(values.shape, bool)
    valid[::4, 0, 0] = True  # ten observations: enough for five numbers
    valid[:36:4, 0, 1] = True  # nine
    _, filled = fill(np.where(valid, values, np.nan), valid, times, "harmonic")
    assert filled[:, 0, 0].sum() == 36 - 9
    assert not filled[:, 0, 1:].any()


def test_whittaker_is_the_smooth_series_in_the_gaps():
    times = steps(50, jitter=0.7)
    values, valid = gappy(times, noise=0.1)
    result, filled = fill(values, valid, times, "whittaker")
    diagonals = roughness(second_differences(seconds_of(times)), len(times))
    fit = np.empty(len(times))
    for i, j in np.ndindex(values.shape[1:]):
        ok, gap = valid[:, i, j], filled[:, i, j]
        assert smooth(diagonals, PENALTIES, values[:, i, j].astype(float), ok, fit)
        expected = clipped(fit[gap], values[ok, i, j])
        np.testing.assert_allclose(result[gap, i, j], expected, rtol=1e-6)
    assert (filled == between(valid)).all()


def test_whittaker_leaves_pixels_of_fewer_than_five_observations():
    times = steps(20)
    values, _ = gappy(times, share=0.0)
    valid = np.zeros(values.shape, bool)
    valid[:10:2, 0, 0] = True
    valid[:8:2, 0, 1] = True
    _, filled = fill(np.where(valid, values, np.nan), valid, times, "whittaker")
    assert filled[:, 0, 0].sum() == 4
    assert not filled[:, 0, 1:].any()


def test_whittaker_bears_looks_within_a_second():
    base = steps(30)
    times = np.sort(np.concatenate([base, base[::5] + np.timedelta64(1, "s")]))
    values, valid = gappy(times, noise=0.01)
    result, filled = fill(values, valid, times, "whittaker")
    truth, _ = gappy(times, share=0.0, noise=0.0)
    assert filled.any()
    assert np.abs(result - truth)[filled].max() < 0.15


@pytest.mark.parametrize("method", METHODS)
def test_a_season_is_found_again(method):
    times = steps(70)
    values, valid = gappy(times, share=0.3, noise=0.005)
    truth, _ = gappy(times, share=0.0, noise=0.0)
    result, filled = fill(values, valid, times, method)
    error = np.sqrt(np.mean((result - truth)[filled] ** 2))
    assert error < {"linear": 0.04, "harmonic": 0.01, "whittaker": 0.01}[method]


@pytest.mark.parametrize("method", METHODS)
def test_what_every_method_promises(method):
    times = steps(40, jitter=0.5)
    values, valid = gappy(times, noise=0.1)
    full, _ = gappy(times, share=0.0)
    values[:, 1, 1], valid[:, 1, 1] = full[:, 1, 1], True
    valid[:, 0, 0] = False  # never seen
    valid[:, 0, 1] = [step == 7 for step in range(40)]  # seen once
    valid[10:30, 1, 1] = False  # a gap of most of a year
    for step in (0, 3):  # an infinite value is no observation
        values[step, 2, 2], valid[step, 2, 2] = np.inf, True
    values = np.where(valid, values, np.nan).astype(np.float32)
    before, mask = values.copy(), valid.copy()
    result, filled = fill(values, valid, times, method)
    assert (values.view(np.int32) == before.view(np.int32)).all()
    assert (valid == mask).all()
    observed = valid & np.isfinite(values)
    assert (result[observed].view(np.int32) == values[observed].view(np.int32)).all()
    assert not (filled & observed).any()
    assert (np.isfinite(result) == (observed | filled)).all()
    assert not filled[:, 0, :2].any()
    assert filled[10:30, 1, 1].all()
    assert filled[3, 2, 2]
    assert np.isnan(result[0, 2, 2])
    seen = np.where(observed, values, np.nan)[:, 1:]
    assert (np.where(filled, result, 0)[:, 1:] <= np.nanmax(seen, axis=0)).all()
    assert (np.where(filled, result, 9)[:, 1:] >= np.nanmin(seen, axis=0)).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_short_series_come_back_as_they_are(method, count):
    values = np.array([1, np.nan, 2], np.float32)[:count, None, None]
    result, filled = fill(values, np.isfinite(values), steps(count), method)
    expected = (
        values if (method, count) != ("linear", 3) else np.float32([1, 1.5, 2])[:, None, None]
    )
    np.testing.assert_array_equal(result, expected)
    assert filled.sum() == (method == "linear" and count == 3)


def test_none_fills_nothing():
    values, valid = gappy(steps(20))
    result, filled = fill(values, valid, steps(20), "none")
    np.testing.assert_array_equal(result, values)
    assert not filled.any()


@settings(max_examples=20, deadline=None)
@given(
    method=st.sampled_from(METHODS), rows=st.integers(1, 6), cols=st.integers(1, 40),
    seed=st.integers(0, 9),
)  # fmt: skip
def test_same_bits_for_any_block(method, rows, cols, seed):
    times = steps(30, jitter=0.4, seed=seed)
    values, valid = gappy(times, shape=(6, 40), noise=0.1, seed=seed)
    whole = fill(values, valid, times, method)
    for row in range(0, 6, rows):
        for col in range(0, 40, cols):
            part = (slice(None), slice(row, row + rows), slice(col, col + cols))
            for a, b in zip(fill(values[part], valid[part], times, method), whole, strict=True):
                np.testing.assert_array_equal(a, b[part])


@pytest.mark.parametrize("method", METHODS)
def test_class_codes_are_not_filled(method):
    base = StackSettings()
    with pytest.raises(SettingsError, match=f"--fill {method}.*class codes"):
        check_fill(dataclasses.replace(base, kind="categorical", fill=method))
    check_fill(dataclasses.replace(base, kind="categorical"))
    check_fill(dataclasses.replace(base, fill=method))


def test_methods_are_those_of_the_settings():
    choices = StackSettings.__dataclass_fields__["fill"].metadata["choices"]
    assert choices == ("none", *METHODS)
    with pytest.raises(SettingsError, match="splines"):
        fill(*gappy(steps(5)), steps(5), "splines")
