"""How a line of several verbs is cut, checked, run and answered."""

from __future__ import annotations

import contextlib
import json
import logging
import typing
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from geoforecast.errors import (
    GeoforecastError,
    InterruptedRunError,
    SettingsError,
    did_you_mean,
    from_system,
)
from geoforecast.project import Project, open_project, plain
from geoforecast.system import Signals, launched

SHARED = ("project", "as_json", "verbose", "quiet")


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


class VerbChain(click.Group):
    """A group whose line may hold several verbs, each with its options anywhere after it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help())
            ctx.exit(0)
        return click.Command.parse_args(self, ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        with ctx.obj or Signals() as signals, exit_codes(ctx, signals):
            segments = self.segments(ctx.args)
            if not segments:
                raise SettingsError("No verb is given.", remedy="See geoforecast --help.")
            refuse_together([name for name, *_ in segments])
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
                if launched().rank:
                    continue  # the first process speaks for all
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


def refuse_together(names: Sequence[str]) -> None:
    """Of several processes that were started together, only training makes one result.

    Raises:
        SettingsError: they were given another verb.
    """
    size = launched().size
    others = [name for name in names if name != "train"]
    if size > 1 and others:
        raise SettingsError(
            f"{size} processes started together can train, not {others[0]}.",
            remedy=f"Run geoforecast {others[0]} without torchrun, in a command of its own.",
        )


def takes_value(command: click.Command, token: str) -> bool:
    """Whether an option stands here whose value is the next word."""
    options = (option for option in command.params if isinstance(option, click.Option))
    return any(token in o.opts and not o.is_flag and not o.count for o in options)


@contextlib.contextmanager
def exit_codes(ctx: click.Context, signals: Signals) -> Iterator[None]:
    """Turn the errors of geoforecast into a message on stderr and an exit code."""
    try:
        try:
            yield
        finally:
            signals.leaving = True
    except BrokenPipeError:
        raise  # whoever reads has enough: click ends quietly
    except (GeoforecastError, OSError) as error:
        known = from_system(error) if isinstance(error, OSError) else error
        rank = launched().rank
        click.echo(f"Error{f' of process {rank}' if rank else ''}: {known}", err=True)
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
    quietest = {-1: logging.WARNING, 0: logging.INFO}.get(max(level, -1), logging.DEBUG)
    # Of several processes, the first one says what all would.
    logger.setLevel(logging.ERROR if launched().rank else quietest)
