"""Persistence: the last valid value stays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from geoforecast.references import Array, Reference, Setting, reference
from geoforecast.references.motion import Motion
from geoforecast.references.recent import Recent


@reference
class Persistence(Reference):
    """Each pixel keeps its last valid value.

    Source:
        Murphy (1992), Climatology, persistence, and their linear combination as standards
        of reference in skill scores.
    """

    name = "persistence"
    kinds = ("continuous", "count", "binary", "categorical")

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._recent = setting.state(Recent)

    def forecast(self, days: Sequence[float], motion: Motion | None = None) -> Array:  # noqa: ARG002
        return np.repeat(self._recent.last[None], len(days), axis=0)
