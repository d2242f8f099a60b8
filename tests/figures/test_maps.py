"""Maps lie the right way up and are true to shape."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS

from geoforecast.figures.maps import north_up, pixel_aspect
from geoforecast.raster.grid import Grid

UTM = CRS.from_epsg(32633).to_wkt()
NORTH_UP = Grid(UTM, Affine(10, 0, 0, 0, -10, 200), (20, 20))
SOUTH_UP = Grid(UTM, Affine(10, 0, 0, 0, 10, 0), (20, 20))


def test_north_up() -> None:
    values = np.array([[1, 2], [3, 4]])
    assert north_up(values, NORTH_UP).tolist() == [[1, 2], [3, 4]]
    assert north_up(values, SOUTH_UP).tolist() == [[3, 4], [1, 2]]
    mirrored = Grid(UTM, Affine(-10, 0, 200, 0, -10, 200), (20, 20))
    assert north_up(values, mirrored).tolist() == [[2, 1], [4, 3]]


def test_degrees_are_drawn_true_to_shape() -> None:
    wgs84 = CRS.from_epsg(4326).to_wkt()
    grid = Grid(wgs84, Affine(1, 0, 0, 0, -1, 61), (2, 2))  # centre at 60 degrees north
    assert pixel_aspect(grid) == pytest.approx(2.0)
    assert pixel_aspect(NORTH_UP) == 1.0
