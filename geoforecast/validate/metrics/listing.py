"""All metrics that validate knows, for a table."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

from geoforecast.forecast.kinds import BINARY, CATEGORICAL, CONTINUOUS
from geoforecast.validate.metrics import events  # noqa: F401  metrics register where they are
from geoforecast.validate.metrics.classes import EVENT
from geoforecast.validate.metrics.ensemble import ENSEMBLE
from geoforecast.validate.metrics.fields import FIELD
from geoforecast.validate.metrics.fractions import FRACTION, SCALES_PX
from geoforecast.validate.metrics.one_class import ONE_CLASS, UNKNOWN
from geoforecast.validate.metrics.pooled import Metric, metrics
from geoforecast.validate.metrics.temporal import TEMPORAL
from geoforecast.validate.metrics.variogram import LAGS_PX, VARIOGRAM

KINDS = {
    CONTINUOUS: "Values, such as an index, a temperature or a count",
    FIELD: "Values: how maps look, of the forecast and the best reference on validation",
    VARIOGRAM: "Values: pixels so far apart, of the same; names end in the distance",
    TEMPORAL: "Values: pixels through time, of the same",
    ENSEMBLE: "Values: how sure the forecast is, and rightly (--interval)",
    EVENT: "Events: values at or above a threshold (--events)",
    FRACTION: "Events: nearly where they came; names end in threshold and window",
    BINARY: "Yes or no",
    CATEGORICAL: "Classes",
    ONE_CLASS: "Classes, each by itself; names end in its code, such as f1_class_3",
}
BEST = {"zero": "best is 0", "one": "best is 1", "": "to compare"}
WIDTH = 96
_THRESHOLD = r"_(_?\d+(?:\.\d+)?(?:e[_+]?\d+)?)"
# What follows the names of metrics of events: a threshold, and of some the side of a window.
# Of those of one class, its code; of pixels so far apart, how far.
SUFFIXES = {
    EVENT: _THRESHOLD,
    FRACTION: rf"{_THRESHOLD}_(?:{'|'.join(map(str, SCALES_PX))})px",
    VARIOGRAM: rf"_(?:{'|'.join(map(str, LAGS_PX))})px",
    ONE_CLASS: rf"_(?:_?\d+|{UNKNOWN})",
}


@dataclass(frozen=True)
class MetricNote:
    """One metric and how to read it.

    Attributes:
        name: as in metrics.csv.
        title: as in the report.
        kind: of targets that it is of.
        better: lower, higher, or the best value, zero or one.
        formula: f forecast, o observed, n scored pixels.
        source: where it is described.
    """

    name: str
    title: str
    kind: str
    better: str
    formula: str
    source: str


def describe_metrics() -> list[MetricNote]:
    """All metrics, by kind of targets."""
    return [
        MetricNote(one.name, one.title, kind, one.better, one.formula, one.source)
        for kind in KINDS
        for one in metrics(kind)
    ]


def find_metric(name: str) -> tuple[Metric, str] | None:
    """The metric that a name stands for, and of what kind of targets; None if there is none.

    Args:
        name: as in metrics.csv, such as ``rmse`` or ``csi_0.1``; dashes are as good as underscores.
    """
    plain = name.replace("-", "_")
    for kind in KINDS:
        for one in metrics(kind):
            if re.fullmatch(re.escape(one.name) + SUFFIXES.get(kind, ""), plain):
                return one, kind
    return None


def describe() -> str:
    """All metrics as a terminal shows them."""
    lines: list[str] = []
    notes = describe_metrics()
    for kind, title in KINDS.items():
        lines += [*([""] if lines else []), f"{title}:"]
        for note in (one for one in notes if one.kind == kind):
            best = BEST.get(note.better, note.better)
            lines.append(f"  {note.name:<22} {note.title}; {best}")
            for text in (note.formula, note.source):
                lines += textwrap.wrap(
                    text,
                    WIDTH,
                    initial_indent=" " * 25,
                    subsequent_indent=" " * 25,
                    break_on_hyphens=False,
                )
    return "\n".join(lines)
