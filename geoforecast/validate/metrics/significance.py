"""Whether a difference between two forecasts may be chance, as few steps and their order allow.

Errors of neighbouring steps are alike, and forecasts further ahead share steps: both make
evidence less than the number of steps suggests, and both tests here take that into account.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

DRAWS = 2000
LEVEL = 0.95
LEAST_STEPS = 4  # fewer say nothing of their own spread


def block_length(steps: int, lead: int) -> int:
    """Steps that are drawn together: errors of a lead overlap, and others are alike as well.

    Args:
        steps: scored.
        lead: steps ahead.
    Source:
        Künsch (1989), Annals of Statistics 17: of the order of the cube root.
    """
    # Rounded, for the root of 27 steps is 3 and not a little more.
    usual = math.ceil(round(float(np.cbrt(steps)), 9))
    return max(1, min(max(lead, usual), steps // 2))


def skill_interval(
    ours: NDArray[np.float64], theirs: NDArray[np.float64], lead: int, *, root: bool, seed: int = 0
) -> tuple[float, float]:
    """Where 1 - our error / theirs may lie, had other steps been tested.

    Steps are drawn anew in blocks, both forecasts' together, from the test steps joined end to
    beginning.

    Args:
        ours, theirs: (step,) sums of squared errors on the same pixels, in the order of time.
        lead: steps ahead.
        root: whether the error is the root of the sum, as in RMSE.
        seed: of the draws.
    Returns:
        The ends between which 95 % of 2000 draws lie, or more of them, as few blocks demand; NaN
        below LEAST_STEPS steps or where the other forecast has no error.
    Source:
        Politis & Romano (1992), circular block resampling; percentiles, expanded as in Hesterberg
        (2015), The American Statistician 69, as if blocks were the observations.
    """
    steps = len(ours)
    if steps < LEAST_STEPS or not theirs.sum() > 0:
        return math.nan, math.nan
    length = block_length(steps, lead)
    rng = np.random.default_rng(seed)
    starts = rng.integers(steps, size=(DRAWS, math.ceil(steps / length)))
    drawn = ((starts[:, :, None] + np.arange(length)) % steps).reshape(DRAWS, -1)[:, :steps]
    below, above = ours[drawn].sum(axis=1), theirs[drawn].sum(axis=1)
    ratios = np.divide(below, above, out=np.full(DRAWS, np.inf), where=above > 0)
    skills = 1 - (np.sqrt(ratios) if root else ratios)
    blocks = steps / length
    wide = float(stats.t.ppf((1 + LEVEL) / 2, blocks - 1)) * math.sqrt(blocks / (blocks - 1))
    tail = float(stats.norm.sf(wide))
    # No interpolation: an end may be minus infinity, where draws find the other one perfect.
    low, high = np.quantile(skills, [tail, 1 - tail], method="nearest").tolist()
    return low, high


def diebold_mariano(
    ours: NDArray[np.float64], theirs: NDArray[np.float64], lead: int
) -> tuple[float, float]:
    """Test of equal accuracy of two forecasts of the same steps.

    Args:
        ours, theirs: (step,) mean errors of each step, such as mean squared errors.
        lead: steps ahead; errors fewer steps apart may be correlated.
    Returns:
        The statistic, below 0 where ours is the better one, and how probable one as far from 0
        is if both are equally good. NaN below LEAST_STEPS steps, and where they differ by the
        same in all or their correlations leave no variance.
    Source:
        Diebold & Mariano (1995), Journal of Business & Economic Statistics 13; with the
        correction for few steps of Harvey, Leybourne & Newbold (1997), International Journal of
        Forecasting 13.
    """
    steps = len(ours)
    difference = ours - theirs
    if steps < max(LEAST_STEPS, lead + 1):
        return math.nan, math.nan
    mean = difference.mean()
    about = difference - mean
    variance = float(about @ about) / steps
    for lag in range(1, lead):
        variance += 2 * float(about[lag:] @ about[:-lag]) / steps
    size = float(np.abs(difference).max())
    if not variance > (1e-12 * size) ** 2:
        return math.nan, math.nan
    statistic = mean / math.sqrt(variance / steps)
    statistic *= math.sqrt((steps + 1 - 2 * lead + lead * (lead - 1) / steps) / steps)
    return float(statistic), float(2 * stats.t.sf(abs(statistic), steps - 1))
