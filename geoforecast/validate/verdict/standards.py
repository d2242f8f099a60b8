"""A forecast held against a named standard: `--standard NAME`, `--strict`.

A figure alone misleads: where little changes from step to step, repeating the last observation
meets most standards too. So what persistence has of it stands beside each figure, and so does
the forecast's skill over persistence on the same pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from geoforecast.errors import QualityGateError, SettingsError
from geoforecast.figures.words import four_digits, shown_unit
from geoforecast.forecast.kinds import BINARY, CATEGORICAL, CONTINUOUS
from geoforecast.forecast.outcome import FORECAST
from geoforecast.settings.standards import NO_STANDARD, STANDARDS, Criterion
from geoforecast.validate.metrics.pooled import skill_metrics
from geoforecast.validate.scoring.rows import MetricRow
from geoforecast.validate.source import Source
from geoforecast.validate.verdict.summary import MEASURES as LEADING
from geoforecast.validate.verdict.summary import aligned, percent

PASS, FAIL, NOT_APPLICABLE = "pass", "fail", "not applicable"
PERSISTENCE = "persistence"
OF_VALUES = "told of values only, not of {kind} targets"
OF_EVENTS = "told of yes or no, and of events of values (--events)"


@dataclass(frozen=True)
class Judged:
    """What a standard is held against.

    Attributes:
        rows: of metric_rows.
        kind: of the targets.
        bands: their names.
        units: of each band.
        ranges: of each band, largest minus smallest training value.
        classes: how many bands of 0 and 1 the Brier score adds up; 1 unless targets are classes.
        probable: whether forecasts of classes, or of yes and no, are probabilities, and not maps.
    """

    rows: Sequence[MetricRow]
    kind: str
    bands: Sequence[str]
    units: Sequence[str]
    ranges: Sequence[float]
    classes: int = 1
    probable: bool = True

    @property
    def of_values(self) -> bool:
        """Whether errors have a size."""
        return self.kind not in (BINARY, CATEGORICAL)


@dataclass(frozen=True)
class Check:
    """One criterion, of one band.

    Attributes:
        standard, band: which.
        title: what is measured, in words.
        metric: of metrics.csv, from which it is made; empty if there is none.
        wanted: what is asked, such as ``< 0.15``.
        verdict: PASS, FAIL or NOT_APPLICABLE.
        reason: why it is not applicable.
        value: of the forecast, mean over leads; NaN where there is none.
        persistence: the same of persistence.
        skill: of the forecast over persistence by the metric that leads, mean over leads.
        skill_metric: that metric, in words.
    """

    standard: str
    band: str
    title: str
    metric: str
    wanted: str
    verdict: str
    reason: str
    value: float
    persistence: float
    skill: float
    skill_metric: str

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return asdict(self)


@dataclass(frozen=True)
class _Told:
    """What tells a measure: a metric and what is made of its values, or why nothing does."""

    title: str
    metric: str = ""
    reason: str = ""
    change: Callable[[float], float] = float


def judge_run(
    name: str, engine: Source, rows: Sequence[MetricRow], bands: Sequence[str]
) -> tuple[Check, ...]:
    """Every criterion of a standard, for a run; () of NO_STANDARD.

    Args:
        name: a key of STANDARDS, or NO_STANDARD.
        engine: for what was forecast, and the range of training values.
        rows: of metric_rows.
        bands: that were scored; of classes the one that they are of.
    """
    target = engine.series.target if engine.has_probabilities else None
    judged = Judged(
        rows=rows,
        kind=target.kind if target else CONTINUOUS,
        bands=bands,
        units=("",) * len(bands) if target else engine.units,
        ranges=[band.maximum - band.minimum for band in engine.statistics],
        classes=len(target.classes) or 1 if target else 1,
        probable=bool(engine.decision) if target else True,
    )
    return judge_standard(name, judged)


def judge_standard(name: str, judged: Judged) -> tuple[Check, ...]:
    """Every criterion of a standard, for every band; () of NO_STANDARD.

    Args:
        name: a key of STANDARDS, or NO_STANDARD.
        judged: what was found; rows of parts of the raster or of time count for nothing.
    """
    return tuple(
        check
        for number, band in enumerate(judged.bands)
        for criterion in STANDARDS.get(name, ())
        for check in _checks(name, criterion, band, number, judged)
    )


def check_standard(name: str, checks: Sequence[Check]) -> None:
    """What --strict does; criteria that are not applicable count for nothing.

    Raises:
        QualityGateError: a criterion fails, or none is applicable.
    """
    told = [check for check in checks if check.verdict != NOT_APPLICABLE]
    if not told:
        raise QualityGateError(
            f"No criterion of the standard '{name}' can be told of this run.",
            where=[f"{check.band}: {check.title}: {check.reason}" for check in checks],
            remedy="Choose another --standard, or leave out --strict; the metrics are written.",
        )
    failed = [check for check in told if check.verdict == FAIL]
    if failed:
        raise QualityGateError(
            f"The forecast fails {len(failed)} of {len(told)} criteria of the standard '{name}' "
            "(mean over all leads).",
            where=[
                f"{check.band}: {check.title} is {four_digits(check.value)}, needs {check.wanted}"
                for check in failed
            ],
            remedy="See report.html for where it falls short; the metrics are written.",
        )


def refuse_strict(standard: str, strict: bool) -> None:
    """Refuse --strict where there is nothing to be strict about.

    Raises:
        SettingsError: there is no standard.
    """
    if strict and standard == NO_STANDARD:
        raise SettingsError(
            "--strict needs a standard whose criteria must be met.",
            remedy=f"Give --standard and one of {', '.join(STANDARDS)}, or leave --strict out.",
        )


def render_standard(checks: Sequence[Check]) -> str:
    """The table that a terminal shows below that of skill; nothing without checks."""
    blocks = []
    for band in dict.fromkeys(check.band for check in checks):
        own = [check for check in checks if check.band == band]
        head = [f"{band}, standard {own[0].standard}, mean over leads", "forecast", "asked", ""]
        table = [[*head, PERSISTENCE, f"{own[0].skill_metric} skill over it"]]
        table += [
            [
                *(check.title, four_digits(check.value), check.wanted, check.verdict),
                *(four_digits(check.persistence), percent(check.skill)),
            ]
            for check in own
        ]
        notes = [f"{check.title}: {check.reason}." for check in own if check.reason]
        blocks.append("\n".join([aligned(table), *notes]))
    return "\n\n".join(blocks)


def _checks(name: str, criterion: Criterion, band: str, number: int, judged: Judged) -> list[Check]:
    """A criterion of one band; one for each event where events tell it."""
    leading = skill_metrics(judged.kind, probable=judged.probable)[0]
    skill, _ = _mean(judged.rows, FORECAST, band, f"{leading}_skill_vs_{PERSISTENCE}")
    checks = []
    for told in MEASURES[criterion.measure](judged, number):
        value, reason = math.nan, told.reason
        if not reason:
            value, reason = _mean(judged.rows, FORECAST, band, told.metric, told.change)
        met = PASS if criterion.holds(value) else FAIL
        checks.append(
            Check(
                standard=name,
                band=band,
                title=told.title,
                metric=told.metric,
                wanted=criterion.wanted,
                verdict=NOT_APPLICABLE if reason else met,
                reason=reason,
                value=value,
                persistence=_mean(judged.rows, PERSISTENCE, band, told.metric, told.change)[0],
                skill=skill,
                skill_metric=LEADING[leading],
            )
        )
    return checks


def _mean(
    rows: Sequence[MetricRow],
    method: str,
    band: str,
    metric: str,
    change: Callable[[float], float] = float,
) -> tuple[float, str]:
    """Mean over leads of what is made of a metric, and why there is none if there is none."""
    found = [
        row
        for row in rows
        if (row.method, row.band, row.metric, row.part) == (method, band, metric, "")
    ]
    if not found:
        return math.nan, "it was not scored"
    undefined = next((row for row in found if math.isnan(row.value)), None)
    if undefined:
        return math.nan, f"no value at lead {undefined.lead}: {undefined.reason}"
    return math.fsum(change(row.value) for row in found) / len(found), ""


def _rmse(judged: Judged, number: int) -> list[_Told]:
    if not judged.of_values:
        title = "RMSE of probabilities"
        return [_Told(title, "brier", change=lambda brier: math.sqrt(brier / judged.classes))]
    title, size = "RMSE / training range", judged.ranges[number]
    if not size > 0:
        return [_Told(title, "rmse", "the training pixels have no range of values")]
    return [_Told(title, "rmse", change=lambda rmse: rmse / size)]


def _mae(judged: Judged, number: int) -> list[_Told]:
    unit = shown_unit(judged.units[number])
    reason = "" if judged.of_values else OF_VALUES.format(kind=judged.kind)
    if unit:
        reason = f"the threshold is of an index without unit, and this band is in {unit}"
    return [_Told("MAE", "mae", reason)]


def _r2(judged: Judged, number: int) -> list[_Told]:  # noqa: ARG001  as the others are asked
    if judged.of_values:
        return [_Told("R²", "r2")]
    return [_Told("R² of probabilities", "probability_r2")]


def _of_values(title: str, metric: str) -> Callable[[Judged, int], list[_Told]]:
    """A measure that is one metric of values."""

    def tell(judged: Judged, number: int) -> list[_Told]:  # noqa: ARG001
        reason = "" if judged.of_values else OF_VALUES.format(kind=judged.kind)
        return [_Told(title, metric, reason)]

    return tell


def _of_events(title: str, metric: str, of_classes: str) -> Callable[[Judged, int], list[_Told]]:
    """A measure of yes or no: of values, of each of their events."""

    def tell(judged: Judged, number: int) -> list[_Told]:
        if judged.kind == BINARY:
            return [_Told(title, metric)]
        if judged.kind == CATEGORICAL and of_classes:
            return [_Told(f"{title}, mean over classes", of_classes)]
        names = dict.fromkeys(
            row.metric
            for row in judged.rows
            if row.band == judged.bands[number] and row.metric.startswith(f"{metric}_")
        )
        unit = shown_unit(judged.units[number])
        told = [
            _Told(f"{title} at {name.removeprefix(f'{metric}_')} {unit}".rstrip(), name)
            for name in names
            if judged.of_values
        ]
        return told or [_Told(title, metric, OF_EVENTS)]

    return tell


# What a criterion may ask for, and what tells it of a band (index).
MEASURES: dict[str, Callable[[Judged, int], list[_Told]]] = {
    "rmse": _rmse,
    "mae": _mae,
    "r2": _r2,
    "ssim": _of_values("SSIM", "ssim"),
    "moran": _of_values("Moran's I", "moran"),
    "alignment": _of_values("alignment (px)", "alignment"),
    "iou": _of_events("IoU", "csi", ""),
    "f1": _of_events("F1", "f1", "macro_f1"),
}
