"""Pictures: centred on zero, north up, the same bytes each time."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from affine import Affine
from PIL import Image
from rasterio.crs import CRS

from geoforecast.figures.axes import COLOURS
from geoforecast.raster.grid import Grid
from geoforecast.validate.report.class_pictures import (
    OTHERS,
    OTHERS_COLOUR,
    OUTCOME_COLOURS,
    class_panels,
)
from geoforecast.validate.report.palettes import DIVERGING, NOT_SCORED
from geoforecast.validate.report.pictures import (
    Panel,
    diverging_limit,
    draw,
    pointed,
    shared_limits,
)
from geoforecast.validate.scoring.class_parts import OUTCOMES

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


def coloured(path: Path, colour: str) -> int:
    """How many pixels of a picture have a colour."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"), dtype=int)
    return int((pixels == np.rint(255 * np.array(mpl.colors.to_rgb(colour)))).all(axis=-1).sum())


@pytest.mark.parametrize("shape", [(20, 20), (8, 80)])
def test_each_number_has_the_colour_of_its_word(tmp_path: Path, shape: tuple[int, int]) -> None:
    values = np.full(shape, np.nan, np.float32)
    values[:, : shape[1] // 2], values[0, 0] = 1, 3  # half the map, one pixel, half nothing
    colours = COLOURS[:4]
    panel = Panel(values, "t", colours, words=("zero", "one", "two", "three"))
    grid = Grid(UTM, Affine(10, 0, 0, 0, -10, 200), shape)
    draw(tmp_path / "a.png", [panel], grid, "title")
    zero, one, two, three = (coloured(tmp_path / "a.png", colour) for colour in colours)
    assert 0 < zero == two  # its field in the key, and no pixel of the map
    assert two < three < one
    assert coloured(tmp_path / "a.png", NOT_SCORED) > 0.8 * one


def test_maps_of_one_scale_have_the_same_pointed_ends() -> None:
    def panel(*values: float, limits: tuple[float, float] = (0, 1)) -> Panel:
        return Panel(np.array([values], np.float32), "t", DIVERGING, limits, "u")

    inside, high, low = panel(0, 1), panel(2, np.nan), panel(-1, limits=(-1, 1))
    assert pointed(inside, [inside, low]) == "neither"
    assert pointed(inside, [inside, high]) == pointed(high, [inside, high]) == "max"
    assert pointed(inside, [inside, panel(-2)]) == "min"
    assert pointed(inside, [inside, panel(-2), high]) == "both"


def test_frequent_classes_have_colours_of_their_own_and_others_one_together() -> None:
    # Classes 10, 20 ... 90, seen 1, 2 ... 9 times: 10 and 20 are the rarest.
    numbers = np.repeat(np.arange(9), np.arange(1, 10)).astype(np.float32)[None]
    forecast = np.full_like(numbers, np.nan)
    forecast[0, :2] = 8, 9  # 9: unknown to training
    observed, said, outcome = class_panels(
        numbers, forecast, np.zeros_like(numbers), [10 * number for number in range(1, 10)]
    )
    assert observed.words == ("30", "40", "50", "60", "70", "80", "90", OTHERS)
    assert observed.colours == (*COLOURS, OTHERS_COLOUR)
    expected = [7] * 3 + np.repeat(np.arange(7), np.arange(3, 10)).tolist()
    np.testing.assert_array_equal(observed.values[0], expected)
    assert (said.words, said.colours) == (observed.words, observed.colours)
    np.testing.assert_array_equal(said.values[0, :3], [6, 7, np.nan])
    assert (outcome.words, outcome.colours) == (OUTCOMES, OUTCOME_COLOURS)


def test_few_classes_and_none_at_all() -> None:
    one = np.array([[2, 1, 2]], np.float32)
    panel = class_panels(one, one, one, (5, 6))[0]
    assert panel.words == ("6", "unknown")
    np.testing.assert_array_equal(panel.values, [[1, 0, 1]])
    nothing = np.full((1, 3), np.nan, np.float32)
    assert class_panels(nothing, nothing, nothing, (5, 6))[0].words == ("5",)
