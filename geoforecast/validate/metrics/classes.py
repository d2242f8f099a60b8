"""Metrics of probabilities and of the maps that they make, each a function of pooled sums.

A pixel counts where it was observed. A class that training never saw is one more row of the
table: no forecast can hit it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from geoforecast.forecast.kinds import BINARY, CATEGORICAL
from geoforecast.validate.metrics.pooled import UndefinedMetricError, metric

BOTH = (BINARY, CATEGORICAL)
EVENT = "event"  # of continuous and count targets: a value at or above a threshold
YES_OR_NO = (BINARY, EVENT)
CHANCES = 1000  # equal parts of the probabilities from 0 to 1
RELIABILITY_PARTS = 10
MAPS_ONLY = "the forecasts are maps, without probabilities"


class YesNo(Protocol):
    """Anything that counts pixels by (observed, forecast), no before yes."""

    @property
    def table(self) -> NDArray[np.int64]: ...


@dataclass(frozen=True)
class PooledClasses:
    """Sums over all scored pixels of one method, band and lead.

    Attributes:
        n: scored pixels.
        brier: sum of squared differences of probabilities from what came, 0 or 1; NaN where the
            forecasts are maps.
        table: (observed, forecast) pixels by class; the last row holds unknown classes.
        change: pixels whose last class is known, by what became of it: hit, hit by a wrong
            class, missed, changed in the forecast only.
        chances: (2, CHANCES) pixels where it did not come and where it came, by the probability
            that was forecast; of classes empty.
    """

    n: int
    brier: float
    table: NDArray[np.int64]
    change: NDArray[np.int64]
    chances: NDArray[np.int64] = field(default_factory=lambda: np.zeros((2, CHANCES), np.int64))

    @property
    def of_yes_or_no(self) -> bool:
        """Whether the Brier score is of one band, and not of a band for each class."""
        return bool(self.chances.any())

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
    _needs_probabilities(pooled)
    return pooled.brier / pooled.n


@metric(
    title="R² of probabilities",
    better="higher",
    kinds=BOTH,
    formula="1 − Brier score / Σ ō(1 − ō), ō the observed share of the event, or of each class: "
    "0 is as good as knowing these shares, below 0 is worse",
    source="Murphy (1973), Journal of Applied Meteorology 12",
)
def probability_r2(pooled: PooledClasses) -> float:
    """Coefficient of determination of probabilities about what came, which is 0 or 1."""
    _needs_probabilities(pooled)
    shares = pooled.table.sum(axis=1) / pooled.n
    # Of yes or no the score is of one band, and yes and no spread alike.
    spread = float((shares * (1 - shares)).sum()) / (2 if pooled.of_yes_or_no else 1)
    if not spread > 0:
        raise UndefinedMetricError("all observed pixels are alike, so there is no variance")
    return 1 - pooled.brier / pooled.n / spread


@metric(
    title="ROC AUC",
    better="higher",
    kinds=(BINARY,),
    formula="how probable it is that a pixel where it came had a higher probability than one where "
    "it did not, equal ones counting half; 0.5 is chance. Probabilities to a thousandth",
    source="Mason & Graham (2002), Quarterly Journal of the Royal Meteorological Society 128",
)
def roc_auc(pooled: PooledClasses) -> float:
    """Area under the curve of detection against false alarms, over all thresholds."""
    _needs_probabilities(pooled)
    no, yes = pooled.chances.astype(np.float64)
    if not (no.any() and yes.any()):
        raise UndefinedMetricError("it came everywhere or nowhere")
    below = np.cumsum(no) - no
    return float(yes @ (below + no / 2) / (yes.sum() * no.sum()))


@metric(
    title="reliability",
    better="lower",
    kinds=(BINARY,),
    formula=f"Σ nₖ(pₖ − oₖ)² / n over {RELIABILITY_PARTS} parts of the probabilities, pₖ their "
    "mean there and oₖ how often it came: the part of the Brier score that is wrong probabilities",
    source="Murphy (1973), Journal of Applied Meteorology 12",
)
def brier_reliability(pooled: PooledClasses) -> float:
    """How far probabilities are from how often it came."""
    counts, said, came = _parts(pooled)
    return float((counts * (said - came) ** 2).sum() / counts.sum())


@metric(
    title="resolution",
    better="higher",
    kinds=(BINARY,),
    formula="Σ nₖ(oₖ − o)² / n, o how often it came over all: how much the forecast tells cases "
    "apart",
    source="Murphy (1973), Journal of Applied Meteorology 12",
)
def brier_resolution(pooled: PooledClasses) -> float:
    """How much what came differs between probabilities."""
    counts, _, came = _parts(pooled)
    overall = (counts * came).sum() / counts.sum()
    return float((counts * (came - overall) ** 2).sum() / counts.sum())


@metric(
    title="share of wrong pixels",
    better="lower",
    kinds=BOTH,
    formula="share of pixels whose class, or yes or no, is not the one of the map: 1 − accuracy, "
    "quantity plus allocation disagreement",
    source="Pontius & Millones (2011), International Journal of Remote Sensing 32",
)
def disagreement(pooled: PooledClasses) -> float:
    """Share of pixels whose class was not forecast."""
    return (pooled.n - float(np.trace(pooled.square))) / pooled.n


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
        raise UndefinedMetricError(
            "nothing changed, and no change was forecast, where an earlier map is known"
        )
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
    kinds=YES_OR_NO,
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


@metric(
    title="HSS",
    better="higher",
    kinds=YES_OR_NO,
    formula="2 (h c − m f) / ((h + m)(m + c) + (h + f)(f + c)), c the correct noes: hits and noes "
    "beyond what chance would give, 0 is chance",
    source="Heidke (1926), Geografiska Annaler 8",
)
def hss(pooled: YesNo) -> float:
    """Heidke skill score."""
    h, m, f = _hits(pooled), _missed(pooled), _false(pooled)
    c = int(pooled.table[0, 0])
    return share(
        2 * (h * c - m * f),
        (h + m) * (m + c) + (h + f) * (f + c),
        "all pixels are alike, observed and forecast",
    )


def count_chances(
    probability: NDArray[np.floating], came: NDArray[np.integer]
) -> NDArray[np.int64]:
    """(2, CHANCES) pixels where it did not come and where it came, by probability.

    Args:
        probability: (pixel,) from 0 to 1.
        came: (pixel,) 0 or 1.
    """
    parts = np.clip((probability.astype(np.float64) * CHANCES).astype(np.int64), 0, CHANCES - 1)
    return np.bincount(came * CHANCES + parts, minlength=2 * CHANCES).reshape(2, CHANCES)


def _needs_probabilities(pooled: PooledClasses) -> None:
    if math.isnan(pooled.brier):
        raise UndefinedMetricError(MAPS_ONLY)


def _parts(pooled: PooledClasses) -> tuple[NDArray[np.float64], ...]:
    """Pixels of each part of the probabilities that has any, their mean, and how often it came."""
    _needs_probabilities(pooled)
    if not pooled.chances.any():
        raise UndefinedMetricError("no probability is known")
    said, came, n = (np.asarray(values) for values in reliability_parts(pooled.chances))
    return n[n > 0].astype(np.float64), said[n > 0], came[n > 0]


def reliability_parts(
    chances: NDArray[np.int64],
) -> tuple[list[float], list[float], list[int]]:
    """Of each part of the probabilities its mean, how often it came, and its pixels.

    Args:
        chances: (2, CHANCES), see PooledClasses.
    """
    counts = chances.sum(axis=0).astype(np.float64)
    middles = (np.arange(CHANCES) + 0.5) / CHANCES
    n, said, came = (
        values.reshape(RELIABILITY_PARTS, -1).sum(axis=1)
        for values in (counts, counts * middles, chances[1].astype(np.float64))
    )
    least = np.maximum(n, 1)
    return (said / least).tolist(), (came / least).tolist(), n.astype(np.int64).tolist()


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
