"""Intervals of skill and the test of equal accuracy: what chance does, and other libraries."""

import math

import numpy as np
import pytest

from geoforecast.validate.metrics.significance import block_length, diebold_mariano, skill_interval


def errors(seed, steps, share=1.0):
    """Squared errors that are alike from step to step, of two forecasts."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((2, steps + 1))
    base = np.exp(noise[0, 1:] + 0.7 * noise[0, :-1])
    return share * base * np.exp(0.3 * noise[1, 1:]), base


def test_an_interval_covers_no_skill_about_as_often_as_it_says():
    inside = 0
    for seed in range(200):
        ours, theirs = errors(seed, 40)
        # On average as good: the mean of exp(0.3 z) is exp(0.045).
        low, high = skill_interval(ours / math.exp(0.045), theirs, 1, root=False)
        inside += low <= 0 <= high
    assert 0.88 <= inside / 200 <= 0.99


def test_a_clear_gain_is_seen_and_the_interval_holds_the_skill():
    ours, theirs = errors(1, 60, share=0.5)
    low, high = skill_interval(ours, theirs, 2, root=True)
    skill = 1 - math.sqrt(ours.sum() / theirs.sum())
    assert 0 < low < skill < high < 1
    assert skill_interval(ours, theirs, 2, root=True) == (low, high)
    wide = skill_interval(ours[:10], theirs[:10], 2, root=True)
    assert wide[1] - wide[0] > high - low


def test_against_itself_there_is_none():
    ours, _ = errors(2, 20)
    assert skill_interval(ours, ours, 1, root=True) == (0, 0)
    assert all(map(math.isnan, diebold_mariano(ours, ours, 1)))


def test_too_little_is_said_to_be_unknown():
    ours, theirs = errors(3, 3)
    assert all(map(math.isnan, skill_interval(ours, theirs, 1, root=True)))
    assert all(map(math.isnan, diebold_mariano(ours, theirs, 1)))
    ours, theirs = errors(3, 5)
    assert all(map(math.isnan, diebold_mariano(ours, theirs, 5)))
    assert all(map(math.isnan, skill_interval(ours, np.zeros(5), 1, root=True)))
    assert all(map(math.isnan, diebold_mariano(ours, ours + 1, 1)))  # by the same in all


def test_blocks_are_as_long_as_leads_overlap():
    assert [block_length(steps, 1) for steps in (4, 8, 27, 30, 1000)] == [2, 2, 3, 4, 10]
    assert block_length(30, 6) == 6
    assert block_length(6, 6) == 3
    assert block_length(1, 3) == 1


def test_by_hand():
    # Differences 1, -1, 3, 1: mean 1, squares about it 0, 4, 4, 0: variance 2.
    statistic, p = diebold_mariano(np.array([2.0, 1, 4, 2]), np.array([1.0, 2, 1, 1]), 1)
    assert statistic == pytest.approx(1 / math.sqrt(2 / 4) * math.sqrt((4 + 1 - 2) / 4))
    assert 0.2 < p < 0.4


@pytest.mark.parametrize("lead", [1, 2, 4])
def test_the_statistic_is_that_of_scores(lead):
    scores = pytest.importorskip("scores")
    xr = pytest.importorskip("xarray")
    ours, theirs = errors(5, 50, share=0.8)
    found = diebold_mariano(ours, theirs, lead)
    table = xr.DataArray(
        (ours - theirs)[None],
        dims=("pair", "step"),
        coords={"pair": [0], "h": ("pair", [lead])},
    )
    oracle = scores.stats.statistical_tests.diebold_mariano(
        table, "pair", "h", method="HLN", statistic_distribution="t"
    )
    assert found[0] == pytest.approx(float(oracle["dm_test_stat"][0]), rel=1e-10)
