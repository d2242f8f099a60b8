"""No architecture: the mixture of references is the forecast."""

from __future__ import annotations

import torch

from geoforecast.models import Correction, ModelConfig


class Nothing(Correction):
    """A correction of zero, without parameters."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self._bands = config.out_channels

    def forward(self, x_BTCHW: torch.Tensor, leads: int) -> torch.Tensor:
        samples, _, _, height, width = x_BTCHW.shape
        return x_BTCHW.new_zeros(samples, leads, self._bands, height, width)

    def halo_px(self, steps: int) -> int:  # noqa: ARG002
        return 0


def build(config: ModelConfig) -> Correction:
    """The model of a config."""
    return Nothing(config)
