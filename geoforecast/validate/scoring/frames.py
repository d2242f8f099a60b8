"""Small copies of the test steps' maps, and of some pixels' courses, taken while a pass goes by.

Every n-th pixel of what was forecast and of what came is kept, tile by tile, so that the report can
show each date without a second hindcast. How much is kept follows from the raster's shape and the
number of steps alone, never from the tiles, and does not grow with either.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoforecast.raster.grid import Tile

FRAME_PX = 480  # longest side of a kept map
FRAME_BYTES = 64_000_000  # of all kept maps, in memory
MOST_DATES = 120
TRACK_PX = 1024  # pixels whose course is kept
TRACK_BYTES = 32_000_000
LAYERS = ("observed", "forecast")
TRACKS = ("observed", "forecast", "lower", "upper", "reference")


@dataclass(frozen=True)
class Lattice:
    """Every n-th pixel of a raster.

    Attributes:
        shape: (height, width) of the raster, pixels.
        stride: n.
    """

    shape: tuple[int, int]
    stride: int

    @property
    def size(self) -> tuple[int, int]:
        """(rows, columns) that are kept."""
        return math.ceil(self.shape[0] / self.stride), math.ceil(self.shape[1] / self.stride)

    def kept(self, tile: Tile) -> tuple[slice, slice]:
        """Which pixels of a tile are kept."""
        n = self.stride
        return slice(-tile.row0 % n, None, n), slice(-tile.col0 % n, None, n)

    def place(self, tile: Tile) -> tuple[slice, slice]:
        """Where those lie among all that are kept."""
        n = self.stride
        rows = slice(math.ceil(tile.row0 / n), math.ceil(tile.row1 / n))
        return rows, slice(math.ceil(tile.col0 / n), math.ceil(tile.col1 / n))


@dataclass(frozen=True)
class FramePlan:
    """What is kept of a raster's test steps.

    Attributes:
        shape: (height, width) of the raster, pixels.
        steps: test steps.
        leads: how many.
        bands: how many.
        layers: maps of a step, lead and band.
    """

    shape: tuple[int, int]
    steps: int
    leads: int
    bands: int
    layers: int = len(LAYERS)

    @cached_property
    def lattice(self) -> Lattice:
        """Pixels of the kept maps."""
        return Lattice(self.shape, math.ceil(max(self.shape) / FRAME_PX))

    @property
    def _each(self) -> int:
        """Bytes of a step's maps at one lead."""
        rows, cols = self.lattice.size
        return rows * cols * self.bands * self.layers * np.dtype(np.float32).itemsize

    @cached_property
    def dates(self) -> tuple[int, ...]:
        """Which test steps are kept, counted from 0: evenly apart, the last one among them."""
        return evenly(self.steps, max(1, min(MOST_DATES, FRAME_BYTES // self._each)))

    @cached_property
    def kept_leads(self) -> int:
        """How many leads are kept, from the first on."""
        return max(1, min(self.leads, FRAME_BYTES // (self._each * len(self.dates))))

    @cached_property
    def track_lattice(self) -> Lattice:
        """Pixels whose course is kept."""
        each = self.steps * self.bands * len(TRACKS) * np.dtype(np.float32).itemsize
        pixels = max(16, min(TRACK_PX, TRACK_BYTES // each))
        return Lattice(self.shape, math.ceil(math.sqrt(self.shape[0] * self.shape[1] / pixels)))


def evenly(count: int, most: int) -> tuple[int, ...]:
    """At most so many of the numbers below ``count``, evenly apart, the last one among them."""
    if count <= most:
        return tuple(range(count))
    places = np.linspace(count - 1, 0, most) if most > 1 else np.array([count - 1.0])
    return tuple(sorted({round(place) for place in places.tolist()}))


class Frames:
    """The kept maps and courses of a raster, or of a tile of it.

    Args:
        plan: what is kept.
        tile: the part; None for all.
        tracks: whether courses are kept.

    Attributes:
        values: (date, lead, band, layer, y, x) float32 on the plan's lattice, NaN where there is
            nothing.
        tracks: (step, band, TRACKS, y, x) float32 at lead 1, on the plan's track lattice.
    """

    def __init__(self, plan: FramePlan, tile: Tile | None = None, *, tracks: bool = True) -> None:
        self.plan = plan
        whole = tile or Tile(0, plan.shape[0], 0, plan.shape[1])
        self._kept = plan.lattice.kept(whole)
        self._track = plan.track_lattice.kept(whole)
        size, track = _size(self._kept, whole), _size(self._track, whole)
        head = (len(plan.dates), plan.kept_leads, plan.bands, plan.layers)
        self.values: NDArray[np.float32] = np.full((*head, *size), np.nan, np.float32)
        steps = plan.steps if tracks else 0
        each = (plan.bands, len(TRACKS), *track)
        self.tracks: NDArray[np.float32] = np.full((steps, *each), np.nan, np.float32)
        self._dates = {step: number for number, step in enumerate(plan.dates)}

    def keep(self, step: int, lead: int, band: int, layers: Sequence[NDArray[Any]]) -> None:
        """Take what is kept out of a tile's maps.

        Args:
            step: of the test block, from 0.
            lead, band: indices, from 0.
            layers: (y, x) each, of the tile, NaN where there is nothing.
        """
        date = self._dates.get(step)
        if date is not None and lead < self.plan.kept_leads:
            for number, values in enumerate(layers):
                self.values[date, lead, band, number] = values[self._kept]

    def follow(self, step: int, band: int, courses: Sequence[NDArray[Any] | None]) -> None:
        """Take some pixels' values at lead 1, in the order of TRACKS; None is not known."""
        for number, values in enumerate(courses):
            if values is not None:
                self.tracks[step, band, number] = values[self._track]

    def add(self, tile: Tile, part: Frames) -> None:
        """Take over what was kept of a tile."""
        plan = self.plan
        self.values[(..., *plan.lattice.place(tile))] = part.values
        self.tracks[(..., *plan.track_lattice.place(tile))] = part.tracks


def _size(kept: tuple[slice, slice], tile: Tile) -> tuple[int, int]:
    rows, cols = (
        len(range(*part.indices(side))) for part, side in zip(kept, tile.shape, strict=True)
    )
    return rows, cols
