"""Climatology: the usual value of the season, from all earlier steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geoforecast.references import Array, Reference, Setting, ordered_sum, reference
from geoforecast.references.motion import Motion

YEAR_DAYS = 365.2425
SUB_DAILY_DAYS = 0.5  # steps up to this long see a daily cycle, longer ones an annual one
PRIOR = 0.5  # observations that the pixel's mean is worth


class SeasonalMean:
    """Running seasonal means of a tile, in bins of the cycle's phase.

    A bin holds the sum and count of a pixel's valid values; a climatology is the average of
    all bins weighted by a circular Gaussian of their distance in phase, drawn towards the
    pixel's mean by PRIOR observations. Before the record spans one whole cycle it is that
    mean alone, for half a cycle says nothing about the other half.

    Args:
        setting: the tile and the series.
    """

    def __init__(self, setting: Setting) -> None:
        self.daily = setting.step_days <= SUB_DAILY_DAYS
        self.period_days = 1.0 if self.daily else YEAR_DAYS
        self.bins = 24 if self.daily else 36
        least = 1 / 24 if self.daily else 15.0
        width_days = max(least, 0.5 * setting.step_days)
        phase = np.arange(self.bins) / self.bins
        distance = np.minimum(phase, 1 - phase) * self.period_days
        self._kernel = np.exp(-0.5 * (distance / width_days) ** 2).astype(np.float32)
        self._kernel[self._kernel < 1e-4] = 0
        self._sum = np.zeros((self.bins, *setting.shape), dtype=np.float32)
        self._count = np.zeros((self.bins, *setting.shape), dtype=np.float32)
        # Sums are of differences from the first value, or kelvins would lose digits.
        self._first = np.full(setting.shape, np.nan, dtype=np.float32)
        self._days: tuple[float, float] | None = None

    def update(self, values_BHW: Array, valid_BHW: NDArray[np.bool_], day: float) -> None:
        """Add one step."""
        np.copyto(self._first, values_BHW, where=valid_BHW & np.isnan(self._first))
        difference = np.where(valid_BHW, values_BHW - self._first, np.float32(0))
        index = self._bin(day)
        self._sum[index] += difference
        self._count[index] += valid_BHW
        self._days = (day if self._days is None else self._days[0], day)

    def at(self, day: float) -> Array:
        """(band, y, x) usual value at a time; NaN where no step was ever valid."""
        total = ordered_sum(self._count)
        mean: Array = (ordered_sum(self._sum) / np.maximum(total, 1)).astype(np.float32, copy=False)
        if self._days is None or self._days[1] - self._days[0] < self.period_days:
            return self._first + mean
        weights = np.roll(self._kernel, self._bin(day))
        near = np.flatnonzero(weights)
        weighted: Array = np.float32(PRIOR) * mean
        weight: Array = np.full_like(mean, PRIOR)
        # Bin by bin in a fixed order: a pixel's sum does not depend on the tile's shape.
        for index in near:
            weighted += weights[index] * self._sum[index]
            weight += weights[index] * self._count[index]
        return self._first + weighted / weight

    def _bin(self, day: float) -> int:
        return int((day / self.period_days % 1.0) * self.bins) % self.bins


@reference
class Climatology(Reference):
    """The mean of the season over all earlier steps; the mean of all while under a cycle.

    Annual for steps longer than half a day, daily for shorter ones.

    Source:
        Narapusetty, DelSole & Tippett (2009), Optimal estimation of the climatological mean.
    """

    name = "climatology"

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._season = SeasonalMean(setting)

    def update(self, values_BHW: Array, valid_BHW: NDArray[np.bool_], day: float) -> None:
        self._season.update(values_BHW, valid_BHW, day)

    def forecast(self, days: Sequence[float], motion: Motion | None = None) -> Array:  # noqa: ARG002
        return np.stack([self._season.at(day) for day in days])
