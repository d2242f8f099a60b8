"""What a driver's value is at a step: its own times lie between, before and beyond the steps.

At a step, and at the valid time of each lead, it is the mean of the driver's valid values
after the step before and up to this one. Where there is none, it is the last value before
that, unless that is older than a nominal step of the drivers or of the series, whichever is
longer. Otherwise it is missing. So nothing after the valid time is ever seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from geoforecast.forecast.series import SECONDS_A_DAY, to_days
from geoforecast.forecast.steps import StepReader
from geoforecast.raster.cube import Cube
from geoforecast.samples.context import Array, Group

GROUP = "drivers"
TOLERANCE_DAYS = 1e-6  # days are fractions of seconds; a tenth of one is rounding


@dataclass(frozen=True)
class Drivers:
    """Some bands of a cube of drivers, as the steps of a series see them.

    Attributes:
        cube: of the drivers, with their own times.
        group: which of its bands, and how models see them.
        step_days: the nominal step of the series.
    """

    cube: Cube
    group: Group
    step_days: float

    @cached_property
    def days(self) -> NDArray[np.float64]:
        """Time of each driver in days since 1970."""
        return to_days(self.cube.times)

    @property
    def own_step_days(self) -> float:
        """The drivers' nominal step."""
        return float(self.cube.meta["cadence"]["median_seconds"]) / SECONDS_A_DAY

    def spans(self, previous: float, day: float) -> tuple[range, range]:
        """The drivers that count at a step.

        Args:
            previous, day: times of the step before and of this one, in days since 1970.
        Returns:
            Those in between, this step's time included; those before that may stand in.
        """
        oldest = day - max(self.own_step_days, self.step_days) - TOLERANCE_DAYS
        first = int(np.searchsorted(self.days, oldest, side="left"))
        begin = int(np.searchsorted(self.days, previous, side="right"))
        end = int(np.searchsorted(self.days, day, side="right"))
        return range(begin, end), range(min(first, begin), begin)

    def reaches(self, previous: float, day: float) -> bool:
        """Whether the drivers have not ended by a step: one lies in it, or still holds there."""
        inside, _ = self.spans(previous, day)
        return len(inside) > 0 or bool(self.days[-1] + self.own_step_days > day + TOLERANCE_DAYS)


def driven(drivers: Drivers, reader: StepReader, previous: float, day: float) -> Array:
    """The drivers at a step, see Drivers.spans().

    Args:
        drivers: which, and the rule.
        reader: of their bands on a tile.
        previous, day: times of the step before and of this one, in days since 1970.
    Returns:
        (driver, y, x) model units, NaN where missing.
    """
    inside, before = drivers.spans(previous, day)
    total, count = np.zeros(reader.shape), np.zeros(reader.shape)
    for step in inside:
        values, valid = reader.read(step)
        np.add(total, values, out=total, where=valid)
        count += valid
    mean = np.divide(total, count, out=np.full(reader.shape, np.nan), where=count > 0)
    for step in reversed(before):
        missing = np.isnan(mean)
        if not missing.any():
            break
        values, valid = reader.read(step)
        np.copyto(mean, values, where=missing & valid)
    return drivers.group.normaliser.apply(mean.astype(np.float32))
