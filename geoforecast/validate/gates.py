"""Quality gates: `--fail-under METRIC-skill=X`, read before any work, checked after all."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from geoforecast.errors import QualityGateError, SettingsError, did_you_mean
from geoforecast.forecast.engine import FORECAST
from geoforecast.validate.metrics import Metric, metrics, skill_metrics
from geoforecast.validate.summary import MetricRow

KINDS = ("continuous", "binary", "categorical")


@dataclass(frozen=True)
class Gate:
    """A number that the forecast's mean over the leads must exceed, for every band."""

    metric: str
    threshold: float

    @property
    def label(self) -> str:
        """The metric as users write it."""
        return self.metric.replace("_", "-")


def gate_names() -> tuple[str, ...]:
    """Every metric that can be a gate: the skills, and metrics where higher is better."""
    plain = [metric.name for metric in _all_metrics() if metric.better == "higher"]
    return tuple(f"{name}-skill" for name in _with_skill()) + tuple(plain)


def _all_metrics() -> tuple[Metric, ...]:
    return tuple(dict.fromkeys(metric for kind in KINDS for metric in metrics(kind)))


def _with_skill() -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for kind in KINDS for name in skill_metrics(kind)))


def parse_gates(entries: Iterable[str]) -> tuple[Gate, ...]:
    """Gates from text such as ``rmse-skill=0``.

    Raises:
        SettingsError: not NAME=NUMBER, or not a metric to be exceeded.
    """
    return tuple(_parse(entry) for entry in entries)


def check_gates(gates: Sequence[Gate], rows: Iterable[MetricRow], bands: Sequence[str]) -> None:
    """Compare the forecast with the gates; an undefined value fails.

    Raises:
        QualityGateError: a band's mean over all leads does not exceed a threshold.
    """
    values: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row.method == FORECAST:
            values.setdefault((row.metric, row.band), []).append(row.value)
    failures = []
    for gate in gates:
        for band in bands:
            found = values.get((gate.metric, band))
            if found is None:
                raise SettingsError(
                    f"--fail-under asks for {gate.label}, which is told of other kinds of targets.",
                    remedy="See metrics.csv for what is told of this run; it is written.",
                )
            mean = math.fsum(found) / len(found)
            # Written so that NaN, which compares false, fails.
            if not mean > gate.threshold:
                text = "undefined" if math.isnan(mean) else f"{mean:.4g}"
                failures.append(f"{band}: {gate.label} is {text}, needs > {gate.threshold:g}")
    if failures:
        raise QualityGateError(
            f"The forecast fails {len(failures)} of {len(gates) * len(bands)} quality checks "
            "(mean over all leads).",
            where=failures,
            remedy="See report.html for where it falls short; the metrics are written.",
        )


def _parse(entry: str) -> Gate:
    name, equals, number = (part.strip() for part in entry.partition("="))
    name = name.lower().replace("_", "-")
    try:
        threshold = float(number)
    except ValueError:
        threshold = math.nan
    if not equals or not math.isfinite(threshold):
        raise SettingsError(
            f"--fail-under '{entry}' is not METRIC=NUMBER.", remedy="Write e.g. rmse-skill=0."
        )
    if name in gate_names():
        return Gate(name.replace("-", "_"), threshold)
    lower = {metric.name for metric in _all_metrics() if metric.better != "higher"}
    if name in lower:
        remedy = f"Use {name}-skill={number}." if name in _with_skill() else "Use rmse-skill=0."
        raise SettingsError(
            f"--fail-under cannot ask {name} to exceed a number: a good {name} is near 0.",
            remedy=remedy,
        )
    raise SettingsError(
        f"--fail-under does not know '{name}'.", remedy=did_you_mean(name, gate_names())
    )
