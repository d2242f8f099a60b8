"""What people should know about a cube: sentences, those that ask for attention first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoforecast.figures.words import time_label
from geoforecast.raster.cube import Cube
from geoforecast.stack.quality.alignment import FAIL, MOVED_PX, PASS, Alignment
from geoforecast.stack.quality.checks import PILE_SHARE, SATURATED_SHARE, Outlier, saturated
from geoforecast.stack.quality.survey import Survey
from geoforecast.stack.quality.words import number

LONGEST_LIST = 5


@dataclass(frozen=True)
class Finding:
    """One sentence about the cube.

    Attributes:
        attention: somebody should look at it; else it is a note.
        text: the sentence.
        steps: the steps it is about, if any.
    """

    attention: bool
    text: str
    steps: tuple[int, ...] = ()


@dataclass(frozen=True)
class SetAside:
    """Files not used for one reason: status, reason, how many, and the first of them."""

    status: str
    reason: str
    count: int
    paths: tuple[str, ...]


def find_all(
    cube: Cube,
    *,
    fraction: NDArray[np.float64],
    survey: Survey,
    outliers: Sequence[Outlier],
    duplicates: Sequence[tuple[int, ...]],
    alignment: Alignment,
    set_aside: Sequence[SetAside],
) -> tuple[Finding, ...]:
    """All findings, those that ask for attention first.

    Args:
        cube: what was measured.
        fraction: (time, band) share of valid pixels.
        survey, outliers, duplicates, alignment, set_aside: what was found.
    """
    found = [
        *_about_alignment(cube, alignment),
        *_about_scenes(cube, outliers, duplicates),
        *_about_bands(cube, survey),
        *_about_files(set_aside),
        *_about_gaps(cube, fraction, survey),
    ]
    return tuple(sorted(found, key=lambda item: not item.attention))


def _about_alignment(cube: Cube, alignment: Alignment) -> list[Finding]:
    if alignment.verdict not in (PASS, FAIL):
        return [Finding(False, f"Alignment cannot be judged. {alignment.reason}")]
    word = "is good" if alignment.verdict == PASS else "is poor"
    found = [Finding(alignment.verdict == FAIL, f"Alignment {word}: {alignment.reason}")]
    if alignment.moved:
        found.append(
            Finding(
                True,
                f"{_count(alignment.moved, 'step lies', 'steps lie')} more than {MOVED_PX:g} px "
                f"off the others: {_times(cube, alignment.moved)}.",
                alignment.moved,
            )
        )
    return found


def _about_scenes(
    cube: Cube, outliers: Sequence[Outlier], duplicates: Sequence[tuple[int, ...]]
) -> list[Finding]:
    found = []
    if outliers:
        steps = tuple(sorted({item.step for item in outliers}))
        found.append(
            Finding(
                True,
                f"{_count(steps, 'step stands', 'steps stand')} out from neighbours and season: "
                f"{_times(cube, steps)}.",
                steps,
            )
        )
    for group in duplicates[:LONGEST_LIST]:
        found.append(
            Finding(True, f"These steps hold the same values: {_times(cube, group)}.", group)
        )
    if len(duplicates) > LONGEST_LIST:
        more = len(duplicates) - LONGEST_LIST
        found.append(Finding(True, f"{more} further groups of steps hold the same values."))
    return found


def _about_bands(cube: Cube, survey: Survey) -> list[Finding]:
    found = []
    for band, name in enumerate(cube.bands):
        low, high = survey.low[band], survey.high[band]
        if np.isnan(low):
            found.append(Finding(True, f"{name} has no valid pixel in any step."))
        elif low == high:
            found.append(Finding(True, f"{name} is {number(low)} everywhere and always."))
        elif cube.kind != "categorical":
            top = saturated(survey, band)
            if top >= SATURATED_SHARE:
                text = f"{_percent(top)} of {name} is at its greatest value, {number(high)}: "
                found.append(Finding(True, text + "it may be clipped, or an undeclared nodata."))
            bottom = survey.at_lowest[:, band].sum() / survey.counts[band].sum()
            if bottom >= PILE_SHARE:
                text = f"{_percent(bottom)} of {name} is at its lowest value, {number(low)}."
                found.append(Finding(False, text))
    return found


def _about_files(set_aside: Sequence[SetAside]) -> list[Finding]:
    found = []
    for status, attention in (("quarantined", True), ("skipped", False)):
        count = sum(item.count for item in set_aside if item.status == status)
        if count:
            word = "file was" if count == 1 else "files were"
            found.append(Finding(attention, f"{count} {word} {status}; the reasons are below."))
    return found


def _about_gaps(cube: Cube, fraction: NDArray[np.float64], survey: Survey) -> list[Finding]:
    found = []
    empty = fraction.sum(axis=1) == 0
    lost = tuple(int(step) for step in np.flatnonzero(empty & cube.observed))
    if lost:
        share = len(lost) / max(1, int(cube.observed.sum()))
        text = f"{len(lost)} of {int(cube.observed.sum())} steps with scenes have no valid pixel"
        found.append(Finding(share > 0.5, f"{text}.", lost))
    invented = tuple(int(step) for step in np.flatnonzero(~cube.observed))
    if invented:
        verb = "has" if len(invented) == 1 else "have"
        found.append(
            Finding(False, f"{len(invented)} of {len(empty)} steps {verb} no scene.", invented)
        )
    never = float((survey.coverage == 0).mean())
    if never > 0 and not empty.all():
        found.append(Finding(False, f"{_percent(never)} of the raster is never valid."))
    return found


def _percent(share: float) -> str:
    return "Less than 1 %" if share < 0.005 else f"{100 * share:.0f} %"


def _count(steps: Sequence[int], one: str, many: str) -> str:
    return f"{len(steps)} {one if len(steps) == 1 else many}"


def _times(cube: Cube, steps: Sequence[int]) -> str:
    """Times of steps; the first few of many."""
    shown = [time_label(cube.times[step]) for step in steps[:LONGEST_LIST]]
    more = len(steps) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
