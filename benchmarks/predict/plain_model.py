"""The same model as PyTorch is usually written, on a whole image and blended from tiles."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

# What a pixel of a whole image takes: gates before and after their nonlinearities, the state and
# cell, and the states of all steps twice, once in a list and once stacked.
GATES, STATES = 12, 4


class PlainLayer(nn.Module):
    """A ConvLSTM layer: one convolution of input and state beside each other.

    Args:
        layer: of geoforecast, whose weights it takes.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        weight = torch.cat([layer.input_conv.weight, layer.state_conv.weight], dim=1).detach()
        self.hidden = weight.shape[0] // 4
        pad = weight.shape[-1] // 2
        self.conv = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[-1], padding=pad)
        self.conv.weight.data, self.conv.bias.data = weight, layer.input_conv.bias.detach()  # type: ignore[union-attr]

    def forward(self, x_BTCHW: torch.Tensor) -> torch.Tensor:
        """States (B, T, hidden, y, x) of all steps."""
        batch, steps, _, height, width = x_BTCHW.shape
        hidden = x_BTCHW.new_zeros(batch, self.hidden, height, width)
        cell = torch.zeros_like(hidden)
        states = []
        for step in range(steps):
            gates = self.conv(torch.cat([x_BTCHW[:, step], hidden], dim=1))
            i, f, o, g = torch.split(gates, self.hidden, dim=1)
            cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
            hidden = torch.sigmoid(o) * torch.tanh(cell)
            states.append(hidden)
        return torch.stack(states, dim=1)


class PlainModel(nn.Module):
    """Layers one after the other over all steps, then the head at the last step.

    Args:
        model: of geoforecast, whose weights it takes.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.layers = nn.ModuleList(PlainLayer(layer) for layer in model.layers)
        self.mix, self.head = model.mix, model.head

    def forward(self, x_BTCHW: torch.Tensor) -> torch.Tensor:
        """(B, band, y, x) the correction of the last step."""
        states = x_BTCHW
        for layer in self.layers:
            states = layer(states)
        mixed = torch.cat([states[:, -1], x_BTCHW[:, -1]], dim=1)
        made: torch.Tensor = self.head(torch.relu(self.mix(mixed)))
        return made


def whole(model: PlainModel, x_TCHW: NDArray[np.float32]) -> NDArray[np.float32]:
    """(band, y, x) of an image at once."""
    with torch.inference_mode():
        return np.asarray(model(torch.from_numpy(x_TCHW[None]))[0])


def blended(model: PlainModel, x_TCHW: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """(band, y, x) of tiles that overlap by half, weighted less towards their edges.

    Args:
        model: run on each tile.
        x_TCHW: the image; its sides are multiples of half a tile.
        side: of the tiles.
    """
    height, width = x_TCHW.shape[2:]
    ramp = np.minimum(np.arange(side) + 0.5, side - np.arange(side) - 0.5).astype(np.float32)
    weight = np.outer(ramp, ramp)
    total, made = np.zeros((height, width), np.float32), None
    for row in range(0, height - side + 1, side // 2):
        for col in range(0, width - side + 1, side // 2):
            part = (slice(row, row + side), slice(col, col + side))
            output = whole(model, np.ascontiguousarray(x_TCHW[(..., *part)]))
            if made is None:
                made = np.zeros((len(output), height, width), np.float32)
            made[(slice(None), *part)] += output * weight
            total[part] += weight
    assert made is not None  # the image holds one tile at least
    return made / total


def largest_side(bytes_free: int, steps: int, hidden: int) -> int:
    """Side of the largest image that the plain model forecasts at once."""
    each = 4 * hidden * (GATES + STATES * steps)
    return int((bytes_free / each) ** 0.5) // 256 * 256
