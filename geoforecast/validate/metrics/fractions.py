"""Fractions skill score: whether events were forecast nearly where they came, scale by scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from geoforecast.validate.metrics.pooled import UndefinedMetricError, metric

FRACTION = "fraction"  # a kind of metrics: of events in windows
SCALES_PX = (1, 3, 5, 9, 17, 33, 65)  # sides of the windows
REACH_PX = SCALES_PX[-1] // 2
FSS_SUMS = ("difference", "forecast", "observed")  # of squared fractions


def fraction_sums(
    forecast: NDArray[np.bool_],
    observed: NDArray[np.bool_],
    scored: NDArray[np.bool_],
    scales: tuple[int, ...] = SCALES_PX,
    inner: tuple[slice, slice] = (slice(None), slice(None)),
) -> NDArray[np.float64]:
    """What the score of a frame is made of; sums of parts of a frame, and of frames, add up.

    At each scored pixel, the share of the scored pixels around it that are events.

    Args:
        forecast, observed: (y, x) bool, True = an event; anything where not scored.
        scored: (y, x) bool.
        scales: odd sides of the windows, pixels; they are cut at the raster's edges.
        inner: the part that is summed, with REACH_PX around it where the frame goes on.
    Returns:
        (scale, 3) in the order of FSS_SUMS.
    Source:
        Roberts & Lean (2008), Monthly Weather Review 136, eqs. 5 to 7; with gaps left out of
        numerator and denominator of each share.
    """
    known, said, came = (_summed(one) for one in (scored, forecast & scored, observed & scored))
    rows, cols = (part.indices(side)[:2] for part, side in zip(inner, scored.shape, strict=True))
    sums = np.zeros((len(scales), len(FSS_SUMS)))
    for number, scale in enumerate(scales):
        sums[number] = _add(scored, known, said, came, scale // 2, *rows, *cols).sum(axis=0)
    return sums


@dataclass(frozen=True)
class PooledFractions:
    """Sums over all scored pixels of one method, band, lead, threshold and scale.

    Attributes:
        n: scored pixels.
        difference, forecast, observed: sums of squared fractions, and of their differences'.
    """

    n: int
    difference: float
    forecast: float
    observed: float


@metric(
    title="FSS",
    better="higher",
    kinds=(FRACTION,),
    formula="1 − Σ(p − q)² / (Σp² + Σq²), p and q the shares of the scored pixels in a window that "
    f"were forecast and observed as events, windows of {', '.join(map(str, SCALES_PX))} px",
    source="Roberts & Lean (2008), Monthly Weather Review 136",
)
def fss(pooled: PooledFractions) -> float:
    """Fractions skill score: 1 is perfect, 0 has no event anywhere near."""
    worst = pooled.forecast + pooled.observed
    if not worst > 0:
        raise UndefinedMetricError("no event was observed and none was forecast")
    return 1 - pooled.difference / worst


def useful_scale(scores: dict[int, float], share: float) -> float:
    """The smallest scale, pixels, whose score is halfway from chance to perfect, or more.

    Args:
        scores: by scale.
        share: of scored pixels that were events; a random forecast of as many scores that.
    Returns:
        NaN if no scale does.
    Source:
        Roberts & Lean (2008), eq. 9.
    """
    reached = [scale for scale, score in sorted(scores.items()) if score >= 0.5 + share / 2]
    return float(reached[0]) if reached else float("nan")


def _summed(part: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(y + 1, x + 1) how many are true above and to the left."""
    table = np.zeros((part.shape[0] + 1, part.shape[1] + 1), np.int64)
    np.cumsum(part, axis=0, out=table[1:, 1:])
    np.cumsum(table[1:, 1:], axis=1, out=table[1:, 1:])
    return table


@numba.njit(cache=True, nogil=True)
def _add(
    scored: NDArray[np.bool_],
    known: NDArray[np.int64],
    said: NDArray[np.int64],
    came: NDArray[np.int64],
    radius: int,
    row0: int,
    row1: int,
    col0: int,
    col1: int,
) -> Any:
    """(y, 3) sums of each row of the part."""
    height, width = scored.shape
    rows = np.zeros((row1 - row0, 3))
    for row in range(row0, row1):
        top, bottom = max(0, row - radius), min(height, row + radius + 1)
        difference = forecast = observed = 0.0
        for col in range(col0, col1):
            if not scored[row, col]:
                continue
            left, right = max(0, col - radius), min(width, col + radius + 1)
            n = known[bottom, right] - known[top, right] - known[bottom, left] + known[top, left]
            f = said[bottom, right] - said[top, right] - said[bottom, left] + said[top, left]
            o = came[bottom, right] - came[top, right] - came[bottom, left] + came[top, left]
            p, q = f / n, o / n
            difference += (p - q) * (p - q)
            forecast += p * p
            observed += q * q
        sums = rows[row - row0]
        sums[0], sums[1], sums[2] = difference, forecast, observed
    return rows
