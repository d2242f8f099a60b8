"""Whittaker's smoother against sparse matrices written down from the paper."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csc_array, diags_array, eye_array
from scipy.sparse.linalg import spsolve

from geoforecast.stack.pixels.whittaker import PENALTIES, roughness, second_differences, smooth


def series(noise, jitter, count=60, share=0.4, seed=2):
    rng = np.random.default_rng(seed)
    gaps = 86400 * 16 * (1 + jitter * rng.uniform(-1, 1, count - 1))
    seconds = np.concatenate([[0], np.cumsum(gaps)]).astype(np.int64)
    values = 5 + np.sin(seconds / 86400 / 50) + noise * rng.standard_normal(count)
    return seconds, values, rng.random(count) > share


def by_matrices(seconds, values, known, penalties):
    """Fits, one a penalty, and scores with the trace of the full inverse."""
    count = len(seconds)
    h = np.diff(seconds) / np.median(np.diff(seconds))

    def change(n):
        parts = [-np.ones(n - 1), np.ones(n - 1)]
        return diags_array(parts, offsets=[0, 1], shape=(n - 1, n))

    slopes = diags_array(1 / h) @ change(count)
    second = diags_array(2 / (h[:-1] + h[1:])) @ change(count - 1) @ slopes
    n = known.sum()
    fits, scores = [], []
    for penalty in penalties:
        system = csc_array(diags_array(known.astype(float)) + penalty * (second.T @ second))
        fits.append(spsolve(system, np.where(known, values, 0.0)))
        inverse = spsolve(system, csc_array(eye_array(count))).toarray()
        misfit = ((values - fits[-1])[known] ** 2).sum()
        scores.append(n * misfit / (n - np.diag(inverse)[known].sum()) ** 2)
    return fits, scores


@pytest.mark.parametrize("jitter", [0.0, 0.7])
@pytest.mark.parametrize("noise", [0.0, 0.02, 0.5])
def test_equals_sparse_matrices(noise, jitter):
    seconds, values, known = series(noise, jitter)
    fits, scores = by_matrices(seconds, values, known, PENALTIES)
    fit = np.empty(len(values))
    diagonals = roughness(second_differences(seconds), len(values))
    poisoned = np.where(known, values, np.nan)  # gaps are not read
    assert smooth(diagonals, PENALTIES, poisoned, known, fit)
    np.testing.assert_allclose(fit, fits[int(np.argmin(scores))], atol=1e-8)


def test_noise_asks_for_a_larger_penalty():
    chosen = []
    for noise in (0.0, 0.5):
        _, scores = by_matrices(*series(noise, 0.3), PENALTIES)
        chosen.append(int(np.argmin(scores)))
    # So that the comparison above covers more than one choice.
    assert chosen[0] + 2 < chosen[1] < len(PENALTIES) - 1


def test_a_straight_line_stays_one_whatever_the_steps():
    seconds, _, known = series(0.0, 0.9)
    line = 3 - seconds / 1e7
    fit = np.empty(len(line))
    diagonals = roughness(second_differences(seconds), len(line))
    assert smooth(diagonals, PENALTIES, line, known, fit)
    np.testing.assert_allclose(fit, line, atol=1e-6)


def test_second_differences_of_equal_steps_are_eilers():
    assert second_differences(np.arange(5) * 777).tolist() == [[1, -2, 1]] * 3
    # A parabola has the second derivative 2 whatever the steps.
    x = np.array([0, 1, 3, 4, 8, 9])
    unit = np.median(np.diff(x))
    for k, row in enumerate(second_differences(x)):
        assert row @ ((x / unit) ** 2)[k : k + 3] == pytest.approx(2)


def test_a_very_short_step_counts_as_a_hundredth():
    rows = second_differences(np.array([0, 1000, 2000, 2001, 3000, 4000]))
    assert rows[1, 2] == pytest.approx(2 / (0.01 * 1.01))


def test_nothing_known_has_no_fit():
    fit = np.empty(6)
    diagonals = roughness(second_differences(np.arange(6)), 6)
    assert not smooth(diagonals, PENALTIES, np.ones(6), np.zeros(6, bool), fit)
