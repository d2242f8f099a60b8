"""What recurrent architectures share: layers one upon another, and a head that begins at zero.

One recurrence runs over the lookback and straight on over the leads, where the reference
forecast stands in for the frame; a small head reads the correction of each lead.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import nn
from torch.nn.functional import conv2d

from geoforecast.models import Correction, ModelConfig

Step = Callable[[torch.Tensor], torch.Tensor]


class RecurrentLayer(nn.Module):
    """One layer; its state begins at zero.

    Attributes:
        inputs, hidden: channels.
        recompute: keep as little as possible for the backward pass, at the price of time; a
            layer that cannot may ignore it.
    """

    inputs: int
    hidden: int
    recompute: bool = False

    @property
    def kept(self) -> int:
        """About how many numbers a pixel and step are kept for the backward pass."""
        return self.inputs + 9 * self.hidden  # what torch keeps of an LSTM's formulas

    @abstractmethod
    def steps(self) -> Step:
        """A new sequence: takes (B, channel, y, x) of each step, returns (B, hidden, y, x)."""

    def forward(self, x_TBCHW: torch.Tensor) -> torch.Tensor:
        """Hidden states (T, B, hidden, y, x) of each step of a whole sequence."""
        step = self.steps()
        return torch.stack([step(x_BCHW) for x_BCHW in x_TBCHW])


class Recurrent(Correction):
    """Stacked layers and a head of two 1x1 convolutions, the last one zero at first.

    Args:
        config: the build plan.
        layer: makes a layer from its input channels and its hidden ones.
    """

    def __init__(self, config: ModelConfig, layer: Callable[[int, int], RecurrentLayer]) -> None:
        super().__init__()
        self.config = config
        widths = [config.in_channels] + [config.hidden] * config.layers
        self.layers = nn.ModuleList(layer(a, b) for a, b in pairwise(widths))
        self.mix = nn.Conv2d(config.hidden + config.in_channels, config.hidden, 1)
        self.head = nn.Conv2d(config.hidden, config.out_channels, 1)
        nn.init.zeros_(self.head.weight)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def forward(self, x_BTCHW: torch.Tensor, leads: int) -> torch.Tensor:
        # Steps first and channels last in memory, so that a step is one block of it.
        x_TBCHW = x_BTCHW.permute(1, 0, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
        states = self._states(x_TBCHW, leads)
        mixed = torch.cat([states, x_TBCHW[-leads:]], dim=2).flatten(0, 1)
        corrections: torch.Tensor = self.head(torch.relu(self.mix(mixed)))
        return corrections.view(leads, -1, *corrections.shape[1:]).transpose(0, 1)

    def _states(self, x_TBCHW: torch.Tensor, leads: int) -> torch.Tensor:
        """(leads, B, hidden, y, x) states of the last layer at the last steps."""
        if torch.is_grad_enabled():
            for layer in self.layers:
                x_TBCHW = layer(x_TBCHW)
            return x_TBCHW[-leads:]
        # Nothing of earlier steps is needed: time outside, layers inside, memory of one step.
        layers = [_recurrent(layer).steps() for layer in self.layers]
        states = []
        for t, state in enumerate(x_TBCHW):
            for step in layers:
                state = step(state)
            if t >= len(x_TBCHW) - leads:
                states.append(state)
        return torch.stack(states)

    def halo_px(self, steps: int) -> int:
        # The state travels one radius a step and one a layer, not one for each pair of them.
        return (self.config.kernel // 2) * (self.config.layers + steps - 1)


def convolve(conv: nn.Conv2d, x_BCHW: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A convolution of numbers rounded to ``dtype``, in the dtype that the input has.

    Where the input is float64, nothing is rounded.
    """
    own = x_BCHW.dtype
    if dtype == own or own == torch.float64:
        result: torch.Tensor = conv(x_BCHW)
        return result
    bias = None if conv.bias is None else conv.bias.to(dtype)
    padding = conv.kernel_size[0] // 2
    rounded = conv2d(x_BCHW.to(dtype), conv.weight.to(dtype), bias, padding=padding)
    return rounded.to(own)


def _recurrent(module: nn.Module) -> RecurrentLayer:
    assert isinstance(module, RecurrentLayer)
    return module


def tanh(x: torch.Tensor) -> torch.Tensor:
    """The hyperbolic tangent; torch.tanh takes three times as long as sigmoid on CPUs."""
    return 2 * torch.sigmoid(2 * x) - 1
