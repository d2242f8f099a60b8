"""The average of a training's weights, which is what is scored and kept."""

from __future__ import annotations

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

DECAY = 0.98  # a step

Weights = tuple[torch.Tensor, ...] | list[torch.Tensor]


def moving_average(averages: Weights, values: Weights, count: torch.Tensor | int) -> None:
    """Draw averages towards the values of one more step.

    Younger averages forget faster: the zeros that a new model starts from would stay long.

    Args:
        averages: changed in place.
        values: weights after the step.
        count: steps before it.
    """
    decay = min(DECAY, (1 + float(count)) / (10 + float(count)))
    get_ema_multi_avg_fn(decay)(averages, values, count)


def copied(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A model's weights, as they are now."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
