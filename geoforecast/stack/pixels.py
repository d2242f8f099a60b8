"""The pixel pass: read, mask, scale, warp, merge, derive, composite, write.

Each pixel depends on its own place only, so the result is the same to the bit for any units
and any number of threads or processes.
"""

from __future__ import annotations

import math
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoforecast.errors import SceneError
from geoforecast.raster.cube import CubeWriter
from geoforecast.raster.geotiff import gdal_session
from geoforecast.raster.grid import Tile
from geoforecast.raster.measures import Part
from geoforecast.raster.resample import coordinate_map
from geoforecast.settings import StackSettings
from geoforecast.stack.composite import best_order, composite
from geoforecast.stack.derived import Derived
from geoforecast.stack.plan import Plan
from geoforecast.stack.scenes import SceneFile
from geoforecast.stack.sources import Lane
from geoforecast.stack.units import Unit, units_of
from geoforecast.stack.warp import Bundle, Places, Warping, blamed, warp

# Pixels times bands times scenes held at once where scenes must be kept apart.
HELD_PIXELS = 2**23
Layer = tuple[NDArray[Any], NDArray[np.bool_]]  # values and validity, each (y, x)
Done = Callable[[Unit, Part], None]


@dataclass
class Outcome:
    """What the pass counted.

    Attributes:
        valid: (step,) number of valid pixels over all bands, of the units that were done.
        failed: file key -> error, of files whose pixels cannot be decoded.
    """

    valid: NDArray[np.int64]
    failed: dict[str, SceneError] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """What every unit of work needs to know."""

    plan: Plan
    warping: Warping
    merge: str
    rule: str
    places: Mapping[str, int]  # cube band -> index
    quarantine: bool

    @property
    def derived(self) -> tuple[Derived, ...]:
        return self.plan.derived


def job_of(plan: Plan, settings: StackSettings) -> Job:
    """Settle how a plan's scenes become pixels, the coordinate maps included."""
    scenes = plan.scenes()
    grids = {file.header.grid for file in scenes if file.header}
    pairs = {(f.header.grid, f.mask.header.grid) for f in scenes if f.header and f.mask}
    warping = Warping(
        bands=plan.read,
        dtype=plan.dtype,
        resampling=settings.resampling,
        kind=plan.kind,
        maps={grid: coordinate_map(plan.grid, grid) for grid in grids},
        mask_maps={pair: coordinate_map(*pair) for pair in pairs},
    )
    return Job(
        plan=plan,
        warping=warping,
        merge="mean" if settings.merge == "mean" else "first",
        rule=rule_for(settings, plan.kind),
        places={band: index for index, band in enumerate(plan.bands)},
        quarantine=settings.on_error == "quarantine",
    )


def rule_for(settings: StackSettings, kind: str) -> str:
    """The composite rule; classes cannot have a median, so its default becomes ``first``."""
    if kind == "categorical" and settings.composite == "median":
        return "first"
    return settings.composite


def write_pixels(
    plan: Plan,
    settings: StackSettings,
    writer: CubeWriter,
    *,
    jobs: int,
    progress: Callable[[int, int], None] | None = None,
    units: Sequence[Unit] | None = None,
    done: Done | None = None,
) -> Outcome:
    """Fill the cube, or some units of it.

    Args:
        plan: what goes where.
        settings: resampling, merge, composite, on_error.
        writer: of the cube.
        jobs: threads.
        progress: called with units done and in all, if given.
        units: which of units_of(writer); default: all.
        done: called with each unit, in the thread that wrote it, and what was measured.
    Returns:
        Counts, and the files that could not be decoded; with --on-error fail the first of
        those raises instead.
    Raises:
        SceneError: pixels cannot be decoded.
    """
    chosen = units_of(writer) if units is None else units
    crew = _Crew(job_of(plan, settings), writer, jobs, chosen, progress, done)
    return crew.run()


class _Crew:
    """Threads that fill units, a step at a time.

    One task is one step of one unit. Whoever ends a unit's last step writes it. Few units are
    under way at once, so that memory does not grow with the cube; their number follows the
    threads, because a unit has no more tasks than steps.
    """

    def __init__(
        self,
        job: Job,
        writer: CubeWriter,
        jobs: int,
        units: Sequence[Unit],
        progress: Callable[[int, int], None] | None,
        done: Done | None,
    ) -> None:
        self.job, self.writer, self.jobs, self.units = job, writer, jobs, units
        self.progress, self.done = progress, done
        self.outcome = Outcome(np.zeros(writer.shape[0], np.int64))
        self.lock = threading.Lock()
        self.stop = threading.Event()
        self.error: BaseException | None = None
        self.finished = 0
        self.left: dict[int, int] = defaultdict(int)
        self.lanes: dict[int, Lane] = {}
        for unit in units:
            self.left[unit.lane] += 1
        abreast = max(1, -(-jobs // max((len(unit.steps) for unit in units), default=1)))
        self.order = _abreast(units, abreast)
        self.room = threading.Semaphore(abreast + 1)
        # Memory that is fresh for each unit costs as much as warping into it.
        size = max((len(unit.steps) * math.prod(unit.tile.shape) for unit in units), default=0)
        self.size = size * len(job.plan.bands)
        self.buffers: list[Layer] = []

    def run(self) -> Outcome:
        try:
            with ThreadPoolExecutor(self.jobs, thread_name_prefix="stack") as pool:
                try:
                    for unit in self.order:
                        self.room.acquire()
                        if self.stop.is_set():
                            break
                        self._begin(unit, pool)
                except BaseException:
                    self.stop.set()
                    raise
        finally:
            for lane in self.lanes.values():
                lane.close()
        if self.error is not None:
            raise self.error
        return self.outcome

    def _begin(self, unit: Unit, pool: ThreadPoolExecutor) -> None:
        if unit.lane not in self.lanes:
            self.lanes[unit.lane] = Lane(bands_of(self.job.plan, unit.steps))
        with self.lock:
            buffers = self.buffers.pop() if self.buffers else None
        if buffers is None:
            buffers = np.empty(self.size, self.job.plan.dtype), np.empty(self.size, bool)
        filling = Filling(self.job, unit, self.lanes[unit.lane], buffers)
        left = len(unit.steps)

        def task(number: int) -> None:
            nonlocal left
            try:
                if not self.stop.is_set():
                    with gdal_session():
                        filling.fill(number)
                with self.lock:
                    left -= 1
                    last = left == 0
                if last:
                    self._end(unit, filling)
            except BaseException as error:
                with self.lock:
                    self.error = self.error or error
                self.stop.set()
                self.room.release()

        for number in range(len(unit.steps)):
            pool.submit(task, number)

    def _end(self, unit: Unit, filling: Filling) -> None:
        with self.lock:
            for key, error in filling.failed.items():
                self.outcome.failed.setdefault(key, error)
        if filling.failed and not self.job.quarantine:
            raise filling.failed[min(filling.failed)]
        if not self.stop.is_set() and not self.outcome.failed:
            (part,) = self.writer.write(
                unit.steps.start,
                unit.tile.row0,
                filling.values,
                filling.valid,
                col=unit.tile.col0,
            )
            if self.done is not None:
                self.done(unit, part)
            with self.lock:
                counts = part.cells[..., 0].sum(axis=(1, 2, 3)).astype(np.int64)
                self.outcome.valid[unit.steps.start : unit.steps.stop] += counts
        with self.lock:
            self.buffers.append(filling.buffers)
            self.finished += 1
            self.left[unit.lane] -= 1
            lane = self.lanes.pop(unit.lane) if self.left[unit.lane] == 0 else None
            if self.progress is not None:
                self.progress(self.finished, len(self.units))
        if lane is not None:
            lane.close()
        self.room.release()


def _abreast(units: Sequence[Unit], count: int) -> list[Unit]:
    """Units in the order in which they begin: ``count`` lanes side by side, each downwards."""
    lanes: dict[int, list[Unit]] = {}
    for unit in units:
        lanes.setdefault(unit.lane, []).append(unit)
    columns = list(lanes.values())
    result = []
    for start in range(0, len(columns), count):
        group = columns[start : start + count]
        for row in range(max(map(len, group))):
            result += [column[row] for column in group if row < len(column)]
    return result


def bands_of(plan: Plan, steps: Iterable[int]) -> dict[Path, tuple[int, ...]]:
    """Every file of some steps -> its bands that are read, masks among them."""
    numbers: dict[Path, set[int]] = defaultdict(set)
    for step in steps:
        for group in plan.steps[step]:
            for file in group:
                numbers[file.path].update(file.bands.values())
                if file.mask is not None:
                    numbers[file.mask.header.path].add(file.mask.band)
    return {path: tuple(sorted(found)) for path, found in numbers.items()}


class Filling:
    """The pixels of one unit while its steps come in.

    Attributes:
        values, valid: (step, band, y, x) of the unit, in ``buffers``.
        failed: file key -> error, of files that could not be decoded.
    """

    def __init__(self, job: Job, unit: Unit, lane: Lane, buffers: Layer) -> None:
        self.job, self.unit, self.lane, self.buffers = job, unit, lane, buffers
        shape = (len(unit.steps), len(job.plan.bands), *unit.tile.shape)
        self.values, self.valid = (flat[: math.prod(shape)].reshape(shape) for flat in buffers)
        self.failed: dict[str, SceneError] = {}
        self.places = Places(job.warping, unit.tile, unit.cols)

    def fill(self, number: int) -> None:
        """Fill one step of the unit."""
        values, valid = self.values[number], self.valid[number]
        groups = self.job.plan.steps[self.unit.steps[number]]
        if not self._covered(groups):
            values.fill(np.nan if values.dtype.kind == "f" else 0)
            valid.fill(False)
        if len(groups) == 1 and not self.job.derived and self._straight(groups[0], values, valid):
            return
        scenes = max(1, sum(len(group) for group in groups)) * len(self.job.plan.read)
        tile = self.unit.tile
        rows = max(1, HELD_PIXELS // (scenes * tile.shape[1]))
        for row in range(tile.row0, tile.row1, rows):
            part = Tile(row, min(row + rows, tile.row1), tile.col0, tile.col1)
            here = part.within(tile)
            places = self.places if part == tile else Places(self.job.warping, part, self.unit.cols)
            order = self.job.plan.orders.get(self.unit.steps[number])
            for index, (layer, usable) in self._step(groups, places, order).items():
                values[index][here][usable] = layer[usable]
                valid[index][here] = usable

    def _covered(self, groups: Sequence[Sequence[SceneFile]]) -> bool:
        """Whether one copy will write every pixel of the step, which need not be cleared then."""
        if len(groups) != 1 or self.job.derived:
            return False
        bundles = self.job.warping.bundles(groups[0])
        return (
            len(bundles) == 1
            and self.job.warping.maps[bundles[0].grid].identity
            and bundles[0].bands == tuple(range(len(self.job.plan.bands)))
        )

    def _straight(
        self, group: Sequence[SceneFile], values: NDArray[Any], valid: NDArray[np.bool_]
    ) -> bool:
        """Warp one time's scenes straight into place, if no two of them meet in one band."""
        bundles = self.job.warping.bundles(group)
        bands = [band for bundle in bundles for band in bundle.bands]
        if len(set(bands)) < len(bands):
            return False
        for bundle in bundles:
            first, last = bundle.bands[0], bundle.bands[-1]
            if last - first + 1 == len(bundle.bands):
                self._warp(bundle, self.places, values[first : last + 1], valid[first : last + 1])
            else:
                layers = self._layers(bundle, self.places)
                for band, (layer, usable) in (layers or {}).items():
                    np.copyto(values[band], layer, where=usable)
                    valid[band] = usable
        return True

    def _step(
        self,
        groups: Sequence[Sequence[SceneFile]],
        places: Places,
        order: NDArray[np.int64] | None,
    ) -> dict[int, Layer]:
        """One step's layers in a tile: cube band index -> values and validity."""
        job = self.job
        by_time: dict[int, list[tuple[int, Layer]]] = defaultdict(list)
        for time, group in enumerate(groups):
            ranks = {file.key: rank for rank, file in enumerate(group)}
            looks: dict[int, list[tuple[int, Layer]]] = defaultdict(list)
            for bundle in job.warping.bundles(group):
                files = {band: file.key for file, _, _, band in bundle.parts}
                for band, layer in (self._layers(bundle, places) or {}).items():
                    looks[band].append((ranks[files[band]], layer))
            named = {
                job.plan.read[band]: _together(layers, job.merge) for band, layers in looks.items()
            }
            for item in job.derived:
                if all(name in named for name in item.inputs):
                    values = {name: named[name][0] for name in item.inputs}
                    valid = {name: named[name][1] for name in item.inputs}
                    named[item.name] = item.evaluate(values, valid)
            for name, layer in named.items():
                if name in job.places:
                    by_time[job.places[name]].append((time, layer))
        return {band: _composed(found, job.rule, order) for band, found in by_time.items()}

    def _layers(self, bundle: Bundle, places: Places) -> dict[int, Layer] | None:
        """A bundle's bands by themselves; None if it does not reach into the tile."""
        shape = (len(bundle.bands), *places.tile.shape)
        values, valid = np.zeros(shape, self.values.dtype), np.zeros(shape, bool)
        if not self._warp(bundle, places, values, valid):
            return None
        return {band: (values[k], valid[k]) for k, band in enumerate(bundle.bands)}

    def _warp(
        self, bundle: Bundle, places: Places, values: NDArray[Any], valid: NDArray[np.bool_]
    ) -> bool:
        try:
            return warp(self.job.warping, bundle, places, self.lane, values, valid)
        except SceneError as error:
            for file in blamed(bundle, error):
                self.failed.setdefault(file.key, error)
            return False


def _together(looks: Sequence[tuple[int, Layer]], rule: str) -> Layer:
    """Layers of one time as one, in the order of their numbers: that of the files' names."""
    layers = [layer for _, layer in sorted(looks, key=lambda look: look[0])]
    if len(layers) == 1:
        return layers[0]
    return composite(np.stack([v for v, _ in layers]), np.stack([u for _, u in layers]), rule)


def _composed(
    found: Sequence[tuple[int, Layer]], rule: str, order: NDArray[np.int64] | None
) -> Layer:
    """Layers of several times as one; ``order`` lists the step's times, the best first."""
    if len(found) == 1:
        return found[0][1]
    layers = [layer for _, layer in found]
    line = None
    if order is not None:
        rank = {time: place for place, time in enumerate(order.tolist())}
        line = best_order([-rank[time] for time, _ in found])
    values, valid = np.stack([v for v, _ in layers]), np.stack([u for _, u in layers])
    return composite(values, valid, rule, line)
