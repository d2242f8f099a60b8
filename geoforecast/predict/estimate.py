"""What a forecast would take, told before it is made: from one unit that is forecast."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from geoforecast.forecast.settled import settle
from geoforecast.predict.crew import fill
from geoforecast.predict.layers import layer_bands, layer_type
from geoforecast.predict.making import Making
from geoforecast.predict.plan import Plan, make_plan
from geoforecast.predict.room import room_for
from geoforecast.predict.units import Unit, units_of
from geoforecast.project import Project
from geoforecast.settings import PredictSettings
from geoforecast.system import granted_cpus, keep_heap_small
from geoforecast.values import duration_text

# Of a COG over its pixels, overviews included and uncompressed: the most that it can take.
WITH_OVERVIEWS = 4 / 3


@dataclass(frozen=True)
class Estimate:
    """What a forecast would take.

    Attributes:
        run: the run.
        init_time: the last step that would be read.
        parameters: of the model; 0 if the mixture is not corrected.
        units: squares of the raster that are forecast one by one, and kept if it is stopped.
        tile: side of the tiles that are forecast at once, pixels.
        halo: pixels that are read around each.
        jobs: threads.
        learning_seconds: measured: what is learned from the record, once.
        unit_seconds: measured: one unit in the middle, in one thread.
        seconds: of all units, and what is learned; writing the files comes to it.
        memory_bytes: at the most.
        disk_bytes: at the most, of the files and of the units that they are made from.
        files: that would be written.
    """

    run: str
    init_time: np.datetime64
    parameters: int
    units: int
    tile: int
    halo: int
    jobs: int
    learning_seconds: float
    unit_seconds: float
    seconds: float
    memory_bytes: int
    disk_bytes: int
    files: tuple[Path, ...]

    def describe(self) -> str:
        """The estimate as a terminal shows it."""
        folder, more = self.files[0].parent, len(self.files) - 3
        names = ", ".join(path.name for path in self.files[:3])
        rest = f" and {more} more" if more > 0 else ""
        lines = [
            f"Forecasts from {self.init_time} (run '{self.run}'), a dry run: nothing is written.",
            f"  model   {self.parameters} parameters",
            f"  work    {self.units} units in tiles of {self.tile} px with {self.halo} px around "
            f"them, {self.jobs} threads",
            f"  time    about {duration_text(self.seconds)}: {self.learning_seconds:.1f} s to "
            f"learn from the record, {self.unit_seconds:.1f} s a unit",
            f"  memory  up to {self.memory_bytes / 2**30:.1f} GiB",
            f"  disk    up to {self.disk_bytes / 2**30:.1f} GiB while it is made",
            f"  files   {len(self.files)} in {folder}: {names}{rest}",
        ]
        return "\n".join(lines)


def measure_forecast(project: Project, settings: PredictSettings, *, jobs: int | None) -> Estimate:
    """Forecast one unit; see geoforecast.predict.estimate_forecast."""
    jobs = jobs or granted_cpus()
    keep_heap_small(jobs)
    plan = make_plan(project, settings)
    units = units_of(plan.engine.cube.grid)
    jobs = min(jobs, len(units))
    room = room_for(plan, jobs)
    start = time.perf_counter()
    settled = settle(plan.engine, plan.init_step)
    learned = time.perf_counter()
    unit = _middle(plan, units)
    # Beside the project nothing may be written: it may be read-only, or full.
    with TemporaryDirectory(prefix="geoforecast-") as folder:
        making = Making(Path(folder), plan, units)
        fill(making, [unit], settled, jobs=1, side=room.side)
    ended = time.perf_counter()
    seconds = ended - learned
    height, width = plan.engine.cube.grid.shape
    pixels = unit.tile.shape[0] * unit.tile.shape[1]
    whole = seconds * height * width / pixels / room.jobs
    engine = plan.engine
    outer = engine.outer(unit.tile, [plan.init_step], len(plan.times), [engine.reference])
    blended = any(engine.blend)
    return Estimate(
        run=settings.run,
        init_time=plan.init_time,
        parameters=sum(part.numel() for part in engine.model.parameters()) if blended else 0,
        units=len(units),
        tile=room.side,
        halo=max(
            unit.tile.row0 - outer.row0,
            unit.tile.col0 - outer.col0,
            outer.row1 - unit.tile.row1,
            outer.col1 - unit.tile.col1,
        ),
        jobs=room.jobs,
        learning_seconds=learned - start,
        unit_seconds=seconds,
        seconds=learned - start + whole,
        memory_bytes=room.memory_bytes,
        disk_bytes=_disk_bytes(plan),
        files=tuple(path for paths in plan.paths(plan.folder).values() for path in paths),
    )


def _middle(plan: Plan, units: list[Unit]) -> Unit:
    """The unit in the middle of the raster, where halos lie on all sides if they do anywhere."""
    row, col = (size // 2 for size in plan.engine.cube.grid.shape)
    inside = [
        unit
        for unit in units
        if unit.tile.row0 <= row < unit.tile.row1 and unit.tile.col0 <= col < unit.tile.col1
    ]
    return inside[0]


def _disk_bytes(plan: Plan) -> int:
    """Units and files, neither compressed."""
    height, width = plan.engine.cube.grid.shape
    deep = sum(
        len(layer_bands(plan, layer)) * np.dtype(layer_type(plan, layer)[0]).itemsize
        for layer in plan.layers
    )
    return int((1 + WITH_OVERVIEWS) * height * width * len(plan.times) * deep)
