"""Trend: the straight line through the last few valid values, carried on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from geoforecast.references import Array, Reference, Setting, ordered_sum, reference
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
        present = np.isfinite(values)
        count = present.sum(axis=0)
        n = np.maximum(count, 1).astype(np.float32)
        y = np.where(present, values, np.float32(0))
        t = np.where(present, self._recent.days, np.float32(0))
        mean_y, mean_t = ordered_sum(y) / n, ordered_sum(t) / n
        dt = np.where(present, t - mean_t, np.float32(0))
        variance = ordered_sum(dt * dt)
        covariance = ordered_sum(dt * np.where(present, y - mean_y, np.float32(0)))
        slope = np.where(variance > 0, covariance / np.where(variance > 0, variance, 1), 0)
        low = np.where(present, values, np.inf).min(axis=0)
        high = np.where(present, values, -np.inf).max(axis=0)
        reach = np.float32(OVERSHOOT) * np.where(count > 0, high - low, np.float32(0))
        enough = count >= LEAST
        result = []
        for day in days:
            line = mean_y + slope * (np.float32(day - start) - mean_t)
            line = np.clip(line, low - reach, high + reach)
            result.append(np.where(enough, line, values[-1]))
        return np.stack(result).astype(np.float32, copy=False)
