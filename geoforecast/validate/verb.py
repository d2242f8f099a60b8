"""The verb: rolling-origin hindcasts of the test block, scored, mapped and reported."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from geoforecast.forecast.engine import Engine, open_engine
from geoforecast.forecast.finish import Finishing
from geoforecast.project import Project, read_history, recorded
from geoforecast.raster.cube import open_cube
from geoforecast.raster.holdout import load_holdout
from geoforecast.settings import ValidateSettings
from geoforecast.validate.folds import open_folds
from geoforecast.validate.issued import SUFFIX, open_issued
from geoforecast.validate.pairing import pair_cubes
from geoforecast.validate.report.reproduce import FOLDS, earlier_commands
from geoforecast.validate.result import ValidateResult
from geoforecast.validate.scoring.partings import Parting, Partings, holdout_parting
from geoforecast.validate.scoring.thresholds import parse_events
from geoforecast.validate.verdict.gates import Gate, check_gates, parse_gates
from geoforecast.validate.verdict.standards import (
    check_standard,
    refuse_strict,
)
from geoforecast.validate.writing import write_validation
from geoforecast.values import fold_name

log = logging.getLogger(__name__)

AS_ISSUED = Finishing(clip=True)  # simple forecasts are held within bounds, as always
COMPARED = "compared"  # what two folders are called where no name is given

Progress = Callable[[int, int], None]


def validate_run(
    project: Project,
    settings: ValidateSettings,
    *,
    progress: Progress | None = None,
    jobs: int | None = None,
) -> ValidateResult:
    """Score a run's forecasts of the test steps, and write maps, metrics and a report.

    For every test step and lead the forecast is made from what was known that many steps
    before (rolling origin), and every reference beside it. A pixel is scored where it was
    observed and every method has a value: all methods are judged on the same pixels.

    Args:
        project: where cube and run lie, and validation/NAME will.
        settings: the run, the gates, the tile size and the device.
        progress: called with (frames done, all frames).
        jobs: threads; None takes the CPUs that this process may use.
    Returns:
        Metrics, sentence and paths.
    Raises:
        SettingsError: a gate or a threshold cannot be read, or strictness has no standard (before
            any work); thresholds are given although the targets are no values, or a gate is of a
            metric that is not told (everything is written).
        RunError: there is no such run, or it does not fit the cube.
        QualityGateError: a gate or a strict standard failed; everything is written all the same.
    """
    gates = _read(settings)
    target = project.validation_dir(settings.run)
    with project.lock(), recorded(project, "validate", settings):
        finishing = Finishing(settings.clip, settings.bias_correct, settings.smooth)
        engine = open_engine(project, settings.run, settings.device, finishing=finishing)
        _say_drivers(engine)
        commands = earlier_commands(read_history(project), settings.run)
        known = Partings(held_out_of(project, settings.run, engine))
        result = write_validation(target, engine, settings, progress, commands, jobs, known)
        _check(gates, settings, result)
    return result


def validate_folds(
    project: Project,
    settings: ValidateSettings,
    *,
    progress: Progress | None = None,
    jobs: int | None = None,
) -> ValidateResult:
    """Score the test blocks of a run's folds together, each forecast by its own fold's run.

    Args:
        project: where cube and folds lie; validation/NAME.folds is written.
        settings: as of validate_run, and how many folds there are.
        progress: called with (frames done, all frames).
        jobs: threads; None takes the CPUs that this process may use.
    Returns:
        Metrics, sentence and paths; the folds by themselves are parts.
    Raises:
        SettingsError, QualityGateError: see validate_run.
        RunError: folds are missing, or were trained differently.
    """
    gates = _read(settings)
    with project.lock(), recorded(project, "validate", settings):
        finishing = Finishing(settings.clip, settings.bias_correct, settings.smooth)
        source = open_folds(project, settings.run, settings.folds, settings.device, finishing)
        for engine in source.engines:
            _say_drivers(engine)
        held_out = held_out_of(project, fold_name(settings.run, 1, settings.folds), source.first)
        settings = replace(settings, run=f"{settings.run}{FOLDS}")
        commands = earlier_commands(read_history(project), settings.run)
        target = project.validation_dir(settings.run)
        known = Partings(held_out, blocks=source.blocks)
        result = write_validation(target, source, settings, progress, commands, jobs, known)
        _check(gates, settings, result)
    return result


def validate_issued(
    project: Project,
    settings: ValidateSettings,
    *,
    progress: Progress | None = None,
    jobs: int | None = None,
) -> ValidateResult:
    """Score the forecasts that predict wrote, where their scenes have come since.

    Args:
        project: holds the cube, the run and its forecasts; validation/NAME.issued is written.
        settings: as of validate_run; what is done to hindcasts is not done to what was issued.
        progress: called with (frames done, all frames).
        jobs: threads; None takes the CPUs that this process may use.
    Returns:
        Metrics, sentence and paths.
    Raises:
        SettingsError, RunError, QualityGateError: see validate_run.
        DateError: no forecast can be scored.
    """
    gates = _read(settings)
    with project.lock(), recorded(project, "validate", settings):
        engine = open_engine(project, settings.run, settings.device, finishing=AS_ISSUED)
        source = open_issued(project, engine, settings.run)
        settings = replace(settings, run=f"{settings.run}{SUFFIX}", interval=source.level)
        target = project.validation_dir(settings.run)
        result = write_validation(target, source, settings, progress, jobs=jobs)
        _check(gates, settings, result)
    return result


def validate_cubes(
    project: Project,
    settings: ValidateSettings,
    forecasts: Project,
    observed: Project,
    *,
    progress: Progress | None = None,
    jobs: int | None = None,
) -> ValidateResult:
    """Score forecasts that were handed in against what came, as validate_run does a run's.

    Args:
        project: where validation/NAME will lie; NAME is COMPARED, or the run if it is named.
        settings: as of validate_run; what is done to a run's forecasts is not done to these.
        forecasts, observed: hold a cube each, on one grid.
        progress: called with (frames done, all frames).
        jobs: threads; None takes the CPUs that this process may use.
    Returns:
        Metrics, sentence and paths.
    Raises:
        SettingsError: see validate_run.
        CubeError: a cube is missing.
        InputError: the cubes do not fit; see pairing.pair_cubes.
        QualityGateError: a gate failed; everything is written all the same.
    """
    gates = _read(settings)
    settings = replace(settings, run=comparison_name(settings), interval=0.0)
    target = project.validation_dir(settings.run)
    with project.lock(create=True), recorded(project, "validate", settings):
        source = pair_cubes(open_cube(forecasts.cube_path), open_cube(observed.cube_path))
        result = write_validation(target, source, settings, progress, jobs=jobs)
        _check(gates, settings, result)
    return result


def _read(settings: ValidateSettings) -> tuple[Gate, ...]:
    """What can be wrong with settings shows before any work."""
    parse_events(settings.events)
    refuse_strict(settings.standard, settings.strict)
    return parse_gates(settings.fail_under)


def _check(gates: Sequence[Gate], settings: ValidateSettings, result: ValidateResult) -> None:
    """Gates and the standard, once everything is written."""
    check_gates(gates, result.rows, tuple(dict.fromkeys(row.band for row in result.rows)))
    if settings.strict:
        check_standard(settings.standard, result.standard)


def comparison_name(settings: ValidateSettings) -> str:
    """Under which a comparison of two folders is kept."""
    return COMPARED if settings.run == ValidateSettings.run else settings.run


def held_out_of(project: Project, run: str, engine: Engine) -> tuple[Parting, ...]:
    """What training did not see and what it saw, where a run holds something out."""
    if engine.taught is None:
        return ()
    digest = engine.checkpoint.holdout
    return (holdout_parting(load_holdout(project.run_dir(run), digest, engine.cube.grid)),)


def _say_drivers(engine: Engine) -> None:
    """Warn of test steps that are scored without drivers, which predict refuses to do without."""
    test = engine.split.test_steps
    late = engine.context.ends_before(test.start - 1, engine.cube.times[test.start : test.stop])
    if late:
        log.warning("the drivers end before %s: later test steps are forecast without them", late)
