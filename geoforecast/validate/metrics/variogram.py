"""Semivariograms: how much pixels differ that lie so far apart, of forecast, observed and error.

A blurred forecast differs too little from pixel to pixel, one without large structures too little
from place to place, and errors that rise with distance have structure that could be forecast.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from geoforecast.validate.metrics.pooled import UndefinedMetricError, evaluate, metric, metric_names

VARIOGRAM = "variogram"  # a kind of metrics: of pixels so far apart
LAGS_PX = (1, 2, 4, 8, 16, 32)
VARIOGRAM_SUMS = ("pairs", "observed", "forecast", "error")  # squared differences, and how many
SILL_SHARE = 0.95  # of the semivariance at the longest lag, at which the range ends
NO_PAIRS = "no two scored pixels lie so far apart in a block of the raster"


@dataclass(frozen=True)
class Variogram:
    """Squared differences of pairs of scored pixels, all frames together.

    Attributes:
        n: scored pixels.
        sums: (LAGS_PX, VARIOGRAM_SUMS) band units squared.
    """

    n: int
    sums: NDArray[np.float64]

    def semivariance(self, field: str) -> NDArray[np.float64]:
        """(LAGS_PX,) half the mean squared difference; NaN where no pair is so far apart."""
        pairs = self.sums[:, 0]
        found = np.full(len(pairs), np.nan)
        np.divide(self.sums[:, VARIOGRAM_SUMS.index(field)], 2 * pairs, out=found, where=pairs > 0)
        return found

    def range_px(self, field: str) -> float:
        """The distance at which SILL_SHARE of the sill is reached, linear between lags.

        The sill is the semivariance at the longest lag that has pairs.

        Raises:
            UndefinedMetricError: there is no pair, or no variance.
        """
        found = self.semivariance(field)
        known = np.isfinite(found)
        if not known.any():
            raise UndefinedMetricError(NO_PAIRS)
        lags, values = [0.0], [0.0]
        lags += [lag for lag, told in zip(LAGS_PX, known, strict=True) if told]
        values += found[known].tolist()
        wanted = SILL_SHARE * values[-1]
        if not wanted > 0:
            raise UndefinedMetricError("the values do not vary")
        at = next(number for number, value in enumerate(values) if value >= wanted)
        share = (wanted - values[at - 1]) / (values[at] - values[at - 1])
        return lags[at - 1] + share * (lags[at] - lags[at - 1])


@dataclass(frozen=True)
class PooledLag:
    """Pairs of scored pixels of one method, band, lead and distance; see Variogram."""

    n: int
    pairs: int
    observed: float
    forecast: float
    error: float


def pair_counts(scored: NDArray[np.bool_], side: int) -> NDArray[np.float64]:
    """(LAGS_PX,) how many pairs of scored pixels lie so far apart in a row or a column.

    Pairs whose two pixels lie in one block of the raster, so that parts which are made of whole
    blocks add up to the raster, however it is cut.

    Args:
        scored: (y, x) bool.
        side: of the blocks, pixels, 0 for none; the first begins where the array does, the last
            may be cut.
    """
    lags = _lags(side)
    found = np.zeros(len(LAGS_PX))
    if len(lags):
        found[: len(lags)] = _count_pairs(scored, side, lags)
    return found


def square_sums(values: NDArray[Any], scored: NDArray[np.bool_], side: int) -> NDArray[np.float64]:
    """(LAGS_PX,) squared differences of the same pairs, added up.

    Args:
        values: (y, x) anything where not scored.
        scored, side: see pair_counts.
    Source:
        Matheron (1963), Economic Geology 58, eq. 1, with both axes pooled.
    """
    lags = _lags(side)
    found = np.zeros(len(LAGS_PX))
    if len(lags):
        found[: len(lags)] = _add_squares(values, scored, side, lags)
    return found


def _lags(side: int) -> NDArray[np.int64]:
    """Distances that two pixels of one block may have."""
    return np.array([lag for lag in LAGS_PX if lag < side], np.int64)


def variogram_values(variogram: Variogram) -> list[tuple[str, float, str]]:
    """(name such as variogram_ratio_4px, value, reason) of every metric and distance."""
    told = []
    for lag, (pairs, *sums) in zip(LAGS_PX, variogram.sums.tolist(), strict=True):
        pooled = PooledLag(variogram.n, int(pairs), *sums)
        told += [(f"{name}_{lag}px", *evaluate(name, pooled)) for name in metric_names(VARIOGRAM)]
    return told


_SOURCE = "Matheron (1963), Economic Geology 58"
_GAMMA = "γ(h) = Σ(z − z′)² / 2N over the N pairs of scored pixels h px apart in a row or column"


@metric(
    title="variogram ratio",
    better="one",
    kinds=(VARIOGRAM,),
    formula=f"γ of f / γ of o, {_GAMMA}, within blocks of up to 64 px; below 1 pixels of the "
    "forecast differ too little from those so far away",
    source=_SOURCE,
)
def variogram_ratio(pooled: PooledLag) -> float:
    """How much pixels of the forecast differ for each unit by which those of what came do."""
    return _ratio(pooled, pooled.forecast)


@metric(
    title="variogram ratio, error",
    better="lower",
    kinds=(VARIOGRAM,),
    formula="γ of f − o / γ of o: the part of the observed differences between pixels so far "
    "apart that was not forecast; 1 is as good as a forecast without any",
    source=_SOURCE,
)
def variogram_error(pooled: PooledLag) -> float:
    """How much of the observed differences is error."""
    return _ratio(pooled, pooled.error)


def _ratio(pooled: PooledLag, squares: float) -> float:
    if not pooled.pairs:
        raise UndefinedMetricError(NO_PAIRS)
    if not pooled.observed > 0:
        raise UndefinedMetricError("observed pixels so far apart do not differ")
    return squares / pooled.observed


@numba.njit(cache=True, nogil=True)
def _count_pairs(scored: NDArray[np.bool_], side: int, lags: NDArray[np.int64]) -> Any:
    """(lag,) see pair_counts."""
    height, width = scored.shape
    counts = np.zeros(len(lags), np.int64)
    for number in range(len(lags)):
        lag = lags[number]
        for row in range(height):
            here = scored[row]
            if row + lag < min(height, (row // side + 1) * side):
                counts[number] += _both(here, scored[row + lag])
            for left in range(0, width, side):
                counts[number] += _both(here[left : left + side - lag], here[left + lag :])
    return counts


@numba.njit(cache=True, nogil=True)
def _both(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> int:
    """In how many places both are True; the shorter ends it."""
    count = 0
    for place in range(min(len(one), len(other))):
        count += one[place] & other[place]
    return count


# A block is copied, NaN where not scored, and stays in the nearest cache for all distances. Sums
# may be added in the order that suits the processor, several at once; none is taken to be finite.
@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "nsz"})
def _add_squares(
    values: NDArray[Any], scored: NDArray[np.bool_], side: int, lags: NDArray[np.int64]
) -> Any:
    """(lag,) see square_sums."""
    height, width = scored.shape
    sums = np.zeros(len(lags))
    block = np.empty((side, side))
    for top in range(0, height, side):
        rows = min(side, height - top)
        for left in range(0, width, side):
            cols = min(side, width - left)
            for row in range(rows):
                given = values[top + row, left : left + cols]
                known, line = scored[top + row, left : left + cols], block[row]
                for col in range(cols):
                    line[col] = np.float64(given[col]) if known[col] else np.nan
            for number in range(len(lags)):
                lag, total = lags[number], 0.0
                for row in range(rows):
                    line, beside = block[row], block[row, lag:]
                    for col in range(cols - lag):
                        apart = beside[col] - line[col]
                        total += apart * apart if apart == apart else 0.0
                for row in range(rows - lag):
                    line, below = block[row], block[row + lag]
                    for col in range(cols):
                        apart = below[col] - line[col]
                        total += apart * apart if apart == apart else 0.0
                sums[number] += total
    return sums
