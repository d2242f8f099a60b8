"""Which windows a run trains on and is scored on: seeded, and never beyond their block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geoforecast.raster.grid import Tile
from geoforecast.samples.features import Array
from geoforecast.samples.split import Split
from geoforecast.train.cache import Site

VALIDATION_PX = 300_000  # pixels of all validation windows together
VALIDATION_SIDE_PX = 128
TRIES = 8  # crops drawn in search of one with enough valid targets
ENOUGH_VALID = 0.05


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
    """

    sites: Sequence[Site]
    split: Split
    lookback: int
    horizon: int
    step_days: float
    scale_LB: Array
    kind: str = "continuous"

    @property
    def train_inits(self) -> range:
        return range(self.lookback - 1, self.split.validation - 1)

    @property
    def validation_inits(self) -> range:
        first = max(self.lookback - 1, self.split.validation - self.horizon)
        return range(first, self.split.test - 1)

    def batch(
        self, rng: np.random.Generator, size: int, patch: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Random crops of random training windows, flipped at random.

        Args:
            rng: the epoch's generator; its draws alone decide the batch.
            size: samples.
            patch: side of the crops in pixels, less on smaller sites.
        Returns:
            x (sample, step, channel, y, x), target (sample, lead, band, y, x) in units of
            the reference's error, known (same shape, bool).
        """
        areas = np.array([site.tile.shape[0] * site.tile.shape[1] for site in self.sites], float)
        height = min(patch, *(site.tile.shape[0] for site in self.sites))
        width = min(patch, *(site.tile.shape[1] for site in self.sites))
        samples: list[list[NDArray[Any]]] = []
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
            sample = self._sample(site, init, crop, self.split.train_steps)
            flips = tuple(axis for axis in (-2, -1) if rng.random() < 0.5)
            samples.append([np.flip(part, flips) for part in sample])
        x, target, known = (
            torch.from_numpy(np.stack(parts)) for parts in zip(*samples, strict=True)
        )
        return x, target, known

    def validation(self, seed: int) -> list[tuple[Site, int, Tile]]:
        """The windows that every epoch is scored on: all, or a seeded choice of large ones."""
        everything = [
            (site, init, crop)
            for init in self.validation_inits
            for site in self.sites
            for crop in _crops(site)
        ]
        pixels = [crop.shape[0] * crop.shape[1] for _, _, crop in everything]
        if sum(pixels) <= VALIDATION_PX:
            return everything
        order = np.random.default_rng([seed, 2]).permutation(len(everything))
        kept = max(len(self.validation_inits), int(VALIDATION_PX // np.mean(pixels)))
        return [everything[index] for index in sorted(order[:kept])]

    def validation_sample(
        self, window: tuple[Site, int, Tile]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """One validation window as a batch of one; see batch() for what it holds."""
        x, target, known = self._sample(*window, self.split.validation_steps)
        return (
            torch.from_numpy(x)[None],
            torch.from_numpy(target)[None],
            torch.from_numpy(known)[None],
        )

    def _sample(
        self, site: Site, init: int, crop: Tile, targets: range
    ) -> tuple[Array, Array, NDArray[np.bool_]]:
        x, target, known = site.sample(init, self.lookback, self.step_days, crop, targets)
        return x, target / self.scale_LB[:, :, None, None], known


def _crops(site: Site) -> list[Tile]:
    height, width = site.tile.shape
    side = VALIDATION_SIDE_PX
    return [
        Tile(row, min(row + side, height), col, min(col + side, width))
        for row in range(0, height, side)
        for col in range(0, width, side)
    ]
