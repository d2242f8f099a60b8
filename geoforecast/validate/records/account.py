"""What other software is told of a validation: the same facts for ISO XML and STAC."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from geoforecast.figures.words import shown_unit, step_length
from geoforecast.forecast.kinds import CONTINUOUS
from geoforecast.forecast.outcome import FORECAST
from geoforecast.raster.grid import Grid
from geoforecast.validate.metrics.listing import find_metric
from geoforecast.validate.origin import Origin, origin_of
from geoforecast.validate.report.class_page import ClassEvidence
from geoforecast.validate.report.page import Evidence
from geoforecast.validate.scoring.rows import MetricRow
from geoforecast.validate.verdict.standards import PERSISTENCE, Check
from geoforecast.validate.verdict.summary import LeadSummary

SKILLS = {"_skill": "the best reference", f"_skill_vs_{PERSISTENCE}": PERSISTENCE}
SQUARED = ("mse",)  # in squared units


@dataclass(frozen=True)
class Account:
    """What was found, of what, and where.

    Attributes:
        run: its name.
        fingerprint: of the cube.
        kind: of the targets.
        grid: of the maps.
        bands, units: scored, and what they are in.
        start, end: first and last valid time of the test block.
        step: the usual time between steps, in words.
        origin: whose forecasts they are.
        rows: of metric_rows.
        summary: of summarise.
        checks: criteria of a standard, if one was asked for.
        sentences: what the report says first.
    """

    run: str
    fingerprint: str
    kind: str
    grid: Grid
    bands: tuple[str, ...]
    units: tuple[str, ...]
    start: np.datetime64
    end: np.datetime64
    step: str
    origin: Origin
    rows: tuple[MetricRow, ...]
    summary: tuple[LeadSummary, ...]
    checks: tuple[Check, ...]
    sentences: tuple[str, ...]

    @property
    def name(self) -> str:
        """What it is called among others: run and test block."""
        start, end = (str(time.astype("datetime64[s]")) for time in (self.start, self.end))
        return f"{self.run}_{start}_{end}".replace(":", "").replace("-", "")


def account_of(evidence: Evidence | ClassEvidence) -> Account:
    """What the report tells, for other software."""
    engine, (_, bands, units) = evidence.engine, scored_of(evidence)
    test = engine.split.test_steps
    return Account(
        run=evidence.run,
        fingerprint=engine.fingerprint,
        kind=engine.series.target.kind if engine.has_probabilities else CONTINUOUS,
        grid=engine.cube.grid,
        bands=bands,
        units=tuple(shown_unit(unit) for unit in units),
        start=engine.cube.times[test[0]],
        end=engine.cube.times[test[-1]],
        step=step_length(engine.cube.times),
        origin=origin_of(engine, evidence.run),
        rows=evidence.rows,
        summary=evidence.summary,
        checks=evidence.checks,
        sentences=evidence.sentences,
    )


def scored_of(
    evidence: Evidence | ClassEvidence,
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Methods, bands and units of what was scored; probabilities have no unit."""
    if isinstance(evidence, ClassEvidence):
        scores = evidence.scores
        return tuple(scores.methods), tuple(scores.bands), ("",) * len(scores.bands)
    engine = evidence.engine
    return tuple(evidence.methods), tuple(engine.band_names), tuple(engine.units)


@dataclass(frozen=True)
class Score:
    """One metric of the forecast of one band, by lead.

    Attributes:
        name: as in metrics.csv.
        band, unit: what it is of, and the unit of its values.
        title, formula, source: see metrics.Metric.
        kind: that the metric is told of.
        rows: one for each lead.
    """

    name: str
    band: str
    unit: str
    title: str
    formula: str
    source: str
    kind: str
    rows: tuple[MetricRow, ...]


def scores_of(account: Account) -> Iterator[Score]:
    """The forecast's metrics, and its skill over the best reference and over persistence.

    Of all pixels and steps together, in the order of metrics.csv.
    """
    for band, unit in zip(account.bands, account.units, strict=True):
        found: dict[str, list[MetricRow]] = {}
        for row in account.rows:
            if (row.method, row.band, row.part) == (FORECAST, band, ""):
                found.setdefault(row.metric, []).append(row)
        for name, rows in found.items():
            score = _skill(name, band, rows) or _score(name, band, unit, rows)
            if score is not None:
                yield score


def _score(name: str, band: str, unit: str, rows: Sequence[MetricRow]) -> Score | None:
    """A metric; None of rows that are none, such as ends of intervals."""
    found = find_metric(name)
    if found is None:
        return None
    one, kind = found
    if one.name in SQUARED:
        unit_of = f"({unit})²" if unit else "1"
    elif one.in_units:
        unit_of = unit or "1"
    else:
        unit_of = one.title.partition("(")[2].rstrip(")") or "1"
    event = name.removeprefix(one.name).replace("_", " ")
    return Score(
        *(name, band, unit_of, f"{one.title}{event}", one.formula, one.source, kind, tuple(rows))
    )


def _skill(name: str, band: str, rows: Sequence[MetricRow]) -> Score | None:
    """A skill over the best reference or over persistence; None of anything else."""
    for end, over in SKILLS.items():
        found = find_metric(name.removesuffix(end)) if name.endswith(end) else None
        if found is not None:
            title = found[0].title
            return Score(
                *(name, band, "1", f"{title} skill over {over}"),
                f"1 − {title} / {title} of {over}, same pixels",
                "Murphy (1988), Monthly Weather Review 116",
                *(found[1], tuple(rows)),
            )
    return None


def unscored(summary: Sequence[LeadSummary], band: str) -> list[tuple[int, float]]:
    """(lead, share of the observed pixels that could not be scored), where any was observed."""
    found = [item for item in summary if item.band == band]
    return [(item.lead, 1 - item.scored_share) for item in found if item.scored_share >= 0]
