"""What is summed of a frame, in one pass over its pixels: all that pooled metrics are made of."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from geoforecast.raster.grid import Tile

# In this order; see Pooled.
SUMS = (
    *("n", "e", "abs_e", "ee", "o", "oo", "oe"),
    *("relative", "relative_n"),
    *("anomalies_n", "ff_anomaly", "oo_anomaly", "fo_anomaly"),
)
# Of the range of the training values: what is observed nearer to 0 has no relative error.
NEAR_ZERO = 0.01


@dataclass(frozen=True)
class Scale:
    """What a band's sums are about.

    Attributes:
        shift: a typical value, taken off the observed so that their variance stays exact.
        least: the smallest size of an observed value whose relative error is taken.
    """

    shift: float = 0.0
    least: float = 0.0


def lattice(tile: Tile, shape: tuple[int, int], most_px: int) -> tuple[slice, slice]:
    """Rows and columns of a tile that lie on a lattice of about ``most_px`` pixels.

    Args:
        tile: where it lies.
        shape: of the raster, which decides the lattice: tiles never do.
        most_px: pixels of a raster of which all are taken.
    """
    stride = math.ceil(math.sqrt(shape[0] * shape[1] / most_px))
    rows, cols = (slice(-first % stride, None, stride) for first in (tile.row0, tile.col0))
    return rows, cols


def frame_sums(
    forecast: NDArray[Any],
    observed: NDArray[Any],
    scored: NDArray[np.bool_],
    scale: Scale,
    normal: NDArray[Any] | None = None,
) -> NDArray[np.float64]:
    """The sums that the metrics need, in float64.

    Args:
        forecast, observed: (y, x), band units, finite where scored.
        scored: (y, x) bool.
        scale: see Scale.
        normal: (y, x) what is normal at that time, from which anomalies are taken; NaN where
            it is not known. None: no anomalies are summed.
    Returns:
        (SUMS,)
    """
    known = forecast if normal is None else normal
    about = float(scale.shift), float(scale.least)
    rows = _rows(forecast, observed, scored, known, normal is not None, *about)
    total: NDArray[np.float64] = rows.sum(axis=0)
    return total


@numba.njit(cache=True, nogil=True)
def _rows(
    forecast: NDArray[Any],
    observed: NDArray[Any],
    scored: NDArray[np.bool_],
    normal: NDArray[Any],
    has_normal: bool,
    shift: float,
    least: float,
) -> NDArray[np.float64]:
    """(y, SUMS) of each row."""
    height, width = scored.shape
    rows = np.zeros((height, 13))
    for row in range(height):
        n = relative_n = anomalies_n = 0
        e_ = abs_e = ee = o_ = oo = oe = relative = ffa = ooa = foa = 0.0
        for col in range(width):
            if not scored[row, col]:
                continue
            f, o = np.float64(forecast[row, col]), np.float64(observed[row, col])
            e = f - o
            size = abs(e)
            n += 1
            e_ += e
            abs_e += size
            ee += e * e
            about = o - shift
            o_ += about
            oo += about * about
            oe += about * e
            if abs(o) >= least and o != 0.0:
                relative += size / abs(o)
                relative_n += 1
            if has_normal:
                c = np.float64(normal[row, col])
                if c == c:
                    fa, oa = f - c, o - c
                    ffa += fa * fa
                    ooa += oa * oa
                    foa += fa * oa
                    anomalies_n += 1
        sums = rows[row]
        sums[0], sums[1], sums[2], sums[3], sums[4], sums[5] = n, e_, abs_e, ee, o_, oo
        sums[6], sums[7], sums[8] = oe, relative, relative_n
        sums[9], sums[10], sums[11], sums[12] = anomalies_n, ffa, ooa, foa
    return rows


@numba.njit(cache=True, nogil=True)
def add_errors(scored: Any, forecast: Any, observed: Any, error: Any, squared: Any) -> None:
    """Add errors and their squares where scored, in float64; (y, x) each."""
    for row in range(scored.shape[0]):
        for col in range(scored.shape[1]):
            if scored[row, col]:
                e = np.float64(forecast[row, col]) - np.float64(observed[row, col])
                error[row, col] += e
                squared[row, col] += e * e


@numba.njit(cache=True, nogil=True)
def add_squares(scored: Any, forecast: Any, observed: Any, squared: Any) -> None:
    """Add squared errors alone; see add_errors."""
    for row in range(scored.shape[0]):
        for col in range(scored.shape[1]):
            if scored[row, col]:
                e = np.float64(forecast[row, col]) - np.float64(observed[row, col])
                squared[row, col] += e * e
