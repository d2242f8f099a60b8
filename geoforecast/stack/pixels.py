"""The pixel pass: read, mask, scale, warp, merge, composite, write.

The unit of work is a strip of whole chunks, so that threads never share one. Inside it,
fewer rows are held at once if many scenes meet. Each pixel depends on its own place only,
so the result is the same to the bit for any strips and any number of threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoforecast.errors import SceneError
from geoforecast.raster.cube import CubeWriter
from geoforecast.raster.geotiff import (
    not_nodata,
    open_geotiff,
    read_dataset_mask,
    read_pixels,
)
from geoforecast.raster.grid import Grid, Tile
from geoforecast.raster.resample import CoordinateMap, Floats, coordinate_map, sample
from geoforecast.settings import StackSettings
from geoforecast.stack.composite import composite
from geoforecast.stack.masks import usable_pixels
from geoforecast.stack.plan import Plan
from geoforecast.stack.scenes import MaskSource, SceneFile

# Pixels times bands times scenes held at once, and pixels of one source window.
HELD_PIXELS = 2**24
# Steps times bands times pixels of one unit of work; it is cut into columns of chunks above.
UNIT_PIXELS = 2**26
# Grids whose coordinates are kept at hand; every scene may have a grid of its own.
KEPT_GRIDS = 8
Layer = tuple[NDArray[Any], NDArray[np.bool_]]  # values and validity, each (y, x)


@dataclass
class Outcome:
    """What the pass counted.

    Attributes:
        valid: (step,) number of valid pixels over all bands.
        failed: file key -> error, of files whose pixels cannot be decoded.
    """

    valid: NDArray[np.int64]
    failed: dict[str, SceneError] = field(default_factory=dict)


@dataclass(frozen=True)
class _Job:
    """What every unit of work needs to know."""

    plan: Plan
    settings: StackSettings
    writer: CubeWriter
    maps: dict[Grid, CoordinateMap]
    mask_maps: dict[tuple[Grid, Grid], CoordinateMap]
    bilinear: bool
    merge: str
    rule: str


@dataclass(frozen=True)
class _Unit:
    """Some steps in a rectangle of whole chunks: what one thread does at a time."""

    steps: range
    tile: Tile


def write_pixels(
    plan: Plan,
    settings: StackSettings,
    writer: CubeWriter,
    *,
    jobs: int,
    progress: Callable[[int, int], None] | None,
    strip_rows: int = 0,
) -> Outcome:
    """Fill the cube.

    Args:
        plan: what goes where.
        settings: nodata, scale, offset, resampling, merge, composite.
        writer: of the cube.
        jobs: threads.
        progress: called with units done and in all, if given.
        strip_rows: rows held at once inside a strip; 0 chooses. Never changes the result.
    Returns:
        Counts, and the files that could not be decoded; with --on-error fail the first of
        those raises instead.
    Raises:
        SceneError: pixels cannot be decoded.
    """
    job = _Job(
        plan=plan,
        settings=settings,
        writer=writer,
        maps=_maps(plan),
        mask_maps=_mask_maps(plan),
        bilinear=settings.resampling != "nearest" and settings.kind == "continuous",
        merge="mean" if settings.merge == "mean" else "first",
        rule=rule_for(settings),
    )
    units = _units(writer)
    outcome = Outcome(np.zeros(writer.shape[0], np.int64))
    stop = threading.Event()

    def work(unit: _Unit) -> Outcome:
        if stop.is_set():
            return Outcome(np.zeros(len(unit.steps), np.int64))
        return _unit_of_work(job, unit, strip_rows)

    with ThreadPoolExecutor(jobs) as pool:
        try:
            for number, (unit, part) in enumerate(zip(units, pool.map(work, units), strict=True)):
                outcome.valid[unit.steps] += part.valid
                for key, error in part.failed.items():
                    outcome.failed.setdefault(key, error)
                if outcome.failed and settings.on_error == "fail":
                    raise outcome.failed[min(outcome.failed)]
                if progress is not None:
                    progress(number + 1, len(units))
        except BaseException:
            stop.set()
            raise
    return outcome


def _units(writer: CubeWriter) -> list[_Unit]:
    """Units of whole chunks that cover the cube once."""
    steps, bands, height, width = writer.shape
    deep, _, high, wide = writer.chunks
    wide *= max(1, UNIT_PIXELS // (deep * bands * high * wide))
    return [
        _Unit(
            range(step, min(step + deep, steps)),
            Tile(row, min(row + high, height), col, min(col + wide, width)),
        )
        for step in range(0, steps, deep)
        for row in range(0, height, high)
        for col in range(0, width, wide)
    ]


def rule_for(settings: StackSettings) -> str:
    """The composite rule; classes cannot have a median, so its default becomes ``first``."""
    if settings.kind == "categorical" and settings.composite == "median":
        return "first"
    return settings.composite


def _maps(plan: Plan) -> dict[Grid, CoordinateMap]:
    grids = {file.header.grid for file in plan.scenes() if file.header}
    return {grid: coordinate_map(plan.grid, grid) for grid in grids}


def _mask_maps(plan: Plan) -> dict[tuple[Grid, Grid], CoordinateMap]:
    pairs = {
        (file.header.grid, file.mask.header.grid)
        for file in plan.scenes()
        if file.header and file.mask
    }
    return {pair: coordinate_map(*pair) for pair in pairs}


def _unit_of_work(job: _Job, unit: _Unit, strip_rows: int) -> Outcome:
    whole = unit.tile
    height, width = whole.shape
    bands = len(job.plan.bands)
    dtype = np.dtype(job.plan.dtype)
    shape = (len(unit.steps), bands, height, width)
    values = np.full(shape, np.nan if dtype.kind == "f" else 0, dtype)
    valid = np.zeros(shape, bool)
    outcome = Outcome(np.zeros(len(unit.steps), np.int64))
    coordinates: dict[tuple[Grid, Tile], tuple[Floats, Floats]] = {}
    for number, step in enumerate(unit.steps):
        scenes = sum(len(group) for group in job.plan.steps[step])
        fitting = max(1, HELD_PIXELS // max(1, scenes * bands * width))
        rows = min(strip_rows or fitting, height)
        for row in range(whole.row0, whole.row1, rows):
            tile = Tile(row, min(row + rows, whole.row1), whole.col0, whole.col1)
            here = tile.within(whole)
            layers = _step(job, step, tile, coordinates, outcome)
            for band, (layer, usable) in layers.items():
                values[number, band, *here][usable] = layer[usable]
                valid[number, band, *here] = usable
        outcome.valid[number] = np.count_nonzero(valid[number])
    job.writer.write(unit.steps.start, whole.row0, values, valid, col=whole.col0)
    return outcome


def _step(
    job: _Job,
    step: int,
    tile: Tile,
    coordinates: dict[tuple[Grid, Tile], tuple[Floats, Floats]],
    outcome: Outcome,
) -> dict[int, Layer]:
    """One step's layers in a tile: band number -> values and validity."""
    by_time: dict[int, list[Layer]] = {}
    for group in job.plan.steps[step]:
        looks: dict[int, list[Layer]] = {}
        for file in group:
            try:
                warped = _warped(job, file, tile, coordinates)
            except SceneError as error:
                outcome.failed.setdefault(file.key, error)
                continue
            for band, layer in warped.items():
                looks.setdefault(band, []).append(layer)
        for band, layers in looks.items():
            by_time.setdefault(band, []).append(_together(layers, job.merge))
    return {band: _together(layers, job.rule) for band, layers in by_time.items()}


def _together(layers: Sequence[Layer], rule: str) -> Layer:
    if len(layers) == 1:
        return layers[0]
    return composite(np.stack([v for v, _ in layers]), np.stack([u for _, u in layers]), rule)


def _warped(
    job: _Job,
    file: SceneFile,
    tile: Tile,
    coordinates: dict[tuple[Grid, Tile], tuple[Floats, Floats]],
) -> dict[int, Layer]:
    """A scene's bands on the target grid, in physical units."""
    assert file.header is not None  # scenes of a plan have headers
    way = job.maps[file.header.grid]
    numbers = {job.plan.bands.index(band): number for band, number in file.bands.items()}
    if way.identity:
        return _decoded(job, file, numbers, tile)
    if (way.source, tile) not in coordinates:
        if len(coordinates) >= KEPT_GRIDS:
            coordinates.clear()
        coordinates[way.source, tile] = way.at(tile)
    x, y = coordinates[way.source, tile]
    window = way.window(x, y)
    if window is None:
        return {}
    if window.shape[0] * window.shape[1] > HELD_PIXELS and tile.shape[0] > 1:
        return _halved(job, file, tile)
    decoded = _decoded(job, file, numbers, window)
    return {
        band: sample(values, valid, window, way.source.shape, x, y, bilinear=job.bilinear)
        for band, (values, valid) in decoded.items()
    }


def _halved(job: _Job, file: SceneFile, tile: Tile) -> dict[int, Layer]:
    """As _warped, in two halves, so that a coarse target need not hold a whole source."""
    middle = (tile.row0 + tile.row1) // 2
    tiles = (
        Tile(tile.row0, middle, tile.col0, tile.col1),
        Tile(middle, tile.row1, tile.col0, tile.col1),
    )
    parts = [_warped(job, file, part, {}) for part in tiles]
    dtype = np.dtype(job.plan.dtype)
    result = {}
    for band in sorted(parts[0].keys() | parts[1].keys()):
        filled = [
            part.get(band, (np.zeros(t.shape, dtype), np.zeros(t.shape, bool)))
            for part, t in zip(parts, tiles, strict=True)
        ]
        result[band] = (
            np.concatenate([values for values, _ in filled]),
            np.concatenate([valid for _, valid in filled]),
        )
    return result


def _decoded(job: _Job, file: SceneFile, numbers: dict[int, int], window: Tile) -> dict[int, Layer]:
    """Some bands of a scene in a window of its own grid, masked and in physical units."""
    header = file.header
    assert header is not None
    with open_geotiff(file.path) as dataset:
        raw = read_pixels(dataset, list(numbers.values()), window)
        usable = np.ones(window.shape, bool)
        if header.alpha or header.own_mask:
            usable &= read_dataset_mask(dataset, window)
    if file.mask is not None:
        usable &= _mask(job, file.mask, header.grid, window)
    settings = job.settings
    result = {}
    for (band, number), pixels in zip(numbers.items(), raw, strict=True):
        nodata = header.nodata[number - 1] if settings.nodata is None else settings.nodata
        valid = usable & not_nodata(pixels, nodata)
        scale = header.scales[number - 1] if settings.scale is None else settings.scale
        offset = header.offsets[number - 1] if settings.offset is None else settings.offset
        result[band] = _physical(pixels, valid, job.plan.dtype, scale, offset)
    return result


def _physical(
    raw: NDArray[Any], valid: NDArray[np.bool_], dtype: str, scale: float, offset: float
) -> Layer:
    """raw * scale + offset in float32; class codes stay as they are."""
    safe = np.where(valid, raw, raw.dtype.type(0))
    if np.dtype(dtype).kind in "iu":
        return np.rint(safe).astype(dtype) if raw.dtype.kind == "f" else safe.astype(dtype), valid
    with np.errstate(over="ignore"):
        values = safe.astype(np.float32)
        if scale != 1:
            values *= np.float32(scale)
        if offset != 0:
            values += np.float32(offset)
    return values, valid & np.isfinite(values)


def _mask(job: _Job, mask: MaskSource, grid: Grid, window: Tile) -> NDArray[np.bool_]:
    """Which pixels of a scene's window its mask leaves usable, by the nearest mask pixel."""
    way = job.mask_maps[grid, mask.header.grid]
    x, y = way.at(window)
    needed = way.window(x, y)
    if needed is None:
        return np.zeros(window.shape, bool)
    settings = job.settings
    # The halo lets clouds just outside the window grow into it.
    wide = needed.expanded(settings.dilate, mask.header.grid.shape)
    with open_geotiff(mask.header.path) as dataset:
        raw = read_pixels(dataset, [mask.band], wide)[0]
    usable = usable_pixels(
        raw,
        mask.profile,
        values=settings.mask_values,
        nodata=mask.header.nodata[mask.band - 1],
        dilate=settings.dilate,
    )
    _, result = sample(usable, usable, wide, mask.header.grid.shape, x, y, bilinear=False)
    return result
