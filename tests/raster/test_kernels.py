"""Kernels of one and of four source pixels: what their numbers become."""

from __future__ import annotations

import numpy as np
import pytest

from geoforecast.raster import kernels
from geoforecast.raster.bilinear import bilinear

LARGE = float(np.finfo(np.float32).max)


def run(kernel, raw, usable, scale, *places):
    values = np.full((1, *(places[-1].shape if places else raw.shape[1:])), 7, np.float32)
    valid = np.ones(values.shape, bool)
    numbers = kernels.as_they_are(1)
    numbers[:, kernels.SCALE] = scale
    kernel(raw, usable, numbers, *(places or (0, 0)), values, valid)
    return values, valid


@pytest.mark.parametrize("kernel", [kernels.copied, kernels.nearest, bilinear])
@pytest.mark.parametrize("holed", [False, True])
def test_results_that_float32_cannot_hold_are_not_valid(kernel, holed):
    """Half of what it can hold: times 1.5 that is fine, times 3 it is not."""
    raw = np.full((1, 6, 9), LARGE / 2, np.float32)
    usable = np.ones(raw.shape, bool)
    usable[0, 3, 4] = not holed  # beside a hole pixels go another way
    y, x = np.mgrid[1:4, 1:7] + 0.25
    places = (0, 0, 6, 9, x, y) if kernel is not kernels.copied else ()
    values, valid = run(kernel, raw, usable, 1.5, *places)
    assert (~valid).sum() == holed
    assert np.isfinite(values[valid]).all()
    assert values[0, 0, 0] == np.float32(LARGE * 0.75)
    values, valid = run(kernel, raw, usable, 3.0, *places)
    assert not valid.any()
    assert np.isnan(values).all()  # nobody need clear them before


def readings(kernel, raw, numbers, usable=None, at=0.0):
    """A kernel at pixels' centres, or ``at`` beyond them."""
    shape = raw.shape[1:]
    y, x = np.mgrid[: shape[0], : shape[1]] + at
    usable = np.ones((1, *shape), bool) if usable is None else usable
    values, valid = np.full(raw.shape, 7, np.float32), np.ones(raw.shape, bool)
    places = (0, 0) if kernel is kernels.copied else (0, 0, *shape, x, y)
    kernel(raw, usable, numbers, *places, values, valid)
    assert np.isnan(values[~valid]).all()
    return values, valid


@pytest.mark.parametrize("kernel", [kernels.copied, kernels.nearest, bilinear])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_numbers_that_are_not_used(kernel, dtype):
    """Nodata, bounds and the mask, each of one of two bands."""
    rng = np.random.default_rng(0)
    raw = rng.integers(0, 40, (2, 9, 40)).astype(dtype)
    numbers = np.array([[3, -np.inf, 30, 0.5, 1], [np.nan, 5, np.inf, 2, 0]], float)
    usable = rng.random((1, 9, 40)) > 0.1
    values, valid = readings(kernel, raw, numbers, usable)
    assert (valid[0] == (usable[0] & (raw[0] != 3) & (raw[0] <= 30))).all()
    assert (valid[1] == (usable[0] & (raw[1] >= 5))).all()
    # At centres of pixels it is the pixel, whatever lies beside it.
    assert (values[0][valid[0]] == raw[0][valid[0]] * 0.5 + 1).all()
    assert (values[1][valid[1]] == raw[1][valid[1]] * 2).all()


def test_a_fraction_is_neither_nodata_nor_a_bound_of_whole_numbers():
    """In float32, which integers are compared in, 7.00000001 is 7, and 7.9999999 is 8."""
    raw = np.array([[[6, 7, 8, 9]]], np.uint16)
    for none, low, high, expected in [
        (7.00000001, -np.inf, np.inf, [1, 1, 1, 1]),
        (np.nan, 7.00000001, np.inf, [0, 0, 1, 1]),
        (np.nan, -np.inf, 7.9999999, [1, 1, 0, 0]),
        (np.inf, -1e300, 1e300, [1, 1, 1, 1]),
    ]:
        numbers = np.array([[none, low, high, 1, 0]])
        assert readings(kernels.nearest, raw, numbers)[1].tolist() == [[expected]]


def test_weights_are_shared_out_among_the_numbers_within_bounds():
    raw = np.array([[[10, 20, 999], [30, 40, 50]]], np.uint16)
    numbers = np.array([[np.nan, -np.inf, 100, 1, 0]])
    values, valid = readings(bilinear, raw, numbers, at=0.25)
    # (20 + 30 + 3 * 40 / 4 ...): weights 9, 3, 3, 1 of 16; 999 takes no part.
    assert values[0, 0, 0] == (9 * 10 + 3 * 20 + 3 * 30 + 40) / 16
    assert values[0, 0, 1] == np.float32((9 * 20 + 3 * 40 + 50) / 13)
    assert valid.tolist() == [[[True, True, False], [True, True, True]]]


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_sums_of_small_integers_are_right_to_float32_and_all_others_to_float64(dtype):
    rng = np.random.default_rng(1)
    raw = rng.integers(0, 65536, (1, 50, 300)).astype(dtype)
    y, x = rng.random((2, 40, 250)) * [[[48]], [[298]]]
    values, valid = run(bilinear, raw, np.ones(raw.shape, bool), 1.0, 0, 0, 50, 300, x, y)
    r, c = y.astype(int), x.astype(int)
    u, v, p = x - c, y - r, raw[0].astype(float)
    upper = p[r, c] + (p[r, c + 1] - p[r, c]) * u
    lower = p[r + 1, c] + (p[r + 1, c + 1] - p[r + 1, c]) * u
    exact = upper + (lower - upper) * v
    assert valid.all()
    if dtype is np.float32:
        assert (values[0] == exact.astype(np.float32)).all()
    else:
        assert np.abs(values[0] - exact).max() < 0.03  # 65536 * 2**-24 is 0.004


@pytest.mark.parametrize("kernel", [kernels.nearest, bilinear])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_a_pixel_has_the_same_bits_wherever_it_stands_in_a_row(kernel, dtype):
    """Vectors, what is left of them, and blocks: each pixel by itself gives the same."""
    rng = np.random.default_rng(2)
    raw = rng.integers(1, 65536, (2, 90, 200)).astype(dtype)
    numbers = np.array([[5, -np.inf, 65000, 1e-4, 0], [0, -np.inf, np.inf, 1, -0.1]])
    usable = rng.random((1, 90, 200)) > 0.002
    i, j = np.mgrid[:70, :150]
    x, y = j * 1.02 + i * 0.07 - 2.2, i * 1.01 - j * 0.07 + 10.3
    whole = np.empty((2, 70, 150), np.float32), np.empty((2, 70, 150), bool)
    kernel(raw, usable, numbers, 0, 0, 90, 200, x, y, *whole)
    assert 0.8 < whole[1].mean() < 1
    for rows, cols in [(slice(69, 70), slice(3, 9)), (slice(1, 67), slice(5, 136))]:
        part = tuple(np.empty_like(a[:, rows, cols]) for a in whole)
        kernel(raw, usable, numbers, 0, 0, 90, 200, x[rows, cols], y[rows, cols], *part)
        for a, b in zip(part, whole, strict=True):
            assert a.tobytes() == np.ascontiguousarray(b[:, rows, cols]).tobytes()
    for row, col in [(0, 0), (33, 127), (64, 128), (69, 149)]:
        alone = np.empty((2, 1, 1), np.float32), np.empty((2, 1, 1), bool)
        place = x[row : row + 1, col : col + 1], y[row : row + 1, col : col + 1]
        kernel(raw, usable, numbers, 0, 0, 90, 200, *place, *alone)
        assert alone[0].tobytes() == whole[0][:, row, col].tobytes()


def test_a_copy_may_lie_within_more():
    raw = np.arange(12, dtype=np.uint16).reshape(1, 3, 4)
    values, valid = np.full((1, 5, 6), 7, np.float32), np.ones((1, 5, 6), bool)
    usable = np.ones((1, 3, 4), bool)
    kernels.copied(raw, usable, kernels.as_they_are(1), 1, 2, values, valid)
    assert valid.sum() == 12
    assert (values[0, 1:4, 2:6] == raw[0]).all()
    assert np.isnan(values[~valid]).all()
