"""How much memory a forecast takes: the largest tiles and most threads that there is room for."""

from __future__ import annotations

from dataclasses import dataclass

from geoforecast.errors import SettingsError
from geoforecast.forecast.correction import BLOCK_PX
from geoforecast.predict.plan import Plan
from geoforecast.raster.grid import Tile
from geoforecast.system import granted_memory_bytes

# Measured: what a pixel and band of a tile takes while it is forecast, halo included; what each
# lead adds to that; and what a process takes besides, most of it torch.
PIXEL_BYTES, LEAD_BYTES = 950, 130
PROCESS_BYTES = 450 * 2**20
LEAST_PX = 32


@dataclass(frozen=True)
class Room:
    """What there is room for.

    Attributes:
        side: of the tiles, pixels.
        jobs: threads that forecast.
        memory_bytes: what a forecast takes at its peak.
    """

    side: int
    jobs: int
    memory_bytes: int


def room_for(plan: Plan, jobs: int) -> Room:
    """The largest tiles, up to --tile, that fit the memory; then the most threads, up to some.

    Neither changes a pixel.

    Args:
        plan: what will be forecast.
        jobs: threads that are wanted.
    Raises:
        SettingsError: one thread with the smallest tiles takes more than there is.
    """
    granted = granted_memory_bytes()
    free = granted - PROCESS_BYTES
    side = plan.settings.tile
    # The model runs on whole blocks of its lattice: smaller tiles would save nothing.
    least = BLOCK_PX if any(plan.engine.blend) else LEAST_PX
    while tile_bytes(plan, side) > free and side > least:
        side = max(least, side // 2)
    one = tile_bytes(plan, side)
    if one > free:
        raise SettingsError(
            f"Forecasting {len(plan.times)} steps of {len(plan.engine.band_names)} bands takes "
            f"about {_gib(PROCESS_BYTES + one)} of memory, of which {_gib(granted)} are granted.",
            remedy="Ask for more memory, or forecast fewer --steps.",
        )
    jobs = max(1, min(jobs, int(free // one)))
    return Room(side, jobs, PROCESS_BYTES + max(jobs * one, _learning_bytes(plan)))


def _learning_bytes(plan: Plan) -> int:
    """What the tiles take that are learned from, before any is forecast."""
    watched = (Tile(*sides).shape for sides in plan.engine.checkpoint.watched)
    pixels = sum(height * width for height, width in watched)
    return pixels * len(plan.engine.band_names) * PIXEL_BYTES


def tile_bytes(plan: Plan, side: int) -> int:
    """What a tile takes while it is forecast, with all that is read around it."""
    height, width = plan.engine.cube.grid.shape
    row, col = (size // 2 - size // 2 % side for size in (height, width))
    tile = Tile(row, min(row + side, height), col, min(col + side, width))
    leads = len(plan.times)
    outer = plan.engine.outer(tile, [plan.init_step], leads, [plan.engine.reference])
    pixels = outer.shape[0] * outer.shape[1] * len(plan.engine.band_names)
    return pixels * (PIXEL_BYTES + LEAD_BYTES * leads)


def _gib(count: float) -> str:
    return f"{count / 2**30:.1f} GiB"
