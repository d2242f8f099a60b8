"""Shifts: known ones are found, with gaps, in tiles, and only where they can be told."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.registration import phase_cross_correlation

from geoforecast.raster.grid import Grid, Tile
from geoforecast.samples.normaliser import BandStatistics
from geoforecast.validate.metrics.alignment import (
    ALIGNMENT_SUMS,
    REACH_PX,
    SHIFTS,
    alignment_sums,
    find_shift,
)
from geoforecast.validate.metrics.came import Came
from geoforecast.validate.metrics.fields import FieldSums
from geoforecast.validate.metrics.pooled import UndefinedMetricError, evaluate
from geoforecast.validate.scoring.sums import lattice

ALL = (slice(None), slice(None))
STATISTICS = BandStatistics(100, 0.0, 1.0, -4.0, 4.0, 0.0, -0.7, 0.7, 0.4, 0.4)


def smooth(seed: int = 0, sigma: float = 2.5, side: int = 90) -> np.ndarray:
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(side, side)), sigma)
    return field / field.std()


def pair(down: float, right: float, **changes) -> tuple[np.ndarray, np.ndarray]:
    """What came, and a forecast of it that lies so many rows further down and columns right."""
    field = smooth(**changes)
    inner = (slice(8, -8), slice(8, -8))
    moved = ndimage.shift(field, (down, right), order=3, mode="nearest")
    return moved[inner].astype(np.float32), field[inner].astype(np.float32)


def sums_of(forecast, observed, scored=None, inner=ALL, kept=ALL, about=0.0):
    ok = np.ones(observed.shape, bool) if scored is None else scored
    return alignment_sums(forecast, observed, ok, inner, kept, about)


def shift_of(*frames, **changes):
    return find_shift(np.stack([sums_of(*frame, **changes) for frame in frames]))


@pytest.mark.parametrize("sigma", [1.5, 4.0])
@pytest.mark.parametrize(
    ("down", "right"), [(0, 0), (1, 0), (0, -1), (0.3, -0.7), (-1.6, 1.2), (2, 2)]
)
def test_known_shifts_are_found(down: float, right: float, sigma: float) -> None:
    forecast, observed = pair(down, right, sigma=sigma)
    found = shift_of((forecast, observed))
    assert (found.down, found.right) == pytest.approx((down, right), abs=0.05)
    assert found.size == pytest.approx(np.hypot(down, right), abs=0.06)
    if sigma == 1.5 and down == int(down):
        # Its shift is the one that maps the second image on the first.
        oracle = phase_cross_correlation(
            forecast, observed, upsample_factor=20, normalization=None
        )[0]
        assert (found.down, found.right) == pytest.approx(tuple(oracle), abs=0.15)


def test_gaps_and_noise_leave_the_shift() -> None:
    rng = np.random.default_rng(1)
    frames = []
    for seed in range(4):
        forecast, observed = pair(0.8, -1.3, seed=seed)
        ok = rng.random(observed.shape) > 0.3
        ok[:25, :25] = False
        # Drawn towards the mean, too high, and junk where nothing was scored.
        forecast = np.where(ok, 0.6 * forecast + 3 + 0.1 * rng.normal(size=ok.shape), np.nan)
        frames.append((forecast.astype(np.float32), np.where(ok, observed, np.nan), ok))
    found = shift_of(*frames)
    assert (found.down, found.right) == pytest.approx((0.8, -1.3), abs=0.06)


def test_levels_that_differ_between_frames_count_for_nothing() -> None:
    frames = [pair(1, 0, seed=seed) for seed in range(3)]
    plain = shift_of(*frames)
    lifted = shift_of(*[(f + 50 * n, o + 50 * n) for n, (f, o) in enumerate(frames)])
    assert (lifted.down, lifted.right) == pytest.approx((plain.down, plain.right), abs=1e-3)


def test_sums_of_pairs_by_hand() -> None:
    observed = np.arange(9.0).reshape(3, 3)
    forecast = 10 * observed
    ok = np.ones((3, 3), bool)
    ok[0, 0] = False
    sums = sums_of(forecast, observed, ok, about=1.0)
    # One row down: rows 0 and 1 of what came beside rows 1 and 2 of the forecast, but for (0, 0).
    o = np.array([1, 2, 3, 4, 5]) - 1.0
    f = np.array([40, 50, 60, 70, 80]) - 1.0
    expected = [5, f.sum(), o.sum(), (f * f).sum(), (o * o).sum(), (f * o).sum()]
    assert sums[REACH_PX + 1, REACH_PX].tolist() == expected
    # One column to the right: nothing of the last column is paired.
    assert sums[REACH_PX, REACH_PX + 1, 0] == 5
    assert sums[REACH_PX + 3, REACH_PX, 0] == 0
    assert sums.shape == (SHIFTS, SHIFTS, len(ALIGNMENT_SUMS))


@pytest.mark.parametrize("most_px", [10**6, 500])
def test_tiles_add_up_to_the_frame(most_px: int) -> None:
    forecast, observed = pair(1.2, 0.4)
    ok = np.random.default_rng(3).random(observed.shape) > 0.2
    shape = observed.shape
    whole = sums_of(
        forecast, observed, ok, kept=lattice(Tile(0, *shape[:1], 0, shape[1]), shape, most_px)
    )
    total = np.zeros_like(whole)
    for tile in Grid("", None, shape).tiles(17):
        outer = tile.expanded(REACH_PX, shape)
        near = tuple(part[outer.slices] for part in (forecast, observed, ok))
        kept = lattice(tile, shape, most_px)
        total += sums_of(*near, inner=tile.within(outer), kept=kept)
    np.testing.assert_array_equal(total[..., 0], whole[..., 0])
    np.testing.assert_allclose(total, whole, rtol=1e-12, atol=1e-9)
    assert whole[REACH_PX, REACH_PX, 0] == pytest.approx(0.8 * min(most_px, ok.size), rel=0.4)


def test_where_nothing_can_be_told_it_says_why() -> None:
    forecast, observed = pair(0, 0)
    other = smooth(seed=9)[8:-8, 8:-8]
    flat = np.full_like(observed, 0.1)
    few = np.zeros(observed.shape, bool)
    few[:6, :6] = True
    for frame, words in [
        ((other, observed), "no shift makes"),
        ((flat, observed), "one value"),
        ((forecast, flat), "one value"),
        ((forecast, observed, few), "enough scored pixels"),
    ]:
        with pytest.raises(UndefinedMetricError, match=words):
            shift_of(frame)
    with pytest.raises(UndefinedMetricError, match="enough scored pixels"):
        find_shift(np.zeros((0, SHIFTS, SHIFTS, len(ALIGNMENT_SUMS))))


def test_fields_too_smooth_to_tell_are_not_called_aside() -> None:
    """Shifting a ramp adds a level and a slope, so smooth errors alone would decide."""
    y, x = np.mgrid[:80, :80] / 80
    observed = np.sin(2 * x) + y
    bent = 0.2 * smooth(2, sigma=15, side=80)
    with pytest.raises(UndefinedMetricError, match="no peak within 3 px"):
        shift_of((observed + bent, observed))
    with pytest.raises(UndefinedMetricError, match="no peak within 3 px"):
        shift_of(pair(4, 0))


def test_far_shifts_must_make_maps_much_more_alike() -> None:
    forecast, observed = pair(0.9, 0, sigma=8.0)
    assert shift_of((forecast, observed)).down == pytest.approx(0.9, abs=0.05)
    # The shift explains 0.6 % of the variance: much without noise, little beside 9 % of it.
    noisy = forecast + 0.3 * np.random.default_rng(0).normal(size=observed.shape)
    with pytest.raises(UndefinedMetricError, match="too smooth, or too unlike"):
        shift_of((noisy, observed))


def test_metrics_of_a_part() -> None:
    forecast, observed = pair(1, -0.5)
    sums = FieldSums.empty(2)
    ok = np.ones(observed.shape, bool)
    sums.add(0, forecast, Came(observed, ok, ALL, 0, ALL, STATISTICS))
    pooled = sums.pooled(np.array([True, False]))
    assert evaluate("alignment", pooled)[0] == pytest.approx(np.hypot(1, 0.5), abs=0.05)
    assert evaluate("alignment_down", pooled)[0] == pytest.approx(1, abs=0.05)
    assert evaluate("alignment_right", pooled)[0] == pytest.approx(-0.5, abs=0.05)
    # Frames of which too little is scored are left out, and parts add up.
    sums += sums
    assert sums.shifts[0, REACH_PX, REACH_PX, 0] == 2 * ok.size
    value, reason = evaluate("alignment", sums.pooled(np.array([False, True])))
    assert np.isnan(value)
    assert "enough scored pixels" in reason
