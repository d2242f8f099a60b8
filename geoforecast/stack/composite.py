"""Several looks at one place become one value: composites over time, merges of one time."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

RULES = ("median", "mean", "max", "min", "first", "last")


def composite(
    values: NDArray[Any], valid: NDArray[np.bool_], rule: str
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """One value a pixel from the valid ones of several layers.

    The median of an even number of values is the mean of the middle two; ``first`` and
    ``last`` go by the order of the layers.

    Args:
        values: (layer, y, x), band units or class codes.
        valid: same shape, True = usable.
        rule: one of RULES.
    Returns:
        values (y, x) in the same dtype, 0 where no layer is valid; valid (y, x).
    """
    result = np.zeros(values.shape[1:], values.dtype)
    usable = np.zeros(values.shape[1:], np.bool_)
    if rule in ("first", "last"):
        _pick(values, valid, rule == "last", result, usable)
    else:
        _combine(values, valid, RULES.index(rule), result, usable)
    return result, usable


@numba.njit(nogil=True, cache=True)
def _pick(
    values: NDArray[Any],
    valid: NDArray[np.bool_],
    last: bool,
    result: NDArray[Any],
    usable: NDArray[np.bool_],
) -> None:
    for k in range(values.shape[0]):
        for i in range(values.shape[1]):
            for j in range(values.shape[2]):
                if valid[k, i, j] and (last or not usable[i, j]):
                    result[i, j] = values[k, i, j]
                    usable[i, j] = True


@numba.njit(nogil=True, cache=True)
def _sort(kept: NDArray[Any], n: int) -> None:
    """Shell sort of the first ``n``: no allocation a pixel, and it compiles at once."""
    gap = n // 2
    while gap > 0:
        for i in range(gap, n):
            item = kept[i]
            j = i
            while j >= gap and kept[j - gap] > item:
                kept[j] = kept[j - gap]
                j -= gap
            kept[j] = item
        gap //= 2


@numba.njit(nogil=True, cache=True)
def _combine(
    values: NDArray[Any],
    valid: NDArray[np.bool_],
    rule: int,
    result: NDArray[Any],
    usable: NDArray[np.bool_],
) -> None:
    layers, height, width = values.shape
    kept = np.empty(layers, values.dtype)
    for i in range(height):
        for j in range(width):
            n = 0
            for k in range(layers):
                if valid[k, i, j]:
                    kept[n] = values[k, i, j]
                    n += 1
            if n == 0:
                continue
            usable[i, j] = True
            if rule == 0:
                _sort(kept, n)
                middle = n // 2
                if n % 2:
                    result[i, j] = kept[middle]
                else:
                    result[i, j] = (float(kept[middle - 1]) + float(kept[middle])) / 2.0
            elif rule == 1:
                total = 0.0
                for k in range(n):
                    total += float(kept[k])
                result[i, j] = total / n
            elif rule == 2:
                result[i, j] = kept[:n].max()
            else:
                result[i, j] = kept[:n].min()
