"""What becomes of a forecast once it is made: smoothed, mapped, held within what can be.

In this order: along the leads it is smoothed; the interval and the samples are laid about that;
then bias correction maps all of them alike; then they are held within the range of the band.
Forecasts and hindcasts pass through the same functions, so that scores are of what is written.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from geoforecast.errors import SettingsError
from geoforecast.forecast.bias import METHODS, NONE, Transfer
from geoforecast.forecast.series import Series
from geoforecast.forecast.stream import Step
from geoforecast.samples.features import Array

FARTHEST = 4.0  # widths of the bell, beyond which it weighs nothing
LEAST_SPREAD = 1e-6  # of weighted distances: below it one point has all the weight
ROUNDING = 1e-6  # of a bound, by which float32 may miss it


@dataclass(frozen=True)
class Finishing:
    """What is asked for.

    Attributes:
        clip: hold forecasts within the range of their band.
        bias: none, mean-variance or quantile; see forecast.bias.
        smooth: width of the bell in steps; 0 leaves forecasts as they are.
    """

    clip: bool = True
    bias: str = NONE
    smooth: float = 0.0

    def __post_init__(self) -> None:
        assert self.bias in METHODS

    def check(self, run: str, *, probabilities: bool) -> None:
        """Refuse what makes no sense for a run.

        Raises:
            SettingsError: probabilities would be smoothed or mapped.
        """
        asked = {"--bias-correct": self.bias != NONE, "--smooth": self.smooth > 0}
        wrong = [option for option, wanted in asked.items() if wanted]
        if wrong and probabilities:
            raise SettingsError(
                f"{' and '.join(wrong)} cannot be used with the run '{run}', which forecasts "
                "probabilities.",
                remedy="Leave it out: mapped one by one, probabilities would not sum to 1.",
            )


PLAIN = Finishing(clip=False)


@dataclass(frozen=True)
class Finish:
    """The last two steps, for the forecasts of one init step.

    Attributes:
        transfer: what takes the bias out; None for nothing.
        bounds: least and greatest value, (band, 1, 1) each; None for none.
    """

    transfer: Transfer | None = None
    bounds: tuple[Array, Array] | None = None

    def __call__(self, values: Array) -> Array:
        """(lead, band, y, x) mapped and clipped; NaN stays NaN."""
        if self.transfer is not None:
            values = self.transfer.apply(values)
        return self.clipped(values)

    def from_lead(self, index: int) -> Finish:
        """The same for forecasts whose first lead is the one of that index, from 0."""
        if self.transfer is None:
            return self
        table = self.transfer.table
        return replace(
            self, transfer=replace(self.transfer, table=table[min(index, len(table) - 1) :])
        )

    def clipped(self, values: Array) -> Array:
        """(..., band, y, x) held within the bounds; NaN stays NaN."""
        return values if self.bounds is None else np.clip(values, *self.bounds)


AS_MADE = Finish()


def bounds_of(series: Series) -> tuple[Array, Array] | None:
    """Least and greatest value of each band, (band, 1, 1) each; None if there is no bound.

    They come from the cube, which knows them from files and sensors. A bound that training
    values lie beyond is none: whoever stored it was wrong about this series.
    """
    if series.target.is_probability:
        return None
    told = series.cube.meta.get("ranges") or [[None, None]] * len(series.cube.bands)
    sides = []
    for side, sign in ((0, -1), (1, 1)):
        ends = []
        for number, seen in zip(series.band_numbers, series.statistics, strict=True):
            end = sign * math.inf if told[number][side] is None else float(told[number][side])
            most = seen.maximum if side else seen.minimum
            beyond = sign * (most - end) > ROUNDING * max(1.0, abs(end))
            ends.append(sign * math.inf if beyond else end)
        sides.append(np.array(ends, dtype=np.float32)[:, None, None])
    low, high = np.maximum(sides[0], series.floor), np.minimum(sides[1], series.ceiling)
    return (low, high) if np.isfinite(low).any() or np.isfinite(high).any() else None


def smoothed(forecast: Array, seen: Sequence[Step], series: Series, width: float) -> Array:
    """Forecasts smoothed in time, each by a straight line through what leads up to it.

    The line is fitted by least squares, weighted by a bell (Gaussian) of ``width`` steps about
    the lead, to the pixel's valid observations of the lookback and the forecasts of this and
    earlier leads; its value at the lead is taken. A weighted mean instead would lag behind every
    rise and fall. Later leads take no part: a forecast is the same however many follow it.

    Args:
        forecast: (lead, band, y, x) band units; where it is NaN it stays NaN.
        seen: the lookback, oldest first.
        series: of the bands.
        width: standard deviation of the bell in steps; 0 leaves forecasts as they are.
    Source:
        Fan (1992), Journal of the American Statistical Association 87, 998-1004, equation 2.2.
    """
    if width <= 0:
        return forecast
    reach = int(FARTHEST * width)
    recent = list(seen)[-reach:] if reach else []
    points = [
        (1 - len(recent) + number, series.normaliser.invert(step.values_BHW), step.valid_BHW)
        for number, step in enumerate(recent)
    ]
    points += [(lead, values, np.isfinite(values)) for lead, values in enumerate(forecast, 1)]
    result = np.empty_like(forecast)
    for lead, own in enumerate(forecast, 1):
        near = [(lead - at, v, known) for at, v, known in points if 0 <= lead - at <= reach]
        result[lead - 1] = np.where(np.isfinite(own), _line(near, width), np.nan)
    return series.held(result)


def _line(near: Sequence[tuple[int, Array, NDArray[np.bool_]]], width: float) -> Array:
    """The weighted line's value at distance 0; the weighted mean where there is one point."""
    shape = near[0][1].shape
    w, wd, wdd, wy, wdy = (np.zeros(shape) for _ in range(5))
    for distance, values, known in near:
        weight = np.where(known, math.exp(-0.5 * (distance / width) ** 2), 0.0)
        y = weight * np.where(known, values, 0)
        w, wd, wdd = w + weight, wd + distance * weight, wdd + distance**2 * weight
        wy, wdy = wy + y, wdy + distance * y
    spread = w * wdd - wd * wd
    several = spread > LEAST_SPREAD
    line = (wdd * wy - wd * wdy) / np.where(several, spread, 1)
    made: Array = np.where(several, line, wy / np.where(w > 0, w, 1)).astype(np.float32)
    return made
