"""What a stack made, as people and machines are told."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoforecast.project import Project
from geoforecast.raster.cube import open_cube
from geoforecast.raster.grid import Grid
from geoforecast.stack.plan import Plan

log = logging.getLogger(__name__)

MOST_REASONS = 5  # that are logged; all are in scenes.csv


@dataclass(frozen=True)
class StackResult:
    """What was stacked, or with dry_run what would be.

    Attributes:
        cube_path: the cube.
        times: (step,) datetime64[s], UTC.
        bands: of the cube.
        grid: of the cube.
        used, skipped, quarantined: numbers of files; ``used`` counts data files.
        masks: number of mask files that are applied.
        empty_steps: steps without any valid pixel (0 in a dry run).
        valid_fraction: share of valid pixels; NaN in a dry run.
        bytes: size of values and validity before compression.
        disk_bytes: size of the cube on disk; 0 in a dry run.
        date_choice: how the dates were found.
        messages: further sentences for people: grid, mask, split, merges.
        quality: what the report on the cube's quality found, and where it lies.
        up_to_date: the cube was there already, made from the same files and settings.
        dry_run: nothing was written.
        partial: one process's share of the units is done; the cube is not in place yet.
    """

    cube_path: Path
    times: NDArray[np.datetime64]
    bands: tuple[str, ...]
    grid: Grid
    used: int
    skipped: int
    quarantined: int
    masks: int
    empty_steps: int
    valid_fraction: float
    bytes: int
    disk_bytes: int
    date_choice: str
    messages: tuple[str, ...]
    quality: str
    up_to_date: bool
    dry_run: bool
    partial: bool = False

    @property
    def steps(self) -> int:
        return len(self.times)

    def describe(self) -> str:
        """The result as a terminal shows it."""
        count = "1 band" if len(self.bands) == 1 else f"{len(self.bands)} bands"
        head = (
            f"{self.steps} steps, {self.times[0]} to {self.times[-1]}; "
            f"{count}: {', '.join(self.bands)}."
        )
        files = f"{self.used} scene files used, {self.masks} masks, {self.skipped} skipped, "
        files += f"{self.quarantined} quarantined."
        size = f"Size: {self.bytes / 2**20:.1f} MiB before compression"
        if not (self.dry_run or self.partial):
            size += f", {self.disk_bytes / 2**20:.1f} MiB on disk; "
            size += f"{100 * self.valid_fraction:.1f} % of pixels are valid"
        lines = [head, files, self.date_choice, *self.messages, f"{size}.", self.quality]
        return "\n".join(line for line in lines if line)


def result_of(
    project: Project,
    plan: Plan,
    *,
    dry_run: bool = False,
    up_to_date: bool = False,
    quality: str = "",
    texts: tuple[str, ...] = (),
) -> StackResult:
    """What is told of a plan and of the cube that was made by it.

    Args:
        project: where the cube lies.
        plan: what was stacked.
        dry_run: the cube is not looked at.
        up_to_date: it was there already.
        quality: of QualityResult.describe.
        texts: further sentences.
    """
    status = Counter(file.status for file in plan.files)
    valid = [] if dry_run else open_cube(project.cube_path).meta["valid_pixels"]
    test, validation = len(plan.split.test_steps), len(plan.split.validation_steps)
    messages = [
        *([plan.sensor_text] if plan.sensor_text else []),
        plan.mask_text,
        plan.grid_text,
    ]
    if test:
        messages.append(
            f"Split: {plan.split.validation} steps train, {validation} validate, {test} test."
        )
    if plan.collisions:
        messages.append(f"Merged: several scenes of one band at {_times(plan.collisions)}.")
    invented = int((~plan.observed).sum())
    if invented:
        messages.append(f"Cadence: {invented} steps have no scene and stay empty.")
    return StackResult(
        cube_path=project.cube_path,
        times=plan.times,
        bands=plan.bands,
        grid=plan.grid,
        used=len(plan.scenes()),
        skipped=status["skipped"],
        quarantined=status["quarantined"],
        masks=sum(file.used and file.role == "mask" for file in plan.files),
        empty_steps=sum(count == 0 for count in valid),
        valid_fraction=sum(valid) / int(np.prod(plan.shape, dtype=object)) if valid else np.nan,
        bytes=plan.bytes,
        disk_bytes=0 if dry_run else _disk_bytes(project.cube_path),
        date_choice=plan.date_text,
        messages=(*messages, *texts),
        quality=quality,
        up_to_date=up_to_date,
        dry_run=dry_run,
    )


def report(plan: Plan, result: StackResult) -> None:
    """Log what people should look at: files set aside, empty steps, merged scenes."""
    aside = [file for file in plan.files if file.status != "used"]
    counts = Counter((file.status, file.reason) for file in aside).most_common()
    for (status, reason), count in counts[:MOST_REASONS]:
        log.log(_level(reason), "%d %s: %s.", count, status, reason.rstrip("."))
    if rest := counts[MOST_REASONS:]:
        level = max(_level(reason) for (_, reason), _ in rest)
        more = sum(count for _, count in rest)
        log.log(level, "%d more skipped or quarantined: scenes.csv tells why.", more)
    if result.empty_steps:
        log.warning(
            "%d of %d steps have no valid pixel; they stay as gaps.",
            result.empty_steps,
            result.steps,
        )
    paged = [file for file in plan.files if file.used and file.header and file.header.pages > 1]
    if paged:
        what = "1 file has" if len(paged) == 1 else f"{len(paged)} files have"
        log.warning("%s several pages; the first is read.", what)
    if plan.collisions:
        log.info("At %s several scenes of one band were merged.", _times(plan.collisions))


def _level(reason: str) -> int:
    return logging.INFO if reason.startswith("holds none") else logging.WARNING


def _times(count: int) -> str:
    return "one time" if count == 1 else f"{count} times"


def _disk_bytes(path: Path) -> int:
    return sum(item.stat().st_size for item in path.rglob("*") if item.is_file())
