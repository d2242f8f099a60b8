"""Resampling of all bands of a scene at once, straight from its raw numbers.

Each kernel reads a window of a source image and writes float32 results in physical units:

    raw (band, h, w): any real dtype, the window whose top left pixel is (row0, col0) of a
        source image of (height, width)
    usable (band or 1, h, w): bool, True = the mask leaves the pixel
    nodata (band,): float64; a raw number equal to it is not used, nor is one that is not
        finite; NaN = none
    scale, offset (band,): float64; the result is value * scale + offset
    x, y (H, W): float64 source coordinates, whole numbers at pixel centres
    values, valid (band, H, W): the results; ``valid`` comes in all False, and ``values`` is
        written only where it becomes True

A result is valid if the nearest source pixel is usable, so that resampling neither grows
nor shrinks the data, and if float32 can hold it. Sums run in float64 in a fixed order, and
each result depends on its own coordinates only, so that any tiling gives the same bits.

Written here because libraries warp one band of one image at a time and depend on the chunk
they are asked for; see docs/design.md.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Raw = NDArray[Any]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


# What float32 can hold; NaN is not below it, nor is infinity.
_LARGEST = float(np.finfo(np.float32).max)


def as_they_are(bands: int) -> tuple[Floats, Floats, Floats]:
    """nodata, scale and offset of raw numbers that are physical already."""
    return np.full(bands, np.nan), np.ones(bands), np.zeros(bands)


@numba.njit(nogil=True, cache=True, inline="always")
def _is_usable(number: float, nodata: float) -> bool:
    return number != nodata and abs(number) <= _LARGEST


def copied(
    raw: Raw,
    usable: Bools,
    nodata: Floats,
    scale: Floats,
    offset: Floats,
    values: Raw,
    valid: Bools,
) -> None:
    """The window itself, where source and target share one grid; NaN, or 0, where invalid.

    Unlike the other kernels it writes every pixel, so that nobody need clear them before.
    """
    nothing = values.dtype.type(np.nan if values.dtype.kind == "f" else 0)
    _copied(raw, usable, nodata, scale, offset, nothing, values, valid)


@numba.njit(nogil=True, cache=True)
def _copied(
    raw: Raw,
    usable: Bools,
    nodata: Floats,
    scale: Floats,
    offset: Floats,
    nothing: Any,
    values: Raw,
    valid: Bools,
) -> None:
    bands, high, wide = raw.shape
    own = usable.shape[0] == bands
    for b in range(bands):
        m = b if own else 0
        none, a, o = nodata[b], scale[b], offset[b]
        for i in range(high):
            for j in range(wide):
                number = np.float64(raw[b, i, j])
                physical = number * a + o
                good = (
                    usable[m, i, j]
                    & (number != none)
                    & (abs(number) <= _LARGEST)
                    & (abs(physical) <= _LARGEST)
                )
                values[b, i, j] = physical if good else nothing
                valid[b, i, j] = good


@numba.njit(nogil=True, cache=True)
def nearest(
    raw: Raw,
    usable: Bools,
    nodata: Floats,
    scale: Floats,
    offset: Floats,
    row0: int,
    col0: int,
    height: int,
    width: int,
    x: Floats,
    y: Floats,
    values: Raw,
    valid: Bools,
) -> None:
    """The nearest source pixel."""
    bands = raw.shape[0]
    own = usable.shape[0] == bands
    high, wide = x.shape
    for i in range(high):
        for j in range(wide):
            if not (-0.5 <= x[i, j] < width - 0.5 and -0.5 <= y[i, j] < height - 0.5):
                continue  # outside the image, or NaN
            c = int(np.floor(x[i, j] + 0.5)) - col0
            r = int(np.floor(y[i, j] + 0.5)) - row0
            for b in range(bands):
                number = np.float64(raw[b, r, c])
                if usable[b if own else 0, r, c] and _is_usable(number, nodata[b]):
                    physical = number * scale[b] + offset[b]
                    if abs(physical) <= _LARGEST:
                        values[b, i, j] = physical
                        valid[b, i, j] = True


@numba.njit(nogil=True, cache=True)
def bilinear(
    raw: Raw,
    usable: Bools,
    nodata: Floats,
    scale: Floats,
    offset: Floats,
    row0: int,
    col0: int,
    height: int,
    width: int,
    x: Floats,
    y: Floats,
    values: Raw,
    valid: Bools,
) -> None:
    """Linear between the four neighbours; weights are shared out among the usable ones.

    Along a target row, source columns mostly follow one another within one source row. Such
    runs are found once for all bands, and inside them pixels are read in sequence, which is
    two to three times as fast as finding each by itself. The arithmetic is the same.
    """
    bands, h, w = raw.shape
    own = usable.shape[0] == bands
    high, wide = x.shape
    flat = np.ascontiguousarray(raw).reshape(bands, h * w)
    masks = np.ascontiguousarray(usable).reshape(usable.shape[0], h * w)
    us, vs = np.empty(wide), np.empty(wide)
    first = np.empty(wide, np.int64)  # flat index of the upper left neighbour; -1 outside
    inner = np.empty(wide, np.bool_)  # all four neighbours lie in the window
    clear = np.empty(wide, np.bool_)  # and are usable
    starts, stops = np.empty(wide, np.uint64), np.empty(wide, np.uint64)
    bases = np.empty(wide, np.uint64)
    for i in range(high):
        _place(x[i], y[i], row0, col0, height, width, h, w, us, vs, first, inner)
        runs = _runs(first, inner, starts, stops, bases)
        for b in range(bands):
            m = b if own else 0
            if own or b == 0:
                _clear(masks[m], np.uint64(w), runs, starts, stops, bases, clear)
            rest = _along_runs(
                flat[b],
                np.uint64(w),
                nodata[b],
                scale[b],
                offset[b],
                clear,
                us,
                vs,
                runs,
                starts,
                stops,
                bases,
                values[b, i],
                valid[b, i],
            )
            if rest:
                _elsewhere(
                    raw[b],
                    usable[m],
                    nodata[b],
                    scale[b],
                    offset[b],
                    row0,
                    col0,
                    height,
                    width,
                    x[i],
                    y[i],
                    values[b, i],
                    valid[b, i],
                )


@numba.njit(nogil=True, cache=True)
def _place(
    x: Floats,
    y: Floats,
    row0: int,
    col0: int,
    height: int,
    width: int,
    h: int,
    w: int,
    us: Floats,
    vs: Floats,
    first: NDArray[np.int64],
    inner: Bools,
) -> None:
    for j in range(x.shape[0]):
        inside = (x[j] >= -0.5) & (x[j] < width - 0.5) & (y[j] >= -0.5) & (y[j] < height - 0.5)
        left = np.floor(x[j]) if inside else -1.0
        top = np.floor(y[j]) if inside else -1.0
        us[j], vs[j] = x[j] - left, y[j] - top
        c, r = np.int32(left) - col0, np.int32(top) - row0
        inner[j] = inside & (r >= 0) & (c >= 0) & (r + 1 < h) & (c + 1 < w)
        first[j] = r * w + c


@numba.njit(nogil=True, cache=True)
def _runs(
    first: NDArray[np.int64],
    inner: Bools,
    starts: NDArray[np.uint64],
    stops: NDArray[np.uint64],
    bases: NDArray[np.uint64],
) -> int:
    """Stretches of pixels that lie side by side in the source; their number."""
    runs = 0
    j = 0
    wide = first.shape[0]
    while j < wide:
        if not inner[j]:
            j += 1
            continue
        start = j
        j += 1
        while j < wide and inner[j] and first[j] == first[j - 1] + 1:
            j += 1
        starts[runs], stops[runs], bases[runs] = start, j, first[start]
        runs += 1
    return runs


@numba.njit(nogil=True, cache=True)
def _clear(
    mask: Bools,
    w: np.uint64,
    runs: int,
    starts: NDArray[np.uint64],
    stops: NDArray[np.uint64],
    bases: NDArray[np.uint64],
    clear: Bools,
) -> None:
    for run in range(runs):
        start, base = starts[run], bases[run]
        for n in range(stops[run] - start):
            k = base + n
            clear[start + n] = (
                mask[k] & mask[k + np.uint64(1)] & mask[k + w] & mask[k + w + np.uint64(1)]
            )


@numba.njit(nogil=True, cache=True)
def _along_runs(
    flat: Raw,
    w: np.uint64,
    none: float,
    a: float,
    o: float,
    clear: Bools,
    us: Floats,
    vs: Floats,
    runs: int,
    starts: NDArray[np.uint64],
    stops: NDArray[np.uint64],
    bases: NDArray[np.uint64],
    values: Raw,
    valid: Bools,
) -> int:
    """The pixels of runs whose four neighbours are usable; the number of all others."""
    done = 0
    for run in range(runs):
        start, base = starts[run], bases[run]
        for n in range(stops[run] - start):
            j, k = start + n, base + n
            p00, p01 = np.float64(flat[k]), np.float64(flat[k + np.uint64(1)])
            p10, p11 = np.float64(flat[k + w]), np.float64(flat[k + w + np.uint64(1)])
            upper = p00 + (p01 - p00) * us[j]
            lower = p10 + (p11 - p10) * us[j]
            total = upper + (lower - upper) * vs[j]
            physical = total * a + o
            good = (
                clear[j]
                & (p00 != none)
                & (p01 != none)
                & (p10 != none)
                & (p11 != none)
                & (abs(total) <= _LARGEST)
                & (abs(physical) <= _LARGEST)
            )
            values[j] = np.float32(physical) if good else values[j]
            valid[j] = good
            done += good
    return int(values.shape[0]) - done


@numba.njit(nogil=True, cache=True)
def _elsewhere(
    raw: Raw,
    usable: Bools,
    nodata: float,
    a: float,
    o: float,
    row0: int,
    col0: int,
    height: int,
    width: int,
    x: Floats,
    y: Floats,
    values: Raw,
    valid: Bools,
) -> None:
    """The pixels of a row that are not valid yet: at edges, beside nodata and masked ones."""
    h, w = raw.shape
    for j in range(x.shape[0]):
        if valid[j] or not (-0.5 <= x[j] < width - 0.5 and -0.5 <= y[j] < height - 0.5):
            continue
        left, top = np.floor(x[j]), np.floor(y[j])
        u, v = x[j] - left, y[j] - top
        c, r = int(left) - col0, int(top) - row0
        near_r, near_c = r + (1 if v >= 0.5 else 0), c + (1 if u >= 0.5 else 0)
        if not (usable[near_r, near_c] and _is_usable(np.float64(raw[near_r, near_c]), nodata)):
            continue
        total, weights = 0.0, 0.0
        for dr in range(2):
            if r + dr < 0 or r + dr >= h:
                continue
            for dc in range(2):
                if c + dc < 0 or c + dc >= w:
                    continue
                number = np.float64(raw[r + dr, c + dc])
                if usable[r + dr, c + dc] and _is_usable(number, nodata):
                    weight = (v if dr else 1.0 - v) * (u if dc else 1.0 - u)
                    total += weight * number
                    weights += weight
        physical = total / weights * a + o
        if abs(physical) <= _LARGEST:
            values[j] = physical
            valid[j] = True
