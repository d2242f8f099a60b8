"""Training data, decoded once: the sites, every step of them, and the reference forecasts.

A site is a rectangle of the raster that is streamed through time from the first step to
the end of the validation block, never further. Crops for training are cut from sites.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoforecast.forecast.context import ContextSource, open_context
from geoforecast.forecast.evidence import Learner, note_members
from geoforecast.forecast.mixing import empty_tally
from geoforecast.forecast.series import Series
from geoforecast.forecast.stream import Step, TileStream, add_evidence, fitted_parameters
from geoforecast.raster.grid import Tile
from geoforecast.references import Samples
from geoforecast.references.mixture import MIXTURE, Tally
from geoforecast.samples.context import Surroundings
from geoforecast.samples.features import Array, Lookback, assemble
from geoforecast.samples.split import Split
from geoforecast.train.space import MEMORY, Space
from geoforecast.train.stop import Stop

log = logging.getLogger(__name__)

BUDGET_BYTES = 1_500_000_000  # of the decoded sites together
SITE_PX = 256
STREAM_BYTES_PX = 900  # of all references of one band: seasons, waves, recent values
WATCHED_PX = 1_000_000  # pixels times bands whose errors are looked at after training


@dataclass(frozen=True)
class Site:
    """One rectangle through time, up to the end of the validation block.

    Attributes:
        tile: where it lies.
        lookback: every step as features.Lookback describes it.
        reference_ILBHW: the reference forecast made at each step for each lead, model
            units; NaN where there is none or the target lies outside the cached steps.
        target_TBHW: the values, model units; anything where invalid.
        target_valid_TBHW: True = usable.
        surroundings: what else the correction sees at each step.
    """

    tile: Tile
    lookback: Lookback
    reference_ILBHW: Array
    target_TBHW: Array
    target_valid_TBHW: NDArray[np.bool_]
    surroundings: Surroundings

    def inputs(self, init: int, lookback: int, step_days: float, crop: Tile) -> Array:
        """What the model sees of one init step on one crop, always for the whole horizon.

        Args:
            init: the last input step.
            lookback: steps before and including it.
            step_days: the nominal step.
            crop: rows and columns of the site's arrays.
        Returns:
            x (step, channel, y, x).
        """
        past = slice(init - lookback + 1, init + 1)
        area = (slice(None), *crop.slices)
        seen = Lookback(
            self.lookback.values_TBHW[(past, *area)],
            self.lookback.valid_TBHW[(past, *area)],
            self.lookback.age_TBHW[(past, *area)],
            self.lookback.residual_TBHW[(past, *area)],
            self.lookback.days[past],
        )
        reference = self.reference_ILBHW[(init, slice(None), *area)]
        days: list[float] = []
        for step in range(init + 1, init + 1 + len(reference)):
            if step < len(self.lookback.days):
                days.append(self.lookback.days[step])
            else:
                days.append((days or [seen.days[-1]])[-1] + step_days)
        around = self.surroundings.part(*crop.slices).window(init, lookback, len(reference))
        context = around.channels(lookback + len(reference))
        return assemble(seen, reference, days, step_days, context)

    def targets(self, init: int, crop: Tile, targets: range) -> tuple[Array, NDArray[np.bool_]]:
        """What the model must find of one init step on one crop, for the whole horizon.

        Args:
            init, crop: as of inputs.
            targets: steps that may be learned from or scored; others count as unknown.
        Returns:
            The residual (lead, band, y, x) in model units, 0 where it is not known; where it is
            known, same shape, bool.
        """
        area = (slice(None), *crop.slices)
        reference = self.reference_ILBHW[(init, slice(None), *area)]
        target, known = np.zeros_like(reference), np.zeros(reference.shape, dtype=bool)
        for lead in range(len(reference)):
            step = init + 1 + lead
            if step in targets:
                known[lead] = self.target_valid_TBHW[(step, *area)] & np.isfinite(reference[lead])
                error = self.target_TBHW[(step, *area)] - reference[lead]
                np.copyto(target[lead], error, where=known[lead])
        return target, known


def choose_sites(series: Series, steps: int, leads: int, seed: int) -> list[Tile]:
    """The whole raster where it fits the memory budget, else seeded tiles of it.

    Args:
        series: what will be read.
        steps: steps that will be cached.
        leads: reference forecasts a step.
        seed: of the choice.
    """
    grid = series.cube.grid
    bytes_px = site_bytes_px(series, steps, leads)
    if grid.shape[0] * grid.shape[1] * bytes_px <= BUDGET_BYTES:
        return [grid.whole]
    tiles = [_full_size(tile, grid.shape) for tile in grid.tiles(SITE_PX)]
    wanted = most_sites(bytes_px)
    order = np.random.default_rng([seed, 1]).permutation(len(tiles))
    chosen = []
    probes = np.linspace(0, steps - 1, num=min(steps, 4)).astype(int)
    for index in order:
        seen = [series.read(s, s + 1, tiles[index])[1].any() for s in probes.tolist()]
        if any(seen):
            chosen.append(tiles[index])
        if len(chosen) == wanted:
            break
    log.info("training on %d of %d tiles of %d px", len(chosen), len(tiles), SITE_PX)
    return chosen or [tiles[order[0]]]


def sites_px(series: Series, steps: int, leads: int) -> int:
    """Pixels of all sites that choose_sites() chooses, at most."""
    height, width = series.cube.grid.shape
    bytes_px = site_bytes_px(series, steps, leads)
    if height * width * bytes_px <= BUDGET_BYTES:
        return height * width
    return min(height * width, most_sites(bytes_px) * SITE_PX**2)


def most_sites(bytes_px: int) -> int:
    """How many tiles of a raster the budget allows, where not all of it fits."""
    return max(1, int(BUDGET_BYTES // (SITE_PX * SITE_PX * bytes_px)))


def site_bytes_px(series: Series, steps: int, leads: int) -> int:
    """What a pixel of a site takes in memory while it is decoded; see choose_sites."""
    return (
        sample_bytes_px(series, steps, leads)
        + steps * len(series.bands)  # a mask on the way
        + series.context.bytes_px(steps)
        + STREAM_BYTES_PX * len(series.bands)  # all sites are streamed side by side
    )


def sample_bytes_px(series: Series, steps: int, leads: int) -> int:
    """What of it may lie on a disk as well: values, forecasts and targets of each step."""
    return steps * len(series.bands) * (1 + 4 * (4 + leads))


def _full_size(tile: Tile, shape: tuple[int, int]) -> Tile:
    """A ragged edge tile moved inwards: the narrowest site bounds the size of every crop."""
    height, width = (min(SITE_PX, side) for side in shape)
    row, col = min(tile.row0, shape[0] - height), min(tile.col0, shape[1] - width)
    return Tile(row, row + height, col, col + width)


def fit_references(
    series: Series, sites: Sequence[Tile], names: Sequence[str], end: int, stop: Stop
) -> dict[str, dict[str, float]]:
    """The references' pooled numbers from steps before ``end``."""
    total: dict[str, dict[str, float]] = {}
    samples: dict[str, list[Samples]] = {}
    for tile in sites:
        never = len(series.days)
        stream = TileStream(series, tile, names[0], names, lookback=1, expect_from=never)
        while stream.step < end - 1:
            stop.check()
            stream.advance()
        add_evidence(total, stream)  # and let the stream go: it is larger than the site
        for name, one in stream.references.items():
            samples.setdefault(name, []).extend(one.samples())
    return fitted_parameters(total, samples)


@dataclass
class Scored:
    """Squared errors of forecasts on some steps, by name.

    Attributes:
        squares: name -> (lead, band) sums of mean squared errors a step, band units.
        steps: (lead, band) steps that had anything to score.
    """

    squares: dict[str, NDArray[np.float64]]
    steps: NDArray[np.float64]

    def rmse(self, scale: Sequence[float]) -> dict[str, list[float]]:
        """Root mean squared error per lead over all bands, each divided by its ``scale``."""
        unit = np.square(np.asarray(scale))
        known = self.steps > 0
        bands = known.sum(axis=1)
        result = {}
        for name, square in self.squares.items():
            mean = np.divide(square, self.steps * unit, out=np.zeros_like(square), where=known)
            total = np.full(len(bands), np.nan)
            np.divide(mean.sum(axis=1), bands, out=total, where=bands > 0)
            result[name] = np.sqrt(total).tolist()
        return result


def load_sites(
    series: Series,
    tiles: Sequence[Tile],
    base: str,
    split: Split,
    horizon: int,
    stop: Stop,
    space: Space = MEMORY,
) -> tuple[list[Site], Tally, Scored]:
    """Stream sites side by side up to the test block, learning from errors as time goes on.

    Args:
        series: with fitted parameters.
        tiles: the rectangles.
        base: name of the forecast to correct: a reference, or the mixture.
        split: nothing of its test block is read.
        horizon: leads.
        stop: asked at every step.
        space: where the sites are kept.
    Raises:
        InputError: there is no room for them.
        InterruptedRunError: stopped early.
    Returns:
        The sites; all errors before the test block; the members' on the validation block.
    """
    end = split.test
    tally = empty_tally(series, horizon)
    learner = Learner(series, tally, 0)
    streams = [
        TileStream(series, tile, base, [MIXTURE], lookback=1, knowledge=learner.knowledge)
        for tile in tiles
    ]
    arrays = [_Arrays(series, tile, end, horizon, space) for tile in tiles]
    scored = Scored({}, np.zeros((horizon, len(series.bands))))
    for step in range(end):
        for stream, array in zip(streams, arrays, strict=True):
            stop.check()
            raw, _ = stream.advance()
            array.take(step, stream.lookback[-1], series.normaliser.apply(raw))
            days = [float(day) for day in series.days[step + 1 : min(step + 1 + horizon, end)]]
            if days:
                made = _forecast(learner, stream, days, base)
                array.references[step, : len(days)] = series.normaliser.apply(made)
        _score(scored, learner, step, split)
        learner.forget(step)
    learner.knowledge(end - 1)
    source = open_context(series)
    return [array.site(series, source) for array in arrays], tally, scored


def _forecast(learner: Learner, stream: TileStream, days: list[float], base: str) -> Array:
    """The base forecast of a stream at its step; its members' errors are noted."""
    simple = stream.simple(days)
    mixed = []
    for members in stream.members(days, simple):
        note_members(learner, stream, members)
        mixed.append(stream.mixed(members)[0])
    made = np.stack(mixed) if base == MIXTURE else simple[base]
    stream.expect(days, made)
    return made


def _score(scored: Scored, learner: Learner, init: int, split: Split) -> None:
    """Score what was forecast at a step for the validation block."""
    names = learner.tally.members
    for step in split.validation_steps:
        known = learner.knowledge(init)
        for (lead, band), sums in learner.noted(step):
            if step - init != lead + 1 or not sums.pixels:
                continue
            weights = known.weights[lead, band]
            mean = sums.errors / sums.pixels
            squares = dict(zip(names, np.diag(mean), strict=True))
            squares[MIXTURE] = float(weights @ mean @ weights)
            for name, square in squares.items():
                zeros = np.zeros_like(scored.steps)
                scored.squares.setdefault(name, zeros)[lead, band] += square
            scored.steps[lead, band] += 1


class _Arrays:
    """A site while its steps come in."""

    def __init__(self, series: Series, tile: Tile, steps: int, horizon: int, space: Space) -> None:
        shape = (steps, len(series.bands), *tile.shape)
        self.tile = tile
        self.references: Array = space.empty((steps, horizon, *shape[1:]), np.float32)
        self.references.fill(np.nan)
        self.values, self.target, self.age, self.residual = (
            space.empty(shape, np.float32) for _ in range(4)
        )
        self.valid = space.empty(shape, bool)

    def take(self, step: int, seen: Step, target: Array) -> None:
        self.values[step], self.valid[step] = seen.values_BHW, seen.valid_BHW
        self.age[step], self.residual[step] = seen.age_BHW, seen.residual_BHW
        self.target[step] = target

    def site(self, series: Series, source: ContextSource) -> Site:
        days = [float(day) for day in series.days[: len(self.values)]]
        lookback = Lookback(self.values, self.valid, self.age, self.residual, days)
        steps = len(self.values)
        around = source.tile(self.tile).at(steps - 1, steps)
        return Site(self.tile, lookback, self.references, self.target, self.valid, around)


def choose_watched(tiles: Sequence[Tile], bands: int) -> list[Tile]:
    """The sites whose errors go on being looked at after training."""
    kept: list[Tile] = []
    pixels = 0
    for tile in tiles:
        pixels += tile.shape[0] * tile.shape[1] * bands
        if kept and pixels > WATCHED_PX:
            break
        kept.append(tile)
    return kept


def residual_scale(sites: Sequence[Site], end: int) -> Array:
    """(lead, band) root mean squared error of the reference on steps before ``end``."""
    horizon, bands = sites[0].reference_ILBHW.shape[1:3]
    squares, counts = np.zeros((horizon, bands)), np.zeros((horizon, bands))
    for site in sites:
        for init in range(end - 1):
            for lead in range(min(horizon, end - 1 - init)):
                step = init + 1 + lead
                error = site.target_TBHW[step] - site.reference_ILBHW[init, lead]
                known = site.target_valid_TBHW[step] & np.isfinite(error)
                squares[lead] += np.square(np.where(known, error, 0), dtype=np.float64).sum((1, 2))
                counts[lead] += known.sum((1, 2))
    scale = np.sqrt(squares / np.maximum(counts, 1))
    # Never zero: a reference without error leaves nothing to scale.
    return np.where(scale > 1e-6, scale, 1e-6).astype(np.float32)
