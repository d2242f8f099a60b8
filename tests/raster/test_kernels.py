"""Kernels of one and of four source pixels: what their numbers become."""

from __future__ import annotations

import numpy as np
import pytest

from geoforecast.raster import kernels

LARGE = float(np.finfo(np.float32).max)


def run(kernel, raw, usable, scale, *places):
    values = np.full((1, *(places[-1].shape if places else raw.shape[1:])), 7, np.float32)
    valid = np.zeros(values.shape, bool)
    numbers = np.full(1, np.nan), np.full(1, scale), np.zeros(1)
    kernel(raw, usable, *numbers, *places, values, valid)
    return values, valid


@pytest.mark.parametrize("kernel", [kernels.copied, kernels.nearest, kernels.bilinear])
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
    if kernel is kernels.copied:  # it clears what is not valid itself
        assert np.isnan(values).all()
    else:
        assert (values == 7).all()
