"""Options that come from the settings, options of every verb, and the progress bar."""

from __future__ import annotations

import contextlib
import dataclasses
import typing
from collections.abc import Callable, Iterator
from typing import Any

import click

from geoforecast.errors import SettingsError
from geoforecast.settings import SECTIONS, toml_key
from geoforecast.values import parse_shard


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


jobs_option = click.option(
    "-j", "--jobs", type=click.IntRange(min=1), help="Threads; default: all granted."
)
dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Say what it would take and write nothing."
)


def work_options(made: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options of verbs whose work can be spread.

    Args:
        made: what the verb makes.
    """
    options = [
        jobs_option,
        dry_run_option,
        click.option(
            "--shard",
            metavar="I/N",
            default="",
            help="Do only this share of the work, I from 0 to N - 1, as one of N jobs; see "
            "--finalise.",
        ),
        click.option(
            "--finalise", is_flag=True, help=f"Put the {made} in place that shards have made."
        ),
        click.option(
            "--scheduler",
            metavar="ADDRESS",
            default="",
            help="Let the workers of a Dask cluster do the work, such as tcp://10.0.0.1:8786.",
        ),
    ]

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def checked_work(shard: str, finalise: bool, scheduler: str) -> tuple[int, int] | None:
    """The share that --shard names, if these options go together.

    Raises:
        SettingsError: they do not, or it is no share.
    """
    if bool(shard) + finalise + bool(scheduler) > 1:
        raise SettingsError(
            "--shard, --finalise and --scheduler are three ways of doing the work.",
            remedy="Give one of them.",
        )
    return parse_shard(shard)


def given(options: dict[str, Any], section: str) -> dict[str, Any]:
    """The options of one section, by field name."""
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
