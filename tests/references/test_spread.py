"""Spread: errors are counted where they belong, and quantiles are those of what was counted."""

import numpy as np
import pytest
from scipy.stats import norm

from geoforecast.references import spread
from geoforecast.references.mixture import Sums, Tally


def counts_of(errors, disagreement, typical):
    unit, classes = spread.unit_of(disagreement, typical)
    return spread.counted(errors, unit, classes)


def test_errors_are_counted_by_hand():
    rng = np.random.default_rng(0)
    typical = 2.0
    disagreement = rng.gamma(1.0, 1.0, 300).astype(np.float32)
    errors = rng.normal(0, 2, 300).astype(np.float32)
    expected = np.zeros((spread.CLASSES, spread.BINS))
    for error, apart in zip(errors, disagreement, strict=True):
        row = sum(apart >= edge * typical for edge in spread.CLASS_EDGES)
        unit = max(apart, 0.25 * typical)  # members may agree and all be wrong
        expected[row, sum(error / unit >= edge for edge in spread.EDGES)] += 1
    np.testing.assert_array_equal(counts_of(errors, disagreement, typical), expected)
    assert (expected.sum(axis=1) > 0).all()


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9])
def test_quantiles_are_those_of_the_distribution(level):
    """Each class its own: errors twice as large where members disagree half as much."""
    rng = np.random.default_rng(1)
    disagreement = np.repeat(np.float32([0.2, 2.0]), 200_000)
    wide = np.where(disagreement < 1, 3.0, 1.0)
    errors = (disagreement * wide * rng.standard_normal(400_000)).astype(np.float32)
    counts = counts_of(errors, disagreement, 0.5)
    found = spread.quantiles(counts, 1e6, level)
    expected = norm.ppf(0.5 + level / 2)
    first, last = np.flatnonzero(counts.sum(axis=1))
    assert found[first] == pytest.approx([-3 * expected, 3 * expected], rel=0.03)
    assert found[last] == pytest.approx([-expected, expected], rel=0.03)


def test_skewed_errors_have_skewed_intervals():
    errors = np.random.default_rng(2).exponential(1, 100_000).astype(np.float32)
    counts = counts_of(errors, np.ones(100_000, np.float32), 1.0)
    lower, upper = spread.quantiles(counts, 1e6, 0.9)[-1]
    assert lower == pytest.approx(-np.log(0.95), rel=0.05)
    assert upper == pytest.approx(-np.log(0.05), rel=0.05)


def test_few_steps_make_wider_intervals():
    errors = np.random.default_rng(3).standard_normal(50_000).astype(np.float32)
    counts = counts_of(errors, np.ones(50_000, np.float32), 1.0)
    widths = [np.ptp(spread.quantiles(counts, steps, 0.9)[-1]) for steps in (1, 4, 16, 64, 1e6)]
    assert widths == sorted(widths, reverse=True)
    tail = 0.05 * 4 / 7  # what four steps leave of it
    assert widths[1] == pytest.approx(2 * norm.ppf(1 - tail), rel=0.03)


def test_equal_parts_hold_equally_many_but_for_the_outermost_of_few_steps():
    errors = np.random.default_rng(3).standard_normal(200_000).astype(np.float32)
    counts = counts_of(errors, np.ones(200_000, np.float32), 1.0)
    many, few = (spread.equal_parts(counts, steps, 20)[-1] for steps in (1e6, 12))
    np.testing.assert_allclose(many, norm.ppf((np.arange(20) + 0.5) / 20), atol=0.02)
    assert (np.diff(few) > 0).all()
    shares = np.diff(norm.cdf(few))
    # Around the median: of a tail of 0.475 all but 0.05 * 3 / 15 is left, and 0.0595 between two.
    assert shares[9] == pytest.approx(0.0595, rel=0.05)
    assert few[0] < many[0]
    assert few[-1] > many[-1]
    # The lowest of 20 has a tail of 0.025, of which 12 steps leave 1 - 0.95 * 3 / 15.
    assert norm.cdf(few[0]) == pytest.approx(0.025 * 0.81, rel=0.1)


def test_a_class_without_pixels_borrows_from_all():
    errors = np.random.default_rng(4).standard_normal(50_000).astype(np.float32)
    counts = counts_of(errors, np.ones(50_000, np.float32), 1.0)
    found = spread.quantiles(counts, 20.0, 0.9)
    assert counts[0].sum() == 0
    np.testing.assert_array_equal(found, np.repeat(found[-1:], len(found), axis=0))
    assert (spread.quantiles(np.zeros_like(counts), 0.0, 0.9) == 0).all()


def test_scores_fade_by_half_lives_and_count_steps_alike():
    tally = Tally.empty(("a",), 1, 1, 2)
    rng = np.random.default_rng(5)
    expected, seen, squares = 0.0, 0.0, 0.0
    for steps, pixels in ((6, 10), (7, 500), (60, 30)):
        scores = rng.random((spread.CLASSES, spread.BINS))
        e = rng.standard_normal((len(tally.members), pixels)).astype(np.float32)
        tally.add(0, 0, steps, Sums.of(e, e[:2], e[0], scores))
        kept = 0.5 ** (1 / max(10, 0.5 * steps))
        expected = kept * expected + scores / pixels
        seen, squares = kept * seen + 1, kept**2 * squares + 1
    assert tally.scores[0, 0] == pytest.approx(expected)
    known = tally.knowledge([{"a": 1.0}])
    assert known.scores[0, 0] == pytest.approx(expected)
    assert known.scored[0, 0] == pytest.approx(seen**2 / squares)


def test_the_typical_error_is_that_of_the_mixture():
    tally = Tally.empty(("a", "b"), 1, 1, 2)
    e = np.random.default_rng(6).standard_normal((len(tally.members), 400)).astype(np.float32)
    for step in range(5, 25):
        tally.add(0, 0, step, Sums.of(e, e[:2], e[0]))
    known = tally.knowledge([{"a": 1.0}])
    mixed = known.weights[0, 0] @ e
    assert known.typical[0, 0] == pytest.approx(np.sqrt(np.mean(np.square(mixed))), rel=1e-5)
    assert Tally.empty(("a",), 1, 1, 2).knowledge([{"a": 1.0}]).typical[0, 0] == 0


def test_sums_of_tiles_add_their_scores():
    e = np.ones((5, 3), np.float32)
    left, right = (Sums.of(e, e[:2], e[0], np.full((2, 2), value)) for value in (1.0, 2.0))
    assert (left + right).scores.tolist() == [[3.0, 3.0], [3.0, 3.0]]
    assert (Sums.of(e, e[:2], e[0]) + Sums.of(e, e[:2], e[0])).scores is None


def test_values_at_are_the_distribution_s_quantiles_of_each_class():
    rng = np.random.default_rng(3)
    disagreement = np.repeat(np.float32([0.2, 2.0]), 100_000)
    errors = (disagreement * rng.standard_normal(200_000)).astype(np.float32)
    counts = counts_of(errors, disagreement, 0.5)
    _, classes = spread.unit_of(np.float32([0.2, 2.0, 2.0]), 0.5)
    found = spread.values_at(counts, 1e6, classes, np.array([0.1, 0.5, 0.9]))
    np.testing.assert_allclose(found, norm.ppf([0.1, 0.5, 0.9]), atol=0.05)
    assert spread.values_at(0 * counts, 0.0, classes, np.array([0.1, 0.5, 0.9])).tolist() == [0] * 3
