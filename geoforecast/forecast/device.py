"""Where models run, and how they are run there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from geoforecast.errors import SettingsError
from geoforecast.models import Correction
from geoforecast.samples.features import Array
from geoforecast.system import granted_cpus


def run_model(
    model: Correction, x_BTCHW: NDArray[np.float32], leads: int, device: torch.device
) -> Array:
    """The model's correction (B, lead, band, y, x) of numpy inputs, without gradients."""
    with without_denormals(), torch.inference_mode():
        output = model(torch.from_numpy(x_BTCHW).to(device), leads)
    result: Array = output.float().cpu().numpy()
    return result


def pick_device(name: str) -> torch.device:
    """The device of a --device value; auto takes CUDA, then MPS, then the CPU.

    Raises:
        SettingsError: the device is not there.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(key for key, there in available.items() if there)
    if not available[name]:
        there = ", ".join(key for key, ok in available.items() if ok)
        raise SettingsError(
            f"--device {name}: PyTorch {torch.__version__} finds none.",
            remedy=f"Use one of {there}, or install a PyTorch built for {name}.",
        )
    # Repeatable on a GPU too; the CPU is, for one number of threads.
    torch.backends.cudnn.deterministic = True
    if "OMP_NUM_THREADS" not in os.environ:
        # torch counts the machine's cores, not those that a container or SLURM grants.
        torch.set_num_threads(granted_cpus())
    return torch.device(name)


@contextlib.contextmanager
def without_denormals() -> Iterator[None]:
    """Round numbers near zero to zero: decaying states are many times slower otherwise.

    The setting is the thread's, not torch's, so it is put back for all other code.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
