"""Resampling of all bands of a scene at once, straight from its raw numbers.

Each kernel, here and in ``bilinear``, ``wide_kernels`` and ``area_kernels``, reads a window
of a source image and writes results in physical units:

    raw (band, h, w): any real dtype, the window whose top left pixel is (row0, col0) of a
        source image of (height, width)
    usable (band or 1, h, w): bool, True = the mask leaves the pixel
    numbers (band, 5): float64; nodata, low, high, scale and offset. A raw number is used if
        it is finite, not nodata (NaN = none), and from low to high (infinite = unbounded);
        the result is value * scale + offset
    x, y (H, W): float64 source coordinates, whole numbers at pixel centres
    values, valid (band, H, W): the results. Every pixel is written, so that nobody need clear
        them before: where ``valid`` is False, ``values`` is NaN, or 0 in integers

A result is valid if the nearest source pixel is used, so that resampling neither grows nor
shrinks the data, and if float32 can hold it. Each result depends on its own coordinates only,
so that any tiling gives the same bits. Bilinear sums of integers of 8 or 16 bits run in
float32, which holds each of them and takes half the time; all others run in float64.

Written here because libraries warp one band of one image at a time and depend on the chunk
they are asked for; see docs/design.md.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba.core.compiler import Compiler
from numpy.typing import NDArray

Raw = NDArray[Any]
Bools = NDArray[np.bool_]
Bytes = NDArray[np.uint8]  # a view of bools, which the compiler makes vector code of
Floats = NDArray[np.float64]

# Columns of the numbers of each band.
NODATA, LOW, HIGH, SCALE, OFFSET = range(5)
# What float32 can hold; NaN is not below it, nor is infinity.
LARGEST = float(np.finfo(np.float32).max)


class Apart(Compiler):
    """Compiles functions whose arrays share no memory.

    Without that promise nothing that reads by index becomes vector code: each result might
    be what is read next. It halves the time of the loops that have it.
    """

    def define_pipelines(self) -> Any:
        self.state.flags.noalias = True
        return super().define_pipelines()  # type: ignore[no-untyped-call]


def as_they_are(bands: int) -> Floats:
    """The numbers of bands that are physical already."""
    return np.tile([np.nan, -np.inf, np.inf, 1.0, 0.0], (bands, 1))


def nothing_in(values: Raw) -> Any:
    """What stands where nothing is valid: NaN, or 0 in integers."""
    return values.dtype.type(np.nan if values.dtype.kind == "f" else 0)


def clear(values: Raw, valid: Bools) -> None:
    """Say that nothing is valid."""
    values.fill(nothing_in(values))
    valid.fill(False)


def used_numbers(raw: Raw, usable: Bools, numbers: Floats) -> Raw:
    """Raw numbers as floats, NaN where they are not used.

    Args:
        raw, usable, numbers: see the module.
    Returns:
        (band, h, w) float32 of integers of 8 or 16 bits, else float64.
    """
    raw, mask, limits = ready(raw, usable, numbers)
    result = np.empty(raw.shape, limits.dtype)
    for band, (source, out) in enumerate(zip(raw, result, strict=True)):
        used_part(
            source,
            mask[band % len(mask)],
            limits[band],
            0,
            0,
            source.shape[0],
            source.shape[1],
            out,
        )
    return result


def ready(raw: Raw, usable: Bools, numbers: Floats) -> tuple[Raw, Bytes, Raw]:
    """Contiguous raw numbers and mask, and what numbers are compared with.

    Returns:
        raw; usable as bytes; (band, 3) nodata, low and high in the dtype of the sums.
    """
    real = np.float32 if raw.dtype.kind in "iu" and raw.dtype.itemsize <= 2 else np.float64
    none, low, high = numbers[:, :3].T
    if real is np.float32:  # nodata must not become another whole number when it is rounded
        with np.errstate(over="ignore"):
            none = np.where(none.astype(real) == none, none, np.nan)
        low, high = np.ceil(low), np.floor(high)
    limits = np.stack([none, low, high], axis=1).clip(-LARGEST, LARGEST)
    mask = np.ascontiguousarray(usable).view(np.uint8)
    return np.ascontiguousarray(raw), mask, limits.astype(real)


@numba.njit(nogil=True, cache=True, pipeline_class=Apart)
def used_part(
    raw: Raw, usable: Bytes, limits: Raw, row: int, col: int, high: int, wide: int, result: Raw
) -> None:
    """A rectangle of a band, from (row, col) on, to the upper left of ``result``."""
    none, low, above = limits[0], limits[1], limits[2]
    gone = result.dtype.type(np.nan)
    top, left = np.uint64(row), np.uint64(col)
    for r in range(np.uint64(high)):
        for c in range(np.uint64(wide)):
            number = result.dtype.type(raw[top + r, left + c])
            good = (usable[top + r, left + c] != 0) & (number != none)
            good = good & (number >= low) & (number <= above)
            result[r, c] = number if good else gone


def copied(
    raw: Raw, usable: Bools, numbers: Floats, row: int, col: int, values: Raw, valid: Bools
) -> None:
    """The window itself, where source and target pixels coincide.

    Args:
        raw, usable, numbers, values, valid: see the module.
        row, col: where in ``values`` the window lies; beyond it nothing is valid.
    """
    if raw.shape != values.shape:
        clear(values, valid)
    raw, mask, limits = ready(raw, usable, numbers)
    _copied(raw, mask, limits, numbers, row, col, nothing_in(values), values, valid)


@numba.njit(nogil=True, cache=True)
def _copied(
    raw: Raw,
    usable: Bytes,
    limits: Raw,
    numbers: Floats,
    row: int,
    col: int,
    nothing: Any,
    values: Raw,
    valid: Bools,
) -> None:
    bands, high, wide = raw.shape
    own = usable.shape[0] == bands
    for b in range(bands):
        m = b if own else 0
        for r in range(high):
            _copied_row(
                raw[b, r],
                usable[m, r],
                limits[b],
                numbers[b, SCALE],
                numbers[b, OFFSET],
                nothing,
                values[b, row + r, col : col + wide],
                valid[b, row + r, col : col + wide],
            )


@numba.njit(nogil=True, cache=True, pipeline_class=Apart)
def _copied_row(
    raw: Raw,
    usable: Bytes,
    limits: Raw,
    a: float,
    o: float,
    nothing: Any,
    values: Raw,
    valid: Bools,
) -> None:
    none, low, high = limits[0], limits[1], limits[2]
    for j in range(raw.shape[0]):
        number = limits.dtype.type(raw[j])
        physical = np.float64(number) * a + o
        good = (usable[j] != 0) & (number != none) & (number >= low) & (number <= high)
        good = good & (abs(physical) <= LARGEST)
        values[j] = physical if good else nothing
        valid[j] = good


def nearest(
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
    """The nearest source pixel."""
    source = used_numbers(raw, usable, numbers)
    place = (row0, col0, height, width)
    _nearest(source, numbers, place, x, y, nothing_in(values), values, valid)


@numba.njit(nogil=True, cache=True)
def _nearest(
    source: Raw,
    numbers: Floats,
    place: tuple[int, int, int, int],
    x: Floats,
    y: Floats,
    nothing: Any,
    values: Raw,
    valid: Bools,
) -> None:
    row0, col0, height, width = place
    bands, h, w = source.shape
    flat = source.reshape(bands, h * w)
    high, wide = x.shape
    first = np.empty(wide, np.uint32)
    inside = np.empty(wide, np.uint8)
    for i in range(high):
        for j in range(wide):
            there = (-0.5 <= x[i, j] < width - 0.5) and (-0.5 <= y[i, j] < height - 0.5)
            c = np.int64(np.floor(x[i, j] + 0.5)) - col0 if there else 0
            r = np.int64(np.floor(y[i, j] + 0.5)) - row0 if there else 0
            first[j] = r * w + c
            inside[j] = there
        for b in range(bands):
            a, o = numbers[b, SCALE], numbers[b, OFFSET]
            _nearest_row(flat[b], first, inside, a, o, nothing, values[b, i], valid[b, i])


@numba.njit(nogil=True, cache=True, pipeline_class=Apart)
def _nearest_row(
    flat: Raw,
    first: NDArray[np.uint32],
    inside: Bytes,
    a: float,
    o: float,
    nothing: Any,
    values: Raw,
    valid: Bools,
) -> None:
    for j in range(first.shape[0]):
        physical = np.float64(flat[np.uint64(first[j])]) * a + o
        good = (inside[j] != 0) & (abs(physical) <= LARGEST)
        values[j] = physical if good else nothing
        valid[j] = good
