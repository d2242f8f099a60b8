"""Bilinear resampling; see ``kernels`` for what it takes.

Sums of integers of 8 or 16 bits run in float32, which holds each of them; all others run in
float64. Where all four neighbours are used, pixels are computed as vectors; the rest, at
edges and beside what is not used, one by one.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from geoforecast.raster.kernels import (
    LARGEST,
    OFFSET,
    SCALE,
    Apart,
    Bools,
    Bytes,
    Floats,
    Raw,
    nothing_in,
    ready,
    used_part,
)

# Rows and columns that are done at once.
BLOCK = (64, 128)
Block = tuple[np.uint64, np.uint64, np.uint64, np.uint64]  # first row, column; rows, columns


def bilinear(
    raw: Raw,
    usable: Bools,
    numbers: Floats,
    row0: int,
    col0: int,
    height: int,
    width: int,
    x: Floats,
    y: Floats,
    values: Raw,
    valid: Bools,
) -> None:
    """Linear between the four neighbours; weights are shared out among those that are used."""
    place = (row0, col0, height, width)
    source = ready(raw, usable, numbers)
    _bilinear(*source, numbers, place, x, y, nothing_in(values), values, valid)


@numba.njit(nogil=True, cache=True)
def _bilinear(
    raw: Raw,
    usable: Bytes,
    limits: Raw,
    numbers: Floats,
    place: tuple[int, int, int, int],
    x: Floats,
    y: Floats,
    nothing: Any,
    values: Raw,
    valid: Bools,
) -> None:
    """Block by block, so that the source is still in the nearest cache when it is looked up."""
    bands, h, w = raw.shape
    own = usable.shape[0] == bands
    row0, col0, height, width = place
    us, vs = np.empty(BLOCK, limits.dtype), np.empty(BLOCK, limits.dtype)
    totals, rest = np.empty(BLOCK[1], limits.dtype), np.empty(BLOCK[0], np.int64)
    rows, cols = np.empty(BLOCK, np.int32), np.empty(BLOCK, np.int32)
    first = np.empty(BLOCK, np.int32)
    for i in range(0, x.shape[0], BLOCK[0]):
        for j in range(0, x.shape[1], BLOCK[1]):
            high, wide = min(BLOCK[0], x.shape[0] - i), min(BLOCK[1], x.shape[1] - j)
            here = (np.uint64(i), np.uint64(j), np.uint64(high), np.uint64(wide))
            _placed(x, y, here, height, width, us, vs, rows, cols)
            top, bottom = _extent(rows, here)
            left, right = _extent(cols, here)
            top, bottom = max(top, row0), min(bottom + 2, row0 + h)
            left, right = max(left, col0), min(right + 2, col0 + w)
            part = (top, left, max(bottom - top, 0), max(right - left, 0))
            _indexed(rows, cols, here, part, us, first)
            # Two by two at least: there those look who have no neighbours.
            source = np.empty((max(part[2], 2), max(part[3], 2)), limits.dtype)
            line, flat = np.uint64(source.shape[1]), source.reshape(source.size)
            for b in range(bands):
                m, a, o = b if own else 0, numbers[b, SCALE], numbers[b, OFFSET]
                out, seen = values[b], valid[b]
                corner = (top - row0, left - col0, part[2], part[3])
                used_part(raw[b], usable[m], limits[b], *corner, source)
                _among_four(flat, line, here, first, us, vs, a, o, nothing, totals, out, seen, rest)
                _elsewhere(source, a, o, part, here, height, width, x, y, rest, out, seen)


@numba.njit(nogil=True, cache=True, pipeline_class=Apart)
def _placed(
    x: Floats,
    y: Floats,
    here: Block,
    height: int,
    width: int,
    us: Raw,
    vs: Raw,
    rows: NDArray[np.int32],
    cols: NDArray[np.int32],
) -> None:
    """Upper left neighbours of a block's points, -2 outside the image; how far beyond they are."""
    i0, j0, high, wide = here
    for i in range(high):
        for j in range(wide):
            px, py = x[i0 + i, j0 + j], y[i0 + i, j0 + j]
            inside = (px >= -0.5) & (px < width - 0.5) & (py >= -0.5) & (py < height - 0.5)
            left, top = np.floor(px if inside else -2.0), np.floor(py if inside else -2.0)
            us[i, j], vs[i, j] = px - left, py - top
            cols[i, j], rows[i, j] = np.int32(left), np.int32(top)


@numba.njit(nogil=True, cache=True, pipeline_class=Apart)
def _extent(places: NDArray[np.int32], here: Block) -> tuple[Any, Any]:
    """The first and last of the rows, or columns, of a block's points in the image."""
    _, _, high, wide = here
    far = np.int32(2**30)
    first, last = far, np.int32(-2)
    for i in range(high):
        for j in range(wide):
            place = places[i, j]
            inside = place if place > np.int32(-2) else far
            first = inside if inside < first else first
            last = place if place > last else last
    return first, last


@numba.njit(nogil=True, cache=True, pipeline_class=Apart)
def _indexed(
    rows: NDArray[np.int32],
    cols: NDArray[np.int32],
    here: Block,
    part: tuple[int, int, int, int],
    us: Raw,
    first: NDArray[np.int32],
) -> None:
    """Where in a part of the source each point finds its upper left neighbour.

    Where one of the four lies beyond the image, ``us`` becomes NaN, and so will the result.
    """
    _, _, high, wide = here
    top, left, line = np.int32(part[0]), np.int32(part[1]), np.int32(part[3])
    last_r, last_c, nought = np.int32(part[2] - 1), np.int32(part[3] - 1), np.int32(0)
    gone = us.dtype.type(np.nan)
    for i in range(high):
        for j in range(wide):
            # 32 bits all along: as many lanes as there are floats.
            r, c = np.int32(rows[i, j] - top), np.int32(cols[i, j] - left)
            inner = (r >= nought) & (c >= nought) & (r < last_r) & (c < last_c)
            us[i, j] = us[i, j] if inner else gone
            k = np.int32(r * line + c)
            first[i, j] = k if inner else nought


@numba.njit(nogil=True, cache=True, pipeline_class=Apart)
def _among_four(
    flat: Raw,
    w: np.uint64,
    here: Block,
    first: NDArray[np.int32],
    us: Raw,
    vs: Raw,
    a: float,
    o: float,
    nothing: Any,
    totals: Raw,
    values: Raw,
    valid: Bools,
    rest: NDArray[np.int64],
) -> None:
    """The pixels among four that are used; ``rest`` becomes the number of others in each row."""
    i0, j0, high, wide = here
    one = np.uint64(1)
    for i in range(high):
        for j in range(wide):
            k = np.uint64(first[i, j])
            p00, p01, p10, p11 = flat[k], flat[k + one], flat[k + w], flat[k + w + one]
            upper = p00 + (p01 - p00) * us[i, j]
            lower = p10 + (p11 - p10) * us[i, j]
            totals[j] = upper + (lower - upper) * vs[i, j]
        done = np.int64(0)
        for j in range(wide):
            physical = np.float32(np.float64(totals[j]) * a + o)
            good = abs(physical) <= np.float32(LARGEST)
            values[i0 + i, j0 + j] = physical if good else nothing
            valid[i0 + i, j0 + j] = good
            done += good
        rest[i] = np.int64(wide) - done


@numba.njit(nogil=True, cache=True)
def _elsewhere(
    source: Raw,
    a: float,
    o: float,
    part: tuple[int, int, int, int],
    here: Block,
    height: int,
    width: int,
    x: Floats,
    y: Floats,
    rest: NDArray[np.int64],
    values: Raw,
    valid: Bools,
) -> None:
    """The pixels of a block that are not valid yet: at edges, beside what is not used."""
    top, left, h, w = part
    i0, j0, high, wide = np.int64(here[0]), np.int64(here[1]), np.int64(here[2]), np.int64(here[3])
    for i in range(i0, i0 + high):
        if rest[i - i0] == 0:
            continue
        for j in range(j0, j0 + wide):
            px, py = x[i, j], y[i, j]
            if valid[i, j] or not (-0.5 <= px < width - 0.5 and -0.5 <= py < height - 0.5):
                continue
            u, v = px - np.floor(px), py - np.floor(py)
            c, r = int(np.floor(px)) - left, int(np.floor(py)) - top
            if np.isnan(source[r + (1 if v >= 0.5 else 0), c + (1 if u >= 0.5 else 0)]):
                continue
            total, weights = 0.0, 0.0
            for dr in range(max(-r, 0), min(2, h - r)):
                for dc in range(max(-c, 0), min(2, w - c)):
                    number = np.float64(source[r + dr, c + dc])
                    if not np.isnan(number):
                        weight = (v if dr else 1.0 - v) * (u if dc else 1.0 - u)
                        total += weight * number
                        weights += weight
            physical = np.float32(total / weights * a + o)
            if abs(physical) <= np.float32(LARGEST):
                values[i, j] = physical
                valid[i, j] = True
