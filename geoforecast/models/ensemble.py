"""Several models of one architecture, trained from different seeds, as one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from geoforecast.models import Correction


class Ensemble(Correction):
    """The mean of its members' corrections.

    Args:
        members: of one build plan.
    Source:
        Lakshminarayanan et al. (2017), Simple and scalable predictive uncertainty estimation
        using deep ensembles.
    """

    def __init__(self, members: Sequence[Correction]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x_BTCHW: torch.Tensor, leads: int) -> torch.Tensor:
        total: torch.Tensor = self.members[0](x_BTCHW, leads)
        for member in self.members[1:]:
            total = total + member(x_BTCHW, leads)
        return total / len(self.members)

    def halo_px(self, steps: int) -> int:
        return max(_correction(member).halo_px(steps) for member in self.members)


def _correction(module: nn.Module) -> Correction:
    assert isinstance(module, Correction)
    return module
