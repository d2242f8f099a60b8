"""Scores of equally likely values: by hand, beside the definition, calibrated and not."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from geoforecast.validate.metrics.ensemble import RANKS, SIZE, PooledEnsemble, ensemble_sums
from geoforecast.validate.metrics.pooled import evaluate


def pooled(likely, observed, scored=None):
    scored = np.ones(observed.shape, bool) if scored is None else scored
    sums, ranks = ensemble_sums(likely, observed, scored)
    return PooledEnsemble(int(scored.sum()), *sums.tolist(), ranks)


def bell(observed, mean, deviation):
    """Equally likely values of a normal distribution."""
    shares = (np.arange(SIZE) + 0.5) / SIZE
    values = mean + deviation * norm.ppf(shares)[:, None, None]
    return np.broadcast_to(values, (SIZE, *observed.shape)).astype(np.float32)


def test_by_hand():
    likely = np.array([1.0, 3.0])[:, None, None]
    sums, ranks = ensemble_sums(likely, np.array([[2.5]]), np.ones((1, 1), bool))
    # mean |q - o| = 1, half the mean |q - q'| = 0.5
    np.testing.assert_allclose(sums, [0.5, 2, 0.25])
    np.testing.assert_array_equal(ranks, [0, 1, 0])


@pytest.mark.parametrize("seed", range(3))
def test_crps_is_that_of_the_values_distribution(seed):
    rng = np.random.default_rng(seed)
    likely = np.sort(rng.gamma(1, 3, (SIZE, 4, 5)), axis=0)
    observed = rng.gamma(1, 3, (4, 5))
    first = np.abs(likely - observed).mean(axis=0)
    second = np.abs(likely[:, None] - likely[None]).mean(axis=(0, 1)) / 2
    found = pooled(likely, observed)
    assert evaluate("crps", found)[0] == pytest.approx((first - second).mean())
    scores = pytest.importorskip("scores")
    xr = pytest.importorskip("xarray")
    oracle = scores.probability.crps_for_ensemble(
        xr.DataArray(likely, dims=("m", "y", "x")),
        xr.DataArray(observed, dims=("y", "x")),
        "m",
        method="ecdf",
    )
    assert evaluate("crps", found)[0] == pytest.approx(float(oracle))


def test_without_spread_it_is_the_mean_absolute_error():
    observed = np.random.default_rng(1).normal(size=(30, 30))
    likely = np.zeros((SIZE, 30, 30))
    assert evaluate("crps", pooled(likely, observed))[0] == pytest.approx(np.abs(observed).mean())
    assert evaluate("spread_skill", pooled(likely, observed))[0] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("deviation", "ratio"), [(1.0, 1.0), (0.5, 0.5), (2.0, 2.0)])
def test_a_forecast_that_is_too_sure_is_found(deviation, ratio):
    observed = np.random.default_rng(2).normal(size=(200, 200))
    found = pooled(bell(observed, 0, deviation), observed)
    assert evaluate("spread_skill", found)[0] == pytest.approx(ratio, rel=0.05)
    uneven = evaluate("rank_unevenness", found)[0]
    assert uneven < 0.03 if deviation == 1 else uneven > 0.3


def test_ranks_that_are_open_are_shared_out():
    likely = np.zeros((SIZE, 1, 2))
    likely[SIZE // 2 :] = 1
    _, ranks = ensemble_sums(likely, np.array([[0.0, 1.0]]), np.ones((1, 2), bool))
    assert ranks.sum() == pytest.approx(2)
    np.testing.assert_allclose(ranks[: SIZE // 2], 1 / (SIZE // 2 + 1))
    assert len(ranks) == RANKS


def test_only_scored_pixels_count_and_no_error_has_no_ratio():
    rng = np.random.default_rng(3)
    observed = rng.normal(size=(6, 7))
    likely = np.sort(rng.normal(size=(SIZE, 6, 7)), axis=0)
    scored = rng.random((6, 7)) < 0.5
    wild = np.where(scored, observed, np.nan)
    found = pooled(np.where(scored, likely, np.nan), wild, scored)
    assert found.n == found.ranks.sum() == scored.sum()
    assert math.isfinite(found.crps)
    value, reason = evaluate("spread_skill", pooled(np.zeros((SIZE, 2, 2)), np.zeros((2, 2))))
    assert math.isnan(value)
    assert "error is zero" in reason
