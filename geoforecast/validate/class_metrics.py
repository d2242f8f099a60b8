"""Metrics of probabilities and of the maps that they make, each a function of pooled sums.

A pixel counts where it was observed. A class that training never saw is one more row of the
table: no forecast can hit it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from geoforecast.forecast.kinds import BINARY, CATEGORICAL
from geoforecast.validate.metrics import UndefinedMetricError, metric

BOTH = (BINARY, CATEGORICAL)
EVENT = "event"  # of continuous and count targets: a value at or above a threshold
YES_OR_NO = (BINARY, EVENT)


class YesNo(Protocol):
    """Anything that counts pixels by (observed, forecast), no before yes."""

    @property
    def table(self) -> NDArray[np.int64]: ...


@dataclass(frozen=True)
class PooledClasses:
    """Sums over all scored pixels of one method, band and lead.

    Attributes:
        n: scored pixels.
        brier: sum of squared differences of probabilities from what came, 0 or 1.
        table: (observed, forecast) pixels by class; the last row holds unknown classes.
        change: pixels whose last class is known, by what became of it: hit, hit by a wrong
            class, missed, changed in the forecast only.
    """

    n: int
    brier: float
    table: NDArray[np.int64]
    change: NDArray[np.int64]

    @property
    def square(self) -> NDArray[np.float64]:
        """(class + 1, class + 1) table with a column of zeros for unknown classes."""
        return np.pad(self.table, ((0, 0), (0, 1))).astype(np.float64)


@metric(
    title="Brier score",
    better="lower",
    kinds=BOTH,
    formula="Σ(p − o)² / n, o = 1 for what came and 0 else; of classes summed over all of them, "
    "so that 2 is the worst",
    source="Brier (1950), Monthly Weather Review 78",
)
def brier(pooled: PooledClasses) -> float:
    """Mean squared difference of probabilities from what came."""
    return pooled.brier / pooled.n


@metric(
    title="accuracy",
    better="higher",
    kinds=(CATEGORICAL,),
    formula="share of pixels whose class is the one of the map",
    source="Congalton (1991), Remote Sensing of Environment 37",
)
def accuracy(pooled: PooledClasses) -> float:
    """Share of pixels whose class was forecast."""
    return float(np.trace(pooled.square)) / pooled.n


@metric(
    title="kappa",
    better="higher",
    kinds=(CATEGORICAL,),
    formula="(a − c) / (1 − c), a the accuracy, c what it would be by chance: Σ of the products "
    "of each class' observed and forecast share",
    source="Cohen (1960), Educational and Psychological Measurement 20",
)
def kappa(pooled: PooledClasses) -> float:
    """Cohen's kappa: agreement beyond chance."""
    table = pooled.square
    chance = float(table.sum(axis=0) @ table.sum(axis=1)) / pooled.n**2
    if chance >= 1:
        raise UndefinedMetricError("there is one class only, so any agreement is chance")
    return (accuracy(pooled) - chance) / (1 - chance)


@metric(
    title="macro F1",
    better="higher",
    kinds=(CATEGORICAL,),
    formula="mean over classes of 2 h / (2 h + m + f): hits, misses, false alarms; classes that "
    "were neither observed nor forecast are left out",
    source="Sokolova & Lapalme (2009), Information Processing & Management 45",
)
def macro_f1(pooled: PooledClasses) -> float:
    """Mean F1 of the classes that occur."""
    table = pooled.square
    both = table.sum(axis=0) + table.sum(axis=1)
    return float((2 * np.diag(table)[both > 0] / both[both > 0]).mean())


@metric(
    title="figure of merit",
    better="higher",
    kinds=(CATEGORICAL,),
    formula="h / (h + w + m + f) of changes against the last observed map: hits, changes to a "
    "wrong class, misses, false alarms",
    source="Pontius et al. (2008), Annals of Regional Science 42",
)
def figure_of_merit(pooled: PooledClasses) -> float:
    """Overlap of observed and forecast change."""
    total = int(pooled.change.sum())
    if not total:
        raise UndefinedMetricError("nothing changed, and no change was forecast")
    return float(pooled.change[0]) / total


@metric(
    title="quantity disagreement",
    better="lower",
    kinds=(CATEGORICAL,),
    formula="Σ|observed share − forecast share| / 2 over classes",
    source="Pontius & Millones (2011), International Journal of Remote Sensing 32",
)
def quantity_disagreement(pooled: PooledClasses) -> float:
    """How far the shares of the classes are off."""
    table = pooled.square / pooled.n
    return float(np.abs(table.sum(axis=1) - table.sum(axis=0)).sum()) / 2


@metric(
    title="allocation disagreement",
    better="lower",
    kinds=(CATEGORICAL,),
    formula="1 − accuracy − quantity disagreement: right shares in wrong places",
    source="Pontius & Millones (2011), International Journal of Remote Sensing 32",
)
def allocation_disagreement(pooled: PooledClasses) -> float:
    """What is wrong although the shares are right."""
    return 1 - accuracy(pooled) - quantity_disagreement(pooled)


@metric(
    title="CSI",
    better="higher",
    kinds=YES_OR_NO,
    formula="h / (h + m + f): hits, misses, false alarms of the event, which is the 1 of binary "
    "targets; also called IoU",
    source="Donaldson et al. (1975), 9th Conference on Severe Local Storms",
)
def csi(pooled: YesNo) -> float:
    """Critical success index."""
    hits = _hits(pooled)
    return share(
        hits,
        hits + _missed(pooled) + _false(pooled),
        "no event was observed and none was forecast",
    )


@metric(
    title="POD",
    better="higher",
    kinds=YES_OR_NO,
    formula="h / (h + m): the share of the observed events that was forecast",
    source="Wilks (2019), Statistical Methods in the Atmospheric Sciences, ch. 9",
)
def pod(pooled: YesNo) -> float:
    """Probability of detection."""
    return share(_hits(pooled), _hits(pooled) + _missed(pooled), "no event was observed")


@metric(
    title="FAR",
    better="lower",
    kinds=YES_OR_NO,
    formula="f / (h + f): the share of the forecast events that did not come",
    source="Wilks (2019), Statistical Methods in the Atmospheric Sciences, ch. 9",
)
def far(pooled: YesNo) -> float:
    """False alarm ratio."""
    return share(_false(pooled), _hits(pooled) + _false(pooled), "no event was forecast")


@metric(
    title="F1",
    better="higher",
    kinds=(BINARY,),
    formula="2 h / (2 h + m + f)",
    source="Van Rijsbergen (1979), Information retrieval, ch. 7",
)
def f1(pooled: YesNo) -> float:
    """Harmonic mean of detection and precision."""
    hits = 2 * _hits(pooled)
    return share(
        hits,
        hits + _missed(pooled) + _false(pooled),
        "no event was observed and none was forecast",
    )


def share(part: int, whole: int, reason: str) -> float:
    """part / whole, or for a whole of 0 the reason why there is no value."""
    if not whole:
        raise UndefinedMetricError(reason)
    return part / whole


def _hits(pooled: YesNo) -> int:
    return int(pooled.table[1, 1])


def _missed(pooled: YesNo) -> int:
    return int(pooled.table[1, 0])


def _false(pooled: YesNo) -> int:
    return int(pooled.table[0, 1])
