"""How far the correction is trusted: its weight per lead, which goes on learning.

The weight is least squares of the residual on the correction, first over the validation block
and then over each later step that a forecast may know, recent ones counting more. What helped on
a few validation steps and harms afterwards so loses its weight, and the reverse.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from geoforecast.raster.grid import Tile
from geoforecast.references.mixture import HALF_LIFE, remaining

CAUTION_STEPS = 2.0  # steps' worth of evidence that the correction is useless
TRUST_PX = 300_000  # pixels times bands that are looked at in each step
SIDE_PX = 512  # of a tile that is looked at
PRODUCT, SQUARE, WEIGHT, WEIGHT_SQUARE = range(4)

Floats = NDArray[np.float64]
# Of one step and lead: sums of residual * correction and of correction^2, and pixels.
Sums = tuple[int, int, float, float, int]


def first_evidence(products: Floats, squares: Floats, pixels: Floats, steps: int) -> Floats:
    """(4, lead) what the validation block says.

    Args:
        products, squares: (lead,) sums of residual * correction and of correction^2.
        pixels: (lead,) how many.
        steps: of the block.
    """
    share = np.where(pixels > 0, steps / np.maximum(pixels, 1), 0.0)
    weight = np.where(pixels > 0, float(steps), 0.0)
    return np.stack([products * share, squares * share, weight, weight])


def weights_of(evidence: Floats) -> Floats:
    """(lead,) weight of the correction, 0 to 1, drawn to 0 while little is known.

    Args:
        evidence: (4, lead).
    """
    product, square, weight, weight_square = evidence
    steps = np.divide(weight**2, weight_square, out=np.zeros_like(weight), where=weight > 0)
    fit = np.divide(product, square, out=np.zeros_like(product), where=square > 0)
    result: Floats = np.clip(fit, 0, 1) * steps / (steps + CAUTION_STEPS)
    return result


def as_rows(table: Floats) -> tuple[tuple[float, ...], ...]:
    """A table, such as evidence, as a checkpoint holds it."""
    return tuple(tuple(row) for row in table.tolist())


class Trust:
    """The weight of the correction at each step.

    Args:
        evidence: (4, lead) of the steps before ``end``.
        end: first step that it knows nothing of.
        last: the cube's last step.
        look: tells, from ``end`` on, how the correction did; called once, when it is asked for.
    """

    def __init__(
        self, evidence: Floats, end: int, last: int, look: Callable[[], Iterable[Sums]]
    ) -> None:
        self._first, self._end, self._last, self._look = evidence, end, last, look
        self._later: list[Floats] = []

    def evidence(self, step: int) -> Floats:
        """(4, lead) what is known at a step; nothing later takes part."""
        if step < self._end:
            return self._first
        if not self._later:
            self._learn()
        return self._later[step - self._end]

    def weights(self, step: int) -> Floats:
        """(lead,) weight of the correction in forecasts from a step."""
        return weights_of(self.evidence(step))

    def _learn(self) -> None:
        found: dict[tuple[int, int], Floats] = defaultdict(lambda: np.zeros(3))
        for step, lead, product, square, pixels in self._look():
            found[step, lead] += (product, square, pixels)
        now = self._first.copy()
        for step in range(self._end, self._last + 1):
            share = remaining(HALF_LIFE, step + 1)
            for lead in range(now.shape[1]):
                product, square, pixels = found[step, lead]
                if pixels:
                    now[:, lead] *= (share, share, share, share * share)
                    now[:, lead] += (product / pixels, square / pixels, 1, 1)
            self._later.append(now.copy())


def looked_at(watched: Sequence[tuple[int, int, int, int]], bands: int) -> list[Tile]:
    """The tiles in which the correction is followed: few, for a model costs more than a mixture.

    Args:
        watched: sides of those in which errors are looked at.
        bands: of the series.
    """
    chosen: list[Tile] = []
    pixels = 0
    for tile in (_middle(Tile(*sides)) for sides in watched):
        pixels += tile.shape[0] * tile.shape[1] * bands
        if chosen and pixels > TRUST_PX:
            break
        chosen.append(tile)
    return chosen


def _middle(tile: Tile) -> Tile:
    rows, cols = (max(0, side - SIDE_PX) // 2 for side in tile.shape)
    height, width = (min(side, SIDE_PX) for side in tile.shape)
    row, col = tile.row0 + rows, tile.col0 + cols
    return Tile(row, row + height, col, col + width)
