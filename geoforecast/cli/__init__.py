"""The command line: parse, call a verb, echo. The only room that imports click.

Verbs are chained by naming them one after the other. The whole line is parsed, and every
setting checked, before the first verb runs.
"""

from __future__ import annotations

from typing import Any

import click

from geoforecast import __version__
from geoforecast.cli.chain import SHARED, Call, Done, VerbChain, prepare
from geoforecast.cli.options import given, progress_bar, setting_options, shared_options
from geoforecast.errors import InputError, SettingsError
from geoforecast.project import Project
from geoforecast.system import Signals
from geoforecast.values import duration_seconds, parse_shard

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
@click.option("-j", "--jobs", type=click.IntRange(min=1), help="Threads; default: all granted.")
@click.option("--dry-run", is_flag=True, help="Print the plan and write nothing.")
@click.option(
    "--shard",
    metavar="I/N",
    default="",
    help="Do only this share of the work, I from 0 to N - 1, as one of N jobs; see --finalise.",
)
@click.option("--finalise", is_flag=True, help="Put the cube in place that shards have made.")
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    default="",
    help="Let the workers of a Dask cluster do the work, such as tcp://10.0.0.1:8786.",
)
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
        if bool(shard) + finalise + bool(scheduler) > 1:
            raise SettingsError(
                "--shard, --finalise and --scheduler are three ways of doing the work.",
                remedy="Give one of them.",
            )
        part = parse_shard(shard)

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
@shared_options
def train(**options: Any) -> Any:
    """Train a model on the cube, or go on with one that was stopped."""

    def bind(project: Project) -> Call:
        settings = project.settings("train", **given(options, "train"))
        duration_seconds(settings.time_limit)  # a typo must show before the verbs before

        def call(signals: Signals) -> Done:
            from geoforecast.train import train_model

            with signals.later() as interrupted:
                result = train_model(project, settings, interrupted=interrupted)
            return Done(result, result.describe())

        return call

    return bind


@cli.command("predict", context_settings=CONTEXT)
@setting_options("predict")
@shared_options
def predict(**options: Any) -> Any:
    """Write forecast GeoTIFFs of the next steps."""

    def bind(project: Project) -> Call:
        settings = project.settings("predict", **given(options, "predict"))

        def call(signals: Signals) -> Done:
            from geoforecast.predict import predict_rasters

            with signals.later() as interrupted:
                result = predict_rasters(project, settings, interrupted=interrupted)
            return Done(result, result.describe())

        return call

    return bind


@cli.command("validate", context_settings=CONTEXT)
@setting_options("validate")
@shared_options
def validate(**options: Any) -> Any:
    """Score a run on the test steps against simple forecasts."""

    def bind(project: Project) -> Call:
        settings = project.settings("validate", **given(options, "validate"))
        if settings.fail_under:  # a typo must show before the verbs that come first
            from geoforecast.validate.gates import parse_gates

            parse_gates(settings.fail_under)
        if settings.events:
            from geoforecast.validate.events import parse_events

            parse_events(settings.events)

        def call(_: Signals) -> Done:
            from geoforecast.validate import validate_run

            with progress_bar("validate") as progress:
                result = validate_run(project, settings, progress=progress)
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
