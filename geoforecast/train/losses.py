"""Losses that see only valid pixels."""

from __future__ import annotations

import torch
from torch.nn.functional import huber_loss


def masked_huber(
    correction: torch.Tensor, target: torch.Tensor, known: torch.Tensor
) -> torch.Tensor:
    """Huber loss (delta 1) over known pixels.

    Args:
        correction, target: (batch, lead, band, y, x), units of the reference's error.
        known: same shape, bool; False takes no part, in value or gradient.
    Returns:
        Scalar: the sum over known pixels divided by their number; 0 if there is none.
    """
    # Before the arithmetic: NaN times 0 is NaN, in the gradient too.
    zero = torch.zeros((), dtype=correction.dtype, device=correction.device)
    a = torch.where(known, correction, zero)
    b = torch.where(known, target, zero)
    return huber_loss(a, b, reduction="sum") / known.sum().clamp(min=1)
