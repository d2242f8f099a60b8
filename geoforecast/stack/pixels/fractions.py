"""How much of the grid each scene covers with valid pixels: for --min-valid and --composite best.

This is known only once pixels are read, so the scenes are read twice where it is asked for.
What was found is kept beside the cube in the making, for reruns and for other shards.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoforecast.errors import SceneError
from geoforecast.project import plain, write_json
from geoforecast.raster.geotiff import gdal_session
from geoforecast.raster.grid import Tile
from geoforecast.settings import StackSettings
from geoforecast.stack.inventory.scenes import SceneFile
from geoforecast.stack.pixels.job import Job, bands_of, job_of
from geoforecast.stack.pixels.sources import Lane, Stock
from geoforecast.stack.pixels.warp import Places, blamed, warp
from geoforecast.stack.plan import Plan

ROWS = 256
# How the reason of a scene that is left out ends.
MIN_VALID_MARK = "(--min-valid)"
# Bands times pixels of one strip.
STRIP_VALUES = 2**23

Fractions = Mapping[tuple[int, int], float]  # (step, time within it) -> valid fraction


def scene_fractions(
    plan: Plan, settings: StackSettings, jobs: int, folder: Path
) -> tuple[Fractions, dict[str, SceneError]]:
    """The share of the grid that is valid at each time, mean over bands.

    Args:
        plan: whose scenes.
        settings: --resampling and what else makes pixels.
        jobs: threads.
        folder: where results are kept from run to run.
    Returns:
        The shares; file key -> error, of files whose pixels cannot be decoded.
    """
    job = job_of(plan, settings)
    failed: dict[str, SceneError] = {}
    stock = Stock()
    places = [(step, time) for step, groups in enumerate(plan.steps) for time in range(len(groups))]

    def measure(place: tuple[int, int]) -> float:
        step, time = place
        group = plan.steps[step][time]
        kept = folder / f"{_key(plan, settings, group)}.json"
        if kept.is_file():
            return float(json.loads(kept.read_text())["valid_fraction"])
        with gdal_session():
            fraction, errors = _fraction(job, step, group, stock)
        failed.update(errors)
        if not errors:
            write_json(kept, {"valid_fraction": fraction})
        return fraction

    with ThreadPoolExecutor(jobs) as pool:
        return dict(zip(places, pool.map(measure, places), strict=True)), failed


def poor_scenes(plan: Plan, fractions: Fractions, least: float) -> dict[str, str]:
    """File key -> reason, of scenes below --min-valid."""
    return {
        file.key: f"only {100 * fraction:.2g} % of the grid is valid {MIN_VALID_MARK}"
        for (step, time), fraction in fractions.items()
        if fraction < least
        for file in plan.steps[step][time]
    }


def best_orders(plan: Plan, fractions: Fractions) -> dict[int, NDArray[np.int64]]:
    """Step -> its times, the one with most valid pixels first; of equal ones the earlier."""
    return {
        step: np.argsort([-fractions[step, time] for time in range(len(groups))], kind="stable")
        for step, groups in enumerate(plan.steps)
        if len(groups) > 1
    }


def _fraction(
    job: Job, step: int, group: tuple[SceneFile, ...], stock: Stock
) -> tuple[float, dict[str, SceneError]]:
    height, width = job.plan.grid.shape
    bands = len(job.plan.read)
    lane = Lane(bands_of(job.plan, [step]), stock)
    bundles = job.warping.bundles(group)
    wide = max(1, STRIP_VALUES // (bands * ROWS))
    count = 0
    try:
        for left in range(0, width, wide):
            cols = range(left, min(left + wide, width))
            for row in range(0, height, ROWS):
                tile = Tile(row, min(row + ROWS, height), cols.start, cols.stop)
                usable = np.zeros((bands, *tile.shape), bool)
                where = Places(job.warping, tile, cols)
                for bundle in bundles:
                    shape = (len(bundle.bands), *tile.shape)
                    values, valid = np.empty(shape, job.plan.dtype), np.zeros(shape, bool)
                    try:
                        warp(job.warping, bundle, where, lane, values, valid)
                    except SceneError as error:
                        return 0.0, {file.key: error for file in blamed(bundle, error)}
                    usable[list(bundle.bands)] |= valid
                count += int(np.count_nonzero(usable))
    finally:
        lane.close()
    return count / (bands * height * width), {}


def _key(plan: Plan, settings: StackSettings, group: tuple[SceneFile, ...]) -> str:
    """A hash of all that a scene's fraction depends on; files go by size and age here."""
    content: list[Any] = [
        [plan.grid.wkt, list(plan.grid.transform), list(plan.grid.shape), plan.read],
        [settings.resampling, plan.kind],
    ]
    for file in group:
        mask = file.mask
        content.append(
            [
                *(str(file.path), file.header.stamp if file.header else None),
                sorted((band, plain(asdict(file.readings[band]))) for band in file.bands),
                [mask.header.stamp, mask.band, plain(asdict(mask.rule))] if mask else None,
            ]
        )
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
