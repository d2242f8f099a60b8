"""Tiles follow the reach of forecasts, threads the memory; neither changes what is found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from geoforecast.forecast.engine import Engine, open_engine
from geoforecast.raster.grid import Tile
from geoforecast.train import train_model
from geoforecast.validate.scoring import room as module
from geoforecast.validate.scoring.room import PIXEL_BYTES, PROCESS_BYTES, TILE_PX, Room, room_for


@pytest.fixture
def engine(make_project: Any, wave: Any) -> Engine:
    project = make_project(wave)
    train_model(project, model="none", horizon=2, lookback=3)
    return open_engine(project, "default", "cpu")


@pytest.fixture
def reading(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Lets a raster be so wide, and forecasts reach so far."""

    def set_reach(raster_px: int, reach_px: int) -> None:
        def read(_engine: Engine, side: int) -> list[int]:
            found = []
            for row in range(0, raster_px, side):
                for col in range(0, raster_px, side):
                    tile = Tile(row, min(row + side, raster_px), col, min(col + side, raster_px))
                    height, width = tile.expanded(reach_px, (raster_px, raster_px)).shape
                    found.append(height * width)
            return found

        monkeypatch.setattr(module, "_read", read)
        grid = type("G", (), {"shape": (raster_px, raster_px)})()
        cube = type("C", (), {"grid": grid})()
        monkeypatch.setattr(type(engine), "cube", cube)

    return set_reach


def test_tiles_that_read_hardly_more_than_themselves_stay(engine: Engine, reading: Any) -> None:
    reading(3000, 10)
    assert room_for(engine, 0, 1).side == TILE_PX


def test_fast_motion_makes_tiles_large_once_and_not_many_times(
    engine: Engine, reading: Any
) -> None:
    # 900 px and a reach of 371: each of four tiles would read nearly the whole raster.
    reading(900, 371)
    assert room_for(engine, 0, 1).side == 1024
    # Beyond a million pixels a tile would take too much memory.
    reading(5000, 371)
    assert room_for(engine, 0, 1).side == TILE_PX


def test_the_side_that_is_asked_for_is_taken(engine: Engine, reading: Any) -> None:
    reading(900, 371)
    assert room_for(engine, 64, 1).side == 64


def test_threads_fit_the_memory_and_the_side_does_not_change(
    engine: Engine, reading: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading(3000, 0)
    one = TILE_PX * TILE_PX * PIXEL_BYTES
    for tiles, expected in ((0.5, 1), (2.5, 2), (100, 8)):
        granted = PROCESS_BYTES + int(tiles * one)
        monkeypatch.setattr(module, "granted_memory_bytes", lambda granted=granted: granted)
        assert room_for(engine, 0, 8) == Room(TILE_PX, expected)


def test_what_is_read_is_what_the_engine_reads(engine: Engine) -> None:
    steps = engine.split.test_steps
    (pixels,) = module._read(engine, TILE_PX)
    height, width = engine.cube.grid.shape
    assert len(steps)
    assert pixels == height * width * len(engine.band_names)


def test_other_sources_reach_nowhere() -> None:
    assert room_for(object(), 0, 3) == Room(TILE_PX, 3)  # type: ignore[arg-type]
