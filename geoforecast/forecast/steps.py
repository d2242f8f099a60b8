"""Steps of a tile one by one: chunks of several steps are decoded once while they are in use."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geoforecast.raster.cube import CHUNK_STEPS, Cube
from geoforecast.raster.grid import Tile

KEPT_CHUNKS = 2  # a window of steps may begin within one


class StepReader:
    """Reads some bands of a tile step by step.

    Args:
        cube: where to read.
        bands: names of its bands, in the order wanted.
        tile: the rectangle.
    """

    def __init__(self, cube: Cube, bands: Sequence[str], tile: Tile) -> None:
        self._cube, self._tile = cube, tile
        self._numbers = [cube.bands.index(band) for band in bands]
        self._chunks: dict[int, tuple[NDArray[np.float32], NDArray[np.bool_]]] = {}

    @property
    def shape(self) -> tuple[int, int, int]:
        """(band, y, x) of a step."""
        return (len(self._numbers), *self._tile.shape)

    def read(self, step: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Values, band units, NaN where invalid, and validity of a step, (band, y, x) each."""
        start = step - step % CHUNK_STEPS
        if start not in self._chunks:
            while len(self._chunks) >= KEPT_CHUNKS:
                del self._chunks[next(iter(self._chunks))]
            stop = min(start + CHUNK_STEPS, len(self._cube.times))
            values, valid = self._cube.read(start, stop, self._tile)
            self._chunks[start] = values[:, self._numbers], valid[:, self._numbers]
        values, valid = self._chunks[start]
        return values[step - start], valid[step - start]
