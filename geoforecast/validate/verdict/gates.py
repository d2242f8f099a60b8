"""Quality gates: `--fail-under METRIC=X`, read before any work, checked after all."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from geoforecast.errors import QualityGateError, SettingsError, did_you_mean
from geoforecast.forecast.outcome import FORECAST
from geoforecast.validate.metrics.listing import KINDS, find_metric
from geoforecast.validate.metrics.pooled import Metric, metrics, skill_metrics
from geoforecast.validate.scoring.rows import MetricRow

HIGHER = "higher"


@dataclass(frozen=True)
class Gate:
    """What the forecast's mean over the leads must reach, for every band.

    Attributes:
        metric: as users write it, with dashes.
        threshold: to be exceeded by a metric whose high values are good; otherwise what it, or
            how far it is from its best value, may be at most.
        better: see metrics.Metric.
    """

    metric: str
    threshold: float
    better: str = HIGHER

    @property
    def label(self) -> str:
        """What is compared: the metric, or its distance from the best value."""
        return {"zero": f"|{self.metric}|", "one": f"|{self.metric} - 1|"}.get(
            self.better, self.metric
        )

    def measured(self, value: float) -> float:
        """What is compared, of one lead: errors of opposite sign do not make up for each other."""
        return {"zero": abs(value), "one": abs(value - 1)}.get(self.better, value)

    def holds(self, mean: float) -> bool:
        """Whether a mean over leads passes; an undefined one, which compares false, does not."""
        return mean > self.threshold if self.better == HIGHER else mean <= self.threshold

    @property
    def wanted(self) -> str:
        """What it asks, such as ``> 0`` or ``<= 0.1``."""
        return f"{'>' if self.better == HIGHER else '<='} {self.threshold:g}"


def gate_names() -> tuple[str, ...]:
    """Every metric that can be a gate: skills, and those of which a direction or value is best.

    Metrics of events stand for all that begin with their names: ``csi`` for ``csi-0.1``.
    """
    plain = [dashed(one.name) for one in _all_metrics() if one.better]
    return tuple(dict.fromkeys([*(f"{name}-skill" for name in _with_skill()), *plain]))


def dashed(name: str) -> str:
    """A metric's name as users write it."""
    return name.lower().replace("_", "-")


def parse_gates(entries: Iterable[str]) -> tuple[Gate, ...]:
    """Gates from text such as ``rmse-skill=0``.

    Raises:
        SettingsError: not NAME=NUMBER, or not a metric of which it is known what is good.
    """
    return tuple(_parse(entry) for entry in entries)


def check_gates(gates: Sequence[Gate], rows: Iterable[MetricRow], bands: Sequence[str]) -> None:
    """Compare the forecast, of all pixels and steps, with the gates; an undefined value fails.

    Bands of which a metric is not told, such as those without events, are passed over if another
    band has it.

    Raises:
        QualityGateError: a band's mean over all leads does not reach a threshold.
        SettingsError: no band has the metric.
    """
    values: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row.method == FORECAST and not row.part:
            values.setdefault((dashed(row.metric), row.band), []).append(row.value)
    told = tuple(dict.fromkeys(name for name, _ in values))
    failures, checks = [], 0
    for gate in gates:
        asked = [band for band in bands if (gate.metric, band) in values]
        if not asked:
            raise _untold(gate, told)
        for band in asked:
            found = [gate.measured(value) for value in values[gate.metric, band]]
            mean = math.fsum(found) / len(found)
            checks += 1
            if not gate.holds(mean):
                text = "undefined" if math.isnan(mean) else f"{mean:.4g}"
                failures.append(f"{band}: {gate.label} is {text}, needs {gate.wanted}")
    if failures:
        raise QualityGateError(
            f"The forecast fails {len(failures)} of {checks} quality checks (mean over all leads).",
            where=failures,
            remedy="See report.html for where it falls short; the metrics are written.",
        )


def _untold(gate: Gate, told: Sequence[str]) -> SettingsError:
    """The error of a metric that the run does not tell, with those that it does."""
    known = [name for name in told if _better(name)]
    return SettingsError(
        f"--fail-under asks for {gate.metric}, which is not told of this run; the metrics are "
        "written.",
        where=f"told are: {', '.join(known)}",
        remedy="Ask for one of these; `geoforecast metrics` says of which targets each is told.",
    )


def _parse(entry: str) -> Gate:
    name, equals, number = (part.strip() for part in entry.partition("="))
    name = dashed(name)
    try:
        threshold = float(number)
    except ValueError:
        threshold = math.nan
    if not equals or not math.isfinite(threshold):
        raise SettingsError(
            f"--fail-under '{entry}' is not METRIC=NUMBER.", remedy="Write e.g. rmse-skill=0."
        )
    better = _better(name)
    if better:
        return Gate(name, threshold, better)
    if any(dashed(one.name) == name for one in _all_metrics()):
        raise SettingsError(
            f"--fail-under cannot ask for {name}: no value of it is the best one.",
            remedy=f"Use one of which it is known what is good: {', '.join(gate_names())}.",
        )
    raise SettingsError(
        f"--fail-under does not know '{name}'.", remedy=did_you_mean(name, gate_names())
    )


def _better(name: str) -> str:
    """What is good of a metric that users may ask for, or nothing if they may not."""
    if any(re.fullmatch(rf"{lead}-skill(?:-vs-\w[\w-]*)?", name) for lead in _with_skill()):
        return HIGHER
    found = find_metric(name)
    return found[0].better if found else ""


def _all_metrics() -> tuple[Metric, ...]:
    return tuple(dict.fromkeys(metric for kind in KINDS for metric in metrics(kind)))


def _with_skill() -> tuple[str, ...]:
    return tuple(
        dict.fromkeys(
            name
            for probable in (True, False)
            for kind in KINDS
            for name in skill_metrics(kind, probable=probable)
        )
    )
