"""Climatology: the usual value of the season, from all earlier steps."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geoforecast.references import Array, Reference, Setting, State, reference
from geoforecast.references.motion import Motion

YEAR_DAYS = 365.2425
SUB_DAILY_DAYS = 0.5  # steps up to this long see a daily cycle, longer ones an annual one
PRIOR = 0.5  # observations that the pixel's mean is worth


def period_days(step_days: float) -> float:
    """Length of the cycle that a series of this step sees: a day or a year."""
    return 1.0 if step_days <= SUB_DAILY_DAYS else YEAR_DAYS


class Season(State):
    """What is usual at a time of the cycle; the mean of all steps until one is complete.

    Half a cycle says nothing about the other half.

    Attributes:
        period_days: length of the cycle.
        spanned: the record spans a cycle or more.
    """

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.period_days = period_days(setting.step_days)
        self._days: tuple[float, float] | None = None
        self._usual: dict[float, Array] = {}

    @property
    def spanned(self) -> bool:
        return self._days is not None and self._days[1] - self._days[0] >= self.period_days

    def update(self, values_BHW: Array, valid_BHW: NDArray[np.bool_], day: float) -> None:
        self._days = (day if self._days is None else self._days[0], day)
        self._usual.clear()
        self._add(values_BHW, valid_BHW, day)

    def at(self, day: float) -> Array:
        """(band, y, x) usual value at a time; NaN where no step was ever valid."""
        if day not in self._usual:
            self._usual[day] = self._at(day)
        return self._usual[day]

    @abstractmethod
    def _add(self, values_BHW: Array, valid_BHW: NDArray[np.bool_], day: float) -> None:
        """Add one step."""

    @abstractmethod
    def _at(self, day: float) -> Array:
        """What at() returns."""


class OverallMean(Season):
    """The mean of a pixel's valid values, whatever the season.

    Attributes:
        count: (band, y, x) valid values.
        first: the first of them, which sums are differences from: kelvins would lose digits.
        excess: mean of those differences.
    """

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.count = np.zeros(setting.shape, dtype=np.float32)
        self.first = np.full(setting.shape, np.nan, dtype=np.float32)
        self._sum = np.zeros(setting.shape, dtype=np.float32)

    @property
    def excess(self) -> Array:
        mean: Array = (self._sum / np.maximum(self.count, 1)).astype(np.float32, copy=False)
        return mean

    def _add(self, values_BHW: Array, valid_BHW: NDArray[np.bool_], day: float) -> None:  # noqa: ARG002
        np.copyto(self.first, values_BHW, where=valid_BHW & np.isnan(self.first))
        self._sum += np.where(valid_BHW, values_BHW - self.first, np.float32(0))
        self.count += valid_BHW

    def _at(self, day: float) -> Array:  # noqa: ARG002
        return self.first + self.excess


class SeasonalMean(Season):
    """Running seasonal means of a tile, in bins of the cycle's phase.

    A bin holds the sum and count of a pixel's valid values; a climatology is the average of
    all bins weighted by a circular Gaussian of their distance in phase, drawn towards the
    pixel's mean by PRIOR observations.
    """

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        daily = self.period_days == 1.0
        self._mean = setting.state(OverallMean)
        self.bins = 24 if daily else 36
        least = 1 / 24 if daily else 15.0
        width_days = max(least, 0.5 * setting.step_days)
        phase = np.arange(self.bins) / self.bins
        distance = np.minimum(phase, 1 - phase) * self.period_days
        self._kernel = np.exp(-0.5 * (distance / width_days) ** 2).astype(np.float32)
        self._kernel[self._kernel < 1e-4] = 0
        self._sum = np.zeros((self.bins, *setting.shape), dtype=np.float32)
        self._count = np.zeros((self.bins, *setting.shape), dtype=np.float32)

    def _add(self, values_BHW: Array, valid_BHW: NDArray[np.bool_], day: float) -> None:
        difference = np.where(valid_BHW, values_BHW - self._mean.first, np.float32(0))
        index = self._bin(day)
        self._sum[index] += difference
        self._count[index] += valid_BHW

    def _at(self, day: float) -> Array:
        if not self.spanned:
            return self._mean.at(day)
        mean = self._mean.excess
        weights = np.roll(self._kernel, self._bin(day))
        near = np.flatnonzero(weights)
        weighted: Array = np.float32(PRIOR) * mean
        weight: Array = np.full_like(mean, PRIOR)
        # Bin by bin in a fixed order: a pixel's sum does not depend on the tile's shape.
        for index in near:
            weighted += weights[index] * self._sum[index]
            weight += weights[index] * self._count[index]
        return self._mean.first + weighted / weight

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
    needs_cycle = True

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._season = setting.state(SeasonalMean)

    def forecast(self, days: Sequence[float], motion: Motion | None = None) -> Array:  # noqa: ARG002
        return np.stack([self._season.at(day) for day in days])
