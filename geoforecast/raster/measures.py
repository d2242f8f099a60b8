"""What is measured of a cube while it is written, so that nobody need read it again.

For every step, band and cell of 256 x 256 pixels: count, mean, sum of squared differences
from the mean, minimum and maximum of the valid values; and an overview of every n-th pixel.
Cells and lattice are fixed to the grid, and cells are joined in a fixed order, so that the
numbers are the same to the bit for any chunks and jobs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

CELL_PX = 256
OVERVIEW_PX = 256  # an overview has at most so many pixels a side, but for huge grids
COUNT, MEAN, M2, LOW, HIGH = range(5)

Cells = NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """What was measured of one block of a cube.

    Attributes:
        step, row, col: where the block begins; row and col are multiples of CELL_PX.
        cells: (time, band, cell_y, cell_x, 5) float64: COUNT, MEAN, M2, LOW, HIGH, the last
            four NaN where COUNT is 0.
        overview: (time, band, y, x) float32, every n-th pixel; NaN where invalid.
    """

    step: int
    row: int
    col: int
    cells: Cells
    overview: NDArray[np.float32]


def overview_stride(shape: tuple[int, int]) -> int:
    """Pixels between those of the overview of a grid of (height, width): a power of two."""
    stride = 1
    while max(shape) > OVERVIEW_PX * stride and stride < CELL_PX:
        stride *= 2
    return stride


def measure(
    values: NDArray[Any], valid: NDArray[np.bool_], stride: int, *, step: int, row: int, col: int
) -> Part:
    """Measure a block.

    Args:
        values: (time, band, y, x), band units or class codes.
        valid: same shape, True = usable.
        stride: of the overview.
        step, row, col: where the block begins in the cube.
    """
    steps, bands, height, width = values.shape
    cells = np.full((steps, bands, -(-height // CELL_PX), -(-width // CELL_PX), 5), np.nan)
    _measure(values, valid, CELL_PX, cells)
    seen = (..., slice(None, None, stride), slice(None, None, stride))
    overview = np.where(valid[seen], values[seen], np.float32(np.nan)).astype(np.float32)
    return Part(step, row, col, cells, overview)


def one_sided(
    cells: Cells, shape: tuple[int, ...], side: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which chunks of a block have no valid pixel, and which have no other.

    Args:
        cells: (time, band, cell_y, cell_x, 5) of the block.
        shape: (height, width) of the block.
        side: of the chunks, a power of two.
    Returns:
        (chunk_y, chunk_x), True = not one valid, of all steps and bands; the same, True = all
        valid. Chunks that are smaller than cells count as neither if their cell does.
    """
    counts = cells[..., COUNT]
    height, width = (
        np.minimum(np.arange(0, length, CELL_PX) + CELL_PX, length) - np.arange(0, length, CELL_PX)
        for length in shape
    )
    area = np.multiply.outer(height, width)
    found = (counts == 0).all(axis=(0, 1)), (counts == area).all(axis=(0, 1))
    return _by_chunk(found[0], shape, side), _by_chunk(found[1], shape, side)


def _by_chunk(cells: NDArray[np.bool_], shape: tuple[int, ...], side: int) -> NDArray[np.bool_]:
    """(cell_y, cell_x) to (chunk_y, chunk_x): whether it is so of all cells of a chunk."""
    for axis, length in enumerate(shape):
        if side >= CELL_PX:
            starts = np.arange(0, cells.shape[axis], side // CELL_PX)
            cells = np.logical_and.reduceat(cells, starts, axis=axis)
        else:
            chunks = np.arange(-(-length // side))
            cells = cells.take(chunks * side // CELL_PX, axis=axis)
    return cells


def joined(cells: Cells) -> Cells:
    """Measures of several cells as one, in order along the second last axis.

    Args:
        cells: (..., n, 5).
    Returns:
        (..., 5)
    Source:
        Chan, Golub and LeVeque (1983), The American Statistician 37(3), eq. 2.1.
    """
    flat = np.ascontiguousarray(cells).reshape(-1, *cells.shape[-2:])
    result = np.full((len(flat), 5), np.nan)
    _join(flat, result)
    return result.reshape(*cells.shape[:-2], 5)


@numba.njit(nogil=True, cache=True)
def _measure(values: NDArray[Any], valid: NDArray[np.bool_], side: int, cells: Cells) -> None:
    steps, bands, height, width = values.shape
    for t in range(steps):
        for b in range(bands):
            for y in range(cells.shape[2]):
                for x in range(cells.shape[3]):
                    rows = y * side, min((y + 1) * side, height)
                    cols = x * side, min((x + 1) * side, width)
                    _measure_cell(
                        values[t, b, rows[0] : rows[1], cols[0] : cols[1]],
                        valid[t, b, rows[0] : rows[1], cols[0] : cols[1]],
                        cells[t, b, y, x],
                    )


@numba.njit(nogil=True, cache=True)
def _measure_cell(
    values: NDArray[Any], valid: NDArray[np.bool_], result: NDArray[np.float64]
) -> None:
    count = 0
    for i in range(valid.shape[0]):
        for j in range(valid.shape[1]):
            count += valid[i, j]
    result[0] = count
    if count == 0:
        return
    # Differences from a value of the cell keep the squares small, so that their sum is exact
    # enough in one pass.
    shift = 0.0
    found = False
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            if valid[i, j]:
                shift = float(values[i, j])
                found = True
                break
        if found:
            break
    total, squares = 0.0, 0.0
    low, high = np.inf, -np.inf
    for i in range(values.shape[0]):
        s, ss = 0.0, 0.0
        for j in range(values.shape[1]):
            value = float(values[i, j])
            ok = valid[i, j]
            d = value - shift if ok else 0.0
            s += d
            ss += d * d
            low = min(low, value) if ok else low
            high = max(high, value) if ok else high
        total += s
        squares += ss
    mean = total / count
    result[1] = shift + mean
    result[2] = max(0.0, squares - total * mean)
    result[3] = low
    result[4] = high


@numba.njit(nogil=True, cache=True)
def _join(cells: NDArray[np.float64], result: NDArray[np.float64]) -> None:
    for k in range(cells.shape[0]):
        count, mean, m2, low, high = 0.0, 0.0, 0.0, np.inf, -np.inf
        for i in range(cells.shape[1]):
            n = cells[k, i, 0]
            if not n > 0:
                continue
            delta = cells[k, i, 1] - mean
            both = count + n
            m2 += cells[k, i, 2] + delta * delta * count * n / both
            mean += delta * n / both
            count = both
            low = min(low, cells[k, i, 3])
            high = max(high, cells[k, i, 4])
        result[k, 0] = count
        if count > 0:
            result[k, 1], result[k, 2] = mean, m2
            result[k, 3], result[k, 4] = low, high
