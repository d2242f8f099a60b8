"""Pictures: centred on zero, north up, the same bytes each time."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from affine import Affine
from PIL import Image
from rasterio.crs import CRS

from geoforecast.raster.grid import Grid
from geoforecast.validate.pictures import (
    DIVERGING,
    Panel,
    diverging_limit,
    draw,
    shared_limits,
)

UTM = CRS.from_epsg(32633).to_wkt()
NORTH_UP = Grid(UTM, Affine(10, 0, 0, 0, -10, 200), (20, 20))
SOUTH_UP = Grid(UTM, Affine(10, 0, 0, 0, 10, 0), (20, 20))


def test_limit_is_the_98th_percentile_of_the_size() -> None:
    values = np.concatenate([np.arange(-100.0, 0.0), [np.nan]])  # sizes 1 to 100
    assert diverging_limit([values]) == pytest.approx(98.02)  # 1 + 0.98 * 99
    assert diverging_limit([np.zeros(99), np.array([-7.0])]) == 7.0  # the percentile is 0
    assert diverging_limit([np.zeros(3)]) == 1.0
    assert diverging_limit([np.full(3, np.nan)]) == 1.0
    assert diverging_limit([]) == 1.0


def test_shared_limits() -> None:
    # 0 to 100 over both: percentiles 2 and 98
    assert shared_limits([np.arange(51.0), np.arange(51.0, 101.0)]) == pytest.approx((2, 98))
    assert shared_limits([np.full(3, 5.0)]) == (5.0, 6.0)
    assert shared_limits([np.full(3, np.nan)]) == (0.0, 1.0)


def painted(path: Path, grid: Grid, values: np.ndarray) -> np.ndarray:
    draw(path, [Panel(values, "t", DIVERGING, (-1, 1), "u")], grid, "title")
    with Image.open(path) as image:
        assert "Software" not in image.info
        return np.asarray(image.convert("RGB"), dtype=int)


def share(pixels: np.ndarray, value: float) -> np.ndarray:
    """Where a picture has the colour of a value on the scale from -1 to 1."""
    colour = np.array(mpl.colormaps[DIVERGING]((value + 1) / 2)[:3]) * 255
    return np.abs(pixels - colour).max(axis=-1) <= 2


@pytest.mark.parametrize(("grid", "north"), [(NORTH_UP, 1.0), (SOUTH_UP, -1.0)])
def test_first_row_lies_in_the_north_or_south(tmp_path: Path, grid: Grid, north: float) -> None:
    values = np.full((20, 20), 0.0, np.float32)
    values[:10], values[10:] = 0.8, -0.8
    pixels = painted(tmp_path / "a.png", grid, values)
    map_only = pixels[:, : int(pixels.shape[1] * 0.75)]  # without the colour bar
    north_rows = np.nonzero(share(map_only, 0.8 * north))[0]
    south_rows = np.nonzero(share(map_only, -0.8 * north))[0]
    assert north_rows.size > 1000
    assert north_rows.max() <= south_rows.min()


def test_zero_is_the_middle_colour(tmp_path: Path) -> None:
    pixels = painted(tmp_path / "a.png", NORTH_UP, np.zeros((20, 20), np.float32))
    assert share(pixels, 0.0).mean() > 0.3


def test_the_same_map_makes_the_same_bytes(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(20, 20)).astype(np.float32)
    painted(tmp_path / "a.png", NORTH_UP, values)
    painted(tmp_path / "b.png", NORTH_UP, values)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("shape", [(1, 400), (400, 1), (2, 2)])
def test_odd_shapes_can_be_drawn(tmp_path: Path, shape: tuple[int, int]) -> None:
    grid = Grid(UTM, Affine(10, 0, 0, 0, -10, 200), shape)
    panel = Panel(np.full(shape, np.nan, np.float32), "t", DIVERGING, (-1, 1), "u")
    draw(tmp_path / "a.png", [panel] * 3, grid, "title")
    with Image.open(tmp_path / "a.png") as image:
        assert max(image.size) < 4000
