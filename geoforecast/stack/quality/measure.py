"""The quality of a cube as plain numbers and sentences: what quality.json holds."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoforecast.figures.words import shown_unit, time_label
from geoforecast.raster.cube import Cube
from geoforecast.raster.measures import COUNT, HIGH, LOW, MEAN
from geoforecast.stack.quality.alignment import Alignment, measure_alignment
from geoforecast.stack.quality.checks import Outlier, find_duplicates, find_outliers
from geoforecast.stack.quality.findings import Finding, SetAside, find_all
from geoforecast.stack.quality.look import choose_band, choose_steps, choose_windows
from geoforecast.stack.quality.survey import QUANTILES, Survey, survey_cube

GOOD, ATTENTION = "good", "attention"
MAX_NAMES = 200  # of files set aside for one reason; scenes.csv has all

Row = Mapping[str, str]


@dataclass(frozen=True)
class StepQuality:
    """One step of the cube.

    Attributes:
        step: its number, from 0.
        time: ISO 8601, UTC.
        observed: whether a scene contributed.
        files: data files of its time; None if scenes.csv does not say.
        valid_fraction: of all its pixels.
        valid_by_band: of each band's pixels.
        quantiles: of each band's values, at Quality.quantile_levels; NaN without any.
        shift_px: (dy, dx) against the other steps where it could be measured reliably.
        flags: what is wrong with it, in words.
    """

    step: int
    time: str
    observed: bool
    files: int | None
    valid_fraction: float
    valid_by_band: tuple[float, ...]
    quantiles: tuple[tuple[float, ...], ...]
    shift_px: tuple[float, float] | None
    flags: tuple[str, ...]


@dataclass(frozen=True)
class BandQuality:
    """One band of the cube, over all steps.

    Attributes:
        name, unit: of the cube; the unit is empty for dimensionless numbers.
        valid_fraction: of its pixels.
        minimum, maximum, mean: of all valid pixels, exact; NaN if none is valid.
        at_lowest, at_highest: shares of the overview's valid pixels at these extremes.
        edges: of the histogram's bins, or the class codes (infinity: all further classes).
        histogram: counts of the overview's pixels; values beyond the edges are in the
            outermost bins.
    """

    name: str
    unit: str
    valid_fraction: float
    minimum: float
    maximum: float
    mean: float
    at_lowest: float
    at_highest: float
    edges: tuple[float, ...]
    histogram: tuple[int, ...]


@dataclass(frozen=True)
class Quality:
    """All that was found out.

    Attributes:
        verdict: GOOD or ATTENTION.
        findings: what the verdict rests on, then notes.
        kind: of the cube.
        grid: in words.
        overview_stride: pixels between those that quantiles and histograms are made of.
        quantile_levels: of StepQuality.quantiles.
        steps, bands, alignment: see there.
        duplicates: groups of steps with identical values.
        outliers: steps that stand out, by band.
        never_valid, always_valid: shares of the overview's pixels.
        set_aside: files that were not used, by reason.
        files: used data files, if scenes.csv says.
    """

    verdict: str
    findings: tuple[Finding, ...]
    kind: str
    grid: str
    overview_stride: int
    quantile_levels: tuple[float, ...]
    steps: tuple[StepQuality, ...]
    bands: tuple[BandQuality, ...]
    alignment: Alignment
    duplicates: tuple[tuple[int, ...], ...]
    outliers: tuple[Outlier, ...]
    never_valid: float
    always_valid: float
    set_aside: tuple[SetAside, ...]
    files: int


def measure_quality(cube: Cube, rows: Sequence[Row]) -> Quality:
    """Measure a cube.

    Args:
        cube: complete.
        rows: of scenes.csv; may be empty.
    """
    return judge(cube, rows, survey_cube(cube))


def judge(cube: Cube, rows: Sequence[Row], survey: Survey) -> Quality:
    """What a survey, the files and the alignment amount to."""
    pixels = cube.grid.shape[0] * cube.grid.shape[1]
    fraction = survey.valid / pixels
    outliers = find_outliers(
        survey, cube.times, categorical=cube.kind == "categorical", pixels=pixels
    )
    duplicates = tuple(find_duplicates(survey))
    band = choose_band(survey)
    alignment = measure_alignment(
        cube,
        band,
        choose_windows(survey, band, cube.grid.shape),
        choose_steps(fraction[:, band]),
    )
    bands = tuple(_band(cube, survey, band, fraction) for band in range(len(cube.bands)))
    flags = _flags(cube, fraction, outliers, duplicates, alignment)
    steps = _steps(cube, rows, survey, fraction, flags, alignment)
    aside = set_aside(rows)
    findings = find_all(
        cube,
        fraction=fraction,
        survey=survey,
        outliers=outliers,
        duplicates=duplicates,
        alignment=alignment,
        set_aside=aside,
    )
    return Quality(
        verdict=ATTENTION if any(item.attention for item in findings) else GOOD,
        findings=findings,
        kind=cube.kind,
        grid=cube.grid.describe(),
        overview_stride=survey.stride,
        quantile_levels=QUANTILES,
        steps=steps,
        bands=bands,
        alignment=alignment,
        duplicates=duplicates,
        outliers=tuple(outliers),
        never_valid=float((survey.coverage == 0).mean()),
        always_valid=float((survey.coverage == 1).mean()),
        set_aside=aside,
        files=sum(_is_data(row) for row in rows),
    )


def set_aside(rows: Sequence[Row]) -> tuple[SetAside, ...]:
    """Files that were not used, quarantined ones first, by reason."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in rows:
        if row.get("status") != "used":
            groups[row.get("status", ""), row.get("reason", "")].append(row.get("path", ""))
    ordered = sorted(groups.items(), key=lambda item: (item[0][0] != "quarantined", -len(item[1])))
    return tuple(
        SetAside(status, reason, len(paths), tuple(paths[:MAX_NAMES]))
        for (status, reason), paths in ordered
    )


def _band(cube: Cube, survey: Survey, band: int, fraction: NDArray[np.float64]) -> BandQuality:
    statistics = survey.statistics[:, band]
    known = statistics[np.nan_to_num(statistics[:, COUNT]) > 0]
    seen = max(1, int(survey.counts[band].sum()))
    weights = known[:, COUNT]
    return BandQuality(
        name=cube.bands[band],
        unit=shown_unit(cube.units[band]),
        valid_fraction=float(fraction[:, band].mean()),
        minimum=float(known[:, LOW].min()) if len(known) else np.nan,
        maximum=float(known[:, HIGH].max()) if len(known) else np.nan,
        mean=float((known[:, MEAN] * weights).sum() / weights.sum()) if len(known) else np.nan,
        at_lowest=float(survey.at_lowest[:, band].sum() / seen),
        at_highest=float(survey.at_highest[:, band].sum() / seen),
        edges=tuple(float(edge) for edge in survey.edges[band]),
        histogram=tuple(int(count) for count in survey.counts[band].sum(axis=0)),
    )


def _flags(
    cube: Cube,
    fraction: NDArray[np.float64],
    outliers: Sequence[Outlier],
    duplicates: Sequence[tuple[int, ...]],
    alignment: Alignment,
) -> dict[int, list[str]]:
    """Step -> what is wrong with it."""
    flags: dict[int, list[str]] = defaultdict(list)
    for empty in np.flatnonzero(fraction.sum(axis=1) == 0):
        step = int(empty)
        flags[step].append("no valid pixel" if cube.observed[step] else "no scene")
    for item in outliers:
        flags[item.step].append(f"outlier: {cube.bands[item.band]}: {item.text}")
    for group in duplicates:
        for step in group:
            others = [time_label(cube.times[other]) for other in group if other != step]
            more = f" and {len(others) - 3} more" if len(others) > 3 else ""
            flags[step].append(f"same values as {', '.join(others[:3])}{more}")
    lengths = {shift.step: shift.length_px for shift in alignment.shifts}
    for step in alignment.moved:
        flags[step].append(f"shifted by {lengths[step]:.1f} px")
    return flags


def _steps(
    cube: Cube,
    rows: Sequence[Row],
    survey: Survey,
    fraction: NDArray[np.float64],
    flags: Mapping[int, list[str]],
    alignment: Alignment,
) -> tuple[StepQuality, ...]:
    files = _files_by_step(cube, rows)
    shifts = {s.step: (s.dy, s.dx) for s in alignment.shifts if s.reliable}
    return tuple(
        StepQuality(
            step=step,
            time=f"{cube.times[step].astype('datetime64[s]')}Z",
            observed=bool(cube.observed[step]),
            files=files[step] if files else None,
            valid_fraction=float(fraction[step].mean()),
            valid_by_band=tuple(float(share) for share in fraction[step]),
            quantiles=tuple(tuple(float(v) for v in band) for band in survey.quantiles[step]),
            shift_px=shifts.get(step),
            flags=tuple(flags.get(step, ())),
        )
        for step in range(len(cube.times))
    )


def _files_by_step(cube: Cube, rows: Sequence[Row]) -> Counter[int]:
    """Step -> used data files; empty if their times are not those of the cube.

    With a cadence a step holds all files from its own time up to the next one's.
    """
    seconds = cube.times.astype("datetime64[s]").astype(np.int64)
    regular = cube.meta.get("cadence", {}).get("step", "none") != "none"
    found: Counter[int] = Counter()
    for row in rows:
        if not _is_data(row):
            continue
        try:
            time = np.datetime64(row.get("time", "").removesuffix("Z"), "s").astype(np.int64)
        except ValueError:
            continue
        step = int(np.searchsorted(seconds, time, side="right")) - 1
        if step >= 0 and (regular or seconds[step] == time):
            found[step] += 1
    return found


def _is_data(row: Row) -> bool:
    return row.get("status") == "used" and row.get("role") == "data"
