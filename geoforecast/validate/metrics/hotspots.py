"""Where errors gather: local Moran's I of the mean error, and its hot and cold spots.

The mean error of a map that is written is read back in strips of rows, because a pixel is judged
beside the whole map's mean and spread, which are known only then. Strips have a fixed height, so
nothing depends on the tiles of the pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.windows import Window

from geoforecast.raster.geotiff import gdal_session
from geoforecast.raster.grid import Tile
from geoforecast.validate.metrics.autocorrelation import CONSTANT, neighbour_means

STRIP_PX = 256
NOT_SCORED = 255
SURE = 3.29  # standard deviations: by chance beyond them in one pixel of a thousand
SPOTS = (
    "not remarkable",
    "high among high",
    "low among low",
    "high among low",
    "low among high",
)
NOT_REMARKABLE, HIGH_HIGH, LOW_LOW, HIGH_LOW, LOW_HIGH = range(len(SPOTS))


@dataclass(frozen=True)
class Spread:
    """Of all pixels of a map.

    Attributes:
        n: pixels with a value.
        mean: of them.
        squares: sum of the squared deviations from it; 0 where all have one value.
    """

    n: int
    mean: float
    squares: float


def spread_of(path: Path) -> Spread:
    """Mean and spread of a map, in a fixed order of sums.

    Args:
        path: of a GeoTIFF with one band, NaN where nothing is known.
    """
    n, total, squares = 0, [0.0], [0.0]
    for _, values in strips(path):
        known = np.isfinite(values)
        n += int(known.sum())
        total += np.sum(values, axis=1, where=known).tolist()
    mean = math.fsum(total) / max(n, 1)
    for _, values in strips(path):
        known = np.isfinite(values)
        squares += np.sum(np.square(values - mean), axis=1, where=known).tolist()
    m2 = math.fsum(squares)
    return Spread(n, mean, m2 if n > 2 and m2 > CONSTANT * n * mean * mean else 0.0)


def hotspots(
    values: NDArray[np.float64], spread: Spread
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Local Moran's I of each pixel, and whether its neighbours are remarkably high or low.

    A pixel's neighbours are remarkable if their mean lies more than SURE standard deviations from
    what it would be had they been drawn from all other pixels at random.

    Args:
        values: (y, x) a map or a part of it with a row and column around, NaN where unknown.
        spread: of the whole map.
    Returns:
        I (y, x), NaN where unknown or where all pixels have one value; and a code of SPOTS,
        NOT_SCORED where unknown.
    Source:
        Anselin (1995), Geographical Analysis 27, eq. 7; moments of the neighbours' mean: Cochran
        (1977), Sampling Techniques, eq. 2.10.
    """
    known = np.isfinite(values)
    local = np.full(values.shape, np.nan, np.float32)
    codes = np.where(known, np.uint8(NOT_REMARKABLE), np.uint8(NOT_SCORED))
    if not spread.squares > 0:
        return local, codes
    about = np.where(known, values - spread.mean, 0.0)
    lag, degree = neighbour_means(about, known)
    local[known] = (about * lag * ((spread.n - 1) / spread.squares))[known]
    others = spread.n - 1
    variance = (spread.squares - about * about) / others - np.square(about / others)
    drawn = np.maximum(degree, 1).astype(np.float64)
    variance *= (others - drawn) / (others - 1) / drawn
    sure = known & (degree > 0) & (variance > 0)
    apart = np.zeros(values.shape)
    np.divide(lag + about / others, np.sqrt(np.maximum(variance, 0)), out=apart, where=sure)
    high = about > 0
    codes[(apart > SURE) & high] = HIGH_HIGH
    codes[(apart > SURE) & ~high] = LOW_HIGH
    codes[(apart < -SURE) & high] = HIGH_LOW
    codes[(apart < -SURE) & ~high] = LOW_LOW
    return local, codes


def hotspot_strips(
    path: Path,
) -> Iterator[tuple[Tile, NDArray[np.float32], NDArray[np.uint8]]]:
    """Local Moran's I and codes of a map, strip by strip; see hotspots.

    Args:
        path: of a GeoTIFF with one band, NaN where nothing is known.
    """
    spread = spread_of(path)
    for tile, values in strips(path, halo_px=1):
        local, codes = hotspots(values, spread)
        outer = tile.expanded(1, (tile.row1 + 1, tile.col1))
        inner = tile.within(outer)
        yield tile, local[inner], codes[inner]


def strips(path: Path, halo_px: int = 0) -> Iterator[tuple[Tile, NDArray[np.float64]]]:
    """A map of one band in strips of STRIP_PX rows, with so many rows above and below."""
    with gdal_session(), rasterio.open(path) as dataset:
        shape = dataset.shape
    for row in range(0, shape[0], STRIP_PX):
        tile = Tile(row, min(row + STRIP_PX, shape[0]), 0, shape[1])
        outer = tile.expanded(halo_px, shape)
        window = Window(0, outer.row0, shape[1], outer.shape[0])
        # Opened for each strip: who takes it may use GDAL in between, with settings of their own.
        with gdal_session(), rasterio.open(path) as dataset:
            values = dataset.read(1, window=window)
        yield tile, values.astype(np.float64)
