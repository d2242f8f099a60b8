"""The last valid values of each pixel and when they were seen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geoforecast.references import Array, Setting, State

LENGTH = 6  # values that are remembered


class Recent(State):
    """The last 6 valid values of each pixel, the newest last, and their days.

    Attributes:
        values: (6, band, y, x) band units; NaN where there were fewer.
        days: same shape, days since ``start``, which fit float32; days from 1970 would lose
            minutes.
        start: day of the first step.
    """

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        shape = (LENGTH, *setting.shape)
        self.values = np.full(shape, np.nan, dtype=np.float32)
        self.days = np.full(shape, np.nan, dtype=np.float32)
        self.start = 0.0
        self._begun = False

    def update(self, values_BHW: Array, valid_BHW: NDArray[np.bool_], day: float) -> None:
        if not self._begun:
            self.start, self._begun = day, True
        pushed(self.values, values_BHW, valid_BHW)
        pushed(self.days, np.float32(day - self.start), valid_BHW)

    @property
    def last(self) -> Array:
        """(band, y, x) the newest value; NaN where there was none."""
        newest: Array = self.values[-1]
        return newest


def pushed(buffer: Array, new: Array | np.float32, where_BHW: NDArray[np.bool_]) -> None:
    """Shift a buffer towards its start and put a value at its end, where it is so said."""
    for slot in range(len(buffer) - 1):
        np.copyto(buffer[slot], buffer[slot + 1], where=where_BHW)
    np.copyto(buffer[-1], new, where=where_BHW)
