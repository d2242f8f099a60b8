"""Which windows a run trains on and is scored on: seeded, and never beyond their block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geoforecast.forecast.kinds import CONTINUOUS, PROBABILITIES
from geoforecast.raster.grid import Tile
from geoforecast.samples.features import Array
from geoforecast.samples.split import Split
from geoforecast.train.cache import Site
from geoforecast.train.targets import with_level, with_odds

VALIDATION_PX = 300_000  # pixels of all validation windows together, when it is decided
VALIDATION_SIDE_PX = 128
WATCHED_PX = 50_000  # the same after each epoch
WATCHED_SIDE_PX = 64
TRIES = 8  # crops drawn in search of one with enough valid targets
ENOUGH_VALID = 0.05
POISSON = "poisson"


@dataclass(frozen=True)
class Windows:
    """Everything that training and validation draw from.

    Attributes:
        sites: the decoded rectangles.
        split: the time split.
        lookback, horizon: steps.
        step_days: the nominal step.
        scale_LB: (lead, band) error of the reference, by which residuals are divided.
        kind: of the targets: continuous, count, binary or categorical.
        loss: name of the loss, which decides what targets must tell.
        shares: of each band or class in the training steps.
        log_units: per band, centre and scale of log(1 + count), of counts.
        validation_px: pixels of all validation windows together, about.
        validation_side_px: side of the largest of them.
    """

    sites: Sequence[Site]
    split: Split
    lookback: int
    horizon: int
    step_days: float
    scale_LB: Array
    kind: str = CONTINUOUS
    loss: str = ""
    shares: tuple[float, ...] = ()
    log_units: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())
    validation_px: int = VALIDATION_PX
    validation_side_px: int = VALIDATION_SIDE_PX

    @property
    def train_inits(self) -> range:
        return range(self.lookback - 1, self.split.validation - 1)

    @property
    def validation_inits(self) -> range:
        first = max(self.lookback - 1, self.split.validation - self.horizon)
        return range(first, self.split.test - 1)

    def batch(
        self, rng: np.random.Generator, size: int, patch: int, share: slice = slice(None)
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Random crops of random training windows, flipped at random.

        Args:
            rng: the epoch's generator; its draws alone decide the batch.
            size: samples.
            patch: side of the crops in pixels, less on smaller sites.
            share: the samples whose x is wanted; the draws are the same for any.
        Returns:
            x (sample, step, channel, y, x), target (sample, lead, band, y, x) in units of
            the reference's error, known (same shape, bool). Of probabilities, and for the
            Poisson loss, the target has three layers on an axis after the lead; see targets.
        """
        areas = np.array([site.tile.shape[0] * site.tile.shape[1] for site in self.sites], float)
        height = min(patch, *(site.tile.shape[0] for site in self.sites))
        width = min(patch, *(site.tile.shape[1] for site in self.sites))
        inputs: list[NDArray[Any]] = []
        samples: list[list[NDArray[Any]]] = []
        wanted = range(size)[share]
        while len(samples) < size:
            for _ in range(TRIES):
                site = self.sites[rng.choice(len(self.sites), p=areas / areas.sum())]
                init = int(rng.choice(np.asarray(self.train_inits)))
                row = int(rng.integers(site.tile.shape[0] - height + 1))
                col = int(rng.integers(site.tile.shape[1] - width + 1))
                crop = Tile(row, row + height, col, col + width)
                next_valid = site.target_valid_TBHW[(init + 1, slice(None), *crop.slices)]
                if next_valid.mean() >= ENOUGH_VALID:
                    break
            target, known = self._targets(site, init, crop, self.split.train_steps)
            if self.loss == POISSON:
                target = self._levels(site, init, crop, target)
            flips = tuple(axis for axis in (-2, -1) if rng.random() < 0.5)
            if len(samples) in wanted:
                inputs.append(np.flip(self._inputs(site, init, crop), flips))
            samples.append([np.flip(target, flips), np.flip(known, flips)])
        x = torch.from_numpy(np.stack(inputs)) if inputs else torch.empty(0)
        targets, all_known = (
            torch.from_numpy(np.stack(parts)) for parts in zip(*samples, strict=True)
        )
        return x, targets, all_known

    def watched(self) -> Windows:
        """The same with fewer validation pixels, for the score after each epoch."""
        return replace(self, validation_px=WATCHED_PX, validation_side_px=WATCHED_SIDE_PX)

    def validation(self, seed: int) -> list[tuple[Site, int, Tile]]:
        """The windows that a model is scored on: all, or a seeded choice at every step."""
        crops = [
            (site, crop) for site in self.sites for crop in _crops(site, self.validation_side_px)
        ]
        pixels = sum(crop.shape[0] * crop.shape[1] for _, crop in crops)
        share = self.validation_px / max(1, pixels * len(self.validation_inits))
        kept = max(1, int(share * len(crops)))
        rng = np.random.default_rng([seed, 2])
        everything = []
        for init in self.validation_inits:
            order = range(len(crops)) if share >= 1 else sorted(rng.permutation(len(crops))[:kept])
            everything += [(crops[index][0], init, crops[index][1]) for index in order]
        return everything

    def observed(self, window: tuple[Site, int, Tile]) -> Array:
        """What was observed of one validation window: (lead, band, y, x), model units.

        Anything where validation_sample() does not know it.
        """
        site, init, crop = window
        last = len(site.target_TBHW) - 1
        steps = [min(init + 1 + lead, last) for lead in range(self.horizon)]
        return np.stack([site.target_TBHW[(step, slice(None), *crop.slices)] for step in steps])

    def validation_sample(
        self, window: tuple[Site, int, Tile]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """One validation window as a batch of one; see batch() for what it holds."""
        target, known = self._targets(*window, self.split.validation_steps)
        return (
            torch.from_numpy(self._inputs(*window))[None],
            torch.from_numpy(target)[None],
            torch.from_numpy(known)[None],
        )

    def _inputs(self, site: Site, init: int, crop: Tile) -> Array:
        return site.inputs(init, self.lookback, self.step_days, crop)

    def _targets(
        self, site: Site, init: int, crop: Tile, steps: range
    ) -> tuple[Array, NDArray[np.bool_]]:
        target, known = site.targets(init, crop, steps)
        if self.kind in PROBABILITIES:
            return with_odds(site, init, crop, target), known
        return target / self.scale_LB[:, :, None, None], known

    def _levels(self, site: Site, init: int, crop: Tile, target: Array) -> Array:
        centre, scale = (np.asarray(one, np.float32)[:, None, None] for one in self.log_units)
        unit = self.scale_LB[:, :, None, None]
        return with_level(site, init, crop, target, unit, centre, scale)


def _crops(site: Site, side: int) -> list[Tile]:
    height, width = site.tile.shape
    return [
        Tile(row, min(row + side, height), col, min(col + side, width))
        for row in range(0, height, side)
        for col in range(0, width, side)
    ]
