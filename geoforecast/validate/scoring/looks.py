"""How frames look, of the methods that are drawn, and whether events are nearly right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoforecast.validate.metrics.came import Came
from geoforecast.validate.metrics.fields import FieldSums
from geoforecast.validate.metrics.fractions import FSS_SUMS, SCALES_PX, fraction_sums

Key = tuple[str, int, int]  # method, band (index) and lead (from 1)


@dataclass(frozen=True)
class Looks:
    """How frames look, of the forecast and of the reference that maps are drawn against.

    Attributes:
        fields: what is summed of them.
        fractions: (threshold, scale, FSS_SUMS) of the band's events.
    """

    fields: dict[Key, FieldSums]
    fractions: dict[Key, NDArray[np.float64]]

    @staticmethod
    def empty(
        methods: Sequence[str], events: Sequence[Sequence[float]], leads: int, steps: int
    ) -> Looks:
        """Nothing yet.

        Args:
            methods: that are drawn.
            events: thresholds of each band.
            leads, steps: how many are scored.
        """
        keys = [
            (method, band, lead)
            for method in methods
            for band in range(len(events))
            for lead in range(1, leads + 1)
        ]
        size = len(SCALES_PX), len(FSS_SUMS)
        return Looks(
            {key: FieldSums.empty(steps) for key in keys},
            {key: np.zeros((len(events[key[1]]), *size)) for key in keys},
        )

    def add(self, other: Looks) -> None:
        """Another part of the raster."""
        for key in self.fields:
            self.fields[key] += other.fields[key]
            self.fractions[key] += other.fractions[key]

    def see(
        self, key: Key, step: int, forecast: NDArray[Any], came: Came, events: Sequence[float]
    ) -> None:
        """A part of a frame.

        Args:
            key: what was forecast how.
            step: of the test block, from 0.
            forecast: (y, x) of the same place as what came.
            came: what came.
            events: thresholds of the band, band units.
        """
        self.fields[key].add(step, forecast, came)
        for number, threshold in enumerate(events):
            least = np.float32(threshold)
            said, happened = forecast >= least, came.observed >= least
            self.fractions[key][number] += fraction_sums(
                said, happened, came.scored, inner=came.inner
            )
