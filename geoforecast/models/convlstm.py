"""ConvLSTM: a recurrent network whose gates are convolutions.

One recurrence runs over the lookback and straight on over the leads, where the reference
forecast stands in for the frame; a small head reads the correction of each lead.

Source:
    Shi et al. (2015), Convolutional LSTM network: a machine learning approach for
    precipitation nowcasting, equation 3. Peepholes are one number a channel, not a pixel,
    so that a model is not tied to one grid.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from geoforecast.models import Correction, ModelConfig


class ConvLSTMLayer(nn.Module):
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
        new = torch.sigmoid(i) * _tanh(g)
        if cell is not None:
            new = new + torch.sigmoid(f) * cell
        if self.peepholes is not None:
            o = o + self.peepholes[2] * new
        return torch.sigmoid(o) * _tanh(new), new


class ConvLSTM(Correction):
    """Stacked ConvLSTM layers and a head of two 1x1 convolutions, the last one zero at first."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.in_channels] + [config.hidden] * config.layers
        self.layers = nn.ModuleList(
            ConvLSTMLayer(a, b, config.kernel, peepholes=config.peepholes)
            for a, b in pairwise(widths)
        )
        self.mix = nn.Conv2d(config.hidden + config.in_channels, config.hidden, 1)
        self.head = nn.Conv2d(config.hidden, config.out_channels, 1)
        nn.init.zeros_(self.head.weight)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def forward(self, x_BTCHW: torch.Tensor, leads: int) -> torch.Tensor:
        inputs = [
            step.contiguous(memory_format=torch.channels_last) for step in x_BTCHW.unbind(dim=1)
        ]
        steps = inputs
        for layer in self.layers:
            steps = layer(steps)
        corrections = []
        for state, x_BCHW in zip(steps[-leads:], inputs[-leads:], strict=True):
            mixed = torch.relu(self.mix(torch.cat([state, x_BCHW], dim=1)))
            corrections.append(self.head(mixed))
        return torch.stack(corrections, dim=1)

    def halo_px(self, steps: int) -> int:
        # The state travels one radius a step and one a layer, not one for each pair of them.
        return (self.config.kernel // 2) * (self.config.layers + steps - 1)


def build(config: ModelConfig) -> ConvLSTM:
    """A new ConvLSTM; draw its weights under a seeded generator."""
    return ConvLSTM(config)


def _tanh(x: torch.Tensor) -> torch.Tensor:
    # torch.tanh is many times slower than sigmoid on CPUs.
    return 2 * torch.sigmoid(2 * x) - 1
