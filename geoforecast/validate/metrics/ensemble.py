"""Whether a forecast knows how sure it may be: scores of equally likely values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from geoforecast.validate.metrics.pooled import UndefinedMetricError, metric

ENSEMBLE = "ensemble"  # a kind of metrics: of equally likely values
SIZE = 20  # of them: nineteen gaps between them, and the two beyond
ENSEMBLE_SUMS = ("crps", "variance", "ee")
RANKS = SIZE + 1
# Values are the middles of equal shares: beyond the first and the last lies half of one.
EXPECTED: NDArray[np.float64] = np.full(RANKS, 1 / SIZE)
EXPECTED[[0, -1]] /= 2


@dataclass(frozen=True)
class PooledEnsemble:
    """Sums over all scored pixels of the forecast of one band and lead.

    Attributes:
        n: scored pixels.
        crps: sum of continuous ranked probability scores, band units.
        variance: sum of the values' variances.
        ee: sum of squared errors of their means.
        ranks: (RANKS,) in how many pixels that many of the values lay below what came.
    """

    n: int
    crps: float
    variance: float
    ee: float
    ranks: NDArray[np.float64]


def ensemble_sums(
    likely: NDArray[Any], observed: NDArray[Any], scored: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What the scores are made of.

    Args:
        likely: (size, y, x) ascending values.
        observed: (y, x); both in band units, finite where scored.
        scored: (y, x) bool.
    Returns:
        (ENSEMBLE_SUMS,) and (size + 1,) pixels by rank; a pixel whose rank is open, because
        values are what came, counts in equal parts for all that it may have.
    """
    rows = _rows(likely, observed, scored)
    total: NDArray[np.float64] = rows.sum(axis=0)
    return total[: len(ENSEMBLE_SUMS)], total[len(ENSEMBLE_SUMS) :]


@numba.njit(cache=True, nogil=True)
def _rows(likely: Any, observed: Any, scored: Any) -> Any:
    """(y, sums and ranks) of each row."""
    size, height, width = likely.shape
    rows = np.zeros((height, 3 + size + 1))
    for row in range(height):
        sums = rows[row]
        for col in range(width):
            if not scored[row, col]:
                continue
            o = np.float64(observed[row, col])
            pinball = total = squares = 0.0
            below = same = 0
            for number in range(size):
                q = np.float64(likely[number, row, col])
                share = (number + 0.5) / size
                pinball += (o - q) * share if o >= q else (q - o) * (1 - share)
                total += q - o
                squares += (q - o) * (q - o)
                if q < o:
                    below += 1
                elif q == o:
                    same += 1
            mean = total / size
            sums[0] += 2 * pinball / size
            sums[1] += max(0.0, squares / size - mean * mean) * size / (size - 1)
            sums[2] += mean * mean
            for rank in range(below, below + same + 1):
                sums[3 + rank] += 1 / (same + 1)
    return rows


@metric(
    title="CRPS",
    better="lower",
    in_units=True,
    kinds=(ENSEMBLE,),
    formula=f"mean of ∫(F − 1{{x ≥ o}})² dx, F that of {SIZE} equally likely values; of "
    "a forecast without any spread it is the MAE",
    source="Gneiting & Raftery (2007), Journal of the American Statistical Association 102",
)
def crps(pooled: PooledEnsemble) -> float:
    """Continuous ranked probability score, band units."""
    return pooled.crps / pooled.n


@metric(
    title="spread-skill ratio",
    better="one",
    kinds=(ENSEMBLE,),
    formula="√((m + 1) / m · mean variance of the m values / mean squared error of their mean); "
    "below 1 the forecast is too sure of itself",
    source="Fortin et al. (2014), Journal of Hydrometeorology 15",
)
def spread_skill(pooled: PooledEnsemble) -> float:
    """How large the values' spread is beside the error of their mean."""
    if not pooled.ee > 0:
        raise UndefinedMetricError("the error is zero, so no spread can be set against it")
    return math.sqrt((SIZE + 1) / SIZE * pooled.variance / pooled.ee)


@metric(
    title="unevenness of ranks",
    better="zero",
    kinds=(ENSEMBLE,),
    formula="Σ|share of pixels of each rank − what it should be|; 0 is a flat rank histogram: what "
    "comes lies between any two neighbouring values equally often, and beyond them half as often",
    source="Delle Monache et al. (2006), Journal of Geophysical Research 111",
)
def rank_unevenness(pooled: PooledEnsemble) -> float:
    """How far the rank histogram is from flat."""
    if not pooled.ranks.any():
        raise UndefinedMetricError("no values are known to rank")
    return float(np.abs(pooled.ranks / pooled.ranks.sum() - EXPECTED).sum())
