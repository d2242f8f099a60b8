"""Masked SSIM against scikit-image, whole and in tiles."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from geoforecast.raster.grid import Tile
from geoforecast.validate.metrics import ssim
from geoforecast.validate.metrics.ssim import MARGIN_PX, ssim_map, ssim_sum, window_for

MEAN, RANGE = 290.0, 25.0


def fields(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    observed = (MEAN + 5 * rng.normal(size=shape)).astype(np.float32)
    forecast = (observed + rng.normal(size=shape)).astype(np.float32)
    return forecast, observed, rng.random(shape) > 0.3


def similarity(f: np.ndarray, o: np.ndarray, scored: np.ndarray, window: int = 7) -> np.ndarray:
    return ssim_map(f, o, scored, MEAN, RANGE, window)


@pytest.mark.parametrize("shape", [(20, 33), (9, 300), (7, 9), (5, 5), (4, 12), (3, 3)])
def test_same_map_as_scikit_image(shape: tuple[int, int]) -> None:
    f, o, scored = fields(shape)
    window = window_for(shape)
    filled = [np.where(scored, image, MEAN).astype(np.float64) for image in (f, o)]
    _, expected = structural_similarity(*filled, data_range=RANGE, full=True, win_size=window)
    np.testing.assert_allclose(similarity(f, o, scored, window), expected, atol=1e-8)


def test_unscored_pixels_do_not_matter() -> None:
    f, o, scored = fields((20, 33))
    expected = similarity(f, o, scored)
    f[~scored], o[~scored] = 1e9, np.nan
    np.testing.assert_array_equal(similarity(f, o, scored), expected)


def test_tiles_equal_the_whole_to_the_bit() -> None:
    shape = (20, 33)
    f, o, scored = fields(shape)
    expected = similarity(f, o, scored)
    for tile in (Tile(0, 5, 0, 8), Tile(5, 6, 8, 30), Tile(19, 20, 32, 33)):
        outer = tile.expanded(MARGIN_PX, shape)
        images = (f[outer.slices], o[outer.slices], scored[outer.slices])
        part = similarity(*images)
        np.testing.assert_array_equal(part[tile.within(outer)], expected[tile.slices])
        total = ssim_sum(*images, MEAN, RANGE, 7, inner=tile.within(outer))
        own = scored[tile.slices]
        np.testing.assert_allclose(total, expected[tile.slices][own].sum(), rtol=1e-12, atol=1e-12)


def test_threads_and_strips_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    f, o, scored = fields((40, 300))  # three strips
    one = ssim_sum(f, o, scored, MEAN, RANGE, 7)
    whole = similarity(f, o, scored)
    monkeypatch.setattr(ssim, "BAND_PX", 7)
    assert ssim_sum(f, o, scored, MEAN, RANGE, 7, jobs=3) == one
    np.testing.assert_array_equal(ssim_map(f, o, scored, MEAN, RANGE, 7, jobs=3), whole)


def test_identical_images_score_one() -> None:
    _, o, scored = fields((9, 9))
    np.testing.assert_allclose(similarity(o, o, scored), 1.0, rtol=1e-12)


@pytest.mark.parametrize(
    ("shape", "window"), [((9, 9), 7), ((6, 90), 5), ((4, 4), 3), ((3, 8), 3), ((2, 99), 0)]
)
def test_window_fits_the_raster(shape: tuple[int, int], window: int) -> None:
    assert window_for(shape) == window
