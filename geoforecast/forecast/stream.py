"""One tile, step by step: the references and the lookback that are known at each moment.

Nothing here can see a later step, so a forecast made after ``advance_to(init)`` is causal
by construction, in training, hindcast and forecast alike.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoforecast.forecast.kinds import CATEGORICAL
from geoforecast.forecast.mixing import Members, Mixer, is_moving, member_references
from geoforecast.forecast.series import Series
from geoforecast.raster.cube import CHUNK_STEPS
from geoforecast.raster.grid import Tile
from geoforecast.references import Reference, Samples, Setting, feed, reference_classes
from geoforecast.references.mixture import MIXTURE, Knowledge
from geoforecast.references.motion import Motion
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
        base: the forecast whose residuals are kept: a reference or the mixture.
        names: further references to run.
        lookback: steps to remember.
        expect_from: first step whose residual will be asked for. Earlier ones stay 0 and
            cost nothing, so every stream that must agree uses init - lookback + 1 or less.
        knowledge: what mixtures are made with, by init step; needed if they are.

    Attributes:
        step: the last one taken in; -1 before the first.
        disagreement: (lead, band, y, x) of the members of the last mixture that forecasts()
            made; None before.
    """

    def __init__(
        self,
        series: Series,
        tile: Tile,
        base: str,
        names: Sequence[str] = (),
        *,
        lookback: int,
        expect_from: int = 0,
        knowledge: Callable[[int], Knowledge] | None = None,
    ) -> None:
        self.series, self.tile, self.base = series, tile, base
        self.step = -1
        classes = reference_classes(series.step_days, series.target.kind)
        shape = (len(series.bands), *tile.shape)
        self._setting = Setting(
            shape,
            (tile.row0, tile.col0),
            series.step_days,
            series.parameters,
            series.target.kind,
        )
        wanted = member_references(series) if MIXTURE in (base, *names) else ()
        kept = dict.fromkeys([*wanted, *(name for name in (base, *names) if name != MIXTURE)])
        self.references: dict[str, Reference] = {n: classes[n](self._setting) for n in kept}
        self._mixer = Mixer(series, self._setting) if wanted else None
        self._knowledge = knowledge
        self.lookback: deque[Step] = deque(maxlen=lookback)
        self._expect_from = expect_from
        self._expected: Array | None = None
        self.disagreement: Array | None = None
        self._last = np.full(shape, np.nan, dtype=np.float32)
        self._age = np.zeros(shape, dtype=np.float32)
        self._blocks: dict[int, tuple[Array, NDArray[np.bool_]]] = {}

    def advance_to(self, step: int) -> None:
        """Take in all steps up to and including one."""
        while self.step < step:
            self.advance()

    def advance(self) -> tuple[Array, NDArray[np.bool_]]:
        """Take in the next step.

        Returns:
            Its values and validity, (band, y, x), band units.
        """
        following = self.step + 1
        if self._expected is None and following >= max(1, self._expect_from):
            self.forecasts([float(self.series.days[following])], [self.base])
        expected, self._expected = self._expected, None
        self.step = following
        values, valid = self.observed(self.step)
        day = float(self.series.days[self.step])
        scaled = self.series.normaliser.apply(values)
        np.copyto(self._last, scaled, where=valid)
        self._age = np.where(valid, np.float32(0), self._age + np.float32(1))
        residual = np.zeros_like(self._last)
        if expected is not None:
            np.copyto(residual, scaled - expected, where=valid & np.isfinite(expected))
        filled = np.where(np.isnan(self._last), np.float32(0), self._last)
        self.lookback.append(Step(filled, valid, self._age, residual, day))
        feed(self.references.values(), self._setting, values, valid, day)
        return values, valid

    def forecasts(
        self, days: Sequence[float], names: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Reference forecasts made after the last step taken in.

        Args:
            days: the valid times, consecutive leads from the first on.
            names: which references; default all, and the mixture if it is made.
        Returns:
            (lead, band, y, x) in band units by name, held at the band's physical floor.
        """
        if names is None:
            names = [*self.references, *([MIXTURE] if self._mixer else [])]
        simple = self.simple(days, self.references if MIXTURE in names else names)
        result = {name: simple[name] for name in names if name != MIXTURE}
        if MIXTURE in names:
            mixed = [self.mixed(members) for members in self.members(days, simple)]
            result[MIXTURE] = np.stack([mean for mean, _ in mixed])
            self.disagreement = np.stack([deviation for _, deviation in mixed])
        self._expect(days, result)
        return result

    def simple(self, days: Sequence[float], names: Iterable[str] | None = None) -> dict[str, Array]:
        """Forecasts of some references, or all, and never of the mixture; see forecasts()."""
        result = {}
        for name in self.references if names is None else names:
            if name == MIXTURE:
                continue
            reference = self.references[name]
            motion = self._motion() if reference.needs_motion else None
            forecast = reference.forecast(days, motion)
            result[name] = self.series.held(forecast)
        return result

    def members(
        self, days: Sequence[float], simple: Mapping[str, Array] | None = None
    ) -> Iterator[Members]:
        """All that is mixed, lead by lead.

        Args:
            days: the valid times.
            simple: the references' forecasts for them, if they have been made.
        """
        assert self._mixer is not None  # who asks has named the mixture
        simple = simple or self.simple(days)
        return self._mixer.members(simple, days, self._motion(), self._known())

    def mixed(self, members: Members) -> tuple[Array, Array]:
        """(band, y, x) the mixture of the members of one lead, and their disagreement."""
        assert self._mixer is not None
        mean, deviation = self._mixer.mixed(members, self._known())
        return self.series.held(mean), deviation

    def expect(self, days: Sequence[float], forecast: Array) -> None:
        """Let a forecast of the base, made just now, be what the next step is compared with."""
        self._expect(days, {self.base: forecast})

    def observed(self, step: int) -> tuple[Array, NDArray[np.bool_]]:
        """Values and validity of a step, (band, y, x): the next one to take in, or a later."""
        # Whole chunks of steps at once: each chunk is decoded once a tile.
        start = step - step % CHUNK_STEPS
        if start not in self._blocks:
            stop = min(start + CHUNK_STEPS, len(self.series.days))
            self._blocks[start] = self.series.read(start, stop, self.tile)
            for old in [key for key in self._blocks if key + CHUNK_STEPS <= self.step]:
                del self._blocks[old]
        values, valid = self._blocks[start]
        return values[step - start], valid[step - start]

    def came(self, start: int, stop: int, part: Tile) -> tuple[Array, NDArray[np.bool_]]:
        """What Series.observed says of steps ``[start, stop)`` of a part of the tile.

        Args:
            start, stop: from the next step to take in on.
            part: lies inside the tile.
        Returns:
            values, band units, and validity; (step, band, y, x) each.
        """
        if self.series.target.kind == CATEGORICAL:  # there an unknown class is no gap
            return self.series.observed(start, stop, part)
        inside = (slice(None), *part.within(self.tile))
        found = [self.observed(step) for step in range(start, stop)]
        values, valid = zip(*found, strict=True)
        return np.stack([one[inside] for one in values]), np.stack([one[inside] for one in valid])

    def _expect(self, days: Sequence[float], made: Mapping[str, Array]) -> None:
        following = self.step + 1
        if (
            self.base in made
            and self._expect_from <= following < len(self.series.days)
            and days[0] == float(self.series.days[following])
        ):
            self._expected = self.series.normaliser.apply(made[self.base][0])

    def _motion(self) -> Motion | None:
        return self.series.motions.at(self.step) if is_moving(self.series) else None

    def _known(self) -> Knowledge:
        assert self._knowledge is not None  # who names the mixture brings it
        return self._knowledge(self.step)

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


def add_evidence(total: dict[str, dict[str, float]], stream: TileStream) -> None:
    """Add a tile's evidence for the references' pooled numbers to the sums of others."""
    for name, reference in stream.references.items():
        sums = total.setdefault(name, {})
        for key, value in reference.evidence().items():
            sums[key] = sums.get(key, 0.0) + value


def fitted_parameters(
    evidence: Mapping[str, Mapping[str, float]], samples: Mapping[str, Sequence[Samples]]
) -> dict[str, dict[str, float]]:
    """Pooled numbers of every reference that has any, from sums and from samples."""
    classes = reference_classes()
    fitted = {
        name: {**classes[name].fit(sums), **classes[name].fit_samples(samples.get(name, ()))}
        for name, sums in evidence.items()
    }
    return {name: numbers for name, numbers in fitted.items() if numbers}
