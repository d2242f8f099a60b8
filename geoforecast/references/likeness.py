"""Likeness: how alike the errors of neighbouring pixels are.

Errors come in patches. What a sum over pixels, an area or a stream makes of a forecast's
uncertainty hangs on that, so samples of a forecast must err in patches of the same size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DISTANCES = (1, 2, 4, 8, 16, 32)  # pixels, along rows and columns
CROP_PX = 128  # side of the part of a tile that is looked at
FARTHEST = 5.0  # errors count no more than this many units
# Widths of a Gaussian, in pixels, that are tried for the patches.
WIDTHS = tuple(float(width) for width in np.geomspace(0.5, 64.0, 29))

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Likeness:
    """What errors are the sum of: one shift of the whole raster, patches, and noise.

    Attributes:
        shared: share of the variance that all pixels have in common.
        patches: share of patches whose correlation falls with distance d as
            exp(-d^2 / (4 width^2)).
        width: in pixels.
    """

    shared: float
    patches: float
    width: float

    @property
    def noise(self) -> float:
        """Share that neighbours do not have in common."""
        return max(0.0, 1.0 - self.shared - self.patches)


def pairs(errors: NDArray[np.float32]) -> Floats:
    """(2, distance) mean product and mean square over pairs of pixels; 0 where there is none.

    Args:
        errors: (y, x) in units of the spread; NaN where unknown.
    """
    near = np.clip(errors, -FARTHEST, FARTHEST)
    result = np.zeros((2, len(DISTANCES)))
    for number, distance in enumerate(DISTANCES):
        products, squares, count = 0.0, 0.0, 0
        for one, other in (
            (near[distance:], near[:-distance]),
            (near[:, distance:], near[:, :-distance]),
        ):
            known = np.isfinite(one) & np.isfinite(other)
            a, b = one[known].astype(np.float64), other[known].astype(np.float64)
            products += float(a @ b)
            squares += float(a @ a + b @ b) / 2
            count += a.size
        if count:
            result[:, number] = products / count, squares / count
    return result


def fitted(sums: Floats) -> Likeness:
    """The likeness that sums of pairs() are closest to; independent errors if there are none.

    Args:
        sums: (2, distance) weighted sums over steps.
    """
    known = sums[1] > 0
    if not known.any():
        return Likeness(0.0, 0.0, WIDTHS[0])
    correlation = np.clip(sums[0, known] / sums[1, known], 0.0, 1.0)
    squared = np.square(np.asarray(DISTANCES, dtype=np.float64)[known])
    best, least = Likeness(0.0, 0.0, WIDTHS[0]), np.inf
    for width in WIDTHS:
        shape = np.exp(-squared / (4 * width * width))
        for shared in np.linspace(0.0, float(correlation.min()), 9):
            rest = correlation - shared
            patches = float(np.clip(shape @ rest / (shape @ shape), 0.0, 1.0 - shared))
            miss = float(np.square(rest - patches * shape).sum())
            if miss < least:
                best, least = Likeness(float(shared), patches, width), miss
    return best
