"""How far off a forecast may be: intervals, and samples of what may come.

Both read the errors that mixtures made before, in units of what the members' disagreement lets
expect (references/spread.py). Samples err in patches as large as those errors'
(references/likeness.py); bands are drawn independently of each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoforecast.forecast.finish import AS_MADE, Finish
from geoforecast.forecast.sampling import chained, normal_field, probabilities
from geoforecast.raster.grid import Tile
from geoforecast.references import likeness, spread
from geoforecast.references.mixture import Knowledge
from geoforecast.samples.features import Array


@dataclass(frozen=True)
class Uncertainty:
    """What is known of the errors of a tile's forecast.

    Attributes:
        known: of the mixture's errors, as of the init step.
        narrowing: per trained lead, what the correction leaves of them.
        disagreement: (lead, band, y, x) of the mixture's members.
        floor: (band, 1, 1) smallest possible values.
        finish: what becomes of forecasts in the end, and so of the ends and samples about them.
    """

    known: Knowledge
    narrowing: Sequence[float]
    disagreement: Array
    floor: Array
    finish: Finish = AS_MADE

    def within(self, inner: tuple[Any, ...]) -> Uncertainty:
        """The same of a part of the tile, given as an index of the last two axes."""
        return replace(self, disagreement=self.disagreement[(..., *inner)])

    def interval(self, forecast: Array, level: float) -> tuple[Array, Array]:
        """(lead, band, y, x) lower and upper end about a forecast.

        Args:
            forecast: (lead, band, y, x) band units, before it is finished.
            level: share of observations between the ends.
        """
        lower, upper = np.empty_like(forecast), np.empty_like(forecast)
        for index, band in np.ndindex(forecast.shape[:2]):
            lead, reach, classes = self._reach(index, band)
            scores, scored = self.known.scores[lead, band], float(self.known.scored[lead, band])
            factors = spread.quantiles(scores, scored, level).astype(np.float32)
            lower[index, band] = forecast[index, band] + factors[classes, 0] * reach
            upper[index, band] = forecast[index, band] + factors[classes, 1] * reach
        ends = np.maximum(lower, self.floor), np.maximum(upper, self.floor)
        return self.finish(ends[0]), self.finish(ends[1])

    def equally_likely(self, forecast: Array, index: int, size: int) -> Array:
        """(size, band, y, x) values about a forecast, each as likely to be exceeded as the next.

        Ascending: what comes lies between any two neighbours with the same probability.

        Args:
            forecast: (band, y, x) band units, before it is finished.
            index: of its lead, from 0.
            size: how many.
        """
        result = np.empty((size, *forecast.shape), dtype=np.float32)
        for band in range(len(forecast)):
            lead, reach, classes = self._reach(index, band)
            scores, scored = self.known.scores[lead, band], float(self.known.scored[lead, band])
            factors = spread.equal_parts(scores, scored, size).astype(np.float32)
            for number in range(size):
                result[number, band] = forecast[band] + factors[classes, number] * reach
        finish = self.finish.from_lead(index)
        for number, values in enumerate(np.maximum(result, self.floor)):
            result[number] = finish(values[None])[0]
        return result

    def sample(self, forecast: Array, tile: Tile, key: Sequence[int]) -> Array:
        """(lead, band, y, x) one draw of what may come.

        Args:
            forecast: (lead, band, y, x) band units, before it is finished.
            tile: where it lies in the raster.
            key: names the draw: seed, init time, number of the sample.
        """
        result = np.empty_like(forecast)
        leads, bands = forecast.shape[:2]
        for band in range(bands):
            fields, typical = [], []
            for index in range(leads):
                lead = min(index, len(self.narrowing) - 1)
                alike = likeness.fitted(self.known.pairs[lead, band])
                fields.append(normal_field(tile, alike, [*key, index, band]))
                typical.append(float(self.known.typical[lead, band]) * self._wider(index))
            for index, field in enumerate(chained(fields, typical)):
                lead, reach, classes = self._reach(index, band)
                factors = spread.values_at(
                    self.known.scores[lead, band],
                    float(self.known.scored[lead, band]),
                    classes.ravel(),
                    probabilities(field).ravel(),
                ).reshape(field.shape)
                result[index, band] = forecast[index, band] + factors.astype(np.float32) * reach
        return self.finish(np.maximum(result, self.floor))

    def _reach(self, index: int, band: int) -> tuple[int, Array, NDArray[np.int64]]:
        """The trained lead that stands for a lead; each pixel's unit of errors, and class."""
        lead = min(index, len(self.narrowing) - 1)
        typical = float(self.known.typical[lead, band])
        unit, classes = spread.unit_of(self.disagreement[index, band], typical)
        return lead, np.float32(self.narrowing[lead] * self._wider(index)) * unit, classes

    def _wider(self, index: int) -> float:
        """Beyond the trained leads errors are taken to grow like those of a random walk."""
        lead = min(index, len(self.narrowing) - 1)
        return math.sqrt((index + 1) / (lead + 1))
