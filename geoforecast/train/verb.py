"""The verb: weigh the references, train a correction to their mixture, calibrate, save."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from geoforecast import __version__
from geoforecast.errors import InputError, RunError, SeriesTooShortError
from geoforecast.forecast.device import pick_device, without_denormals
from geoforecast.forecast.kinds import (
    CATEGORICAL,
    CONTINUOUS,
    Target,
    resolve_target,
    warn_unknown,
)
from geoforecast.forecast.mixing import known_at, member_references
from geoforecast.forecast.series import Series, conditions, make_series
from geoforecast.forecast.trust import as_rows
from geoforecast.models import ModelConfig, build_model
from geoforecast.models.checkpoint import (
    META,
    Checkpoint,
    final_until,
    load_checkpoint,
    save_checkpoint,
)
from geoforecast.project import Project, recorded, write_json
from geoforecast.raster.cube import Cube, open_cube
from geoforecast.references import find_reference
from geoforecast.references.mixture import MIXTURE
from geoforecast.samples.features import channel_count
from geoforecast.samples.normaliser import to_meta
from geoforecast.samples.split import Split
from geoforecast.settings import TrainSettings
from geoforecast.train.calibrate import Calibration
from geoforecast.train.calibrate_classes import ClassCalibration, calibrate
from geoforecast.train.capacity import NONE, chosen_model, sized, without_need
from geoforecast.train.inputs import choose_context, forecast_bands
from geoforecast.train.loop import LAST, Outcome
from geoforecast.train.losses import resolve_loss
from geoforecast.train.material import gather
from geoforecast.train.members import Trainer, that_learned
from geoforecast.train.refit import refit
from geoforecast.train.result import TrainResult, mean_error
from geoforecast.train.stop import Stop
from geoforecast.train.windows import Windows
from geoforecast.values import duration_seconds

log = logging.getLogger(__name__)

IDENTITY = "settings.json"
DEFAULT_LOOKBACK = 6
DEFAULT_HORIZON = 3
# Settings that do not change the result, so that a run may go on with others.
FREE_SETTINGS = {"time_limit", "device", "overwrite", "refit", "preset"}


@dataclass(frozen=True)
class Plan:
    """One training, fully decided."""

    series: Series
    split: Split
    settings: TrainSettings
    lookback: int
    horizon: int
    folder: Path
    identity: str
    device: torch.device


def run_training(
    project: Project, settings: TrainSettings, *, interrupted: Callable[[], bool]
) -> TrainResult:
    """Train a run; see geoforecast.train.train_model."""
    limit_s = duration_seconds(settings.time_limit)
    stop = Stop(interrupted, time.monotonic() + limit_s if limit_s else None)
    device = pick_device(settings.device)
    folder = project.run_dir(settings.run)
    with project.lock(), recorded(project, "train", settings) as notes:
        cube = open_cube(project.cube_path)
        bands = forecast_bands(cube, settings)
        split = Split.from_meta(cube.meta["split"], cube.times)
        lookback, horizon = resolve_steps(settings, split)
        target = _check_cube(cube, bands, settings, split)
        identity = _prepare_folder(folder, settings, cube)
        series = make_series(cube, bands, target=target)
        settings = without_need(settings, [asdict(band) for band in series.statistics])
        settings = chosen_model(settings, split.test)
        seen = choose_context(cube, bands, settings, split, series.step_days)
        series = replace(series, context=seen)
        channels = channel_count(len(series.bands), series.context.channels)
        reach = lookback + horizon
        settings = sized(settings, cube.grid.shape, len(split.train_steps), reach, channels)
        epochs = 0
        if (folder / META).exists():
            log.info("run '%s' is trained already", settings.run)
        else:
            plan = Plan(series, split, settings, lookback, horizon, folder, identity, device)
            checkpoint, outcome = _train(plan, stop)
            save_checkpoint(folder, checkpoint, outcome.weights)
            notes.update(seed=settings.seed, epoch=outcome.epoch, reference=checkpoint.reference)
            epochs = outcome.epochs
        if settings.refit:  # only now that nothing can change what is scored
            refit(folder, cube, settings, identity, device, stop)
        return _result(settings.run, folder, epochs)


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


def _train(plan: Plan, stop: Stop) -> tuple[Checkpoint, Outcome]:
    settings, split, bare = plan.settings, plan.split, plan.series
    config = ModelConfig(
        architecture=settings.model,
        in_channels=channel_count(len(bare.bands), bare.context.channels),
        out_channels=len(bare.bands),
        hidden=settings.hidden,
        layers=settings.layers,
        kernel=settings.kernel,
        peepholes=settings.peepholes,
    )
    # Model and reference come first: a wrong setting shows before any long work.
    build_model(config)
    base = MIXTURE
    if settings.reference != "auto":
        base = settings.reference
        if base != MIXTURE:
            find_reference(base, bare.step_days, bare.target.kind)
    steps = plan.lookback, plan.horizon
    material = gather(bare, split, base, steps, settings.seed, stop)
    series, tally = material.series, material.tally
    errors = material.scored.rmse(_error_units(series))
    log.info("validation error: %s", _error_text(errors, base))
    outcome = _corrected(plan, config, material.windows, stop)
    result = outcome.calibration
    _say_outcome(outcome, base, settings.model)
    cube = series.cube
    known = known_at(series, tally, split.test - 1)
    members = len(that_learned(outcome.kept))
    checkpoint = Checkpoint(
        config=config if settings.model == NONE else replace(config, members=members),
        bands=series.cube_bands,
        lookback=plan.lookback,
        horizon=plan.horizon,
        step_days=series.step_days,
        reference=base,
        members=member_references(series),
        watched=material.watched,
        known_until=str(cube.times[split.test - 1]),
        parameters=material.parameters,
        residual_scale=material.residual_scale,
        blend=tuple(float(weight) for weight in result.blend),
        evidence=() if result.evidence is None else as_rows(result.evidence),
        narrowing=_narrowing(result),
        normaliser=to_meta(series.normaliser, list(series.statistics)),
        context=asdict(series.context),
        target=asdict(series.target),
        decision=result.decision if isinstance(result, ClassCalibration) else (),
        split=dict(cube.meta["split"]),
        cube=str(cube.meta["fingerprint"]),
        conditions=conditions(cube, series.cube_bands),
        seed=settings.seed,
        epoch=outcome.epoch,
        kept=outcome.kept,
        scores={
            "validation_skill": result.skill,
            "reference_rmse": errors,
            "weights": {
                name: known.weights[:, :, slot].mean(axis=1).tolist()
                for slot, name in enumerate(known.members)
            },
        },
        errors=tally.arrays(),
    )
    return checkpoint, outcome


def _corrected(plan: Plan, config: ModelConfig, windows: Windows, stop: Stop) -> Outcome:
    """The trained correction; one of nothing if no architecture is wanted."""
    if plan.settings.model == NONE:
        if plan.series.target.is_probability:  # its map needs a rule all the same
            seed, device = plan.settings.seed, plan.device
            nothing = build_model(config)
            return Outcome({}, 0, calibrate(nothing, windows, seed, device), 0)
        zero = np.zeros(plan.horizon)
        return Outcome({}, 0, Calibration(zero, zero, zero, 0.0), 0)
    log.info(
        "%s: %d x %d channels, at most %d epochs",
        config.architecture,
        config.layers,
        config.hidden,
        plan.settings.epochs,
    )
    trainer = Trainer(
        build=lambda: build_model(config),
        windows=windows,
        settings=plan.settings,
        folder=plan.folder,
        identity=plan.identity,
        device=plan.device,
    )
    with without_denormals():
        return trainer.run(stop)


def _narrowing(result: Calibration) -> tuple[float, ...]:
    """What is left of the mixture's intervals: half of what the error lost on validation.

    The epoch and the weight were chosen on those steps, so half of the gain may be luck.
    """
    before, after = result.reference_rmse, result.forecast_rmse
    ratio = np.divide(after, before, out=np.ones_like(after), where=before > 0)
    return tuple(float(0.5 * (1 + one)) for one in ratio)


def _error_units(series: Series) -> list[float]:
    """What validation errors are divided by: deviations; those of classes make a Brier score."""
    if series.target.kind == CATEGORICAL:
        return [1 / math.sqrt(len(series.bands))] * len(series.bands)
    if series.target.is_probability:
        return [1.0] * len(series.bands)
    return [band.std if band.std > 0 else 1.0 for band in series.statistics]


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


def _prepare_folder(folder: Path, settings: TrainSettings, cube: Cube) -> str:
    """Create the run's folder, or check that the one there is of the same training."""
    decisive = {k: v for k, v in asdict(settings).items() if k not in FREE_SETTINGS}
    content = json.dumps(
        {"settings": decisive, "cube": cube.meta["fingerprint"], "geoforecast": __version__},
        sort_keys=True,
    )
    identity = hashlib.sha256(content.encode()).hexdigest()
    path = folder / IDENTITY
    old = _read_identity(path)
    # A run that was never saved is new: its settings may have been what was wrong.
    begun = (folder / META).exists() or (folder / LAST).exists()
    if old is None and begun and not settings.overwrite:
        raise RunError(
            f"The run '{settings.run}' is there, but its {IDENTITY} cannot be read.",
            where=str(path),
            remedy="Give another name with --run, or --overwrite to replace it.",
        )
    if old is not None and begun and not settings.overwrite:
        if old["identity"] == identity:
            return identity
        raise RunError(
            f"The run '{settings.run}' was made with other settings or another cube.",
            where=_differences(old, decisive, cube),
            remedy="Give another name with --run, or --overwrite to replace it.",
        )
    if folder.exists():
        shutil.rmtree(folder)
    write_json(
        path,
        {"identity": identity, "settings": decisive, "cube": cube.meta["fingerprint"]},
    )
    return identity


def _read_identity(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return content if isinstance(content, dict) and "identity" in content else None
    except (OSError, ValueError):
        return None


def _differences(old: dict[str, Any], decisive: dict[str, object], cube: Cube) -> list[str]:
    before = old["settings"]
    lines = []
    if isinstance(before, dict):
        lines = [
            f"{key}: was {before.get(key)}, is now {value}"
            for key, value in decisive.items()
            if before.get(key) != value
        ]
    if old["cube"] != cube.meta["fingerprint"]:
        lines.append("the cube has changed")
    return lines or ["it was made by another version of geoforecast"]


def _result(run: str, folder: Path, epochs: int) -> TrainResult:
    checkpoint, _ = load_checkpoint(folder)
    return TrainResult(
        run=run,
        folder=folder,
        reference=checkpoint.reference,
        reference_rmse={
            name: [math.nan if value is None else value for value in errors]
            for name, errors in checkpoint.scores["reference_rmse"].items()
        },
        weights=checkpoint.scores["weights"],
        blend=checkpoint.blend,
        skill=float(checkpoint.scores["validation_skill"]),
        epoch=checkpoint.epoch,
        epochs=epochs,
        final_until=final_until(folder),
        kind=str(checkpoint.target["kind"]),
    )


def _error_text(errors: dict[str, list[float]], base: str) -> str:
    ranked = sorted(errors, key=lambda name: (name != base, mean_error(errors[name])))
    return ", ".join(f"{name} {mean_error(errors[name]):.3f}" for name in ranked[:4])


def _say_outcome(outcome: Outcome, base: str, model: str) -> None:
    blend = outcome.calibration.blend
    if model == NONE:
        return
    if not any(blend):
        log.warning(
            "no correction helped on the validation block: the forecast is the %s itself", base
        )
        return
    log.info(
        "kept epoch %d: %.1f %% below the %s on validation, correction weighted %s",
        outcome.epoch,
        100 * outcome.calibration.skill,
        base,
        "/".join(f"{weight:.2f}" for weight in blend),
    )
