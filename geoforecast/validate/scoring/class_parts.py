"""Maps of classes beside what came, and their sums by part of the raster and of time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoforecast.forecast.outcome import FORECAST
from geoforecast.raster.grid import Tile
from geoforecast.validate.metrics.classes import PooledClasses
from geoforecast.validate.metrics.hotspots import NOT_SCORED
from geoforecast.validate.scoring.partings import Labels, Parting, Partings, season_parts

# What became of a pixel since it was last seen; the same codes are in the outcome maps.
STAYED, HIT, WRONG, MISSED, FALSE = range(5)
OUTCOMES = ("right, unchanged", "change hit", "change to a wrong class", "missed", "false alarm")


@dataclass(frozen=True)
class Outcome:
    """One band of one hindcast of a tile, to show; (y, x) each.

    Attributes:
        outcome: what became of each pixel, as an index of OUTCOMES; NOT_SCORED where it is not
            scored, or was never seen before.
        observed, forecast: numbers of the classes; NaN where they are not scored.
    """

    outcome: NDArray[np.uint8]
    observed: NDArray[np.float32]
    forecast: NDArray[np.float32]

    @property
    def layers(self) -> tuple[NDArray[np.float32], ...]:
        """Observed, forecast and outcome, NaN where there is none."""
        known = np.where(self.outcome == NOT_SCORED, np.float32(np.nan), self.outcome)
        return self.observed, self.forecast, known.astype(np.float32)


@dataclass(frozen=True)
class Judged:
    """One hindcast as maps, (band, y, x); one band for all classes together.

    Attributes:
        observed: number of the class that came; the number of classes if it is unknown.
        last: number of the class seen last, -1 if there is none.
        chosen: number of the class in each method's map, by method.
        brier: squared difference of the probabilities from what came, by method.
        scored: observed, and forecast by every method.
        seen: observed.
        usable: where a method has a value, by method.
    """

    observed: NDArray[np.int64]
    last: NDArray[np.int64]
    chosen: dict[str, NDArray[np.int16]]
    brier: dict[str, NDArray[np.float32]]
    scored: NDArray[np.bool_]
    seen: NDArray[np.bool_]
    usable: dict[str, NDArray[np.bool_]]

    def outcome(self, method: str) -> NDArray[np.int64]:
        """What became of each pixel, as an index of OUTCOMES."""
        chosen = self.chosen[method]
        came, said = self.observed != self.last, chosen != self.last
        right = chosen == self.observed
        result = np.where(came, np.where(said, np.where(right, HIT, WRONG), MISSED), STAYED)
        return np.where(~came & said, FALSE, result)

    def shown(self, band: int) -> Outcome:
        """What maps show of the forecast."""
        scored, nothing = self.scored[band], np.float32(np.nan)
        known = scored & (self.last[band] >= 0)
        classes = (self.observed[band], self.chosen[FORECAST][band])
        return Outcome(
            np.where(known, self.outcome(FORECAST)[band], NOT_SCORED).astype(np.uint8),
            *(np.where(scored, one, nothing).astype(np.float32) for one in classes),
        )


@dataclass(frozen=True)
class Way:
    """One way to divide pixels and steps: by where they lie, or by their season.

    Attributes:
        parting: of pixels; None divides steps.
        titles: of the parts.
        by_step: (step,) number of the part; () where pixels are divided.
    """

    parting: Parting | None
    titles: tuple[str, ...]
    by_step: tuple[int, ...] = ()

    def at(self, tile: Tile) -> Labels | None:
        """Labels of a tile's pixels; None where steps are divided."""
        return self.parting.at(tile) if self.parting else None

    def of_step(self, labels: Labels | None, step: int) -> Labels | int:
        """Labels of a test step (from 0), whose pixels may all have one."""
        return self.by_step[step] if labels is None else labels


def ways_of(
    partings: Partings, steps: Sequence[int], times: NDArray[np.datetime64]
) -> tuple[Way, ...]:
    """All ways to divide pixels and steps of classes.

    Args:
        partings: of pixels, without ranges.
        steps: the test steps.
        times: of the cube's steps.
    """
    ways = [Way(parting, parting.titles) for parting in partings.fixed]
    for title, block in partings.blocks:
        ways.append(Way(None, (title,), tuple(0 if step in block else -1 for step in steps)))
    titles, by_step = season_parts(steps, times)
    if titles:
        ways.append(Way(None, titles, by_step))
    return tuple(ways)


@dataclass(frozen=True)
class ClassParts:
    """Sums of the parts of one way to divide pixels; see ClassScores for what they are.

    Attributes:
        titles: of the parts.
        n: (lead, band, part).
        brier: (lead, method, band, part).
        tables: (lead, method, band, part, class + 1, class).
        changes: (lead, method, band, part, 4).
    """

    titles: tuple[str, ...]
    n: NDArray[np.int64]
    brier: NDArray[np.float64]
    tables: NDArray[np.int64]
    changes: NDArray[np.int64]

    @classmethod
    def empty(cls, titles: tuple[str, ...], shape: tuple[int, int, int], size: int) -> ClassParts:
        """Nothing yet; ``shape`` is (lead, method, band), ``size`` the number of classes."""
        layers, count = (*shape, len(titles)), len(titles)
        return cls(
            titles,
            np.zeros((shape[0], shape[2], count), np.int64),
            np.zeros(layers),
            np.zeros((*layers, size + 1, size), np.int64),
            np.zeros((*layers, 4), np.int64),
        )

    def add(self, other: ClassParts) -> None:
        """Another part of the raster."""
        for name in ("n", "brier", "tables", "changes"):
            whole = getattr(self, name)
            whole += getattr(other, name)

    def see(self, lead: int, judged: Judged, methods: Sequence[str], labels: Labels | int) -> None:
        """One hindcast.

        Args:
            lead: from 0.
            judged: its maps.
            methods: in the order of the sums.
            labels: (y, x) of its pixels, or of all of them.
        """
        count, size = len(self.titles), self.tables.shape[-1]
        for band, scored in enumerate(judged.scored):
            own = scored & (np.asarray(labels) >= 0)
            part = np.broadcast_to(labels, scored.shape)[own].astype(np.int64)
            self.n[lead, band] += np.bincount(part, minlength=count)
            observed, known = judged.observed[band][own], judged.last[band][own] >= 0
            for number, method in enumerate(methods):
                at = (lead, number, band)
                self.brier[at] += np.bincount(part, judged.brier[method][band][own], count)
                cell = (part * (size + 1) + observed) * size + judged.chosen[method][band][own]
                flat = np.bincount(cell, minlength=count * (size + 1) * size)
                self.tables[at] += flat.reshape(count, size + 1, size)
                became = part[known] * 5 + judged.outcome(method)[band][own][known]
                counts = np.bincount(became, minlength=count * 5).reshape(count, 5)
                self.changes[at] += counts[:, HIT:]

    def pooled(
        self, method: int, band: int, lead: int, part: int, *, probable: bool
    ) -> PooledClasses:
        """Sums of one part; numbers of all but the lead, which counts from 1."""
        at: Any = (lead - 1, method, band, part)
        return PooledClasses(
            int(self.n[lead - 1, band, part]),
            float(self.brier[at]) if probable else math.nan,
            self.tables[at],
            self.changes[at],
        )
