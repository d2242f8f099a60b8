"""Which source pixels a tile needs: around its points, or under its pixels' footprints.

A footprint is the box around the four corners of a target pixel in the source image. It is
the pixel itself between grids that are not turned, and slightly more where they are.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from geoforecast.raster.grid import Tile

# Methods whose source coordinates are those of pixel corners.
AREA_METHODS = ("average", "mode")
# Pixels beyond the two by two around a point.
HALO_PX = {"nearest": 0, "bilinear": 0, "cubic": 1}

Floats = NDArray[np.float64]


def window_for(method: str, x: Floats, y: Floats, source_shape: tuple[int, int]) -> Tile | None:
    """The source rectangle that a method reads; None if nothing lies in the source.

    Args:
        method: nearest, bilinear, cubic, average or mode.
        x, y: source coordinates of pixel centres, or of corners for AREA_METHODS.
        source_shape: (height, width) of the whole source.
    """
    if method in AREA_METHODS:
        return footprint_window(x, y, source_shape)
    return source_window(x, y, source_shape, HALO_PX[method])


def source_window(x: Floats, y: Floats, source_shape: tuple[int, int], halo: int) -> Tile | None:
    """The two by two pixels around every point in the image, and ``halo`` more each way."""
    height, width = source_shape
    row0, row1, col0, col1 = _points_extent(x, y, height, width)
    return Tile(row0, row1, col0, col1).expanded(halo, source_shape) if row0 < row1 else None


def footprint_window(x: Floats, y: Floats, source_shape: tuple[int, int]) -> Tile | None:
    """The pixels under the footprints of a tile whose pixel corners are ``x``, ``y``."""
    height, width = source_shape
    row0, row1, col0, col1, _ = footprints_extent(x, y, height, width)
    return Tile(row0, row1, col0, col1) if row0 < row1 else None


@numba.njit(nogil=True, cache=True)
def footprint(
    x: Floats, y: Floats, i: int, j: int, height: int, width: int
) -> tuple[float, float, float, float]:
    """(top, bottom, left, right) of a target pixel in the image, whose corner is 0, 0."""
    left = min(min(x[i, j], x[i, j + 1]), min(x[i + 1, j], x[i + 1, j + 1])) + 0.5
    right = max(max(x[i, j], x[i, j + 1]), max(x[i + 1, j], x[i + 1, j + 1])) + 0.5
    top = min(min(y[i, j], y[i, j + 1]), min(y[i + 1, j], y[i + 1, j + 1])) + 0.5
    bottom = max(max(y[i, j], y[i, j + 1]), max(y[i + 1, j], y[i + 1, j + 1])) + 0.5
    known = x[i, j] + x[i, j + 1] + x[i + 1, j] + x[i + 1, j + 1]
    known += y[i, j] + y[i, j + 1] + y[i + 1, j] + y[i + 1, j + 1]
    if known - known != 0.0:
        return 0.0, 0.0, 0.0, 0.0
    return max(top, 0.0), min(bottom, float(height)), max(left, 0.0), min(right, float(width))


@numba.njit(nogil=True, cache=True)
def footprints_extent(
    x: Floats, y: Floats, height: int, width: int
) -> tuple[int, int, int, int, int]:
    """(row0, row1, col0, col1, most pixels that a footprint can touch); all 0 if there is none."""
    row0, row1, col0, col1, largest = float(height), 0.0, float(width), 0.0, 0.0
    for i in range(x.shape[0] - 1):
        for j in range(x.shape[1] - 1):
            top, bottom, left, right = footprint(x, y, i, j, height, width)
            if top < bottom and left < right:
                row0, row1 = min(row0, top), max(row1, bottom)
                col0, col1 = min(col0, left), max(col1, right)
                largest = max(largest, (bottom - top + 2.0) * (right - left + 2.0))
    if row0 >= row1:
        return 0, 0, 0, 0, 0
    rows = int(np.floor(row0)), int(np.ceil(row1))
    return *rows, int(np.floor(col0)), int(np.ceil(col1)), int(largest)


@numba.njit(nogil=True, cache=True)
def _points_extent(x: Floats, y: Floats, height: int, width: int) -> tuple[int, int, int, int]:
    """(row0, row1, col0, col1) of the two by two pixels around the points in the image."""
    row0, row1, col0, col1 = height, -1, width, -1
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            if -0.5 <= x[i, j] < width - 0.5 and -0.5 <= y[i, j] < height - 0.5:
                r, c = int(np.floor(y[i, j])), int(np.floor(x[i, j]))
                row0, row1, col0, col1 = min(row0, r), max(row1, r), min(col0, c), max(col1, c)
    if row0 > row1:
        return 0, 0, 0, 0
    return max(0, row0), min(height, row1 + 2), max(0, col0), min(width, col1 + 2)
