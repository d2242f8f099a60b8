"""Forecasts of a tile, from a checkpoint, a cube and an init time.

A forecast is the run's mixture of references plus the learned correction, weighted by lead. The
mixture's weights and the correction's go on learning from the errors of every step up to the
init time. A tile is read with the exact halo that model and references need and trimmed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import torch
from numpy.typing import NDArray

from geoforecast.forecast.bias import NONE, Bias
from geoforecast.forecast.context import ContextSource, TileContext, open_context
from geoforecast.forecast.correction import Corrector
from geoforecast.forecast.device import pick_device
from geoforecast.forecast.evidence import Watch
from geoforecast.forecast.finish import PLAIN, Finish, Finishing, bounds_of, smoothed
from geoforecast.forecast.following import followed
from geoforecast.forecast.kinds import maps
from geoforecast.forecast.opening import check_fit, series_of, steps_until, watch_of
from geoforecast.forecast.outcome import FORECAST, Forecast, Hindcast, Made, compared, least_error
from geoforecast.forecast.series import Series
from geoforecast.forecast.stream import TileStream
from geoforecast.forecast.trust import Trust, looked_at
from geoforecast.forecast.uncertainty import Uncertainty
from geoforecast.models import Correction
from geoforecast.models.checkpoint import FINAL, Checkpoint, load_checkpoint
from geoforecast.project import Project
from geoforecast.raster.cube import Cube, open_cube
from geoforecast.raster.grid import Tile
from geoforecast.raster.holdout import load_holdout
from geoforecast.raster.view import view_of
from geoforecast.references import reference_classes
from geoforecast.references.autoregression import HALO_PX, LAGS
from geoforecast.references.mixture import MIXTURE
from geoforecast.samples.context import NO_CONTEXT
from geoforecast.samples.features import Array
from geoforecast.samples.normaliser import BandStatistics
from geoforecast.samples.split import Split


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
        finishing: what becomes of forecasts once they are made.
        taught: the same engine without the pixels that the run holds out, which alone learns
            from errors; None if the run holds out nothing.
    """

    series: Series
    checkpoint: Checkpoint
    model: Correction
    split: Split
    watch: Watch
    device: torch.device
    seen_until: int = -1
    finishing: Finishing = PLAIN
    taught: Engine | None = None

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
        return least_error(self.references, [self.checkpoint.scores["reference_rmse"]])

    @property
    def statistics(self) -> list[BandStatistics]:
        return list(self.series.statistics)

    @property
    def blend(self) -> tuple[float, ...]:
        """Weight of the correction per lead, as the validation block has it."""
        return self.checkpoint.blend

    def blend_at(self, step: int) -> tuple[float, ...]:
        """Weight of the correction per lead in forecasts from a step."""
        if not (self.checkpoint.evidence and any(self.blend)):
            return self.blend
        return tuple(self.trust.weights(step).tolist())

    @cached_property
    def trust(self) -> Trust:
        """What is known of the correction at each step."""
        if self.taught is not None:
            return self.taught.trust
        end, last = steps_until(self.cube, self.checkpoint), len(self.series.days) - 1
        return Trust(np.asarray(self.checkpoint.evidence), end, last, partial(followed, self))

    @cached_property
    def bias(self) -> Bias | None:
        """What is known of the forecasts' bias at each step; None if it stays."""
        if self.finishing.bias == NONE:
            return None
        if self.taught is not None:
            return self.taught.bias
        assert self.seen_until < 0  # weights that have seen what they forecast show none
        steps = range(self.split.validation, len(self.series.days))
        tiles = looked_at(self.checkpoint.watched, len(self.band_names))
        end = steps_until(self.cube, self.checkpoint)
        look = partial(compared, partial(self.hindcasts, steps=steps, finished=False), tiles, steps)
        return Bias(self.finishing.bias, end, look)

    @cached_property
    def bounds(self) -> tuple[Array, Array] | None:
        """Least and greatest value that a forecast may have, (band, 1, 1) each."""
        return bounds_of(self.series) if self.finishing.clip else None

    def finish(self, step: int) -> Finish:
        """What becomes of forecasts from a step, and of the ends of their intervals."""
        return Finish(None if self.bias is None else self.bias.at(step), self.bounds)

    @cached_property
    def corrector(self) -> Corrector:
        """The model, ready to run on tiles."""
        return Corrector(self.series, self.checkpoint, self.model, self.device)

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
        halo = self.corrector.halo_px(leads) if any(self.blend) else 0
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

    @property
    def has_probabilities(self) -> bool:
        """Whether forecasts are probabilities, of which maps are made."""
        return self.series.target.is_probability

    @property
    def decision(self) -> tuple[tuple[float, ...], ...]:
        return self.checkpoint.decision

    @property
    def has_intervals(self) -> bool:
        """Whether errors of its forecasts are known: those of the mixture of values are."""
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
        outer = self.outer(tile, [init_step], len(days), names)
        stream = self.stream(outer, (), init_step)
        stream.advance_to(init_step)
        reference = stream.forecasts(days, names)[self.reference]
        forecast = self._made(stream, self.context.tile(outer), reference, days, tile)
        inner = (..., *tile.within(outer))
        if self.has_probabilities:
            last, rules = stream.lookback[-1].values_BHW, self.checkpoint.decision
            made = maps(forecast, last, self.series.shares, rules, self.series.target.kind)
            return Forecast(forecast[inner], forecast[inner], chosen=made[inner])
        forecast, finish = forecast[inner], self.finish(init_step)
        if not self.has_intervals:
            return Forecast(finish(forecast), forecast)
        uncertainty = self._uncertainty(stream, finish).within(inner[1:])
        if not level:
            return Forecast(finish(forecast), forecast, uncertainty=uncertainty)
        lower, upper = uncertainty.interval(forecast, level)
        return Forecast(finish(forecast), forecast, lower, upper, uncertainty)

    def hindcasts(
        self,
        tile: Tile,
        steps: range,
        level: float = 0.0,
        *,
        likely: int = 0,
        finished: bool = True,
    ) -> Iterator[Hindcast]:
        """Rolling-origin forecasts of some steps by every method, at every lead.

        Args:
            tile: the pixels wanted.
            steps: the steps to forecast, consecutive.
            level: of the interval; 0 for none.
            likely: how many equally likely values; 0 for none.
            finished: as forecasts are written; else before their bias is taken out.
        Yields:
            One Hindcast a step and lead that the lookback allows, by init time.
        """
        names = self.methods[1:]
        first = max(self.checkpoint.lookback - 1, steps.start - self.horizon)
        inits = range(first, steps.stop - 1)
        if not inits:
            return
        assert first >= self.seen_until  # or the run has seen what it shall forecast
        outer = self.outer(tile, inits, self.horizon, names)
        inner = tile.within(outer)
        stream = self.stream(outer, names, first)
        context = self.context.tile(outer)
        for init in inits:
            stream.advance_to(init)
            leads = min(self.horizon, steps.stop - 1 - init)
            days = [float(day) for day in self.series.days[init + 1 : init + 1 + leads]]
            forecasts = stream.forecasts(days)
            reference = forecasts[self.reference]
            finish = self.finish(init) if finished else Finish()
            forecast = self._made(stream, context, reference, days, tile)
            uncertainty = None
            if (level or likely) and self.has_intervals:
                uncertainty = self._uncertainty(stream, finish)
            forecasts = {name: finish.clipped(values) for name, values in forecasts.items()}
            forecasts[FORECAST] = finish(forecast)
            observed, valid = stream.came(init + 1, init + 1 + leads, tile)
            last = stream.lookback[-1].values_BHW
            made = Made(init, inner, forecasts, forecast, uncertainty, observed, valid, last, level)
            for lead in range(max(1, steps.start - init), leads + 1):
                yield made.at(lead, likely)

    def _uncertainty(self, stream: TileStream, finish: Finish) -> Uncertainty:
        """Of forecasts made at the stream's step."""
        assert stream.disagreement is not None  # the mixture has just been made
        return Uncertainty(
            self.watch.knowledge(stream.step),
            self.checkpoint.narrowing,
            stream.disagreement,
            self.series.floor,
            finish,
        )

    def outer(self, tile: Tile, inits: Sequence[int], leads: int, names: Sequence[str]) -> Tile:
        """What must be read: the tile's blocks of the model lattice and their halo."""
        wanted = self.corrector.on_lattice(tile) if any(self.blend) else tile
        return wanted.expanded(self.halo_px(inits, leads, names), self.cube.grid.shape)

    def stream(self, outer: Tile, names: Sequence[str], first_init: int) -> TileStream:
        """A stream of a tile, whose forecasts are asked for from a step on."""
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

    def _made(
        self,
        stream: TileStream,
        context: TileContext,
        reference: Array,
        days: Sequence[float],
        tile: Tile,
    ) -> Array:
        """The reference of the stream's tile, corrected wherever ``tile`` reaches, and smoothed."""
        if any(self.blend):
            output = self.corrector.output(stream, context, reference, days, tile)
            reference = self.corrector.applied(reference, output, self.blend_at(stream.step))
        return smoothed(reference, stream.lookback, self.series, self.finishing.smooth)


def open_engine(
    project: Project,
    run: str,
    device: str = "auto",
    *,
    final: bool = False,
    finishing: Finishing = PLAIN,
    cube: Cube | None = None,
) -> Engine:
    """Load a run and the cube, and check that they fit.

    Args:
        project: where both lie.
        run: the run's name.
        device: auto, cpu, cuda or mps.
        final: take the checkpoint that was trained on every step, test block included. It
            forecasts from its last step on, is never scored, and has the other one's bias.
        finishing: what becomes of forecasts once they are made.
        cube: a view of the project's; None opens the whole.
    Raises:
        CubeError: no usable cube.
        RunError: no usable run, or one for other bands or conditions.
        SettingsError: probabilities cannot be finished like that.
    """
    cube = cube or open_cube(project.cube_path)
    folder = project.run_dir(run)
    checkpoint, model = load_checkpoint(folder, final=final)
    check_fit(run, cube, checkpoint)
    made = partial(
        make_engine, cube, checkpoint, model, pick_device(device), final=final, finishing=finishing
    )
    engine = made()
    finishing.check(run, probabilities=engine.has_probabilities)
    if checkpoint.holdout:
        holdout = load_holdout(folder, checkpoint.holdout, cube.grid)
        taught = made(hidden=holdout.hidden)
        engine = replace(engine, watch=taught.watch, taught=taught)
    if final and finishing.bias != NONE:
        vars(engine)["bias"] = open_engine(project, run, device, finishing=finishing).bias  # cached
    engine.context  # noqa: B018  a cube that lacks what the correction sees shows at once
    return engine


def make_engine(
    cube: Cube,
    checkpoint: Checkpoint,
    model: Correction,
    device: torch.device,
    *,
    final: bool,
    finishing: Finishing = PLAIN,
    hidden: NDArray[np.bool_] | None = None,
) -> Engine:
    """An engine of what has been loaded and fits; it never sees pixels that are hidden."""
    series = series_of(cube if hidden is None else view_of(cube, hidden=hidden), checkpoint)
    split = Split.from_meta(checkpoint.split, cube.times)
    seen_until = steps_until(cube, checkpoint) - 1 if final else -1
    watch = watch_of(series, checkpoint)
    return Engine(series, checkpoint, model.to(device), split, watch, device, seen_until, finishing)
