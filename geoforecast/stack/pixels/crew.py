"""The pixel pass: read, mask, scale, warp, merge, derive, composite, write.

Each pixel depends on its own place only, so the result is the same to the bit for any units
and any number of threads or processes.
"""

from __future__ import annotations

import math
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from geoforecast.errors import SceneError
from geoforecast.raster.cube import CubeWriter
from geoforecast.raster.geotiff import gdal_session
from geoforecast.raster.measures import Part
from geoforecast.settings import StackSettings
from geoforecast.stack.pixels.job import Job, bands_of, job_of
from geoforecast.stack.pixels.sources import KEPT_BYTES, Lane, Stock
from geoforecast.stack.pixels.unit_pixels import Layer, UnitPixels
from geoforecast.stack.pixels.units import Unit, units_of
from geoforecast.stack.plan import Plan
from geoforecast.system import granted_memory_bytes

Done = Callable[[Unit, Part], None]

# Memory that a machine has for each further lane whose rows are kept.
MEMORY_SHARE = 8 * KEPT_BYTES


@dataclass
class Outcome:
    """What the pass counted.

    Attributes:
        valid: (step,) number of valid pixels over all bands, of the units that were done.
        failed: file key -> error, of files whose pixels cannot be decoded.
    """

    valid: NDArray[np.int64]
    failed: dict[str, SceneError] = field(default_factory=dict)


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
        # One lane after the other has room; lanes side by side only as far as memory goes.
        self.stock = Stock(max(1, min(abreast, granted_memory_bytes() // MEMORY_SHARE)))
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
            self.lanes[unit.lane] = Lane(bands_of(self.job.plan, unit.steps), self.stock)
        with self.lock:
            buffers = self.buffers.pop() if self.buffers else None
        if buffers is None:
            buffers = np.empty(self.size, self.job.plan.dtype), np.empty(self.size, bool)
        filling = UnitPixels(self.job, unit, self.lanes[unit.lane], buffers)
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

    def _end(self, unit: Unit, filling: UnitPixels) -> None:
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
