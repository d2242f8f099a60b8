"""How much memory a training takes, and what to do where there is less.

Samples may lie on a disk. What a step takes follows from the crops: their size decides the
result, so smaller ones are named and never chosen.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from geoforecast.errors import RunError, SettingsError
from geoforecast.models import build_model
from geoforecast.settings import TrainSettings
from geoforecast.system import granted_memory_bytes, launched
from geoforecast.train.cache import sample_bytes_px, site_bytes_px, sites_px
from geoforecast.train.capacity import NONE
from geoforecast.train.pieces import kept_bytes, pieces
from geoforecast.train.plan import Plan
from geoforecast.train.space import find_space

# Measured: mixtures alone, on small rasters, took 524 and 580 MiB, most of it torch.
PROCESS_BYTES = 580 * 2**20
LEAST_PATCH = 8


@dataclass(frozen=True)
class Needs:
    """What a training takes at its peak, bytes.

    Attributes:
        samples: of its decoded samples, which may lie on a disk.
        others: what is decoded with them, and the process itself.
        step: what a step keeps for its backward pass, where tensors live.
    """

    samples: int
    others: int
    step: int

    def memory(self, on_disk: bool) -> int:
        """Of this machine."""
        return self.others + self.step + (0 if on_disk else self.samples)


def needs(plan: Plan, device: torch.device, patch: int = 0) -> Needs:
    """What a plan takes, about.

    Args:
        plan: the training.
        device: where tensors live; what lies on a GPU does not count.
        patch: side of the crops, pixels; 0 is the plan's.
    """
    series, leads = plan.series, plan.horizon
    pixels = sites_px(series, plan.split.test, leads)
    whole = site_bytes_px(series, plan.split.test, leads)
    samples = pixels * sample_bytes_px(series, plan.split.test, leads)
    step = _step_bytes(plan, patch or plan.settings.patch) if device.type == "cpu" else 0
    return Needs(samples, PROCESS_BYTES + pixels * whole - samples, step)


def granted_share() -> int:
    """Memory for this process, of those that train together on this machine."""
    return granted_memory_bytes() // launched().local_size


def crowded(plan: Plan, device: torch.device) -> bool:
    """Whether there is too little memory to keep the samples in it."""
    return needs(plan, device).memory(on_disk=False) > granted_share()


def check_room(plan: Plan, device: torch.device) -> None:
    """Refuse a training that needs more memory than there is.

    Raises:
        SettingsError: it does; the largest crops that fit are named.
    """
    granted = granted_share()
    wanted = needs(plan, device)
    on_disk = find_space(plan.settings.cache, wanted.memory(on_disk=False) > granted).folder
    if wanted.memory(bool(on_disk)) <= granted:
        return
    remedies = ["ask for more memory"]
    if not on_disk and wanted.memory(on_disk=True) <= granted:
        remedies.append(f"keep samples ({_gib(wanted.samples)}) on a disk with --cache DIR")
    patch = plan.settings.patch // 2
    while patch >= LEAST_PATCH and wanted.step:
        if needs(plan, device, patch).memory(bool(on_disk)) <= granted:
            remedies.append(f"train with --patch {patch}")
            break
        patch //= 2
    text = ", or ".join(remedies)
    raise SettingsError(
        f"Training takes about {_gib(wanted.memory(bool(on_disk)))} of memory, of which "
        f"{_gib(granted)} are granted.",
        remedy=f"{text[:1].upper()}{text[1:]}.",
    )


@contextlib.contextmanager
def naming_room(settings: TrainSettings) -> Iterator[None]:
    """Turn what torch says of full memory into what to do about it.

    Raises:
        RunError: memory is full.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and not any(
            words in str(error) for words in ("can't allocate memory", "out of memory")
        ):
            raise
        reason = str(error).splitlines()[0][:200] if str(error) else "no memory is left"
        smaller = max(LEAST_PATCH, settings.patch // 2)
        raise RunError(
            "Training runs out of memory.",
            where=reason,
            remedy=f"Use smaller crops (--patch {smaller}) or fewer samples a step "
            f"(--batch-size {max(1, settings.batch_size // 2)}), with --overwrite if the run has "
            "begun; or ask for more memory.",
        ) from error


def _step_bytes(plan: Plan, patch: int) -> int:
    """A batch, and what is kept of its largest piece."""
    settings, reach = plan.settings, plan.lookback + plan.horizon
    if settings.model == NONE:
        return 0
    model, config = build_model(plan.config), plan.config
    height, width = (min(patch, side) for side in plan.series.cube.grid.shape)
    shape = (settings.batch_size, reach, config.in_channels, height, width)
    largest = max(part.stop - part.start for part in pieces(model, shape))
    pixels = height * width
    batch = 4 * settings.batch_size * pixels
    inputs = 2 * batch * reach * config.in_channels  # as drawn, and steps first
    targets = 2 * batch * plan.horizon * config.out_channels
    kept: int = largest * kept_bytes(model, pixels, reach)
    return inputs + targets + kept


def _gib(count: float) -> str:
    return f"{count / 2**30:.1f} GiB"
