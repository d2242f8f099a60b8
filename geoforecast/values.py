"""From text, TOML or Python values to the types that settings declare."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import math
import os
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from geoforecast.errors import SettingsError, did_you_mean

T = TypeVar("T")

UNITS_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400}


def convert(raw: Any, hint: Any, field: dataclasses.Field[Any], source: str) -> Any:
    """A raw value as the type that a setting declares.

    Args:
        raw: text, or a TOML or Python value.
        hint: the declared type.
        field: the setting, for its choices and bounds.
        source: where the value came from, for the message.
    Raises:
        SettingsError: the value does not fit.
    """
    try:
        value = _as_type(raw, hint)
    except (TypeError, ValueError, OverflowError) as error:
        raise SettingsError(f"{source} is {raw!r}.", remedy=f"Give {_type_name(hint)}.") from error
    choices = field.metadata["choices"]
    if choices and value not in choices:
        raise SettingsError(f"{source} is {value!r}.", remedy=did_you_mean(str(value), choices))
    for number in value if isinstance(value, tuple) else (value,):
        remedy = _out_of_bounds(number, field.metadata)
        if remedy:
            raise SettingsError(f"{source} is {number}.", remedy=remedy)
    return value


def _out_of_bounds(value: Any, bounds: Mapping[str, Any]) -> str:
    """What to give instead of a number that is out of a setting's bounds, or nothing."""
    if isinstance(value, float) and bounds["finite"] and not math.isfinite(value):
        return "Give a finite number."
    if bounds["minimum"] is not None and value < bounds["minimum"]:
        return f"Give {bounds['minimum']} or more."
    if bounds["maximum"] is not None and value > bounds["maximum"]:
        return f"Give {bounds['maximum']} or less."
    if bounds["above"] is not None and value <= bounds["above"]:
        return f"Give more than {bounds['above']}."
    return ""


def _as_type(raw: Any, hint: Any) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if raw is None and type(None) in args:
            return None
        *first, last = (arg for arg in args if arg is not type(None))
        for kind in first:
            with contextlib.suppress(TypeError, ValueError, OverflowError):
                return _as_type(raw, kind)
        return _as_type(raw, last)
    if origin is tuple:
        return tuple(_as_type(part, args[0]) for part in _parts(raw, args[0]))
    if hint is bool:
        return _as_bool(raw)
    if isinstance(raw, bool):
        raise TypeError(raw)
    if hint is str:
        # TOML has dates of its own, and Python callers have paths; numbers are a slip.
        if not isinstance(raw, (str, os.PathLike, dt.date)):
            raise TypeError(raw)
        return str(raw)
    if hint is int and isinstance(raw, float) and not raw.is_integer():
        raise ValueError(raw)
    return hint(raw)


def _parts(raw: Any, item: Any) -> Iterable[Any]:
    """The items of comma-separated text, of an array, or of one bare value."""
    if isinstance(raw, str):
        return [part.strip() for part in raw.split(",") if part.strip()]
    if isinstance(raw, Mapping):
        raise TypeError(raw)
    parts = list(raw) if isinstance(raw, Iterable) else [raw]
    # Bands may be numbered: `bands = [1, 2]`.
    return [str(p) if item is str and type(p) is int else p for p in parts]


def _as_bool(raw: Any) -> bool:
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, str) and raw.lower() in ("1", "true", "yes", "on"):
        return True
    if isinstance(raw, str) and raw.lower() in ("0", "false", "no", "off", ""):
        return False
    raise ValueError(raw)


def _type_name(hint: Any) -> str:
    if typing.get_origin(hint) is tuple:
        return f"a comma-separated list, each {_type_name(typing.get_args(hint)[0])}"
    names = {int: "a whole number", float: "a number", bool: "true or false"}
    names |= {str: "text", Path: "a path"}
    for kind, name in names.items():
        if hint is kind or kind in typing.get_args(hint):
            return name
    return str(hint)


def duration_seconds(text: str) -> float:
    """Seconds in 90s, 50min, 3h or 1d; 0 for an empty text.

    Raises:
        SettingsError: anything else.
    """
    if not text:
        return 0.0
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|min|h|d)", text.strip())
    if not match:
        raise SettingsError(
            f"--time-limit is {text!r}.", remedy="Give a number and s, min, h or d, such as 50min."
        )
    return float(match[1]) * UNITS_SECONDS[match[2]]


def parse_shard(text: str) -> tuple[int, int] | None:
    """``i/n`` as two numbers; None for an empty text.

    Raises:
        SettingsError: anything else.
    """
    if not text:
        return None
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise SettingsError(
            f"--shard {text} is no share.",
            remedy="Give i/n with i from 0 to n - 1, such as --shard 0/8.",
        )
    return int(index), int(count)


def parse_fold(text: str) -> tuple[int, int] | None:
    """``i/k`` as two numbers, ``i`` from 1; None for an empty text.

    Raises:
        SettingsError: anything else.
    """
    if not text:
        return None
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise SettingsError(
            f"--fold {text} is no fold.",
            remedy="Give i/k with i from 1 to k, such as --fold 1/5.",
        )
    return int(index), int(count)


def fold_name(run: str, fold: int, count: int) -> str:
    """What the run of a fold is called."""
    return f"{run}.fold{fold}of{count}"


def fold_of(name: str) -> tuple[str, int, int] | None:
    """Run, number and count of the fold that a name means; None if it means none."""
    match = re.fullmatch(r"(.+)\.fold([1-9]\d*)of([1-9]\d*)", name)
    return (match[1], int(match[2]), int(match[3])) if match else None


def train_command(run: str) -> str:
    """What trains a run, which may be a fold's."""
    fold = fold_of(run)
    if fold is None:
        return f"geoforecast train --run {run}"
    return f"geoforecast train --run {fold[0]} --fold {fold[1]}/{fold[2]}"


def share(items: Sequence[T], index: int, count: int) -> Sequence[T]:
    """The ``index``-th of ``count`` shares of some items, each of neighbours."""
    return items[len(items) * index // count : len(items) * (index + 1) // count]


def duration_text(seconds: float) -> str:
    """A duration as a person says it."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
