"""How far to trust the correction: its weight per lead, from the validation block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from geoforecast.forecast.trust import first_evidence, weights_of
from geoforecast.models import Correction
from geoforecast.train.windows import Windows


@dataclass(frozen=True)
class Calibration:
    """Scores of a correction on the validation block, per lead.

    Attributes:
        blend: (lead,) weight of the correction, 0 to 1.
        reference_rmse, forecast_rmse: (lead,) in units of the reference's training error.
        skill: mean over leads of 1 - forecast_rmse / reference_rmse; 0 for a new model.
        evidence: (4, lead) what the weight follows from, see forecast.trust; None without one.
    """

    blend: NDArray[np.float64]
    reference_rmse: NDArray[np.float64]
    forecast_rmse: NDArray[np.float64]
    skill: float
    evidence: NDArray[np.float64] | None = None


def calibrate(model: Correction, windows: Windows, seed: int, device: torch.device) -> Calibration:
    """Score a model on the validation windows and fit the weight of its correction.

    The weight is least squares of the residual on the correction, kept within 0 and 1 and
    drawn towards 0 the fewer validation steps there are.

    Args:
        model: the correction, in evaluation mode.
        windows: the validation windows.
        seed: which windows, if there are too many.
        device: where the model is.
    """
    sums = np.zeros((4, windows.horizon))  # residual^2, residual * correction, correction^2, n
    with torch.inference_mode():
        for window in windows.validation(seed):
            x, target, known = (part.to(device) for part in windows.validation_sample(window))
            correction = model(x, windows.horizon)
            zero = torch.zeros((), device=device)
            c = torch.where(known, correction, zero).double()
            r = torch.where(known, target, zero).double()
            terms = [r * r, r * c, c * c, known.double()]
            sums += np.stack([term.sum(dim=(0, 2, 3, 4)).cpu().numpy() for term in terms])
    rr, rc, cc, n = sums
    evidence = first_evidence(rc, cc, n, len(windows.split.validation_steps))
    blend = weights_of(evidence)
    count = np.maximum(n, 1)
    reference = np.sqrt(rr / count)
    forecast = np.sqrt(np.maximum(rr - 2 * blend * rc + blend**2 * cc, 0) / count)
    scored = rr > 0
    skill = float(np.mean(1 - forecast[scored] / reference[scored])) if scored.any() else 0.0
    return Calibration(blend, reference, forecast, skill, evidence)
