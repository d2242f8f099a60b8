"""Metrics of one class beside all others, each a function of a table of classes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from geoforecast.validate.metrics.classes import PooledClasses, share
from geoforecast.validate.metrics.pooled import evaluate, metric, metric_names

ONE_CLASS = "class"  # a kind of metrics: of each class by itself
UNKNOWN = "unknown"  # in names of metrics: classes that training never saw
NEVER_SEEN = "training never saw it, so no forecast can say it"
_NEITHER = "the class was neither observed nor forecast"


@dataclass(frozen=True)
class PooledClass:
    """Counts over all scored pixels of one class, method, band and lead.

    Attributes:
        n: scored pixels, of any class.
        hits: forecast and observed as the class.
        misses: observed as it only.
        false_alarms: forecast as it only.
    """

    n: int
    hits: int
    misses: int
    false_alarms: int


@metric(
    title="F1 of class",
    better="higher",
    kinds=(ONE_CLASS,),
    formula="2 h / (2 h + m + f): hits, misses, false alarms of the class; also called Dice",
    source="Van Rijsbergen (1979), Information retrieval, ch. 7",
)
def f1_class(pooled: PooledClass) -> float:
    """Harmonic mean of precision and recall."""
    hits = 2 * pooled.hits
    return share(hits, hits + pooled.misses + pooled.false_alarms, _NEITHER)


@metric(
    title="precision of class",
    better="higher",
    kinds=(ONE_CLASS,),
    formula="h / (h + f): the share of the pixels forecast as the class that are it; also called "
    "user's accuracy",
    source="Congalton (1991), Remote Sensing of Environment 37",
)
def precision_class(pooled: PooledClass) -> float:
    """How often the class is right where it is forecast."""
    return share(pooled.hits, pooled.hits + pooled.false_alarms, "the class was never forecast")


@metric(
    title="recall of class",
    better="higher",
    kinds=(ONE_CLASS,),
    formula="h / (h + m): the share of the pixels of the class that were forecast as it; also "
    "called producer's accuracy",
    source="Congalton (1991), Remote Sensing of Environment 37",
)
def recall_class(pooled: PooledClass) -> float:
    """How much of the class is forecast."""
    return share(pooled.hits, pooled.hits + pooled.misses, "the class was never observed")


@metric(
    title="IoU of class",
    better="higher",
    kinds=(ONE_CLASS,),
    formula="h / (h + m + f): intersection over union, also called Jaccard index",
    source="Jaccard (1912), New Phytologist 11",
)
def iou_class(pooled: PooledClass) -> float:
    """Overlap of where the class was forecast and where it was observed."""
    return share(pooled.hits, pooled.hits + pooled.misses + pooled.false_alarms, _NEITHER)


def of_class(pooled: PooledClasses, number: int) -> PooledClass:
    """What a table says of one class.

    Args:
        pooled: of all classes.
        number: its row; that of unknown classes is the last.
    """
    table = pooled.square
    hits, came, said = table[number, number], table[number].sum(), table[:, number].sum()
    return PooledClass(pooled.n, int(hits), int(came - hits), int(said - hits))


def class_values(pooled: PooledClasses, classes: tuple[int, ...]) -> list[tuple[str, float, str]]:
    """(name such as f1_class_3, value, reason) of every metric and class.

    Classes that training never saw are one more, ``unknown``, where any came: its value is 0 or
    undefined, and the reason says why in both cases.
    """
    rows = [(str(code), number) for number, code in enumerate(classes)]
    if pooled.table[-1].any():
        rows.append((UNKNOWN, len(classes)))
    told = []
    for code, number in rows:
        one = of_class(pooled, number)
        for name in metric_names(ONE_CLASS):
            value, reason = evaluate(name, one)
            if code == UNKNOWN and not math.isnan(value):
                reason = NEVER_SEEN
            told.append((f"{name}_{code}", value, reason))
    return told
