"""Losses that see only valid pixels, and which kinds of targets each suits.

A new loss is one function here, decorated with :func:`loss`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.functional import huber_loss, mse_loss

from geoforecast.errors import SettingsError

LossFunction = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]

AUTO = "auto"


@dataclass(frozen=True)
class Loss:
    """One loss.

    Attributes:
        name: as ``--loss`` gives it.
        kinds: of targets that it suits.
        compute: (correction, target, known) -> scalar; see masked_huber.
    """

    name: str
    kinds: tuple[str, ...]
    compute: LossFunction


_LOSSES: dict[str, Loss] = {}


def loss(name: str, *kinds: str) -> Callable[[LossFunction], LossFunction]:
    """Register a function as the loss of a name; the first of a kind is its default."""

    def register(compute: LossFunction) -> LossFunction:
        _LOSSES[name] = Loss(name, kinds, compute)
        return compute

    return register


def resolve_loss(name: str, kind: str) -> str:
    """The loss to train with.

    Args:
        name: as asked for; ``auto`` takes the kind's default.
        kind: of the targets.
    Raises:
        SettingsError: the loss does not suit the kind.
    """
    suited = [one.name for one in _LOSSES.values() if kind in one.kinds]
    if name == AUTO:
        return suited[0]
    if name not in suited:
        raise SettingsError(
            f"--loss {name} does not suit {kind} targets.",
            remedy=f"Use --loss {' or '.join(suited)}, or another --kind.",
        )
    return name


def find_loss(name: str) -> LossFunction:
    """The function of a resolved name."""
    return _LOSSES[name].compute


@loss("huber", "continuous", "count")
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
    a, b = _cleared(known, correction, target)
    return huber_loss(a, b, reduction="sum") / _count(known)


@loss("mse", "continuous", "count")
def masked_mse(correction: torch.Tensor, target: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Mean squared error over known pixels; arguments as of masked_huber."""
    a, b = _cleared(known, correction, target)
    return mse_loss(a, b, reduction="sum") / _count(known)


def _cleared(known: torch.Tensor, *parts: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The parts with 0 where nothing is known."""
    # Before the arithmetic: NaN times 0 is NaN, in the gradient too.
    zero = torch.zeros((), dtype=parts[0].dtype, device=parts[0].device)
    return tuple(torch.where(known, part, zero) for part in parts)


def _count(known: torch.Tensor) -> torch.Tensor:
    return known.sum().clamp(min=1)
