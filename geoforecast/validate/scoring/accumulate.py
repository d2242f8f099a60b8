"""From hindcasts to sums: one pass over the raster, tile by tile.

A tile is hindcast with a margin for SSIM's window and only its inner part is scored, so
the result is the same for any tile size but for the last bits of the sums.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoforecast.forecast.outcome import FORECAST, Hindcast
from geoforecast.raster.grid import Tile
from geoforecast.samples.normaliser import BandStatistics
from geoforecast.validate.metrics.alignment import MOST_PX
from geoforecast.validate.metrics.came import NEAR_PX, Came
from geoforecast.validate.metrics.ensemble import ENSEMBLE_SUMS, RANKS, SIZE, ensemble_sums
from geoforecast.validate.metrics.events import EVENT_SUMS, event_counts
from geoforecast.validate.metrics.fractions import REACH_PX
from geoforecast.validate.metrics.spectra import block_side
from geoforecast.validate.metrics.ssim import MARGIN_PX, ssim_map, ssim_sum, window_for
from geoforecast.validate.metrics.temporal import Courses
from geoforecast.validate.scoring.frames import FramePlan
from geoforecast.validate.scoring.looks import Key, Looks
from geoforecast.validate.scoring.partings import NO_PARTINGS, Labels, Partings
from geoforecast.validate.scoring.parts import part_sums
from geoforecast.validate.scoring.scores import (
    STATS,
    Scores,
    drawn,
    map_reference,
    normal_method,
    scale_of,
)
from geoforecast.validate.scoring.shown import expected_steps
from geoforecast.validate.scoring.sums import SUMS, add_errors, add_squares, frame_sums, lattice
from geoforecast.validate.scoring.threads import in_order
from geoforecast.validate.scoring.views import Seen, TileViews
from geoforecast.validate.source import Source


@dataclass(frozen=True)
class TileScores:
    """What one tile adds, and its maps.

    Attributes:
        sums: (step, lead, method, band, STATS) float64.
        seen: (lead, band) pixels that were observed.
        usable: (lead, band, method) of those, where the method has a value.
        scored, error, squared: (lead, band, y, x) count of scored steps, sums of the
            forecast's error and its square.
        reference_squared: the same of the map reference's squared error.
        bounds: (step, lead, band, 2) pixels inside the interval, and the sum of its width.
        likely: (lead, band, ENSEMBLE_SUMS) of equally likely values.
        ranks: (lead, band, RANKS) pixels by how many of those lay below what came.
        event_counts: (lead, method, band, threshold, EVENT_SUMS) pixels; 0 beyond the
            thresholds of a band that has fewer than others.
        looks: how frames look, and where events are nearly right, of the methods that are drawn.
        courses: pixels through time, of the same.
        parts: of each way to divide pixels, (lead, method, band, part, SUMS).
        views: what the report draws beyond that, of the forecast.
    """

    sums: NDArray[np.float64]
    seen: NDArray[np.int64]
    usable: NDArray[np.int64]
    scored: NDArray[np.int32]
    error: NDArray[np.float64]
    squared: NDArray[np.float64]
    reference_squared: NDArray[np.float64]
    bounds: NDArray[np.float64]
    likely: NDArray[np.float64]
    ranks: NDArray[np.float64]
    event_counts: NDArray[np.int64]
    looks: Looks
    courses: dict[Key, Courses]
    parts: list[NDArray[np.float64]]
    views: TileViews


def score_raster(
    engine: Source,
    methods: Sequence[str],
    tile_px: int,
    on_tile: Callable[[Tile, TileScores], None],
    progress: Callable[[int, int], None] | None = None,
    interval: float = 0.0,
    events: Sequence[Sequence[float]] = (),
    partings: Partings = NO_PARTINGS,
    jobs: int = 1,
) -> Scores:
    """Score every test step and lead over the whole raster.

    A pixel is scored where it was observed and every method has a value, so that all
    methods are judged on the same pixels.

    Args:
        engine: yields the hindcasts.
        methods: which methods to score; ``forecast`` first.
        tile_px: side of the tiles; changes memory, not the result.
        on_tile: takes each tile's maps.
        progress: called with (frames done, all frames).
        interval: share that the interval shall cover; 0 for none.
        events: per band the thresholds of events, band units; () for none at all.
        partings: into which parts pixels are divided.
        jobs: threads; they change no bit.
    """
    thresholds = tuple(map(tuple, events or [()] * len(engine.band_names)))
    interval = interval if engine.has_intervals else 0.0
    grid, steps = engine.cube.grid, engine.split.test_steps
    side = block_side(grid.shape)
    # Whole blocks of the spectra lie in each tile.
    tiles = list(grid.tiles(math.ceil(tile_px / side) * side if side else tile_px))
    frames = len(tiles) * len(steps) * engine.horizon
    shape = (len(steps), engine.horizon, len(methods), len(engine.band_names), len(STATS))
    total = np.zeros(shape)
    bounds = np.zeros((*shape[:2], shape[3], 2))
    likely = np.zeros((shape[1], shape[3], len(ENSEMBLE_SUMS)))
    ranks = np.zeros((shape[1], shape[3], RANKS))
    happened = np.zeros(_event_shape(shape[1:4], thresholds), dtype=np.int64)
    seen = np.zeros((engine.horizon, len(engine.band_names)), dtype=np.int64)
    usable = np.zeros((*seen.shape, len(methods)), dtype=np.int64)
    looks = Looks.empty(drawn(engine, methods), thresholds, engine.horizon, len(steps))
    temporal: dict[Key, NDArray[np.float64]] = {}
    parts = _no_parts(shape[1:4], partings)
    frames_each = len(steps) * engine.horizon
    wanted = {at: step - steps.start for at, step in expected_steps(engine).items()}

    def count(done: int) -> None:
        if progress:
            progress(done, frames)

    def work(item: tuple[int, Tile]) -> TileScores:
        number, tile = item

        def each(done: int) -> None:
            if jobs == 1 or number == 0:  # others are done side by side
                count(number * frames_each + done)

        return score_tile(engine, methods, tile, each, interval, thresholds, partings, wanted)

    for (number, tile), scores in in_order(work, list(enumerate(tiles)), jobs):
        total += scores.sums
        happened += scores.event_counts
        bounds += scores.bounds
        likely += scores.likely
        ranks += scores.ranks
        seen += scores.seen
        usable += scores.usable
        looks.add(scores.looks)
        for whole, part in zip(parts, scores.parts, strict=True):
            whole += part
        for key, courses in scores.courses.items():
            temporal[key] = temporal.get(key, 0) + courses.found()
        on_tile(tile, scores)
        # The series' start may allow fewer leads than were counted on.
        count((number + 1) * frames_each)
    return Scores(
        methods=tuple(methods),
        bands=engine.band_names,
        steps=steps,
        pixels=grid.shape[0] * grid.shape[1],
        sums=total,
        seen=seen,
        usable=usable,
        shifts=tuple(scale_of(band).shift for band in engine.statistics),
        data_range=tuple(band.maximum - band.minimum for band in engine.statistics),
        interval=interval,
        bounds=bounds,
        likely=likely,
        ranks=ranks,
        events=thresholds,
        event_counts=happened,
        looks=looks,
        temporal=temporal,
        parts=tuple(zip(partings.titles, parts, strict=True)),
    )


def _no_parts(layers: tuple[int, ...], partings: Partings) -> list[NDArray[np.float64]]:
    """(lead, method, band, part, SUMS) of nothing, of each way to divide pixels."""
    return [np.zeros((*layers, len(titles), len(SUMS))) for titles in partings.titles]


def _event_shape(layers: tuple[int, ...], thresholds: Sequence[Sequence[float]]) -> tuple[int, ...]:
    """(lead, method, band) with room for the most thresholds that a band has."""
    return (*layers, max(map(len, thresholds), default=0), len(EVENT_SUMS))


def score_tile(
    engine: Source,
    methods: Sequence[str],
    tile: Tile,
    count: Callable[[int], None],
    interval: float,
    thresholds: Sequence[Sequence[float]],
    partings: Partings,
    wanted: Mapping[tuple[int, int], int],
) -> TileScores:
    """Score one tile; see score_raster, and for ``wanted`` TileViews."""
    shape, steps = engine.cube.grid.shape, engine.split.test_steps
    margin = REACH_PX if any(thresholds) else max(MARGIN_PX, NEAR_PX)
    outer = tile.expanded(margin, shape)
    near = tile.expanded(MARGIN_PX, shape)
    bands = len(engine.band_names)
    layers = (engine.horizon, bands)
    looks = Looks.empty(drawn(engine, methods), thresholds, engine.horizon, len(steps))
    scores = TileScores(
        sums=np.zeros((len(steps), engine.horizon, len(methods), bands, len(STATS))),
        seen=np.zeros(layers, dtype=np.int64),
        usable=np.zeros((*layers, len(methods)), dtype=np.int64),
        scored=np.zeros((*layers, *tile.shape), dtype=np.int32),
        error=np.zeros((*layers, *tile.shape)),
        squared=np.zeros((*layers, *tile.shape)),
        reference_squared=np.zeros((*layers, *tile.shape)),
        bounds=np.zeros((len(steps), *layers, 2)),
        likely=np.zeros((*layers, len(ENSEMBLE_SUMS))),
        ranks=np.zeros((*layers, RANKS)),
        event_counts=np.zeros(
            _event_shape((engine.horizon, len(methods), bands), thresholds), dtype=np.int64
        ),
        looks=looks,
        courses={
            key: Courses(tile, shape, scale_of(engine.statistics[key[1]]).shift, len(steps))
            for key in looks.fields
        },
        parts=_no_parts((engine.horizon, len(methods), bands), partings),
        views=TileViews.empty(
            frame_plan(engine), tile, thresholds, bounded=interval > 0, wanted=wanted
        ),
    )
    fixed = partings.labels(tile)
    rules = _Rules(
        methods=tuple(methods),
        against=map_reference(engine, methods),
        normal=normal_method(methods),
        statistics=engine.statistics,
        thresholds=thresholds,
        first_step=steps.start,
        inner=tile.within(outer),
        near=near.within(outer),
        own=tile.within(near),
        window=window_for(shape),
        side=block_side(shape),
        kept=lattice(tile, shape, MOST_PX),
    )
    size = SIZE if interval else 0
    for done, hindcast in enumerate(engine.hindcasts(outer, steps, interval, likely=size), 1):
        for band in range(bands):
            _add_frame(scores, hindcast, band, rules)
            if scores.parts:
                _add_parts(scores, hindcast, band, rules, partings, fixed)
        count(done)
    return scores


def frame_plan(engine: Source) -> FramePlan:
    """What is kept of the maps of each test step."""
    shape, steps = engine.cube.grid.shape, len(engine.split.test_steps)
    return FramePlan(shape, steps, engine.horizon, len(engine.band_names))


def scored_pixels(hindcast: Hindcast, methods: Sequence[str], band: int) -> NDArray[np.bool_]:
    """Where one band of a hindcast is scored: observed, and every method has a value."""
    scored: NDArray[np.bool_] = hindcast.valid[band] & np.isfinite(hindcast.observed[band])
    for method in methods:
        scored = scored & np.isfinite(hindcast.forecasts[method][band])
    return scored


@dataclass(frozen=True)
class _Rules:
    """What stays the same for all frames of a tile.

    ``inner`` is the tile within what was hindcast, ``near`` what SSIM sees of it, and ``own`` the
    tile within that; ``side`` is that of the blocks of spectra, ``kept`` where shifts are tried.
    """

    methods: tuple[str, ...]
    against: str
    normal: str
    statistics: Sequence[BandStatistics]
    thresholds: Sequence[Sequence[float]]
    first_step: int
    inner: tuple[slice, slice]
    near: tuple[slice, slice]
    own: tuple[slice, slice]
    window: int
    side: int
    kept: tuple[slice, slice]


def _add_frame(scores: TileScores, hindcast: Hindcast, band: int, rules: _Rules) -> None:
    """Add one band of one hindcast to a tile's sums and maps."""
    step, lead = hindcast.step - rules.first_step, hindcast.lead - 1
    inner, window = rules.inner, rules.window
    statistics = rules.statistics[band]
    scale = scale_of(statistics)
    mean, data_range = scale.shift, statistics.maximum - statistics.minimum
    # Kernels go through rows that lie side by side in memory faster than through those of a part.
    observed = np.ascontiguousarray(hindcast.observed[band])
    normal = hindcast.forecasts[rules.normal][band][inner] if rules.normal else None
    seen = (hindcast.valid[band] & np.isfinite(observed))[inner]
    scored = scored_pixels(hindcast, rules.methods, band)
    own = scored[inner]
    events = rules.thresholds[band]
    o = observed[inner][own] if events or hindcast.lower is not None else observed[:0]
    similar = window > 0 and data_range > 0 and bool(own.any())
    near = rules.near
    came = Came(observed, scored, inner, rules.side, rules.kept, statistics)
    scores.seen[lead, band] += int(seen.sum())
    scores.scored[lead, band] += own
    if hindcast.lower is not None and hindcast.upper is not None:
        low, high = hindcast.lower[band][inner][own], hindcast.upper[band][inner][own]
        scores.bounds[step, lead, band, 0] += int(((low <= o) & (o <= high)).sum())
        scores.bounds[step, lead, band, 1] += (high - low).sum(dtype=np.float64)
    if hindcast.likely is not None:
        values = hindcast.likely[(slice(None), band, *inner)]
        sums, ranks = ensemble_sums(values, observed[inner], own)
        scores.likely[lead, band] += sums
        scores.ranks[lead, band] += ranks
    for number, method in enumerate(rules.methods):
        values = np.ascontiguousarray(hindcast.forecasts[method][band])
        scores.usable[lead, band, number] += int((seen & np.isfinite(values[inner])).sum())
        cell = scores.sums[step, lead, number, band]
        cell[: len(SUMS)] = frame_sums(values[inner], observed[inner], own, scale, normal)
        if events:
            happened = event_counts(values[inner][own], o, events)
            scores.event_counts[lead, number, band, : len(events)] += happened
        if similar:
            about = (scored[near], mean, data_range, window)
            if method == FORECAST:
                similarity = ssim_map(values[near], observed[near], *about)[rules.own]
                cell[len(SUMS)] = similarity[own].sum()
                scores.views.see_similarity(
                    (lead, band), similarity, scored[near], rules.own, window
                )
            else:
                cell[len(SUMS)] = ssim_sum(values[near], observed[near], *about, inner=rules.own)
        if method in (FORECAST, rules.against):
            key = (method, band, hindcast.lead)
            scores.looks.see(key, step, values, came, events)
            last = hindcast.forecasts.get("persistence")
            scores.courses[key].add(
                step,
                values[inner],
                observed[inner],
                own,
                None if last is None else last[band][inner],
            )
            pair, at = (own, values[inner], observed[inner]), (lead, band)
            if method == FORECAST:
                add_errors(*pair, scores.error[at], scores.squared[at])
            else:
                add_squares(*pair, scores.reference_squared[at])
    seen_there = _seen(hindcast, rules, band, scored)
    scores.views.see((step, lead, band), seen_there, statistics, events)


def _seen(hindcast: Hindcast, rules: _Rules, band: int, scored: NDArray[np.bool_]) -> Seen:
    """What the views see of a frame: the tile itself."""
    part = (band, *rules.inner)
    against = hindcast.forecasts.get(rules.against)
    return Seen(
        forecast=hindcast.forecasts[FORECAST][part],
        observed=hindcast.observed[part],
        usable=hindcast.valid[part] & np.isfinite(hindcast.observed[part]),
        scored=scored[rules.inner],
        reference=None if against is None else against[part],
        lower=None if hindcast.lower is None else hindcast.lower[part],
        upper=None if hindcast.upper is None else hindcast.upper[part],
        likely=None if hindcast.likely is None else hindcast.likely[(slice(None), *part)],
    )


def _add_parts(
    scores: TileScores,
    hindcast: Hindcast,
    band: int,
    rules: _Rules,
    partings: Partings,
    fixed: Sequence[Labels],
) -> None:
    """Add one band of one hindcast to the sums of the parts that its pixels lie in."""
    own = scored_pixels(hindcast, rules.methods, band)[rules.inner]
    observed = hindcast.observed[band][rules.inner]
    scale = scale_of(rules.statistics[band])
    ways = partings.with_ranges(fixed, observed)
    for sums, labels in zip(scores.parts, ways, strict=True):
        for number, method in enumerate(rules.methods):
            values = hindcast.forecasts[method][band][rules.inner]
            sums[hindcast.lead - 1, number, band] += part_sums(
                values, observed, own, labels, sums.shape[3], scale
            )
