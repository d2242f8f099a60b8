"""Gaps in time are filled from the same pixel's own observations.

Three methods, each for one pixel at a time, so that the result is the same to the bit for
any block. All of them leave observed values as they are, leave what lies before the first
and after the last observation, and keep inside the range of the pixel's observations, so
that a gap never holds a value that the place has not had.

Two of them may find a pixel too poor and leave its gaps: harmonic needs two observations
for each number that it fits (10, or 14 with the daily cycle), Whittaker needs five.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from geoforecast.errors import SettingsError
from geoforecast.settings import StackSettings
from geoforecast.stack.pixels.whittaker import PENALTIES, roughness, second_differences, smooth

METHODS = ("linear", "harmonic", "whittaker")
DAY_SECONDS = 86400.0
YEAR_SECONDS = 365.2425 * DAY_SECONDS
# Penalty of the harmonic fit for each observation: 2e-4 of an amplitude on a full record,
# enough to hold terms that a short record cannot tell apart.
RIDGE = 1e-4
OBSERVATIONS_A_TERM = 2
MIN_WHITTAKER = 5

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def check_fill(settings: StackSettings) -> None:
    """Refuse to fill class codes, between which there is nothing.

    Raises:
        SettingsError: --fill with --kind categorical.
    """
    if settings.fill != "none" and settings.kind == "categorical":
        raise SettingsError(
            f"--fill {settings.fill} computes values between observations, "
            "and class codes have none.",
            where=f"kind: {settings.kind}, fill: {settings.fill}",
            remedy="Use --fill none, or --cadence with --composite last to widen the steps.",
        )


def fill(
    values: NDArray[np.float32],
    valid: Bools,
    times: NDArray[np.datetime64],
    method: str,
) -> tuple[NDArray[np.float32], Bools]:
    """Fill the gaps of one band's series.

    linear joins the observations on either side by a straight line in time. harmonic fits
    a mean and the annual and half-yearly waves, and the daily wave if the median step is
    under a day, to all observations. whittaker smooths the whole series, the steps' real
    lengths in its second differences, with the penalty that cross-validates best.

    Args:
        values: (time, y, x) float32, NaN where invalid.
        valid: same shape, True = observed.
        times: (time,) datetime64, increasing.
        method: one of METHODS, or ``none``.
    Returns:
        values with gaps filled, in new memory, NaN where still unknown; filled, same
        shape, True where a value was invented.
    Source:
        Whittaker: Eilers (2003), Anal. Chem. 75, 3631-3636, second differences as divided
        differences; generalised cross-validation after Craven & Wahba (1979), Numer. Math.
        31, 377-403, with the trace of Hutchinson & de Hoog (1985), Numer. Math. 47, 99-106.
    """
    known = valid & np.isfinite(values)
    result = np.where(known, values, np.float32(np.nan)).astype(np.float32, copy=False)
    filled = np.zeros(values.shape, np.bool_)
    if method == "none" or values.shape[0] < 3:
        return result, filled
    seconds = times.astype("datetime64[s]").astype(np.int64)
    if method == "linear":
        _fill_linear((seconds - seconds[0]).astype(np.float64), result, filled)
    elif method == "harmonic":
        _fill_harmonic(harmonic_terms(seconds), result, filled)
    elif method == "whittaker":
        _fill_whittaker(second_differences(seconds), PENALTIES, result, filled)
    else:
        raise SettingsError(
            f"There is no fill method {method!r}.", remedy=f"Use one of {', '.join(METHODS)}."
        )
    return result, filled


def harmonic_terms(seconds: NDArray[np.int64]) -> Floats:
    """Cosines and sines of the annual, half-yearly and, below a day, daily wave.

    Args:
        seconds: (time,) since 1970.
    Returns:
        (time, 4 or 6), each in -1..1.
    """
    periods = [YEAR_SECONDS, YEAR_SECONDS / 2]
    if np.median(np.diff(seconds)) < DAY_SECONDS:
        periods.append(DAY_SECONDS)
    turns = [2 * np.pi * ((seconds / period) % 1.0) for period in periods]
    return np.stack([wave(turn) for turn in turns for wave in (np.cos, np.sin)], axis=1)


@numba.njit(nogil=True, cache=True)
def _observed(
    values: NDArray[np.float32], i: int, j: int, series: Floats, known: Bools
) -> tuple[int, int, int]:
    """A pixel's series; number of observations, the first and the last."""
    n, first, last = 0, -1, -1
    for t in range(values.shape[0]):
        series[t] = values[t, i, j]
        known[t] = np.isfinite(series[t])
        if known[t]:
            first = t if n == 0 else first
            last = t
            n += 1
    return n, first, last


@numba.njit(nogil=True, cache=True)
def _fill_linear(times: Floats, values: NDArray[np.float32], filled: Bools) -> None:
    depth, height, width = values.shape
    # The latest observation of each pixel of a row: its step, or -1.
    latest = np.empty(width, np.int64)
    for i in range(height):
        latest[:] = -1
        for t in range(depth):
            for j in range(width):
                if not np.isfinite(values[t, i, j]):
                    continue
                before = latest[j]
                if 0 <= before < t - 1:
                    low, high = np.float64(values[before, i, j]), np.float64(values[t, i, j])
                    slope = (high - low) / (times[t] - times[before])
                    for gap in range(before + 1, t):
                        values[gap, i, j] = low + slope * (times[gap] - times[before])
                        filled[gap, i, j] = True
                latest[j] = t


@numba.njit(nogil=True, cache=True)
def _write(
    fit: Floats, known: Bools, first: int, last: int, i: int, j: int,
    values: NDArray[np.float32], filled: Bools,
) -> None:  # fmt: skip
    """The fit into the gaps, held to the range of what was observed."""
    low, high = np.float32(np.inf), np.float32(-np.inf)
    for t in range(first, last + 1):
        if known[t]:
            low, high = min(low, values[t, i, j]), max(high, values[t, i, j])
    for t in range(first, last + 1):
        if not known[t]:
            values[t, i, j] = min(max(np.float32(fit[t]), low), high)
            filled[t, i, j] = True


@numba.njit(nogil=True, cache=True)
def _fill_harmonic(terms: Floats, values: NDArray[np.float32], filled: Bools) -> None:
    depth, height, width = values.shape
    size = terms.shape[1]
    series, known, fit = np.empty(depth), np.empty(depth, np.bool_), np.empty(depth)
    centre, right = np.empty(size), np.empty(size)
    normal = np.empty((size, size))
    for i in range(height):
        for j in range(width):
            n, first, last = _observed(values, i, j, series, known)
            if n < OBSERVATIONS_A_TERM * (size + 1) or n == last - first + 1:
                continue
            mean = _normal_equations(terms, series, known, n, centre, normal, right)
            _solve(normal, right)
            for t in range(first, last + 1):
                fit[t] = mean
                for a in range(size):
                    fit[t] += right[a] * (terms[t, a] - centre[a])
            _write(fit, known, first, last, i, j, values, filled)


@numba.njit(nogil=True, cache=True)
def _normal_equations(
    terms: Floats, series: Floats, known: Bools, n: int,
    centre: Floats, normal: Floats, right: Floats,
) -> float:  # fmt: skip
    """Ridge regression about the means; the mean of the observations."""
    size = terms.shape[1]
    mean = 0.0
    centre[:] = 0.0
    for t in range(series.size):
        if known[t]:
            mean += series[t] / n
            for a in range(size):
                centre[a] += terms[t, a] / n
    normal[:] = 0.0
    right[:] = 0.0
    for t in range(series.size):
        if known[t]:
            for a in range(size):
                term = terms[t, a] - centre[a]
                right[a] += term * (series[t] - mean)
                for b in range(a + 1):
                    normal[a, b] += term * (terms[t, b] - centre[b])
    for a in range(size):
        normal[a, a] += RIDGE * n
    return mean


@numba.njit(nogil=True, cache=True)
def _solve(normal: Floats, right: Floats) -> None:
    """Cholesky in place: ``right`` becomes the solution."""
    size = right.size
    for a in range(size):
        for b in range(a + 1):
            left = normal[a, b]
            for k in range(b):
                left -= normal[a, k] * normal[b, k]
            normal[a, b] = np.sqrt(left) if a == b else left / normal[b, b]
    for a in range(size):
        for k in range(a):
            right[a] -= normal[a, k] * right[k]
        right[a] /= normal[a, a]
    for a in range(size - 1, -1, -1):
        for k in range(a + 1, size):
            right[a] -= normal[k, a] * right[k]
        right[a] /= normal[a, a]


@numba.njit(nogil=True, cache=True)
def _fill_whittaker(
    rows: Floats, penalties: Floats, values: NDArray[np.float32], filled: Bools
) -> None:
    depth, height, width = values.shape
    series, known = np.empty(depth), np.empty(depth, np.bool_)
    fit, diagonals = np.empty(depth), roughness(rows, depth)
    for i in range(height):
        for j in range(width):
            n, first, last = _observed(values, i, j, series, known)
            if n < MIN_WHITTAKER or n == last - first + 1:
                continue
            if smooth(diagonals, penalties, series, known, fit):
                _write(fit, known, first, last, i, j, values, filled)
