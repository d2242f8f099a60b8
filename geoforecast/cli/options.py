"""Options that come from the settings, options of every verb, and the progress bar."""

from __future__ import annotations

import contextlib
import dataclasses
import typing
from collections.abc import Callable, Iterator
from typing import Any

import click

from geoforecast.settings import SECTIONS, toml_key


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
