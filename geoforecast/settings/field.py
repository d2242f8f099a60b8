"""A setting: a dataclass field that also describes its command-line option."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any


def setting(
    default: Any,
    help: str,
    *,
    choices: Iterable[str] | None = None,
    flags: tuple[str, ...] = (),
    metavar: str | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    finite: bool = True,
) -> Any:
    """A dataclass field that also describes its command-line option.

    Args:
        default: the value when nobody says otherwise.
        help: one line for `--help`, without a final full stop.
        choices: the only accepted values, if they are a closed list.
        flags: further spellings of the option, such as ``("-r",)``.
        metavar: how the value is named in `--help`.
        minimum, maximum: the smallest and the largest accepted number.
        above: what a number must exceed.
        finite: whether infinity and NaN are refused.
    """
    metadata = {
        "help": help,
        "choices": tuple(choices) if choices else None,
        "flags": flags,
        "metavar": metavar,
        "minimum": minimum,
        "maximum": maximum,
        "above": above,
        "finite": finite,
    }
    return dataclasses.field(default=default, metadata=metadata)
