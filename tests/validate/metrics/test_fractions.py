"""The fractions skill score: by hand, beside scipy, with gaps and at edges."""

import math

import numpy as np
import pytest
from scipy.ndimage import uniform_filter

from geoforecast.validate.metrics.fractions import (
    REACH_PX,
    SCALES_PX,
    PooledFractions,
    fraction_sums,
    useful_scale,
)
from geoforecast.validate.metrics.pooled import evaluate


def fss(sums):
    return evaluate("fss", PooledFractions(1, *sums))[0]


def test_two_by_two_by_hand():
    said = np.array([[True, False], [False, False]])
    came = np.array([[False, True], [False, False]])
    sums = fraction_sums(said, came, np.ones((2, 2), bool), (1, 3))
    np.testing.assert_allclose(sums[0], [2, 1, 1])
    assert fss(sums[0]) == 0
    np.testing.assert_allclose(sums[1], [0, 0.25, 0.25])  # a quarter everywhere, in both
    assert fss(sums[1]) == 1


def counted(part, side):
    """How many are true in the windows, which are cut at the edges."""
    return np.rint(uniform_filter(part.astype(float), side, mode="constant") * side**2)


@pytest.mark.parametrize("gaps", [0, 0.4])
def test_the_sums_are_those_of_scipy(gaps):
    rng = np.random.default_rng(1)
    said, came, scored = (rng.random((37, 52)) < share for share in (0.3, 0.2, 1 - gaps))
    found = fraction_sums(said, came, scored)
    for side, sums in zip(SCALES_PX, found, strict=True):
        n = counted(scored, side)[scored]
        p, q = (counted(part & scored, side)[scored] / n for part in (said, came))
        expected = [np.square(p - q).sum(), np.square(p).sum(), np.square(q).sum()]
        np.testing.assert_allclose(sums, expected, rtol=1e-12)


def test_a_shift_is_forgiven_by_wider_windows():
    rng = np.random.default_rng(2)
    came = rng.random((80, 80)) < 0.02
    said = np.roll(came, 2, axis=1)
    scores = [fss(sums) for sums in fraction_sums(said, came, np.ones((80, 80), bool))]
    assert scores == sorted(scores)
    assert scores[0] < 0.1
    assert scores[-1] > 0.95
    by_scale = dict(zip(SCALES_PX, scores, strict=True))
    scale = useful_scale(by_scale, came.mean())
    assert scale == next(s for s in SCALES_PX if by_scale[s] >= 0.5 + came.mean() / 2)
    assert math.isnan(useful_scale({1: 0.1, 3: 0.2}, 0.02))


def test_what_is_not_scored_tells_nothing():
    rng = np.random.default_rng(3)
    said, came, scored = (rng.random((20, 20)) < share for share in (0.5, 0.5, 0.6))
    found = fraction_sums(said, came, scored)
    np.testing.assert_array_equal(found, fraction_sums(said & scored, came | ~scored, scored))
    nothing = fraction_sums(said, came, np.zeros((20, 20), bool))
    assert not nothing.any()
    assert math.isnan(fss(nothing[0]))


def test_parts_add_up_to_the_whole():
    rng = np.random.default_rng(4)
    fields = [rng.random((100, 130)) < share for share in (0.1, 0.1, 0.8)]
    total = 0
    for row in range(0, 100, 40):
        for col in range(0, 130, 40):
            top, left = max(0, row - REACH_PX), max(0, col - REACH_PX)
            outer = (slice(top, row + 40 + REACH_PX), slice(left, col + 40 + REACH_PX))
            inner = (
                slice(row - top, min(row + 40, 100) - top),
                slice(col - left, min(col + 40, 130) - left),
            )
            total = total + fraction_sums(*(one[outer] for one in fields), inner=inner)
    np.testing.assert_allclose(total, fraction_sums(*fields), rtol=1e-12)
