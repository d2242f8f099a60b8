"""Coefficients that vary: with the season, and with how high the base forecast is.

One number for all pixels and times says that a drop of yesterday is half made up tomorrow, in
spring as in autumn, on bare ground as in a forest. Where a rule may vary, some of its features
come again, multiplied by the sine and cosine of the season and by the level of the base and its
square; the sum is the same rule with coefficients that depend on both. Their sizes come as
well: a rise is not always the mirror of a drop.

The products are made only for the pixels whose sums are taken. For whole tiles a kernel adds
up the coefficients first, block by block in a fixed order, so that any tile gives the same
bits; a matrix product would be as fast, but picks its order by the array's shape.
"""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import NDArray

from geoforecast.references import Array

# Features that vary, by name: forecasts unlike each other, and the last changes.
VARIED = (
    "mean",
    "trend",
    "kriging",
    "anomaly_kriging",
    "damped_anomaly",
    "harmonic1",
    "lag 1",
    "lag 2",
)
WAYS = ("by sine", "by cosine", "by level", "by level squared", "size")
FARTHEST = 3.0  # standard deviations from the mean at which a level stops to count
_BLOCK_PX = 1024

Season = tuple[float, float]  # sine and cosine of the time of the cycle; 0 and 0 before one is over


def varied(names: Sequence[str]) -> tuple[int, ...]:
    """Places of the features that vary.

    Args:
        names: of all plain features, in order.
    """
    return tuple(place for place, name in enumerate(names) if name in VARIED)


def level_of(base_BHW: Array, mean: Sequence[float], std: Sequence[float]) -> Array:
    """(band, y, x) how far a base forecast is from the band's mean, in standard deviations.

    Args:
        base_BHW: band units; where it is unknown the level is 0.
        mean, std: of each band's training steps; the level of a constant band is 0.
    """
    scale = np.array([1 / one if one > 0 else 0.0 for one in std], np.float32)
    level = (base_BHW - np.asarray(mean, np.float32)[:, None, None]) * scale[:, None, None]
    result: Array = np.nan_to_num(np.clip(level, -FARTHEST, FARTHEST), nan=0.0)
    return result


def widened(features: Array, level: Array, season: Season, places: Sequence[int]) -> Array:
    """Plain features, then those that vary times each of WAYS.

    Args:
        features: (feature, pixel).
        level: (pixel,).
        season: of the time that is forecast.
        places: of the features that vary.
    Returns:
        (feature + 5 * place, pixel); the ways of one place stand side by side.
    """
    some = features[list(places)]
    sine, cosine = np.float32(season[0]), np.float32(season[1])
    square = level * level - np.float32(1)
    ways = [sine * some, cosine * some, level * some, square * some, np.abs(some)]
    further = np.stack(ways, axis=1).reshape(len(places) * len(WAYS), len(level))
    return np.concatenate([features, further])


def applied(
    base: Array,
    features: Array,
    level: Array,
    season: Season,
    places: Sequence[int],
    coefficients: NDArray[np.float64],
) -> Array:
    """A base forecast with each rule's sum of features added.

    Args:
        base, level: (y, x).
        features: (feature, y, x), the plain ones, finite.
        season: of the time that is forecast.
        places: of the features that vary.
        coefficients: (rule, feature + 5 * place), of features as widened() has them.
    Returns:
        (rule, y, x).
    """
    plain = len(features)
    rest = coefficients[:, plain:].reshape(len(coefficients), len(places), len(WAYS))
    fixed = coefficients[:, :plain].copy()
    fixed[:, list(places)] += rest[:, :, :2] @ np.asarray(season)
    result = np.empty((len(coefficients), *base.shape), np.float32)
    _add_up(
        np.ascontiguousarray(base).reshape(-1),
        np.ascontiguousarray(features).reshape(plain, -1),
        np.ascontiguousarray(level).reshape(-1),
        np.asarray(places, np.int64),
        fixed.astype(np.float32),
        np.ascontiguousarray(rest[:, :, 2:], np.float32),
        result.reshape(len(coefficients), -1),
    )
    return result


@numba.njit(nogil=True, cache=True)
def _add_up(
    base: Array,
    features: Array,
    level: Array,
    places: NDArray[np.int64],
    fixed: Array,
    others: Array,
    result: Array,
) -> None:
    """Add up rule by rule, pixels of a block at once.

    result[r] = base + sum_f fixed[r, f] x[f] + sum_k (b z + c (z^2 - 1)) y + d |y|, where y is
    x[places[k]] and b, c, d are others[r, k].
    """
    pixels = base.shape[0]
    for start in range(0, pixels, _BLOCK_PX):
        stop = min(start + _BLOCK_PX, pixels)
        z = level[start:stop]
        for rule in range(fixed.shape[0]):
            total = result[rule, start:stop]
            total[:] = base[start:stop]
            for place in range(fixed.shape[1]):
                number = fixed[rule, place]
                if number != 0:
                    x = features[place, start:stop]
                    for p in range(stop - start):
                        total[p] += number * x[p]
            for varying in range(places.shape[0]):
                linear, square, size = others[rule, varying]
                if linear != 0 or square != 0 or size != 0:
                    x = features[places[varying], start:stop]
                    for p in range(stop - start):
                        at = linear * z[p] + square * (z[p] * z[p] - np.float32(1))
                        total[p] += at * x[p] + size * abs(x[p])
