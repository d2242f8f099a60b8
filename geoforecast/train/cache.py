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

from geoforecast.forecast.series import Series
from geoforecast.forecast.stream import TileStream, add_evidence, fitted_parameters
from geoforecast.raster.grid import Tile
from geoforecast.samples.features import Array, Lookback, assemble
from geoforecast.train.stop import Stop

log = logging.getLogger(__name__)

BUDGET_BYTES = 1_500_000_000  # of the decoded sites together
SITE_PX = 256
STREAM_BYTES_PX = 760  # of all references of one band: seasons, trend, anomalies


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
    """

    tile: Tile
    lookback: Lookback
    reference_ILBHW: Array
    target_TBHW: Array
    target_valid_TBHW: NDArray[np.bool_]

    def sample(
        self, init: int, lookback: int, step_days: float, crop: Tile, targets: range
    ) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Inputs and targets of one init step on one crop, always for the whole horizon.

        Args:
            init: the last input step.
            lookback: steps before and including it.
            step_days: the nominal step.
            crop: rows and columns of the site's arrays.
            targets: steps that may be learned from or scored; others count as unknown.
        Returns:
            x (step, channel, y, x); the residual the model must find (lead, band, y, x) in
            model units; where that is known, same shape, bool.
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
        target, known = np.zeros_like(reference), np.zeros(reference.shape, dtype=bool)
        days = []
        for lead in range(len(reference)):
            step = init + 1 + lead
            if step < len(self.lookback.days):
                days.append(self.lookback.days[step])
            else:
                days.append((days or [seen.days[-1]])[-1] + step_days)
            if step in targets:
                known[lead] = self.target_valid_TBHW[(step, *area)] & np.isfinite(reference[lead])
                error = self.target_TBHW[(step, *area)] - reference[lead]
                np.copyto(target[lead], error, where=known[lead])
        return assemble(seen, reference, days, step_days), target, known


def choose_sites(series: Series, steps: int, leads: int, seed: int) -> list[Tile]:
    """The whole raster where it fits the memory budget, else seeded tiles of it.

    Args:
        series: what will be read.
        steps: steps that will be cached.
        leads: reference forecasts a step.
        seed: of the choice.
    """
    grid = series.cube.grid
    bytes_px = steps * len(series.bands) * (4 + 1 + 4 + 4 + 4 + 1 + 4 * leads)
    whole_px = bytes_px + STREAM_BYTES_PX * len(series.bands)
    if grid.shape[0] * grid.shape[1] * whole_px <= BUDGET_BYTES:
        return [grid.whole]
    tiles = [_full_size(tile, grid.shape) for tile in grid.tiles(SITE_PX)]
    wanted = max(1, int(BUDGET_BYTES // (SITE_PX * SITE_PX * bytes_px)))
    order = np.random.default_rng([seed, 1]).permutation(len(tiles))
    chosen = []
    probes = np.linspace(0, steps - 1, num=min(steps, 4)).astype(int)
    for index in order:
        seen = [series.cube.read(s, s + 1, tiles[index])[1].any() for s in probes.tolist()]
        if any(seen):
            chosen.append(tiles[index])
        if len(chosen) == wanted:
            break
    log.info("training on %d of %d tiles of %d px", len(chosen), len(tiles), SITE_PX)
    return chosen or [tiles[order[0]]]


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
    for tile in sites:
        stream = TileStream(series, tile, names, lookback=1, expect_from=len(series.days))
        while stream.step < end - 1:
            stop.check()
            stream.advance()
        add_evidence(total, stream)  # and let the stream go: it is larger than the site
    return fitted_parameters(total, series.step_days)


def reference_errors(
    series: Series,
    sites: Sequence[Tile],
    names: Sequence[str],
    targets: range,
    horizon: int,
    stop: Stop,
) -> dict[str, NDArray[np.float64]]:
    """Root mean squared error of each reference per lead, rolling origin.

    Scored in model units, so that bands count alike, on pixels that every reference has.

    Args:
        series: with fitted parameters.
        sites: rectangles to score.
        names: the references.
        targets: steps to forecast.
        horizon: leads.
        stop: asked at every step.
    Returns:
        (lead,) by name; NaN where a lead has nothing to score.
    """
    squares = {name: np.zeros(horizon) for name in names}
    counts = np.zeros(horizon)
    for tile in sites:
        stream = TileStream(series, tile, names, lookback=1, expect_from=len(series.days))
        pending: dict[int, list[tuple[int, dict[str, Array]]]] = {}
        while stream.step < targets.stop - 1:
            stop.check()
            values, valid = stream.advance()
            for lead, forecasts in pending.pop(stream.step, []):
                truth = series.normaliser.apply(values)
                errors = {k: series.normaliser.apply(f) - truth for k, f in forecasts.items()}
                known = valid & np.all([np.isfinite(e) for e in errors.values()], axis=0)
                counts[lead] += known.sum()
                for name, error in errors.items():
                    squares[name][lead] += np.square(error[known], dtype=np.float64).sum()
            wanted = range(
                max(stream.step + 1, targets.start),
                min(stream.step + horizon, targets.stop - 1) + 1,
            )
            if wanted:
                days = [float(day) for day in series.days[stream.step + 1 : wanted.stop]]
                forecasts = stream.forecasts(days)
                for target in wanted:
                    lead = target - stream.step - 1
                    kept = {name: f[lead] for name, f in forecasts.items()}
                    pending.setdefault(target, []).append((lead, kept))
    with np.errstate(invalid="ignore", divide="ignore"):
        return {name: np.sqrt(square / counts) for name, square in squares.items()}


def load_site(
    series: Series, tile: Tile, reference: str, end: int, horizon: int, stop: Stop
) -> Site:
    """Stream one site up to ``end`` and keep all that training needs.

    Args:
        series: with fitted parameters.
        tile: the rectangle.
        reference: name of the reference to correct.
        end: first step that must not be kept (the test block's first).
        horizon: leads.
        stop: asked at every step.
    """
    shape = (end, len(series.bands), *tile.shape)
    references = np.full((end, horizon, *shape[1:]), np.nan, dtype=np.float32)
    values = np.empty(shape, dtype=np.float32)
    target = np.empty(shape, dtype=np.float32)
    age, residual = np.empty(shape, dtype=np.float32), np.empty(shape, dtype=np.float32)
    valid = np.empty(shape, dtype=bool)
    stream = TileStream(series, tile, [reference], lookback=1)
    for step in range(end):
        stop.check()
        raw, _ = stream.advance()
        seen = stream.lookback[-1]
        values[step], valid[step] = seen.values_BHW, seen.valid_BHW
        age[step], residual[step] = seen.age_BHW, seen.residual_BHW
        target[step] = series.normaliser.apply(raw)
        days = [float(day) for day in series.days[step + 1 : min(step + 1 + horizon, end)]]
        if days:
            forecasts = stream.forecasts(days)[reference]
            references[step, : len(days)] = series.normaliser.apply(forecasts)
    days_all = [float(day) for day in series.days[:end]]
    lookback = Lookback(values, valid, age, residual, days_all)
    return Site(tile, lookback, references, target, valid)


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
