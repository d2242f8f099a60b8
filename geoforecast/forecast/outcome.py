"""What an engine makes: forecasts of a tile, and hindcasts beside what came."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from geoforecast.forecast.bias import Pairs, lattice_stride
from geoforecast.forecast.uncertainty import Uncertainty
from geoforecast.raster.grid import Tile
from geoforecast.references.mixture import MIXTURE
from geoforecast.samples.features import Array

FORECAST = "forecast"  # the method name beside those of the references
OURS = (FORECAST, MIXTURE)  # methods that are no simple forecast to be measured against


def least_error(
    names: Sequence[str], errors: Sequence[Mapping[str, Sequence[float | None]]]
) -> str:
    """Which reference has the least validation error, mean over leads, of one run or several.

    Args:
        names: of the references; the first one is it where no error is known.
        errors: of each run, by name, one a lead.
    """
    means = {}
    for name in names:
        known = [value for one in errors for value in one.get(name, ()) if value is not None]
        if known:
            means[name] = float(np.mean(known))
    return min(means, key=lambda name: means[name]) if means else names[0]


@dataclass(frozen=True)
class Hindcast:
    """Forecasts of one past step from one earlier step, beside what was observed.

    Attributes:
        step: the cube step that is forecast.
        lead: steps since init, 1 or more.
        forecasts: (band, y, x) float32 in band units by method; NaN where there is none.
        observed: (band, y, x) float32, band units.
        valid: (band, y, x) bool, True = ``observed`` is usable.
        lower, upper: (band, y, x) ends of the forecast's interval; None if there is none.
        last: (band, y, x) the last valid values before the init time, 0 where there are none.
        likely: (size, band, y, x) ascending values, each as likely to be exceeded as the next;
            None if they were not asked for or errors are not known.
    """

    step: int
    lead: int
    forecasts: dict[str, Array]
    observed: Array
    valid: NDArray[np.bool_]
    lower: Array | None = None
    upper: Array | None = None
    last: Array | None = None
    likely: Array | None = None


@dataclass(frozen=True)
class Made:
    """All forecasts from one step, and what came, before it is told lead by lead.

    Attributes:
        init: the step.
        inner: where the tile lies in what was read, as an index of (y, x).
        forecasts: (lead, band, y, x) finished, by method, of what was read.
        raw: ours before it was finished.
        uncertainty: of ``raw``; None if it is not wanted or not known.
        observed, valid: (lead, band, y, x) of the tile.
        last: (band, y, x) of what was read; see Hindcast.
        level: of the interval; 0 for none.
    """

    init: int
    inner: tuple[slice, slice]
    forecasts: dict[str, Array]
    raw: Array
    uncertainty: Uncertainty | None
    observed: Array
    valid: NDArray[np.bool_]
    last: Array
    level: float

    @cached_property
    def ends(self) -> tuple[Array, Array] | None:
        """(lead, band, y, x) of the interval."""
        if not (self.level and self.uncertainty):
            return None
        return self.uncertainty.interval(self.raw, self.level)

    def at(self, lead: int, likely: int = 0) -> Hindcast:
        """One lead, from 1, with so many equally likely values."""
        part = (slice(None), *self.inner)
        at = (lead - 1, *part)
        lower, upper = (end[at] for end in self.ends) if self.ends else (None, None)
        values = None
        if likely and self.uncertainty:
            around = self.uncertainty.within(self.inner)
            values = around.equally_likely(self.raw[at], lead - 1, likely)
        return Hindcast(
            step=self.init + lead,
            lead=lead,
            forecasts={name: made[at] for name, made in self.forecasts.items()},
            observed=self.observed[lead - 1],
            valid=self.valid[lead - 1],
            lower=lower,
            upper=upper,
            last=self.last[part],
            likely=values,
        )


@dataclass(frozen=True)
class Forecast:
    """Forecasts of one tile, (lead, band, y, x) float32 in band units.

    Attributes:
        values: NaN where no step was ever valid.
        lower, upper: ends of the interval; None if none was asked for or the run has none.
        made: the values before their bias was taken out and they were held within bounds.
        uncertainty: what is known of the errors of ``made``; None if the run knows nothing.
        chosen: (lead, band, y, x) the map that probabilities make, see kinds.decided; or None.
    """

    values: Array
    made: Array
    lower: Array | None = None
    upper: Array | None = None
    uncertainty: Uncertainty | None = None
    chosen: NDArray[np.int16] | None = None


def compared(
    hindcasts: Callable[[Tile], Iterator[Hindcast]], tiles: Sequence[Tile], steps: range
) -> Iterator[Pairs]:
    """Forecasts and what came, pixel by pixel, for forecast.bias.

    Args:
        hindcasts: of a tile.
        tiles: where, apart from each other.
        steps: that are hindcast.
    """
    pixels = sum(tile.shape[0] * tile.shape[1] for tile in tiles)
    stride = lattice_stride(pixels, len(steps))
    for tile in tiles:
        # A lattice that is fixed to the raster.
        kept = tuple(slice(-first % stride, None, stride) for first in (tile.row0, tile.col0))
        for one in hindcasts(tile):
            for band, observed in enumerate(one.observed):
                made = one.forecasts[FORECAST][band][kept]
                known = one.valid[band][kept] & np.isfinite(made)
                yield one.step, one.lead - 1, band, made[known], observed[kept][known]
