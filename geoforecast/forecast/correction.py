"""The learned correction of a tile, on the blocks of a lattice that is fixed to the raster.

Convolution libraries choose their algorithm by the array's shape, and another order of additions
would change the last bit. So the model always runs on the same blocks, whatever tile is asked
for, and tiles equal the whole raster to the bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from geoforecast.forecast.context import TileContext
from geoforecast.forecast.device import run_model
from geoforecast.forecast.kinds import moved_odds, pooled
from geoforecast.forecast.series import Series
from geoforecast.forecast.stream import TileStream
from geoforecast.models import Correction
from geoforecast.models.checkpoint import Checkpoint
from geoforecast.raster.grid import Tile
from geoforecast.samples.features import Array, assemble

BLOCK_PX = 256  # side of the lattice that the model runs on


@dataclass(frozen=True)
class Corrector:
    """A run's model with what it takes to use it.

    Attributes:
        series: the cube's bands as the run was trained on them.
        checkpoint: the run.
        model: on ``device``.
        device: where tensors live.
    """

    series: Series
    checkpoint: Checkpoint
    model: Correction
    device: torch.device

    def halo_px(self, leads: int) -> int:
        """Pixels beyond a block that the correction of it depends on."""
        return self.model.halo_px(self.checkpoint.lookback + leads)

    def on_lattice(self, tile: Tile) -> Tile:
        """The blocks that a tile touches, cut at the raster's edge."""
        height, width = self.series.cube.grid.shape
        return Tile(
            tile.row0 - tile.row0 % BLOCK_PX,
            min(height, tile.row1 + -tile.row1 % BLOCK_PX),
            tile.col0 - tile.col0 % BLOCK_PX,
            min(width, tile.col1 + -tile.col1 % BLOCK_PX),
        )

    def output(
        self,
        stream: TileStream,
        context: TileContext,
        reference: Array,
        days: Sequence[float],
        tile: Tile,
    ) -> Array:
        """What the model says, in units of the reference's error.

        Args:
            stream: at the init step; its tile holds the blocks of ``tile`` and their halo.
            context: of the stream's tile.
            reference: (lead, band, y, x) of the stream's tile, band units.
            days: valid times, one a lead.
            tile: where the output is wanted.
        Returns:
            (lead, band, y, x) of the stream's tile; 0 beyond the blocks of ``tile``.
        """
        result = np.zeros_like(reference)
        lookback = self.checkpoint.lookback
        around = context.at(stream.step, lookback, days)
        for block in _blocks(self.on_lattice(tile)):
            area = block.expanded(self.halo_px(len(days)), self.series.cube.grid.shape)
            cut = (..., *area.within(stream.tile))
            x_TCHW = assemble(
                stream.seen(area),
                self.series.normaliser.apply(reference[cut]),
                days,
                self.series.step_days,
                around.part(*area.within(stream.tile)).channels(lookback + len(days)),
            )
            output = run_model(self.model, x_TCHW[None], len(days), self.device)[0]
            result[(..., *block.within(stream.tile))] = output[(..., *block.within(area))]
        return result

    def applied(self, reference: Array, output: Array, blend: Sequence[float]) -> Array:
        """The reference moved by the model's output.

        Args:
            reference, output: (lead, band, y, x).
            blend: weight of the output, one a trained lead.
        """
        weight = self.at_leads(blend, len(reference))
        scale = self.scale(len(reference))
        if self.series.target.is_probability:
            moved = moved_odds(reference, output * scale[:, :, None, None], self.series.target.kind)
            return pooled(reference, moved, weight[:, None, None, None])
        delta = output * (scale * weight[:, None])[:, :, None, None]
        moved = self.series.normaliser.shifted(reference, delta)
        return np.maximum(moved, self.series.floor)

    def errors(self, reference: Array, output: Array, observed: Array) -> tuple[Array, Array]:
        """What the reference missed, and what all of the model's output would have added.

        Args:
            reference, output, observed: (lead, band, y, x), band units.
        Returns:
            Both (lead, band, y, x), in units in which a weight of the output is linear.
        """
        scale = self.scale(len(reference))[:, :, None, None]
        if self.series.target.is_probability:
            moved = moved_odds(reference, output * scale, self.series.target.kind)
            return observed - reference, moved - reference
        apply = self.series.normaliser.apply
        return (apply(observed) - apply(reference)) / scale, output

    def scale(self, leads: int) -> Array:
        """(lead, band) the reference's error, model units."""
        return self.at_leads(self.checkpoint.residual_scale, leads)

    def at_leads(self, numbers: Sequence[object], leads: int) -> Array:
        """Numbers of the trained leads; leads beyond those take the last one's."""
        trained = np.minimum(np.arange(leads), self.checkpoint.horizon - 1)
        return np.asarray(numbers, dtype=np.float32)[trained]


def _blocks(area: Tile) -> Iterator[Tile]:
    """The lattice blocks that make up an area which begins on the lattice."""
    for row in range(area.row0, area.row1, BLOCK_PX):
        for col in range(area.col0, area.col1, BLOCK_PX):
            yield Tile(row, min(row + BLOCK_PX, area.row1), col, min(col + BLOCK_PX, area.col1))
