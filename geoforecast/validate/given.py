"""Forecasts that were handed in as rasters, whoever made them, beside what came.

Both were stacked into cubes on one grid. When a forecast was made is not known, so it is judged
beside simple forecasts made one scene before: the best case for them, the hardest for it.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoforecast.forecast.outcome import FORECAST, Hindcast
from geoforecast.forecast.series import Series
from geoforecast.forecast.stream import TileStream
from geoforecast.raster.cube import CHUNK_STEPS, Cube
from geoforecast.raster.grid import Tile
from geoforecast.references import reference_classes
from geoforecast.samples.normaliser import BandStatistics
from geoforecast.samples.split import Split

log = logging.getLogger(__name__)

# Simple forecasts without numbers that are fitted in a training; the first is the yardstick.
PLAIN = ("persistence", "climatology", "mean", "trend", "advection")
ALONE_SECONDS = 43_200  # how far apart two times may be that are to be one, where there is but one
MOST_NAMED = 5


@dataclass(frozen=True)
class Given:
    """A source of forecasts that were handed in; see source.Source for what it tells.

    Attributes:
        series: what came.
        forecasts: what was handed in, on the same grid.
        pairs: step of ``forecasts`` by the step of the series that it forecasts.
    """

    series: Series
    forecasts: Cube
    pairs: dict[int, int]

    horizon = 1
    reference = ""
    blend: tuple[float, ...] = ()
    has_intervals = False
    has_probabilities = False
    decision: tuple[tuple[float, ...], ...] = ()

    @property
    def cube(self) -> Cube:
        return self.series.cube

    @property
    def split(self) -> Split:
        first, last = min(self.pairs), max(self.pairs)
        return Split(first, first, last + 1)

    @property
    def band_names(self) -> tuple[str, ...]:
        return self.series.bands

    @property
    def units(self) -> tuple[str, ...]:
        return tuple(self.cube.units[number] for number in self.series.band_numbers)

    @property
    def statistics(self) -> list[BandStatistics]:
        return list(self.series.statistics)

    @cached_property
    def references(self) -> tuple[str, ...]:
        known = reference_classes(self.series.step_days, self.series.target.kind)
        return tuple(name for name in PLAIN if name in known)

    @property
    def methods(self) -> tuple[str, ...]:
        return (FORECAST, *self.references)

    @property
    def yardstick(self) -> str:
        return PLAIN[0]

    @property
    def fingerprint(self) -> str:
        both = f"{self.cube.meta['fingerprint']} {self.forecasts.meta['fingerprint']}"
        return hashlib.sha256(both.encode()).hexdigest()

    @cached_property
    def _forecast_bands(self) -> list[int]:
        return band_numbers(self.forecasts, self.series.cube_bands)

    def hindcasts(
        self, tile: Tile, steps: range, level: float = 0.0, *, likely: int = 0
    ) -> Iterator[Hindcast]:
        """Each forecast of some steps, and simple forecasts made one step before.

        Args:
            tile: the pixels wanted.
            steps: of the series.
            level, likely: of intervals, which these forecasts do not have.
        Yields:
            One Hindcast a step that was forecast, at lead 1.
        """
        del level, likely
        outer = tile.expanded(self._halo_px(steps), self.cube.grid.shape)
        inner = (slice(None), *tile.within(outer))
        stream = TileStream(
            self.series,
            outer,
            PLAIN[0],
            self.references,
            lookback=1,
            expect_from=len(self.series.days),  # no residual is ever asked for
        )
        handed_in = _Steps(self.forecasts, tile)
        nothing = np.full((len(self.band_names), *tile.shape), np.nan, dtype=np.float32)
        for step in (one for one in steps if one in self.pairs):
            made = dict.fromkeys(self.references, nothing)
            if step:
                stream.advance_to(step - 1)
                days = [float(self.series.days[step])]
                simple = stream.forecasts(days, self.references)
                made = {name: values[0][inner] for name, values in simple.items()}
            values = self._handed_in(*handed_in.at(self.pairs[step]))
            observed, valid = stream.came(step, step + 1, tile)
            forecasts = {FORECAST: values, **made}
            yield Hindcast(step, 1, forecasts, observed[0], valid[0])

    def _handed_in(self, values: NDArray[Any], known: NDArray[np.bool_]) -> NDArray[np.float32]:
        """(band, y, x) of a step of the forecasts, NaN where there is none.

        Args:
            values, known: (band, y, x) of that step.
        """
        values, known = values[self._forecast_bands], known[self._forecast_bands]
        return np.where(known, values, np.nan).astype(np.float32)

    def _halo_px(self, steps: range) -> int:
        """Pixels around a tile that simple forecasts of it look at."""
        known = reference_classes(self.series.step_days, self.series.target.kind)
        classes = [known[name] for name in self.references]
        halo = max((one.reach_px for one in classes), default=0)
        inits = [step - 1 for step in steps if step in self.pairs and step]
        if inits and any(one.needs_motion for one in classes):
            halo += math.ceil(max(self.series.motions.at(init).largest_px for init in inits)) + 2
        return halo


class _Steps:
    """Steps of a tile of a cube in the order of time; each chunk is decoded once."""

    def __init__(self, cube: Cube, tile: Tile) -> None:
        self._cube, self._tile = cube, tile
        self._start = -CHUNK_STEPS
        self._block: tuple[NDArray[Any], NDArray[np.bool_]] | None = None

    def at(self, step: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """(band, y, x) values and validity."""
        start = step - step % CHUNK_STEPS
        if self._block is None or start != self._start:
            self._block = None  # not both at once
            stop = min(start + CHUNK_STEPS, len(self._cube.times))
            self._start, self._block = start, self._cube.read(start, stop, self._tile)
        values, valid = self._block
        return values[step - start], valid[step - start]


def pair_times(
    forecasts: NDArray[np.datetime64], observed: NDArray[np.datetime64]
) -> dict[int, int]:
    """Step of the forecasts by the step of the observed that it is of.

    The nearest one, if it is no further away than half the least time between two observed
    ones (half a day if there is but one). Of two forecasts of one time the nearer counts.

    Args:
        forecasts, observed: (step,) ascending.
    """
    found: dict[int, tuple[int, int]] = {}
    for number, step in enumerate(nearest_steps(forecasts, observed)):
        if step >= 0:
            apart = abs(
                int((forecasts[number] - observed[step]).astype("timedelta64[s]").astype(int))
            )
            found[step] = min(found.get(step, (apart, number)), (apart, number))
    return {step: number for step, (_, number) in sorted(found.items())}


def nearest_steps(forecasts: NDArray[np.datetime64], observed: NDArray[np.datetime64]) -> list[int]:
    """The observed step that each forecast is of, or -1; see pair_times."""
    seconds = [times.astype("datetime64[s]").astype(np.int64) for times in (forecasts, observed)]
    gaps = np.diff(seconds[1])
    reach = int(gaps.min()) // 2 if gaps.size else ALONE_SECONDS
    apart = np.abs(seconds[0][:, None] - seconds[1])
    nearest = apart.argmin(axis=1)
    steps: list[int] = np.where(apart.min(axis=1) <= reach, nearest, -1).tolist()
    return steps


def band_numbers(forecasts: Cube, bands: Sequence[str]) -> list[int]:
    """Which bands of the forecasts are these; a single one needs no common name."""
    if set(bands) <= set(forecasts.bands):
        return [forecasts.bands.index(band) for band in bands]
    return [0]
