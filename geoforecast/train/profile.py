"""Where a step of a training spends its time: --profile writes a trace and a page about it.

Some steps are made and taken back before the training begins, so that it ends with the same
bits as without.
"""

from __future__ import annotations

import copy
import logging
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from geoforecast.project import replacing
from geoforecast.train.loop import PARTS, DivergedError, Loop

log = logging.getLogger(__name__)

FOLDER = "profile"
TRACE, SUMMARY = "trace.json.gz", "summary.txt"
WARM_UP, STEPS = 2, 5
OPERATORS = 20  # that the page shows
MS = 1000.0  # microseconds


def profile_steps(loop: Loop, folder: Path) -> None:
    """Write where the steps of a training spend their time.

    Args:
        loop: a training that has not begun; it is left as it was. All processes that train
            together must call this; the first one writes.
        folder: the run's.
    """
    before = copy.deepcopy(loop.state())
    rng = np.random.default_rng([loop.settings.seed, 3, 0])  # the crops of the first epoch
    activities = [ProfilerActivity.CPU]
    if loop.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    loop.model.train()
    try:
        _steps(loop, rng, WARM_UP)
        begun = time.perf_counter()
        _steps(loop, rng, STEPS)
        seconds = (time.perf_counter() - begun) / STEPS
        # Apart from what was timed: the profiler itself takes time.
        with profile(activities=activities, record_shapes=True, with_flops=True) as found:
            _steps(loop, rng, STEPS)
    except DivergedError as error:
        log.warning("not profiled: the first steps diverge (%s)", error)
        return
    finally:
        loop.restore(before)
    if loop.ranks.first:
        place = folder / FOLDER
        place.mkdir(parents=True, exist_ok=True)
        found.export_chrome_trace(str(place / TRACE))
        page = _page(loop, found.key_averages(), seconds)
        with replacing(place / SUMMARY) as temporary:
            temporary.write_text(page, encoding="utf-8")
        log.info("profile of %d steps: %s", STEPS, place / SUMMARY)


def _steps(loop: Loop, rng: np.random.Generator, count: int) -> None:
    for number in range(count):
        loop.step(rng, number)
    if loop.device.type == "cuda":
        torch.cuda.synchronize(loop.device)


def _page(loop: Loop, events: Sequence[Any], seconds: float) -> str:
    """The page: what was run on what, parts of a step, operators.

    Args:
        loop: what was profiled.
        events: the profiler's averages by name, over STEPS steps.
        seconds: that a step takes without the profiler.
    """
    settings, model = loop.settings, loop.model
    on_gpu = loop.device.type == "cuda"
    where = f"{torch.get_num_threads()} threads of a CPU ({platform.machine()})"
    if on_gpu:
        where = torch.cuda.get_device_name(loop.device)
    weights = sum(part.numel() for part in model.parameters())
    samples = settings.batch_size
    parts = {event.key: event.cpu_time_total for event in events if event.key in PARTS}
    total = sum(parts.values()) or 1.0
    flops = sum(event.flops for event in events) / STEPS
    lines = [
        f"A training step of geoforecast, run '{settings.run}'",
        "",
        f"  model      {settings.model}: {settings.layers} x {settings.hidden} channels, "
        f"{weights} weights, {settings.precision}",
        f"  batch      {samples} samples of {loop.windows.lookback} + {loop.windows.horizon} "
        f"steps, {settings.patch} px",
        f"  device     {where}, PyTorch {torch.__version__}",
        f"  a step     {1000 * seconds:.1f} ms, {samples / seconds:.3g} samples a second; an "
        f"epoch has {loop.steps_an_epoch}",
        f"  counted    {flops / seconds / 1e9:.3g} GFLOP/s of PyTorch's convolutions and matrix "
        "products",
        "",
        f"  {'part':<42}{'ms a step':>12}{'share':>9}",
    ]
    for name in PARTS:
        took = parts.get(name, 0.0)
        lines.append(f"  {name:<42}{took / STEPS / MS:>12.2f}{100 * took / total:>8.1f}%")
    head = "time of its own on the GPU" if on_gpu else "time of its own"
    lines += ["", f"  {f'operator, by {head}':<42}{'ms a step':>12}{'share':>9}{'calls':>9}"]
    own = [(_own_time(event, on_gpu), event) for event in events if event.key not in PARTS]
    whole = sum(took for took, _ in own) or 1.0
    for took, event in sorted(own, key=lambda one: -one[0])[:OPERATORS]:
        lines.append(
            f"  {event.key[:41]:<42}{took / STEPS / MS:>12.2f}{100 * took / whole:>8.1f}%"
            f"{event.count / STEPS:>9.0f}"
        )
    lines += ["", f"  {TRACE} beside this page opens in https://ui.perfetto.dev.", ""]
    return "\n".join(lines)


def _own_time(event: Any, on_gpu: bool) -> float:
    """Microseconds without those of operators inside it."""
    took = event.self_device_time_total if on_gpu else event.self_cpu_time_total
    return float(took)
