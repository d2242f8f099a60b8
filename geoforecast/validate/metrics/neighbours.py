"""Who is whose neighbour in a raster with gaps, and what neighbours' values add up to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

ROOK, QUEEN = 4, 8
NEIGHBOURS = {"rook": ROOK, "queen": QUEEN}
# Pixels, their values and squares, squares about 0, pairs (each twice), weights, what variances
# need, and weighted products, values, neighbours' values and squared differences.
SUMS = ("n", "x", "xx", "size", "pairs", "w", "s1", "s2", "wxx", "wx", "wx_other", "wdd")
_OF_WEIGHTS = ("n", "pairs", "w", "s1", "s2")
_OF_FIELD = ("x", "xx", "size", "wxx", "wx", "wx_other", "wdd")
STRIP_PX = 512  # columns of a pass: the rows that it looks at stay in the nearest cache
# Rook's four come first.
ROWS = np.array([-1, 0, 0, 1, -1, -1, 1, 1])
COLS = np.array([0, -1, 1, 0, -1, 1, -1, 1])


@dataclass(frozen=True)
class Weights:
    """Who is whose neighbour in a part of a frame: the same for all fields with the same gaps.

    Attributes:
        known: (y, x) bool; True = usable.
        degree: (y, x) how many neighbours a pixel has; 0 where it is not known itself.
        each: (y, x) what each of them weighs; 0 where there are none.
        inner: the part.
        around: 4 or 8.
        total: n, pairs, w, s1 and s2, as among SUMS.
    """

    known: NDArray[np.bool_]
    degree: NDArray[np.uint8]
    each: NDArray[np.float64]
    inner: tuple[slice, slice]
    around: int
    total: dict[str, float]

    def sums(self, values: NDArray[Any], shift: float) -> NDArray[np.float64]:
        """(SUMS,) of a field, finite where known; see autocorrelation.neighbour_sums."""
        area = _area(self.known, self.inner)
        ways = (self.degree, self.each, self.around)
        made = _field_sums(values, self.known, *ways, float(shift), *area)
        all_of = self.total | dict(zip(_OF_FIELD, made.sum(axis=1).tolist(), strict=True))
        return np.array([all_of[name] for name in SUMS])


def weigh(
    known: NDArray[np.bool_],
    inner: tuple[slice, slice],
    *,
    neighbours: str = "queen",
    standardised: bool = True,
) -> Weights:
    """Who is whose neighbour; see autocorrelation.neighbour_sums for the arguments."""
    around = NEIGHBOURS[neighbours]
    degree = degrees(known, around)
    shares = np.ones(QUEEN + 1)
    if standardised:
        shares[1:] = 1 / np.arange(1, QUEEN + 1)
    shares[0] = 0
    each = shares[degree]
    made = _weight_sums(known, degree, each, around, *_area(known, inner))
    total = dict(zip(_OF_WEIGHTS, made.sum(axis=1).tolist(), strict=True))
    return Weights(known, degree, each, inner, around, total)


def _area(known: NDArray[np.bool_], inner: tuple[slice, slice]) -> tuple[int, int, int, int]:
    rows, cols = (part.indices(side)[:2] for part, side in zip(inner, known.shape, strict=True))
    return (*rows, *cols)


# Kernels go down strips of columns, rows about the one that they are at in the nearest cache. Sums
# are kept by column, so that a processor adds several at once without adding in another order;
# what is not known weighs 0, which costs less than to ask.


@numba.njit(cache=True, nogil=True)
def degrees(known: NDArray[np.bool_], around: int) -> NDArray[np.uint8]:
    """(y, x) how many neighbours each usable pixel has."""
    height, width = known.shape
    degree = np.zeros((height, width), np.uint8)
    rows = np.zeros((3, width + 2), np.uint8)
    for row in range(-1, height):
        following = rows[(row + 1) % 3]
        if row + 1 < height:
            for col in range(width):
                following[col + 1] = known[row + 1, col]
        else:
            following[:] = 0
        if row < 0:
            continue
        up, here, down = rows[(row - 1) % 3], rows[row % 3], following
        made = degree[row]
        if around == QUEEN:
            for col in range(width):
                above = up[col] + up[col + 1] + up[col + 2]
                below = down[col] + down[col + 1] + down[col + 2]
                made[col] = here[col + 1] * np.uint8(above + below + here[col] + here[col + 2])
        else:
            for col in range(width):
                beside = here[col] + here[col + 2]
                made[col] = here[col + 1] * np.uint8(up[col + 1] + down[col + 1] + beside)
    return degree


@numba.njit(cache=True, nogil=True)
def _weight_sums(
    known: NDArray[np.bool_],
    degree: NDArray[np.uint8],
    each: NDArray[np.float64],
    around: int,
    row0: int,
    row1: int,
    col0: int,
    col1: int,
) -> NDArray[np.float64]:
    """(_OF_WEIGHTS, column) sums of the part."""
    height, width = known.shape
    sums = np.zeros((5, col1 - col0))
    for left in range(col0, col1, STRIP_PX):
        count = min(STRIP_PX, col1 - left)
        both, back = np.zeros(count), np.zeros(count)
        part = sums[:, left - col0 : left - col0 + count]
        n, pairs, w, s1, s2 = part[0], part[1], part[2], part[3], part[4]
        for row in range(row0, row1):
            mine = each[row, left : left + count]
            both[:] = 0.0
            back[:] = 0.0
            for k in range(around):
                r, c = row + ROWS[k], left + COLS[k]
                if r < 0 or r >= height:
                    continue
                first, last = max(0, -c), min(count, width - c)
                others, own = each[r, c + first : c + last], mine[first:last]
                both_here, back_here = both[first:last], back[first:last]
                for i in range(last - first):
                    theirs = others[i]
                    together = own[i] + theirs
                    both_here[i] += together * together if theirs > 0.0 else 0.0
                    back_here[i] += theirs
            here, numbers = known[row, left : left + count], degree[row, left : left + count]
            for i in range(count):
                number = np.float64(numbers[i])
                forth = mine[i] * number
                some = 1.0 if number > 0.0 else 0.0
                n[i] += 1.0 if here[i] else 0.0
                pairs[i] += number
                w[i] += forth
                s1[i] += some * 0.5 * both[i]
                s2[i] += some * (forth + back[i]) * (forth + back[i])
    return sums


# What a row of neighbours adds up to may be added in the order that suits the processor.
@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "nsz"})
def _field_sums(
    values: NDArray[Any],
    known: NDArray[np.bool_],
    degree: NDArray[np.uint8],
    each: NDArray[np.float64],
    around: int,
    shift: float,
    row0: int,
    row1: int,
    col0: int,
    col1: int,
) -> NDArray[np.float64]:
    """(_OF_FIELD, strip) sums of the part."""
    height, width = known.shape
    sums = np.zeros((7, -(-(col1 - col0) // STRIP_PX)))
    most = min(STRIP_PX, col1 - col0) + 2
    # Of three rows a value about the shift, and 1 where there is one; a column more on either side.
    x, one = np.zeros((3, most)), np.zeros((3, most))
    others, squares = np.zeros(most), np.zeros(most)
    for strip in range(sums.shape[1]):
        left = col0 + strip * STRIP_PX
        count = min(STRIP_PX, col1 - left)
        x[:] = 0.0
        one[:] = 0.0
        first, last = max(left - 1, 0), min(left + count + 1, width)
        offset = first - left + 1
        for row in range(row0 - 1, row1 + 1):
            place = row % 3
            if 0 <= row < height:
                for i in range(last - first):
                    there = known[row, first + i]
                    value = np.float64(values[row, first + i]) - shift
                    x[place, offset + i] = value if there else 0.0
                    one[place, offset + i] = 1.0 if there else 0.0
            else:
                x[place] = 0.0
                one[place] = 0.0
            at = row - 1
            if at < row0:
                continue
            up, here, down = (at - 1) % 3, at % 3, place
            for i in range(count):
                mine = x[here, i + 1]
                n, w, e, s = x[up, i + 1], x[here, i], x[here, i + 2], x[down, i + 1]
                others[i] = n + w + e + s
                squares[i] = (
                    one[up, i + 1] * ((mine - n) * (mine - n))
                    + one[here, i] * ((mine - w) * (mine - w))
                    + one[here, i + 2] * ((mine - e) * (mine - e))
                    + one[down, i + 1] * ((mine - s) * (mine - s))
                )
            if around == QUEEN:
                for i in range(count):
                    mine = x[here, i + 1]
                    nw, ne, sw, se = x[up, i], x[up, i + 2], x[down, i], x[down, i + 2]
                    others[i] += nw + ne + sw + se
                    squares[i] += (
                        one[up, i] * ((mine - nw) * (mine - nw))
                        + one[up, i + 2] * ((mine - ne) * (mine - ne))
                        + one[down, i] * ((mine - sw) * (mine - sw))
                        + one[down, i + 2] * ((mine - se) * (mine - se))
                    )
            x_ = xx = size = wxx = wx = wx_other = wdd = 0.0
            for i in range(count):
                value, weight = x[here, i + 1], each[at, left + i]
                about_0 = value + shift
                x_ += value
                xx += value * value
                size += one[here, i + 1] * (about_0 * about_0)
                wxx += weight * value * others[i]
                wx += weight * np.float64(degree[at, left + i]) * value
                wx_other += weight * others[i]
                wdd += weight * squares[i]
            sums[0, strip] += x_
            sums[1, strip] += xx
            sums[2, strip] += size
            sums[3, strip] += wxx
            sums[4, strip] += wx
            sums[5, strip] += wx_other
            sums[6, strip] += wdd
    return sums
