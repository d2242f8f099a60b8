"""Pictures and charts: right colours, right places, the right way up."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable

import matplotlib as mpl
import numpy as np
import pytest
from affine import Affine
from PIL import Image
from rasterio.crs import CRS

from geoforecast.raster.cube import Cube
from geoforecast.raster.grid import Grid
from geoforecast.stack.quality import drawing, png
from geoforecast.stack.quality.sheet import (
    composite_bands,
    draw_coverage,
    draw_sheet,
    drawn_size,
)
from geoforecast.stack.quality.survey import survey_cube

MakeCube = Callable[..., Cube]
UTM = CRS.from_epsg(32633).to_wkt()


def seen(uri: str) -> np.ndarray:
    """(y, x, 4) as another library reads it."""
    head, _, data = uri.partition(",")
    assert head == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        return np.asarray(image.convert("RGBA"))


def test_viridis_is_viridis() -> None:
    ours = png.viridis().astype(int)
    theirs = mpl.colormaps["viridis"](np.linspace(0, 1, png.LEVELS))[:, :3] * 255
    assert np.abs(ours - theirs).max() <= 6


def test_numbers_become_colours_and_gaps_are_clear() -> None:
    values = np.array([[0.0, 1.0, np.nan], [-5.0, 9.0, 0.5]])
    pixels = seen(png.indexed_uri(png.levels(values, 0.0, 1.0), png.viridis()))
    ramp = png.viridis()
    assert pixels.shape == (2, 3, 4)
    assert (pixels[..., 3] > 0).tolist() == [[True, True, False], [True, True, True]]
    assert pixels[0, 0, :3].tolist() == pixels[1, 0, :3].tolist() == ramp[0].tolist()
    assert pixels[0, 1, :3].tolist() == pixels[1, 1, :3].tolist() == ramp[-1].tolist()
    assert pixels[1, 2, :3].tolist() == ramp[127].tolist()


def test_true_black_is_not_clear() -> None:
    colours = np.zeros((1, 2, 3), np.uint8)
    pixels = seen(png.rgb_uri(colours, np.array([[True, False]])))
    assert pixels[0, :, 3].tolist() == [255, 0]
    assert pixels[0, 0, :3].max() <= 1


def test_class_colours_differ() -> None:
    colours = png.class_colours(21)
    assert len({*colours}) == 21
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in colours)


def test_coverage_lies_north_up() -> None:
    coverage = np.array([[1.0, 1.0], [0.0, 0.5]])
    for sign, rows in ((-10.0, [0, 1]), (10.0, [1, 0])):
        pixels = seen(draw_coverage(coverage, Grid(UTM, Affine(10, 0, 0, 0, sign, 0), (2, 2))))
        first, last = pixels[rows[0]], pixels[rows[1]]
        assert first[0, :3].tolist() == png.viridis()[-1].tolist()
        assert last[0, 3] == 0
        assert last[1, :3].tolist() == png.viridis()[127].tolist()


@pytest.mark.parametrize(
    ("bands", "expected"),
    [
        (("Blue", "Green", "Red", "NIR"), (2, 1, 0)),
        (("NIR", "Red", "Green"), (0, 1, 2)),
        (("B02", "B03", "B04", "B8A"), (2, 1, 0)),
        (("SR_B2", "SR_B3", "SR_B4"), (2, 1, 0)),
        (("B8A", "B03", "B04"), (0, 2, 1)),
        (("NDVI",), None),
        (("VV", "VH", "angle"), None),
    ],
)
def test_bands_of_a_colour_picture(bands: tuple[str, ...], expected: object) -> None:
    assert composite_bands(bands, {}) == expected


def test_roles_that_a_sensor_tells_come_first() -> None:
    assert composite_bands(("a", "b", "c"), {"R": "c", "G": "a", "B": "b", "N": "gone"}) == (
        2,
        0,
        1,
    )


def test_thumbnails_share_one_stretch(make_cube: MakeCube) -> None:
    values = np.zeros((3, 1, 10, 10), np.float32)
    values[0], values[1] = 1.0, 3.0
    values[2, 0, :5], values[2, 0, 5:] = 5.0, np.nan
    cube = make_cube(values)
    sheet = draw_sheet(cube, survey_cube(cube), [[]])
    first, middle, last = (seen(thumb.uri) for thumb in sheet.thumbnails)
    assert first[0, 0, :3].tolist() == png.viridis()[0].tolist()
    assert middle[0, 0, :3].tolist() == png.viridis()[127].tolist()
    assert last[0, 0, :3].tolist() == png.viridis()[-1].tolist()
    assert (last[:, 0, 3] > 0).tolist() == [True] * 5 + [False] * 5


def test_one_step_in_another_unit_leaves_the_others_visible(make_cube: MakeCube) -> None:
    values = np.random.default_rng(0).random((12, 1, 10, 10)).astype(np.float32)
    values[4] *= 10_000
    cube = make_cube(values)
    shown = [seen(thumb.uri) for thumb in draw_sheet(cube, survey_cube(cube), [[]]).thumbnails]
    assert all(len(np.unique(picture[..., 1])) > 40 for picture in shown[:4] + shown[5:])


def test_colour_pictures_take_the_right_bands(make_cube: MakeCube) -> None:
    values = np.zeros((2, 3, 4, 4), np.float32)
    values[:, 0, 0] = 1.0  # red in the first row
    values[:, 2, 1] = 1.0  # blue in the second
    cube = make_cube(values, bands=("red", "green", "blue"))
    pixels = seen(draw_sheet(cube, survey_cube(cube), [[], [], []]).thumbnails[0].uri)
    assert pixels[0, 0, 0] > 250 > pixels[0, 0, 2]
    assert pixels[1, 0, 2] > 250 > pixels[1, 0, 0]


def test_thumbnails_of_classes_have_the_charts_colours(make_cube: MakeCube) -> None:
    codes = np.array([[[[5, 9], [9, 40]]]] * 2, np.uint8)
    cube = make_cube(codes)
    colours = png.class_colours(3)
    pixels = seen(draw_sheet(cube, survey_cube(cube), [colours]).thumbnails[0].uri)
    shown = [["#" + bytes(p[:3].tolist()).hex() for p in row] for row in pixels]
    assert shown == [[colours[0], colours[1]], [colours[1], colours[2]]]


def test_drawn_sizes() -> None:
    square = Grid(UTM, Affine(10, 0, 0, 0, -10, 0), (50, 50))
    flat = Grid(UTM, Affine(10, 0, 0, 0, -10, 0), (2, 400))
    tall = Grid(UTM, Affine(10, 0, 0, 0, -10, 0), (400, 2))
    assert drawn_size(square, 96, 200) == (96, 96)
    assert drawn_size(flat, 96, 200) == (200, 17)
    width, height = drawn_size(tall, 96, 200)
    assert width >= 24
    assert height <= 192


def days(*numbers: int) -> np.ndarray:
    return np.datetime64("2020-01-01") + np.array(numbers)


@pytest.mark.parametrize(
    ("times", "labels"),
    [
        (days(0, 366, 731), ["2020", "2021", "2022"]),
        (days(*range(0, 100, 10)), ["2020-01", "2020-02", "2020-03", "2020-04"]),
        (days(0, 1, 2), ["01-01", "01-02", "01-03"]),
        (days(5), ["01-06"]),
        (days(0) + np.arange(0, 1500, 5) * np.timedelta64(60, "s"), ["01-01", "06:00", "12:00"]),
    ],
)
def test_time_ticks_are_round(times: np.ndarray, labels: list[str]) -> None:
    ticks = drawing.TimeAxis(times).ticks()
    assert [text for text, _ in ticks][: len(labels)] == labels
    assert len(ticks) <= drawing.MOST_TICKS + 1
    places = [x for _, x in ticks]
    assert places == sorted(places)
    assert drawing.LEFT <= places[0] <= places[-1] <= drawing.RIGHT


def test_a_tick_stands_at_its_time() -> None:
    axis = drawing.TimeAxis(days(0, 1, 2, 3))  # from half a day before to half a day after
    width = drawing.RIGHT - drawing.LEFT
    assert dict(axis.ticks())["01-02"] == pytest.approx(drawing.LEFT + width * 1.5 / 4, abs=0.1)
    assert axis.x[1] == dict(axis.ticks())["01-02"]


def test_columns_show_each_step_and_leave_gaps_open() -> None:
    columns = drawing.TimeAxis(days(0, 1, 2, 8, 9)).columns()
    assert {*columns} == {-1, 0, 1, 2, 3, 4}
    assert columns[0] == 0
    assert columns[-1] == 4
    middle = columns[len(columns) // 2]
    assert middle == -1
    assert {*drawing.TimeAxis(days(*range(300), 4000)).columns()} >= {300, -1}
    assert {*drawing.TimeAxis(days(3)).columns()} == {0}


def test_ranges_break_at_empty_steps_and_clip_outliers() -> None:
    quantiles = np.tile([1.0, 2.0, 3.0, 4.0, 5.0], (6, 1))
    quantiles[2] = np.nan
    quantiles[4] *= 1000
    chart = drawing.draw_ranges(days(*range(6)), quantiles, [(4, "far")])
    assert chart is not None
    assert chart.middle.count("M") == 2
    (mark,) = chart.marks
    assert mark.y == drawing.TOP
    assert "2020-01-05: far" in mark.text
    heights = dict(chart.y_ticks)
    assert "5" in heights
    assert heights["1"] > heights["3"] > heights["5"]
    assert drawing.draw_ranges(days(0, 1), np.full((2, 5), np.nan), []) is None


def test_the_strip_has_low_values_at_the_bottom() -> None:
    counts = np.zeros((2, 4), np.int64)
    counts[0, 0] = 10  # the lowest bin, at the first step
    counts[1, 3] = 10
    strip = drawing.draw_strip(days(0, 1), np.arange(5.0), counts)
    pixels = seen(strip.picture)
    assert pixels.shape[:2] == (4, drawing.RIGHT - drawing.LEFT)
    assert pixels[:, 0, 3].tolist() == [0, 0, 0, 255]
    assert pixels[:, -1, 3].tolist() == [255, 0, 0, 0]
    heights = {float(text): y for text, y in strip.y_ticks}
    assert heights[0] == drawing.TOP + drawing.HEIGHT
    assert heights[4] == drawing.TOP


def test_a_pile_does_not_hide_the_other_values() -> None:
    counts = np.full((3, 10), 5, np.int64)
    counts[:, 0] = 10_000
    counts[:, 4] = 20
    edges = np.arange(11.0)
    plain, piled = (
        drawing.draw_strip(days(0, 1, 2), edges, counts, piled=p) for p in (False, True)
    )
    bright = seen(piled.picture)[:, 0]  # lowest bin last
    assert bright[-1].tolist() == bright[-5].tolist() == [*png.viridis()[-1], 255]
    assert seen(plain.picture)[-5, 0].tolist() != bright[-5].tolist()
    lengths = [float(word) for word in re.findall(r"h(\d[\d.]*)v", piled.side)]
    assert lengths[0] == lengths[4] == drawing.SIDE_RIGHT - drawing.SIDE_LEFT
    assert lengths[1] == lengths[0] / 4
    only = np.zeros((2, 4), np.int64)
    only[:, 0] = 7
    assert "h132.0v" in drawing.draw_strip(days(0, 1), np.arange(5.0), only, piled=True).side


def test_classes_are_stacked_by_share() -> None:
    counts = np.array([[1, 3], [0, 0], [4, 0]])
    strip = drawing.draw_classes(days(0, 1, 2), counts, ["#ff0000", "#0000ff"])
    pixels = seen(strip.picture)
    first, empty, last = pixels[:, 5], pixels[:, pixels.shape[1] // 2], pixels[:, -5]
    assert (first[:, 0] == 255).mean() == pytest.approx(0.25, abs=0.01)
    assert (first[-10:, 0] == 255).all()  # the first class at the bottom
    assert (first[:100, 2] == 255).all()
    assert (empty[:, 3] == 0).all()
    assert (last[:, 0] == 255).all()


def test_shifts_stand_where_they_point() -> None:
    chart = drawing.draw_shifts([("a", 0.0, 1.0), ("b", -2.0, 0.0)], 0.5, 1.6)
    right, up = chart.marks
    assert right.x > chart.centre
    assert right.y == chart.centre
    assert up.y < chart.centre
    assert (right.strong, up.strong) == (False, True)
    # the axis reaches to 2 px, the standard is a quarter of that
    assert chart.standard == pytest.approx((chart.centre - drawing.SCATTER_PAD) / 4, abs=0.1)
    assert dict(chart.ticks)["2"] == pytest.approx(drawing.SCATTER - drawing.SCATTER_PAD)


def test_bars_of_valid_steps() -> None:
    chart = drawing.draw_validity(days(0, 1, 2), np.array([1.0, 0.0, 0.5]), [2])
    assert chart.path.count("M") == 2
    (mark,) = chart.marks
    assert mark.y == drawing.TOP + drawing.HEIGHT / 2
