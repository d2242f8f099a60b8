"""A batch in pieces, so that what the backward pass needs of it fits into memory.

A piece is as many samples as leave PIECE_BYTES behind, one at least. Where even one sample
leaves more than LARGE_BYTES, layers that can compute again what they would keep. Both follow
from shapes alone, never from the machine: another grouping would change the last bits.
"""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from geoforecast.models.recurrent import RecurrentLayer

PIECE_BYTES = 500_000_000
LARGE_BYTES = 2_000_000_000


def normalises_batches(model: nn.Module) -> bool:
    """Whether samples of a batch see each other in training."""
    return any(isinstance(part, _BatchNorm) for part in model.modules())


def kept_bytes(model: nn.Module, pixels: int, steps: int) -> int:
    """About what one sample leaves behind for the backward pass.

    Args:
        model: whose recurrent layers are counted.
        pixels: of a crop.
        steps: lookback and leads.
    """
    layers = [part for part in model.modules() if isinstance(part, RecurrentLayer)]
    return sum(4 * layer.kept * pixels * steps for layer in layers)


def pieces(model: nn.Module, shape: tuple[int, ...]) -> list[slice]:
    """Samples in pieces; and tell the model what it may keep.

    Args:
        model: to be trained.
        shape: of the samples, (sample, step, channel, y, x).
    """
    samples = shape[0]
    if not samples:
        return []
    pixels, steps = shape[3] * shape[4], shape[1]
    layers = [part for part in model.modules() if isinstance(part, RecurrentLayer)]
    for layer in layers:
        layer.recompute = False
    recompute = kept_bytes(model, pixels, steps) > LARGE_BYTES
    for layer in layers:
        layer.recompute = recompute
    size = samples
    if not normalises_batches(model):
        size = PIECE_BYTES // max(1, kept_bytes(model, pixels, steps))
    size = max(1, size)
    return [slice(start, min(start + size, samples)) for start in range(0, samples, size)]
