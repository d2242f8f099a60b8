"""The verb `stack`: plan, run, and leave a complete cube or none."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from geoforecast.cluster.shares import call_off
from geoforecast.errors import InputError, SceneError
from geoforecast.project import Project, recorded
from geoforecast.raster.cube import Cube, open_cube, update_meta
from geoforecast.raster.measures import COUNT
from geoforecast.samples.normaliser import fit_normaliser, fit_statistics, to_meta
from geoforecast.samples.split import Split
from geoforecast.settings import SplitSettings, StackSettings
from geoforecast.stack.derived.static import check_layers, write_layers
from geoforecast.stack.identity import (
    check_place,
    content_of,
    digest_of,
    existing_cube,
)
from geoforecast.stack.inventory.scenes import content_hashes, write_scenes_csv
from geoforecast.stack.pixels.cluster import fill_on_cluster
from geoforecast.stack.pixels.fractions import MIN_VALID_MARK
from geoforecast.stack.pixels.job import rule_for
from geoforecast.stack.pixels.making import Making, begin, refuse_unfinished, shard_of
from geoforecast.stack.plan import Plan, make_plan
from geoforecast.stack.planning import Planning
from geoforecast.stack.quality import write_quality
from geoforecast.stack.reading.ranges import ranges
from geoforecast.stack.result import StackResult, report, result_of
from geoforecast.system import granted_cpus, keep_heap_small

log = logging.getLogger(__name__)

ONE_TIME_SECONDS = 86_400.0  # the step of a cube of one time, which has none

Progress = Callable[[int, int], None]


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
    scheduler: str = "",
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
        scheduler: address of a Dask scheduler, whose workers do the units instead of ``jobs``
            threads here.
    Raises:
        GeoforecastError: any of its kinds; an existing cube is then still there.
    """
    jobs = jobs or granted_cpus()
    keep_heap_small(jobs)
    check_place(project)
    if dry_run:
        plan = make_plan(inputs, settings, split, project=project, jobs=jobs, excluded={})
        check_layers(settings, plan.grid, project, jobs)
        return result_of(project, plan, dry_run=True)
    noted = {"stack": settings, "split": split, "inputs": [str(item) for item in inputs]}
    if shard is not None:
        with recorded(project, "stack", {**noted, "shard": list(shard)}):
            return _one_share(project, inputs, settings, split, jobs, progress, shard)
    with project.lock(create=True), recorded(project, "stack", noted) as notes:
        result = _stack(project, inputs, settings, split, jobs, progress, finalise, scheduler)
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
    scheduler: str,
) -> StackResult:
    planning = Planning(inputs, settings, split, project, jobs)
    plan = planning.plan()
    hashes = content_hashes(plan.files, jobs)
    content = content_of(plan, settings, split, hashes)
    existing = existing_cube(project, content, settings, plan.files, hashes)
    excluded = dict(existing.cube.meta.get("quarantined", {})) if existing else {}
    if excluded:  # files whose pixels could not be read when the cube was made
        _refuse_quarantined(excluded, settings)
    if existing is not None and existing.same:
        plan = planning.as_before(existing.cube, excluded)
        return _up_to_date(project, plan, settings, hashes, existing.cube, split.resplit)
    for text in (plan.date_text, plan.sensor_text, plan.mask_text, plan.grid_text):
        log.debug(text)  # describe() ends the verb with the same sentences
    while True:
        plan = planning.refined(planning.plan(excluded) if excluded else plan, excluded)
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
        named = [wanted[unit] for unit in todo]
        if scheduler:
            outcome = fill_on_cluster(making, todo, named, address=scheduler, progress=progress)
        else:
            call_off(making.folder)
            outcome = making.fill(todo, named, jobs=jobs, progress=progress)
        if not outcome.failed:
            break
        # The cube must be as if these files were not there, so what they touched is made again.
        for key, error in sorted(outcome.failed.items()):
            log.warning("Quarantined: %s", error.what)
            excluded[key] = error.what
    texts = _complete(project, making, content, excluded, keys, jobs)
    write_scenes_csv(project.scenes_path, plan.files, hashes)
    quality = write_quality(project, open_cube(project.cube_path))
    result = result_of(project, plan, quality=quality.describe(), texts=texts)
    report(plan, result)
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
    planning = Planning(inputs, settings, split, project, jobs)
    plan = planning.refined(planning.plan(), {})
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
    result = result_of(project, plan, dry_run=True)
    return replace(result, messages=(*result.messages, message), dry_run=False, partial=True)


def _complete(
    project: Project,
    making: Making,
    content: Mapping[str, Any],
    excluded: Mapping[str, str],
    keys: Sequence[str],
    jobs: int,
) -> tuple[str, ...]:
    """Turn the units into a cube and put it in place; sentences on what lies beside them."""
    plan, settings = making.plan, making.settings
    records = {"keys": keys, "files": content["files"]}
    meta = _meta(plan, settings, content)
    cube = making.finish({**meta, "quarantined": dict(excluded)}, records)
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
    texts = write_layers(cube.path, plan.grid, settings, jobs, project)
    making.put_in_place(project, cube)
    return texts


def _normaliser(
    cube: Cube, settings: StackSettings, kind: str, split: Split
) -> dict[str, Any] | None:
    if kind != "continuous":
        return None
    statistics = fit_statistics(cube, split.train_steps)
    return to_meta(fit_normaliser(settings.normalise, statistics), statistics)


def _meta(plan: Plan, settings: StackSettings, content: Mapping[str, Any]) -> dict[str, Any]:
    gaps = np.diff(plan.times).astype("timedelta64[s]").astype(np.float64)
    usual = float(np.median(gaps)) if gaps.size else ONE_TIME_SECONDS
    return {
        "kind": plan.kind,
        "units": list(plan.units),
        "ranges": ranges(plan),
        "cadence": {"step": settings.cadence or "none", "median_seconds": usual},
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
        "layers": digest_of(content["layers"]),
        "left_out": {f.key: f.reason for f in plan.files if f.reason.endswith(MIN_VALID_MARK)},
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
    page = project.quality_dir / "report.html"
    told = f"Report: {page}"
    if resplit or not page.is_file():
        told = write_quality(project, open_cube(project.cube_path)).describe()
    return result_of(project, plan, up_to_date=True, quality=told)
