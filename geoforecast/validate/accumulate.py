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

from geoforecast.forecast.engine import FORECAST, OURS, Engine, Hindcast
from geoforecast.raster.grid import Tile
from geoforecast.samples.normaliser import BandStatistics
from geoforecast.validate.event_metrics import EVENT_SUMS, PooledEvents, event_counts
from geoforecast.validate.metrics import SUMS, Pooled, frame_sums
from geoforecast.validate.ssim import MARGIN_PX, MIN_SHARE, local_moments, ssim_map, window_for

STATS = (*SUMS, "ssim")


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
        event_counts: (lead, method, band, threshold, EVENT_SUMS) pixels; 0 beyond the
            thresholds of a band that has fewer than others.
    """

    sums: NDArray[np.float64]
    seen: NDArray[np.int64]
    usable: NDArray[np.int64]
    scored: NDArray[np.int32]
    error: NDArray[np.float64]
    squared: NDArray[np.float64]
    reference_squared: NDArray[np.float64]
    bounds: NDArray[np.float64]
    event_counts: NDArray[np.int64]


@dataclass(frozen=True)
class Scores:
    """All sums over the raster.

    Attributes:
        methods: what was scored, `forecast` first, on the same pixels.
        bands: names of the predicted bands.
        steps: the test steps.
        pixels: pixels of one frame, valid or not.
        sums: (step, lead, method, band, STATS) float64.
        seen, usable: see TileScores.
        data_range: per band, from training pixels.
        interval: share that the interval was to cover; 0 if there is none.
        bounds: see TileScores.
        events: per band the thresholds of events, band units.
        event_counts: see TileScores.
    """

    methods: tuple[str, ...]
    bands: tuple[str, ...]
    steps: range
    pixels: int
    sums: NDArray[np.float64]
    seen: NDArray[np.int64]
    usable: NDArray[np.int64]
    data_range: tuple[float, ...]
    interval: float
    bounds: NDArray[np.float64]
    events: tuple[tuple[float, ...], ...]
    event_counts: NDArray[np.int64]

    @property
    def kind(self) -> str:
        """Of targets whose errors have a size."""
        return "continuous"

    @property
    def leads(self) -> range:
        return range(1, self.sums.shape[1] + 1)

    @property
    def counts(self) -> NDArray[np.int64]:
        """(step, lead, band) scored pixels, the same for every method."""
        return self.sums[:, :, 0, :, STATS.index("n")].astype(np.int64)

    def pooled(self, method: str, band: int, lead: int) -> Pooled:
        """Sums over all test steps of one method, band (index) and lead (from 1)."""
        frames = self.sums[:, lead - 1, self.methods.index(method), band]
        total = dict(zip(STATS, (math.fsum(column) for column in frames.T), strict=True))
        similarity = total.pop("ssim")
        counts, ssim_sums = frames[:, STATS.index("n")], frames[:, STATS.index("ssim")]
        full = (counts > 0) & (counts >= MIN_SHARE * self.pixels)
        similarity = math.nan
        if full.any():
            similarity = math.fsum(ssim_sums[full] / counts[full]) / int(full.sum())
        count = int(total.pop("n"))
        return Pooled(
            count,
            **total,
            data_range=self.data_range[band],
            ssim=similarity,
            ssim_pixels=int(counts[full].sum()),
        )

    def event(self, method: str, band: int, lead: int, number: int) -> PooledEvents:
        """Counts over all test steps of the band's event of that number; else see pooled."""
        counts = self.event_counts[lead - 1, self.methods.index(method), band, number]
        scored = int(self.counts[:, lead - 1, band].sum())
        return PooledEvents(scored, *(int(count) for count in counts))

    def coverage(self, band: int, lead: int) -> tuple[float, float]:
        """Share of scored pixels inside the interval, and its mean width; NaN if unscored."""
        inside, width = self.bounds[:, lead - 1, band].sum(axis=0).tolist()
        count = int(self.counts[:, lead - 1, band].sum())
        return (inside / count, width / count) if count else (math.nan, math.nan)

    def better_steps(self, reference: str, band: int, lead: int) -> tuple[int, int]:
        """At how many test steps the forecast's squared error is the smaller, and of how many."""
        column = STATS.index("ee")
        frames = self.sums[:, lead - 1, :, band]
        ours = frames[:, self.methods.index(FORECAST), column]
        theirs = frames[:, self.methods.index(reference), column]
        counted = frames[:, 0, STATS.index("n")] > 0
        return int(((ours < theirs) & counted).sum()), int(counted.sum())

    def without_values(self) -> dict[str, str]:
        """References that have no value at all for some band and lead that was observed."""
        return without_values(self.methods, self.bands, self.seen, self.usable)


def without_values(
    methods: Sequence[str],
    bands: Sequence[str],
    seen: NDArray[np.int64],
    usable: NDArray[np.int64],
) -> dict[str, str]:
    """References without any value for some band and lead that was observed, and which that is.

    Args:
        methods, bands: names.
        seen: (lead, band) observed pixels.
        usable: (lead, band, method) pixels with a value among them.
    """
    missing: dict[str, str] = {}
    for number, method in enumerate(methods):
        gone = (seen > 0) & (usable[:, :, number] == 0)
        if method != FORECAST and gone.any():
            lead, band = np.argwhere(gone)[0]
            missing[method] = f"no value for {bands[band]} at lead {lead + 1}"
    return missing


def map_reference(engine: Engine, methods: Sequence[str]) -> str:
    """The reference that skill maps are against: the best on validation, or one scored."""
    others = [method for method in methods if method not in OURS]
    if engine.yardstick in others:
        return engine.yardstick
    return others[0] if others else ""


def best_reference(errors: Mapping[str, float], *, highest: bool = False) -> str:
    """The reference of least error, the first of equals; "" if none has a value.

    Args:
        errors: by method.
        highest: what is given are no errors but scores, of which the highest is best.
    """
    known = {
        method: value
        for method, value in errors.items()
        if method not in OURS and not math.isnan(value)
    }
    choose = max if highest else min
    return choose(known, key=lambda method: known[method]) if known else ""


def score_raster(
    engine: Engine,
    methods: Sequence[str],
    tile_px: int,
    on_tile: Callable[[Tile, TileScores], None],
    progress: Callable[[int, int], None] | None = None,
    interval: float = 0.0,
    events: Sequence[Sequence[float]] = (),
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
    """
    thresholds = tuple(map(tuple, events or [()] * len(engine.band_names)))
    interval = interval if engine.has_intervals else 0.0
    grid, steps = engine.cube.grid, engine.split.test_steps
    tiles = list(grid.tiles(tile_px))
    frames = len(tiles) * len(steps) * engine.horizon
    shape = (len(steps), engine.horizon, len(methods), len(engine.band_names), len(STATS))
    total = np.zeros(shape)
    bounds = np.zeros((*shape[:2], shape[3], 2))
    happened = np.zeros(_event_shape(shape[1:4], thresholds), dtype=np.int64)
    seen = np.zeros((engine.horizon, len(engine.band_names)), dtype=np.int64)
    usable = np.zeros((*seen.shape, len(methods)), dtype=np.int64)
    for number, tile in enumerate(tiles):

        def count(done: int, before: int = number) -> None:
            if progress:
                progress(before * len(steps) * engine.horizon + done, frames)

        scores = score_tile(engine, methods, tile, count, interval, thresholds)
        total += scores.sums
        happened += scores.event_counts
        bounds += scores.bounds
        seen += scores.seen
        usable += scores.usable
        on_tile(tile, scores)
        # The series' start may allow fewer leads than were counted on.
        count(len(steps) * engine.horizon)
    return Scores(
        methods=tuple(methods),
        bands=engine.band_names,
        steps=steps,
        pixels=grid.shape[0] * grid.shape[1],
        sums=total,
        seen=seen,
        usable=usable,
        data_range=tuple(band.maximum - band.minimum for band in engine.statistics),
        interval=interval,
        bounds=bounds,
        events=thresholds,
        event_counts=happened,
    )


def _event_shape(layers: tuple[int, ...], thresholds: Sequence[Sequence[float]]) -> tuple[int, ...]:
    """(lead, method, band) with room for the most thresholds that a band has."""
    return (*layers, max(map(len, thresholds), default=0), len(EVENT_SUMS))


def score_tile(
    engine: Engine,
    methods: Sequence[str],
    tile: Tile,
    count: Callable[[int], None],
    interval: float,
    thresholds: Sequence[Sequence[float]],
) -> TileScores:
    """Score one tile; see score_raster."""
    shape, steps = engine.cube.grid.shape, engine.split.test_steps
    outer = tile.expanded(MARGIN_PX, shape)
    inner = tile.within(outer)
    bands = len(engine.band_names)
    layers = (engine.horizon, bands)
    scores = TileScores(
        sums=np.zeros((len(steps), engine.horizon, len(methods), bands, len(STATS))),
        seen=np.zeros(layers, dtype=np.int64),
        usable=np.zeros((*layers, len(methods)), dtype=np.int64),
        scored=np.zeros((*layers, *tile.shape), dtype=np.int32),
        error=np.zeros((*layers, *tile.shape)),
        squared=np.zeros((*layers, *tile.shape)),
        reference_squared=np.zeros((*layers, *tile.shape)),
        bounds=np.zeros((len(steps), *layers, 2)),
        event_counts=np.zeros(
            _event_shape((engine.horizon, len(methods), bands), thresholds), dtype=np.int64
        ),
    )
    rules = _Rules(
        methods=tuple(methods),
        against=map_reference(engine, methods),
        statistics=engine.statistics,
        thresholds=thresholds,
        first_step=steps.start,
        inner=inner,
        window=window_for(shape),
    )
    for done, hindcast in enumerate(engine.hindcasts(outer, steps, interval), 1):
        for band in range(bands):
            _add_frame(scores, hindcast, band, rules)
        count(done)
    return scores


def scored_pixels(hindcast: Hindcast, methods: Sequence[str], band: int) -> NDArray[np.bool_]:
    """Where one band of a hindcast is scored: observed, and every method has a value."""
    scored: NDArray[np.bool_] = hindcast.valid[band] & np.isfinite(hindcast.observed[band])
    for method in methods:
        scored = scored & np.isfinite(hindcast.forecasts[method][band])
    return scored


@dataclass(frozen=True)
class _Rules:
    """What stays the same for all frames of a tile; ``inner`` cuts off SSIM's margin."""

    methods: tuple[str, ...]
    against: str
    statistics: Sequence[BandStatistics]
    thresholds: Sequence[Sequence[float]]
    first_step: int
    inner: tuple[slice, slice]
    window: int


def _add_frame(scores: TileScores, hindcast: Hindcast, band: int, rules: _Rules) -> None:
    """Add one band of one hindcast to a tile's sums and maps."""
    step, lead = hindcast.step - rules.first_step, hindcast.lead - 1
    inner, window = rules.inner, rules.window
    statistics = rules.statistics[band]
    mean = statistics.mean if math.isfinite(statistics.mean) else 0.0
    data_range = statistics.maximum - statistics.minimum
    observed = hindcast.observed[band]
    seen = (hindcast.valid[band] & np.isfinite(observed))[inner]
    scored = scored_pixels(hindcast, rules.methods, band)
    own = scored[inner]
    o = observed[inner][own]
    similar = window > 0 and data_range > 0 and bool(own.any())
    observed_moments = local_moments(observed, scored, mean, window) if similar else None
    scores.seen[lead, band] += int(seen.sum())
    scores.scored[lead, band] += own
    if hindcast.lower is not None and hindcast.upper is not None:
        low, high = hindcast.lower[band][inner][own], hindcast.upper[band][inner][own]
        scores.bounds[step, lead, band, 0] += int(((low <= o) & (o <= high)).sum())
        scores.bounds[step, lead, band, 1] += (high - low).sum(dtype=np.float64)
    for number, method in enumerate(rules.methods):
        values = hindcast.forecasts[method][band]
        f = values[inner][own]
        scores.usable[lead, band, number] += int((seen & np.isfinite(values[inner])).sum())
        cell = scores.sums[step, lead, number, band]
        cell[: len(SUMS)] = frame_sums(f, o, mean)
        events = rules.thresholds[band]
        scores.event_counts[lead, number, band, : len(events)] += event_counts(f, o, events)
        if observed_moments is not None:
            moments = local_moments(values, scored, mean, window)
            similarity = ssim_map(moments, observed_moments, mean, data_range, window)
            cell[len(SUMS)] = similarity[inner][own].sum()
        if method in (FORECAST, rules.against):
            e = f.astype(np.float64) - o
            if method == FORECAST:
                scores.error[lead, band][own] += e
                scores.squared[lead, band][own] += e * e
            else:
                scores.reference_squared[lead, band][own] += e * e
