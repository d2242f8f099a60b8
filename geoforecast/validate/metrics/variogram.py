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


def variogram_sums(
    forecast: NDArray[Any], observed: NDArray[Any], scored: NDArray[np.bool_], side: int
) -> NDArray[np.float64]:
    """Squared differences of all pairs of scored pixels of a row or a column, by distance.

    Pairs whose two pixels lie in one block of the raster, so that parts which are made of whole
    blocks add up to the raster, however it is cut.

    Args:
        forecast, observed: (y, x), band units, anything where not scored.
        scored: (y, x) bool.
        side: of the blocks, pixels; the first begins where the arrays do, the last may be cut.
    Returns:
        (LAGS_PX, VARIOGRAM_SUMS).
    Source:
        Matheron (1963), Economic Geology 58, eq. 1, with both axes pooled.
    """
    if not side:
        return np.zeros((len(LAGS_PX), len(VARIOGRAM_SUMS)))
    lags = np.array([lag for lag in LAGS_PX if lag < side])
    found = np.zeros((len(LAGS_PX), len(VARIOGRAM_SUMS)))
    found[: len(lags)] = _pairs(forecast, observed, scored, side, lags)
    return found


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
def _pairs(
    forecast: NDArray[Any],
    observed: NDArray[Any],
    scored: NDArray[np.bool_],
    side: int,
    lags: NDArray[np.int64],
) -> Any:
    """(lag, VARIOGRAM_SUMS) of arrays that begin with a block."""
    height, width = scored.shape
    sums = np.zeros((len(lags), 4))
    for row in range(height):
        bottom = min(height, (row // side + 1) * side)
        for col in range(width):
            if not scored[row, col]:
                continue
            right = min(width, (col // side + 1) * side)
            f, o = np.float64(forecast[row, col]), np.float64(observed[row, col])
            for number in range(len(lags)):
                lag = lags[number]
                if col + lag < right and scored[row, col + lag]:
                    df = np.float64(forecast[row, col + lag]) - f
                    do = np.float64(observed[row, col + lag]) - o
                    sums[number, 0] += 1
                    sums[number, 1] += do * do
                    sums[number, 2] += df * df
                    sums[number, 3] += (df - do) * (df - do)
                if row + lag < bottom and scored[row + lag, col]:
                    df = np.float64(forecast[row + lag, col]) - f
                    do = np.float64(observed[row + lag, col]) - o
                    sums[number, 0] += 1
                    sums[number, 1] += do * do
                    sums[number, 2] += df * df
                    sums[number, 3] += (df - do) * (df - do)
    return sums
