"""How alike neighbouring pixels are: Moran's I and Geary's C of rasters with gaps.

The usual libraries (esda on libpysal) hold every pair of neighbours in a matrix, of which a raster
of 4096 x 4096 pixels has 134 million; here a pass over the pixels looks at each one's neighbours.
What is summed is the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from geoforecast.validate.metrics.neighbours import COLS, NEIGHBOURS, ROWS, SUMS, degrees, weigh

CONSTANT = 1e-14  # of the sum of squares about 0: a spread below is rounding of float32


@dataclass(frozen=True)
class Autocorrelation:
    """Moran's I and Geary's C of one field.

    Attributes:
        pixels: with a value, those without neighbours among them.
        pairs: of neighbours, each counted once.
        moran: about -1 (a chessboard) to 1 (smooth); NaN where undefined.
        moran_expected: what it would be without any autocorrelation, -1 / (pixels - 1).
        moran_z: deviations of ``moran`` from that, were pixels independent and normal.
        geary: 0 (smooth), 1 without autocorrelation, above where neighbours differ more.
        geary_z: deviations of ``geary`` from 1, likewise; below 0 where neighbours are alike.
        reason: why the numbers are NaN, or nothing.
    """

    pixels: int
    pairs: int
    moran: float
    moran_expected: float
    moran_z: float
    geary: float
    geary_z: float
    reason: str = ""


def autocorrelation(
    values: NDArray[Any],
    valid: NDArray[np.bool_],
    *,
    neighbours: str = "queen",
    standardised: bool = True,
) -> Autocorrelation:
    """Moran's I and Geary's C of a whole field.

    Args:
        values: (y, x), anything where not valid.
        valid: (y, x) bool; True = usable. Infinite values and NaN are left out as well.
        neighbours: ``queen``, which share a side or a corner, or ``rook``, which share a side.
        standardised: whether the neighbours of a pixel weigh 1 together, rather than each.
    Returns:
        Both with their deviations from independence. NaN and why, where fewer than two
        pixels are valid, none has a neighbour, or all have one value.
    Source:
        Cliff & Ord (1981), Spatial Processes, eqs. 1.44, 1.45, 2.18 and 2.19.
    """
    known = valid & np.isfinite(values)
    n = int(known.sum())
    mean = math.fsum(np.sum(values, axis=1, where=known, dtype=np.float64)) / max(1, n)
    whole = (slice(None), slice(None))
    sums = neighbour_sums(
        values, known, whole, mean, neighbours=neighbours, standardised=standardised
    )
    return from_sums(sums)


def neighbour_sums(
    values: NDArray[Any],
    valid: NDArray[np.bool_],
    inner: tuple[slice, slice],
    shift: float,
    *,
    neighbours: str = "queen",
    standardised: bool = True,
) -> NDArray[np.float64]:
    """What both are made of, of a part of a field; the sums of its parts add up.

    Args:
        values, valid, neighbours, standardised: see autocorrelation; with at least two pixels
            around the part, where the field goes on.
        inner: the part.
        shift: a typical value, about which sums are taken.
    Returns:
        (SUMS,) float64.
    """
    known = valid & np.isfinite(values)
    return weigh(known, inner, neighbours=neighbours, standardised=standardised).sums(values, shift)


def from_sums(sums: NDArray[np.float64]) -> Autocorrelation:
    """Moran's I and Geary's C of a field, from the sums of its parts.

    Args:
        sums: (SUMS,) see neighbour_sums.
    """
    total = dict(zip(SUMS, sums.tolist(), strict=True))
    n, pairs = int(total["n"]), int(total["pairs"]) // 2
    if n < 2:
        return _undefined(n, 0, "fewer than two pixels have a value")
    if not pairs:
        return _undefined(n, 0, "no pixel has a neighbour with a value")
    mean = total["x"] / n
    m2 = total["xx"] - n * mean * mean
    if m2 <= CONSTANT * total["size"]:
        return _undefined(n, pairs, "all pixels have one value")
    s0, s1, s2 = total["w"], total["s1"], total["s2"]
    # w (x - m)(x' - m), multiplied out.
    products = total["wxx"] - mean * (total["wx"] + total["wx_other"]) + mean * mean * s0
    moran = n / s0 * products / m2
    geary = (n - 1) / (2 * s0) * total["wdd"] / m2
    expected = -1 / (n - 1)
    moran_variance = (n * n * s1 - n * s2 + 3 * s0 * s0) / ((n - 1) * (n + 1) * s0 * s0)
    moran_variance -= expected * expected
    geary_variance = ((2 * s1 + s2) * (n - 1) - 4 * s0 * s0) / (2 * (n + 1) * s0 * s0)
    return Autocorrelation(
        pixels=n,
        pairs=pairs,
        moran=moran,
        moran_expected=expected,
        moran_z=_deviations(moran - expected, moran_variance),
        geary=geary,
        geary_z=_deviations(geary - 1, geary_variance),
    )


def local_moran(
    values: NDArray[Any], valid: NDArray[np.bool_], *, neighbours: str = "queen"
) -> NDArray[np.float64]:
    """How alike each pixel is to the mean of its neighbours: above 0 in hot and cold spots.

    Args:
        values, valid, neighbours: see autocorrelation.
    Returns:
        (y, x), NaN where not valid, 0 without neighbours; its mean is about Moran's I.
        All NaN where the valid pixels have one value.
    Source:
        Anselin (1995), Geographical Analysis 27, eq. 7, rows standardised.
    """
    known = valid & np.isfinite(values)
    n = int(known.sum())
    result = np.full(known.shape, np.nan)
    mean = math.fsum(np.sum(values, axis=1, where=known, dtype=np.float64)) / max(1, n)
    centred = np.zeros(known.shape)
    np.subtract(values, mean, out=centred, where=known, dtype=np.float64)
    m2 = math.fsum(np.square(centred).sum(axis=1))
    if n < 2 or m2 <= CONSTANT * n * mean * mean:
        return result
    others, _ = neighbour_means(centred, known, neighbours=neighbours)
    np.copyto(result, centred * others * ((n - 1) / m2), where=known)
    return result


def neighbour_means(
    values: NDArray[np.float64], valid: NDArray[np.bool_], *, neighbours: str = "queen"
) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Mean of each pixel's valid neighbours, and how many there are; 0 where there are none.

    Args:
        values: (y, x), finite where valid.
        valid: (y, x) bool; True = usable.
        neighbours: see autocorrelation.
    """
    around = NEIGHBOURS[neighbours]
    degree = degrees(valid, around)
    return _means(values, valid, degree, around), degree


def _undefined(pixels: int, pairs: int, reason: str) -> Autocorrelation:
    nothing = math.nan
    return Autocorrelation(pixels, pairs, nothing, nothing, nothing, nothing, nothing, reason)


def _deviations(difference: float, variance: float) -> float:
    return difference / math.sqrt(variance) if variance > 0 else math.nan


@numba.njit(cache=True, nogil=True)
def _means(
    values: NDArray[np.float64], known: NDArray[np.bool_], degree: NDArray[np.uint8], around: int
) -> NDArray[np.float64]:
    """(y, x) mean of the neighbours' values."""
    height, width = values.shape
    result = np.zeros((height, width))
    for row in range(height):
        for col in range(width):
            if degree[row, col] == 0:
                continue
            total = 0.0
            for k in range(around):
                r, c = row + ROWS[k], col + COLS[k]
                if 0 <= r < height and 0 <= c < width and known[r, c]:
                    total += values[r, c]
            result[row, col] = total / degree[row, col]
    return result
