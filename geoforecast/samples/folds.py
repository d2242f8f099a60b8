"""Folds: a series cut so that several models, each trained on its past alone, forecast its end.

The test blocks are equally long, follow one another, and end with the series. Each fold trains on
everything before its block but for a gap, in which nothing is learned: no step that a forecast of
the block reads or forecasts then lies in what the fold was trained on.

    fold 1/3   train train train validation gap  TEST
    fold 2/3   train train train train validation gap  TEST
    fold 3/3   train train train train train validation gap  TEST
"""

from __future__ import annotations

from dataclasses import dataclass

from geoforecast.errors import SeriesTooShortError
from geoforecast.samples.split import MIN_TRAIN, Split, validation_size

# What --lookback and --horizon mean where they are 0: the first pair that leaves enough.
REACHES = ((6, 3), (5, 3), (4, 2), (3, 2), (2, 1), (1, 1))
# A model that chooses its own reach wants so many times as many steps to train on.
TIMES_LOOKBACK, TIMES_HORIZON = 3, 4
TESTED_SHARE = 2  # the test blocks are at most one part in so many of the series
MOST_STEPS = 100_000  # where looking for the shortest series ends


@dataclass(frozen=True)
class Folds:
    """How a series is cut.

    Attributes:
        splits: of each fold; steps count from the start of the series.
        lookback, horizon: steps, the same for all.
    """

    splits: tuple[Split, ...]
    lookback: int
    horizon: int


def cut_folds(steps: int, count: int, lookback: int = 0, horizon: int = 0) -> Folds:
    """Cut a series into folds.

    The test blocks share out half the series, less where the first fold would have too little to
    train on; a reach that nobody gave shrinks before they are less than half as long. The gap is
    lookback + horizon. Of what comes before it, the last max(2, 20 %) steps validate.

    Args:
        steps: of the series.
        count: of folds.
        lookback, horizon: of the model; 0 chooses, for all folds alike.
    Raises:
        SeriesTooShortError: the first fold has too little to train on.
    """
    found = _folds(steps, count, lookback, horizon)
    if found is not None:
        return found
    fitting = (k for k in range(count - 1, 0, -1) if _folds(steps, k, lookback, horizon))
    most = next(fitting, 0)
    shortest = next(
        (n for n in range(steps + 1, MOST_STEPS) if _folds(n, count, lookback, horizon)), 0
    )
    remedies = [f"give {shortest} time steps"] if shortest else []
    if lookback + horizon > 2:
        remedies.append("ask for a smaller --lookback or --horizon")
    if most:
        remedies.insert(0, f"cut it into {most}")
    raise SeriesTooShortError(
        f"{steps} steps are too few for {count} folds: the first one would have too little to "
        "train on.",
        where=f"the most that it can be cut into: {most or 'none'}",
        remedy=f"{', or '.join(remedies).capitalize()}.",
    )


def _folds(steps: int, count: int, lookback: int, horizon: int) -> Folds | None:
    """The folds of the longest reach whose blocks are long enough, if there is room for any."""
    longest = steps // (TESTED_SHARE * count)
    best: tuple[int, tuple[int, int]] = 0, (0, 0)
    for usual_lookback, usual_horizon in REACHES:
        reach = lookback or usual_lookback, horizon or usual_horizon
        wanted = max(
            MIN_TRAIN,
            sum(reach),
            0 if lookback else TIMES_LOOKBACK * reach[0],
            0 if horizon else TIMES_HORIZON * reach[1],
        )
        size = min(longest, (steps - sum(reach) - _least_seen(wanted)) // count)
        if size > best[0]:
            best = size, reach
        if 2 * size >= longest:
            break
    return _cut(steps, count, best[0], *best[1]) if best[0] else None


def _least_seen(train: int) -> int:
    """Fewest steps of which so many are left for training once some validate."""
    seen = train
    while seen - validation_size(seen) < train:
        seen += 1
    return seen


def _cut(steps: int, count: int, size: int, lookback: int, horizon: int) -> Folds:
    gap = lookback + horizon
    splits = []
    for start in range(steps - count * size, steps, size):
        seen = start - gap
        splits.append(Split(seen - validation_size(seen), start, start + size, gap))
    return Folds(tuple(splits), lookback, horizon)
