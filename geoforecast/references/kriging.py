"""Kriging in time: the best linear guess for a field that changes as smoothly as most do.

The weights follow from the times of a pixel's last values alone. Nothing is fitted, so that
it holds where a record is too short to fit anything: length and noise are those that served
best on many short pieces of vegetation, temperature and reflectance records.
"""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import NDArray

from geoforecast.references import Array, Reference, Setting, reference
from geoforecast.references.cholesky import factor, substitute
from geoforecast.references.climatology import OverallMean, Season, SeasonalMean, period_days
from geoforecast.references.motion import Motion
from geoforecast.references.recent import LENGTH, Recent, pushed

LENGTH_CYCLES = 0.22  # of the covariance: 80 days of a year, 5 hours of a day
NOISE = 0.05  # variance of what is not remembered, of that of the field
MEAN_VARIANCE = 0.3  # how far the mean may lie from the one seen, same unit


@reference
class Kriging(Reference):
    """Ordinary kriging of the last 6 valid values about their pixel's mean.

    Matern covariance of smoothness 5/2, length 0.22 cycles, 5 % of noise.

    Source:
        Rasmussen & Williams (2006), Gaussian processes for machine learning, eqs. 2.25 and
        4.17.
    """

    name = "kriging"
    kinds = ("continuous", "count", "binary", "categorical")

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._recent = setting.state(Recent)
        self._mean: Season = setting.state(OverallMean)

    def forecast(self, days: Sequence[float], motion: Motion | None = None) -> Array:  # noqa: ARG002
        mean = self._mean.at(days[0])
        means = np.broadcast_to(mean, (len(days), *mean.shape))
        anomalies = self._recent.values - mean
        return kriged(self.setting, self._recent, anomalies, means, days, MEAN_VARIANCE)


@reference
class AnomalyKriging(Reference):
    """Kriging of the last 6 departures from climatology; see Kriging.

    Source:
        Rasmussen & Williams (2006), Gaussian processes for machine learning, eq. 2.25.
    """

    name = "anomaly_kriging"
    needs_cycle = True

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._recent = setting.state(Recent)
        self._season = setting.state(SeasonalMean)
        self._anomalies = np.full((LENGTH, *setting.shape), np.nan, dtype=np.float32)

    def update(self, values_BHW: Array, valid_BHW: NDArray[np.bool_], day: float) -> None:
        pushed(self._anomalies, values_BHW - self._season.at(day), valid_BHW)

    def forecast(self, days: Sequence[float], motion: Motion | None = None) -> Array:  # noqa: ARG002
        means = np.stack([self._season.at(day) for day in days])
        return kriged(self.setting, self._recent, self._anomalies, means, days, 0.0)


def kriged(
    setting: Setting,
    recent: Recent,
    anomalies: Array,
    means: Array,
    days: Sequence[float],
    mean_variance: float,
) -> Array:
    """The mean at later times plus the kriged anomaly.

    Args:
        setting: of the series.
        recent: when each pixel was seen.
        anomalies: (6, band, y, x) what was seen then, the newest last.
        means: (lead, band, y, x) what they are departures from, at the later times.
        days: the later times.
        mean_variance: see MEAN_VARIANCE.
    """
    length = LENGTH_CYCLES * period_days(setting.step_days)
    later = np.array([day - recent.start for day in days])
    result = np.empty(means.shape, dtype=np.float32)
    _krige(
        recent.days, anomalies, np.ascontiguousarray(means), later, length, mean_variance, result
    )
    return result


@numba.njit(nogil=True, cache=True)
def _covariance(days: float, length: float) -> float:
    scaled = np.sqrt(5.0) * abs(days) / length
    return float((1.0 + scaled + scaled * scaled / 3.0) * np.exp(-scaled))


@numba.njit(nogil=True, cache=True)
def _weigh(
    seen: NDArray[np.float64],
    n: int,
    later: NDArray[np.float64],
    length: float,
    mean_variance: float,
    weights: NDArray[np.float64],
) -> None:
    """(lead, n) kriging weights of values seen at some times, by Cholesky's method."""
    a = np.empty((n, n))
    for i in range(n):
        for j in range(i + 1):
            a[i, j] = _covariance(seen[i] - seen[j], length) + mean_variance
        a[i, i] += NOISE
    factor(a, n)
    for lead in range(len(later)):
        for i in range(n):
            weights[lead, i] = _covariance(later[lead] - seen[i], length) + mean_variance
        substitute(a, n, weights[lead])


@numba.njit(nogil=True, cache=True)
def _krige(
    days: Array,
    anomalies: Array,
    means: Array,
    later: NDArray[np.float64],
    length: float,
    mean_variance: float,
    result: Array,
) -> None:
    depth, bands, height, width = days.shape
    leads = len(later)
    seen = np.empty(depth)
    weights = np.zeros((leads, depth))
    for band in range(bands):
        n = -1  # of the weights at hand
        for y in range(height):
            for x in range(width):
                count = 0
                while count < depth and not np.isnan(days[depth - 1 - count, band, y, x]):
                    count += 1
                same = count == n
                for k in range(count):
                    day = np.float64(days[depth - count + k, band, y, x])
                    same = same and seen[k] == day
                    seen[k] = day
                # Neighbours were mostly seen at the same times.
                if not same:
                    n = count
                    _weigh(seen, n, later, length, mean_variance, weights)
                for lead in range(leads):
                    if count == 0:
                        result[lead, band, y, x] = np.nan
                        continue
                    total = np.float64(means[lead, band, y, x])
                    for k in range(count):
                        total += weights[lead, k] * anomalies[depth - count + k, band, y, x]
                    result[lead, band, y, x] = total
