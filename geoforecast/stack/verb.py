"""The verb `stack`: plan, run, and leave a complete cube or none."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoforecast.errors import InputError, SceneError
from geoforecast.project import Project, recorded
from geoforecast.raster.cube import Cube, open_cube, update_meta
from geoforecast.raster.grid import Grid
from geoforecast.raster.measures import COUNT
from geoforecast.samples.normaliser import fit_normaliser, fit_statistics, to_meta
from geoforecast.samples.split import Split
from geoforecast.settings import SplitSettings, StackSettings
from geoforecast.stack.identity import (
    check_place,
    content_of,
    digest_of,
    existing_cube,
    file_digests,
)
from geoforecast.stack.making import Making, begin, refuse_unfinished, shard_of
from geoforecast.stack.pixels import rule_for
from geoforecast.stack.plan import Plan, make_plan
from geoforecast.stack.scenes import content_hashes, write_scenes_csv
from geoforecast.system import granted_cpus

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


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
        return "\n".join([head, files, self.date_choice, *self.messages, f"{size}."])


def stack_scenes(
    project: Project,
    inputs: Sequence[str | Path],
    settings: StackSettings,
    split: SplitSettings,
    *,
    jobs: int | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
    shard: tuple[int, int] | None = None,
    finalise: bool = False,
) -> StackResult:
    """Make the cube of a project from folders of GeoTIFFs.

    The same files and settings again change nothing.

    Args:
        project: where the cube and scenes.csv go.
        inputs: folders, searched recursively, and files.
        settings: section [stack].
        split: section [split].
        jobs: threads; None takes the CPUs that this process may use.
        dry_run: settle everything, write nothing.
        progress: called with units of work done and in all.
        shard: (index, count): do only this share of the units, beside other processes that do
            the others; the cube is not there yet then.
        finalise: put the cube in place that shards have made.
    Raises:
        GeoforecastError: any of its kinds; an existing cube is then still there.
    """
    jobs = jobs or granted_cpus()
    check_place(project)
    if dry_run:
        plan = make_plan(inputs, settings, split, project=project, jobs=jobs, excluded={})
        return _result(project, plan, dry_run=True)
    noted = {"stack": settings, "split": split, "inputs": [str(item) for item in inputs]}
    if shard is not None:
        with recorded(project, "stack", {**noted, "shard": list(shard)}):
            return _one_share(project, inputs, settings, split, jobs, progress, shard)
    with project.lock(create=True), recorded(project, "stack", noted) as notes:
        result = _stack(project, inputs, settings, split, jobs, progress, finalise)
        notes.update(steps=result.steps, files=result.used, up_to_date=result.up_to_date)
    return result


def _stack(
    project: Project,
    inputs: Sequence[str | Path],
    settings: StackSettings,
    split: SplitSettings,
    jobs: int,
    progress: Progress | None,
    finalise: bool,
) -> StackResult:
    plan = make_plan(inputs, settings, split, project=project, jobs=jobs, excluded={})
    hashes = content_hashes(plan.files, jobs)
    content = content_of(plan, settings, split, hashes)
    existing = existing_cube(project, content, settings, plan.files, hashes)
    excluded = dict(existing.cube.meta.get("quarantined", {})) if existing else {}
    if excluded:  # files whose pixels could not be read when the cube was made
        _refuse_quarantined(excluded, settings)
    if existing is None or not existing.same:
        for text in (plan.date_text, plan.mask_text, plan.grid_text):
            log.debug(text)  # describe() ends the verb with the same sentences
    while True:
        if excluded:
            plan = make_plan(inputs, settings, split, project=project, jobs=jobs, excluded=excluded)
        if existing is not None and existing.same:
            return _up_to_date(project, plan, settings, hashes, existing.cube, split.resplit)
        if existing is not None and not split.resplit:
            plan = replace(plan, split=Split.from_meta(existing.cube.meta["split"], plan.times))
        making = begin(project, plan, settings)
        keys = making.keys(making.units, hashes)
        wanted = dict(zip(making.units, keys, strict=True))
        if existing is not None:
            todo = making.missing(list(wanted), keys)
            making.take_over(existing.cube, todo, [wanted[unit] for unit in todo])
        todo = making.missing(list(wanted), keys)
        if finalise:
            refuse_unfinished(making, todo)
        if 0 < len(todo) < len(keys):
            log.info(
                "%d of %d units of the cube are there already.", len(keys) - len(todo), len(keys)
            )
        outcome = making.fill(todo, [wanted[u] for u in todo], jobs=jobs, progress=progress)
        if not outcome.failed:
            break
        # The cube must be as if these files were not there, so what they touched is made again.
        for key, error in sorted(outcome.failed.items()):
            log.warning("Quarantined: %s", error.what)
            excluded[key] = error.what
    _complete(project, making, content, excluded, keys, hashes)
    write_scenes_csv(project.scenes_path, plan.files, hashes)
    result = _result(project, plan)
    _report(plan, result)
    return result


def _one_share(
    project: Project,
    inputs: Sequence[str | Path],
    settings: StackSettings,
    split: SplitSettings,
    jobs: int,
    progress: Progress | None,
    shard: tuple[int, int],
) -> StackResult:
    """Do one process's share of the units; --finalise ends the cube."""
    project.ensure_writable()
    plan = make_plan(inputs, settings, split, project=project, jobs=jobs, excluded={})
    making = begin(project, plan, settings)
    units = shard_of(making, shard)
    steps = {step for unit in units for step in unit.steps}
    touched = {f.key: f for step in steps for group in plan.steps[step] for f in group}
    masks = {f.mask.key for f in touched.values() if f.mask}
    files = [f for f in plan.files if f.key in touched or f.key in masks]
    keys = making.keys(units, content_hashes(files, jobs))
    wanted = dict(zip(units, keys, strict=True))
    todo = making.missing(units, keys)
    outcome = making.fill(todo, [wanted[u] for u in todo], jobs=jobs, progress=progress)
    if outcome.failed:
        raise SceneError(
            f"{len(outcome.failed)} files have pixels that cannot be decoded.",
            where=[error.what for error in outcome.failed.values()][:3],
            remedy="Leave --shard out, so that one process can set them aside and make what "
            "they touch again; or take these files away and run all shards again.",
        )
    message = f"Share {shard[0]} of {shard[1]}: {len(units)} of {len(making.units)} units are done"
    message += f", {len(units) - len(todo)} of them before."
    result = _result(project, plan, dry_run=True)
    return replace(result, messages=(*result.messages, message), dry_run=False, partial=True)


def _complete(
    project: Project,
    making: Making,
    content: Mapping[str, Any],
    excluded: Mapping[str, str],
    keys: Sequence[str],
    hashes: Mapping[str, str],
) -> None:
    """Turn the units into a cube and put it in place."""
    plan, settings = making.plan, making.settings
    records = {"keys": keys, "files": file_digests(plan, hashes)}
    meta = _meta(plan, settings, content)
    making.finish({**meta, "quarantined": dict(excluded)}, records)
    cube = open_cube(making.writer.path)
    counts = cube.step_statistics()[..., COUNT].sum(axis=1).astype(np.int64)
    if not counts.any():
        making.discard()
        raise InputError(
            f"All pixels of all {len(plan.scenes())} scenes are masked or nodata.",
            where=plan.mask_text,
            remedy="Check the mask's sense with --mask and --mask-values, and --nodata.",
        )
    update_meta(
        cube.path,
        valid_pixels=[int(count) for count in counts],
        normaliser=_normaliser(cube, settings, plan.kind, plan.split),
    )
    making.put_in_place(project)


def _normaliser(
    cube: Cube, settings: StackSettings, kind: str, split: Split
) -> dict[str, Any] | None:
    if kind != "continuous":
        return None
    statistics = fit_statistics(cube, split.train_steps)
    return to_meta(fit_normaliser(settings.normalise, statistics), statistics)


def _meta(plan: Plan, settings: StackSettings, content: Mapping[str, Any]) -> dict[str, Any]:
    gaps = np.diff(plan.times).astype("timedelta64[s]").astype(np.float64)
    return {
        "kind": plan.kind,
        "units": list(plan.units),
        "cadence": {"step": settings.cadence or "none", "median_seconds": float(np.median(gaps))},
        "normaliser": None,
        "split": plan.split.to_meta(plan.times),
        "fingerprint": digest_of(content),
        "settings": content["settings"],
        "sources": {
            "files": len(plan.files),
            "used": len(plan.scenes()),
            "digest": digest_of(content["files"]),
        },
        "date_choice": plan.date_text,
        "mask": plan.mask_text,
        "grid": plan.grid_text,
        "composite": rule_for(settings, plan.kind) if settings.cadence != "none" else "",
    }


def _refuse_quarantined(excluded: Mapping[str, str], settings: StackSettings) -> None:
    """With --on-error fail a cube that was made without some files will not do."""
    if settings.on_error == "fail":
        raise SceneError(
            next(iter(excluded.values())),
            where=f"{len(excluded)} files were set aside when the cube was made",
            remedy="Correct these files, or leave them out with --on-error quarantine.",
        )


def _up_to_date(
    project: Project,
    plan: Plan,
    settings: StackSettings,
    hashes: Mapping[str, str],
    cube: Cube,
    resplit: bool,
) -> StackResult:
    if resplit and cube.meta["split"] != plan.split.to_meta(plan.times):
        log.info("The split of %s is made anew.", project.cube_path)
        update_meta(
            project.cube_path,
            split=plan.split.to_meta(plan.times),
            normaliser=_normaliser(cube, settings, plan.kind, plan.split),
        )
    else:
        log.info("%s is up to date; nothing to do.", project.cube_path)
        plan = replace(plan, split=Split.from_meta(cube.meta["split"], plan.times))
    write_scenes_csv(project.scenes_path, plan.files, hashes)
    return _result(project, plan, up_to_date=True)


def _result(
    project: Project, plan: Plan, *, dry_run: bool = False, up_to_date: bool = False
) -> StackResult:
    status = Counter(file.status for file in plan.files)
    valid = [] if dry_run else open_cube(project.cube_path).meta["valid_pixels"]
    test, validation = len(plan.split.test_steps), len(plan.split.validation_steps)
    messages = [
        plan.mask_text,
        plan.grid_text,
        f"Split: {plan.split.validation} steps train, {validation} validate, {test} test.",
    ]
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
        messages=tuple(messages),
        up_to_date=up_to_date,
        dry_run=dry_run,
    )


def _report(plan: Plan, result: StackResult) -> None:
    aside = [file for file in plan.files if file.status != "used"]
    for (status, reason), count in Counter((f.status, f.reason) for f in aside).most_common(5):
        level = logging.INFO if reason.startswith("holds none") else logging.WARNING
        log.log(level, "%d %s: %s.", count, status, reason.rstrip("."))
    if result.empty_steps:
        log.warning(
            "%d of %d steps have no valid pixel; they stay as gaps.",
            result.empty_steps,
            result.steps,
        )
    if plan.collisions:
        log.info("At %s several scenes of one band were merged.", _times(plan.collisions))


def _times(count: int) -> str:
    return "one time" if count == 1 else f"{count} times"


def _disk_bytes(path: Path) -> int:
    return sum(item.stat().st_size for item in path.rglob("*") if item.is_file())
