"""Drivers: dated rasters that are known ahead, such as weather, as a cube inside the cube.

They keep their own times, which may lie between, before and beyond those of the series; what
counts at a step is for the forecast to say.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np

from geoforecast.errors import InputError
from geoforecast.project import Project
from geoforecast.raster.cube import Cube, open_cube, update_meta
from geoforecast.raster.cube_writer import CubeWriter
from geoforecast.raster.grid import Grid
from geoforecast.samples.normaliser import fit_normaliser, fit_statistics, to_meta
from geoforecast.settings import SplitSettings, StackSettings
from geoforecast.stack.inventory.scenes import find_files
from geoforecast.stack.pixels.crew import write_pixels
from geoforecast.stack.plan import Plan, make_plan

GROUP = "drivers"
log = logging.getLogger(__name__)


def driver_files(settings: StackSettings) -> list[Path]:
    """The files that --drivers names.

    Raises:
        InputError: a folder does not exist or holds no GeoTIFF.
    """
    return [file.path for file in find_files(settings.drivers)] if settings.drivers else []


def driver_settings(settings: StackSettings) -> StackSettings:
    """The settings that drivers are stacked with.

    What says how scenes are read (masks, bands, scales, dates) is not about them; their files'
    own tags and names are.
    """
    return StackSettings(
        chunk=settings.chunk, on_error=settings.on_error, normalise=settings.normalise
    )


def plan_drivers(
    settings: StackSettings,
    grid: Grid,
    project: Project,
    jobs: int,
    excluded: dict[str, str] | None = None,
) -> Plan | None:
    """The plan of the cube of drivers; None if there are none.

    Args:
        settings: of the series, with --drivers.
        grid: of the cube.
        project: its outputs are no inputs.
        jobs: threads.
        excluded: key -> reason of files whose pixels turned out to be unreadable.
    Raises:
        GeoforecastError: as make_plan.
    """
    if not settings.drivers:
        return None
    # No driver is ever tested against, so the blocks are only as small as can be.
    split = SplitSettings(test=1, validation=1)
    return make_plan(
        settings.drivers,
        driver_settings(settings),
        split,
        project=project,
        jobs=jobs,
        excluded=excluded or {},
        grid=grid,
    )


def write_drivers(
    cube_path: Path,
    grid: Grid,
    settings: StackSettings,
    jobs: int,
    project: Project | None = None,
) -> str:
    """Write the cube of drivers into a cube.

    Args:
        cube_path: the cube, finished; drivers that it has are replaced.
        grid: its grid.
        settings: of the series, with --drivers.
        jobs: threads.
        project: its outputs are no inputs; default: the one that the cube lies in.
    Returns:
        A sentence for people.
    Raises:
        GeoforecastError: as make_plan, and where pixels cannot be decoded.
    """
    series = open_cube(cube_path)
    project = project or Project(cube_path.parent)
    excluded: dict[str, str] = {}
    while True:
        plan = plan_drivers(settings, grid, project, jobs, excluded)
        assert plan is not None  # --drivers is given
        training = _training_steps(plan, series)
        failed = _write(cube_path / GROUP, plan, settings, series, excluded, jobs)
        if not failed:
            break
        # The drivers must be as if these files were not there, so they are made again.
        for key, reason in failed.items():
            log.warning("Quarantined: %s", reason)
            excluded[key] = reason
    statistics = fit_statistics(open_cube(cube_path / GROUP), range(training))
    normaliser = fit_normaliser(settings.normalise, statistics)
    update_meta(cube_path / GROUP, normaliser=to_meta(normaliser, statistics))
    first, last = plan.times[0], plan.times[-1]
    if last < series.times[-1]:
        log.warning(
            "The drivers end at %s, before the series does, at %s; what trains and is scored "
            "after them is without them.",
            last,
            series.times[-1],
        )
    return (
        f"Drivers: {len(plan.times)} steps, {first} to {last}, of {', '.join(plan.bands)}; they "
        "keep their own times."
    )


def _training_steps(plan: Plan, series: Cube) -> int:
    """How many of the drivers come before the series' training ends."""
    end = np.datetime64(series.meta["split"]["validation_start"])
    count = int(np.searchsorted(plan.times, end))
    if count == 0:
        raise InputError(
            f"The drivers begin at {plan.times[0]}, after the steps that train.",
            where=f"training ends before {end}",
            remedy="Add drivers of the time that trains, or leave --drivers out.",
        )
    return count


def _write(
    place: Path,
    plan: Plan,
    settings: StackSettings,
    series: Cube,
    excluded: dict[str, str],
    jobs: int,
) -> dict[str, str]:
    """Write the cube of drivers; the files that could not be decoded, and then no cube."""
    shutil.rmtree(place, ignore_errors=True)
    writer = CubeWriter(
        place,
        times=plan.times,
        bands=plan.bands,
        grid=plan.grid,
        dtype=plan.dtype,
        observed=plan.observed,
        chunk_px=settings.chunk,
    )
    outcome = write_pixels(plan, driver_settings(settings), writer, jobs=jobs, progress=None)
    if outcome.failed:
        return {key: error.what for key, error in sorted(outcome.failed.items())}
    if not outcome.valid.any():
        raise InputError(
            "No driver has a valid pixel on the cube's grid.",
            where=f"cube: {plan.grid.describe()}",
            remedy="Give drivers that cover the scenes, or leave --drivers out.",
        )
    gaps = np.diff(plan.times).astype("timedelta64[s]").astype(np.float64)
    writer.finish(
        {
            "kind": "continuous",
            "units": list(plan.units),
            "cadence": {"step": "none", "median_seconds": float(np.median(gaps))},
            "normaliser": None,
            "split": dict(series.meta["split"]),
            "date_choice": plan.date_text,
            "mask": plan.mask_text,
            "grid": plan.grid_text,
            "valid_pixels": [int(count) for count in outcome.valid],
            "quarantined": dict(excluded),
        }
    )
    return {}
