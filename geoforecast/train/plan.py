"""One training, decided: what is learned, by which model, for how long. No long work."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import torch

from geoforecast.errors import InputError, SeriesTooShortError
from geoforecast.forecast.device import pick_precision
from geoforecast.forecast.kinds import CONTINUOUS, Target, resolve_target, warn_unknown
from geoforecast.forecast.series import Series, make_series
from geoforecast.models import ModelConfig, build_model
from geoforecast.raster.cube import Cube
from geoforecast.references import find_reference
from geoforecast.references.mixture import MIXTURE
from geoforecast.samples.features import channel_count
from geoforecast.samples.split import Split
from geoforecast.settings import TrainSettings
from geoforecast.train.capacity import chosen_model, sized, without_need
from geoforecast.train.inputs import choose_context, forecast_bands
from geoforecast.train.losses import resolve_loss

log = logging.getLogger(__name__)

DEFAULT_LOOKBACK = 6
DEFAULT_HORIZON = 3


@dataclass(frozen=True)
class Task:
    """What is to be learned.

    Attributes:
        cube: from which.
        bands: of it that are forecast.
        split: its time split.
        lookback, horizon: steps.
        target: the kind of target.
    """

    cube: Cube
    bands: tuple[str, ...]
    split: Split
    lookback: int
    horizon: int
    target: Target


@dataclass(frozen=True)
class Plan:
    """How it is learned.

    Attributes:
        series: the bands, and what the correction sees besides.
        split: the time split.
        settings: nothing in them is left open.
        lookback, horizon: steps.
        reference: name of the forecast to correct: the mixture, or a reference.
    """

    series: Series
    split: Split
    settings: TrainSettings
    lookback: int
    horizon: int
    reference: str

    @property
    def config(self) -> ModelConfig:
        """The build plan of a member."""
        settings, series = self.settings, self.series
        return ModelConfig(
            architecture=settings.model,
            in_channels=channel_count(len(series.bands), series.context.channels),
            out_channels=len(series.bands),
            hidden=settings.hidden,
            layers=settings.layers,
            kernel=settings.kernel,
            peepholes=settings.peepholes,
            precision=settings.precision,
        )


def find_task(cube: Cube, settings: TrainSettings) -> Task:
    """What settings ask for, if the cube has it.

    Raises:
        InputError: a band is never valid.
        SeriesTooShortError: the training block cannot hold lookback and horizon.
        SettingsError: no such band, or a kind or loss that does not suit the cube.
    """
    bands = forecast_bands(cube, settings)
    split = Split.from_meta(cube.meta["split"], cube.times)
    lookback, horizon = resolve_steps(settings, split)
    target = _check_cube(cube, bands, settings, split)
    return Task(cube, bands, split, lookback, horizon, target)


def make_plan(task: Task, settings: TrainSettings, device: torch.device) -> Plan:
    """Decide what settings leave open.

    Args:
        task: see find_task.
        settings: as given.
        device: where tensors will live.
    Raises:
        InputError: a driver ends too early.
        SettingsError: no such model or reference, or one that does not suit the target.
    """
    cube, split = task.cube, task.split
    series = make_series(cube, task.bands, target=task.target)
    settings = replace(settings, precision=pick_precision(settings.precision, device))
    settings = without_need(settings, [asdict(band) for band in series.statistics])
    settings = chosen_model(settings, split.test)
    seen = choose_context(cube, task.bands, settings, split, series.step_days)
    series = replace(series, context=seen)
    channels = channel_count(len(series.bands), series.context.channels)
    reach = task.lookback + task.horizon
    settings = sized(settings, cube.grid.shape, len(split.train_steps), reach, channels)
    reference = MIXTURE if settings.reference == "auto" else settings.reference
    plan = Plan(series, split, settings, task.lookback, task.horizon, reference)
    build_model(plan.config)  # a wrong setting shows before any long work
    if reference != MIXTURE:
        find_reference(reference, series.step_days, series.target.kind)
    return plan


def resolve_steps(settings: TrainSettings, split: Split) -> tuple[int, int]:
    """Lookback and horizon; where they are 0, what suits the length of the series.

    Raises:
        SeriesTooShortError: the training block cannot hold both.
    """
    train = len(split.train_steps)
    lookback = settings.lookback or min(DEFAULT_LOOKBACK, max(1, train // 3))
    horizon = settings.horizon or min(DEFAULT_HORIZON, max(1, train // 4))
    if train < lookback + horizon:
        raise SeriesTooShortError(
            f"{train} training steps (of {split.steps}) are too few for --lookback {lookback} "
            f"and --horizon {horizon}, which need {lookback + horizon}.",
            remedy="Use a longer series, or a smaller --lookback or --horizon.",
        )
    return lookback, horizon


def _check_cube(cube: Cube, bands: Sequence[str], settings: TrainSettings, split: Split) -> Target:
    """The target, if the cube has one and the loss suits it."""
    target = resolve_target(cube, bands, settings.kind, split.train_steps)
    resolve_loss(settings.loss, target.kind)
    if target.kind != CONTINUOUS:
        log.info("forecasting %s targets", target.kind)
    if target.classes:
        warn_unknown(cube, bands[0], target, split.validation_steps, "validation")
        return target
    never = [
        band
        for band, statistics in zip(cube.bands, cube.meta["normaliser"]["statistics"], strict=True)
        if band in bands and not statistics["count"]
    ]
    if never:
        raise InputError(
            f"Never valid in the training steps: {', '.join(never)}.",
            remedy="Leave it out with --bands, or check the mask (--mask).",
        )
    return target
