"""Crime grid: the published two-layer ConvLSTM for daily counts of crimes by type.

Frames of the lookback alone go through ConvLSTM, batch normalisation, ConvLSTM and batch
normalisation; a 1x1 convolution of the last state is the forecast of the next step. Here it is
the correction of the next step, the convolution begins at zero, and for later leads the
reference's forecasts of the steps between stand in for frames.

Statistics of a batch are taken while training. In forecasts the running ones make the
normalisation one of each pixel by itself, so that a pixel sees no farther than the gates reach.

Source:
    The configuration is that of notes on forecasting crime counts on a grid of 77 x 59 cells:
    lookback 6, six types, 32 channels, 3x3 gates. ConvLSTM: Shi et al. (2015). Batch
    normalisation: Ioffe and Szegedy (2015), Batch normalization: accelerating deep network
    training by reducing internal covariate shift.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from geoforecast.models import Correction, ModelConfig
from geoforecast.models.convlstm import ConvLSTMLayer


class CrimeGrid(Correction):
    """ConvLSTM layers, each followed by batch normalisation, and one 1x1 convolution.

    Args:
        config: the build plan; as many channels as bands are forecast are seen of each step.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.out_channels] + [config.hidden] * config.layers
        self.layers = nn.ModuleList(
            ConvLSTMLayer(
                a, b, config.kernel, peepholes=config.peepholes, convolved=config.convolved
            )
            for a, b in pairwise(widths)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(config.hidden) for _ in range(config.layers))
        self.head = nn.Conv2d(config.hidden, config.out_channels, 1)
        nn.init.zeros_(self.head.weight)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def forward(self, x_BTCHW: torch.Tensor, leads: int) -> torch.Tensor:
        # The first channels of a step are its values, or the reference where it is to come.
        frames = x_BTCHW[:, : x_BTCHW.shape[1] - 1, : self.config.out_channels]
        states = frames.permute(1, 0, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
        for index, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            states = layer(states)
            if index == len(self.layers) - 1:
                states = states[-leads:]  # those that are read, and nothing else, are normalised
            states = norm(states.flatten(0, 1)).unflatten(0, states.shape[:2])
        corrections: torch.Tensor = self.head(states.flatten(0, 1))
        return corrections.view(leads, -1, *corrections.shape[1:]).transpose(0, 1)

    def halo_px(self, steps: int) -> int:
        # The last step of the sequence is the one that is forecast, and is not seen.
        return (self.config.kernel // 2) * (self.config.layers + steps - 2)


def build(config: ModelConfig) -> CrimeGrid:
    """A new model; draw its weights under a seeded generator."""
    return CrimeGrid(config)
