"""Architectures, one a file. Each learns a correction to a reference forecast.

The contract: a module of this package has ``build(config) -> Correction``. Its forward
takes x_BTCHW, the lookback steps followed by one step a lead (samples/features.py), and
the number of leads, and returns correction_BLCHW in units of the reference's error.
A new model's correction is zero everywhere, so that it equals its reference.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import nn

from geoforecast.errors import SettingsError, did_you_mean

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
NOT_ARCHITECTURES = {"checkpoint", "ensemble", "recurrent"}


@dataclass(frozen=True)
class ModelConfig:
    """What it takes to build a model again.

    Attributes:
        architecture: the module's name in this package.
        in_channels, out_channels: of x_BTCHW and of the correction.
        hidden: channels of each recurrent layer.
        layers: number of recurrent layers.
        kernel: odd kernel size in pixels.
        peepholes: gates see the cell state.
        members: models whose mean is the correction.
        precision: of the gates' convolutions, a key of PRECISIONS; states, cells and all else
            are float32.
    """

    architecture: str
    in_channels: int
    out_channels: int
    hidden: int
    layers: int
    kernel: int
    peepholes: bool
    members: int = 1
    precision: str = "fp32"

    @property
    def convolved(self) -> torch.dtype:
        """What gates are convolved in."""
        return PRECISIONS[self.precision]


class Correction(nn.Module):
    """Base of every architecture."""

    @abstractmethod
    def forward(self, x_BTCHW: torch.Tensor, leads: int) -> torch.Tensor:
        """Correct the last ``leads`` steps of the sequence; returns (B, leads, band, y, x)."""

    @abstractmethod
    def halo_px(self, steps: int) -> int:
        """How far a pixel of the output sees, for a sequence of ``steps``."""


def architecture_names() -> list[str]:
    """The architectures that can be built."""
    names = [module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg]
    return sorted(set(names) - NOT_ARCHITECTURES)


def build_model(config: ModelConfig) -> Correction:
    """A new model.

    Raises:
        SettingsError: unknown architecture, or an even kernel.
    """
    if config.architecture not in architecture_names():
        raise SettingsError(
            f"There is no model '{config.architecture}'.",
            remedy=did_you_mean(config.architecture, architecture_names()),
        )
    if config.kernel % 2 == 0:
        raise SettingsError(
            f"--kernel is {config.kernel}.", remedy="Give an odd number, so that it has a centre."
        )
    module = importlib.import_module(f"{__name__}.{config.architecture}")
    members: list[Correction] = [module.build(config) for _ in range(config.members)]
    if len(members) == 1:
        return members[0]
    ensemble = importlib.import_module(f"{__name__}.ensemble")
    model: Correction = ensemble.Ensemble(members)
    return model
