"""How far a forecast lies beside what came: the shift that makes both most alike.

Each pixel that was observed is paired with the forecast at the same place and at all places up
to REACH_PX from it. Products of the pairs are summed, which adds up over parts of a raster, and
make a correlation for each shift. A gap leaves out the pairs that it touches, and no others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from geoforecast.validate.metrics.pooled import CONSTANT, UndefinedMetricError

REACH_PX = 3  # farthest shift that is tried, down and to the right
SHIFTS = 2 * REACH_PX + 1
MOST_PX = 60_000  # observed pixels of a frame that are paired
ALIGNMENT_SUMS = ("n", "f", "o", "ff", "oo", "fo")
LEAST_PAIRS = 50
ALIKE = 0.5  # correlation below which two maps have too little in common to lie beside each other
FAR_PX = 0.5
# Of 1 - r², the share that a shift of FAR_PX or more must take away. Errors that are smooth move
# the peak of a smooth field by pixels and make it hardly higher; a true shift makes it much higher.
TELLING = 0.2


def alignment_sums(
    forecast: NDArray[Any],
    observed: NDArray[Any],
    scored: NDArray[np.bool_],
    inner: tuple[slice, slice],
    kept: tuple[slice, slice],
    about: float,
) -> NDArray[np.float64]:
    """What a part of a frame adds.

    Args:
        forecast, observed: (y, x) band units, finite where scored.
        scored: (y, x) bool; True = usable in both.
        inner: the part whose observed pixels are paired, with REACH_PX of forecast around it where
            the frame goes on.
        kept: which rows and columns of that part are paired.
        about: a typical value, which is taken off both.
    Returns:
        (SHIFTS, SHIFTS, ALIGNMENT_SUMS) by how far down and to the right the forecast lies,
        from -REACH_PX.
    """
    rows, cols = (
        np.arange(side)[part][lattice]
        for side, part, lattice in zip(scored.shape, inner, kept, strict=True)
    )
    result: NDArray[np.float64] = _pairs(forecast, observed, scored, rows, cols, about)
    return result


@numba.njit(cache=True, nogil=True)
def _pairs(forecast: Any, observed: Any, scored: Any, rows: Any, cols: Any, about: float) -> Any:
    height, width = scored.shape
    sums = np.zeros((SHIFTS, SHIFTS, 6))
    for down in range(-REACH_PX, REACH_PX + 1):
        for right in range(-REACH_PX, REACH_PX + 1):
            n = s_f = s_o = s_ff = s_oo = s_fo = 0.0
            for row in rows:
                there = row + down
                if there < 0 or there >= height:
                    continue
                for col in cols:
                    beside = col + right
                    if beside < 0 or beside >= width:
                        continue
                    if not (scored[row, col] and scored[there, beside]):
                        continue
                    f = np.float64(forecast[there, beside]) - about
                    o = np.float64(observed[row, col]) - about
                    n += 1.0
                    s_f += f
                    s_o += o
                    s_ff += f * f
                    s_oo += o * o
                    s_fo += f * o
            cell = sums[down + REACH_PX, right + REACH_PX]
            cell[0], cell[1], cell[2] = n, s_f, s_o
            cell[3], cell[4], cell[5] = s_ff, s_oo, s_fo
    return sums


@dataclass(frozen=True)
class Shift:
    """Where a forecast lies: so many pixels further down (rows) and right (columns)."""

    down: float
    right: float

    @property
    def size(self) -> float:
        """In pixels."""
        return math.hypot(self.down, self.right)


def find_shift(sums: NDArray[np.float64]) -> Shift:
    """The shift of the highest correlation, between whole pixels by a parabola.

    Frames are correlated about their own means, and covariances and variances of all frames
    added up before they are divided, so that what differs between frames counts for nothing.
    Where the farthest shifts that are tried are the best there is no peak.

    Args:
        sums: (frame, SHIFTS, SHIFTS, ALIGNMENT_SUMS).
    Raises:
        UndefinedMetricError: too little is scored, the maps are too unlike, the peak is beyond
            reach, or the maps so smooth that a shift makes little difference.
    Source:
        Padfield (2012), IEEE Transactions on Image Processing 21, of masked images; the peak by a
        quadratic surface, least squares on the 3 x 3 shifts about it.
    """
    alike = _correlations(sums)
    row, col = (int(at) for at in np.unravel_index(np.nanargmax(alike), alike.shape))
    peak, here = alike[row, col], alike[REACH_PX, REACH_PX]
    if not peak >= ALIKE:
        raise UndefinedMetricError(
            f"no shift makes forecast and observation alike (correlation below {ALIKE:g})"
        )
    if not {0, SHIFTS - 1}.isdisjoint((row, col)):
        raise UndefinedMetricError(
            f"likeness has no peak within {REACH_PX} px: maps are too smooth, or lie farther apart"
        )
    down, right, rise = _vertex(alike[row - 1 : row + 2, col - 1 : col + 2])
    shift = Shift(row - REACH_PX + down, col - REACH_PX + right)
    unlike_here, unlike_there = (1 - min(max(r, 0.0), 1.0) ** 2 for r in (here, peak + rise))
    if shift.size >= FAR_PX and unlike_there > (1 - TELLING) * unlike_here:
        raise UndefinedMetricError(
            "maps are too smooth, or too unlike, to tell where the forecast lies"
        )
    return shift


def _correlations(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """(SHIFTS, SHIFTS) correlations, NaN where there are too few pairs or nothing varies."""
    n, f, o, ff, oo, fo = np.moveaxis(sums, -1, 0)
    enough = (n >= LEAST_PAIRS).all(axis=(1, 2))
    if not enough.any():
        raise UndefinedMetricError("no frame has enough scored pixels to be shifted")
    n, f, o, ff, oo, fo = (part[enough] for part in (n, f, o, ff, oo, fo))
    common = (fo - f * o / n).sum(axis=0)
    spreads = [(squares - total * total / n).sum(axis=0) for squares, total in ((ff, f), (oo, o))]
    sizes = ff.sum(axis=0), oo.sum(axis=0)
    if not all((s > CONSTANT * size).all() for s, size in zip(spreads, sizes, strict=True)):
        raise UndefinedMetricError("the observed or the forecast maps have one value")
    correlations: NDArray[np.float64] = common / np.sqrt(spreads[0] * spreads[1])
    return correlations


def _vertex(block: NDArray[np.float64]) -> tuple[float, float, float]:
    """Where a quadratic surface through 3 x 3 values is highest, from the middle; and its rise."""
    y, x = np.mgrid[-1:2, -1:2].reshape(2, -1).astype(np.float64)
    terms = np.stack([np.ones(9), y, x, y * y, x * y, x * x], axis=1)
    _, b, c, d, e, f = np.linalg.lstsq(terms, block.ravel(), rcond=None)[0]
    # Where it has no highest point, or one that is farther than a pixel, the middle stands.
    if not (d < 0 and 4 * d * f > e * e):
        return 0.0, 0.0, 0.0
    down, right = np.linalg.solve([[2 * d, e], [e, 2 * f]], [-b, -c])
    if max(abs(down), abs(right)) > 1:
        return 0.0, 0.0, 0.0
    return float(down), float(right), float((b * down + c * right) / 2)
