"""Mean: the average of everything seen so far."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from geoforecast.references import Array, Reference, Setting, reference
from geoforecast.references.climatology import OverallMean
from geoforecast.references.motion import Motion


@reference
class Mean(Reference):
    """The mean of a pixel's valid values over all earlier steps.

    Source:
        Murphy (1992), Climatology, persistence, and their linear combination as standards
        of reference in skill scores.
    """

    name = "mean"
    kinds = ("continuous", "count", "binary", "categorical")

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._mean = setting.state(OverallMean)

    def forecast(self, days: Sequence[float], motion: Motion | None = None) -> Array:  # noqa: ARG002
        return np.stack([self._mean.at(day) for day in days])
