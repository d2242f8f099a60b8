"""What will be stacked, settled before any pixel is read."""

from __future__ import annotations

import logging
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from geoforecast.errors import DateError, InputError, SceneError, SettingsError
from geoforecast.project import Project
from geoforecast.raster.grid import Grid
from geoforecast.samples.split import Split, make_split
from geoforecast.settings import SplitSettings, StackSettings, Unsplit
from geoforecast.stack.cadence import parse_cadence
from geoforecast.stack.derived.bands import Derived, raw_number_doubts
from geoforecast.stack.grids import MAX_PIXELS, out_of_reach, target_grid
from geoforecast.stack.inventory.bandtimes import settle_times
from geoforecast.stack.inventory.roles import assign_roles
from geoforecast.stack.inventory.scenes import Problems, SceneFile, find_files
from geoforecast.stack.misfits import misfits
from geoforecast.stack.reading.readings import settle_readings, unit_of
from geoforecast.stack.reading.scales import settle_scales
from geoforecast.stack.reading.sensors import choose_sensor, with_kind

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """The cube to be made.

    Attributes:
        files: every input file and what becomes of it, in name order.
        bands: of the cube.
        units: of each band, or "".
        grid: of the cube.
        times: (step,) datetime64[s].
        observed: (step,) bool; False where no scene falls into a slot.
        steps: for each step its times in order, each with its scene files in name order.
        split: which steps train, validate and test.
        dtype: numpy dtype name of the values.
        date_text, mask_text, grid_text: how these were settled, for people.
        collisions: times at which scenes of one band are merged.
        sensor_text: which sensor is used, and how values come about, for people.
        kind: --kind, or categorical if the sensor holds nothing but classes.
        read: bands that are read, in order: those of the cube, and inputs of derived ones.
        derived: bands computed from others.
        orders: step -> its times, that with the most valid pixels first (--composite best).
    """

    files: tuple[SceneFile, ...]
    bands: tuple[str, ...]
    units: tuple[str, ...]
    grid: Grid
    times: NDArray[np.datetime64]
    observed: NDArray[np.bool_]
    steps: tuple[tuple[tuple[SceneFile, ...], ...], ...]
    split: Split
    dtype: str
    date_text: str
    mask_text: str
    grid_text: str
    collisions: int
    sensor_text: str = ""
    kind: str = "continuous"
    read: tuple[str, ...] = ()
    derived: tuple[Derived, ...] = ()
    orders: Mapping[int, NDArray[np.int64]] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(time, band, y, x)."""
        return (len(self.times), len(self.bands), *self.grid.shape)

    @property
    def bytes(self) -> int:
        """Size of values and validity before compression."""
        return int(np.prod(self.shape, dtype=object)) * (np.dtype(self.dtype).itemsize + 1)

    def scenes(self) -> list[SceneFile]:
        """The data files that are used."""
        return [file for file in self.files if file.used and file.role == "data"]


def make_plan(
    inputs: Sequence[str | Path],
    settings: StackSettings,
    split: SplitSettings,
    *,
    project: Project,
    jobs: int,
    excluded: Mapping[str, str],
    left_out: Mapping[str, str] = MappingProxyType({}),
    grid: Grid | None = None,
) -> Plan:
    """Settle files, dates, bands, masks, grid, steps and split.

    Args:
        inputs: folders and files.
        settings, split: what the user asks for.
        project: where the cube will be; its outputs are no inputs.
        jobs: threads for reading headers.
        excluded: key -> reason of files whose pixels turned out to be unreadable.
        left_out: key -> reason of files that are fine but not wanted.
        grid: the target, whatever the scenes and settings say.
    """
    check_settings(settings)
    cadence = parse_cadence(settings.cadence)
    files = find_files(inputs, project)
    problems = Problems(settings.on_error == "quarantine")
    _exclude(files, excluded, left_out)
    files, choice = settle_times(
        files, settings.bands_are_times, settings.date_regex, problems, jobs
    )
    _exclude(files, excluded, left_out)
    problems.settle(len(files))
    dated = [file for file in files if file.used]
    if not dated:
        raise _nothing_left(files)
    told = choose_sensor(dated, settings)
    bands, mask_text = assign_roles(dated, settings, problems, told.sensor)
    scenes = [file for file in dated if file.used and file.role == "data"]
    if not scenes:
        raise _nothing_left(files)
    settings = with_kind(settings, told.sensor, scenes)
    check_settings(settings)
    values_text = settle_readings(scenes, settings, told.sensor)
    scales_text = settle_scales(scenes, settings, problems, jobs)
    values_text = " ".join(text for text in (values_text, scales_text) if text)
    strange = {file.key: file.reason for file in scenes if not file.used}
    strange |= _out_of_reach([file for file in scenes if file.used], settings, problems, grid)
    problems.settle(len(files))
    if strange:  # settle everything as if these files were not there
        excluded = {**excluded, **strange}
        return make_plan(
            inputs,
            settings,
            split,
            project=project,
            jobs=jobs,
            excluded=excluded,
            left_out=left_out,
            grid=grid,
        )
    for doubt in raw_number_doubts(bands.derived, scenes):
        log.warning("%s", doubt)
    collisions = _check_times(scenes, settings, alone=isinstance(split, Unsplit))
    if grid is None:
        grid, grid_text = target_grid([f.header.grid for f in scenes if f.header], settings)
    else:
        grid_text = f"Grid: {grid.describe()}."
    stamps = np.array(sorted({f.time for f in scenes if f.time is not None}))
    times, slots = (stamps, np.arange(len(stamps))) if cadence is None else cadence.slots(stamps)
    at_time: dict[np.datetime64, list[SceneFile]] = defaultdict(list)
    for file in scenes:
        if file.time is not None:
            at_time[file.time].append(file)
    steps: list[list[tuple[SceneFile, ...]]] = [[] for _ in times]
    for stamp, slot in zip(stamps, slots, strict=True):
        steps[slot].append(tuple(sorted(at_time[stamp], key=lambda f: (f.path.name, f.key))))
    units = {item.name: item.unit for item in bands.derived}
    plan = Plan(
        files=tuple(files),
        bands=bands.kept,
        units=tuple(units.get(band) or unit_of(band, scenes) for band in bands.kept),
        grid=grid,
        times=times,
        observed=np.array([bool(step) for step in steps]),
        steps=tuple(tuple(step) for step in steps),
        split=make_split(len(times), split),
        dtype=_dtype(scenes, settings),
        date_text=choice.text,
        mask_text=mask_text,
        grid_text=grid_text,
        collisions=collisions,
        sensor_text=" ".join(filter(None, [told.text, values_text])),
        kind=settings.kind,
        read=bands.read if bands.derived else bands.kept,
        derived=bands.derived,
    )
    _check_size(plan, settings, project)
    return plan


def _exclude(
    files: Sequence[SceneFile], excluded: Mapping[str, str], left_out: Mapping[str, str]
) -> None:
    for file in files:
        if file.key in excluded:
            file.status, file.reason = "quarantined", excluded[file.key]
        elif file.key in left_out:
            file.skip(left_out[file.key])


def _out_of_reach(
    scenes: Sequence[SceneFile], settings: StackSettings, problems: Problems, grid: Grid | None
) -> dict[str, str]:
    """Key -> reason of scenes that no cube can hold beside the others, now problems."""
    grids = [file.header.grid for file in scenes if file.header]
    errors = out_of_reach(grids, settings, grid) if grid else misfits(grids, settings)
    found = {}
    for file in scenes:
        if file.header and (error := errors.get(file.header.grid)):
            reason = f"{error.what[:1].lower()}{error.what[1:]}"
            what = f"{file.path} does not fit the other scenes: {reason}"
            problems.add(file, SceneError(what, where=error.where, remedy=error.remedy))
            found[file.key] = what
    return found


def check_settings(settings: StackSettings) -> None:
    """Refuse settings that contradict each other.

    Raises:
        SettingsError: naming them.
    """
    if settings.kind == "categorical":
        wrong = [
            (settings.resampling == "bilinear", "--resampling bilinear"),
            (settings.composite in ("mean", "max", "min"), f"--composite {settings.composite}"),
            (settings.merge == "mean", "--merge mean"),
            (settings.scale is not None, "--scale"),
            (settings.offset is not None, "--offset"),
        ]
        for is_wrong, option in wrong:
            if is_wrong:
                raise SettingsError(
                    f"{option} would make class codes that do not exist (--kind categorical).",
                    remedy="Leave it out; classes are nearest, and --composite first or last.",
                )
    rule = settings.mask_values or settings.clear_values or settings.mask_bits
    if settings.mask == "none" and (rule or settings.dilate):
        raise SettingsError(
            "--mask none leaves nothing for --mask-values, --clear-values, --mask-bits or "
            "--dilate to act on.",
            remedy="Name the mask with --mask, or leave these out.",
        )
    if settings.chunk & (settings.chunk - 1):
        raise SettingsError(
            f"--chunk {settings.chunk} is no power of two.",
            remedy="Give 32, 64, 128, 256, 512, 1024 or 2048.",
        )
    if settings.scale == 0:
        raise SettingsError("--scale 0 makes all values equal.", remedy="Give another number.")


def _nothing_left(files: Sequence[SceneFile]) -> InputError:
    reasons = [f"{f.key}: {f.reason}" for f in files if f.reason]
    return InputError(
        f"None of {len(files)} files can be used.",
        where=reasons[:3],
        remedy="Correct these files or the options.",
    )


def _check_times(scenes: Sequence[SceneFile], settings: StackSettings, *, alone: bool) -> int:
    """The number of times with several scenes of one band, which are merged.

    Args:
        scenes: that are used.
        settings: say how several are merged.
        alone: there may be a single time, because nothing is to be forecast.
    Raises:
        DateError: there is one time only, or most collide on one grid.
    """
    times = {file.time for file in scenes}
    if len(times) == 1 and not alone:
        raise DateError(
            f"All {len(scenes)} scenes have one date, {scenes[0].time}.",
            where=f"such as {scenes[0].key}",
            remedy="A forecast needs a series; if the date stands elsewhere in the names, say "
            "where with --date-regex.",
        )
    groups: dict[tuple[np.datetime64 | None, str], list[SceneFile]] = defaultdict(list)
    for file in scenes:
        for band in file.bands:
            groups[file.time, band].append(file)
    several = {key: members for key, members in groups.items() if len(members) > 1}
    merged = {time for time, _ in several}
    same_grid: dict[np.datetime64 | None, list[SceneFile]] = {}
    for (time, _), members in several.items():
        grids = [file.header.grid for file in members if file.header]
        if len(set(grids)) < len(grids):
            same_grid.setdefault(time, members)
    if settings.merge == "auto" and 2 * len(same_grid) > len(times):
        example = next(iter(same_grid.values()))
        raise DateError(
            f"Dates that collide: at {len(same_grid)} of {len(times)} times several files hold "
            "the same band on the same grid.",
            where=[f"{example[0].time}: {file.key}" for file in example[:3]],
            remedy="If the names hold more of the date, say where with --date-regex; else merge "
            "them with --merge first or --merge mean.",
        )
    return len(merged)


def _dtype(scenes: Sequence[SceneFile], settings: StackSettings) -> str:
    if settings.kind == "continuous":
        return "float32"
    names = {
        file.header.dtypes[number - 1]
        for file in scenes
        if file.header
        for number in file.bands.values()
    }
    dtype = np.result_type(*(name if name != "float16" else "float32" for name in names))
    return str(dtype) if dtype.kind in "iu" else "int32"


def _check_size(plan: Plan, settings: StackSettings, project: Project) -> None:
    place = project.root.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    pixels = int(np.prod(plan.shape, dtype=object))
    size = plan.bytes
    if settings.fill != "none":  # made beside the other: float32, valid and observed
        size += 6 * pixels
    if pixels > MAX_PIXELS or size > free:
        steps, bands, height, width = plan.shape
        raise InputError(
            f"The cube would be too large: {steps} steps x {bands} bands x {height} x {width} "
            f"pixels, {size / 2**30:.1f} GiB; {free / 2**30:.1f} GiB are free.",
            where=plan.grid_text,
            remedy="Choose a coarser --res, smaller --bounds or fewer --bands.",
        )
