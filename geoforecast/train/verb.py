"""The verb: weigh the references, train a correction to their mixture, calibrate, save."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from geoforecast.forecast.device import pick_device, without_denormals
from geoforecast.forecast.kinds import CATEGORICAL
from geoforecast.forecast.mixing import known_at, member_references
from geoforecast.forecast.series import Series, conditions
from geoforecast.forecast.trust import as_rows
from geoforecast.models import build_model
from geoforecast.models.checkpoint import (
    META,
    Checkpoint,
    final_until,
    load_checkpoint,
)
from geoforecast.project import Project, recorded
from geoforecast.raster.cube import open_cube
from geoforecast.samples.normaliser import to_meta
from geoforecast.settings import TrainSettings
from geoforecast.system import keep_heap
from geoforecast.train.calibrate import Calibration
from geoforecast.train.calibrate_classes import ClassCalibration, calibrate
from geoforecast.train.capacity import NONE
from geoforecast.train.last import write_checkpoint
from geoforecast.train.loop import Outcome
from geoforecast.train.material import gather
from geoforecast.train.members import Trainer, that_learned
from geoforecast.train.place import prepare_folder
from geoforecast.train.plan import Plan, find_task, make_plan
from geoforecast.train.protocol import Seen, named, seen_of, without_holdout
from geoforecast.train.ranks import Ranks, joined
from geoforecast.train.refit import refit
from geoforecast.train.result import TrainResult, mean_error
from geoforecast.train.room import check_room, crowded, naming_room
from geoforecast.train.shown import board_writer
from geoforecast.train.space import Space, find_space
from geoforecast.train.stop import Stop
from geoforecast.train.windows import Windows
from geoforecast.values import duration_seconds

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Work:
    """A plan, and who carries it out where.

    Attributes:
        plan: the training.
        seen: what it may learn from.
        folder: of the run.
        identity: of everything that decides the result.
        device: where tensors live.
        ranks: the processes that train together.
        space: where decoded samples are kept.
    """

    plan: Plan
    seen: Seen
    folder: Path
    identity: str
    device: torch.device
    ranks: Ranks
    space: Space


def run_training(
    project: Project, settings: TrainSettings, *, interrupted: Callable[[], bool]
) -> TrainResult:
    """Train a run; see geoforecast.train.train_model."""
    given, settings = settings, named(settings)
    limit_s = duration_seconds(settings.time_limit)
    stop = Stop(interrupted, time.monotonic() + limit_s if limit_s else None)
    device = pick_device(settings.device)
    if settings.tensorboard:
        board_writer()  # that it is missing shows before any long work
    keep_heap()
    with joined(device, stop) as ranks:
        if not ranks.first:
            ranks.wait()  # until the first one holds the run
            return _run(project, settings, device, ranks, {})
        with project.lock_run(settings.run), recorded(project, "train", given) as notes:
            ranks.wait()
            return _run(project, settings, device, ranks, notes)


def _run(
    project: Project,
    settings: TrainSettings,
    device: torch.device,
    ranks: Ranks,
    notes: dict[str, Any],
) -> TrainResult:
    """The whole training, by one of its processes; the first one writes."""
    folder, stop = project.run_dir(settings.run), ranks.stop
    cube = open_cube(project.cube_path)
    seen = seen_of(cube, settings)
    settings = seen.settings
    plan = make_plan(find_task(seen.cube, settings), settings, device)
    if settings.overwrite or settings.refit or not (folder / META).exists():
        check_room(plan, device)
    space = find_space(settings.cache, crowded(plan, device))
    # Only what can begin replaces a run that is there.
    identity = ranks.from_first(lambda: prepare_folder(folder, seen))
    settings = plan.settings
    epochs = 0
    if ranks.from_first((folder / META).exists):
        log.info("run '%s' is trained already", settings.run)
        if settings.profile:
            log.warning("nothing to profile: train another --run, or --overwrite this one")
    else:
        work = Work(plan, seen, folder, identity, device, ranks, space)
        with naming_room(settings):
            checkpoint, outcome = _train(work, stop)
        if ranks.first:
            if seen.holdout is not None:
                seen.holdout.save(folder, cube.grid)
            write_checkpoint(folder, checkpoint, outcome.weights)
        notes.update(seed=settings.seed, epoch=outcome.epoch, reference=checkpoint.reference)
        epochs = outcome.epochs
    if settings.refit:  # only now that nothing can change what is scored
        with naming_room(settings):
            refit(
                folder, without_holdout(cube, seen), settings, identity, device, stop, ranks, space
            )
    return ranks.from_first(lambda: _result(settings.run, folder, epochs))


def _train(work: Work, stop: Stop) -> tuple[Checkpoint, Outcome]:
    plan = work.plan
    settings, split, base = plan.settings, plan.split, plan.reference
    steps = plan.lookback, plan.horizon
    material = gather(plan.series, split, base, steps, settings.seed, stop, work.space)
    series, tally = material.series, material.tally
    errors = material.scored.rmse(_error_units(series))
    log.info("validation error: %s", _error_text(errors, base))
    outcome = _corrected(work, material.windows, stop)
    result = outcome.calibration
    _say_outcome(outcome, base, settings.model)
    cube = series.cube
    known = known_at(series, tally, split.test - 1)
    members = len(that_learned(outcome.kept))
    checkpoint = Checkpoint(
        config=replace(plan.config, members=members),
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
        split=work.seen.split,
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
        holdout=work.seen.digest,
    )
    return checkpoint, outcome


def _corrected(work: Work, windows: Windows, stop: Stop) -> Outcome:
    """The trained correction; one of nothing if no architecture is wanted."""
    plan = work.plan
    config = plan.config
    if plan.settings.model == NONE:
        if plan.settings.profile:
            log.warning("nothing to profile: no correction is trained")
        if plan.series.target.is_probability:  # its map needs a rule all the same
            seed, device = plan.settings.seed, work.device
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
        folder=work.folder,
        identity=work.identity,
        device=work.device,
        ranks=work.ranks,
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
