"""Kernels that look at all pixels under a target pixel: average and mode.

The footprint of a target pixel is the box around its four corners. A pixel's result depends
on its own footprint only, so it is the same to the bit for any tiling.

What both take: see ``kernels``, but ``x`` and ``y`` are those of the pixels' corners, from
CoordinateMap.corners: (H + 1, W + 1).
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from geoforecast.raster.footprints import footprint, footprints_extent
from geoforecast.raster.kernels import OFFSET, SCALE, Bools, Floats, Raw, clear, used_numbers

# Classes whose weights differ by less than this part of a footprint are as frequent.
TIE = 1e-9


def average(
    raw: Raw,
    usable: Bools,
    numbers: Floats,
    row0: int,
    col0: int,
    height: int,
    width: int,
    x: Floats,
    y: Floats,
    values: NDArray[np.float32],
    valid: Bools,
) -> None:
    """The mean of the usable pixels in each footprint, weighted by the area they share.

    Valid if the footprint holds any part of a usable pixel. See the module for the
    arguments.
    """
    clear(values, valid)
    source = used_numbers(raw, usable, numbers)
    _average(source, numbers, row0, col0, height, width, x, y, values, valid)


@numba.njit(nogil=True, cache=True)
def _average(
    source: Raw,
    numbers: Floats,
    row0: int,
    col0: int,
    height: int,
    width: int,
    x: Floats,
    y: Floats,
    values: NDArray[np.float32],
    valid: Bools,
) -> None:
    bands, _, w = source.shape
    wide = valid.shape[2]
    boxes = np.empty((wide, 4), np.float64)
    totals, weights = np.empty(w), np.empty(w)
    for i in range(valid.shape[1]):
        for j in range(wide):
            boxes[j] = footprint(x, y, i, j, height, width)
        start = 0
        while start < wide:
            # Pixels that share their source rows share the sums down the columns too.
            stop = start + 1
            top, bottom, left, right = boxes[start]
            while stop < wide and boxes[stop, 0] == top and boxes[stop, 1] == bottom:
                left, right = min(left, boxes[stop, 2]), max(right, boxes[stop, 3])
                stop += 1
            if top < bottom and left < right:
                c0, c1 = int(np.floor(left)) - col0, int(np.ceil(right)) - col0
                for b in range(bands):
                    a, o = numbers[b, SCALE], numbers[b, OFFSET]
                    _sums_down(source[b, :, c0:c1], row0, top, bottom, totals, weights)
                    _means_across(
                        *(boxes[start:stop], c0 + col0, totals, weights, a, o),
                        *(values[b, i, start:stop], valid[b, i, start:stop]),
                    )
            start = stop


def mode(
    raw: Raw,
    usable: Bools,
    numbers: Floats,
    row0: int,
    col0: int,
    height: int,
    width: int,
    x: Floats,
    y: Floats,
    values: NDArray[Any],
    valid: Bools,
) -> None:
    """The usable value that covers most of each target pixel; of equal ones the smallest.

    Valid if the footprint holds any part of a usable pixel. Integer ``values`` are class
    codes, which scale and offset leave alone. See the module for the arguments.
    """
    *_, largest = footprints_extent(x, y, height, width)
    if raw.dtype.kind in "iu" and raw.dtype.itemsize <= 2:
        largest = min(largest, 2 ** (8 * raw.dtype.itemsize))
    slots = 2 << max(1, int(largest - 1).bit_length())  # a table that is never over half full
    scratch = np.empty(slots), np.zeros(slots), np.empty(slots, np.int64)
    codes = values.dtype.kind in "iu"
    place = (row0, col0, height, width)
    clear(values, valid)
    source = used_numbers(raw, usable, numbers)
    _mode(source, numbers, place, x, y, codes, scratch, values, valid)


@numba.njit(nogil=True, cache=True)
def _sums_down(
    source: Raw,
    row0: int,
    top: float,
    bottom: float,
    totals: Floats,
    weights: Floats,
) -> None:
    """Sums of value times height, and of height, of the used pixels of each column."""
    wide = source.shape[1]
    totals[:wide] = 0.0
    weights[:wide] = 0.0
    for r in range(int(np.floor(top)), int(np.ceil(bottom))):
        down = min(r + 1.0, bottom) - max(r + 0.0, top)
        row = source[r - row0]
        for c in range(wide):
            value = np.float64(row[c])
            good = value == value
            totals[c] += down * value if good else 0.0
            weights[c] += down if good else 0.0


@numba.njit(nogil=True, cache=True)
def _means_across(
    boxes: Floats,
    col0: int,
    totals: Floats,
    weights: Floats,
    scale: float,
    offset: float,
    values: NDArray[np.float32],
    valid: Bools,
) -> None:
    for j in range(boxes.shape[0]):
        left, right = boxes[j, 2], boxes[j, 3]
        total, weight = 0.0, 0.0
        for c in range(int(np.floor(left)), int(np.ceil(right))):
            across = min(c + 1.0, right) - max(c + 0.0, left)
            total += across * totals[c - col0]
            weight += across * weights[c - col0]
        if weight > 0.0:
            physical = np.float32(total / weight * scale + offset)
            if np.isfinite(physical):
                values[j] = physical
                valid[j] = True


@numba.njit(nogil=True, cache=True)
def _mode(
    source: Raw,
    numbers: Floats,
    place: tuple[int, int, int, int],
    x: Floats,
    y: Floats,
    codes: bool,
    scratch: tuple[Floats, Floats, NDArray[np.int64]],
    values: NDArray[Any],
    valid: Bools,
) -> None:
    """Weights by value in a hash table; ``scratch``: its keys, its weights, slots in use."""
    row0, col0, height, width = place
    keys, weights, used = scratch
    for i in range(valid.shape[1]):
        for j in range(valid.shape[2]):
            box = footprint(x, y, i, j, height, width)
            top, bottom, left, right = box
            if not (top < bottom and left < right):
                continue
            for b in range(source.shape[0]):
                n = _count(source[b], row0, col0, box, keys, weights, used)
                if n == 0:
                    continue
                best = _most_frequent(n, keys, weights, used, (bottom - top) * (right - left))
                if codes:
                    values[b, i, j] = np.int64(np.rint(best))
                    valid[b, i, j] = True
                    continue
                physical = np.float32(best * numbers[b, SCALE] + numbers[b, OFFSET])
                if np.isfinite(physical):
                    values[b, i, j] = physical
                    valid[b, i, j] = True


@numba.njit(nogil=True, cache=True)
def _count(
    source: Raw,
    row0: int,
    col0: int,
    box: tuple[float, float, float, float],
    keys: Floats,
    weights: Floats,
    used: NDArray[np.int64],
) -> int:
    """Add up the area of each usable value in a footprint; how many values there are."""
    top, bottom, left, right = box
    last_slot = np.uint64(keys.size - 1)
    n = 0
    for r in range(int(np.floor(top)), int(np.ceil(bottom))):
        down = min(r + 1.0, bottom) - max(r + 0.0, top)
        for c in range(int(np.floor(left)), int(np.ceil(right))):
            value = np.float64(source[r - row0, c - col0]) + 0.0  # -0.0 is 0.0
            if np.isnan(value):
                continue
            spread = np.float64(value).view(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
            slot = np.int64((spread >> np.uint64(32)) & last_slot)
            while weights[slot] > 0.0 and keys[slot] != value:
                slot = (slot + 1) & (keys.size - 1)
            if weights[slot] == 0.0:
                keys[slot] = value
                used[n] = slot
                n += 1
            weights[slot] += down * (min(c + 1.0, right) - max(c + 0.0, left))
    return n


@numba.njit(nogil=True, cache=True)
def _most_frequent(
    n: int, keys: Floats, weights: Floats, used: NDArray[np.int64], area: float
) -> float:
    """The value of the largest weight, the smallest of equal ones; empties the table."""
    most = 0.0
    for k in range(n):
        most = max(most, weights[used[k]])
    best = np.inf
    for k in range(n):
        if weights[used[k]] >= most - TIE * area:
            best = min(best, keys[used[k]])
        weights[used[k]] = 0.0
    return best
