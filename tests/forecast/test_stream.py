"""What a tile's stream hands out to be scored: the pixels and steps that were asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from geoforecast.forecast.series import make_series
from geoforecast.forecast.stream import TileStream
from geoforecast.raster.cube import open_cube
from geoforecast.raster.grid import Tile

OUTER, PART = Tile(3, 20, 5, 30), Tile(6, 15, 11, 24)


@pytest.mark.parametrize("at", [-1, 2, 3, 7])
def test_what_came_is_what_the_cube_holds(make_project: Any, wave: Any, at: int) -> None:
    frames = np.where(np.random.default_rng(3).random(wave.shape) < 0.1, np.nan, wave)
    cube = open_cube(make_project(frames.astype(np.float32)).cube_path)
    stream = TileStream(make_series(cube, cube.bands), OUTER, "persistence", lookback=1)
    stream.advance_to(at)
    for start, stop in ((at + 1, at + 2), (at + 1, at + 7), (at + 4, at + 6)):
        values, valid = stream.came(start, stop, PART)
        expected, known = cube.read(start, stop, PART)
        np.testing.assert_array_equal(values, expected)
        np.testing.assert_array_equal(valid, known)
    assert stream.step == at  # nothing of it was taken in
    stream.advance_to(at + 1)
    read, _ = cube.read(at + 1, at + 2, OUTER)
    np.testing.assert_array_equal(stream.observed(at + 1)[0], read[0])
