"""The verb: choose a reference, train its correction, calibrate, save."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from geoforecast import __version__
from geoforecast.errors import InputError, RunError, SeriesTooShortError
from geoforecast.forecast.engine import pick_device, without_denormals
from geoforecast.forecast.series import Series, conditions, make_series, pick_bands
from geoforecast.models import ModelConfig, build_model
from geoforecast.models.checkpoint import META, Checkpoint, load_checkpoint, save_checkpoint
from geoforecast.project import Project, recorded, write_json
from geoforecast.raster.cube import Cube, open_cube
from geoforecast.raster.grid import Tile
from geoforecast.references import find_reference, reference_classes
from geoforecast.samples.features import channel_count
from geoforecast.samples.split import Split
from geoforecast.settings import TrainSettings
from geoforecast.train.cache import (
    choose_sites,
    fit_references,
    load_site,
    reference_errors,
    residual_scale,
)
from geoforecast.train.loop import LAST, Loop, Outcome
from geoforecast.train.stop import Stop
from geoforecast.train.windows import Windows
from geoforecast.values import duration_seconds

log = logging.getLogger(__name__)

IDENTITY = "settings.json"
DEFAULT_LOOKBACK = 6
DEFAULT_HORIZON = 3
# Settings that do not change the result, so that a run may go on with others.
FREE_SETTINGS = {"time_limit", "device", "overwrite"}


@dataclass(frozen=True)
class TrainResult:
    """A finished run.

    Attributes:
        run: its name.
        folder: its directory.
        reference: the reference that it corrects.
        reference_rmse: validation error of every reference per lead, model units.
        blend: weight of the correction per lead.
        skill: validation skill over the reference, mean over leads.
        epoch: the epoch kept.
        epochs: epochs trained; 0 if nothing had to be done.
    """

    run: str
    folder: Path
    reference: str
    reference_rmse: dict[str, list[float]]
    blend: tuple[float, ...]
    skill: float
    epoch: int
    epochs: int

    def describe(self) -> str:
        """The result as a terminal shows it."""
        lines = [f"Run '{self.run}' corrects {self.reference}, the best on the validation block:"]
        for name, errors in self.reference_rmse.items():
            values = "  ".join("       –" if v != v else f"{v:8.4f}" for v in errors)
            lines.append(f"  {name:<16} {values}")
        if any(self.blend):
            weights = ", ".join(f"{weight:.2f}" for weight in self.blend)
            lines.append(
                f"Epoch {self.epoch} is kept: {100 * self.skill:.1f} % less error than "
                f"{self.reference}; the correction is weighted {weights} by lead."
            )
        else:
            lines.append(f"No correction helped: the forecast is {self.reference} itself.")
        return "\n".join(lines)


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
        _check_cube(cube)
        split = Split.from_meta(cube.meta["split"], cube.times)
        lookback, horizon = resolve_steps(settings, split)
        identity = _prepare_folder(folder, settings, cube)
        if (folder / META).exists():
            log.info("run '%s' is trained already; nothing to do", settings.run)
            return _result(settings.run, folder, epochs=0)
        series = make_series(cube, cube.bands)
        plan = Plan(series, split, settings, lookback, horizon, folder, identity, device)
        checkpoint, outcome = _train(plan, stop)
        save_checkpoint(folder, checkpoint, outcome.weights)
        notes.update(seed=settings.seed, epoch=outcome.epoch, reference=checkpoint.reference)
        return _result(settings.run, folder, epochs=outcome.epochs)


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


def choose_reference(
    plan: Plan, series: Series, sites: list[Tile], stop: Stop
) -> tuple[str, dict[str, list[float]]]:
    """The reference with the least error on the validation block, mean over leads.

    Args:
        plan: the training.
        series: with fitted parameters.
        sites: rectangles to score on.
        stop: asked at every step.
    Returns:
        Its name, or the one that was asked for, and every reference's error per lead.
    """
    names = list(reference_classes(series.step_days))
    targets = plan.split.validation_steps
    errors = reference_errors(series, sites, names, targets, plan.horizon, stop)
    table = {name: error.tolist() for name, error in errors.items()}
    if plan.settings.reference != "auto":
        return plan.settings.reference, table
    finite = {name: float(np.nanmean(e)) for name, e in errors.items() if np.isfinite(e).any()}
    if not finite:
        log.warning("no valid pixel in the validation block: taking persistence unproven")
        return "persistence", table
    return min(finite, key=lambda name: finite[name]), table


def _train(plan: Plan, stop: Stop) -> tuple[Checkpoint, Outcome]:
    settings, split, bare = plan.settings, plan.split, plan.series
    config = ModelConfig(
        architecture=settings.model,
        in_channels=channel_count(len(bare.bands)),
        out_channels=len(bare.bands),
        hidden=settings.hidden,
        layers=settings.layers,
        kernel=settings.kernel,
        peepholes=settings.peepholes,
    )
    # Model and reference come first: a wrong setting shows before any long work.
    torch.manual_seed(settings.seed)
    model = build_model(config).to(plan.device)
    if settings.reference != "auto":
        find_reference(settings.reference, bare.step_days)
    sites = choose_sites(bare, split.test, plan.horizon, settings.seed)
    names = list(reference_classes(bare.step_days))
    series = bare.with_parameters(fit_references(bare, sites, names, split.validation, stop))
    reference, errors = choose_reference(plan, series, sites, stop)
    log.info("reference: %s (validation error %s)", reference, _error_text(errors, reference))
    loaded = [load_site(series, s, reference, split.test, plan.horizon, stop) for s in sites]
    scale = residual_scale(loaded, split.validation)
    windows = Windows(loaded, split, plan.lookback, plan.horizon, series.step_days, scale)
    loop = Loop(model, windows, settings, plan.folder, plan.identity, plan.device)
    with without_denormals():
        outcome = loop.run(stop)
    result = outcome.calibration
    _say_outcome(outcome, reference)
    cube = series.cube
    checkpoint = Checkpoint(
        config=config,
        bands=series.bands,
        lookback=plan.lookback,
        horizon=plan.horizon,
        step_days=series.step_days,
        reference=reference,
        parameters={name: dict(numbers) for name, numbers in series.parameters.items()},
        residual_scale=tuple(tuple(float(v) for v in row) for row in scale),
        blend=tuple(float(weight) for weight in result.blend),
        normaliser=pick_bands(cube.meta["normaliser"], cube.bands, series.bands),
        split=dict(cube.meta["split"]),
        cube=str(cube.meta["fingerprint"]),
        conditions=conditions(cube, series.bands),
        seed=settings.seed,
        epoch=outcome.epoch,
        scores={"validation_skill": result.skill, "reference_rmse": errors},
    )
    return checkpoint, outcome


def _check_cube(cube: Cube) -> None:
    if cube.kind == "categorical":
        raise InputError(
            "The cube holds classes, and only continuous values can be forecast.",
            remedy="Stack a continuous variable, such as the fraction of each class.",
        )
    never = [
        band
        for band, statistics in zip(cube.bands, cube.meta["normaliser"]["statistics"], strict=True)
        if not statistics["count"]
    ]
    if never:
        raise InputError(
            f"Never valid in the training steps: {', '.join(never)}.",
            remedy="Leave it out with --bands, or check the mask (--mask).",
        )


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
        blend=checkpoint.blend,
        skill=float(checkpoint.scores["validation_skill"]),
        epoch=checkpoint.epoch,
        epochs=epochs,
    )


def _error_text(errors: dict[str, list[float]], chosen: str) -> str:
    order = [chosen, *(name for name in errors if name != chosen)]
    means = {name: [v for v in errors[name] if v == v] for name in order}
    return ", ".join(f"{name} {np.mean(v):.3f}" if v else f"{name} –" for name, v in means.items())


def _say_outcome(outcome: Outcome, reference: str) -> None:
    blend = outcome.calibration.blend
    if not any(blend):
        log.warning(
            "no correction helped on the validation block: the forecast is %s itself", reference
        )
        return
    log.info(
        "kept epoch %d: %.1f %% below %s on validation, correction weighted %s",
        outcome.epoch,
        100 * outcome.calibration.skill,
        reference,
        "/".join(f"{weight:.2f}" for weight in blend),
    )
