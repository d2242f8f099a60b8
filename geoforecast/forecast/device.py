"""Where models run, and how they are run there."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from geoforecast.errors import SettingsError
from geoforecast.models import Correction
from geoforecast.samples.features import Array
from geoforecast.system import Launch, granted_cpus, launched

log = logging.getLogger(__name__)


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

    Of several processes on a machine that train together, each takes a GPU of its own.

    Raises:
        SettingsError: the device is not there.
    """
    launch = launched()
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available() and launch.size == 1,
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
    if name == "cuda" and launch.size > 1:
        return _own_gpu(launch)
    return torch.device(name)


def _own_gpu(launch: Launch) -> torch.device:
    found = torch.cuda.device_count()
    if 1 < found < launch.local_size:
        raise SettingsError(
            f"{launch.local_size} processes on this machine, but {found} GPUs.",
            remedy=f"Let torchrun start {found} processes on it.",
        )
    # A scheduler may show each process its own GPU only.
    device = torch.device("cuda", launch.local_rank % found)
    torch.cuda.set_device(device)  # what objects travel by, too
    return device


def pick_precision(name: str, device: torch.device) -> str:
    """The precision of a --precision value.

    Args:
        name: fp32, bf16 or auto, which takes bf16 on GPUs that compute it.
        device: where tensors live.
    """
    if name != "auto":
        if name == "bf16" and device.type == "cpu" and not _has_bf16():
            log.warning("this CPU has no bfloat16: --precision bf16 is slower here than fp32")
        return name
    has = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if has else "fp32"


def _has_bf16() -> bool:
    tell = getattr(torch.cpu, "get_capabilities", None)
    if tell is None:  # an older torch does not say
        return True
    return any(tell().get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


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
