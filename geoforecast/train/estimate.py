"""What a training would take, told before it begins: from one part of the raster and one step."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from geoforecast.errors import SettingsError
from geoforecast.forecast.device import pick_device, without_denormals
from geoforecast.models import build_model
from geoforecast.project import Project
from geoforecast.raster.cube import open_cube
from geoforecast.raster.grid import Tile
from geoforecast.settings import TrainSettings
from geoforecast.system import keep_heap, launched
from geoforecast.train.cache import sites_px
from geoforecast.train.calibrate_classes import calibrate
from geoforecast.train.capacity import NONE, steps_an_epoch
from geoforecast.train.loop import DivergedError, Loop
from geoforecast.train.material import gather
from geoforecast.train.plan import Plan, find_task, make_plan
from geoforecast.train.protocol import named, seen_of
from geoforecast.train.room import check_room, crowded, needs
from geoforecast.train.space import find_space
from geoforecast.train.stop import Stop
from geoforecast.train.windows import Windows
from geoforecast.values import duration_text

PROBE_PX = 64  # side of the part that is measured, as large as a crop at least


@dataclass(frozen=True)
class Estimate:
    """What a training would take.

    Attributes:
        run: its name.
        model: architecture of the correction, or none.
        parameters: of all members.
        members: of them.
        epochs: of each, at most.
        steps_an_epoch: gradient steps.
        sites_px: pixels that are learned from.
        data_seconds: until the first epoch: measured on a part of them.
        step_seconds: measured: one gradient step.
        score_seconds: of an epoch's score on the validation block.
        seconds: of all, at most; the second training and --refit counted.
        memory_bytes: at the peak.
        disk_bytes: of samples that are kept in files.
    """

    run: str
    model: str
    parameters: int
    members: int
    epochs: int
    steps_an_epoch: int
    sites_px: int
    data_seconds: float
    step_seconds: float
    score_seconds: float
    seconds: float
    memory_bytes: int
    disk_bytes: int

    def describe(self) -> str:
        """The estimate as a terminal shows it."""
        lines = [f"Training of run '{self.run}', a dry run: nothing is written."]
        if self.model == NONE:
            lines.append("  model   none: the mixture alone")
        else:
            lines += [
                f"  model   {self.model}, {self.parameters} parameters in {self.members} members",
                f"  work    at most {self.epochs} epochs of {self.steps_an_epoch} steps a member, "
                f"{1000 * self.step_seconds:.0f} ms a step, {self.score_seconds:.1f} s a score",
            ]
        lines += [
            f"  data    {self.sites_px} pixels through time, about "
            f"{duration_text(self.data_seconds)} until the first epoch",
            f"  time    at most about {duration_text(self.seconds)}",
            f"  memory  about {self.memory_bytes / 2**30:.1f} GiB",
        ]
        if self.disk_bytes:
            lines.append(f"  disk    {self.disk_bytes / 2**30:.1f} GiB of samples")
        return "\n".join(lines)


def measure_training(project: Project, settings: TrainSettings) -> Estimate:
    """Decode a part, make a step; see geoforecast.train.estimate_training."""
    if launched().size > 1:
        raise SettingsError("--dry-run measures one process.", remedy="Run it without torchrun.")
    settings = named(settings)
    device = pick_device(settings.device)
    keep_heap()
    seen = seen_of(open_cube(project.cube_path), settings)
    plan = make_plan(find_task(seen.cube, seen.settings), seen.settings, device)
    check_room(plan, device)
    settings = plan.settings
    space = find_space(settings.cache, crowded(plan, device))
    stop = Stop(lambda: False, None)
    begun = time.perf_counter()
    probe = _probe(plan)
    steps = plan.lookback, plan.horizon
    material = gather(
        plan.series, plan.split, plan.reference, steps, settings.seed, stop, tiles=[probe]
    )
    pixels = sites_px(plan.series, plan.split.test, plan.horizon)
    probed = probe.shape[0] * probe.shape[1]
    part = probed / pixels
    data = (time.perf_counter() - begun) / part
    parameters = passes = 0
    step = score = learning = 0.0
    if settings.model != NONE:
        with without_denormals(), TemporaryDirectory(prefix="geoforecast-") as folder:
            model = build_model(plan.config).to(device)
            loop = Loop(model, material.windows, settings, Path(folder), "", device)
            step, score = _timed(loop)
        windows = material.windows
        score *= _watched_px(windows, pixels) / _watched_px(windows, probed)
        passes = steps_an_epoch(pixels, len(windows.train_inits), settings)
        parameters = settings.members * sum(weight.numel() for weight in model.parameters())
        epochs = settings.members * settings.epochs
        learning = epochs * (passes * step + score)
        learning += settings.retrain * epochs * passes * step
    seconds = data + learning
    if settings.refit:
        seconds += data + settings.members * settings.epochs * passes * step
    wanted = needs(plan, device)
    on_disk = space.folder is not None
    return Estimate(
        run=settings.run,
        model=settings.model,
        parameters=parameters,
        members=settings.members,
        epochs=settings.epochs,
        steps_an_epoch=passes,
        sites_px=pixels,
        data_seconds=data,
        step_seconds=step,
        score_seconds=score,
        seconds=seconds,
        memory_bytes=wanted.memory(on_disk),
        disk_bytes=wanted.samples if on_disk else 0,
    )


def _probe(plan: Plan) -> Tile:
    """A square in the middle of the raster, large enough for a crop."""
    sides = []
    for whole in plan.series.cube.grid.shape:
        side = min(whole, max(PROBE_PX, plan.settings.patch))
        start = (whole - side) // 2
        sides += [start, start + side]
    return Tile(*sides)


def _watched_px(windows: Windows, pixels: int) -> float:
    """Pixels of the windows that an epoch is scored on, of which so many are decoded."""
    return min(windows.watched().validation_px, pixels * len(windows.validation_inits))


def _timed(loop: Loop) -> tuple[float, float]:
    """Seconds of a step and of a score; the second of each, as the first one compiles."""
    rng = np.random.default_rng(0)
    loop.model.train()
    step = score = 0.0
    for _ in range(2):
        begun = time.perf_counter()
        with contextlib.suppress(DivergedError):  # took as long
            loop.step(rng, 0)
        step = time.perf_counter() - begun
    for _ in range(2):
        begun = time.perf_counter()
        calibrate(loop.model.eval(), loop.watched, loop.settings.seed, loop.device)
        score = time.perf_counter() - begun
    return step, score
