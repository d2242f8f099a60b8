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
from geoforecast.models.lstm.sequence import Gates, Steps, run_sequence
from geoforecast.models.recurrent import Recurrent, RecurrentLayer, Step, convolve, tanh


class ConvLSTMLayer(RecurrentLayer):
    """One ConvLSTM layer over a whole sequence.

    i = s(Wx*X + Wh*H + wi.C'), f likewise, C = f.C' + i.tanh(Wx*X + Wh*H),
    o = s(Wx*X + Wh*H + wo.C) with the new C, H = o.tanh(C). The state begins at zero and
    the forget gate's bias at 1.

    On CPUs, and without peepholes, it is computed by models/lstm; elsewhere by torch, as the
    formulas stand.

    Attributes:
        convolved: what gates are convolved in, unless weights are float64; the cell's dtype is
            that of the weights.
    """

    def __init__(
        self,
        in_channels: int,
        hidden: int,
        kernel: int,
        *,
        peepholes: bool,
        convolved: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.inputs, self.hidden = in_channels, hidden
        pad = kernel // 2
        self.input_conv = nn.Conv2d(in_channels, 4 * hidden, kernel, padding=pad)
        self.state_conv = nn.Conv2d(hidden, 4 * hidden, kernel, padding=pad, bias=False)
        self.peepholes = nn.Parameter(torch.zeros(3, hidden, 1, 1)) if peepholes else None
        self.convolved = convolved
        with torch.no_grad():
            assert self.input_conv.bias is not None
            self.input_conv.bias.zero_()
            self.input_conv.bias[hidden : 2 * hidden] = 1.0  # gates stand as i, f, o, g

    @property
    def kept(self) -> int:
        if not self._by_hand:
            return super().kept
        # The state as it is seen and as it is given on, the cell, and the gates.
        return self.inputs + (3 if self.recompute else 7) * self.hidden

    def forward(self, x_TBCHW: torch.Tensor) -> torch.Tensor:
        if not (self._by_hand and torch.is_grad_enabled()):
            return super().forward(x_TBCHW)
        return run_sequence(x_TBCHW, self._weights, self._convolved, recompute=self.recompute)

    def steps(self) -> Step:
        if not self._by_hand or torch.is_grad_enabled():
            return _PlainSteps(self)
        return Steps(Gates.of(*self._weights, self._convolved))

    @property
    def _weights(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        assert self.input_conv.bias is not None
        return self.input_conv.weight, self.state_conv.weight, self.input_conv.bias

    @property
    def _by_hand(self) -> bool:
        return self.peepholes is None and self.input_conv.weight.device.type == "cpu"

    @property
    def _convolved(self) -> torch.dtype:
        own = self.input_conv.weight.dtype
        return own if own == torch.float64 else self.convolved


class _PlainSteps:
    """The formulas as they stand, for any device and with gradients."""

    def __init__(self, layer: ConvLSTMLayer) -> None:
        self.layer = layer
        self.hidden: torch.Tensor | None = None
        self.cell: torch.Tensor | None = None

    def __call__(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        layer = self.layer
        gates = convolve(layer.input_conv, x_BCHW, layer.convolved)
        if self.hidden is not None:  # at the first step it would convolve zeros
            gates = gates + convolve(layer.state_conv, self.hidden, layer.convolved)
        self.hidden, self.cell = _cell(gates, self.cell, layer.peepholes)
        return self.hidden


def _cell(
    gates: torch.Tensor, cell: torch.Tensor | None, peepholes: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden and cell state from gates before their nonlinearities."""
    i, f, o, g = gates.chunk(4, dim=1)
    if peepholes is not None and cell is not None:
        i = i + peepholes[0] * cell
        f = f + peepholes[1] * cell
    new = torch.sigmoid(i) * tanh(g)
    if cell is not None:
        new = new + torch.sigmoid(f) * cell
    if peepholes is not None:
        o = o + peepholes[2] * new
    return torch.sigmoid(o) * tanh(new), new


def build(config: ModelConfig) -> Recurrent:
    """A new ConvLSTM; draw its weights under a seeded generator."""

    def layer(inputs: int, hidden: int) -> ConvLSTMLayer:
        return ConvLSTMLayer(
            inputs,
            hidden,
            config.kernel,
            peepholes=config.peepholes,
            convolved=config.convolved,
        )

    return Recurrent(config, layer)
