"""The cell of a ConvLSTM, without its convolutions: one pass over memory each way.

torch would make a pass for each function over arrays larger than the cache, twice the time in
all. Here a pixel's gates are read once, turned into what they become in
their own place.

Arrays of one image and step, float32 or float64; pixels go through the image row by row:

    gates (pixel, 4 hidden): shares stand as i, f, o, g
    before, after (pixel, hidden): the cell state of the step before, and this one's
    state (pixel, hidden): the hidden state

Every pixel is computed by itself, so threads change no bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numba
import numpy as np
import torch
from numba import types
from numba.core.extending import overload
from numpy.typing import NDArray

from geoforecast.raster.kernels import Apart

Array = NDArray[Any]

# Pixels are spread over threads where their gates are more numbers than this.
WORTH_SPREADING = 50_000

# exp(x) = 2^n exp(r): adding this rounds a float32 to the nearest whole number, in its low bits.
_ROUNDER = np.float32(12582912.0)  # 1.5 * 2^23
_LOG2_E = np.float32(1.4426950408889634)
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
# exp(r) for |r| <= ln(2) / 2: the polynomial of Cephes' expf (Moshier, 1989).
_P = tuple(
    np.float32(p)
    for p in (
        1.9875691500e-4,
        1.3981999507e-3,
        8.3334519073e-3,
        4.1665795894e-2,
        1.6666665459e-1,
        5.0000001201e-1,
    )
)
_LEAST, _MOST = np.float32(-87.0), np.float32(88.0)  # beyond, a float32 is 0 or infinite
_ONE, _NOTHING = np.float32(1.0), np.float32(0.0)


def _sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)); compiled code has one for each dtype."""
    return _sigmoid64(x)


@overload(_sigmoid, jit_options={"error_model": "numpy", "fastmath": {"contract"}})
def _typed_sigmoid(x: Any) -> Callable[[Any], Any]:
    if x is types.float32:
        return _sigmoid32
    return _sigmoid64


def _sigmoid64(x: Any) -> Any:
    return 1.0 / (1.0 + math.exp(-x))


def _sigmoid32(x: Any) -> Any:
    # By hand: the mathematical library's exp() is a call, which no vector code is made of.
    power = _LEAST if -x < _LEAST else -x  # in this order, NaN stays NaN
    power = _MOST if power > _MOST else power
    shifted = power * _LOG2_E + _ROUNDER
    whole = shifted - _ROUNDER
    r = power - whole * _LN2_HIGH - whole * _LN2_LOW
    p = ((((_P[0] * r + _P[1]) * r + _P[2]) * r + _P[3]) * r + _P[4]) * r + _P[5]
    p = p * r * r + r + _ONE
    exponent = np.float32(shifted).view(np.int32) << np.int32(23)
    e = np.int32(np.float32(p).view(np.int32) + exponent).view(np.float32)
    return _ONE / (_ONE + e)


@numba.njit(error_model="numpy")
def _tanh(x: Any) -> Any:
    twice = _sigmoid(x + x)
    return twice + twice - _ONE


_compiled = numba.njit(
    nogil=True, cache=True, error_model="numpy", fastmath={"contract"}, pipeline_class=Apart
)


@_compiled
def forward(
    gates: Array, before: Array, after: Array, state: Array, first: bool, start: int, stop: int
) -> None:
    """One step of pixels ``start`` to ``stop``; ``gates`` become i, f, o and tanh(g).

    Args:
        gates: before their nonlinearities.
        before: not read if this is the ``first`` step, whose state before is zero.
        after, state: written.
    """
    hidden = after.shape[1]
    for pixel in range(start, stop):
        z, b, a, h = gates[pixel], before[pixel], after[pixel], state[pixel]
        for k in range(hidden):
            i = _sigmoid(z[k])
            f = _sigmoid(z[k + hidden])
            o = _sigmoid(z[k + 2 * hidden])
            g = _tanh(z[k + 3 * hidden])
            c = i * g
            if not first:
                c += f * b[k]
            z[k], z[k + hidden], z[k + 2 * hidden], z[k + 3 * hidden] = i, f, o, g
            a[k] = c
            h[k] = o * _tanh(c)


@_compiled
def backward(
    gates: Array,
    before: Array,
    after: Array,
    d_state: Array,
    d_cell: Array,
    d_gates: Array,
    first: bool,
    start: int,
    stop: int,
) -> None:
    """Gradients of one step of pixels ``start`` to ``stop``.

    Args:
        gates: as forward() left them.
        before, after: the cell states.
        d_state: gradient of the hidden state.
        d_cell: gradient of ``after`` from later steps; becomes that of ``before``.
        d_gates: written, the gradient before the nonlinearities.
    """
    hidden = after.shape[1]
    for pixel in range(start, stop):
        z, b, a, d = gates[pixel], before[pixel], after[pixel], d_gates[pixel]
        dh, dc = d_state[pixel], d_cell[pixel]
        for k in range(hidden):
            i, f, o, g = z[k], z[k + hidden], z[k + 2 * hidden], z[k + 3 * hidden]
            t = _tanh(a[k])
            c = dc[k] + dh[k] * o * (_ONE - t * t)
            past = c * f * (_ONE - f)
            d[k] = c * g * i * (_ONE - i)
            d[k + hidden] = past * _NOTHING if first else past * b[k]
            d[k + 2 * hidden] = dh[k] * t * o * (_ONE - o)
            d[k + 3 * hidden] = c * i * (_ONE - g * g)
            dc[k] = c * f


def spread(kernel: Callable[..., None], *tensors: torch.Tensor, first: bool) -> None:
    """Run a kernel over all pixels, on as many threads as torch uses.

    Args:
        kernel: forward() or backward().
        tensors: its arrays, contiguous, (..., channel).
        first: see there.
    """
    arrays = [tensor.detach().view(-1, tensor.shape[-1]).numpy() for tensor in tensors]
    pixels = len(arrays[0])
    threads = min(torch.get_num_threads(), pixels)
    if threads == 1 or arrays[0].size < WORTH_SPREADING:
        kernel(*arrays, first, 0, pixels)
        return
    bounds = [pixels * part // threads for part in range(threads + 1)]
    pool = _pool(threads - 1)
    others = [
        pool.submit(kernel, *arrays, first, bounds[part], bounds[part + 1])
        for part in range(1, threads)
    ]
    kernel(*arrays, first, 0, bounds[1])
    for other in others:
        other.result()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    # They flush denormals as the caller does, see forecast.device: threads shall change no bit.
    return ThreadPoolExecutor(
        threads, "cell", initializer=torch.set_flush_denormal, initargs=(True,)
    )
