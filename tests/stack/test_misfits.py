"""Scenes that would make the common grid absurd; and those that only look odd."""

from __future__ import annotations

import pytest
from affine import Affine
from rasterio.crs import CRS

from geoforecast.raster.grid import Grid
from geoforecast.settings import StackSettings
from geoforecast.stack.misfits import misfits

UTM = CRS.from_epsg(32633).to_wkt()


def grid(x: float = 5e5, y: float = 52e5, *, size: float = 10.0, px: int = 100, turn: float = 0):
    return Grid(UTM, Affine(size, turn, x, -turn, -size, y), (px, px))


HERE = grid()
TILES = [grid(5e5 + 1000 * col, 52e5 - 1000 * row) for row in range(5) for col in range(5)]


@pytest.mark.parametrize(
    ("grids", "expected"),
    [
        ([HERE] * 3, set()),
        ([HERE, grid(9e6, 9e6)], {grid(9e6, 9e6)}),
        # The majority decides, wherever it stands.
        ([grid(9e6, 9e6), HERE, grid(9e6, 9e6)], {HERE}),
        ([*TILES, grid(9e6, 9e6)], {grid(9e6, 9e6)}),
        # A mosaic with every second tile missing is one area.
        (TILES[::2], set()),
        # A long row of tiles with gaps of twice their size.
        ([grid(5e5 + 6e4 * n, 52e5 - 6e4 * n, px=2000) for n in range(30)], set()),
        # Two places 20 km apart make a grid of no great size.
        ([HERE, grid(5.2e5, 52.2e5)], set()),
        # A pixel size with a wrong unit: 1000 km instead of 1.
        ([HERE, HERE, grid(size=1e4, y=57e5)], {grid(size=1e4, y=57e5)}),
        # One chip inside large scenes.
        ([grid(size=100, px=10_000), grid(size=100, px=10_000), HERE], set()),
    ],
)
def test_what_is_astray(grids, expected):
    found = misfits(grids, StackSettings())
    assert set(found) == expected
    for error in found.values():
        assert "--bounds or --like" in error.remedy
        assert "times as large" in error.what


def test_a_settled_extent_has_no_strays():
    settings = StackSettings(bounds=(5e5, 519e4, 51e4, 52e5), res=(10.0,))
    assert misfits([HERE, grid(9e6, 9e6)], settings) == {}


def test_rotated_among_others_is_a_misfit_unless_the_target_is_given():
    turned = grid(turn=1.0)
    assert set(misfits([HERE, turned], StackSettings())) == {turned}
    assert misfits([HERE, turned], StackSettings(crs="EPSG:32633", res=(10.0,))) == {}
    # All of them: target_grid says what to do.
    assert misfits([turned, turned], StackSettings()) == {}


def test_what_is_out_of_reach_is_a_misfit():
    far = Grid(UTM, Affine(1e7, 0, 1e9, 0, -1e7, 1e9), (5, 5))
    settings = StackSettings(crs="EPSG:4326", res=(0.01,))
    assert set(misfits([HERE, far], settings)) == {far}
