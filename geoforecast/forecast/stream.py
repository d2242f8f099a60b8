"""One tile, step by step: the references and the lookback that are known at each moment.

Nothing here can see a later step, so a forecast made after ``advance_to(init)`` is causal
by construction, in training, hindcast and forecast alike.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoforecast.forecast.series import Series
from geoforecast.raster.cube import CHUNK_STEPS
from geoforecast.raster.grid import Tile
from geoforecast.references import Reference, Setting, reference_classes
from geoforecast.samples.features import Array, Lookback


@dataclass(frozen=True)
class Step:
    """What a tile showed at one step; see features.Lookback for the fields."""

    values_BHW: Array
    valid_BHW: NDArray[np.bool_]
    age_BHW: Array
    residual_BHW: Array
    day: float


class TileStream:
    """Feeds a tile's steps to references, and remembers the lookback.

    Args:
        series: what to read.
        tile: the rectangle, halo included.
        names: references to run; the first one is the base whose residuals are kept.
        lookback: steps to remember.
        expect_from: first step whose residual will be asked for. Earlier ones stay 0 and
            cost nothing, so every stream that must agree uses init - lookback + 1 or less.
    """

    def __init__(
        self,
        series: Series,
        tile: Tile,
        names: Sequence[str],
        *,
        lookback: int,
        expect_from: int = 0,
    ) -> None:
        self.series = series
        self.tile = tile
        self.step = -1
        classes = reference_classes(series.step_days)
        shape = (len(series.bands), *tile.shape)
        setting = Setting(shape, (tile.row0, tile.col0), series.step_days, series.parameters)
        self.references: dict[str, Reference] = {name: classes[name](setting) for name in names}
        self.base = names[0]
        self.lookback: deque[Step] = deque(maxlen=lookback)
        self._expect_from = expect_from
        self._expected: Array | None = None
        self._last = np.full(shape, np.nan, dtype=np.float32)
        self._age = np.zeros(shape, dtype=np.float32)
        self._block: tuple[int, Array, NDArray[np.bool_]] | None = None

    def advance_to(self, step: int) -> None:
        """Take in all steps up to and including one."""
        while self.step < step:
            self.advance()

    def advance(self) -> tuple[Array, NDArray[np.bool_]]:
        """Take in the next step.

        Returns:
            Its values and validity, (band, y, x), band units.
        """
        self.step += 1
        values, valid = self._read(self.step)
        day = float(self.series.days[self.step])
        scaled = self.series.normaliser.apply(values)
        np.copyto(self._last, scaled, where=valid)
        self._age = np.where(valid, np.float32(0), self._age + np.float32(1))
        residual = np.zeros_like(self._last)
        if self._expected is not None:
            np.copyto(residual, scaled - self._expected, where=valid & np.isfinite(self._expected))
        filled = np.where(np.isnan(self._last), np.float32(0), self._last)
        self.lookback.append(Step(filled, valid, self._age, residual, day))
        for reference in self.references.values():
            reference.update(values, valid, day)
        following = self.step + 1
        self._expected = None
        if self._expect_from <= following < len(self.series.days):
            next_day = [float(self.series.days[following])]
            base = self.forecasts(next_day, [self.base])[self.base]
            self._expected = self.series.normaliser.apply(base[0])
        return values, valid

    def forecasts(
        self, days: Sequence[float], names: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Reference forecasts made after the last step taken in.

        Args:
            days: the valid times, consecutive leads from the first on.
            names: which references; default all.
        Returns:
            (lead, band, y, x) in band units by name, held at the band's physical floor.
        """
        result = {}
        for name in names or self.references:
            reference = self.references[name]
            motion = self.series.motions.at(self.step) if reference.needs_motion else None
            forecast = reference.forecast(days, motion)
            result[name] = np.maximum(forecast, self.series.floor)  # NaN stays NaN
        return result

    def seen(self, area: Tile | None = None) -> Lookback:
        """The lookback steps, stacked, of a rectangle inside the tile or of all of it."""
        steps = list(self.lookback)
        part = (slice(None), *(area or self.tile).within(self.tile))
        return Lookback(
            np.stack([step.values_BHW[part] for step in steps]),
            np.stack([step.valid_BHW[part] for step in steps]),
            np.stack([step.age_BHW[part] for step in steps]),
            np.stack([step.residual_BHW[part] for step in steps]),
            [step.day for step in steps],
        )

    def _read(self, step: int) -> tuple[Array, NDArray[np.bool_]]:
        # Whole chunks of steps at once: each chunk is decoded once a tile.
        start = step - step % CHUNK_STEPS
        if self._block is None or self._block[0] != start:
            stop = min(start + CHUNK_STEPS, len(self.series.days))
            values, valid = self.series.cube.read(start, stop, self.tile)
            numbers = self.series.band_numbers
            self._block = (start, values[:, numbers], valid[:, numbers])
        _, values, valid = self._block
        return values[step - start], valid[step - start]


def add_evidence(total: dict[str, dict[str, float]], stream: TileStream) -> None:
    """Add a tile's evidence for the references' pooled numbers to the sums of others."""
    for name, reference in stream.references.items():
        sums = total.setdefault(name, {})
        for key, value in reference.evidence().items():
            sums[key] = sums.get(key, 0.0) + value


def fitted_parameters(
    evidence: Mapping[str, Mapping[str, float]], step_days: float
) -> dict[str, dict[str, float]]:
    """Pooled numbers of every reference that has any."""
    classes = reference_classes(step_days)
    return {
        name: numbers for name, sums in evidence.items() if (numbers := classes[name].fit(sums))
    }
