"""From hindcasts of probabilities to sums: one pass over the raster, tile by tile."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoforecast.forecast.kinds import BINARY, CATEGORICAL, decided, plain_rule
from geoforecast.forecast.outcome import OURS, Hindcast
from geoforecast.raster.grid import Tile
from geoforecast.validate.folds import Folded
from geoforecast.validate.metrics.classes import CHANCES, PooledClasses, count_chances
from geoforecast.validate.metrics.pooled import skill_metrics
from geoforecast.validate.scoring.class_parts import (
    HIT,
    ClassParts,
    Judged,
    Outcome,
    Way,
    ways_of,
)
from geoforecast.validate.scoring.frames import FramePlan, Frames
from geoforecast.validate.scoring.partings import NO_PARTINGS, Partings
from geoforecast.validate.scoring.scores import without_values
from geoforecast.validate.scoring.threads import in_order
from geoforecast.validate.source import Source

# What of ClassScores adds up over tiles.
SUMMED = ("brier", "n", "tables", "changes", "chances", "seen", "usable", "wrong")

Kept = dict[tuple[int, int], Outcome]  # by (band, lead), from 0


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
        wrong: (step, lead, method, band) pixels whose class is not that of the map.
        probable: whether forecasts are probabilities; else ``brier`` and ``chances`` are of maps.
        parts: sums of each way to divide pixels.
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
    wrong: NDArray[np.int64]
    probable: bool = True
    parts: tuple[ClassParts, ...] = ()
    interval: float = 0.0

    @classmethod
    def empty(cls, engine: Source, methods: Sequence[str], ways: Sequence[Way]) -> ClassScores:
        """Nothing yet, of the engine's test steps.

        Args:
            engine: what will be scored.
            methods: ``forecast`` first.
            ways: to divide pixels.
        """
        steps, leads = engine.split.test_steps, engine.horizon
        target, bands = engine.series.target, engine.series.cube_bands
        size, grid = len(target.classes) or 2, engine.cube.grid
        shape = (leads, len(methods), len(bands))
        return cls(
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
            wrong=np.zeros((len(steps), *shape), dtype=np.int64),
            probable=bool(engine.decision),
            parts=tuple(ClassParts.empty(way.titles, shape, size) for way in ways),
        )

    def __iadd__(self, other: ClassScores) -> ClassScores:
        for name in SUMMED:
            whole = getattr(self, name)
            whole += getattr(other, name)
        for own, more in zip(self.parts, other.parts, strict=True):
            own.add(more)
        return self

    @property
    def leads(self) -> range:
        return range(1, self.brier.shape[1] + 1)

    @property
    def skills(self) -> tuple[str, ...]:
        """Metrics that skill is told for; the first one leads."""
        return skill_metrics(self.kind, probable=self.probable)

    @property
    def counts(self) -> NDArray[np.int64]:
        """(step, lead, band) scored pixels, the same for every method."""
        return self.n

    def pooled(self, method: str, band: int, lead: int) -> PooledClasses:
        """Sums over all test steps of one method, band (index) and lead (from 1)."""
        number = self.methods.index(method)
        return PooledClasses(
            int(self.n[:, lead - 1, band].sum()),
            math.fsum(self.brier[:, lead - 1, number, band]) if self.probable else math.nan,
            self.tables[lead - 1, number, band],
            self.changes[lead - 1, number, band],
            self.chances[lead - 1, number, band],
        )

    def step_errors(
        self, method: str, band: int, lead: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Sums of Brier scores, or of maps wrong pixels, of each scored test step, and pixels."""
        counts = self.n[:, lead - 1, band]
        sums = self.step_sums[:, lead - 1, self.methods.index(method), band]
        return sums[counts > 0].astype(np.float64), counts[counts > 0].astype(np.float64)

    @property
    def step_sums(self) -> NDArray[Any]:
        """(step, lead, method, band) sums of the metric that leads."""
        return self.brier if self.probable else self.wrong

    def without_values(self) -> dict[str, str]:
        """References that have no value at all for some band and lead that was observed."""
        return without_values(self.methods, self.bands, self.seen, self.usable)


def judge(engine: Source, hindcast: Hindcast, methods: Sequence[str]) -> Judged:
    """Make maps of a hindcast's probabilities; the forecast's and the mixture's by their rule.

    Args:
        engine: for the target and its rules.
        hindcast: of probabilities.
        methods: to judge.
    """
    if isinstance(engine, Folded):
        engine = engine.fold_at(hindcast.step)  # each fold has rules and shares of its own
    target, rules = engine.series.target, engine.decision
    joint = target.kind == CATEGORICAL
    assert hindcast.last is not None  # engines of probabilities tell it
    truth, last = hindcast.observed, hindcast.last
    if joint:
        known = truth.any(axis=0)
        observed = np.where(known, truth.argmax(axis=0), len(target.classes))[None]
        before = np.where((last > 0).any(axis=0), last.argmax(axis=0), -1)[None]
        seen = np.logical_and.reduce(hindcast.valid, axis=0)[None]
    else:
        seen = hindcast.valid & np.isfinite(truth)
        observed = np.where(seen, truth >= 0.5, False).astype(np.int64)
        before = np.where(np.isnan(last), -1, last >= 0.5).astype(np.int64)
    chosen, brier, usable = {}, {}, {}
    scored = seen
    for method in methods:
        made = hindcast.forecasts[method]
        ruled = rules and method in OURS
        rule = rules[hindcast.lead - 1] if ruled else plain_rule(target.kind)
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
    engine: Source,
    methods: Sequence[str],
    tile_px: int,
    progress: Callable[[int, int], None] | None = None,
    frames: Frames | None = None,
    partings: Partings = NO_PARTINGS,
    jobs: int = 1,
    on_tile: Callable[[Tile, Kept], None] | None = None,
    shown: Mapping[tuple[int, int], int] = MappingProxyType({}),
) -> ClassScores:
    """Score every test step and lead over the whole raster.

    A pixel is scored where it was observed and every method has a value.

    Args:
        engine: yields the hindcasts.
        methods: which methods to score; ``forecast`` first.
        tile_px: side of the tiles; changes memory, not the result.
        progress: called with (frames done, all frames).
        frames: takes small copies of observed and forecast classes and of what became of them.
        partings: into which parts pixels are divided; seasons come by themselves.
        jobs: threads; they change no bit.
        on_tile: takes what is shown of each tile, by (band, lead) from 0.
        shown: cube step of each (band, lead) that is.
    """
    steps, tiles = engine.split.test_steps, list(engine.cube.grid.tiles(tile_px))
    each = len(steps) * engine.horizon
    ways = ways_of(partings, steps, engine.cube.times)
    plan = frames.plan if frames else None

    def count(done: int) -> None:
        if progress:
            progress(done, len(tiles) * each)

    def work(item: tuple[int, Tile]) -> tuple[ClassScores, Frames | None, Kept]:
        number, tile = item

        def told(done: int) -> None:
            if jobs == 1 or number == 0:  # others are done side by side
                count(number * each + done)

        return _score_tile(engine, methods, tile, ways, plan, told, shown)

    scores = ClassScores.empty(engine, methods, ways)
    for (number, tile), (found, part, kept) in in_order(work, list(enumerate(tiles)), jobs):
        scores += found
        if frames and part:
            frames.add(tile, part)
        if on_tile:
            on_tile(tile, kept)
        # The series' start may allow fewer leads than were counted on.
        count((number + 1) * each)
    return scores


def _score_tile(
    engine: Source,
    methods: Sequence[str],
    tile: Tile,
    ways: Sequence[Way],
    plan: FramePlan | None,
    count: Callable[[int], None],
    shown: Mapping[tuple[int, int], int],
) -> tuple[ClassScores, Frames | None, Kept]:
    """One tile's sums, small copies of its maps, and what is shown; see score_classes."""
    steps = engine.split.test_steps
    scores = ClassScores.empty(engine, methods, ways)
    part = Frames(plan, tile, tracks=False) if plan else None
    labels = [way.at(tile) for way in ways]
    kept: Kept = {}
    for done, hindcast in enumerate(engine.hindcasts(tile, steps), 1):
        judged = judge(engine, hindcast, methods)
        _add(scores, hindcast, judged)
        for way, own, sums in zip(ways, labels, scores.parts, strict=True):
            step = hindcast.step - steps.start
            sums.see(hindcast.lead - 1, judged, methods, way.of_step(own, step))
        for at in ((band, hindcast.lead - 1) for band in range(len(scores.bands))):
            outcome = judged.shown(at[0])
            if part:
                part.keep(hindcast.step - steps.start, at[1], at[0], outcome.layers)
            if shown.get(at) == hindcast.step:
                kept[at] = outcome
        count(done)
    return scores, part, kept


def class_plan(engine: Source) -> FramePlan:
    """What is kept of the maps of each test step."""
    shape, steps = engine.cube.grid.shape, len(engine.split.test_steps)
    return FramePlan(shape, steps, engine.horizon, len(engine.series.cube_bands), layers=3)


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
            scores.wrong[(step, *at)] += np.count_nonzero(observed != chosen)
            if scores.kind == BINARY and scores.probable:
                made = hindcast.forecasts[method][band][scored]
                scores.chances[at] += count_chances(made, observed)
            outcome = judged.outcome(method)[band][scored][known]
            scores.changes[at] += np.bincount(outcome, minlength=5)[HIT:]
            scores.usable[lead, band, number] += int(judged.usable[method][band].sum())
