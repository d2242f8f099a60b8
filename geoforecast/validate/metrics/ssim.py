"""Structural similarity that leaves out unusable pixels and does not feel tile edges.

The same numbers as scikit-image's ``structural_similarity(full=True)`` in its default setting.
Written here because window sums must be the same to the bit wherever a tile begins (scipy's
running sums are not), because squares are taken about the training mean (temperatures in kelvin
would lose digits), and because scikit-image takes twenty times as long and a dozen arrays of the
raster's size: here all sums of a window are made in one pass over narrow strips that stay in the
cache.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

WINDOW_PX = 7
MARGIN_PX = WINDOW_PX // 2  # what a tile must see around it
MIN_SHARE = 0.25  # frames with fewer scored pixels do not count
K1, K2 = 0.01, 0.03
STRIP_PX = 128  # columns of a pass: the sums of its rows stay in the nearest cache
BAND_PX = 256  # rows of a thread's piece of work
TERMS = 4  # whose sums of a window are made; see _take
WHOLE = (slice(None), slice(None))


def window_for(shape: tuple[int, int]) -> int:
    """The odd window side for a raster: 7 px, the largest that fits, or 0 if under 3."""
    side = min(shape)
    window = min(WINDOW_PX, side if side % 2 else side - 1)
    return window if window >= 3 else 0


def ssim_map(
    forecast: NDArray[np.floating],
    observed: NDArray[np.floating],
    scored: NDArray[np.bool_],
    mean: float,
    data_range: float,
    window: int,
    *,
    jobs: int = 1,
) -> NDArray[np.float64]:
    """Structural similarity at each pixel; pixels that are not scored are set to the mean.

    Args:
        forecast, observed: (y, x), band units, anything where not scored.
        scored: (y, x) bool; True = usable in both images.
        mean: training mean, band units.
        data_range: largest minus smallest training value, band units, above 0.
        window: odd side in pixels, no longer than the image; mirrored at the image's edges.
        jobs: threads; they change no bit.
    Returns:
        (y, x), 1 where the windows are identical.
    Source:
        Wang et al. (2004), IEEE Transactions on Image Processing 13, eq. 13.
    """
    made = np.empty(scored.shape)
    _in_bands(forecast, observed, scored, WHOLE, made, mean, data_range, window, jobs)
    return made


def ssim_sum(
    forecast: NDArray[np.floating],
    observed: NDArray[np.floating],
    scored: NDArray[np.bool_],
    mean: float,
    data_range: float,
    window: int,
    *,
    inner: tuple[slice, slice] = WHOLE,
    jobs: int = 1,
) -> float:
    """Sum of the map over scored pixels of a part; see ssim_map.

    Args:
        forecast, observed, scored: with MARGIN_PX around the part where the raster goes on.
        mean, data_range, window, jobs: see ssim_map.
        inner: the part.
    """
    nothing = np.empty((0, 0))
    rows = _in_bands(forecast, observed, scored, inner, nothing, mean, data_range, window, jobs)
    return float(rows.sum())


def _in_bands(
    forecast: NDArray[Any],
    observed: NDArray[Any],
    scored: NDArray[np.bool_],
    inner: tuple[slice, slice],
    made: NDArray[np.float64],
    mean: float,
    data_range: float,
    window: int,
    jobs: int,
) -> NDArray[np.float64]:
    """(y,) sums of the part's rows; each is computed alike whichever thread does it."""
    first, last = inner[0].indices(scored.shape[0])[:2]
    left, right = inner[1].indices(scored.shape[1])[:2]
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    bands = [(row, min(row + BAND_PX, last)) for row in range(first, last, BAND_PX)]

    def work(rows: tuple[int, int]) -> NDArray[np.float64]:
        area = (*rows, left, right)
        sums: NDArray[np.float64] = _similarity(
            forecast, observed, scored, *area, float(mean), c1, c2, window, made
        )
        return sums

    if jobs == 1 or len(bands) < 2:
        found = [work(rows) for rows in bands]
    else:
        with ThreadPoolExecutor(jobs) as pool:
            found = list(pool.map(work, bands))
    return np.concatenate(found) if found else np.zeros(0)


@numba.njit(cache=True, nogil=True)
def _mirrored(place: int, size: int) -> int:
    """The place inside that stands for one just beyond an edge."""
    if place < 0:
        return -place - 1
    return 2 * size - 1 - place if place >= size else place


@numba.njit(cache=True, nogil=True)
def _take(
    forecast: NDArray[Any],
    observed: NDArray[Any],
    scored: NDArray[np.bool_],
    row: int,
    first: int,
    mean: float,
    f: NDArray[np.float64],
    o: NDArray[np.float64],
    terms: NDArray[np.float64],
) -> None:
    """A row's values about the mean, squares of both together, and products, from a column on."""
    width, count = scored.shape[1], f.shape[0]
    if first >= 0 and first + count <= width:
        fs, os = forecast[row, first : first + count], observed[row, first : first + count]
        known = scored[row, first : first + count]
        for k in range(count):
            f[k] = np.float64(fs[k]) - mean if known[k] else 0.0
            o[k] = np.float64(os[k]) - mean if known[k] else 0.0
    else:
        for k in range(count):
            col = _mirrored(first + k, width)
            if scored[row, col]:
                f[k] = np.float64(forecast[row, col]) - mean
                o[k] = np.float64(observed[row, col]) - mean
            else:
                f[k] = o[k] = 0.0
    t0, t1, t2, t3 = terms[0], terms[1], terms[2], terms[3]
    for k in range(count):
        t0[k], t1[k] = f[k], o[k]
        t2[k], t3[k] = f[k] * f[k] + o[k] * o[k], f[k] * o[k]


@numba.njit(cache=True, nogil=True)
def _down(
    rows: NDArray[np.float64], order: NDArray[np.int64], term: int, total: NDArray[np.float64]
) -> None:
    """Sums of a window's rows, from above, two at a time: a sum is loaded and stored less often."""
    first = rows[order[0], term]
    for k in range(total.shape[0]):
        total[k] = first[k]
    for place in range(1, order.shape[0], 2):
        one, other = rows[order[place], term], rows[order[place + 1], term]
        for k in range(total.shape[0]):
            total[k] = total[k] + one[k] + other[k]


@numba.njit(cache=True, nogil=True)
def _along(down: NDArray[np.float64], window: int, total: NDArray[np.float64]) -> None:
    """Sums of a window's columns, from the left; likewise."""
    count = total.shape[0]
    for k in range(count):
        total[k] = down[k]
    for place in range(1, window, 2):
        one, other = down[place : place + count], down[place + 1 : place + 1 + count]
        for k in range(count):
            total[k] = total[k] + one[k] + other[k]


@numba.njit(cache=True, nogil=True)
def _similarity(
    forecast: NDArray[Any],
    observed: NDArray[Any],
    scored: NDArray[np.bool_],
    row0: int,
    row1: int,
    col0: int,
    col1: int,
    mean: float,
    c1: float,
    c2: float,
    window: int,
    made: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(y,) sums of scored pixels of each row of a part; the map itself where ``made`` has room.

    A window's terms are added in one order wherever it lies: down its columns from above, then
    along from the left.
    """
    height = scored.shape[0]
    half, area = window // 2, float(window * window)
    share, sample = 1 / area, 1 / (area - 1)
    sums = np.zeros(row1 - row0)
    for left in range(col0, col1, STRIP_PX):
        count = min(STRIP_PX, col1 - left)
        wide = count + window - 1
        rows = np.zeros((window, TERMS, wide))
        f, o = np.zeros(wide), np.zeros(wide)
        down, along = np.zeros((TERMS, wide)), np.zeros((TERMS, count))
        line, order = np.zeros(count), np.zeros(window, np.int64)
        for row in range(row0 - half, row0 + half):
            _take(
                *(forecast, observed, scored, _mirrored(row, height), left - half, mean),
                *(f, o, rows[row % window]),
            )
        for row in range(row0, row1):
            last = row + half
            _take(
                *(forecast, observed, scored, _mirrored(last, height), left - half, mean),
                *(f, o, rows[last % window]),
            )
            for k in range(window):
                order[k] = (row - half + k) % window
            for term in range(TERMS):
                _down(rows, order, term, down[term])
                _along(down[term], window, along[term])
            a0, a1, a2, a3 = along[0], along[1], along[2], along[3]
            for k in range(count):
                fm, om = a0[k] * share, a1[k] * share
                # Both variances together: only their sum is asked for.
                spread = sample * (a2[k] - area * (fm * fm + om * om))
                common = sample * (a3[k] - area * (fm * om))
                fm, om = fm + mean, om + mean
                above = (2 * fm * om + c1) * (2 * common + c2)
                line[k] = above / ((fm * fm + om * om + c1) * (spread + c2))
            total = 0.0
            known = scored[row, left : left + count]
            for k in range(count):
                total += line[k] if known[k] else 0.0
            sums[row - row0] += total
            if made.size:
                made[row, left : left + count] = line
    return sums
