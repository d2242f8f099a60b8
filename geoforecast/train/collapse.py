"""Does a correction still say something? Networks that collapse answer the same everywhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from geoforecast.models import Correction
from geoforecast.train.targets import first_layer
from geoforecast.train.windows import Windows

SHARE = 0.01  # of the observed spread; what varies less is constant
MEASURED = ("continuous", "count")  # kinds whose forecast is the reference plus a residual


@dataclass(frozen=True)
class Moments:
    """Sums over known pixels, per lead and band.

    Attributes:
        count, total, squares: (lead, band).
    """

    count: NDArray[np.float64]
    total: NDArray[np.float64]
    squares: NDArray[np.float64]

    @staticmethod
    def of(values: torch.Tensor, known: torch.Tensor) -> Moments:
        """Of a batch (sample, lead, band, y, x)."""
        zero = torch.zeros((), dtype=torch.float64, device=values.device)
        seen = torch.where(known, values.detach().double(), zero)
        parts = (known.double(), seen, seen * seen)
        return Moments(*(part.sum(dim=(0, 3, 4)).cpu().numpy() for part in parts))

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.count + other.count, self.total + other.total, self.squares + other.squares
        )

    @property
    def variation(self) -> float:
        """Sum of squares about the mean of each lead and band: an offset is no variation."""
        means = np.square(self.total) / np.maximum(self.count, 1)
        return float(np.maximum(self.squares - means, 0).sum())


def is_constant(correction: Moments, residual: Moments) -> bool:
    """Whether a correction says one thing everywhere, and is not the zero of a new model.

    Args:
        correction: what a model answers.
        residual: what it should have answered, on the same pixels.
    """
    bar = SHARE**2 * residual.variation
    return correction.variation < bar <= float(correction.squares.sum())


def collapsed(
    model: Correction,
    windows: Windows,
    blend: NDArray[np.float64],
    seed: int,
    device: torch.device,
) -> list[str]:
    """What is constant on the validation block although it should not be, in words.

    Args:
        model: the correction, in evaluation mode.
        windows: the validation windows.
        blend: (lead,) weight of the correction.
        seed: which windows, if there are too many.
        device: where the model is.
    """
    corrections: list[Moments] = []
    residuals: list[Moments] = []
    made = seen = 0.0
    weight = torch.as_tensor(blend, dtype=torch.float64)[None, :, None, None, None]
    scale = torch.as_tensor(windows.scale_LB, dtype=torch.float64)[None, :, :, None, None]
    with torch.inference_mode():
        for window in windows.validation(seed):
            x, target, known = windows.validation_sample(window)
            residual = first_layer(target, known)
            correction = model(x.to(device), windows.horizon).cpu()
            corrections.append(Moments.of(correction, known))
            residuals.append(Moments.of(residual, known))
            observed = torch.from_numpy(windows.observed(window))[None].double()
            # The reference is what was observed less what it missed.
            forecast = observed + scale * (weight * correction - residual)
            made += Moments.of(forecast, known).variation
            seen += Moments.of(observed, known).variation
    found = []
    if corrections and is_constant(_sum(corrections), _sum(residuals)):
        found.append("the correction is the same everywhere")
    if windows.kind in MEASURED and made < SHARE**2 * seen:
        found.append("forecast fields are constant, while observed ones vary")
    return found


def _sum(parts: list[Moments]) -> Moments:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
