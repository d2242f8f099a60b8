"""Rows of the parts that were summed, and what a terminal shows of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geoforecast.forecast.kinds import BINARY, CATEGORICAL
from geoforecast.validate.metrics.classes import PooledClasses
from geoforecast.validate.metrics.pooled import Pooled
from geoforecast.validate.scoring.class_scores import ClassScores
from geoforecast.validate.scoring.partings import season_parts
from geoforecast.validate.scoring.parts import part_pooled, part_rows
from geoforecast.validate.scoring.rows import AnyScores, MetricRow
from geoforecast.validate.scoring.scores import STATS, Scores
from geoforecast.validate.scoring.sums import SUMS

# What is told of a part, besides skill.
CLASS_METRICS = {
    BINARY: ("brier", "disagreement", "csi", "pod", "far", "f1", "hss"),
    CATEGORICAL: (
        *("brier", "disagreement", "accuracy", "kappa", "macro_f1", "figure_of_merit"),
        *("quantity_disagreement", "allocation_disagreement"),
    ),
}


def rows_of_parts(
    scores: AnyScores,
    times: NDArray[np.datetime64],
    blocks: Sequence[tuple[str, range]] = (),
) -> tuple[MetricRow, ...]:
    """Rows of every part that was summed, and of seasons, where test steps lie in several.

    Args:
        scores: of the raster.
        times: of the cube's steps.
        blocks: of values, see Partings; sums of classes have them.
    """
    rows: list[MetricRow] = []
    for number, band in enumerate(scores.bands):
        for lead in scores.leads:
            if isinstance(scores, ClassScores):
                for title, classes in _class_parts(scores, number, lead):
                    told = CLASS_METRICS[scores.kind]
                    rows += part_rows(classes, band, lead, title, told, scores.skills)
                continue
            parts = list(_summed_parts(scores, number, lead))
            spans = [(title, np.isin(scores.steps, steps)) for title, steps in blocks]
            titles, by_step = season_parts(scores.steps, times)
            spans += [(title, np.equal(by_step, season)) for season, title in enumerate(titles)]
            for title, chosen in spans:
                parts.append((title, _of_steps(scores, number, lead, chosen)))
            for title, pooled in parts:
                rows += part_rows(pooled, band, lead, title)
    return tuple(rows)


def _class_parts(
    scores: ClassScores, band: int, lead: int
) -> list[tuple[str, dict[str, PooledClasses]]]:
    """Title and sums by method of the parts of pixels and steps."""
    return [
        (
            title,
            {
                method: sums.pooled(number, band, lead, part, probable=scores.probable)
                for number, method in enumerate(scores.methods)
            },
        )
        for sums in scores.parts
        for part, title in enumerate(sums.titles)
    ]


def _summed_parts(scores: Scores, band: int, lead: int) -> list[tuple[str, dict[str, Pooled]]]:
    """Title and sums by method of the parts of pixels."""
    found = []
    for titles, sums in scores.parts:
        for part, title in enumerate(titles):
            of_methods = sums[lead - 1, :, band, part]
            pooled = {
                method: _pooled(scores, band, of_methods[number])
                for number, method in enumerate(scores.methods)
            }
            found.append((title, pooled))
    return found


def _of_steps(scores: Scores, band: int, lead: int, chosen: NDArray[np.bool_]) -> dict[str, Pooled]:
    """Sums of some of the test steps, by method."""
    frames = scores.sums[:, lead - 1, :, band, : len(SUMS)]
    assert STATS[: len(SUMS)] == SUMS
    return {
        method: _pooled(scores, band, frames[chosen, number].sum(axis=0))
        for number, method in enumerate(scores.methods)
    }


def _pooled(scores: Scores, band: int, sums: NDArray[np.float64]) -> Pooled:
    return part_pooled(sums, scores.shifts[band], scores.data_range[band])


def parts_table(rows: Sequence[MetricRow], best: str = "rmse") -> list[list[str]]:
    """Skill over the best reference and pixels of each part, for a terminal; [] of none.

    Args:
        rows: of metric_rows and rows_of_parts.
        best: the metric that leads.
    """
    name = f"{best}_skill"
    told = [row for row in rows if row.part and row.metric == name]
    table: list[list[str]] = []
    for band in dict.fromkeys(row.band for row in told):
        own = [row for row in told if row.band == band]
        leads = sorted({row.lead for row in own})
        table.append([f"{band}: skill by part", *(f"lead {lead}" for lead in leads), "pixels"])
        for part in dict.fromkeys(row.part for row in own):
            found = {row.lead: row for row in own if row.part == part}
            cells = [
                "-" if math.isnan(found[lead].value) else f"{100 * found[lead].value:+.0f} %"
                for lead in leads
            ]
            table.append([part, *cells, str(found[leads[0]].pixels)])
    return table
