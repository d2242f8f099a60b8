"""Reading what a correction sees besides its bands: of a tile, at any init step and leads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from geoforecast.errors import InputError, RunError
from geoforecast.forecast.drivers import GROUP, Drivers, driven
from geoforecast.forecast.series import Series, to_days
from geoforecast.forecast.steps import StepReader
from geoforecast.raster.cube import Cube, open_cube
from geoforecast.raster.grid import Tile
from geoforecast.raster.layers import read_static, static_units
from geoforecast.raster.view import hidden_alike, shown
from geoforecast.samples.context import Array, Group, Surroundings


@dataclass(frozen=True)
class ContextSource:
    """A cube that holds all that a context names; make one with open_context.

    Attributes:
        series: whose cube has static layers and drivers beside it.
        drivers: how its steps see them; None if none are seen.
    """

    series: Series
    drivers: Drivers | None

    def tile(self, tile: Tile) -> TileContext:
        """The context of a rectangle."""
        return TileContext(self, tile)

    def ends_before(self, init_step: int, times: NDArray[np.datetime64]) -> str:
        """The first of some valid times after a step that no driver reaches; "" if all are.

        Args:
            init_step: the step that the first lead follows.
            times: (lead,) valid times.
        """
        if self.drivers is None:
            return ""
        days = [float(self.series.days[init_step]), *to_days(times).tolist()]
        for (previous, day), time in zip(pairwise(days), times, strict=True):
            if not self.drivers.reaches(previous, day):
                return str(time)
        return ""

    def check_drivers(self, init_step: int, times: NDArray[np.datetime64]) -> None:
        """Refuse to forecast beyond the end of the drivers; see ends_before().

        Raises:
            InputError: they end before the horizon.
        """
        needed = self.ends_before(init_step, times)
        if needed and self.drivers is not None:
            names = ", ".join(self.drivers.group.names)
            raise InputError(
                f"The drivers ({names}) end at {self.drivers.cube.times[-1]}; the forecast "
                f"needs them up to {times[-1]}.",
                where=f"the first valid time without them: {needed}",
                remedy="Stack longer drivers, forecast fewer --steps, or train a run with "
                "--no-drivers.",
            )


class TileContext:
    """The context of one tile; what a window shares with the one before is not read again.

    Args:
        source: what to read.
        tile: the rectangle.
    """

    def __init__(self, source: ContextSource, tile: Tile) -> None:
        self._source = source
        self._static_CHW = _static(source, tile)
        context = source.series.context
        self._bands = _Window(context.bands, tile, self._band)
        self._band_reader = StepReader(source.series.cube, context.bands.names, tile)
        self._drivers = _Window(context.drivers, tile, self._driver)
        if source.drivers:
            names = source.drivers.group.names
            self._driver_reader = StepReader(source.drivers.cube, names, tile)

    def at(self, init: int, lookback: int, days: Sequence[float] = ()) -> Surroundings:
        """What a forecast made at a step sees: no band after it, no driver after its lead.

        Args:
            init: the last step of the series that may be read.
            lookback: steps before and including it.
            days: valid times of the leads, in days since 1970.
        """
        steps = range(init - lookback + 1, init + 1)
        series = self._source.series
        known = series.days
        before = known[steps.start - 1] if steps.start else known[0] - series.step_days
        moments = [float(before), *known[steps.start : steps.stop].tolist(), *days]
        return Surroundings(
            self._static_CHW,
            self._drivers.of(list(pairwise(moments))),
            self._bands.of([(float(step), float(step)) for step in steps]),
        )

    def _driver(self, previous: float, day: float) -> Array:
        assert self._source.drivers is not None  # a group with names has them
        return driven(self._source.drivers, self._driver_reader, previous, day)

    def _band(self, step: float, _: float) -> Array:
        values, valid = self._band_reader.read(int(step))
        scaled = self._source.series.context.bands.normaliser.apply(values)
        return np.where(valid, scaled, np.float32(np.nan))


class _Window:
    """The steps of a group that a forecast sees, as one array that is made again at each."""

    def __init__(self, group: Group, tile: Tile, read: Callable[[float, float], Array]) -> None:
        self._shape = (len(group.names), *tile.shape)
        self._read = read
        self._kept: dict[tuple[float, float], Array] = {}

    def of(self, keys: Sequence[tuple[float, float]]) -> Array:
        """(step, channel, y, x) of some steps, by what they are read with."""
        window = np.empty((len(keys), *self._shape), dtype=np.float32)
        if window.size:
            for index, key in enumerate(keys):
                window[index] = self._kept[key] if key in self._kept else self._read(*key)
            self._kept = dict(zip(keys, window, strict=True))
        return window


def _static(source: ContextSource, tile: Tile) -> Array:
    """(layer, y, x) model units, NaN where invalid."""
    group = source.series.context.static
    if not group.names:
        return np.empty((0, *tile.shape), dtype=np.float32)
    found = read_static(source.series.cube.path, tile)
    assert found is not None  # open_context has checked that they are there
    names, values, valid = found
    numbers = [names.index(name) for name in group.names]
    scaled = group.normaliser.apply(values[numbers])
    valid = shown(source.series.cube, valid, tile)
    return np.where(valid[numbers], scaled, np.float32(np.nan))


def open_drivers(cube: Cube) -> Cube | None:
    """The cube of drivers beside a series; None if it has none.

    Raises:
        CubeError: they are there but cannot be read.
    """
    place = cube.path / GROUP
    return hidden_alike(cube, open_cube(place)) if place.exists() else None


def open_context(series: Series) -> ContextSource:
    """Find in the cube of a series what its context names.

    Raises:
        RunError: the cube lacks it, or has it in another unit.
        CubeError: the drivers cannot be read.
    """
    cube, context = series.cube, series.context
    drivers = open_drivers(cube) if context.drivers.names else None
    lacking = [
        *_lacking("static layer", context.static, static_units(cube.path)),
        *_lacking("driver", context.drivers, _units(drivers)),
        *_lacking("band", context.bands, _units(cube)),
    ]
    if lacking:
        raise RunError(
            "The cube lacks what the run's correction sees.",
            where=lacking,
            remedy="Stack it again with them (--static, --drivers, --bands), or train a new run "
            "with --run NAME.",
        )
    steps = Drivers(drivers, context.drivers, series.step_days) if drivers else None
    return ContextSource(series, steps)


def _lacking(kind: str, group: Group, units: Mapping[str, str]) -> list[str]:
    lines = []
    for name, unit in zip(group.names, group.units, strict=True):
        if name not in units:
            lines.append(f"{kind} {name}: the cube has {', '.join(units) or 'none'}")
        elif units[name] != unit:
            lines.append(f"{kind} {name}: was in {unit or '1'}, is now in {units[name] or '1'}")
    return lines


def _units(cube: Cube | None) -> dict[str, str]:
    return dict(zip(cube.bands, cube.units, strict=True)) if cube else {}
