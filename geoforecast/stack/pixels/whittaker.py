"""Whittaker's smoother for one series with gaps and uneven steps.

Minimises the squared misfit to the observations plus a penalty times the squared second
differences, with the penalty that generalised cross-validation finds best. The system has
five diagonals, so that time and memory grow with the length of the series only.

Source:
    Eilers (2003), Anal. Chem. 75, 3631-3636; second differences as divided differences.
    Craven & Wahba (1979), Numer. Math. 31, 377-403, for the cross-validation.
    Hutchinson & de Hoog (1985), Numer. Math. 47, 99-106, for its trace.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

# Penalties to choose among, for steps of the median length.
PENALTIES = np.asarray(10.0 ** np.arange(-2, 6), np.float64)
ABREAST = len(PENALTIES)  # solved side by side, which vector instructions like
# Steps shorter than this part of the median step count as this long: two looks within
# minutes in a series of weeks would otherwise outweigh all others.
SHORTEST_STEP = 0.01

# Places of what is kept of each step: the two diagonals of L below its main one, the pivot
# and its inverse, the solution. Flat and unsigned, because only distances known beforehand
# let the loops over penalties be compiled to vector instructions.
LOW1, LOW2, PIVOT, INVERSE, SOLUTION = (np.uint64(k * ABREAST) for k in range(5))
STRIDE = np.uint64(5 * ABREAST)
# Places of what the way back carries: of the inverse, one step later on the diagonal and
# beside it, and on it two steps later; the solution one and two steps later; sums.
ON, BESIDE, BELOW, NEXT, AFTER, TRACE, MISFIT, LEAST = (np.uint64(k * ABREAST) for k in range(8))

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def second_differences(seconds: NDArray[np.int64]) -> Floats:
    """Weights of three neighbours in a second difference; 1, -2, 1 for equal steps.

    Args:
        seconds: (time,) increasing.
    Returns:
        (time - 2, 3), for steps in units of the median step.
    """
    steps = np.diff(seconds).astype(np.float64)
    steps = np.maximum(steps / np.median(steps), SHORTEST_STEP)
    before, after = steps[:-1], steps[1:]
    left, right = 2 / (before * (before + after)), 2 / (after * (before + after))
    return np.stack([left, -(left + right), right], axis=1)


@numba.njit(nogil=True, cache=True)
def roughness(rows: Floats, depth: int) -> Floats:
    """(3, time) diagonals of D'D: the main one, the first and the second above it."""
    bands = np.zeros((3, depth))
    for r in range(rows.shape[0]):
        for a in range(3):
            for b in range(a, 3):
                bands[b - a, r + a] += rows[r, a] * rows[r, b]
    return bands


@numba.njit(nogil=True, cache=True)
def smooth(diagonals: Floats, penalties: Floats, series: Floats, known: Bools, fit: Floats) -> bool:
    """The smooth series of the penalty that cross-validates best.

    Args:
        diagonals: from ``roughness``.
        penalties: (ABREAST,).
        series: (time,) observations; what stands in gaps is not read.
        known: (time,) True = observed.
        fit: (time,) the result.
    Returns:
        Whether there is one.
    """
    n, mean = 0, 0.0
    for t in range(series.size):
        n += known[t]
        mean += series[t] if known[t] else 0.0
    if n == 0:
        return False
    mean /= n
    work = np.empty((series.size + 2) * ABREAST * 5)
    _factorise(diagonals, penalties, series, known, mean, work)
    scores = _solve_back(series, known, n, mean, work)
    best = 0
    for k in range(1, ABREAST):
        best = k if scores[k] < scores[best] else best
    for t in range(series.size):
        fit[t] = work[np.uint64(t + 2) * STRIDE + SOLUTION + np.uint64(best)] + mean
    return bool(scores[best] < np.inf)


@numba.njit(nogil=True, cache=True)
def _factorise(
    diagonals: Floats, penalties: Floats, series: Floats, known: Bools, mean: float, work: Floats
) -> None:
    """LDL' of W + penalty D'D, and the solution's way down, after two steps of 0."""
    work[: 2 * ABREAST * 5] = 0.0
    for t in range(series.size):
        weight, value = (1.0, series[t] - mean) if known[t] else (0.0, 0.0)
        main, beside, far = diagonals[0, t], diagonals[1, t], diagonals[2, t]
        now = np.uint64(t + 2) * STRIDE
        for k in range(ABREAST):
            o = now + np.uint64(k)
            o1, o2 = o - STRIDE, o - STRIDE - STRIDE
            penalty = penalties[k]
            one, two = work[o1 + LOW1], work[o2 + LOW2]
            carried, down = one * work[o1 + PIVOT], two * work[o2 + PIVOT]
            pivot = penalty * main + weight - one * carried - two * down
            inverse = 1.0 / pivot
            work[o + LOW1] = (penalty * beside - work[o1 + LOW2] * carried) * inverse
            work[o + LOW2] = penalty * far * inverse
            work[o + PIVOT] = pivot
            work[o + INVERSE] = inverse
            before, earlier = work[o1 + SOLUTION], work[o2 + SOLUTION]
            work[o + SOLUTION] = value - one * before - two * earlier


@numba.njit(nogil=True, cache=True)
def _solve_back(series: Floats, known: Bools, n: int, mean: float, work: Floats) -> Floats:
    """The solution's way up; (penalty,) cross-validation scores, infinite where none holds."""
    state = np.zeros(8 * ABREAST)
    state[7 * ABREAST :] = np.inf
    for t in range(series.size - 1, -1, -1):
        weight, value = (1.0, series[t] - mean) if known[t] else (0.0, 0.0)
        now = np.uint64(t + 2) * STRIDE
        for k in range(ABREAST):
            o, s = now + np.uint64(k), np.uint64(k)
            one, two = work[o + LOW1], work[o + LOW2]
            pivot, inverse = work[o + PIVOT], work[o + INVERSE]
            on, beside, below = state[s + ON], state[s + BESIDE], state[s + BELOW]
            near = -one * on - two * beside
            corner = inverse - one * near - two * (-one * beside - two * below)
            later, after = state[s + NEXT], state[s + AFTER]
            solution = work[o + SOLUTION] * inverse - one * later - two * after
            miss = weight * (value - solution)
            least = state[s + LEAST]
            state[s + ON], state[s + BESIDE], state[s + BELOW] = corner, near, on
            state[s + NEXT], state[s + AFTER] = solution, later
            state[s + TRACE] += weight * corner
            state[s + MISFIT] += miss * miss
            state[s + LEAST] = pivot if pivot < least else least
            work[o + SOLUTION] = solution
    scores = np.full(ABREAST, np.inf)
    for k in range(ABREAST):
        s = np.uint64(k)
        free = n - state[s + TRACE]
        if state[s + LEAST] > 0.0 and free > 1e-9 * n:
            scores[k] = n * state[s + MISFIT] / (free * free)
    return scores
