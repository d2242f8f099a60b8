"""Regions, classes, ranges and seasons: each part's scores are those of its own pixels."""

from __future__ import annotations

import csv
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import rasterio.features
import shapely
from affine import Affine

from geoforecast.errors import InputError, SettingsError
from geoforecast.raster.grid import Grid, Tile
from geoforecast.raster.polygons import Region
from geoforecast.settings import ValidateSettings
from geoforecast.validate.scoring.part_rows import parts_table
from geoforecast.validate.scoring.partings import (
    Partings,
    class_parting,
    open_partings,
    parse_ranges,
    range_titles,
    region_partings,
)
from geoforecast.validate.writing import write_validation

HEIGHT, WIDTH = 23, 31


def box(col0: int, row0: int, col1: int, row1: int) -> Any:
    """A rectangle of whole pixels of the engine's grid."""
    return shapely.box(
        500_000 + 20 * col0, 5_100_000 - 20 * row1, 500_000 + 20 * col1, 5_100_000 - 20 * row0
    )


def write_zones(path: Path, **zones: Any) -> Path:
    pyogrio.raw.write(
        path,
        np.array([shapely.to_wkb(shape) for shape in zones.values()], dtype=object),
        [np.array(list(zones), dtype=object)],
        ["name"],
        driver="GPKG",
        geometry_type="Polygon",
        crs="EPSG:32633",
    )
    return path


def errors(engine: Any, lead: int, method: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(step, y, x) errors and observed values of the first band, and where they are scored."""
    frames = [
        one
        for one in engine.hindcasts(engine.cube.grid.whole, engine.split.test_steps)
        if one.lead == lead
    ]
    observed = np.stack([one.observed[0] for one in frames]).astype(np.float64)
    made = np.stack([one.forecasts[method][0] for one in frames])
    return made - observed, observed, np.stack([one.valid[0] for one in frames])


@pytest.mark.parametrize("tile", [16, 512])
def test_parts_are_scored_by_themselves(
    engine: Any, tmp_path: Path, write_tif: Any, no_pictures: None, tile: int
) -> None:
    assert no_pictures is None
    zones = write_zones(tmp_path / "z.gpkg", west=box(0, 0, 10, 23), top=box(5, 0, 20, 9))
    codes = np.repeat([[3], [7], [0]], [5, 10, 8], axis=0).repeat(WIDTH, axis=1).astype(np.uint8)
    grid = Affine(20, 0, 500_000, 0, -20, 5_100_000)
    classes = write_tif(tmp_path / "lulc.tif", codes, transform=grid, nodata=0)
    settings = ValidateSettings(
        tile=tile, regions=str(zones), by=str(classes), ranges=(0.3, 0.5), events=("none",)
    )
    result = write_validation(tmp_path / "v", engine, settings)
    told = {
        (row.part, row.method, row.lead, row.metric): (row.value, row.pixels)
        for row in result.parts
        if row.band == "NDVI"
    }
    inside = np.zeros((HEIGHT, WIDTH), bool), np.zeros((HEIGHT, WIDTH), bool)
    inside[0][:, :10], inside[1][:9, 5:20] = True, True  # they overlap
    for lead in (1, 3):
        error, observed, valid = errors(engine, lead, "forecast")
        low, high = np.float32(0.3), np.float32(0.5)
        parts = {
            "region west": inside[0] & valid,
            "region top": inside[1] & valid,
            "class 3": (codes == 3) & valid,
            "class 7": (codes == 7) & valid,
            "range below 0.3": (observed < low) & valid,
            "range 0.3 to 0.5": (observed >= low) & (observed < high) & valid,
            "range from 0.5": (observed >= high) & valid,
        }
        simple = errors(engine, lead, "persistence")[0], errors(engine, lead, "climatology")[0]
        for part, own in parts.items():
            value, pixels = told[part, "forecast", lead, "rmse"]
            assert pixels == own.sum()
            rmse = np.sqrt(np.mean(error[own] ** 2))
            assert value == pytest.approx(rmse, rel=1e-6)
            assert told[part, "forecast", lead, "bias"][0] == pytest.approx(error[own].mean())
            best = min(np.sqrt(np.mean(other[own] ** 2)) for other in simple)
            skill = told[part, "forecast", lead, "rmse_skill"][0]
            assert skill == pytest.approx(1 - rmse / best, rel=1e-5)
        assert {part for part, *_ in told} == set(parts)
    with (tmp_path / "v" / "metrics.csv").open() as stream:
        written = {row["part"] for row in csv.DictReader(stream)}
    assert written == {"", *parts}
    # Nothing of a part enters what is told of the whole.
    assert not any(row.part for row in result.rows)
    assert "region west" in result.describe()


def test_seasons_are_those_of_the_valid_times(
    engine: Any, tmp_path: Path, no_pictures: None
) -> None:
    assert no_pictures is None
    wide = replace(engine, split=replace(engine.split, validation=2, test=4))
    result = write_validation(tmp_path / "v", wide, ValidateSettings())
    told = {
        (row.part, row.metric): (row.value, row.pixels)
        for row in result.parts
        if (row.band, row.lead, row.method) == ("NDVI", 1, "forecast")
    }
    # Steps 4 to 13 of 16 days from 1 January: 5 March, 21 March, ... 27 July.
    months = wide.cube.times[4:].astype("datetime64[M]").astype(int) % 12 + 1
    error, _, valid = errors(wide, 1, "forecast")
    for season, own in {"MAM": (3, 4, 5), "JJA": (6, 7, 8)}.items():
        kept = valid & np.isin(months, own)[:, None, None]
        value, pixels = told[f"season {season}", "rmse"]
        assert pixels == kept.sum()
        assert value == pytest.approx(np.sqrt(np.mean(error[kept] ** 2)), rel=1e-6)
    assert {part for part, _ in told} == {"season MAM", "season JJA"}


def test_no_seasons_within_two_months(engine: Any, tmp_path: Path, no_pictures: None) -> None:
    assert no_pictures is None
    result = write_validation(tmp_path / "v", engine, ValidateSettings())
    assert result.parts == ()
    assert "skill by part" not in result.describe()


def test_classes_are_laid_on_the_grid_by_the_nearest_pixel(tmp_path: Path, write_tif: Any) -> None:
    """A coarser map in another place: each pixel has the class of the square it lies in."""
    grid = Grid("", Affine(10, 0, 0, 0, -10, 0), (6, 8))
    codes = np.array([[1, 2], [9, 4]], np.int16)
    path = write_tif(
        tmp_path / "c.tif", codes, transform=Affine(30, 0, 10, 0, -30, 0), crs=None, nodata=9
    )
    parting = class_parting(path, grid)
    assert parting.titles == ("class 1", "class 2", "class 4")
    expected = np.full((6, 8), -1)
    expected[:3, 1:4], expected[:3, 4:7], expected[3:, 4:7] = 0, 1, 2
    np.testing.assert_array_equal(parting.at(grid.whole), expected)
    part = Tile(2, 5, 3, 8)
    np.testing.assert_array_equal(parting.at(part), expected[part.slices])


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (np.ones((6, 8), np.float32), "no raster of classes"),
        (np.ones((2, 6, 8), np.uint8), "no raster of classes"),
        (np.arange(480, dtype=np.int16).reshape(20, 24), "different codes"),
        (np.zeros((6, 8), np.uint8), "has no code"),
    ],
)
def test_no_raster_of_classes(tmp_path: Path, write_tif: Any, pixels: Any, words: str) -> None:
    transform = Affine(10, 0, 0, 0, -10, 0)
    path = write_tif(tmp_path / "c.tif", pixels, transform=transform, crs=None, nodata=0)
    with pytest.raises(InputError, match=words):
        class_parting(path, Grid("", transform, (20, 24)))


def test_regions_that_overlap_are_kept_apart() -> None:
    grid = Grid("", Affine(1, 0, 0, 0, -1, 0), (10, 10))
    shapes = {"a": (0, -5, 5, 0), "b": (3, -5, 8, 0), "c": (5, -5, 10, 0)}
    regions = [Region(name, shapely.box(*sides)) for name, sides in shapes.items()]
    partings = region_partings(regions, grid)
    # c touches a only.
    assert [one.titles for one in partings] == [("region a", "region c"), ("region b",)]
    whole = partings[1].at(grid.whole)
    assert (whole[:5, 3:8] == 0).all()
    assert (whole == 0).sum() == 25


def test_a_value_at_an_edge_is_in_the_range_above() -> None:
    labels = Partings((), (0.1, 0.7)).with_ranges([], np.array([[0.1, 0.7, 0.05]], np.float32))[0]
    assert labels.tolist() == [[1, 2, 0]]
    assert range_titles((0.1, 0.7)) == ("range below 0.1", "range 0.1 to 0.7", "range from 0.7")


@pytest.mark.parametrize("edges", [(0.5, 0.2), (1.0, 1.0), (float("nan"),), (0.0, float("inf"))])
def test_ranges_must_ascend(edges: tuple[float, ...]) -> None:
    with pytest.raises(SettingsError, match="does not ascend"):
        parse_ranges(edges)


def test_nothing_is_divided_unasked() -> None:
    grid = Grid("", Affine(1, 0, 0, 0, -1, 0), (10, 10))
    assert open_partings(ValidateSettings(), grid).titles == ()
    assert parts_table(()) == []


def test_labels_of_tiles_in_threads_warn_of_nothing(
    engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who silences warnings does so for all threads, so only one may be at it."""
    zones = write_zones(tmp_path / "z.gpkg", west=box(0, 0, 10, 23))
    partings = open_partings(ValidateSettings(regions=str(zones)), engine.cube.grid)
    inside, most, guard = 0, 0, threading.Lock()
    rasterize = rasterio.features.rasterize

    def watched(*args: Any, **kwargs: Any) -> Any:
        nonlocal inside, most
        with guard:
            inside += 1
            most = max(most, inside)
        time.sleep(0.02)
        try:
            return rasterize(*args, **kwargs)
        finally:
            with guard:
                inside -= 1

    monkeypatch.setattr(rasterio.features, "rasterize", watched)
    tiles = list(engine.cube.grid.tiles(8))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(partings.labels, tiles))
    assert most == 1
    assert len(found) == len(tiles)
