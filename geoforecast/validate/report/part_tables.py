"""Scores of parts of the raster and of time, as tables of the report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from geoforecast.figures.words import four_digits
from geoforecast.forecast.outcome import FORECAST
from geoforecast.validate.scoring.rows import MetricRow
from geoforecast.validate.verdict.summary import NOTICEABLE, percent

# What is said above the parts of a kind, and the first words of their names.
HEADINGS = {
    "By what training saw": ("held", "seen"),
    "By fold": ("fold",),
    "By region": ("region",),
    "By class of the raster of --by": ("class",),
    "By range of what came": ("range",),
    "By season of the valid time": ("season",),
}
RANGES_NOTE = (
    "Nobody knows beforehand in which range a value will lie: a forecast that is best in one range "
    "only need not be a good one."
)


@dataclass(frozen=True)
class PartCell:
    """One number of a table: its text, and ``better``, ``worse`` or nothing."""

    text: str
    verdict: str = ""


@dataclass(frozen=True)
class PartTable:
    """All parts of one kind.

    Attributes:
        heading, note: above and below.
        groups: titles of metrics; each has a column a lead.
        leads: from 1.
        rows: a part's name, its pixels, and its cells, group by group and lead by lead.
    """

    heading: str
    note: str
    groups: tuple[str, ...]
    leads: tuple[int, ...]
    rows: tuple[tuple[str, int, tuple[PartCell, ...]], ...]


def part_tables(
    rows: Sequence[MetricRow], band: str, metrics: Sequence[tuple[str, str]]
) -> list[PartTable]:
    """A table for each way in which a band's pixels and steps were divided.

    Args:
        rows: of rows_of_parts.
        band: its name.
        metrics: (name, title) of what is told of the forecast; skills are told in percent.
    """
    own = [row for row in rows if row.band == band and row.method == FORECAST]
    value = {(row.part, row.lead, row.metric): row.value for row in own}
    pixels = {(row.part, row.lead): row.pixels for row in own}
    leads = tuple(sorted({row.lead for row in own}))
    names = list(dict.fromkeys(row.part for row in own))
    tables = []
    for heading, words in HEADINGS.items():
        parts = [name for name in names if name.partition(" ")[0] in words]
        if not parts:
            continue
        made = [
            (
                name.partition(" ")[2] if len(words) == 1 else name,
                pixels[name, leads[0]],
                tuple(
                    _cell(metric, value[name, lead, metric])
                    for metric, _ in metrics
                    for lead in leads
                ),
            )
            for name in parts
        ]
        note = RANGES_NOTE if words == ("range",) else ""
        titles = tuple(title for _, title in metrics)
        tables.append(PartTable(heading, note, titles, leads, tuple(made)))
    return tables


def _cell(metric: str, value: float) -> PartCell:
    if math.isnan(value):
        return PartCell("–")
    if not metric.endswith("_skill"):
        return PartCell(four_digits(value).replace("-", "−"))
    verdict = "" if abs(value) < NOTICEABLE else "better" if value > 0 else "worse"
    return PartCell(percent(value).replace("-", "−"), verdict)
