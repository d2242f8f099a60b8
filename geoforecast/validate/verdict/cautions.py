"""What is suspicious about a forecast, in words: it lies aside, or comes late.

Both are slips that every mean error hides: rasters that are placed by their corner on one side
and by their middle on the other, dates that mean the end of an interval, a model that has
learned to repeat.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from geoforecast.forecast.outcome import FORECAST
from geoforecast.raster.grid import Grid
from geoforecast.validate.metrics.alignment import FAR_PX
from geoforecast.validate.scoring.rows import MetricRow
from geoforecast.validate.verdict.summary import at_leads

# An echo is the correlation with what was last seen less that with what came. Of persistence it
# is as large as it can be, and of a forecast that is what came it is below 0. Both thresholds
# must be reached: forecasts of little skill have small echoes by chance, and where little
# changes between steps the whole of an echo is small and being late costs nothing.
ECHO = 0.1
REPEATED = 0.9  # correlation through time with what was last seen
COMPASS = ("east", "north-east", "north", "north-west", "west", "south-west", "south", "south-east")


def cautions(rows: Sequence[MetricRow], grid: Grid) -> tuple[str, ...]:
    """A sentence for each band and slip that the scores point to.

    Args:
        rows: of metric_rows; those of parts of the raster or of time count for nothing.
        grid: tells which way is east.
    """
    value: dict[str, dict[str, dict[int, float]]] = {}
    for row in rows:
        if row.method == FORECAST and not row.part:
            value.setdefault(row.band, {}).setdefault(row.metric, {})[row.lead] = row.value
    sentences = []
    for band, told in value.items():
        sentences += [f"{band}: {text}" for text in (_aside(told, grid), _late(told)) if text]
    return tuple(sentences)


def _aside(told: dict[str, dict[int, float]], grid: Grid) -> str:
    """Where the forecast lies, where that is half a pixel or more from what came."""
    leads = [lead for lead, size in told.get("alignment", {}).items() if size >= FAR_PX]
    if not leads:
        return ""
    right, down = (
        math.fsum(told[name][lead] for lead in leads) / len(leads)
        for name in ("alignment_right", "alignment_down")
    )
    return (
        f"{at_leads(leads)} the forecast lies about {math.hypot(right, down):.1f} px "
        f"{direction(right, down, grid)} of what came: check where the scenes are placed "
        "(quality/report.html), or whether what moves is forecast to move."
    )


def _late(told: dict[str, dict[int, float]]) -> str:
    """Whether the forecast repeats what was last seen, where that is not what came."""
    came = told.get("temporal_correlation", {})
    leads = [
        lead
        for lead, echo in told.get("echo", {}).items()
        if echo >= ECHO and echo + came[lead] >= REPEATED
    ]
    if not leads:
        return ""
    echo, right = (
        math.fsum(part[lead] for lead in leads) / len(leads) for part in (told["echo"], came)
    )
    return (
        f"{at_leads(leads)} the forecast repeats what was last seen (correlation through time "
        f"{echo + right:.2f}) rather than what came ({right:.2f}), as if it were late: check "
        "which time the dates of the scenes stand for, and expect little more of it than of those."
    )


def direction(right: float, down: float, grid: Grid) -> str:
    """A direction in pixels as one of the compass; without a CRS as one in the picture."""
    if not grid.wkt:
        words = [
            word
            for size, positive, negative in ((down, "down", "up"), (right, "right", "left"))
            for word in [positive if size > 0 else negative]
            if abs(size) > math.hypot(right, down) * math.sin(math.pi / 8)
        ]
        return f"({' and '.join(words)})"
    a, b, _, d, e, _ = tuple(grid.transform)[:6]
    angle = math.atan2(d * right + e * down, a * right + b * down)
    return COMPASS[round(angle / (math.pi / 4)) % len(COMPASS)]
