"""Samples: what may come, drawn so that maps of it err as forecasts have erred.

A sample is a random field of standard normal numbers whose neighbours are as alike as errors
were, read as quantiles of those errors. The field belongs to the raster and the seed, so a
tile's part is the same whatever tile is asked for.

Source:
    Goovaerts (1997), Geostatistics for natural resources evaluation, section 8.9, for
    probability fields.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d
from scipy.special import ndtr

from geoforecast.raster.grid import Tile
from geoforecast.references.likeness import Likeness
from geoforecast.samples.features import Array

BLOCK_PX = 128  # side of the blocks that noise is drawn in
REACH = 4  # widths beyond which a Gaussian counts as 0
# Noise reaches beyond the raster; block numbers must not be negative.
FIRST_BLOCK = 2**20
SHARED, PATCHES, NOISE = range(3)


def normal_field(tile: Tile, likeness: Likeness, key: Sequence[int]) -> Array:
    """A tile of a standard normal field.

    Args:
        tile: rows and columns of the raster.
        likeness: of neighbours.
        key: names the field: seed, sample and whatever else tells it from others.
    Returns:
        (y, x) of mean 0 and variance 1 over many keys.
    """
    result = np.full(tile.shape, np.sqrt(likeness.shared) * _shared(key))
    if likeness.noise > 0:
        result += np.sqrt(likeness.noise) * _noise(tile, [*key, NOISE])
    if likeness.patches > 0:
        reach = int(np.ceil(REACH * likeness.width))
        wide = Tile(tile.row0 - reach, tile.row1 + reach, tile.col0 - reach, tile.col1 + reach)
        kernel = np.exp(-0.5 * np.square(np.arange(-reach, reach + 1) / likeness.width))
        kernel /= np.sqrt(np.square(kernel).sum())
        field = _noise(wide, [*key, PATCHES])
        for axis in (0, 1):
            field = correlate1d(field, kernel, axis=axis, mode="constant")
        result += np.sqrt(likeness.patches) * field[reach:-reach, reach:-reach]
    return result.astype(np.float32)


def chained(fields: Sequence[Array], typical: Sequence[float]) -> list[Array]:
    """Independent fields, one a lead, made as alike as errors that grow with the lead are.

    An error two steps ahead is the one at the first step and what the second adds, so their
    correlation is the ratio of their sizes.

    Args:
        fields: (y, x) of each lead.
        typical: root mean squared error of each lead; 0 if unknown.
    """
    result = [fields[0]]
    for lead in range(1, len(fields)):
        before, now = typical[lead - 1], typical[lead]
        alike = min(1.0, before / now) if now > 0 else 1.0
        fresh = np.float32(np.sqrt(1 - alike * alike))
        result.append(np.float32(alike) * result[-1] + fresh * fields[lead])
    return result


def probabilities(field: Array) -> NDArray[np.float64]:
    """Standard normal numbers as probabilities."""
    result: NDArray[np.float64] = ndtr(field.astype(np.float64))
    return result


def _shared(key: Sequence[int]) -> float:
    return float(np.random.default_rng([*key, SHARED]).standard_normal())


def _noise(tile: Tile, key: Sequence[int]) -> NDArray[np.float64]:
    """Independent normal numbers, each belonging to a pixel of the endless plane."""
    result = np.empty(tile.shape)
    for row in range(tile.row0 // BLOCK_PX, -(-tile.row1 // BLOCK_PX)):
        for col in range(tile.col0 // BLOCK_PX, -(-tile.col1 // BLOCK_PX)):
            place = [FIRST_BLOCK + row, FIRST_BLOCK + col]
            block = np.random.default_rng([*key, *place]).standard_normal((BLOCK_PX, BLOCK_PX))
            top, left = row * BLOCK_PX, col * BLOCK_PX
            rows = max(top, tile.row0), min(top + BLOCK_PX, tile.row1)
            cols = max(left, tile.col0), min(left + BLOCK_PX, tile.col1)
            result[
                rows[0] - tile.row0 : rows[1] - tile.row0, cols[0] - tile.col0 : cols[1] - tile.col0
            ] = block[rows[0] - top : rows[1] - top, cols[0] - left : cols[1] - left]
    return result
