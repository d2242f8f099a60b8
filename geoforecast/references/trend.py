"""Trend: the straight line through the last few valid values, carried on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np

from geoforecast.references import Array, Reference, Setting, reference
from geoforecast.references.motion import Motion
from geoforecast.references.recent import Recent

LEAST = 3  # values below which the last one persists
OVERSHOOT = 0.5  # how far beyond those values' range the line may go, in ranges


@reference
class Trend(Reference):
    """Least-squares line through a pixel's last 6 valid values, held within reach of them.

    With fewer than 3 values it is persistence.

    Source:
        Gardner & McKenzie (1985), Forecasting trends in time series, on why an undamped
        line must be held back.
    """

    name = "trend"

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._recent = setting.state(Recent)

    def forecast(self, days: Sequence[float], motion: Motion | None = None) -> Array:  # noqa: ARG002
        values, start = self._recent.values, self._recent.start
        later = np.array([day - start for day in days], dtype=np.float32)
        made = np.empty((len(days), *values.shape[1:]), dtype=np.float32)
        seen, when, flat = (one.reshape(len(one), -1) for one in (values, self._recent.days, made))
        _carry_on(seen, when, flat, later)
        return made


# A piece of pixels at a time, which stays in the nearest cache, and all of it in float32, a value
# after the other: the same bits for any tile.
PIECE_PX = 256


@numba.njit(cache=True, nogil=True)
def _carry_on(values: Any, days: Any, made: Any, later: Any) -> None:
    """Lines through (slot, pixel) values and days, NaN where there is none, at later days."""
    slots, size = values.shape
    zero, one, far = np.float32(0), np.float32(1), np.float32(np.inf)
    n, y, t, reach = (
        *(np.empty(PIECE_PX, np.float32), np.empty(PIECE_PX, np.float32)),
        *(np.empty(PIECE_PX, np.float32), np.empty(PIECE_PX, np.float32)),
    )
    low, high = np.empty(PIECE_PX, np.float32), np.empty(PIECE_PX, np.float32)
    spread, common = np.empty(PIECE_PX, np.float32), np.empty(PIECE_PX, np.float32)
    for first in range(0, size, PIECE_PX):
        count = min(PIECE_PX, size - first)
        n[:], y[:], t[:], spread[:], common[:] = zero, zero, zero, zero, zero
        low[:], high[:] = far, -far
        for slot in range(slots):
            value, day = values[slot, first : first + count], days[slot, first : first + count]
            for i in range(count):
                known = abs(value[i]) < far
                n[i] += one if known else zero
                y[i] += value[i] if known else zero
                t[i] += day[i] if known else zero
                low[i] = value[i] if known and value[i] < low[i] else low[i]
                high[i] = value[i] if known and value[i] > high[i] else high[i]
        for i in range(count):
            number = max(n[i], one)
            y[i], t[i] = y[i] / number, t[i] / number
            reach[i] = np.float32(OVERSHOOT) * (high[i] - low[i] if n[i] > zero else zero)
        for slot in range(slots):
            value, day = values[slot, first : first + count], days[slot, first : first + count]
            for i in range(count):
                known = abs(value[i]) < far
                since = day[i] - t[i] if known else zero
                spread[i] += since * since
                common[i] += since * (value[i] - y[i] if known else zero)
        newest = values[slots - 1, first : first + count]
        for number in range(len(later)):
            line = made[number, first : first + count]
            for i in range(count):
                slope = common[i] / spread[i] if spread[i] > zero else zero
                at = y[i] + slope * (later[number] - t[i])
                at = min(max(at, low[i] - reach[i]), high[i] + reach[i])
                line[i] = at if n[i] >= np.float32(LEAST) else newest[i]
