"""The pixels of one unit while its steps come in: warped, merged, derived, combined."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoforecast.errors import SceneError
from geoforecast.raster.grid import Tile
from geoforecast.raster.kernels import clear
from geoforecast.stack.inventory.scenes import SceneFile
from geoforecast.stack.pixels.composite import best_order, composite
from geoforecast.stack.pixels.job import Job
from geoforecast.stack.pixels.sources import Lane
from geoforecast.stack.pixels.units import Unit
from geoforecast.stack.pixels.warp import Bundle, Places, blamed, warp

# Pixels times bands times scenes held at once where scenes must be kept apart.
HELD_PIXELS = 2**23
Layer = tuple[NDArray[Any], NDArray[np.bool_]]  # values and validity, each (y, x)


class UnitPixels:
    """The pixels of one unit while its steps come in.

    Attributes:
        values, valid: (step, band, y, x) of the unit, in ``buffers``.
        failed: file key -> error, of files that could not be decoded.
    """

    def __init__(self, job: Job, unit: Unit, lane: Lane, buffers: Layer) -> None:
        self.job, self.unit, self.lane, self.buffers = job, unit, lane, buffers
        shape = (len(unit.steps), len(job.plan.bands), *unit.tile.shape)
        self.values, self.valid = (flat[: math.prod(shape)].reshape(shape) for flat in buffers)
        self.failed: dict[str, SceneError] = {}
        self.places = Places(job.warping, unit.tile, unit.cols)

    def fill(self, number: int) -> None:
        """Fill one step of the unit."""
        values, valid = self.values[number], self.valid[number]
        groups = self.job.plan.steps[self.unit.steps[number]]
        if len(groups) == 1 and not self.job.derived and self._straight(groups[0], values, valid):
            return
        clear(values, valid)
        scenes = max(1, sum(len(group) for group in groups)) * len(self.job.plan.read)
        tile = self.unit.tile
        rows = max(1, HELD_PIXELS // (scenes * tile.shape[1]))
        for row in range(tile.row0, tile.row1, rows):
            part = Tile(row, min(row + rows, tile.row1), tile.col0, tile.col1)
            here = part.within(tile)
            places = self.places if part == tile else Places(self.job.warping, part, self.unit.cols)
            order = self.job.plan.orders.get(self.unit.steps[number])
            for index, (layer, usable) in self._step(groups, places, order).items():
                values[index][here][usable] = layer[usable]
                valid[index][here] = usable

    def _straight(
        self, group: Sequence[SceneFile], values: NDArray[Any], valid: NDArray[np.bool_]
    ) -> bool:
        """Warp one time's scenes straight into place, if no two of them meet in one band.

        Every pixel is written then: kernels do so, and bands that no scene has are cleared.
        """
        bundles = self.job.warping.bundles(group)
        bands = [band for bundle in bundles for band in bundle.bands]
        if len(set(bands)) < len(bands):
            return False
        for band in set(range(len(values))).difference(bands):
            clear(values[band], valid[band])
        for bundle in bundles:
            first, last = bundle.bands[0], bundle.bands[-1]
            if last - first + 1 == len(bundle.bands):
                self._warp(bundle, self.places, values[first : last + 1], valid[first : last + 1])
            else:
                picked = list(bundle.bands)
                part, usable = np.empty_like(values[picked]), np.empty_like(valid[picked])
                self._warp(bundle, self.places, part, usable)
                values[picked], valid[picked] = part, usable
        return True

    def _step(
        self,
        groups: Sequence[Sequence[SceneFile]],
        places: Places,
        order: NDArray[np.int64] | None,
    ) -> dict[int, Layer]:
        """One step's layers in a tile: cube band index -> values and validity."""
        job = self.job
        by_time: dict[int, list[tuple[int, Layer]]] = defaultdict(list)
        for time, group in enumerate(groups):
            ranks = {file.key: rank for rank, file in enumerate(group)}
            looks: dict[int, list[tuple[int, Layer]]] = defaultdict(list)
            for bundle in job.warping.bundles(group):
                files = {band: file.key for file, _, _, band in bundle.parts}
                for band, layer in (self._layers(bundle, places) or {}).items():
                    looks[band].append((ranks[files[band]], layer))
            named = {
                job.plan.read[band]: _together(layers, job.merge) for band, layers in looks.items()
            }
            for item in job.derived:
                if all(name in named for name in item.inputs):
                    values = {name: named[name][0] for name in item.inputs}
                    valid = {name: named[name][1] for name in item.inputs}
                    named[item.name] = item.evaluate(values, valid)
            for name, layer in named.items():
                if name in job.places:
                    by_time[job.places[name]].append((time, layer))
        return {band: _composed(found, job.rule, order) for band, found in by_time.items()}

    def _layers(self, bundle: Bundle, places: Places) -> dict[int, Layer] | None:
        """A bundle's bands by themselves; None if it does not reach into the tile."""
        shape = (len(bundle.bands), *places.tile.shape)
        values, valid = np.empty(shape, self.values.dtype), np.empty(shape, bool)
        if not self._warp(bundle, places, values, valid):
            return None
        return {band: (values[k], valid[k]) for k, band in enumerate(bundle.bands)}

    def _warp(
        self, bundle: Bundle, places: Places, values: NDArray[Any], valid: NDArray[np.bool_]
    ) -> bool:
        try:
            return warp(self.job.warping, bundle, places, self.lane, values, valid)
        except SceneError as error:
            for file in blamed(bundle, error):
                self.failed.setdefault(file.key, error)
            clear(values, valid)
            return False


def _together(looks: Sequence[tuple[int, Layer]], rule: str) -> Layer:
    """Layers of one time as one, in the order of their numbers: that of the files' names."""
    layers = [layer for _, layer in sorted(looks, key=lambda look: look[0])]
    if len(layers) == 1:
        return layers[0]
    return composite(np.stack([v for v, _ in layers]), np.stack([u for _, u in layers]), rule)


def _composed(
    found: Sequence[tuple[int, Layer]], rule: str, order: NDArray[np.int64] | None
) -> Layer:
    """Layers of several times as one; ``order`` lists the step's times, the best first."""
    if len(found) == 1:
        return found[0][1]
    layers = [layer for _, layer in found]
    line = None
    if order is not None:
        rank = {time: place for place, time in enumerate(order.tolist())}
        line = best_order([-rank[time] for time, _ in found])
    values, valid = np.stack([v for v, _ in layers]), np.stack([u for _, u in layers])
    return composite(values, valid, rule, line)
