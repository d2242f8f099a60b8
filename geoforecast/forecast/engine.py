"""Forecasts of a tile, from a checkpoint, a cube and an init time.

A forecast is the run's mixture of references plus ``blend`` times the learned correction. The
mixture's weights go on learning from the errors of every step up to the init time. A tile is
read with the exact halo that model and references need and trimmed. The model itself always
runs on the same blocks of a lattice that is fixed to the raster, whatever tile is asked for:
convolution libraries choose their algorithm by the array's shape, and another order of
additions would change the last bit. So tiles equal the whole raster to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from geoforecast.forecast.context import ContextSource, TileContext, open_context
from geoforecast.forecast.device import pick_device, run_model
from geoforecast.forecast.evidence import Watch
from geoforecast.forecast.kinds import maps, moved_odds
from geoforecast.forecast.opening import check_fit, series_of, steps_until, watch_of
from geoforecast.forecast.series import Series
from geoforecast.forecast.stream import TileStream
from geoforecast.forecast.uncertainty import Uncertainty
from geoforecast.models import Correction
from geoforecast.models.checkpoint import FINAL, Checkpoint, load_checkpoint
from geoforecast.project import Project
from geoforecast.raster.cube import Cube, open_cube
from geoforecast.raster.grid import Tile
from geoforecast.references import reference_classes
from geoforecast.references.autoregression import HALO_PX, LAGS
from geoforecast.references.mixture import MIXTURE
from geoforecast.samples.context import NO_CONTEXT
from geoforecast.samples.features import Array, assemble
from geoforecast.samples.normaliser import BandStatistics
from geoforecast.samples.split import Split

BLOCK_PX = 256  # side of the lattice that the model runs on
FORECAST = "forecast"  # the method name beside those of the references
OURS = (FORECAST, MIXTURE)  # methods that are no simple forecast to be measured against


@dataclass(frozen=True)
class Hindcast:
    """Forecasts of one past step from one earlier step, beside what was observed.

    Attributes:
        step: the cube step that is forecast.
        lead: steps since init, 1 or more.
        forecasts: (band, y, x) float32 in band units by method; NaN where there is none.
        observed: (band, y, x) float32, band units.
        valid: (band, y, x) bool, True = ``observed`` is usable.
        lower, upper: (band, y, x) ends of the forecast's interval; None if there is none.
        last: (band, y, x) the last valid values before the init time, 0 where there are none.
    """

    step: int
    lead: int
    forecasts: dict[str, Array]
    observed: Array
    valid: NDArray[np.bool_]
    lower: Array | None = None
    upper: Array | None = None
    last: Array | None = None


@dataclass(frozen=True)
class Forecast:
    """Forecasts of one tile, (lead, band, y, x) float32 in band units.

    Attributes:
        values: NaN where no step was ever valid.
        lower, upper: ends of the interval; None if none was asked for or the run has none.
        uncertainty: what is known of its errors; None if the run knows nothing.
        chosen: (lead, band, y, x) the map that probabilities make, see kinds.decided; or None.
    """

    values: Array
    lower: Array | None = None
    upper: Array | None = None
    uncertainty: Uncertainty | None = None
    chosen: NDArray[np.int16] | None = None


@dataclass(frozen=True)
class Engine:
    """A run, ready to forecast on a cube; make one with open_engine.

    Attributes:
        series: the cube's bands as the run was trained on them.
        checkpoint: the run.
        model: its correction, on ``device``.
        split: the run's own split, on the steps that the cube has now.
        watch: what is known of the references' errors at each step.
        device: where tensors live.
        seen_until: the last step that went into the run, if it is its final checkpoint.
    """

    series: Series
    checkpoint: Checkpoint
    model: Correction
    split: Split
    watch: Watch
    device: torch.device
    seen_until: int = -1

    @property
    def cube(self) -> Cube:
        return self.series.cube

    @cached_property
    def context(self) -> ContextSource:
        """What the correction sees besides the bands; nothing if it has no weight."""
        seen = self.series.context if any(self.blend) else NO_CONTEXT
        return open_context(replace(self.series, context=seen))

    @property
    def weights(self) -> str:
        """``final`` if they have seen every step of training, else ``honest``."""
        return FINAL if self.seen_until >= 0 else "honest"

    @property
    def horizon(self) -> int:
        return self.checkpoint.horizon

    @property
    def band_names(self) -> tuple[str, ...]:
        return self.series.bands

    @property
    def units(self) -> tuple[str, ...]:
        if self.has_probabilities:
            return ("",) * len(self.series.bands)
        return tuple(self.cube.units[number] for number in self.series.band_numbers)

    @property
    def reference(self) -> str:
        return self.checkpoint.reference

    @property
    def references(self) -> tuple[str, ...]:
        """Every simple forecast that applies, by name."""
        return tuple(reference_classes(self.series.step_days, self.series.target.kind))

    @property
    def methods(self) -> tuple[str, ...]:
        """The forecast, the mixture if it is made, and the references."""
        mixed = (MIXTURE,) if self.reference == MIXTURE else ()
        return (FORECAST, *mixed, *self.references)

    @property
    def yardstick(self) -> str:
        """The reference with the least validation error, which maps are drawn against."""
        errors = self.checkpoint.scores["reference_rmse"]
        means = {
            name: float(np.mean([value for value in errors[name] if value is not None]))
            for name in self.references
            if any(value is not None for value in errors.get(name, ()))
        }
        return min(means, key=lambda name: means[name]) if means else self.references[0]

    @property
    def statistics(self) -> list[BandStatistics]:
        return list(self.series.statistics)

    @property
    def blend(self) -> tuple[float, ...]:
        return self.checkpoint.blend

    @property
    def fingerprint(self) -> str:
        return str(self.cube.meta["fingerprint"])

    def halo_px(self, inits: Sequence[int], leads: int, names: Sequence[str]) -> int:
        """Pixels beyond a tile that forecasts of it may depend on.

        Args:
            inits: the init steps.
            leads: steps ahead.
            names: the references that will be asked.
        """
        halo = self.model_halo_px(leads) if any(self.blend) else 0
        classes = reference_classes(self.series.step_days, self.series.target.kind)
        if MIXTURE in names:
            names = tuple(classes)
            halo += HALO_PX
            leads += LAGS - 1  # earlier fields are carried as far as they are old
        halo += max((classes[name].reach_px for name in names if name != MIXTURE), default=0)
        if any(classes[name].needs_motion for name in names):
            # The lookback's residuals hold advected forecasts of earlier steps too.
            first = max(0, min(inits) - self.checkpoint.lookback)
            motions = [self.series.motions.at(step) for step in range(first, max(inits) + 1)]
            halo += math.ceil(max(m.largest_px for m in motions) * leads) + 2
        return halo

    def model_halo_px(self, leads: int) -> int:
        """Pixels beyond a block that the model's correction of it depends on."""
        return self.model.halo_px(self.checkpoint.lookback + leads)

    @property
    def has_probabilities(self) -> bool:
        """Whether forecasts are probabilities, of which maps are made."""
        return self.series.target.is_probability

    @property
    def has_intervals(self) -> bool:
        """Whether the run can say how sure it is: it knows errors of the mixture only.

        A probability says so by itself.
        """
        return self.reference == MIXTURE and not self.has_probabilities

    def forecast(
        self, tile: Tile, init_step: int, days: Sequence[float], level: float = 0.0
    ) -> Forecast:
        """Forecast one tile from a step of the cube.

        Args:
            tile: the pixels wanted.
            init_step: the last step that may be read.
            days: valid times in days since 1970, one a lead from the first on.
            level: share of observations that the interval shall cover; 0 for no interval.
        """
        assert init_step >= self.seen_until  # or the run has seen what it shall forecast
        names = [self.reference]
        outer = self._outer(tile, [init_step], len(days), names)
        stream = self._stream(outer, (), init_step)
        stream.advance_to(init_step)
        reference = stream.forecasts(days, names)[self.reference]
        forecast = self._corrected(stream, self.context.tile(outer), reference, days, tile)
        inner = (..., *tile.within(outer))
        if self.has_probabilities:
            last, rules = stream.lookback[-1].values_BHW, self.checkpoint.decision
            made = maps(forecast, last, self.series.shares, rules, self.series.target.kind)
            return Forecast(forecast[inner], chosen=made[inner])
        if not self.has_intervals:
            return Forecast(forecast[inner])
        uncertainty = self._uncertainty(stream).within(inner[1:])
        forecast = forecast[inner]
        if not level:
            return Forecast(forecast, uncertainty=uncertainty)
        lower, upper = uncertainty.interval(forecast, level)
        return Forecast(forecast, lower, upper, uncertainty)

    def hindcasts(self, tile: Tile, steps: range, level: float = 0.0) -> Iterator[Hindcast]:
        """Rolling-origin forecasts of some steps by every method, at every lead.

        Args:
            tile: the pixels wanted.
            steps: the steps to forecast, consecutive.
            level: of the interval; 0 for none.
        Yields:
            One Hindcast a step and lead that the lookback allows, by init time.
        """
        names = self.methods[1:]
        first = max(self.checkpoint.lookback - 1, steps.start - self.horizon)
        inits = range(first, steps.stop - 1)
        if not inits:
            return
        assert first >= self.seen_until  # or the run has seen what it shall forecast
        outer = self._outer(tile, inits, self.horizon, names)
        inner = tile.within(outer)
        stream = self._stream(outer, names, first)
        context = self.context.tile(outer)
        for init in inits:
            stream.advance_to(init)
            leads = min(self.horizon, steps.stop - 1 - init)
            days = [float(day) for day in self.series.days[init + 1 : init + 1 + leads]]
            forecasts = stream.forecasts(days)
            reference = forecasts[self.reference]
            forecasts[FORECAST] = self._corrected(stream, context, reference, days, tile)
            lower = upper = None
            if level and self.has_intervals:
                lower, upper = self._uncertainty(stream).interval(forecasts[FORECAST], level)
            observed, valid = self.series.observed(init + 1, init + 1 + leads, tile)
            for lead in range(1, leads + 1):
                if init + lead < steps.start:
                    continue
                yield Hindcast(
                    step=init + lead,
                    lead=lead,
                    forecasts={k: v[(lead - 1, slice(None), *inner)] for k, v in forecasts.items()},
                    observed=observed[lead - 1],
                    valid=valid[lead - 1],
                    lower=None if lower is None else lower[(lead - 1, slice(None), *inner)],
                    upper=None if upper is None else upper[(lead - 1, slice(None), *inner)],
                    last=stream.lookback[-1].values_BHW[(slice(None), *inner)],
                )

    def _uncertainty(self, stream: TileStream) -> Uncertainty:
        """Of forecasts made at the stream's step."""
        assert stream.disagreement is not None  # the mixture has just been made
        return Uncertainty(
            self.watch.knowledge(stream.step),
            self.checkpoint.narrowing,
            stream.disagreement,
            self.series.floor,
        )

    def _outer(self, tile: Tile, inits: Sequence[int], leads: int, names: Sequence[str]) -> Tile:
        """What must be read: the tile's blocks of the model lattice and their halo."""
        wanted = self._on_lattice(tile) if any(self.blend) else tile
        return wanted.expanded(self.halo_px(inits, leads, names), self.cube.grid.shape)

    def _on_lattice(self, tile: Tile) -> Tile:
        height, width = self.cube.grid.shape
        return Tile(
            tile.row0 - tile.row0 % BLOCK_PX,
            min(height, tile.row1 + -tile.row1 % BLOCK_PX),
            tile.col0 - tile.col0 % BLOCK_PX,
            min(width, tile.col1 + -tile.col1 % BLOCK_PX),
        )

    def _stream(self, outer: Tile, names: Sequence[str], first_init: int) -> TileStream:
        lookback = self.checkpoint.lookback
        return TileStream(
            self.series,
            outer,
            self.reference,
            names,
            lookback=lookback,
            expect_from=first_init - lookback + 1 if any(self.blend) else len(self.series.days),
            knowledge=self.watch.knowledge,
        )

    def _corrected(
        self,
        stream: TileStream,
        context: TileContext,
        reference: Array,
        days: Sequence[float],
        tile: Tile,
    ) -> Array:
        """The reference of the stream's tile, corrected wherever ``tile`` reaches."""
        if not any(self.blend):
            return reference
        shape = self.cube.grid.shape
        wanted = self._on_lattice(tile)
        correction = np.zeros_like(reference)
        lookback = self.checkpoint.lookback
        around = context.at(stream.step, lookback, days)
        for block in _blocks(wanted):
            area = block.expanded(self.model_halo_px(len(days)), shape)
            cut = (..., *area.within(stream.tile))
            x_TCHW = assemble(
                stream.seen(area),
                self.series.normaliser.apply(reference[cut]),
                days,
                self.series.step_days,
                around.part(*area.within(stream.tile)).channels(lookback + len(days)),
            )
            output = run_model(self.model, x_TCHW[None], len(days), self.device)[0]
            correction[(..., *block.within(stream.tile))] = output[(..., *block.within(area))]
        # Leads beyond those trained on use the last one's scale and weight.
        trained = np.minimum(np.arange(len(days)), self.horizon - 1)
        scale = np.asarray(self.checkpoint.residual_scale, dtype=np.float32)[trained]
        blend = np.asarray(self.blend, dtype=np.float32)[trained]
        delta = correction * (scale * blend[:, None])[:, :, None, None]
        if self.has_probabilities:
            return moved_odds(reference, delta, self.series.target.kind)
        moved = self.series.normaliser.shifted(reference, delta)
        return np.maximum(moved, self.series.floor)


def _blocks(area: Tile) -> Iterator[Tile]:
    """The lattice blocks that make up an area which begins on the lattice."""
    for row in range(area.row0, area.row1, BLOCK_PX):
        for col in range(area.col0, area.col1, BLOCK_PX):
            yield Tile(row, min(row + BLOCK_PX, area.row1), col, min(col + BLOCK_PX, area.col1))


def open_engine(project: Project, run: str, device: str = "auto", *, final: bool = False) -> Engine:
    """Load a run and the cube, and check that they fit.

    Args:
        project: where both lie.
        run: the run's name.
        device: auto, cpu, cuda or mps.
        final: take the checkpoint that was trained on every step, test block included. It
            forecasts from its last step on, and nothing it does may be scored.
    Raises:
        CubeError: no usable cube.
        RunError: no usable run, or one for other bands or conditions.
    """
    cube = open_cube(project.cube_path)
    checkpoint, model = load_checkpoint(project.run_dir(run), final=final)
    check_fit(run, cube, checkpoint)
    series = series_of(cube, checkpoint)
    split = Split.from_meta(checkpoint.split, cube.times)
    where = pick_device(device)
    watch = watch_of(series, checkpoint)
    seen_until = steps_until(cube, checkpoint) - 1 if final else -1
    engine = Engine(series, checkpoint, model.to(where), split, watch, where, seen_until)
    engine.context  # noqa: B018  a cube that lacks what the correction sees shows at once
    return engine
