"""Spread: how far off a mixture may be, from how far off mixtures were before.

An error is measured in units of what the members' disagreement lets expect, and counted in
bins. Intervals are quantiles of those counts, so they cover what they say whatever the
errors' distribution, as long as it changes slowly; and they are wider where members disagree.
Pixels are counted by how much members disagree there, since dry places must not vouch for
rainy ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HALF_LIFE = 0.5  # of a step's counts, in shares of the record
LEAST_HALF_LIFE = 10.0  # steps
# Edges of the classes of disagreement, in typical errors of the lead.
CLASS_EDGES = (0.1, 0.3, 0.6, 1.0)
CLASSES = len(CLASS_EDGES) + 1
LEAST_SPREAD = 0.25  # of a typical error: members may agree and all be wrong
# A class is trusted by itself from this many steps' worth of pixels on.
ENOUGH_STEPS = 2.0
CAUTION_STEPS = 3.0
_MAGNITUDES = np.geomspace(0.01, 100.0, 80)
EDGES: NDArray[np.float64] = np.concatenate([-_MAGNITUDES[::-1], _MAGNITUDES])
BINS = len(EDGES) + 1

Floats = NDArray[np.float64]


def unit_of(
    disagreement: NDArray[np.float32], typical: float
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """What errors are measured in, and each pixel's class.

    Args:
        disagreement: standard deviation of the members about the mixture, by weight.
        typical: root mean squared error of the mixture at this lead.
    """
    unit = np.maximum(disagreement, np.float32(max(LEAST_SPREAD * typical, 1e-30)))
    edges = np.asarray(CLASS_EDGES) * max(typical, 1e-30)
    return unit, np.searchsorted(edges, disagreement, side="right")


def counted(
    errors: NDArray[np.float32], unit: NDArray[np.float32], classes: NDArray[np.int64]
) -> Floats:
    """(CLASSES, BINS) how many errors, observed minus forecast, fall into each bin."""
    bins = np.searchsorted(EDGES, errors / unit, side="right")
    flat = np.bincount(classes.ravel() * BINS + bins.ravel(), minlength=CLASSES * BINS)
    return flat.reshape(CLASSES, BINS).astype(np.float64)


def quantiles(counts: Floats, steps: float, level: float) -> Floats:
    """(CLASSES, 2) lower and upper end of the central interval, in units of the spread.

    Both tails are cut later than asked the fewer steps were seen, for what they may have
    missed. A class with too few pixels borrows from all.

    Args:
        counts: (CLASSES, BINS) weighted shares of pixels, summed over steps.
        steps: how many steps those are worth.
        level: share of observations that the interval shall cover, above 0 and below 1.
    Source:
        Papadopoulos et al. (2002), Inductive confidence machines for regression; Vovk et al.
        (2005), Algorithmic learning in a random world, section 4.5, for the classes.
    """
    tail = (1 - level) / 2 * steps / (steps + CAUTION_STEPS)
    return np.stack([_quantile(own, np.array([tail, 1 - tail])) for own in _trusted(counts, steps)])


def equal_parts(counts: Floats, steps: float, size: int) -> Floats:
    """(CLASSES, size) ascending errors, in units of the spread: between any two lie equally many.

    The outermost lie further out the fewer steps were seen, as the ends of intervals do; towards
    the middle, of which a few steps tell enough, less and less.

    Args:
        counts, steps: as for quantiles().
        size: how many.
    """
    levels = (np.arange(size) + 0.5) / size
    tails = np.minimum(levels, 1 - levels)
    cautious = tails * (1 - (1 - 2 * tails) * CAUTION_STEPS / (steps + CAUTION_STEPS))
    levels = np.where(levels < 0.5, cautious, 1 - cautious)
    return np.stack([_quantile(own, levels) for own in _trusted(counts, steps)])


def values_at(
    counts: Floats, steps: float, classes: NDArray[np.int64], probabilities: Floats
) -> Floats:
    """The errors, in units of the spread, that stay below with given probabilities.

    Args:
        counts, steps: as for quantiles().
        classes: (n,) of each pixel.
        probabilities: (n,) between 0 and 1.
    """
    shares = _trusted(counts, steps)
    result = np.empty(probabilities.shape)
    for number in np.unique(classes):
        chosen = classes == number
        result[chosen] = _quantile(shares[number], probabilities[chosen])
    return result


def _trusted(counts: Floats, steps: float) -> Floats:
    """(CLASSES, BINS) shares of pixels; a class with too few of them borrows from all."""
    everything = counts.sum(axis=0)
    result = np.empty_like(counts)
    for number, own in enumerate(counts):
        share = own.sum() / max(everything.sum(), 1e-30)
        trust = min(1.0, share * steps / ENOUGH_STEPS)
        mixed = trust * own / max(own.sum(), 1e-30)
        result[number] = mixed + (1 - trust) * everything / max(everything.sum(), 1e-30)
    return result


def _quantile(shares: Floats, levels: Floats) -> Floats:
    """Quantiles of binned shares, linear inside a bin."""
    total = shares.sum()
    if total <= 0:
        return np.zeros_like(levels)
    below = np.concatenate([[0.0], np.cumsum(shares) / total])
    # The outermost bins are open: their far ends are as far out again as the last edge.
    ends = np.concatenate([[2 * EDGES[0]], EDGES, [2 * EDGES[-1]]])
    result: Floats = np.interp(levels, below, ends)
    return result


def half_life(steps: int) -> float:
    """Steps after which a step's counts weigh half."""
    return max(LEAST_HALF_LIFE, HALF_LIFE * steps)
