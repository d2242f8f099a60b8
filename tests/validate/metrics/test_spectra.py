"""Spectra: power where it is, variance kept, blur seen, gaps and small rasters."""

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from geoforecast.validate.metrics.spectra import NO_SPECTRA, block_side, power_spectra


def noise(seed, shape):
    return np.random.default_rng(seed).standard_normal(shape)


def full(shape):
    return np.ones(shape, bool)


def test_a_wave_has_its_power_at_its_length():
    rows, cols = np.mgrid[:256, :256]
    wave = 3 * np.sin(2 * np.pi * (rows + cols) / 32)  # crests 32 / sqrt(2) pixels apart
    found = power_spectra(wave, 2 * wave, full(wave.shape))
    assert (found.side, found.blocks) == (64, 16)
    assert found.wavelengths[found.forecast.argmax()] == pytest.approx(32 / math.sqrt(2), rel=0.1)
    np.testing.assert_allclose(found.observed, 4 * found.forecast, rtol=1e-10)
    assert found.forecast.sum() / 16 == pytest.approx(9 / 2, rel=0.01)  # its variance


def test_noise_keeps_its_variance():
    field = noise(1, (512, 512))
    found = power_spectra(field, 5 * field, full(field.shape))
    assert found.blocks == 64
    # Corners of the spectrum, beyond the last ring, hold 1 - pi / 4 of it.
    assert found.forecast.sum() / 64 == pytest.approx(math.pi / 4, rel=0.03)
    assert found.fine_power() == pytest.approx(1 / 25)


def test_blur_is_shown():
    field = gaussian_filter(noise(2, (256, 256)), 1) + 100
    soft = gaussian_filter(field, 2)
    same = power_spectra(field, field, full(field.shape))
    assert same.fine_power() == 1
    assert same.effective_resolution() == 2
    blurred = power_spectra(soft, field, full(field.shape))
    assert blurred.fine_power() < 0.2
    # A bell of 2 pixels halves the power at a wavelength of 2 pi 2 / sqrt(ln 2).
    assert blurred.effective_resolution() == pytest.approx(
        4 * math.pi / math.sqrt(math.log(2)), rel=0.2
    )


def test_gaps_are_left_out():
    field = noise(3, (256, 512)) + 1e4
    scored = full(field.shape)
    scored[:, :200] = False  # the fourth column of blocks has too little left
    scored[::16, 256:] = False  # a sixteenth of the others
    wild = np.where(scored, field, np.nan)
    found = power_spectra(wild, wild, scored)
    assert found.blocks == 16
    assert np.isfinite(found.forecast).all()
    assert found.forecast.sum() / 16 == pytest.approx(math.pi / 4 * 15 / 16, rel=0.05)


def test_small_and_empty_rasters():
    assert [
        block_side(shape) for shape in ((7, 300), (8, 9), (31, 40), (255, 999), (999, 300))
    ] == [*(0, 8, 30, 32, 64)]
    assert power_spectra(noise(4, (5, 5)), noise(5, (5, 5)), full((5, 5))) is NO_SPECTRA
    nothing = power_spectra(noise(4, (9, 9)), noise(5, (9, 9)), np.zeros((9, 9), bool))
    assert nothing is NO_SPECTRA
    assert math.isnan(nothing.fine_power())
    assert math.isnan(nothing.effective_resolution())
    flat = power_spectra(np.full((16, 16), 2.0), np.full((16, 16), 3.0), full((16, 16)))
    assert math.isnan(flat.fine_power())


def test_frames_add_up():
    fields = [noise(seed, (40, 40)) for seed in range(4)]
    one = power_spectra(fields[0], fields[1], full((40, 40)))
    two = power_spectra(fields[2], fields[3], full((40, 40)))
    both = one + NO_SPECTRA + two
    assert both.blocks == one.blocks + two.blocks
    np.testing.assert_array_equal(both.forecast, one.forecast + two.forecast)
    assert (NO_SPECTRA + one) is one


def test_a_forecast_of_noise_only_resolves_nothing_or_all():
    field = noise(6, (64, 64))
    assert power_spectra(0.1 * field, field, full((64, 64))).effective_resolution() == math.inf


def test_parts_add_up_to_the_whole():
    field, other = noise(7, (530, 600)), noise(8, (530, 600))
    whole = power_spectra(field, other, full(field.shape))
    total = NO_SPECTRA
    for row in (0, 512):
        for col in (0, 512):
            part = (slice(row, row + 512), slice(col, col + 512))
            total = total + power_spectra(
                field[part], other[part], full(field[part].shape), whole.side
            )
    assert total.blocks == whole.blocks == 72
    np.testing.assert_allclose(total.forecast, whole.forecast, rtol=1e-12)
