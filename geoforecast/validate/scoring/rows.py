"""Scores as tidy rows: every metric of every method, band and lead."""

from __future__ import annotations

import math
from dataclasses import dataclass

from geoforecast.forecast.kinds import CATEGORICAL
from geoforecast.forecast.outcome import FORECAST
from geoforecast.validate.metrics.ensemble import ENSEMBLE
from geoforecast.validate.metrics.fields import FIELD
from geoforecast.validate.metrics.one_class import class_values
from geoforecast.validate.metrics.pooled import Pooled, evaluate, metric_names, skill
from geoforecast.validate.metrics.significance import diebold_mariano, skill_interval
from geoforecast.validate.metrics.temporal import TEMPORAL
from geoforecast.validate.metrics.variogram import variogram_values
from geoforecast.validate.scoring.class_scores import ClassScores
from geoforecast.validate.scoring.scores import Scores, best_reference
from geoforecast.validate.scoring.thresholds import event_values, fraction_values

AnyScores = Scores | ClassScores
BOUNDS = ("interval_coverage", "interval_width")


@dataclass(frozen=True)
class MetricRow:
    """One line of metrics.csv; ``value`` is NaN, with a ``reason``, where undefined.

    A value that could not have been another has a reason as well.
    ``part`` names the pixels and steps that were scored where they are not all that could be.
    """

    method: str
    band: str
    lead: int
    metric: str
    value: float
    pixels: int
    reason: str = ""
    part: str = ""


def metric_rows(scores: AnyScores) -> tuple[MetricRow, ...]:
    """Every metric of every method, then the forecast's skills, by band and lead."""
    rows: list[MetricRow] = []
    for number, band in enumerate(scores.bands):
        for lead in scores.leads:
            errors: dict[tuple[str, str], float] = {}
            pixels = 0
            for method in scores.methods:
                pooled = scores.pooled(method, number, lead)
                pixels = pooled.n
                for name in metric_names(scores.kind):
                    value, reason = evaluate(name, pooled)
                    used = pooled.n
                    if isinstance(pooled, Pooled) and name == "ssim":
                        used = pooled.ssim_pixels
                    rows.append(MetricRow(method, band, lead, name, value, used, reason))
                    errors[method, name] = value
                for label, value, reason in _told(scores, method, number, lead):
                    rows.append(MetricRow(method, band, lead, label, value, pixels, reason))
            for name in scores.skills:
                by_method = {method: errors[method, name] for method in scores.methods}
                for label, value, reason in _skills(name, by_method):
                    rows.append(MetricRow(FORECAST, band, lead, label, value, pixels, reason))
                if name == scores.skills[0]:
                    for label, value, reason in _chances(scores, name, by_method, number, lead):
                        rows.append(MetricRow(FORECAST, band, lead, label, value, pixels, reason))
            if isinstance(scores, Scores) and scores.interval:
                for label, value in zip(BOUNDS, scores.coverage(number, lead), strict=True):
                    reason = "no pixel could be scored" if math.isnan(value) else ""
                    rows.append(MetricRow(FORECAST, band, lead, label, value, pixels, reason))
                known = scores.ensemble(number, lead)
                for name in metric_names(ENSEMBLE):
                    value, reason = evaluate(name, known)
                    rows.append(MetricRow(FORECAST, band, lead, name, value, pixels, reason))
    return tuple(rows)


def _told(scores: AnyScores, method: str, band: int, lead: int) -> list[tuple[str, float, str]]:
    """(metric name, value, reason) of events and maps, or of each class."""
    if isinstance(scores, Scores):
        return [
            *event_values(scores, method, band, lead),
            *look_values(scores, method, band, lead),
        ]
    if scores.kind == CATEGORICAL:
        return class_values(scores.pooled(method, band, lead), scores.classes)
    return []


def look_values(scores: Scores, method: str, band: int, lead: int) -> list[tuple[str, float, str]]:
    """(metric name, value, reason) of frames and of pixels through time, where they are drawn."""
    if (method, band, lead) not in scores.looks.fields:
        return []
    pooled, course = scores.fields(method, band, lead), scores.course(method, band, lead)
    return [
        *((name, *evaluate(name, course)) for name in metric_names(TEMPORAL)),
        *((name, *evaluate(name, pooled)) for name in metric_names(FIELD)),
        *variogram_values(pooled.variogram),
        *fraction_values(scores, method, band, lead),
    ]


def _skills(name: str, errors: dict[str, float]) -> list[tuple[str, float, str]]:
    """(metric name, value, reason) of the forecast against each reference and the best."""
    result = [
        (f"{name}_skill_vs_{method}", *skill(errors[FORECAST], value))
        for method, value in errors.items()
        if method != FORECAST
    ]
    best = best_reference(errors)
    if best:
        result.append((f"{name}_skill", *skill(errors[FORECAST], errors[best])))
    else:
        reason = "no reference has a value to compare with"
        result.append((f"{name}_skill", math.nan, reason))
    return result


def _chances(
    scores: AnyScores, name: str, errors: dict[str, float], band: int, lead: int
) -> list[tuple[str, float, str]]:
    """(metric name, value, reason) of how far the skill over the best may be chance."""
    labels = (f"{name}_skill_low", f"{name}_skill_high", f"{name}_p_value")
    best = best_reference(errors)
    if not best:
        return [(label, math.nan, "no reference has a value to compare with") for label in labels]
    ours, pixels = scores.step_errors(FORECAST, band, lead)
    theirs, _ = scores.step_errors(best, band, lead)
    values = [
        *skill_interval(ours, theirs, lead, root=name == "rmse"),
        diebold_mariano(ours / pixels, theirs / pixels, lead)[1],
    ]
    reason = "too few steps, or both err alike"
    return [
        (label, value, reason if math.isnan(value) else "")
        for label, value in zip(labels, values, strict=True)
    ]


# Of a map what is told in the report: a title, and metrics with whose they are.
LOOKS = (
    ("fine structure", (("fine_power", ""),)),
    ("effective resolution (px)", (("effective_resolution", ""),)),
    ("Moran's I", (("moran", ""), ("moran_observed", "observed"))),
    ("Moran's I of the error", (("moran_error", ""),)),
    (
        "variogram range (px)",
        (("variogram_range", ""), ("variogram_range_observed", "observed")),
    ),
    ("Kolmogorov-Smirnov distance", (("ks_distance", ""),)),
    ("temporal correlation", (("temporal_correlation", ""),)),
    ("peak timing error (steps)", (("peak_timing", ""),)),
    ("temporal phase (steps late)", (("temporal_phase", ""),)),
    ("echo", (("echo", ""),)),
    ("alignment (px)", (("alignment", ""),)),
)


def look_table(
    value: dict[tuple[str, int, str], float], leads: list[int]
) -> list[tuple[str, list[tuple[str, list[float]]]]]:
    """What maps look like, for the report: a title, then whose they are and the values by lead.

    Args:
        value: (method, lead, metric) -> value, of one band.
        leads: to tell of, from 1.
    """
    methods = list(dict.fromkeys(method for method, _, name in value if name == "moran"))
    result = []
    for title, names in LOOKS:
        rows = [
            (whose or method, [value[method, lead, name] for lead in leads])
            for name, whose in names
            for method in (methods[:1] if whose else methods)
        ]
        result.append((title, rows))
    return result
