"""A cube as forecasts see it: the bands, how they are normalised, how far steps lie apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoforecast.forecast.kinds import (
    BINARY,
    CATEGORICAL,
    CONTINUOUS,
    VALUES,
    Target,
    band_names,
    indicators,
    model_units,
    shared_out,
)
from geoforecast.raster.cube import Cube
from geoforecast.raster.grid import Tile
from geoforecast.references.climatology import period_days
from geoforecast.references.motion import MotionSource
from geoforecast.samples.context import NO_CONTEXT, Context
from geoforecast.samples.normaliser import BandStatistics, Normaliser, from_meta
from geoforecast.samples.split import Split

SECONDS_A_DAY = 86400.0
# How many times farther from the median the largest value lies than 0 does. Rain rates reach
# tens, an index or a temperature that touches 0 about one.
ZERO_BASED_SKEW = 4.0
LIMIT_MARGIN = 0.1


@dataclass(frozen=True)
class Series:
    """Some bands of a cube with what is needed to forecast them.

    Attributes:
        cube: the pixels.
        bands: band names, in the order of every array; of classes, one a class.
        normaliser: of those bands.
        statistics: of those bands, on training steps.
        step_days: the nominal step.
        parameters: pooled numbers of the references; {} while they are being fitted.
        context: what a correction sees besides these bands.
        target: the kind of target.
        source: bands of the cube that they are made of; () if they are these.
    """

    cube: Cube
    bands: tuple[str, ...]
    normaliser: Normaliser
    statistics: tuple[BandStatistics, ...]
    step_days: float
    parameters: Mapping[str, Mapping[str, float]]
    context: Context = NO_CONTEXT
    target: Target = VALUES
    source: tuple[str, ...] = ()

    @property
    def cube_bands(self) -> tuple[str, ...]:
        """The bands of the cube that are forecast."""
        return self.source or self.bands

    @cached_property
    def band_numbers(self) -> list[int]:
        return [self.cube.bands.index(band) for band in self.cube_bands]

    def read(
        self, start: int, stop: int, tile: Tile
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Values, band units, and validity of steps of a tile, (step, band, y, x) each.

        A class that was not seen in the training steps counts as not observed.
        """
        values, valid = self._read(start, stop, tile)
        if self.target.kind != CATEGORICAL:
            return values, valid
        made, known = indicators(values[:, 0], valid[:, 0], self.target.classes)
        known = np.repeat(known[:, None], len(self.bands), axis=1)
        made[~known] = np.nan
        return made, known

    def observed(
        self, start: int, stop: int, tile: Tile
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """What read() says, for scoring: an unknown class is valid, and 0 in every band."""
        values, valid = self._read(start, stop, tile)
        if self.target.kind != CATEGORICAL:
            return values, valid
        made, _ = indicators(values[:, 0], valid[:, 0], self.target.classes)
        return made, np.repeat(valid, len(self.bands), axis=1)

    def _read(
        self, start: int, stop: int, tile: Tile
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        values, valid = self.cube.read(start, stop, tile)
        values, valid = values[:, self.band_numbers], valid[:, self.band_numbers]
        if self.target.kind == BINARY and values.dtype.kind != "f":  # classes of a 0 and a 1
            values = np.where(valid, values, np.float32(np.nan)).astype(np.float32)
        return values, valid

    @cached_property
    def days(self) -> NDArray[np.float64]:
        """Time of each step in days since 1970."""
        return to_days(self.cube.times)

    @cached_property
    def floor(self) -> NDArray[np.float32]:
        """(band, 1, 1) smallest possible value: 0 of counts, classes and rain, else -inf."""
        bounded = self.target.kind != CONTINUOUS
        least = [0.0 if zero or bounded else -np.inf for zero in self.zero_based]
        return np.asarray(least, dtype=np.float32)[:, None, None]

    @cached_property
    def ceiling(self) -> NDArray[np.float32]:
        """(band, 1, 1) largest possible value: 1 of probabilities, else inf."""
        most = 1.0 if self.target.is_probability else np.inf
        return np.full((len(self.bands), 1, 1), most, dtype=np.float32)

    def held(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Forecasts held within what is possible; those of classes share 1; NaN stays NaN.

        Args:
            values: (..., band, y, x) band units.
        """
        held = np.minimum(np.maximum(values, self.floor), self.ceiling)
        if self.target.kind == CATEGORICAL:
            held = shared_out(held, self.shares)
        return held

    @cached_property
    def limits(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(band, 1, 1) lowest and highest value that a mixture's member may forecast.

        The range of the training steps, and LIMIT_MARGIN of it on either side.
        """
        low = np.array([band.minimum for band in self.statistics], dtype=np.float64)
        high = np.array([band.maximum for band in self.statistics], dtype=np.float64)
        margin = LIMIT_MARGIN * (high - low)
        floor = self.floor[:, 0, 0].astype(np.float64)
        ceiling = self.ceiling[:, 0, 0].astype(np.float64)
        both = np.maximum(low - margin, floor), np.minimum(high + margin, ceiling)
        lowest, highest = (side.astype(np.float32)[:, None, None] for side in both)
        return lowest, highest

    @property
    def shares(self) -> list[float]:
        """Per band: its mean on training steps, which is the share of a class."""
        return [band.mean for band in self.statistics]

    @property
    def period_days(self) -> float:
        """Length of the cycle that the series sees."""
        return period_days(self.step_days)

    @cached_property
    def zero_based(self) -> list[bool]:
        """Per band: values pile up at 0 and go no lower, as with rain; not a passing zero."""
        if self.target.is_probability:
            return [False] * len(self.bands)
        return [
            band.minimum == 0 and band.maximum - band.median > ZERO_BASED_SKEW * band.median
            for band in self.statistics
        ]

    @cached_property
    def motions(self) -> MotionSource:
        """The motion fields of the series, estimated when asked for and kept."""
        spread = [band.std if band.std > 0 else 1.0 for band in self.statistics]
        mean = [band.mean if np.isfinite(band.mean) else 0.0 for band in self.statistics]
        pairs = zip(mean, spread, self.zero_based, strict=True)
        scale = [max(m, 1e-6) if zero else std for m, std, zero in pairs]
        return MotionSource(self.cube, self.band_numbers, mean, scale, self.zero_based)

    def with_parameters(self, parameters: Mapping[str, Mapping[str, float]]) -> Series:
        """The same series with the references' pooled numbers."""
        return replace(self, parameters=parameters)


def make_series(
    cube: Cube,
    bands: Sequence[str],
    *,
    normaliser: Mapping[str, Any] | None = None,
    step_days: float | None = None,
    parameters: Mapping[str, Mapping[str, float]] | None = None,
    context: Context = NO_CONTEXT,
    target: Target = VALUES,
) -> Series:
    """A series from a cube, or with what a checkpoint remembers of the one it was trained on.

    Args:
        cube: the pixels.
        bands: names of the bands to forecast.
        normaliser: the stored normaliser of exactly these bands, or of their classes; None
            makes it from the cube's.
        step_days: the nominal step; None takes the cube's median.
        parameters: pooled numbers of the references.
        context: what a correction sees besides these bands.
        target: the kind of target.
    """
    if normaliser is not None:
        fitted, statistics = from_meta(normaliser)
    else:
        stored = cube.meta["normaliser"]
        meta = pick_bands(stored, cube.bands, bands) if stored else None
        steps = Split.from_meta(cube.meta["split"], cube.times).train_steps
        fitted, statistics = model_units(target, cube, bands, meta, steps)
    if step_days is None:
        step_days = float(cube.meta["cadence"]["median_seconds"]) / SECONDS_A_DAY
    return Series(
        cube=cube,
        bands=band_names(target, bands),
        normaliser=fitted,
        statistics=tuple(statistics),
        step_days=step_days,
        parameters=parameters or {},
        context=context,
        target=target,
        source=tuple(bands) if target.classes else (),
    )


def conditions(cube: Cube, bands: Sequence[str]) -> dict[str, str]:
    """What a cube must share with the one a run was trained on, as text by name.

    The times, the extent and further bands may differ; CRS, pixel size, scaling, cadence
    and the units of the run's bands not.
    """
    settings = cube.meta.get("settings", {})
    decisive = {key: str(settings.get(key)) for key in ("scale", "offset", "cadence", "composite")}
    res = " x ".join(f"{side:.9g}" for side in cube.grid.res)
    unit_of = dict(zip(cube.bands, cube.units, strict=True))
    units = ", ".join(f"{band}: {unit_of[band] or '1'}" for band in bands)
    return {"CRS": cube.grid.wkt, "pixel size": res, "units": units, **decisive}


def pick_bands(
    meta: Mapping[str, Any], names: Sequence[str], bands: Sequence[str]
) -> dict[str, Any]:
    """The stored normaliser of all bands, cut down to some of them, in their order."""
    numbers = [names.index(band) for band in bands]
    cut = {key: [meta[key][number] for number in numbers] for key in ("centre", "scale")}
    return {**meta, **cut, "statistics": [meta["statistics"][number] for number in numbers]}


def to_days(times: NDArray[np.datetime64]) -> NDArray[np.float64]:
    """datetime64 as days since 1970."""
    return times.astype("datetime64[s]").astype(np.int64) / SECONDS_A_DAY


def future_times(times: NDArray[np.datetime64], steps: int) -> NDArray[np.datetime64]:
    """The times that follow the last one, at the series' own rhythm.

    Months and years are counted on the calendar where all steps are whole months on the
    same day, or all on the last one; otherwise the median step is added, to whole days
    where it exceeds one.

    Args:
        times: (time,) datetime64[s], ascending, two at least.
        steps: how many.
    """
    times = times.astype("datetime64[s]")
    months = times.astype("datetime64[M]")
    gaps = np.diff(months.astype(np.int64))
    later: NDArray[Any] = months[-1] + int(np.median(gaps)) * np.arange(1, steps + 1)
    # Counted from either end of the month: 31 January is followed by 28 February.
    for shift, least in ((1, -86400), (0, 0)):
        within = (times - (months + shift).astype("datetime64[s]")).astype(np.int64)
        if len(set(within.tolist())) == 1 and within[0] >= least and gaps.min() >= 1:
            starts = (later + shift).astype("datetime64[s]")
            return np.asarray(starts + within[-1].astype("timedelta64[s]"))
    step = int(np.median(np.diff(times).astype(np.int64)))
    if step > SECONDS_A_DAY:
        # Satellites pass some seconds earlier or later; their rhythm is one of days.
        step = round(step / SECONDS_A_DAY) * int(SECONDS_A_DAY)
    return np.asarray(times[-1] + (step * np.arange(1, steps + 1)).astype("timedelta64[s]"))
