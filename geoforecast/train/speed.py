"""How fast an epoch went and what memory it took: speed.csv, which no result depends on.

What is measured differs each time, so it stands beside log.csv, which is the same to the bit
whether a run was killed or not.
"""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import torch

SPEED = "speed.csv"
MIB = 2**20


@dataclass(frozen=True)
class Speed:
    """One epoch as it was measured.

    Attributes:
        epoch: its number, from 1; one that was done again is there again.
        seconds: of training it, without the score on validation.
        samples_per_s: of all processes together.
        peak_mib: most memory of this process since it began, MiB.
        device_mib: most memory of the GPU since it began, MiB; 0 without one.
    """

    epoch: int
    seconds: float
    samples_per_s: float
    peak_mib: float
    device_mib: float


def measured(epoch: int, samples: int, begun: float, device: torch.device) -> Speed:
    """What an epoch took.

    Args:
        epoch: its number, from 1.
        samples: that were trained on.
        begun: time.perf_counter() when it began.
        device: where tensors live.
    """
    seconds = time.perf_counter() - begun
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB
    gpu = torch.cuda.max_memory_allocated(device) / MIB if device.type == "cuda" else 0.0
    return Speed(epoch, seconds, samples / max(seconds, 1e-9), peak, gpu)


def note_speed(folder: Path, speed: Speed) -> None:
    """Add a line to the run's speed.csv."""
    path = folder / SPEED
    epoch, *numbers = astuple(speed)
    line = ",".join([str(epoch), *(f"{number:.4g}" for number in numbers)])
    new = not path.exists()
    with path.open("a", encoding="utf-8") as stream:
        head = ",".join(field.name for field in fields(Speed)) + "\n"
        stream.write((head if new else "") + line + "\n")
