"""A view of a cube: its first steps, without some pixels, with metadata of its own.

Whoever is handed a view cannot read anything else, so what must not be learned from is left out
here once, and not by everybody who reads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoforecast.raster.cube import CHUNK_STEPS, Cube, Overview
from geoforecast.raster.grid import Tile
from geoforecast.raster.measures import CELL_PX, joined, measure

PIECE_PX = 4 * CELL_PX  # side of what is measured at once

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class View(Cube):
    """A cube of which not everything is to be seen; make one with ``view_of``.

    Attributes:
        hidden: (y, x) pixels that are valid at no step; None for none.
    """

    hidden: Mask | None = None

    def read(
        self, start: int, stop: int, tile: Tile | None = None, *, filled: bool = False
    ) -> tuple[NDArray[Any], Mask]:
        """See Cube.read; what is hidden is invalid, and steps beyond the view are not there."""
        values, valid = super().read(start, min(stop, len(self.times)), tile, filled=filled)
        if self.hidden is not None:
            hidden = self.hidden[(tile or self.grid.whole).slices]
            values[..., hidden] = np.nan if values.dtype.kind == "f" else 0
            valid[..., hidden] = False
        return values, valid

    def overview(self) -> Overview:
        """See Cube.overview."""
        whole = super().overview()
        if self.hidden is None:
            return whole
        shape = (len(self.times), *whole.shape[1:])
        hidden = self.hidden[:: whole.stride, :: whole.stride]
        return _HidingOverview(whole.stride, shape, whole._values, hidden)

    def step_statistics(self) -> NDArray[np.float64]:
        """See Cube.step_statistics; where pixels are hidden, the others are measured anew."""
        if self.hidden is None:
            return super().step_statistics()[: len(self.times)]
        return self._measured

    @cached_property
    def _measured(self) -> NDArray[np.float64]:
        steps, bands, height, width = self.shape
        found = np.empty((steps, bands, 5))
        down, right = -(-height // CELL_PX), -(-width // CELL_PX)
        for start in range(0, steps, CHUNK_STEPS):
            stop = min(start + CHUNK_STEPS, steps)
            cells = np.empty((stop - start, bands, down, right, 5))
            for tile in self.grid.tiles(PIECE_PX):
                values, valid = self.read(start, stop, tile)
                part = measure(values, valid, CELL_PX, step=start, row=tile.row0, col=tile.col0)
                row, col = tile.row0 // CELL_PX, tile.col0 // CELL_PX
                size = part.cells.shape[2:4]
                cells[:, :, row : row + size[0], col : col + size[1]] = part.cells
            found[start:stop] = joined(cells.reshape(stop - start, bands, -1, 5))
        return found


@dataclass(frozen=True)
class _HidingOverview(Overview):
    """An overview without some of its pixels."""

    hidden: Mask

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        seen = super().read(start, min(stop, self.shape[0]))
        seen[..., self.hidden] = np.nan
        return seen


def view_of(
    cube: Cube,
    steps: int | None = None,
    hidden: Mask | None = None,
    meta: Mapping[str, Any] | None = None,
) -> View:
    """A view of a cube, or of a view.

    Args:
        cube: the pixels.
        steps: how many of its first steps; None for all.
        hidden: (y, x) pixels that are valid at no step, beside those that the cube hides already.
        meta: entries that take the place of the cube's.
    """
    before = hidden_of(cube)
    if before is not None:
        hidden = before if hidden is None else before | hidden
    kept = {item.name: getattr(cube, item.name) for item in dataclasses.fields(Cube)}
    stop = len(cube.times) if steps is None else steps
    kept |= {"times": cube.times[:stop], "observed": cube.observed[:stop]}
    return View(**kept | {"meta": {**cube.meta, **(meta or {})}}, hidden=hidden)


def hidden_of(cube: Cube) -> Mask | None:
    """(y, x) pixels that a cube hides; None if it hides none."""
    return cube.hidden if isinstance(cube, View) else None


def hidden_alike(cube: Cube, other: Cube) -> Cube:
    """What lies beside a cube, on the same grid, without the pixels that the cube hides."""
    hidden = hidden_of(cube)
    return other if hidden is None else view_of(other, hidden=hidden)


def shown(cube: Cube, valid: Mask, tile: Tile) -> Mask:
    """Validity of what lies beside a cube, (..., y, x), False where the cube hides pixels."""
    hidden = hidden_of(cube)
    return valid if hidden is None else valid & ~hidden[tile.slices]
