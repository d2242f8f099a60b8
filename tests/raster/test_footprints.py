"""Windows: everything a method reads, and nothing that it does not."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS

from geoforecast.raster.footprints import (
    AREA_METHODS,
    footprint_window,
    footprints_extent,
    source_window,
    window_for,
)
from geoforecast.raster.grid import Grid, Tile
from geoforecast.raster.resample import coordinate_map

SHAPE = (20, 30)


def test_two_by_two_around_points_and_a_halo():
    x, y = np.array([[4.2, 9.0]]), np.array([[7.5, 3.1]])
    assert source_window(x, y, SHAPE, 0) == Tile(3, 9, 4, 11)
    assert source_window(x, y, SHAPE, 1) == Tile(2, 10, 3, 12)
    assert window_for("bilinear", x, y, SHAPE) == Tile(3, 9, 4, 11)
    assert window_for("cubic", x, y, SHAPE) == Tile(2, 10, 3, 12)


def test_windows_end_with_the_image_and_points_outside_do_not_widen_them():
    x, y = np.array([[-0.5, 29.4, np.nan, 500.0]]), np.array([[-0.5, 19.4, 3.0, 5.0]])
    assert source_window(x, y, SHAPE, 1) == Tile(0, 20, 0, 30)
    assert source_window(x[:, :1], y[:, :1], SHAPE, 0) == Tile(0, 1, 0, 1)
    assert source_window(x[:, 2:], y[:, 2:], SHAPE, 1) is None
    # The upper end of the image is outside of it.
    assert source_window(np.array([[29.5]]), np.array([[5.0]]), SHAPE, 1) is None


@pytest.mark.parametrize("method", AREA_METHODS)
def test_footprints_touch_whole_pixels(method):
    # From the middle of pixel 2 to the edge of pixel 6: columns 2 to 5.
    x, y = np.meshgrid([2.0, 5.5], [3.5, 8.6])
    assert window_for(method, x, y, SHAPE) == Tile(4, 10, 2, 6)
    # Whichever way rows and columns run.
    assert window_for(method, x[::-1, ::-1], y[::-1, ::-1], SHAPE) == Tile(4, 10, 2, 6)


def test_a_footprint_over_the_whole_image_and_one_beside_it():
    x, y = np.meshgrid([-100.0, 100.0], [-100.0, 100.0])
    assert footprint_window(x, y, SHAPE) == Tile(0, 20, 0, 30)
    x, y = np.meshgrid([29.5, 40.0], [0.0, 5.0])
    assert footprint_window(x, y, SHAPE) is None
    assert footprint_window(np.full((2, 2), np.nan), y, SHAPE) is None


@settings(max_examples=60, deadline=None)
@given(
    angle=st.floats(0, 360), size=st.floats(0.2, 6), dx=st.floats(-20, 40), dy=st.floats(-20, 30)
)
def test_the_largest_footprint_is_never_understated(angle, size, dx, dy):
    wkt = CRS.from_epsg(32633).to_wkt()
    source = Grid(wkt, Affine(1, 0, 0, 0, -1, 0), SHAPE)
    target = Grid(
        wkt, source.transform @ Affine.translation(dx, dy) @ Affine.rotation(angle)
        @ Affine.scale(size), (4, 5),
    )  # fmt: skip
    x, y = coordinate_map(target, source).corners(target.whole)
    window = footprint_window(x, y, SHAPE)
    *_, largest = footprints_extent(x, y, *SHAPE)
    boxes = [
        footprint_window(x[i : i + 2, j : j + 2], y[i : i + 2, j : j + 2], SHAPE)
        for i in range(4)
        for j in range(5)
    ]
    touched = [box for box in boxes if box is not None]
    if not touched:
        assert window is None
        return
    assert largest >= max(box.shape[0] * box.shape[1] for box in touched)
    assert window == Tile(
        min(b.row0 for b in touched), max(b.row1 for b in touched),
        min(b.col0 for b in touched), max(b.col1 for b in touched),
    )  # fmt: skip
