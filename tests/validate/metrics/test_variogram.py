"""Semivariograms against every pair counted one by one, and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from geoforecast.validate.metrics.listing import find_metric
from geoforecast.validate.metrics.pooled import UndefinedMetricError
from geoforecast.validate.metrics.variogram import (
    LAGS_PX,
    Variogram,
    pair_counts,
    square_sums,
    variogram_values,
)


def sums(f: np.ndarray, o: np.ndarray, scored: np.ndarray, side: int) -> np.ndarray:
    """(LAGS_PX, VARIOGRAM_SUMS)."""
    error = f.astype(float) - o
    squares = [square_sums(field, scored, side) for field in (o, f, error)]
    return np.stack([pair_counts(scored, side), *squares], axis=1)


def brute(f: np.ndarray, o: np.ndarray, scored: np.ndarray, side: int) -> np.ndarray:
    """Every pair of pixels, and which of them count."""
    found = np.zeros((len(LAGS_PX), 4))
    places = list(np.argwhere(scored))
    for r0, c0 in places:
        for r1, c1 in places:
            distance = abs(r0 - r1) + abs(c0 - c1)
            beside = (r0 == r1 or c0 == c1) and (r0, c0) < (r1, c1)
            one_block = (r0 // side, c0 // side) == (r1 // side, c1 // side)
            if beside and one_block and distance in LAGS_PX:
                df, do = float(f[r1, c1]) - float(f[r0, c0]), float(o[r1, c1]) - float(o[r0, c0])
                found[LAGS_PX.index(distance)] += 1, do**2, df**2, (df - do) ** 2
    return found


def fields(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    f, o = rng.normal(300, 2, (2, *shape)).astype(np.float32)
    scored = rng.random(shape) > 0.3
    f[~scored], o[~scored] = np.nan, -9999
    return f, o, scored


@pytest.mark.parametrize("side", [8, 20])
def test_every_pair_counts_once(side: int) -> None:
    f, o, scored = fields((19, 21))
    found = sums(f, o, scored, side)
    np.testing.assert_allclose(found, brute(f, o, scored, side), rtol=1e-12)
    assert (found[-1] == 0).all()  # 32 px do not fit
    assert (found[LAGS_PX.index(8), 0] > 0) == (side > 8)


def test_parts_made_of_whole_blocks_add_up() -> None:
    f, o, scored = fields((19, 21))
    whole = sums(f, o, scored, 8)
    parts = sum(
        sums(f[rows, cols], o[rows, cols], scored[rows, cols], 8)
        for rows in (slice(0, 8), slice(8, 19))
        for cols in (slice(0, 16), slice(16, 21))
    )
    np.testing.assert_allclose(whole, parts, rtol=1e-12)
    assert (sums(f, o, scored, 0) == 0).all()


def told(f: np.ndarray, o: np.ndarray) -> tuple[Variogram, dict[str, tuple[float, str]]]:
    known = np.ones(f.shape, bool)
    variogram = Variogram(f.size, sums(f, o, known, 16))
    return variogram, {name: (value, why) for name, value, why in variogram_values(variogram)}


def test_a_slope_by_hand() -> None:
    """Columns 0 to 8 of 1, 2, 3 ...: h px along a row differ by h, along a column by 0."""
    o = np.broadcast_to(np.arange(9.0), (9, 9)).copy()
    variogram, values = told(o / 2, o)
    # As many pairs in rows as in columns: half of h² / 2.
    np.testing.assert_allclose(variogram.semivariance("observed")[:4], [0.25, 1, 4, 16])
    assert np.isnan(variogram.semivariance("observed")[4])
    for lag in (1, 2, 4, 8):
        assert values[f"variogram_ratio_{lag}px"] == (pytest.approx(0.25), "")
        # The error is minus half the slope.
        assert values[f"variogram_error_{lag}px"] == (pytest.approx(0.25), "")
    value, reason = values["variogram_ratio_16px"]
    assert math.isnan(value)
    assert "so far apart" in reason
    # 95 % of 16 lies at 15.2, between 4 px (4) and 8 px (16): 4 + 4 * 11.2 / 12.
    assert variogram.range_px("observed") == pytest.approx(4 + 4 * 11.2 / 12)


def test_noise_has_the_range_of_a_pixel() -> None:
    """Pixels without structure differ alike at every distance; equal ones at none."""
    o = np.random.default_rng(0).normal(size=(64, 64))
    variogram, values = told(o, o)
    assert variogram.range_px("observed") <= 2
    assert values["variogram_error_4px"] == (0.0, "")
    assert values["variogram_ratio_4px"] == (1.0, "")
    flat, values = told(np.ones((9, 9)), np.ones((9, 9)))
    assert "do not differ" in values["variogram_ratio_1px"][1]
    with pytest.raises(UndefinedMetricError, match="do not vary"):
        flat.range_px("observed")
    with pytest.raises(UndefinedMetricError, match="so far apart"):
        Variogram(0, np.zeros((6, 4))).range_px("forecast")


def test_names_hold_the_distance() -> None:
    found, kind = find_metric("variogram-ratio-4px")  # type: ignore[misc]
    assert (found.name, kind) == ("variogram_ratio", "variogram")
    assert find_metric("variogram_ratio_5px") is None
    assert find_metric("variogram_range")[1] == "field"  # type: ignore[index]
