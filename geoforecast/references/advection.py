"""Advection: the last field, carried along its own motion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from geoforecast.references import Array, Reference, Setting, reference
from geoforecast.references.motion import Motion, bilinear
from geoforecast.references.recent import Recent

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
        self._recent = setting.state(Recent)

    def forecast(self, days: Sequence[float], motion: Motion | None = None) -> Array:
        last = self._recent.last
        if motion is None:
            return np.repeat(last[None], len(days), axis=0)
        return carried(last, motion, self.setting.origin, len(days))

    @classmethod
    def applies(cls, step_days: float) -> bool:
        return step_days <= LONGEST_STEP_DAYS


def carried(
    field_BHW: Array, motion: Motion, origin: tuple[int, int], steps: int, first: int = 1
) -> Array:
    """A field after some steps along the motion.

    Args:
        field_BHW: NaN where nothing is known; such places, and those that would take their
            value from one, keep what they have.
        motion: the motion field.
        origin: row and column of the field's first pixel in the grid.
        steps: how many results.
        first: steps of the first of them.
    Returns:
        (steps, band, y, x)
    """
    shape = field_BHW.shape[1:]
    result = np.empty((steps, *field_BHW.shape), dtype=np.float32)
    for number in range(steps):
        rows, cols = motion.path(origin, (shape[0], shape[1]), first + number)
        for band, field in enumerate(field_BHW):
            moved = bilinear(field, rows, cols, origin)
            result[number, band] = np.where(np.isnan(moved), field, moved)
    return result
