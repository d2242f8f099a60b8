"""Tiles as large as forecasts reach, and no more threads than there is memory for."""

from __future__ import annotations

from dataclasses import dataclass

from geoforecast.forecast.engine import Engine
from geoforecast.system import granted_memory_bytes
from geoforecast.validate.folds import Folded
from geoforecast.validate.source import Source

TILE_PX = 512
# Measured: what a pixel and band of a tile takes while it is hindcast by all methods, halo
# included; and what a process takes besides, most of it torch.
PIXEL_BYTES = 3000
PROCESS_BYTES = 450 * 2**20
MOST_PX = 1_000_000  # pixels and bands read for one tile that is larger than TILE_PX
SPARE_BYTES = 32 * 2**20  # of a heap: fields of a tile come and go for each method of each frame
PAYS = 0.7  # of what smaller tiles read, or less: else they stay


@dataclass(frozen=True)
class Room:
    """How a raster is scored.

    Attributes:
        side: of the tiles, pixels. It follows from the forecasts' reach alone, so that sums have
            the same bits on every machine.
        jobs: threads.
    """

    side: int
    jobs: int


def room_for(engine: Source, tile_px: int, jobs: int) -> Room:
    """Tiles and threads for a raster.

    What fast rain may have crossed is read around a tile, often more than the tile: the larger
    the tiles, the less is read, and forecast, over and over.

    Args:
        engine: makes the hindcasts.
        tile_px: side that is asked for, pixels; 0 for what suits.
        jobs: threads that are asked for.
    """
    if isinstance(engine, Folded):
        engine = engine.engines[-1]  # which has seen the most motion
    if not isinstance(engine, Engine):
        return Room(tile_px or TILE_PX, jobs)
    side = tile_px or TILE_PX
    read = _read(engine, side)
    while not tile_px and side < max(engine.cube.grid.shape):
        larger = _read(engine, 2 * side)
        if max(larger) > MOST_PX or sum(larger) > PAYS * sum(read):
            break
        side, read = 2 * side, larger
    free = granted_memory_bytes() - PROCESS_BYTES
    return Room(side, max(1, min(jobs, free // (max(read) * PIXEL_BYTES))))


def _read(engine: Engine, side: int) -> list[int]:
    """Pixels times bands that are read for each tile."""
    steps = engine.split.test_steps
    first = max(engine.checkpoint.lookback - 1, steps.start - engine.horizon)
    inits, names = range(first, steps.stop - 1), engine.methods[1:]
    found = []
    for tile in engine.cube.grid.tiles(side):
        height, width = engine.outer(tile, inits, engine.horizon, names).shape
        found.append(height * width * len(engine.band_names))
    return found
