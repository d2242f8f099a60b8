"""Persistence: the last valid value stays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geoforecast.references import Array, Reference, Setting, reference
from geoforecast.references.motion import Motion


@reference
class Persistence(Reference):
    """Each pixel keeps its last valid value.

    Source:
        Murphy (1992), Climatology, persistence, and their linear combination as standards
        of reference in skill scores.
    """

    name = "persistence"

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.last = np.full(setting.shape, np.nan, dtype=np.float32)

    def update(self, values_BHW: Array, valid_BHW: NDArray[np.bool_], day: float) -> None:  # noqa: ARG002
        np.copyto(self.last, values_BHW, where=valid_BHW)

    def forecast(self, days: Sequence[float], motion: Motion | None = None) -> Array:  # noqa: ARG002
        return np.repeat(self.last[None], len(days), axis=0)
