"""Scores of parts of the pixels: sums by label, and tidy rows of each part.

A label is a number a pixel: the region it lies in, the class it has, the season of the step, or
whether training saw it. What is summed of a part is what sums.py sums of a frame.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoforecast.forecast.outcome import FORECAST
from geoforecast.validate.metrics.classes import PooledClasses
from geoforecast.validate.metrics.pooled import Pooled, evaluate, skill
from geoforecast.validate.scoring.rows import MetricRow
from geoforecast.validate.scoring.scores import best_reference
from geoforecast.validate.scoring.sums import SUMS, Scale, frame_sums

# What is told of a part; skills come beside them.
PART_METRICS = ("rmse", "mae", "bias", "r2")
SKILLS = ("rmse", "mae")


def part_sums(
    forecast: NDArray[Any],
    observed: NDArray[Any],
    scored: NDArray[np.bool_],
    labels: NDArray[np.integer[Any]],
    count: int,
    scale: Scale,
    normal: NDArray[Any] | None = None,
) -> NDArray[np.float64]:
    """The sums that the metrics need, of the pixels of each label.

    Args:
        forecast, observed: (y, x), band units, finite where scored.
        scored: (y, x) bool.
        labels: (y, x), 0 to count - 1; pixels of any other label take no part.
        count: how many labels there are.
        scale: see Scale.
        normal: see sums.frame_sums.
    Returns:
        (count, SUMS): sums add up over tiles, steps and labels.
    """
    result = np.zeros((count, len(SUMS)))
    taken = np.where(scored & (labels >= 0) & (labels < count), labels, -1)
    for label in np.unique(taken[taken >= 0]).tolist():
        own = taken == label
        # Regions are small and many: no more is looked at than the rectangle about each.
        box = tuple(_span(own.any(axis=axis)) for axis in (1, 0))
        known = None if normal is None else normal[box]
        result[label] = frame_sums(forecast[box], observed[box], own[box], scale, known)
    return result


def _span(some: NDArray[np.bool_]) -> slice:
    """From the first to the last that is True; one is at least."""
    places = np.flatnonzero(some)
    return slice(int(places[0]), int(places[-1]) + 1)


def part_pooled(sums: NDArray[np.float64], shift: float, data_range: float) -> Pooled:
    """What metrics are evaluated of, from the sums of one part; SSIM, a frame's, is undefined.

    Args:
        sums: (SUMS,) added over tiles and steps.
        shift: what the sums are about, see Scale.
        data_range: of the band.
    """
    total = dict(zip(SUMS, sums.tolist(), strict=True))
    whole = {name: int(total.pop(name)) for name in ("n", "relative_n", "anomalies_n")}
    return Pooled(**whole, **total, shift=shift, data_range=data_range, ssim=math.nan)


def part_rows(
    pooled: Mapping[str, Pooled] | Mapping[str, PooledClasses],
    band: str,
    lead: int,
    part: str,
    metrics: Sequence[str] = PART_METRICS,
    skills: Sequence[str] = SKILLS,
) -> tuple[MetricRow, ...]:
    """What is told of every method in one part, and the forecast's skills.

    Args:
        pooled: by method, ``forecast`` among them, of the same pixels.
        band, lead: which.
        part: its name.
        metrics: that are told, those of ``skills`` among them.
        skills: metrics by which the forecast is held against the others.
    """
    pixels = pooled[FORECAST].n
    rows = []
    errors: dict[tuple[str, str], float] = {}
    for method, one in pooled.items():
        for name in metrics:
            value, reason = evaluate(name, one)
            errors[method, name] = value
            rows.append(MetricRow(method, band, lead, name, value, pixels, reason, part))
    for name in skills:
        by_method = {method: errors[method, name] for method in pooled}
        best = best_reference(by_method)
        against = {method: method for method in pooled if method != FORECAST}
        labels = {f"{name}_skill_vs_{method}": method for method in against}
        labels[f"{name}_skill"] = best
        for label, method in labels.items():
            value, reason = math.nan, "no reference has a value to compare with"
            if method:
                value, reason = skill(by_method[FORECAST], by_method[method])
            rows.append(MetricRow(FORECAST, band, lead, label, value, pixels, reason, part))
    return tuple(rows)


def skills_of(rows: Sequence[MetricRow], metric: str, part: str) -> list[float]:
    """Known values of a metric of the forecast in a part, of all bands and leads."""
    return [
        row.value
        for row in rows
        if (row.method, row.metric, row.part) == (FORECAST, metric, part)
        and not math.isnan(row.value)
    ]
