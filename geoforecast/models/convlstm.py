"""ConvLSTM: a recurrent network whose gates are convolutions.

Source:
    Shi et al. (2015), Convolutional LSTM network: a machine learning approach for
    precipitation nowcasting, equation 3. Peepholes are one number a channel, not a pixel,
    so that a model is not tied to one grid.
"""

from __future__ import annotations

import torch
from torch import nn

from geoforecast.models import ModelConfig
from geoforecast.models.recurrent import Recurrent, RecurrentLayer, tanh


class ConvLSTMLayer(RecurrentLayer):
    """One ConvLSTM layer over a whole sequence.

    i = s(Wx*X + Wh*H + wi.C'), f likewise, C = f.C' + i.tanh(Wx*X + Wh*H),
    o = s(Wx*X + Wh*H + wo.C) with the new C, H = o.tanh(C). The state begins at zero and
    the forget gate's bias at 1.
    """

    def __init__(self, in_channels: int, hidden: int, kernel: int, *, peepholes: bool) -> None:
        super().__init__()
        self.hidden = hidden
        pad = kernel // 2
        self.input_conv = nn.Conv2d(in_channels, 4 * hidden, kernel, padding=pad)
        self.state_conv = nn.Conv2d(hidden, 4 * hidden, kernel, padding=pad, bias=False)
        self.peepholes = nn.Parameter(torch.zeros(3, hidden, 1, 1)) if peepholes else None
        with torch.no_grad():
            assert self.input_conv.bias is not None
            self.input_conv.bias.zero_()
            self.input_conv.bias[hidden : 2 * hidden] = 1.0  # gates stand as i, f, o, g

    def forward(self, steps: list[torch.Tensor]) -> list[torch.Tensor]:
        """Hidden states (B, hidden, y, x) of each step from inputs (B, channel, y, x)."""
        hidden: torch.Tensor | None = None
        cell: torch.Tensor | None = None
        outputs = []
        for x_BCHW in steps:
            gates = self.input_conv(x_BCHW)
            if hidden is not None:  # at the first step it would convolve zeros
                gates = gates + self.state_conv(hidden)
            hidden, cell = self._step(gates, cell)
            outputs.append(hidden)
        return outputs

    def _step(
        self, gates: torch.Tensor, cell: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        i, f, o, g = gates.chunk(4, dim=1)
        if self.peepholes is not None and cell is not None:
            i = i + self.peepholes[0] * cell
            f = f + self.peepholes[1] * cell
        new = torch.sigmoid(i) * tanh(g)
        if cell is not None:
            new = new + torch.sigmoid(f) * cell
        if self.peepholes is not None:
            o = o + self.peepholes[2] * new
        return torch.sigmoid(o) * tanh(new), new


def build(config: ModelConfig) -> Recurrent:
    """A new ConvLSTM; draw its weights under a seeded generator."""
    return Recurrent(
        config, lambda a, b: ConvLSTMLayer(a, b, config.kernel, peepholes=config.peepholes)
    )
