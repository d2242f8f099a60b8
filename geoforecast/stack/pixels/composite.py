"""Several looks at one place become one value: composites over time, merges of one time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

RULES = ("median", "mean", "max", "min", "first", "last", "best")
# Pixels sorted side by side: wide enough for vector instructions, narrow enough for caches.
ABREAST = 256


def composite(
    values: NDArray[Any],
    valid: NDArray[np.bool_],
    rule: str,
    order: Sequence[int] | NDArray[np.int64] | None = None,
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """One value a pixel from the valid ones of several layers.

    The median of an even number of values is the mean of the middle two; ``first`` and
    ``last`` go by the order of the layers; ``best`` takes the first valid one of ``order``.

    Args:
        values: (layer, y, x), band units or class codes; no NaN where valid.
        valid: same shape, True = usable.
        rule: one of RULES.
        order: for ``best``: layer numbers, the best first, from ``best_order`` over whole
            scenes, so that it is the same in every tile; None is the order of the layers.
    Returns:
        values (y, x) in the same dtype, 0 where no layer is valid; valid (y, x).
    """
    layers = values.shape[0]
    result = np.zeros(values.shape[1:], values.dtype)
    usable = np.zeros(values.shape[1:], np.bool_)
    if rule in ("first", "last", "best"):
        line = np.arange(layers) if rule != "last" else np.arange(layers)[::-1].copy()
        if rule == "best" and order is not None:
            line = np.asarray(order, np.int64)
        _pick(values, valid, line, result, usable)
    elif rule == "mean":
        _mean(values, valid, result, usable)
    else:
        lowest, highest = _limits(values.dtype)
        if rule == "median":
            _median(values, valid, _network(layers), highest, result, usable)
        else:
            start = lowest if rule == "max" else highest
            _extreme(values, valid, rule == "max", start, result, usable)
    return result, usable


def best_order(valid_fraction: Sequence[float] | NDArray[Any]) -> NDArray[np.int64]:
    """Layer numbers by falling valid fraction; of equal ones the earlier comes first."""
    return np.argsort(-np.asarray(valid_fraction, np.float64), kind="stable")


def _limits(dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """The values of a dtype that no valid value passes, below and above."""
    if dtype.kind == "f":
        return dtype.type(-np.inf), dtype.type(np.inf)
    info = np.iinfo(dtype)
    return dtype.type(info.min), dtype.type(info.max)


@lru_cache(maxsize=256)
def _network(n: int) -> NDArray[np.int64]:
    """Pairs to compare and exchange, in turn, that sort any ``n`` values.

    Source: Knuth, The Art of Computer Programming 3, 5.2.2, Algorithm M (Batcher's merge
    exchange).
    """
    pairs = []
    top = 1 << max(0, (n - 1).bit_length() - 1)
    p = top
    while p > 0:
        q, r, d = top, 0, p
        while True:
            pairs += [(i, i + d) for i in range(n - d) if i & p == r]
            if q == p:
                break
            d, q, r = q - p, q // 2, p
        p //= 2
    return np.array(pairs, np.int64).reshape(-1, 2)


@numba.njit(nogil=True, cache=True)
def _pick(
    values: NDArray[Any],
    valid: NDArray[np.bool_],
    line: NDArray[np.int64],
    result: NDArray[Any],
    usable: NDArray[np.bool_],
) -> None:
    """Lay the layers over one another, the first of ``line`` on top."""
    for i in range(values.shape[1]):
        out, seen = result[i], usable[i]
        for turn in range(line.size - 1, -1, -1):
            row, ok = values[line[turn], i], valid[line[turn], i]
            for j in range(out.size):
                if ok[j]:
                    out[j] = row[j]
            for j in range(out.size):
                seen[j] = seen[j] or ok[j]


@numba.njit(nogil=True, cache=True)
def _mean(
    values: NDArray[Any],
    valid: NDArray[np.bool_],
    result: NDArray[Any],
    usable: NDArray[np.bool_],
) -> None:
    layers, height, width = values.shape
    total = np.empty(width, np.float64)
    count = np.empty(width, np.int64)
    for i in range(height):
        total[:] = 0.0
        count[:] = 0
        for k in range(layers):
            for j in range(width):
                total[j] += np.float64(values[k, i, j]) if valid[k, i, j] else 0.0
                count[j] += valid[k, i, j]
        for j in range(width):
            if count[j]:
                result[i, j] = total[j] / count[j]
                usable[i, j] = True


@numba.njit(nogil=True, cache=True)
def _extreme(
    values: NDArray[Any],
    valid: NDArray[np.bool_],
    largest: bool,
    start: Any,
    result: NDArray[Any],
    usable: NDArray[np.bool_],
) -> None:
    layers, height, width = values.shape
    row = np.empty(width, values.dtype)
    for i in range(height):
        row[:] = start
        for k in range(layers):
            if largest:
                for j in range(width):
                    item = values[k, i, j] if valid[k, i, j] else start
                    row[j] = item if item > row[j] else row[j]
                    usable[i, j] |= valid[k, i, j]
            else:
                for j in range(width):
                    item = values[k, i, j] if valid[k, i, j] else start
                    row[j] = item if item < row[j] else row[j]
                    usable[i, j] |= valid[k, i, j]
        for j in range(width):
            if usable[i, j]:
                result[i, j] = row[j]


@numba.njit(nogil=True, cache=True)
def _median(
    values: NDArray[Any],
    valid: NDArray[np.bool_],
    network: NDArray[np.int64],
    highest: Any,
    result: NDArray[Any],
    usable: NDArray[np.bool_],
) -> None:
    """Sort many pixels side by side; what is not valid sorts behind what is."""
    layers, height, width = values.shape
    kept = np.empty((layers, ABREAST), values.dtype)
    count = np.empty(ABREAST, np.int32)
    for i in range(height):
        for j0 in range(0, width, ABREAST):
            wide = min(ABREAST, width - j0)
            count[:] = 0
            for k in range(layers):
                row, ok = values[k, i, j0 : j0 + wide], valid[k, i, j0 : j0 + wide]
                for j in range(wide):
                    kept[k, j] = row[j] if ok[j] else highest
                for j in range(wide):
                    count[j] += ok[j]
            for pair in range(network.shape[0]):
                low, high = kept[network[pair, 0]], kept[network[pair, 1]]
                for j in range(wide):
                    a, b = low[j], high[j]
                    low[j] = b if b < a else a
                    high[j] = a if b < a else b
            out, seen = result[i, j0 : j0 + wide], usable[i, j0 : j0 + wide]
            for j in range(wide):
                n = count[j]
                # Of an odd number both are the middle one, and (a + a) / 2 is a: no branch.
                middle = np.float64(kept[max(n - 1, 0) // 2, j]) + np.float64(kept[n // 2, j])
                out[j] = middle / 2.0 if n else 0.0
                seen[j] = n > 0
