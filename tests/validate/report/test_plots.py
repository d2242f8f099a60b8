"""Plots put numbers where their axes say; courses are of the pixels that were picked."""

from __future__ import annotations

import base64
import dataclasses
import io
import math
from typing import Any

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rasterio.crs import CRS

from geoforecast.raster.grid import Grid
from geoforecast.validate.report import plot_views
from geoforecast.validate.report.plots import Axis, Plot, between, dates, decades, linear
from geoforecast.validate.report.tracks import choose_pixels, where
from geoforecast.validate.scoring.accumulate import frame_plan, score_raster
from geoforecast.validate.scoring.frames import TRACKS
from geoforecast.validate.scoring.scores import STATS
from geoforecast.validate.scoring.views import (
    CELLS,
    Views,
    cell_edges,
    count_cells,
    window_share,
)

UTM = Grid(CRS.from_epsg(32633).to_wkt(), Affine(20, 0, 500_000, 0, -20, 5_100_000), (4, 4))
UNIT = Plot("", between("x", 0.0, 1.0), between("y", 0.0, 1.0))


def test_corners_of_the_frame() -> None:
    assert UNIT.place(0, 0) == (UNIT.left, UNIT.bottom)
    assert UNIT.place(1, 1) == (UNIT.right, UNIT.top)
    assert UNIT.place(0.5, 0.5) == (
        (UNIT.left + UNIT.right) / 2,
        (UNIT.bottom + UNIT.top) / 2,
    )


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20), st.booleans())
def test_a_linear_axis_holds_all_values_and_ticks(values: list[float], zero: bool) -> None:
    axis = linear("", values, zero=zero)
    assert axis.low <= min(values) and max(values) <= axis.high  # noqa: PT018  one claim
    assert all(axis.low <= at <= axis.high for _, at in axis.ticks)
    if zero:
        assert axis.low <= 0 <= axis.high


def test_an_axis_of_ratios() -> None:
    axis = decades("", [0.02, 300.0, math.nan, 0.0])
    assert (axis.low, axis.high) == (0.01, 1000.0)
    assert axis.share(0.01) == 0
    # The middle of 0.01 and 1000 is sqrt(10).
    assert axis.share(10**0.5) == pytest.approx(0.5)


def test_dates_are_told_a_few_times_in_order() -> None:
    axis = dates("", [(float(day), f"day {day}") for day in range(100, 200)])
    places = [at for _, at in axis.ticks]
    assert len(places) == 4
    assert places == sorted(places)
    assert all(text == f"day {at:.0f}" for text, at in axis.ticks)
    (only,) = dates("", [(3.0, "one")]).ticks
    assert only == ("one", 3.0)


def test_gaps_break_lines_and_ratios_leave_out_zero() -> None:
    (curve,) = UNIT.with_curve("", [0, 0.25, 0.5, 0.75], [0, math.nan, 1, 1], "#000").curves
    assert [len(run) for run in curve.runs] == [1, 2]
    log = dataclasses.replace(UNIT, y=Axis("", 0.1, 10.0, log=True))
    (curve,) = log.with_curve("", [0, 0.5, 1], [0.0, 1.0, 10.0], "#000").curves
    assert [len(run) for run in curve.runs] == [2]
    assert curve.runs[0][0][1] == (log.bottom + log.top) / 2


def test_an_interval_is_an_area_around_its_line() -> None:
    plot = UNIT.with_area("interval", [0, 1, 1], [0.2, 0.4, math.nan], [0.6, 0.8, 1.0])
    ((points, _),) = plot.areas
    corners = [tuple(map(float, pair.split(","))) for pair in points.split()]
    assert corners == [
        UNIT.place(0, 0.2),
        UNIT.place(1, 0.4),
        UNIT.place(1, 0.8),
        UNIT.place(0, 0.6),
    ]


def test_bars_stand_on_the_floor() -> None:
    plot = UNIT.with_bars([0.0, 0.5, 1.0], [0.25, 1.0], "#000", ["low", "high"])
    low, high = plot.bars
    assert (low.x, low.y + low.height) == (UNIT.left, UNIT.bottom)
    assert high.height == pytest.approx(4 * low.height, abs=0.2)
    assert (low.text, high.text) == ("low", "high")


def tracks_of(errors: np.ndarray, theirs: float = 2.0) -> np.ndarray:
    """(4 steps, TRACKS, y, x): observed 0, forecast the errors, the reference off by ``theirs``."""
    tracks = np.full((4, len(TRACKS), *errors.shape), np.nan, np.float32)
    tracks[:, TRACKS.index("observed")] = 0
    tracks[:, TRACKS.index("forecast")] = errors
    tracks[:, TRACKS.index("reference")] = theirs
    return tracks


def test_best_median_and_worst_pixel() -> None:
    errors = np.array([[1.0, 3.0, 0.5], [2.0, 1.5, 4.0]])
    chosen = choose_pixels(tracks_of(errors), 10, skill=True)
    # Skills .5, -.5, .75, 0, .25, -1 in order: .75 .5 .25 0 -.5 -1; the third of six is median.
    assert [(one.rank, one.row, one.col, one.score) for one in chosen] == [
        ("best", 0, 20, 0.75),
        ("median", 10, 10, 0.25),
        ("worst", 10, 20, -1.0),
    ]
    chosen = choose_pixels(tracks_of(errors), 1, skill=False)
    assert [(one.rank, one.score) for one in chosen] == [
        ("best", 0.5),
        ("median", 1.5),
        ("worst", 4.0),
    ]


def test_pixels_seen_too_seldom_are_not_picked() -> None:
    tracks = tracks_of(np.array([[1.0, 0.1, 3.0]]))
    tracks[1:, 0, 0, 1] = np.nan  # the best one is seen once only
    chosen = choose_pixels(tracks, 1, skill=True)
    assert [one.col for one in chosen] == [0, 2]  # two pixels: the median is the best
    assert choose_pixels(np.full_like(tracks, np.nan), 1, skill=True) == ()


def test_where_a_pixel_lies() -> None:
    # The centre of the first pixel: 10 m right of 500 km, the central meridian, 15 E.
    assert where(UTM, 0, 0).startswith("x 500010, y 5099990 (46.05")
    assert "15.0001° E" in where(UTM, 0, 0)
    degrees = Grid(CRS.from_epsg(4326).to_wkt(), Affine(1, 0, 190, 0, -1, -10), (4, 4))
    assert where(degrees, 0, 0) == "10.5000° S, 169.5000° W"
    assert where(Grid("", Affine.identity(), (4, 4)), 0, 0) == "x 0.5, y 0.5"


def test_cells_count_each_pixel_once(engine: Any) -> None:
    statistics = engine.statistics[0]
    low, high = cell_edges(statistics)
    forecast = np.array([[low, high, low - 5, (low + high) / 2, low]])
    observed = np.array([[high, low, low, (low + high) / 2, low]])
    scored = np.array([[True, True, True, True, False]])
    cells = count_cells(forecast, observed, scored, statistics)
    assert cells.sum() == 4
    assert cells[0, CELLS - 1] == 1  # [forecast, observed]
    assert cells[CELLS - 1, 0] == 1
    assert cells[0, 0] == 1
    assert cells[CELLS // 2, CELLS // 2] == 1


def test_how_much_of_a_window_is_scored() -> None:
    scored = np.ones((5, 5), bool)
    scored[0, 0] = False
    share = window_share(scored, 3)
    assert share[0, 0] == 3 / 4  # of four pixels within the raster
    assert share[1, 1] == 8 / 9
    assert share[4, 4] == 1


def test_errors_by_date_are_those_of_the_scores(engine: Any) -> None:
    views = Views(frame_plan(engine), [[]] * 2)
    scores = score_raster(
        engine, engine.methods, 64, lambda tile, found: views.add(tile, found.views)
    )
    plot = plot_views.rmse_by_date(engine, scores, 0)
    assert plot is not None
    ours = next(curve for curve in plot.curves if curve.name == "forecast")
    drawn = [point for run in ours.runs for point in run]
    n, squares = (scores.sums[:, 0, 0, 0, STATS.index(name)] for name in ("n", "ee"))
    expected = np.sqrt(squares / n)
    assert len(drawn) == len(expected)
    for (x, y, _), value, (day, _) in zip(drawn, expected, plot_views.days_of(engine), strict=True):
        assert (x, y) == plot.place(day, value)
    density = plot_views.density(engine, views, 0, 1)
    assert density is not None
    assert views.cells[0, 0].sum() == n.sum()


def test_reliability_leaves_out_what_was_never_said() -> None:
    plot = plot_views.reliability("", [0.1, 0.5, 0.9], [0.2, 0.0, 0.8], [30, 0, 10])
    assert plot is not None
    line, *dots = plot.curves
    assert [point[:2] for point in line.runs[0]] == [plot.place(0.1, 0.2), plot.place(0.9, 0.8)]
    assert dots[0].width > dots[1].width
    # (30 * 0.2 + 10 * 0.8) / 40 = 0.35
    assert plot.rules[1][4] == "came in 35 %"
    assert plot_views.reliability("", [0.1], [0.0], [0]) is None


def test_texts_of_dates_are_as_short_as_tells_them_apart(engine: Any) -> None:
    assert next(text for _, text in plot_views.days_of(engine)) == "2024-06-09"
    start, hour = np.datetime64("2024-01-01T22:00", "s"), np.timedelta64(3600, "s")
    for count, first in ((2, "22:00"), (4, "01-01 22:00")):
        cube = dataclasses.replace(engine.cube, times=start + np.arange(count) * hour)
        split = dataclasses.replace(engine.split, validation=0, test=0, steps=count)
        hourly = dataclasses.replace(engine, cube=cube, split=split)
        assert plot_views.days_of(hourly)[0][1] == first


def test_high_forecasts_of_low_values_lie_at_the_upper_left(engine: Any) -> None:
    views = Views(frame_plan(engine), [[]] * 2)
    views.cells[0, 0, CELLS - 1, 0] = 5  # [forecast, observed]
    views.cells[0, 0, 0, CELLS - 1] = 5
    views.cells[0, 0, 0, 0] = 5
    plot = plot_views.density(engine, views, 0, 1)
    assert plot is not None
    data = base64.b64decode(plot.image.partition(",")[2])
    shown = np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))[..., 3] > 0
    assert shown[0, 0]
    assert shown[-1, -1]
    assert shown[-1, 0]
    assert not shown[0, -1]
