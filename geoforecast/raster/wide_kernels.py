"""Cubic convolution: a kernel that looks at four by four pixels.

A pixel's result depends on its own place only, so it is the same to the bit for any tiling.

What it takes:
    raw: (band, h, w) source pixels of a window, any real dtype.
    usable: (band or 1, h, w) bool, True = usable.
    nodata: (band,) float64 raw number that is not usable, NaN for none; NaN and infinite
        pixels never are.
    scale, offset: (band,) float64; a result is value * scale + offset.
    row0, col0: the window's place in the source image; see footprints.window_for.
    height, width: of the source image in pixels.
    x, y: float64 source coordinates with whole numbers at pixel centres, from
        CoordinateMap.at: (H, W).
    values: (band, H, W) float32 result, written where valid only.
    valid: (band, H, W) bool result, all False on entry.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from geoforecast.raster.kernels import _runs as stretches

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@numba.njit(nogil=True, cache=True)
def cubic(
    raw: NDArray[Any],
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
    bands, h, w = raw.shape
    own = usable.shape[0] == bands
    wide = x.shape[1]
    flat = np.ascontiguousarray(raw).reshape(bands, h * w)
    clear = np.empty((bands, h * w), np.bool_)
    for b in range(bands):
        _clear_sixteen(raw[b], usable[b if own else 0], nodata[b], clear[b].reshape(h, w))
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
        runs = stretches(first, inner, starts, stops, bases)
        for b in range(bands):
            mask, out, seen = usable[b if own else 0], values[b, i], valid[b, i]
            done = 0
            for run in range(runs):
                done += _along_run(
                    flat[b], clear[b], np.uint64(w), starts[run], stops[run], bases[run],
                    across, down, totals, scale[b], offset[b], out, seen,
                )  # fmt: skip
            if done < wide:
                _elsewhere(
                    raw[b], mask, nodata[b], scale[b], offset[b], row0, col0, height, width,
                    x[i], y[i], across, down, out, seen,
                )  # fmt: skip


@numba.njit(nogil=True, cache=True)
def _clear_sixteen(raw: NDArray[Any], mask: Bools, nodata: float, clear: Bools) -> None:
    """Whether all of the four by four pixels from each on, to the right and down, are usable."""
    h, w = raw.shape
    four = np.zeros((h, w), np.bool_)  # four in a row
    good = np.empty(w, np.bool_)
    for r in range(h):
        row, ok = raw[r], mask[r]
        for c in range(w):
            value = np.float64(row[c])
            good[c] = ok[c] & (value != nodata) & (value - value == 0.0)
        for c in range(w - 3):
            four[r, c] = good[c] & good[c + 1] & good[c + 2] & good[c + 3]
    clear[:] = False
    for r in range(h - 3):
        a, b, c, d = four[r], four[r + 1], four[r + 2], four[r + 3]
        out = clear[r]
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
    flat: NDArray[Any],
    clear: Bools,
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
    """Neighbours in the source for neighbours in the tile, all sixteen usable; their number."""
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
    ok, out, seen = clear[base : base + np.uint64(count)], values[start:stop], valid[start:stop]
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
    raw: NDArray[Any],
    mask: Bools,
    nodata: float,
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
        if not mask[near_r, near_c]:
            continue
        here = (left, top, col0, row0, width, height)
        ok, number = False, 0.0
        if u == 0.0 or v == 0.0:  # else all sixteen have a weight, and one cannot be used
            ok, number = _some_of_sixteen(raw, mask, nodata, here, across[:, j], down[:, j])
        if not ok:
            ok, number = _shared_bilinear(raw, mask, nodata, here, u, v)
        physical = np.float32(number * scale + offset)
        if ok and np.isfinite(physical):
            values[j] = physical
            valid[j] = True


@numba.njit(nogil=True, cache=True)
def _some_of_sixteen(
    raw: NDArray[Any],
    mask: Bools,
    nodata: float,
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
            if not (0 <= r < height and 0 <= c < width and mask[r - row0, c - col0]):
                return False, 0.0
            value = np.float64(raw[r - row0, c - col0])
            if value == nodata or value - value != 0.0:
                return False, 0.0
            line += across[dc] * value
        total += down[dr] * line
    return True, total


@numba.njit(nogil=True, cache=True)
def _shared_bilinear(
    raw: NDArray[Any],
    mask: Bools,
    nodata: float,
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
            value = np.float64(raw[r - row0, c - col0])
            if mask[r - row0, c - col0] and value != nodata and value - value == 0.0:
                total += w * value
                weights += w
                nearest = nearest or (dr == (v >= 0.5) and dc == (u >= 0.5))
    return nearest, total / weights if nearest else 0.0
