"""Cubic convolution: a kernel that looks at four by four pixels.

A pixel's result depends on its own place only, so it is the same to the bit for any tiling.
What it takes: see ``kernels``.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from geoforecast.raster.kernels import OFFSET, SCALE, Bools, Floats, Raw, clear, used_numbers


def cubic(
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
    """Cubic convolution of four by four pixels; see the module for the arguments.

    Valid if the nearest source pixel is usable. Where any of the pixels with a weight is
    not usable or beyond the image, the result is bilinear, its weights shared out among
    the usable pixels: shared-out cubic weights may sum to almost nothing, as some are
    negative. GDAL does the same.

    Source: Keys (1981), IEEE Trans. ASSP 29(6), a = -1/2.
    """
    clear(values, valid)
    source = used_numbers(raw, usable, numbers)
    _cubic(source, numbers, row0, col0, height, width, x, y, values, valid)


@numba.njit(nogil=True, cache=True)
def _cubic(
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
    bands, h, w = source.shape
    wide = x.shape[1]
    flat = source.reshape(bands, h * w)
    whole = np.empty((bands, h * w), np.bool_)
    for b in range(bands):
        _sixteen_used(source[b], whole[b].reshape(h, w))
    us, vs, totals = np.empty(wide), np.empty(wide), np.empty(wide)
    across, down = np.empty((4, wide)), np.empty((4, wide))
    first = np.empty(wide, np.int64)  # flat index of the upper left of four by four
    inner = np.empty(wide, np.bool_)  # all sixteen lie in the window
    starts, stops = np.empty(wide, np.uint64), np.empty(wide, np.uint64)
    bases = np.empty(wide, np.uint64)
    for i in range(x.shape[0]):
        _place_sixteen(x[i], y[i], row0, col0, height, width, h, w, us, vs, first, inner)
        _keys(us, across)
        _keys(vs, down)
        runs = _runs(first, inner, starts, stops, bases)
        for b in range(bands):
            out, seen = values[b, i], valid[b, i]
            scale, offset = numbers[b, SCALE], numbers[b, OFFSET]
            done = 0
            for run in range(runs):
                done += _along_run(
                    flat[b], whole[b], np.uint64(w), starts[run], stops[run], bases[run],
                    across, down, totals, scale, offset, out, seen,
                )  # fmt: skip
            if done < wide:
                _elsewhere(
                    source[b], scale, offset, row0, col0, height, width,
                    x[i], y[i], across, down, out, seen,
                )  # fmt: skip


@numba.njit(nogil=True, cache=True)
def _sixteen_used(source: Raw, whole: Bools) -> None:
    """Whether all of the four by four pixels from each on, to the right and down, are used."""
    h, w = source.shape
    four = np.zeros((h, w), np.bool_)  # four in a row
    good = np.empty(w, np.bool_)
    for r in range(h):
        row = source[r]
        for c in range(w):
            good[c] = row[c] == row[c]
        for c in range(w - 3):
            four[r, c] = good[c] & good[c + 1] & good[c + 2] & good[c + 3]
    whole[:] = False
    for r in range(h - 3):
        a, b, c, d = four[r], four[r + 1], four[r + 2], four[r + 3]
        out = whole[r]
        for k in range(w):
            out[k] = a[k] & b[k] & c[k] & d[k]


@numba.njit(nogil=True, cache=True)
def _place_sixteen(
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
        left = np.floor(x[j]) if inside else 0.0
        top = np.floor(y[j]) if inside else 0.0
        us[j], vs[j] = x[j] - left, y[j] - top
        c, r = np.int32(left) - 1 - col0, np.int32(top) - 1 - row0
        inner[j] = inside & (r >= 0) & (c >= 0) & (r + 3 < h) & (c + 3 < w)
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
def _keys(u: Floats, weights: Floats) -> None:
    """Weights (4, n) of the four pixels around points ``u`` beyond the second."""
    for j in range(u.shape[0]):
        t = u[j]
        weights[0, j] = ((-0.5 * t + 1.0) * t - 0.5) * t
        weights[1, j] = (1.5 * t - 2.5) * t * t + 1.0
        weights[2, j] = ((-1.5 * t + 2.0) * t + 0.5) * t
        weights[3, j] = (0.5 * t - 0.5) * t * t


@numba.njit(nogil=True, cache=True)
def _along_run(
    flat: Raw,
    whole: Bools,
    w: np.uint64,
    start: np.uint64,
    stop: np.uint64,
    base: np.uint64,
    across: Floats,
    down: Floats,
    totals: Floats,
    scale: float,
    offset: float,
    values: NDArray[np.float32],
    valid: Bools,
) -> int:
    """Neighbours in the source for neighbours in the tile, all sixteen used; their number."""
    one, two, three = np.uint64(1), np.uint64(2), np.uint64(3)
    a, b, c, d = (
        across[0, start:stop],
        across[1, start:stop],
        across[2, start:stop],
        across[3, start:stop],
    )
    count = a.size
    totals[:count] = 0.0
    for q in range(4):  # one row at a time: few enough arrays for vector instructions
        weights = down[q, start:stop]
        row = base + np.uint64(q) * w
        for n in range(count):
            k = row + np.uint64(n)
            line = a[n] * np.float64(flat[k])
            line += b[n] * np.float64(flat[k + one])
            line += c[n] * np.float64(flat[k + two])
            line += d[n] * np.float64(flat[k + three])
            totals[n] += weights[n] * line
    ok, out, seen = whole[base : base + np.uint64(count)], values[start:stop], valid[start:stop]
    done = 0
    for n in range(count):
        physical = np.float32(totals[n] * scale + offset)
        good = ok[n] & (physical - physical == np.float32(0.0))
        out[n] = physical if good else out[n]
        seen[n] = good
        done += good
    return done


@numba.njit(nogil=True, cache=True)
def _elsewhere(
    source: Raw,
    scale: float,
    offset: float,
    row0: int,
    col0: int,
    height: int,
    width: int,
    x: Floats,
    y: Floats,
    across: Floats,
    down: Floats,
    values: NDArray[np.float32],
    valid: Bools,
) -> None:
    """The pixels of a row that are not valid yet: at edges, beside nodata and masked ones."""
    for j in range(x.shape[0]):
        if valid[j] or not (-0.5 <= x[j] < width - 0.5 and -0.5 <= y[j] < height - 0.5):
            continue
        left, top = int(np.floor(x[j])), int(np.floor(y[j]))
        u, v = x[j] - left, y[j] - top
        near_r, near_c = top - row0 + (v >= 0.5), left - col0 + (u >= 0.5)
        if np.isnan(source[near_r, near_c]):
            continue
        here = (left, top, col0, row0, width, height)
        ok, number = False, 0.0
        if u == 0.0 or v == 0.0:  # else all sixteen have a weight, and one cannot be used
            ok, number = _some_of_sixteen(source, here, across[:, j], down[:, j])
        if not ok:
            ok, number = _shared_bilinear(source, here, u, v)
        physical = np.float32(number * scale + offset)
        if ok and np.isfinite(physical):
            values[j] = physical
            valid[j] = True


@numba.njit(nogil=True, cache=True)
def _some_of_sixteen(
    source: Raw,
    here: tuple[int, int, int, int, int, int],
    across: Floats,
    down: Floats,
) -> tuple[bool, float]:
    """The cubic sum; pixels without a weight may be anything, or beyond the image."""
    left, top, col0, row0, width, height = here
    total = 0.0
    for dr in range(4):
        line = 0.0
        for dc in range(4):
            if across[dc] == 0.0 or down[dr] == 0.0:
                continue
            r, c = top - 1 + dr, left - 1 + dc
            if not (0 <= r < height and 0 <= c < width):
                return False, 0.0
            value = np.float64(source[r - row0, c - col0])
            if np.isnan(value):
                return False, 0.0
            line += across[dc] * value
        total += down[dr] * line
    return True, total


@numba.njit(nogil=True, cache=True)
def _shared_bilinear(
    source: Raw,
    here: tuple[int, int, int, int, int, int],
    u: float,
    v: float,
) -> tuple[bool, float]:
    """Bilinear among the usable of two by two pixels; False if the nearest is not usable."""
    left, top, col0, row0, width, height = here
    total, weights, nearest = 0.0, 0.0, False
    for dr in range(2):
        for dc in range(2):
            r, c = top + dr, left + dc
            w = (v if dr else 1.0 - v) * (u if dc else 1.0 - u)
            if w == 0.0 or not (0 <= r < height and 0 <= c < width):
                continue
            value = np.float64(source[r - row0, c - col0])
            if not np.isnan(value):
                total += w * value
                weights += w
                nearest = nearest or (dr == (v >= 0.5) and dc == (u >= 0.5))
    return nearest, total / weights if nearest else 0.0
