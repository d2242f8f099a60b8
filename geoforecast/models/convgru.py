"""ConvGRU: one state and two gates, a quarter fewer weights than ConvLSTM.

Source:
    Ballas et al. (2016), Delving deeper into convolutional networks for learning video
    representations, equations 5 to 8.
"""

from __future__ import annotations

import torch
from torch import nn

from geoforecast.errors import SettingsError
from geoforecast.models import ModelConfig
from geoforecast.models.recurrent import Recurrent, RecurrentLayer, Step, convolve, tanh


class ConvGRULayer(RecurrentLayer):
    """One ConvGRU layer over a whole sequence.

    z, r = s(Wx*X + Wh*H'), h = tanh(Wx*X + W*(r.H')), H = (1 - z).h + z.H'.
    """

    def __init__(
        self, in_channels: int, hidden: int, kernel: int, convolved: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        self.inputs, self.hidden, self.convolved = in_channels, hidden, convolved
        pad = kernel // 2
        self.input_conv = nn.Conv2d(in_channels, 3 * hidden, kernel, padding=pad)
        self.gate_conv = nn.Conv2d(hidden, 2 * hidden, kernel, padding=pad, bias=False)
        self.state_conv = nn.Conv2d(hidden, hidden, kernel, padding=pad, bias=False)
        assert self.input_conv.bias is not None
        nn.init.zeros_(self.input_conv.bias)  # shares stand as z, r, candidate

    def steps(self) -> Step:
        return _Steps(self)


class _Steps:
    """The formulas, step by step."""

    def __init__(self, layer: ConvGRULayer) -> None:
        self.layer = layer
        self.state: torch.Tensor | None = None

    def __call__(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        layer, hidden = self.layer, self.layer.hidden
        gates, candidate = convolve(layer.input_conv, x_BCHW, layer.convolved).split(
            [2 * hidden, hidden], dim=1
        )
        if self.state is None:  # what is convolved, reset and kept would be zeros
            self.state = torch.sigmoid(-gates[:, :hidden]) * tanh(candidate)
        else:
            gates = gates + convolve(layer.gate_conv, self.state, layer.convolved)
            z, r = torch.sigmoid(gates).chunk(2, dim=1)
            past = convolve(layer.state_conv, r * self.state, layer.convolved)
            new = tanh(candidate + past)
            self.state = torch.lerp(new, self.state, z)
        return self.state


class ConvGRU(Recurrent):
    """Stacked ConvGRU layers."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config, lambda a, b: ConvGRULayer(a, b, config.kernel, config.convolved))

    def halo_px(self, steps: int) -> int:
        # Where there is a state to reset, a layer or a step is two convolutions, the gate's and
        # the candidate's. The farthest path enters at the first step, where there is none.
        return (self.config.kernel // 2) * (2 * (self.config.layers + steps) - 3)


def build(config: ModelConfig) -> ConvGRU:
    """A new ConvGRU; draw its weights under a seeded generator.

    Raises:
        SettingsError: peepholes are asked for.
    """
    if config.peepholes:
        raise SettingsError(
            "--peepholes is given for convgru, which has no cell state to look at.",
            remedy="Leave it out, or use --model convlstm.",
        )
    return ConvGRU(config)
