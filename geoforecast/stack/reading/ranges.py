"""Between which values a band can lie at all, as far as that is known.

Forecasts are held within these bounds. They follow from what the sensor calls usable, from the
numbers that a file's type can hold, from the unit, and from the formula of normalised
differences; never from the values themselves.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from geoforecast.stack.derived.bands import index_formula
from geoforecast.stack.inventory.scenes import SceneFile
from geoforecast.stack.plan import Plan
from geoforecast.stack.reading.readings import Reading, convert

Range = tuple[float, float]

ENDLESS: Range = (-math.inf, math.inf)
UNITS: dict[str, Range] = {
    "K": (0.0, math.inf),
    "%": (0.0, 100.0),
    **dict.fromkeys(("mm/h", "mm/hr", "mm h-1"), (0.0, math.inf)),
}
# Names of normalised differences among spectral indices; others need no look at the table.
DIFFERENCE_NAME = re.compile(r"[A-Za-z]{0,2}N[DB]\w+")
DIFFERENCE = re.compile(r"\(?\(?(\w+)-(\w+)\)/\((\1\+\2|\2\+\1)\)\)?")


def ranges(plan: Plan) -> list[list[float | None]]:
    """Least and greatest value of each band of a cube; None where there is no bound."""
    if plan.kind == "categorical":
        return [[None, None] for _ in plan.bands]
    texts = {item.name: item.text for item in plan.derived}
    found = []
    for band, unit in zip(plan.bands, plan.units, strict=True):
        low, high = UNITS.get(unit, ENDLESS)
        named = DIFFERENCE_NAME.fullmatch(band) is not None
        formula = texts.get(band) or (index_formula(band) if named else "")
        sides = [_of_files(band, plan.scenes())] if band not in texts else []
        if is_difference(formula):
            sides.append((-1.0, 1.0))
        for least, most in sides:
            low, high = max(low, least), min(high, most)
        found.append([end if math.isfinite(end) else None for end in (low, high)])
    return found


def is_difference(formula: str) -> bool:
    """Whether a formula is (a - b) / (a + b), which lies between -1 and 1."""
    return DIFFERENCE.fullmatch(formula.replace(" ", "")) is not None


def _of_files(band: str, scenes: Sequence[SceneFile]) -> Range:
    """The range that holds what each scene's file can say of a band."""
    every = [
        _of_file(file.readings[band], file.header.dtypes[file.bands[band] - 1])
        for file in scenes
        if band in file.bands and file.header is not None
    ]
    return min(low for low, _ in every), max(high for _, high in every)


def _of_file(reading: Reading, dtype: str) -> Range:
    """The physical values of the least and the greatest usable raw number."""
    low = -math.inf if reading.low is None else reading.low
    high = math.inf if reading.high is None else reading.high
    if np.dtype(dtype).kind == "u":
        low, high = max(low, 0.0), min(high, float(np.iinfo(dtype).max))
    ends = np.array([low, high], dtype=np.float32)
    with np.errstate(all="ignore"):
        made = convert(ends * np.float32(reading.scale) + np.float32(reading.offset), reading)
    if np.isnan(made).any():  # such as decibels of no power
        return ENDLESS
    return float(made.min()), float(made.max())
