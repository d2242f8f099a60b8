"""The courses of a few pixels: where the forecast does best, as usual, and worst."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from geoforecast.figures.words import four_digits, shown_unit
from geoforecast.raster.grid import Grid
from geoforecast.validate.report.plot_views import days_of
from geoforecast.validate.report.plots import (
    CAME_COLOUR,
    OURS_COLOUR,
    REFERENCE_COLOUR,
    Plot,
    dates,
    linear,
)
from geoforecast.validate.scoring.frames import TRACKS, Frames
from geoforecast.validate.source import Source

LEAST_SHARE = 0.5  # of the most steps that any pixel has: fewer say little of a pixel


@dataclass(frozen=True)
class Chosen:
    """A pixel.

    Attributes:
        rank: best, median or worst.
        row, col: in the raster.
        at: (row, col) among the kept pixels.
        score: RMSE skill against the reference, or without one the RMSE.
    """

    rank: str
    row: int
    col: int
    at: tuple[int, int]
    score: float


def track_plots(engine: Source, frames: Frames, against: str, band: int) -> list[Plot]:
    """Best, median and worst pixel through the test steps, one step ahead.

    Args:
        engine: for grid, times and units.
        frames: what was kept.
        against: the reference that maps are drawn against; "" for none.
        band: index.
    """
    tracks = frames.tracks[:, band]
    chosen = choose_pixels(tracks, frames.plan.track_lattice.stride, skill=bool(against))
    return [_plot(engine, tracks, one, against, band) for one in chosen]


def choose_pixels(tracks: NDArray[np.float32], stride: int, *, skill: bool) -> tuple[Chosen, ...]:
    """The pixels of highest, median and lowest skill, or of least, median and largest RMSE.

    Of equals the first, row by row. Pixels with less than half the steps of the best covered one
    are not looked at, nor are those whose reference has no error.

    Args:
        tracks: (step, TRACKS, y, x).
        stride: from one kept pixel to the next, pixels.
        skill: against the reference, or else RMSE.
    """
    values = {name: tracks[:, number].astype(np.float64) for number, name in enumerate(TRACKS)}
    error = np.square(values["forecast"] - values["observed"])
    theirs = np.square(values["reference"] - values["observed"])
    known = np.isfinite(error) & (np.isfinite(theirs) if skill else True)
    count = known.sum(axis=0)
    enough = (count > 0) & (count >= LEAST_SHARE * count.max(initial=0))
    ours, against = (np.where(known, each, 0).sum(axis=0) for each in (error, theirs))
    score = np.full(count.shape, np.nan)
    if skill:
        ratio = np.divide(ours, against, out=score, where=enough & (against > 0))
        score = 1 - np.sqrt(ratio)
    else:
        mean = np.divide(ours, count, out=score, where=enough)
        score = np.sqrt(mean)
    flat = score.ravel()
    # A stable order of equals: rows, then columns.
    order = [int(n) for n in np.argsort(flat, kind="stable") if math.isfinite(flat[n])]
    if skill:
        order = sorted(order, key=lambda n: (-flat[n], n))
    picked = {"best": 0, "median": (len(order) - 1) // 2, "worst": len(order) - 1}
    result = []
    for rank, place in picked.items() if order else ():
        row, col = divmod(order[place], score.shape[1])
        at = (row, col)
        result.append(Chosen(rank, row * stride, col * stride, at, float(score[at])))
    return tuple({one.at: one for one in reversed(result)}.values())[::-1]


def where(grid: Grid, row: int, col: int) -> str:
    """The centre of a pixel in the grid's CRS, and in degrees where the CRS is known."""
    x, y = grid.transform @ (col + 0.5, row + 0.5)
    if grid.wkt and grid.crs.is_geographic:
        return _degrees(x, y)
    text = f"x {x:.10g}, y {y:.10g}"
    if not grid.wkt:
        return text
    lon, lat = Transformer.from_crs(CRS.from_wkt(grid.wkt), "OGC:CRS84", always_xy=True).transform(
        x, y
    )
    return f"{text} ({_degrees(lon, lat)})" if math.isfinite(lon + lat) else text


def _degrees(lon: float, lat: float) -> str:
    lon = (lon + 180) % 360 - 180
    east, north = "E" if lon >= 0 else "W", "N" if lat >= 0 else "S"
    return f"{abs(lat):.4f}° {north}, {abs(lon):.4f}° {east}"


def _plot(
    engine: Source, tracks: NDArray[np.float32], chosen: Chosen, against: str, band: int
) -> Plot:
    row, col = chosen.at
    values = {name: tracks[:, n, row, col].astype(np.float64) for n, name in enumerate(TRACKS)}
    days, unit = days_of(engine), shown_unit(engine.units[band])
    xs = [day for day, _ in days]
    name = engine.band_names[band]
    place = where(engine.cube.grid, chosen.row, chosen.col)
    told = f"RMSE skill {chosen.score:+.2f}" if against else f"RMSE {four_digits(chosen.score)}"
    plot = Plot(
        f"The {chosen.rank} pixel: {told.replace('-', '−')}",
        dates("valid time", days),
        linear(f"{name} ({unit})" if unit else name, np.concatenate([*values.values()]).tolist()),
        note=f"Row {chosen.row}, column {chosen.col}: {place}",
    )
    plot = plot.with_area("interval", xs, values["lower"].tolist(), values["upper"].tolist())
    if against:
        plot = plot.with_curve(
            against, xs, values["reference"].tolist(), REFERENCE_COLOUR, dash="6 3", width=1.3
        )
    lines = {"forecast": (OURS_COLOUR, "", 2.2), "observed": (CAME_COLOUR, "dots", 3.2)}
    for line, (colour, dash, width) in lines.items():
        texts = [
            f"{line}, {day}: {four_digits(v)}"
            for (_, day), v in zip(days, values[line].tolist(), strict=True)
        ]
        plot = plot.with_curve(
            line, xs, values[line].tolist(), colour, texts=texts, dash=dash, width=width
        )
    return plot
