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
from geoforecast.models.recurrent import Recurrent, RecurrentLayer, tanh


class ConvGRULayer(RecurrentLayer):
    """One ConvGRU layer over a whole sequence.

    z, r = s(Wx*X + Wh*H'), h = tanh(Wx*X + W*(r.H')), H = (1 - z).h + z.H'.
    """

    def __init__(self, in_channels: int, hidden: int, kernel: int) -> None:
        super().__init__()
        self.hidden = hidden
        pad = kernel // 2
        self.input_conv = nn.Conv2d(in_channels, 3 * hidden, kernel, padding=pad)
        self.gate_conv = nn.Conv2d(hidden, 2 * hidden, kernel, padding=pad, bias=False)
        self.state_conv = nn.Conv2d(hidden, hidden, kernel, padding=pad, bias=False)
        assert self.input_conv.bias is not None
        nn.init.zeros_(self.input_conv.bias)  # shares stand as z, r, candidate

    def forward(self, steps: list[torch.Tensor]) -> list[torch.Tensor]:
        """Hidden states (B, hidden, y, x) of each step from inputs (B, channel, y, x)."""
        state: torch.Tensor | None = None
        outputs = []
        for x_BCHW in steps:
            gates, candidate = self.input_conv(x_BCHW).split([2 * self.hidden, self.hidden], dim=1)
            if state is None:  # what is convolved, reset and kept would be zeros
                state = torch.sigmoid(-gates[:, : self.hidden]) * tanh(candidate)
            else:
                z, r = torch.sigmoid(gates + self.gate_conv(state)).chunk(2, dim=1)
                new = tanh(candidate + self.state_conv(r * state))
                state = torch.lerp(new, state, z)
            outputs.append(state)
        return outputs


class ConvGRU(Recurrent):
    """Stacked ConvGRU layers."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config, lambda a, b: ConvGRULayer(a, b, config.kernel))

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
