"""From hindcasts of probabilities to sums: one pass over the raster, tile by tile."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoforecast.forecast.engine import Engine
from geoforecast.forecast.kinds import BINARY, CATEGORICAL, decided, plain_rule
from geoforecast.forecast.outcome import FORECAST, OURS, Hindcast
from geoforecast.validate.folds import Folded
from geoforecast.validate.metrics.classes import CHANCES, PooledClasses, count_chances
from geoforecast.validate.scoring.frames import FramePlan, Frames
from geoforecast.validate.scoring.scores import without_values

# What became of a pixel since it was last seen; the same codes are in the outcome maps.
STAYED, HIT, WRONG, MISSED, FALSE = range(5)
OUTCOMES = ("right, unchanged", "change hit", "change to a wrong class", "missed", "false alarm")


@dataclass(frozen=True)
class ClassScores:
    """All sums over the raster; the same questions as accumulate.Scores answers.

    Attributes:
        kind: binary or categorical.
        methods: what was scored, ``forecast`` first, on the same pixels.
        bands: names of the predicted bands; of classes the one that they are of.
        classes: codes of the table's rows, without the last one.
        steps: the test steps.
        pixels: pixels of one frame, valid or not.
        brier: (step, lead, method, band) sums.
        n: (step, lead, band) scored pixels.
        tables: (lead, method, band, class + 1, class), see PooledClasses.
        changes: (lead, method, band, 4).
        chances: (lead, method, band, 2, CHANCES), see PooledClasses.
        seen: (lead, band) observed pixels.
        usable: (lead, band, method) of those, where the method has a value.
    """

    kind: str
    methods: tuple[str, ...]
    bands: tuple[str, ...]
    classes: tuple[int, ...]
    steps: range
    pixels: int
    brier: NDArray[np.float64]
    n: NDArray[np.int64]
    tables: NDArray[np.int64]
    changes: NDArray[np.int64]
    chances: NDArray[np.int64]
    seen: NDArray[np.int64]
    usable: NDArray[np.int64]
    interval: float = 0.0

    @property
    def leads(self) -> range:
        return range(1, self.brier.shape[1] + 1)

    @property
    def counts(self) -> NDArray[np.int64]:
        """(step, lead, band) scored pixels, the same for every method."""
        return self.n

    def pooled(self, method: str, band: int, lead: int) -> PooledClasses:
        """Sums over all test steps of one method, band (index) and lead (from 1)."""
        number = self.methods.index(method)
        return PooledClasses(
            int(self.n[:, lead - 1, band].sum()),
            math.fsum(self.brier[:, lead - 1, number, band]),
            self.tables[lead - 1, number, band],
            self.changes[lead - 1, number, band],
            self.chances[lead - 1, number, band],
        )

    def step_errors(
        self, method: str, band: int, lead: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Sums of Brier scores of each scored test step, and pixels."""
        counts = self.n[:, lead - 1, band]
        sums = self.brier[:, lead - 1, self.methods.index(method), band]
        return sums[counts > 0], counts[counts > 0].astype(np.float64)

    def without_values(self) -> dict[str, str]:
        """References that have no value at all for some band and lead that was observed."""
        return without_values(self.methods, self.bands, self.seen, self.usable)


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


def judge(engine: Engine | Folded, hindcast: Hindcast, methods: Sequence[str]) -> Judged:
    """Make maps of a hindcast's probabilities; the forecast's and the mixture's by their rule.

    Args:
        engine: for the target and its rules.
        hindcast: of probabilities.
        methods: to judge.
    """
    if isinstance(engine, Folded):
        engine = engine.fold_at(hindcast.step)
    target, rules = engine.series.target, engine.decision
    joint = target.kind == CATEGORICAL
    assert hindcast.last is not None  # engines of probabilities tell it
    truth, last = hindcast.observed, hindcast.last
    if joint:
        known = truth.any(axis=0)
        observed = np.where(known, truth.argmax(axis=0), len(target.classes))[None]
        before = np.where(last.any(axis=0), last.argmax(axis=0), -1)[None]
        seen = np.logical_and.reduce(hindcast.valid, axis=0)[None]
    else:
        seen = hindcast.valid & np.isfinite(truth)
        observed = np.where(seen, truth >= 0.5, False).astype(np.int64)
        before = (last >= 0.5).astype(np.int64)
    chosen, brier, usable = {}, {}, {}
    scored = seen
    for method in methods:
        made = hindcast.forecasts[method]
        rule = rules[hindcast.lead - 1] if method in OURS else plain_rule(target.kind)
        chosen[method] = decided(made, last, engine.series.shares, rule, target.kind)
        squares = np.square(made - np.where(np.isfinite(truth), truth, np.float32(0)))
        if joint:
            # An unknown class is one more that came, and had no probability.
            squares = squares.sum(axis=0)[None] + (observed == len(target.classes))
        brier[method] = squares
        usable[method] = seen & (chosen[method] >= 0)
        scored = scored & usable[method]
    return Judged(observed, before, chosen, brier, scored, seen, usable)


def score_classes(
    engine: Engine | Folded,
    methods: Sequence[str],
    tile_px: int,
    progress: Callable[[int, int], None] | None = None,
    frames: Frames | None = None,
) -> ClassScores:
    """Score every test step and lead over the whole raster.

    A pixel is scored where it was observed and every method has a value.

    Args:
        engine: yields the hindcasts.
        methods: which methods to score; ``forecast`` first.
        tile_px: side of the tiles; changes memory, not the result.
        progress: called with (frames done, all frames).
        frames: takes small copies of observed and forecast classes and of what became of them.
    """
    grid, steps, leads = engine.cube.grid, engine.split.test_steps, engine.horizon
    target, bands = engine.series.target, engine.series.cube_bands
    size = len(target.classes) or 2
    shape = (leads, len(methods), len(bands))
    scores = ClassScores(
        kind=target.kind,
        methods=tuple(methods),
        bands=bands,
        classes=target.classes or (0, 1),
        steps=steps,
        pixels=grid.shape[0] * grid.shape[1],
        brier=np.zeros((len(steps), *shape)),
        n=np.zeros((len(steps), leads, len(bands)), dtype=np.int64),
        tables=np.zeros((*shape, size + 1, size), dtype=np.int64),
        changes=np.zeros((*shape, 4), dtype=np.int64),
        chances=np.zeros((*shape, 2, CHANCES), dtype=np.int64),
        seen=np.zeros((leads, len(bands)), dtype=np.int64),
        usable=np.zeros((leads, len(bands), len(methods)), dtype=np.int64),
    )
    tiles = list(grid.tiles(tile_px))
    for number, tile in enumerate(tiles):
        part = Frames(frames.plan, tile, tracks=False) if frames else None
        for done, hindcast in enumerate(engine.hindcasts(tile, steps), 1):
            judged = judge(engine, hindcast, methods)
            _add(scores, hindcast, judged)
            if part:
                _keep(part, hindcast, judged, steps.start)
            if progress:
                each = len(steps) * leads
                progress(number * each + done, len(tiles) * each)
        if frames and part:
            frames.add(tile, part)
    return scores


def class_plan(engine: Engine | Folded) -> FramePlan:
    """What is kept of the maps of each test step."""
    shape, steps = engine.cube.grid.shape, len(engine.split.test_steps)
    return FramePlan(shape, steps, engine.horizon, len(engine.series.cube_bands), layers=3)


def _keep(part: Frames, hindcast: Hindcast, judged: Judged, first: int) -> None:
    """Keep what came, what was forecast and what became of it, where pixels are scored."""
    for band, scored in enumerate(judged.scored):
        known = scored & (judged.last[band] >= 0)
        layers = [
            np.where(known, values[band], np.float32(np.nan))
            for values in (judged.observed, judged.chosen[FORECAST], judged.outcome(FORECAST))
        ]
        part.keep(hindcast.step - first, hindcast.lead - 1, band, layers)


def _add(scores: ClassScores, hindcast: Hindcast, judged: Judged) -> None:
    """Add one hindcast to the sums."""
    step, lead = hindcast.step - scores.steps.start, hindcast.lead - 1
    size = len(scores.classes)
    for band in range(len(scores.bands)):
        scored = judged.scored[band]
        scores.n[step, lead, band] += int(scored.sum())
        scores.seen[lead, band] += int(judged.seen[band].sum())
        observed = judged.observed[band][scored]
        known = judged.last[band][scored] >= 0
        for number, method in enumerate(scores.methods):
            at = (lead, number, band)
            chosen = judged.chosen[method][band][scored]
            squares = judged.brier[method][band][scored]
            scores.brier[(step, *at)] += squares.sum(dtype=np.float64)
            flat = np.bincount(observed * size + chosen, minlength=(size + 1) * size)
            scores.tables[at] += flat.reshape(size + 1, size)
            if scores.kind == BINARY:
                made = hindcast.forecasts[method][band][scored]
                scores.chances[at] += count_chances(made, observed)
            outcome = judged.outcome(method)[band][scored][known]
            scores.changes[at] += np.bincount(outcome, minlength=5)[HIT:]
            scores.usable[lead, band, number] += int(judged.usable[method][band].sum())
