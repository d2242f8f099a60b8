"""How to make a report again: the commands that led to it, and all settings but defaults."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from geoforecast.project import plain
from geoforecast.settings import SECTIONS, toml_key

FOLDS = ".folds"  # behind the name of a run: all its folds
MADE_BY = ("stack", "train")  # what a validation stands on


@dataclass(frozen=True)
class Command:
    """A command of the project's history.

    Attributes:
        line: as it was typed; "" if it was called from Python.
        settings: section -> key -> value, those that were not default.
    """

    line: str
    settings: dict[str, dict[str, Any]]


def earlier_commands(history: Sequence[Mapping[str, Any]], run: str) -> tuple[Command, ...]:
    """The stacks and the trainings of a run that were completed, in order, each once.

    Args:
        history: entries of history.jsonl, oldest first.
        run: name of the run; NAME.folds means all folds of NAME.
    """
    found: dict[str, Command] = {}
    for entry in history:
        name, settings = entry.get("command"), entry.get("settings")
        if name not in MADE_BY or entry.get("outcome") != "done" or not isinstance(settings, dict):
            continue
        if name == "train" and run not in _trained(settings, run):
            continue
        sections = {name: settings} if name == "train" else settings
        argv = [str(word) for word in entry.get("argv", [])]
        line = shlex.join(["geoforecast", *argv]) if name in argv else ""
        changed = _changed(name, sections)
        if run.endswith(FOLDS):
            changed.get("train", {}).pop("fold", None)  # one file of settings serves all folds
        command = Command(line, changed)
        key = json.dumps([line, command.settings], sort_keys=True)
        found.pop(key, None)  # what was done again counts where it was done last
        found[key] = command
    return tuple(found.values())


def _trained(settings: Mapping[str, Any], run: str) -> tuple[str, ...]:
    """The run that settings trained, and the one whose fold it is."""
    name, fold = str(settings.get("run", run)), str(settings.get("fold", ""))
    index, _, count = fold.partition("/")
    return (f"{name}{FOLDS}", f"{name}.fold{index}of{count}") if fold else (name,)


def recipe(commands: Sequence[Command], settings: Mapping[str, Any]) -> tuple[list[str], str]:
    """What the report tells.

    Args:
        commands: see earlier_commands.
        settings: of this validation.
    Returns:
        Command lines, each once, the validation's own last; and a geoforecast.toml with every
        setting that was not default.
    """
    lines = list(dict.fromkeys(command.line for command in commands if command.line))
    merged: dict[str, dict[str, Any]] = {}
    for command in (*commands, Command("", _changed("validate", {"validate": settings}))):
        for section, values in command.settings.items():
            merged.setdefault(section, {}).update(values)
    text = "\n".join(
        "\n".join([f"[{section}]", *(f"{toml_key(k)} = {_toml(v)}" for k, v in values.items()), ""])
        for section, values in merged.items()
        if values
    )
    if not any("validate" in shlex.split(line) for line in lines):
        lines.append("geoforecast validate")
    return lines, text.rstrip("\n")


def _changed(command: str, sections: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The settings that are not default; what stack was given beside its own goes there too."""
    result: dict[str, dict[str, Any]] = {}
    for section, values in sections.items():
        if section not in SECTIONS:
            result.setdefault(command, {})[section] = values
        elif isinstance(values, Mapping):
            defaults = plain({**vars(SECTIONS[section]())})
            changed = {k: v for k, v in plain(dict(values)).items() if defaults.get(k) != v}
            result.setdefault(section, {}).update(changed)
    return result


def _toml(value: Any) -> str:
    """A value as TOML has it: JSON's writing of text, numbers, yes or no, and lists."""
    return json.dumps(value, ensure_ascii=False)
