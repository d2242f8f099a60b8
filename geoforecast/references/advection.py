"""Advection: the last field, carried along its own motion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geoforecast.references import Array, Reference, Setting, reference
from geoforecast.references.motion import Motion, bilinear

LONGEST_STEP_DAYS = 0.13  # about three hours: fields that move are seen often


@reference
class Advection(Reference):
    """Semi-Lagrangian advection of the last valid values along a dense motion field.

    Each pixel looks back along the flow, one step at a time, and takes the value found
    there; where that was never valid it keeps its own last value.

    Source:
        Germann & Zawadzki (2002), Scale-dependence of the predictability of precipitation
        from continental radar images, part I.
    """

    name = "advection"
    needs_motion = True

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._last = np.full(setting.shape, np.nan, dtype=np.float32)

    def update(self, values_BHW: Array, valid_BHW: NDArray[np.bool_], day: float) -> None:  # noqa: ARG002
        np.copyto(self._last, values_BHW, where=valid_BHW)

    def forecast(self, days: Sequence[float], motion: Motion | None = None) -> Array:
        if motion is None:
            return np.repeat(self._last[None], len(days), axis=0)
        bands, height, width = self.setting.shape
        row0, col0 = self.setting.origin
        rows, cols = np.meshgrid(
            np.arange(row0, row0 + height, dtype=np.float64),
            np.arange(col0, col0 + width, dtype=np.float64),
            indexing="ij",
        )
        result = np.empty((len(days), *self.setting.shape), dtype=np.float32)
        for lead in range(len(days)):
            down, right = motion.at(rows, cols)
            rows, cols = rows - down, cols - right
            for band in range(bands):
                moved = bilinear(self._last[band], rows, cols, self.setting.origin)
                result[lead, band] = np.where(np.isnan(moved), self._last[band], moved)
        return result

    @classmethod
    def applies(cls, step_days: float) -> bool:
        return step_days <= LONGEST_STEP_DAYS
