"""The command line: parse, call a verb, echo. The only file that imports click.

Verbs are chained by naming them one after the other. The whole line is parsed, and every
setting checked, before the first verb runs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import typing
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from geoforecast import __version__
from geoforecast.errors import (
    GeoforecastError,
    InputError,
    InterruptedRunError,
    SettingsError,
    did_you_mean,
    from_system,
)
from geoforecast.project import Project, open_project, plain
from geoforecast.settings import SECTIONS, toml_key
from geoforecast.system import Signals
from geoforecast.values import duration_seconds

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
SHARED = ("project", "as_json", "verbose", "quiet")


class VerbChain(click.Group):
    """A group whose line may hold several verbs, each with its options anywhere after it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help())
            ctx.exit(0)
        return click.Command.parse_args(self, ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        with exit_codes(ctx), Signals() as signals:
            segments = self.segments(ctx.args)
            if not segments:
                raise SettingsError("No verb is given.", remedy="See geoforecast --help.")
            contexts = [
                self.commands[name].make_context(name, rest, parent=ctx) for name, *rest in segments
            ]
            shared = collect_shared(ctx, contexts)
            set_up_logging(shared["verbose"] - shared["quiet"])
            project = open_project(shared["project"])
            calls = [prepare(verb, project) for verb in contexts]
            for call in calls:
                done = call(signals)
                signals.check()
                click.echo(json.dumps(plain(done.result)) if shared["as_json"] else done.text)
                if done.exit_code:
                    ctx.exit(done.exit_code)

    def segments(self, args: Sequence[str]) -> list[list[str]]:
        """Cut a line into verbs: a verb's name begins the next one, unless it is a value."""
        result: list[list[str]] = []
        tokens = iter(args)
        for token in tokens:
            if token in self.commands:
                result.append([token])
            elif not result:
                raise SettingsError(
                    f"There is no verb '{token}'.", remedy=did_you_mean(token, self.commands)
                )
            elif token == "--":
                result[-1] += [token, *tokens]
            else:
                result[-1].append(token)
                if takes_value(self.commands[result[-1][0]], token):
                    result[-1] += [value for value in [next(tokens, None)] if value is not None]
        return result


def takes_value(command: click.Command, token: str) -> bool:
    """Whether an option stands here whose value is the next word."""
    options = (option for option in command.params if isinstance(option, click.Option))
    return any(token in o.opts and not o.is_flag and not o.count for o in options)


@contextlib.contextmanager
def exit_codes(ctx: click.Context) -> Iterator[None]:
    """Turn the errors of geoforecast into a message on stderr and an exit code."""
    try:
        yield
    except BrokenPipeError:
        raise  # whoever reads has enough: click ends quietly
    except (GeoforecastError, OSError) as error:
        known = from_system(error) if isinstance(error, OSError) else error
        click.echo(f"Error: {known}", err=True)
        ctx.exit(known.exit_code)
    except KeyboardInterrupt:
        click.echo("Stopped. Run the same command again to go on.", err=True)
        ctx.exit(InterruptedRunError.exit_code)


def collect_shared(ctx: click.Context, verbs: list[click.Context]) -> dict[str, Any]:
    """Options that hold for the whole line, wherever they stand in it."""
    values: dict[str, Any] = {}
    for name in SHARED:
        given = [context.params.pop(name) for context in (ctx, *verbs)]
        if name in ("verbose", "quiet"):
            values[name] = sum(given)
            continue
        named = sorted({value for value in given if value})
        if len(named) > 1:
            raise SettingsError(
                f"-p is given as {' and '.join(named)}.", remedy="Name one project a line."
            )
        values[name] = named[0] if named else None
    return values


def set_up_logging(level: int) -> None:
    """Log lines go to stderr, beside the bars; results alone go to stdout."""

    class Echo(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            click.echo(self.format(record), err=True)

    logger = logging.getLogger("geoforecast")
    logger.handlers = [Echo()]
    logger.propagate = False
    logger.setLevel({-1: logging.WARNING, 0: logging.INFO}.get(max(level, -1), logging.DEBUG))


def shared_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """-p, --json, -v and -q, accepted before and after the verb."""
    options = [
        click.option(
            "-p",
            "--project",
            metavar="DIR",
            help="Project directory; default: the nearest parent with a geoforecast.toml, "
            "else the current folder.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Results as JSON, a line a verb."),
        click.option("-v", "--verbose", count=True, help="Say more on stderr."),
        click.option("-q", "--quiet", count=True, help="Say only warnings on stderr."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def setting_options(*sections: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """One option for every setting of some sections, as settings.py describes it."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for section in reversed(sections):
            cls = SECTIONS[section]
            hints = typing.get_type_hints(cls)
            for field in reversed(dataclasses.fields(cls)):
                function = _option(section, field, hints[field.name])(function)
        return function

    return decorate


def _option(
    section: str, field: dataclasses.Field[Any], hint: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    dest = f"{section}__{field.name}"
    name = f"--{toml_key(field.name).replace('_', '-')}"
    text = field.metadata["help"][:1].upper() + field.metadata["help"][1:]
    if hint is bool:
        return click.option(f"{name}/--no-{name[2:]}", dest, default=None, help=f"{text}.")
    choices = field.metadata["choices"]
    metavar = field.metadata["metavar"] or ("|".join(choices) if choices else None)
    shown = "" if field.default in (None, "", ()) else f"  [default: {field.default}]"
    spellings = dict.fromkeys([*field.metadata["flags"], name])
    return click.option(
        *spellings,
        dest,
        metavar=metavar or {int: "N", float: "X"}.get(hint, "TEXT"),
        help=f"{text}.{shown}",
    )


class Done(typing.NamedTuple):
    """What a verb found, for --json and for people, and the exit code that goes with it."""

    result: Any
    text: str
    exit_code: int = 0


Call = Callable[[Signals], Done]


def prepare(context: click.Context, project: Project) -> Call:
    """Check a verb's settings now; return what runs it."""
    with context:
        call: Call = context.command.invoke(context)(project)
    return call


def _given(options: dict[str, Any], section: str) -> dict[str, Any]:
    start = f"{section}__"
    return {k.removeprefix(start): v for k, v in options.items() if k.startswith(start)}


@contextlib.contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, none off a terminal, fed with (done, total)."""
    from tqdm import tqdm

    with tqdm(desc=label, disable=None) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show


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
@shared_options
def stack(inputs: tuple[str, ...], jobs: int | None, dry_run: bool, **options: Any) -> Any:
    """Turn folders of GeoTIFFs into one cube."""

    def bind(project: Project) -> Call:
        settings = project.settings("stack", **_given(options, "stack"))
        split = project.settings("split", **_given(options, "split"))
        chosen = inputs or project.inputs()
        if not chosen:
            raise InputError(
                "No folder of scenes is given.",
                remedy="Name it: geoforecast stack FOLDER, or set inputs in [stack] of "
                "geoforecast.toml.",
            )

        def call(_: Signals) -> Done:
            from geoforecast.stack import stack_scenes

            with progress_bar("stack") as progress:
                result = stack_scenes(
                    project, chosen, settings, split, jobs=jobs, dry_run=dry_run, progress=progress
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
        settings = project.settings("train", **_given(options, "train"))
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
        settings = project.settings("predict", **_given(options, "predict"))

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
        settings = project.settings("validate", **_given(options, "validate"))
        if settings.fail_under:  # a typo must show before the verbs that come first
            from geoforecast.validate.gates import parse_gates

            parse_gates(settings.fail_under)

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
