"""The command line: parse, call a verb, echo. The only room that imports click.

Verbs are chained by naming them one after the other. The whole line is parsed, and every
setting checked, before the first verb runs.
"""

from __future__ import annotations

from typing import Any

import click

from geoforecast import __version__
from geoforecast.cli.chain import SHARED, Call, Done, VerbChain, prepare
from geoforecast.cli.folders import stacked_folders
from geoforecast.cli.options import (
    checked_work,
    dry_run_option,
    given,
    jobs_option,
    progress_bar,
    setting_options,
    shared_options,
    work_options,
)
from geoforecast.errors import InputError, SettingsError
from geoforecast.project import Project
from geoforecast.system import Signals
from geoforecast.values import duration_seconds, parse_fold

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(
    cls=VerbChain,
    context_settings=CONTEXT,
    epilog="Chain verbs in one line: geoforecast -p P stack scenes/ train predict validate",
)
@shared_options
@click.version_option(__version__, prog_name="geoforecast")
def cli(**_: Any) -> None:
    """From a folder of GeoTIFFs to georeferenced forecasts with honest skill."""


@cli.command("stack", context_settings=CONTEXT)
@click.argument("inputs", nargs=-1, metavar="FOLDER...")
@setting_options("stack", "split")
@work_options("cube")
@shared_options
def stack(
    inputs: tuple[str, ...],
    jobs: int | None,
    dry_run: bool,
    shard: str,
    finalise: bool,
    scheduler: str,
    **options: Any,
) -> Any:
    """Turn folders of GeoTIFFs into one cube.

    FOLDER may also be a file, a quoted pattern, @LIST with a path a line, a CSV table with
    columns path, time and band, or a STAC item as JSON.
    """

    def bind(project: Project) -> Call:
        settings = project.settings("stack", **given(options, "stack"))
        split = project.settings("split", **given(options, "split"))
        chosen = inputs or project.inputs()
        if not chosen:
            raise InputError(
                "No folder of scenes is given.",
                remedy="Name it: geoforecast stack FOLDER, or set inputs in [stack] of "
                "geoforecast.toml.",
            )
        part = checked_work(shard, finalise, scheduler)

        def call(_: Signals) -> Done:
            from geoforecast.stack import stack_scenes

            with progress_bar("stack") as progress:
                result = stack_scenes(
                    project,
                    chosen,
                    settings,
                    split,
                    jobs=jobs,
                    dry_run=dry_run,
                    progress=progress,
                    shard=part,
                    finalise=finalise,
                    scheduler=scheduler,
                )
            return Done(result, result.describe())

        return call

    return bind


@cli.command("train", context_settings=CONTEXT)
@setting_options("train")
@dry_run_option
@shared_options
def train(dry_run: bool, **options: Any) -> Any:
    """Train a model on the cube, or go on with one that was stopped."""

    def bind(project: Project) -> Call:
        settings = project.settings("train", **given(options, "train"))
        # A typo must show before the verbs before.
        duration_seconds(settings.time_limit)
        parse_fold(settings.fold)

        def call(signals: Signals) -> Done:
            from geoforecast.train import estimate_training, train_folds, train_model

            result: Any
            if dry_run:
                result = estimate_training(project, settings)
                return Done(result, result.describe())
            with signals.later() as interrupted:
                if settings.folds:
                    results = train_folds(project, settings, interrupted=interrupted)
                    return Done(results, "\n\n".join(one.describe() for one in results))
                result = train_model(project, settings, interrupted=interrupted)
            return Done(result, result.describe())

        return call

    return bind


@cli.command("predict", context_settings=CONTEXT)
@setting_options("predict")
@work_options("forecast")
@shared_options
def predict(
    jobs: int | None, dry_run: bool, shard: str, finalise: bool, scheduler: str, **options: Any
) -> Any:
    """Write forecast GeoTIFFs of the next steps."""

    def bind(project: Project) -> Call:
        settings = project.settings("predict", **given(options, "predict"))
        part = checked_work(shard, finalise, scheduler)

        def call(signals: Signals) -> Done:
            from geoforecast import predict as verb

            result: Any
            with progress_bar("predict") as progress, signals.later() as interrupted:
                watched: dict[str, Any] = {"interrupted": interrupted, "progress": progress}
                if dry_run:
                    result = verb.estimate_forecast(project, settings, jobs=jobs)
                elif part is not None:
                    result = verb.predict_share(project, part, settings, jobs=jobs, **watched)
                else:
                    result = verb.predict_rasters(
                        project,
                        settings,
                        jobs=jobs,
                        finalise=finalise,
                        scheduler=scheduler,
                        **watched,
                    )
            return Done(result, result.describe())

        return call

    return bind


@cli.command("validate", context_settings=CONTEXT)
@setting_options("validate")
@jobs_option
@shared_options
def validate(jobs: int | None, **options: Any) -> Any:
    """Score a run on the test steps against simple forecasts."""

    def bind(project: Project) -> Call:
        settings = project.settings("validate", **given(options, "validate"))
        if settings.fail_under:  # a typo must show before the verbs that come first
            from geoforecast.validate.verdict.gates import parse_gates

            parse_gates(settings.fail_under)
        if settings.strict:
            from geoforecast.validate.verdict.standards import refuse_strict

            refuse_strict(settings.standard, settings.strict)
        if settings.events:
            from geoforecast.validate.scoring.thresholds import parse_events

            parse_events(settings.events)

        if bool(settings.forecast) != bool(settings.observed):
            raise SettingsError(
                "--forecast and --observed belong together.",
                remedy="Give both folders, or neither to verify a run.",
            )
        asked = [settings.forecast, settings.when_observed, settings.folds]
        if sum(map(bool, asked)) > 1:
            raise SettingsError(
                "--forecast scores folders, --when-observed the forecasts of a run, --folds the "
                "folds of one.",
                remedy="Give one of them.",
            )
        if settings.kind != "auto" and not settings.forecast:
            raise SettingsError(
                "--kind says what --forecast and --observed hold; a run knows its own.",
                remedy="Leave it out.",
            )
        stack_settings = project.settings("stack")

        def call(_: Signals) -> Done:
            from geoforecast import validate as verb

            if settings.forecast:
                places = stacked_folders(project, settings, stack_settings, jobs)
                with progress_bar("validate") as progress:
                    result = verb.validate_cubes(
                        project, settings, *places, progress=progress, jobs=jobs
                    )
                return Done(result, result.describe())
            verify = verb.validate_folds if settings.folds else verb.validate_run
            if settings.when_observed:
                verify = verb.validate_issued
            with progress_bar("validate") as progress:
                result = verify(project, settings, progress=progress, jobs=jobs)
            return Done(result, result.describe())

        return call

    return bind


@cli.command("run", context_settings=CONTEXT)
@shared_options
def run(**_: Any) -> Any:
    """Stack, train, predict and validate as geoforecast.toml says."""

    def bind(project: Project) -> Call:
        calls = {}
        for name in ("stack", "train", "predict", "validate"):
            command = cli.commands[name]
            context = command.make_context(name, [], parent=click.get_current_context())
            for shared in SHARED:
                context.params.pop(shared)
            calls[name] = prepare(context, project)

        def call(signals: Signals) -> Done:
            done = {name: part(signals) for name, part in calls.items()}
            results = {name: part.result for name, part in done.items()}
            return Done(results, "\n".join(part.text for part in done.values()))

        return call

    return bind


@cli.command("status", context_settings=CONTEXT)
@shared_options
def status(**_: Any) -> Any:
    """Show what the project holds and what to do next."""

    def bind(project: Project) -> Call:
        def call(_: Signals) -> Done:
            from geoforecast.status import read_status

            result = read_status(project)
            return Done(result, result.describe())

        return call

    return bind


@cli.command("doctor", context_settings=CONTEXT)
@shared_options
def doctor(**_: Any) -> Any:
    """Check the installation: versions, GDAL, PROJ, devices, memory and CPUs."""

    def bind(_project: Project) -> Call:
        def call(_: Signals) -> Done:
            from geoforecast.doctor import examine

            checks = examine()
            text = "\n".join(check.describe() for check in checks)
            return Done(checks, text, exit_code=int(not all(check.ok for check in checks)))

        return call

    return bind


@cli.command("sensors", context_settings=CONTEXT)
@shared_options
def sensors(**_: Any) -> Any:
    """List the sensor profiles and mask profiles that stack knows."""

    def bind(_project: Project) -> Call:
        def call(_: Signals) -> Done:
            from geoforecast.stack.reading.sensors import describe, describe_sensors

            return Done(describe_sensors(), describe())

        return call

    return bind


@cli.command("metrics", context_settings=CONTEXT)
@shared_options
def metrics(**_: Any) -> Any:
    """List the metrics that validate tells, with their equations and sources."""

    def bind(_project: Project) -> Call:
        def call(_: Signals) -> Done:
            from geoforecast.validate.metrics.listing import describe, describe_metrics

            return Done(describe_metrics(), describe())

        return call

    return bind
