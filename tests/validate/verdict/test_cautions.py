"""Warnings: a forecast that lies a pixel aside, and one that is a day late."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from affine import Affine
from scipy import ndimage

from geoforecast.raster.grid import Grid
from geoforecast.samples.split import Split
from geoforecast.settings import ValidateSettings
from geoforecast.validate.scoring.rows import MetricRow
from geoforecast.validate.verdict.cautions import cautions, direction
from geoforecast.validate.writing import write_validation

NORTH_UP = Affine(20, 0, 500_000, 0, -20, 5_100_000)
UTM = "WKT"  # only whether there is one counts


def rows(lead: int = 1, band: str = "NDVI", part: str = "", **values: float) -> list[MetricRow]:
    return [
        MetricRow("forecast", band, lead, name, value, 9, part=part)
        for name, value in values.items()
    ]


def aside(right: float, down: float, **changes: Any) -> list[MetricRow]:
    size = float(np.hypot(right, down))
    return rows(alignment=size, alignment_right=right, alignment_down=down, **changes)


@pytest.mark.parametrize(
    ("right", "down", "transform", "words"),
    [
        (1, 0, NORTH_UP, "east"),
        (-1, 0, NORTH_UP, "west"),
        (0, 1, NORTH_UP, "south"),
        (0, -1, NORTH_UP, "north"),
        (1, -1, NORTH_UP, "north-east"),
        (-1, 0.9, NORTH_UP, "south-west"),
        (1, 0.1, NORTH_UP, "east"),
        (0, 1, Affine(20, 0, 0, 0, 20, 0), "north"),  # rows run northwards
        (1, 0, Affine(0, 20, 0, 20, 0, 0), "north"),  # columns do
    ],
)
def test_directions(right: float, down: float, transform: Affine, words: str) -> None:
    assert direction(right, down, Grid(UTM, transform, (9, 9))) == words


def test_without_a_crs_directions_are_those_of_the_picture() -> None:
    grid = Grid("", NORTH_UP, (9, 9))
    assert direction(1, 0.1, grid) == "(right)"
    assert direction(-1, -1, grid) == "(up and left)"
    assert direction(0.1, 2, grid) == "(down)"


def test_half_a_pixel_aside_is_said() -> None:
    grid = Grid(UTM, NORTH_UP, (9, 9))
    assert cautions(aside(0.35, 0.35), grid) == ()
    (text,) = cautions([*aside(1.1, 0), *aside(0.9, 0, lead=2), *aside(0.1, 0, lead=3)], grid)
    assert text.startswith(
        "NDVI: at leads 1-2 the forecast lies about 1.0 px east of what came: check"
    )
    # References, parts and other bands are not meant.
    assert cautions(aside(2, 0, part="region 1"), grid) == ()
    other = [dataclasses.replace(row, method="persistence") for row in aside(2, 0)]
    assert cautions(other, grid) == ()


def test_an_echo_is_said_where_it_is_one() -> None:
    grid = Grid(UTM, NORTH_UP, (9, 9))
    late = rows(echo=0.5, temporal_correlation=0.5)
    (text,) = cautions(late, grid)
    assert "at lead 1 the forecast repeats what was last seen" in text
    assert "(correlation through time 1.00) rather than what came (0.50)" in text
    # Little skill by chance, and a course so slow that being late costs nothing.
    assert cautions(rows(echo=0.2, temporal_correlation=0.3), grid) == ()
    assert cautions(rows(echo=0.09, temporal_correlation=0.9), grid) == ()
    assert cautions(rows(echo=-0.5, temporal_correlation=1.0), grid) == ()


def remade(engine: Any, make: Any) -> Any:
    """The engine with other forecasts, from what came and what was last seen, without gaps."""

    class Remade:
        def __getattr__(self, name: str) -> Any:
            return getattr(engine, name)

        def hindcasts(self, tile: Any, steps: range, level: float = 0.0, likely: int = 0) -> Any:
            whole = self.cube.grid.whole
            values, _ = self.cube.read(0, self.cube.shape[0], whole)
            clean = ndimage.gaussian_filter(np.nan_to_num(values, nan=0.4), (0, 0, 2, 2))
            for one in engine.hindcasts(tile, steps, level, likely):
                last = clean[one.step - one.lead][(slice(None), *tile.slices)]
                made = make(clean[one.step], clean[one.step - one.lead])
                made = made[(slice(None), *tile.slices)]
                forecasts = dict.fromkeys(one.forecasts, last) | {"forecast": made}
                observed = clean[one.step][(slice(None), *tile.slices)]
                yield dataclasses.replace(
                    one,
                    forecasts=forecasts,
                    observed=observed,
                    valid=np.ones_like(observed, dtype=bool),
                )

    return Remade()


def moved(came: np.ndarray, down: int, right: int) -> np.ndarray:
    return ndimage.shift(came, (0, down, right), mode="nearest")


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda came, _: came, ""),
        (
            lambda came, _: ndimage.shift(came, (0, 0, 1), mode="nearest"),
            "lies about 1.0 px east of what came",
        ),
        (
            lambda came, _: ndimage.shift(came, (0, -1, 0), mode="nearest"),
            "lies about 1.0 px north of what came",
        ),
        (lambda _, last: last, "repeats what was last seen"),
    ],
)
def test_slips_of_a_forecast_are_caught(engine: Any, make: Any, words: str, tmp_path: Any) -> None:
    long = dataclasses.replace(engine, split=Split(6, 8, 14), horizon=1)
    result = write_validation(tmp_path / "run", remade(long, make), ValidateSettings(tile=16))
    if words:
        assert words in result.sentence
        assert words in result.report_path.read_text()
    else:
        assert "lies about" not in result.sentence
        assert "repeats" not in result.sentence
