"""Tables of what was observed and what was forecast, for programs and for the report."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from geoforecast.forecast.outcome import FORECAST
from geoforecast.validate.metrics.one_class import ONE_CLASS, UNKNOWN, class_values
from geoforecast.validate.metrics.pooled import metrics
from geoforecast.validate.scoring.class_scores import ClassScores


def confusion_json(scores: ClassScores) -> list[dict[str, Any]]:
    """Pixels by observed and by forecast class, of every method, band and lead.

    The last row of ``pixels`` holds observed classes that training never saw; it is left out, and
    its name with it, where there are none.
    """
    found = []
    for number, band in enumerate(scores.bands):
        for lead in scores.leads:
            for method in scores.methods:
                table = scores.pooled(method, number, lead).table
                whole = len(scores.classes) + bool(table[-1].any())
                found.append(
                    {
                        "method": method,
                        "band": band,
                        "lead": lead,
                        "observed": [*scores.classes, UNKNOWN][:whole],
                        "forecast": list(scores.classes),
                        "pixels": table[:whole].tolist(),
                    }
                )
    return found


@dataclass(frozen=True)
class ConfusionRow:
    """One observed class of the report's table.

    Attributes:
        name: its code, or UNKNOWN.
        pixels: observed.
        cells: (forecast class, pixels, share of the observed class) of each column.
        values: of metrics of one class, in their order; NaN where undefined.
    """

    name: str
    pixels: int
    cells: tuple[tuple[str, int, float], ...]
    values: tuple[float, ...]


def confusion_rows(scores: ClassScores, band: int, lead: int) -> list[ConfusionRow]:
    """What the forecast made of each observed class; unknown ones only if there are any."""
    pooled = scores.pooled(FORECAST, band, lead)
    value = {name: value for name, value, _ in class_values(pooled, scores.classes)}
    names = [*(str(code) for code in scores.classes), UNKNOWN]
    rows = []
    for name, counts in zip(names, pooled.table.tolist(), strict=True):
        total = sum(counts)
        if name == UNKNOWN and not total:
            continue
        cells = tuple(
            (said, count, count / total if total else math.nan)
            for said, count in zip(names, counts, strict=False)
        )
        told = tuple(value[f"{one.name}_{name}"] for one in metrics(ONE_CLASS))
        rows.append(ConfusionRow(name, total, cells, told))
    return rows
