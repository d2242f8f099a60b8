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
STRIP_PX = 256  # columns of a pass: the sums of its rows stay in the nearest cache
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


# Kernels take whole arrays and indices: to make and to count a slice of a row costs as much as a
# hundred additions.
@numba.njit(cache=True, nogil=True)
def _take(
    forecast: NDArray[Any],
    observed: NDArray[Any],
    scored: NDArray[np.bool_],
    row: int,
    first: int,
    mean: float,
    terms: NDArray[np.float64],
    pairs: NDArray[np.float64],
    here: int,
    wide: int,
) -> None:
    """A row's terms from a column on, in place ``here``, and their sums with the row before.

    Terms are both values about the mean, the squares of both together, and their products.
    """
    width = scored.shape[1]
    if first >= 0 and first + wide <= width:
        for k in range(wide):
            known = scored[row, first + k]
            f = np.float64(forecast[row, first + k]) - mean
            o = np.float64(observed[row, first + k]) - mean
            terms[here, 0, k] = f if known else 0.0
            terms[here, 1, k] = o if known else 0.0
    else:
        for k in range(wide):
            col = _mirrored(first + k, width)
            known = scored[row, col]
            terms[here, 0, k] = np.float64(forecast[row, col]) - mean if known else 0.0
            terms[here, 1, k] = np.float64(observed[row, col]) - mean if known else 0.0
    for k in range(wide):
        f, o = terms[here, 0, k], terms[here, 1, k]
        terms[here, 2, k] = f * f + o * o
        terms[here, 3, k] = f * o
    before = (here - 1) % terms.shape[0]
    for term in range(TERMS):
        for k in range(wide):
            pairs[here, term, k] = terms[before, term, k] + terms[here, term, k]


@numba.njit(cache=True, nogil=True)
def _add_up(
    terms: NDArray[np.float64],
    pairs: NDArray[np.float64],
    term: int,
    top: int,
    count: int,
    down: NDArray[np.float64],
    beside: NDArray[np.float64],
    along: NDArray[np.float64],
) -> None:
    """Sums of a term over the windows whose uppermost row is ``top``, from the first column on.

    In one order wherever a window lies: its rows in pairs from above, then the last; then its
    columns likewise from the left. Three pairs and one are the usual window, added at once.
    """
    window = terms.shape[0]
    wide, last = count + window - 1, (top + window - 1) % window
    one = (top + 1) % window
    if window == WINDOW_PX:
        two, three = (top + 3) % window, (top + 5) % window
        for k in range(wide):
            three_pairs = pairs[one, term, k] + pairs[two, term, k] + pairs[three, term, k]
            down[k] = three_pairs + terms[last, term, k]
        for k in range(wide - 1):
            beside[k] = down[k] + down[k + 1]
        for k in range(count):
            along[term, k] = (beside[k] + beside[k + 2] + beside[k + 4]) + down[k + 6]
        return
    for k in range(wide):
        down[k] = pairs[one, term, k]
    for place in range(3, window, 2):
        other = (top + place) % window
        for k in range(wide):
            down[k] += pairs[other, term, k]
    for k in range(wide):
        down[k] += terms[last, term, k]
    for k in range(count):
        along[term, k] = down[k] + down[k + 1]
    for place in range(2, window - 1, 2):
        for k in range(count):
            along[term, k] += down[k + place] + down[k + place + 1]
    for k in range(count):
        along[term, k] += down[k + window - 1]


# The only sum that may be made in the order that suits the processor, several at once.
@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "nsz"})
def _known_sum(
    line: NDArray[np.float64], scored: NDArray[np.bool_], row: int, left: int, count: int
) -> float:
    """Sum of a row's scored pixels from a column on."""
    total = 0.0
    for k in range(count):
        total += line[k] if scored[row, left + k] else 0.0
    return total


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
    """(y,) sums of scored pixels of each row of a part; the map itself where ``made`` has room."""
    height = scored.shape[0]
    half, area = window // 2, float(window * window)
    share, sample = 1 / area, 1 / (area - 1)
    sums = np.zeros(row1 - row0)
    most = min(STRIP_PX, col1 - col0)
    # Rows of a window by their number modulo its side, and each with the one before it.
    terms = np.zeros((window, TERMS, most + window - 1))
    pairs = np.zeros((window, TERMS, most + window - 1))
    down, beside = np.zeros(most + window - 1), np.zeros(most + window - 1)
    along, line = np.zeros((TERMS, most)), np.zeros(most)
    for left in range(col0, col1, STRIP_PX):
        count = min(STRIP_PX, col1 - left)
        for row in range(row0 - half, row1 + half):
            _take(
                *(forecast, observed, scored, _mirrored(row, height), left - half, mean),
                *(terms, pairs, row % window, count + window - 1),
            )
            at = row - half
            if at < row0:
                continue
            for term in range(TERMS):
                _add_up(terms, pairs, term, at - half, count, down, beside, along)
            for k in range(count):
                fm, om = along[0, k] * share, along[1, k] * share
                # Both variances together: only their sum is asked for.
                spread = sample * (along[2, k] - area * (fm * fm + om * om))
                common = sample * (along[3, k] - area * (fm * om))
                fm, om = fm + mean, om + mean
                above = (2 * fm * om + c1) * (2 * common + c2)
                line[k] = above / ((fm * fm + om * om + c1) * (spread + c2))
            sums[at - row0] += _known_sum(line, scored, at, left, count)
            if made.size:
                for k in range(count):
                    made[at, left + k] = line[k]
    return sums
