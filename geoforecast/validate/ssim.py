"""Structural similarity that leaves out unusable pixels and does not feel tile edges.

The same numbers as scikit-image's ``structural_similarity(full=True)`` in its default
setting. Written here because window sums must be the same to the bit wherever a tile
begins (scipy's running sums are not), because squares are taken about the training mean
(temperatures in kelvin would lose digits), and because the observed half of the sums
serves every method.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WINDOW_PX = 7
MARGIN_PX = WINDOW_PX // 2  # what a tile must see around it
MIN_SHARE = 0.25  # frames with fewer scored pixels do not count
K1, K2 = 0.01, 0.03


@dataclass(frozen=True)
class LocalMoments:
    """An image and its moments in the window around each pixel.

    Attributes:
        centred: (y, x) values about the training mean, 0 where not scored.
        mean: (y, x) window mean of ``centred``.
        variance: (y, x) window variance, sample-normalised.
    """

    centred: NDArray[np.float64]
    mean: NDArray[np.float64]
    variance: NDArray[np.float64]


def window_for(shape: tuple[int, int]) -> int:
    """The odd window side for a raster: 7 px, the largest that fits, or 0 if under 3."""
    side = min(shape)
    window = min(WINDOW_PX, side if side % 2 else side - 1)
    return window if window >= 3 else 0


def local_moments(
    values: NDArray[np.floating], scored: NDArray[np.bool_], mean: float, window: int
) -> LocalMoments:
    """Window moments of an image whose unscored pixels are set to the training mean.

    Args:
        values: (y, x), anything where not scored.
        scored: (y, x) bool; True = usable in both images.
        mean: training mean, band units.
        window: odd side in pixels.
    """
    centred = np.zeros(values.shape)
    centred[scored] = values[scored].astype(np.float64) - mean
    average = _window_mean(centred, window)
    return LocalMoments(
        centred, average, _sample(window) * (_window_mean(centred**2, window) - average**2)
    )


def ssim_map(
    forecast: LocalMoments, observed: LocalMoments, mean: float, data_range: float, window: int
) -> NDArray[np.float64]:
    """Structural similarity at each pixel.

    Args:
        forecast, observed: moments of the two images, same scored pixels.
        mean: training mean that both are centred on, band units.
        data_range: largest minus smallest training value, band units, above 0.
        window: odd side in pixels that both were made with.
    Returns:
        (y, x), 1 where the windows are identical.
    Source:
        Wang et al. (2004), eq. 13.
    """
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    product = _window_mean(forecast.centred * observed.centred, window)
    covariance = _sample(window) * (product - forecast.mean * observed.mean)
    f, o = forecast.mean + mean, observed.mean + mean
    similarity: NDArray[np.float64] = (2 * f * o + c1) * (2 * covariance + c2)
    similarity /= (f * f + o * o + c1) * (forecast.variance + observed.variance + c2)
    return similarity


def _sample(window: int) -> float:
    """From the variance of all window pixels to that of a sample."""
    return window**2 / (window**2 - 1)


def _window_mean(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Mean over a square window, mirrored at the array's edges.

    Plain shifted sums: each pixel's terms are added in the same order wherever it lies.
    """
    height, width = values.shape
    padded = np.pad(values, window // 2, mode="symmetric")
    rows = padded[:height].copy()
    for shift in range(1, window):
        rows += padded[shift : shift + height]
    total = rows[:, :width].copy()
    for shift in range(1, window):
        total += rows[:, shift : shift + width]
    return total / window**2
