"""Which steps and bands look wrong: rules that do not mistake seasons or weather for errors.

**Outlier steps.** The level of a step is the median, over pixels, of its difference from
each pixel's own median over time, so that which part of the raster was cloudy does not
matter. The level is compared with that of six neighbours in time, by their median and by a
line through them, and, in series of two years and more, with steps of the same season in
other years; the smallest difference counts. A step is named if that exceeds SCATTERS robust
standard deviations of all such differences *and* the usual spread within a scene. The spread
within a step (its interquartile range) is compared likewise, on a log scale.

Bands whose values pile up at their lowest (rain) are compared by the median logarithm of
what lies above; classes by the share of pixels that would have to change class.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoforecast.figures.words import four_digits
from geoforecast.raster.measures import COUNT, HIGH, LOW
from geoforecast.stack.quality.survey import Survey

SIDE_STEPS = 3  # neighbours before and after
FEWEST_NEIGHBOURS = 4
SCATTERS = 6.0
MAD_TO_SD = 1.4826
P80_TO_SD = 1 / 1.2816  # both are 1 for a normal distribution; the second sees heavy tails
LEAST_FRACTION = 0.05  # valid pixels below which a step is not compared
FEWEST_PIXELS = 10
FEWEST_FOR_SPREAD = 100
SEASON_DAYS = 20
SEASON_YEARS = 2.0
FEWEST_IN_SEASON = 3
YEAR_DAYS = 365.25
SPREAD_FACTOR = 3.0  # of the interquartile range
PILE_FACTOR = 4.0  # of values above a pile
PILE_SHARE = 0.25  # of pixels at the lowest value
CLASS_SHARE = 0.25  # of pixels in other classes than usual
SATURATED_SHARE = 0.02

Double = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Outlier:
    """A step that stands out in a band, and how."""

    step: int
    band: int
    text: str


def find_outliers(
    survey: Survey, times: NDArray[np.datetime64], *, categorical: bool, pixels: int
) -> list[Outlier]:
    """Steps that stand out from their neighbours in time and season.

    Args:
        survey: what was measured.
        times: (time,) datetime64.
        categorical: values are class codes.
        pixels: of the grid.
    """
    enough = survey.valid >= max(1.0, LEAST_FRACTION * pixels)
    found: list[Outlier] = []
    for band in range(survey.sample.shape[1]):
        if categorical:
            found += _class_outliers(survey, band, enough[:, band], times)
        elif piles_up(survey, band):
            found += _pile_outliers(survey, band, enough[:, band], times)
        else:
            found += _level_outliers(survey, band, enough[:, band], times)
    return sorted(found, key=lambda item: (item.step, item.band))


def find_duplicates(survey: Survey) -> list[tuple[int, ...]]:
    """Groups of steps with the same values at the same places.

    The overviews are equal to the bit and so are the statistics of all pixels. Steps that hold
    a single value (no rain anywhere) or less than FEWEST_PIXELS valid pixels are no evidence.
    """
    groups: dict[tuple[str, bytes], list[int]] = defaultdict(list)
    for step, digest in enumerate(survey.digests):
        statistics = survey.statistics[step]
        varied = (statistics[:, HIGH] > statistics[:, LOW]).any()
        if digest and varied and np.nansum(statistics[:, COUNT]) >= FEWEST_PIXELS:
            groups[digest, statistics.tobytes()].append(step)
    return [tuple(steps) for steps in groups.values() if len(steps) > 1]


def saturated(survey: Survey, band: int) -> float:
    """Share of a band's valid overview pixels at its greatest value; 0 if all are equal.

    Nothing if the greatest value occurs in one step only, which any largest value does.
    """
    total = survey.counts[band].sum()
    if total == 0 or survey.low[band] == survey.high[band]:
        return 0.0
    at_highest = survey.at_highest[:, band]
    return float(at_highest.sum() / total) if (at_highest > 0).sum() > 1 else 0.0


def piles_up(survey: Survey, band: int) -> bool:
    """Many of a band's values are its lowest, as of rain."""
    total = survey.counts[band].sum()
    return bool(total) and survey.at_lowest[:, band].sum() / total >= PILE_SHARE


def _level_outliers(
    survey: Survey, band: int, enough: Flags, times: NDArray[np.datetime64]
) -> list[Outlier]:
    level = _median_rows(survey.sample[:, band] - _over_time(survey.sample[:, band]), enough)
    spread = survey.quantiles[:, band, 3] - survey.quantiles[:, band, 1]
    known = enough & (spread > 0)
    usual = float(np.median(spread[known])) if known.any() else 0.0
    off = _departures(level, times)
    found = []
    for step, scatter in _beyond(off, usual):
        side = "above" if off[step] > 0 else "below"
        found.append(
            Outlier(
                step,
                band,
                f"its level is {_size(off[step])} {side} its neighbours' (usual scatter "
                f"{_size(scatter)}, usual spread within a scene {_size(usual)})",
            )
        )
    known &= survey.counts[band].sum(axis=1) >= FEWEST_FOR_SPREAD
    wide = _departures(np.log(np.where(known, spread, np.nan)), times)
    for step, _ in _beyond(wide, np.log(SPREAD_FACTOR)):
        times_as = "wider" if wide[step] > 0 else "narrower"
        factor = f"{np.exp(abs(wide[step])):.3g}"
        found.append(
            Outlier(step, band, f"its values spread {factor} times {times_as} than its neighbours'")
        )
    return found


def _pile_outliers(
    survey: Survey, band: int, enough: Flags, times: NDArray[np.datetime64]
) -> list[Outlier]:
    values = survey.sample[:, band].astype(np.float64)
    above = values - survey.low[band]
    logs = np.log(above, out=np.full(values.shape, np.nan), where=above > 0)
    off = _departures(_median_rows(logs, enough), times)
    return [
        Outlier(
            step,
            band,
            f"its values above {four_digits(survey.low[band])} are "
            f"{np.exp(abs(off[step])):.3g} times "
            f"{'larger' if off[step] > 0 else 'smaller'} than its neighbours'",
        )
        for step, _ in _beyond(off, np.log(PILE_FACTOR))
    ]


def _class_outliers(
    survey: Survey, band: int, enough: Flags, times: NDArray[np.datetime64]
) -> list[Outlier]:
    counts = survey.counts[band].astype(np.float64)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    judged = np.flatnonzero(enough & (counts.sum(axis=1) >= FEWEST_PIXELS))
    off = np.full(len(times), np.nan)
    if len(judged) > FEWEST_NEIGHBOURS:
        others = np.median(shares[judged][_neighbours(len(judged))], axis=1)
        off[judged] = np.abs(shares[judged] - others).sum(axis=1) / 2
    usual = float(np.nanmedian(off)) if np.isfinite(off).any() else 0.0
    return [
        Outlier(step, band, f"{100 * off[step]:.0f} % of its pixels changed class")
        for step, _ in _beyond(off - usual, CLASS_SHARE)
        if off[step] > usual
    ]


def _over_time(sample: NDArray[np.float32]) -> NDArray[np.float32]:
    """(y, x) median of (time, y, x) over time, NaN where nothing is valid."""
    ordered = np.sort(np.moveaxis(sample, 0, -1), axis=-1)  # NaN last
    count = np.isfinite(ordered).sum(axis=-1)

    def at(place: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.take_along_axis(ordered, np.maximum(place, 0)[..., None], -1)[..., 0]

    # Halved first: the sum of two great values may be beyond float32.
    return np.asarray(at((count - 1) // 2) / 2 + at(count // 2) / 2, np.float32)


def _median_rows(values: NDArray[np.floating], enough: Flags) -> Double:
    """(time,) median of each step's finite values; NaN for few, or where not ``enough``."""
    result = np.full(len(values), np.nan)
    rows = values.reshape(len(values), -1)
    for step in np.flatnonzero(enough):
        finite = rows[step][np.isfinite(rows[step])]
        if finite.size >= min(FEWEST_PIXELS, rows.shape[1]):
            result[step] = np.median(finite)
    return result


def _departures(level: Double, times: NDArray[np.datetime64]) -> Double:
    """(time,) how far each level lies from what its neighbours and its season suggest."""
    judged = np.flatnonzero(np.isfinite(level))
    result = np.full(len(level), np.nan)
    if len(judged) <= FEWEST_NEIGHBOURS:
        return result
    days = (times.astype("datetime64[s]").astype(np.int64) / 86400)[judged]
    level = level[judged]
    around = _neighbours(len(judged))
    guesses = [
        np.median(level[around], axis=1),
        _lines(days[around] - days[:, None], level[around]),
    ]
    if days[-1] - days[0] >= SEASON_YEARS * YEAR_DAYS:
        guesses.append(_season(days, level))
    off = level - np.array(guesses)
    nearest = np.nanargmin(np.abs(off), axis=0)
    result[judged] = off[nearest, np.arange(len(level))]
    return result


def _neighbours(number: int) -> NDArray[np.int64]:
    """(step, neighbour) SIDE_STEPS before and after each of so many steps, or more of those on
    one side at an end."""
    size = min(2 * SIDE_STEPS + 1, number)
    own = np.arange(number)
    first = np.clip(own - SIDE_STEPS, 0, number - size)
    around = first[:, None] + np.arange(size)
    return np.asarray(around[around != own[:, None]].reshape(number, size - 1))


def _lines(days: Double, level: Double) -> Double:
    """Where robust lines through each row's neighbours stand at day 0.

    Args:
        days, level: (step, neighbour).
    Source:
        Sen (1968), Journal of the American Statistical Association 63, 1379.
    """
    i, j = np.triu_indices(days.shape[1], 1)
    slopes = np.median((level[:, j] - level[:, i]) / (days[:, j] - days[:, i]), axis=1)
    return np.asarray(np.median(level - slopes[:, None] * days, axis=1))


def _season(days: Double, level: Double) -> Double:
    """Median level of the same season in other years; NaN where too few are known."""
    result = np.full(len(days), np.nan)
    for step, day in enumerate(days):
        away = np.abs(days - day)
        phase = np.abs((away + YEAR_DAYS / 2) % YEAR_DAYS - YEAR_DAYS / 2)
        same = level[(away > YEAR_DAYS / 2) & (phase <= SEASON_DAYS)]
        if same.size >= FEWEST_IN_SEASON:
            result[step] = np.median(same)
    return result


def _beyond(off: Double, least: float) -> list[tuple[int, float]]:
    """Steps whose departure exceeds the usual scatter and ``least``, with the scatter."""
    known = off[np.isfinite(off)]
    if known.size == 0:
        return []
    half, most = np.percentile(np.abs(known - np.median(known)), (50, 80))
    scatter = float(max(MAD_TO_SD * half, P80_TO_SD * most))
    limit = max(SCATTERS * scatter, least)
    with np.errstate(invalid="ignore"):
        return [(int(step), scatter) for step in np.flatnonzero(np.abs(off) > limit)]


def _size(value: float) -> str:
    return f"{abs(value):.3g}"
