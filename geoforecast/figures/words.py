"""Times, units and numbers as people write them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray


def four_digits(value: float) -> str:
    """Four significant digits, or a dash."""
    return "-" if math.isnan(value) else f"{value:#.4g}".removesuffix(".")


def three_decimals(value: float) -> str:
    """A score between 0 and 1, or a dash."""
    return "-" if math.isnan(value) else f"{value:.3f}"


def shown_unit(unit: str) -> str:
    """A unit as people write it: none for the ``1`` of dimensionless numbers."""
    return "" if unit == "1" else unit


def time_label(time: np.datetime64) -> str:
    """A date, with the UTC time unless it is midnight."""
    text = str(time.astype("datetime64[m]")).replace("T", " ")
    return text.removesuffix(" 00:00") if text.endswith(" 00:00") else f"{text} UTC"


def reference_label(name: str) -> str:
    """A reference's name, with what others call it where that differs."""
    return f"{name} (the historical average)" if name == "mean" else name


def step_length(times: NDArray[np.datetime64]) -> str:
    """The usual time between steps, such as ``16 d`` or ``5 min``; ``about`` if it varies."""
    seconds = np.diff(times.astype("datetime64[s]").astype(np.int64))
    if seconds.size == 0:
        return "1 step"
    usual = int(np.median(seconds))
    about = "" if (seconds == usual).all() else "about "
    for name, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if usual >= length:
            return f"{about}{usual / length:.3g} {name}"
    return f"{about}{usual} s"


def without_twins(rows: Mapping[str, Sequence[str]]) -> tuple[list[str], str]:
    """Names whose rows differ, and a sentence on those that are left out as equal to one of them.

    Args:
        rows: name -> what its row of a table shows.
    """
    first: dict[tuple[str, ...], str] = {}
    twins: dict[str, list[str]] = {}
    for name, cells in rows.items():
        known = first.setdefault(tuple(cells), name)
        if known != name:
            twins.setdefault(known, []).append(name)
    kept = [name for name in rows if name in first.values()]
    return kept, " ".join(f"As {name}: {', '.join(same)}." for name, same in twins.items())
