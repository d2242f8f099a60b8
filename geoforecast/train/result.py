"""What a training found, and how a terminal shows it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geoforecast.figures.words import reference_label, without_twins
from geoforecast.forecast.kinds import CONTINUOUS, PROBABILITIES

SMALLEST_WEIGHT = 0.005  # that is worth telling


@dataclass(frozen=True)
class TrainResult:
    """A finished run.

    Attributes:
        run: its name.
        folder: its directory.
        reference: the forecast that it corrects: the mixture, or a reference.
        reference_rmse: validation error of every member and of the mixture per lead, in
            standard deviations of the band; of probabilities the root of the Brier score.
        weights: the mixture's weight of each member that has one, per lead, mean over bands.
        blend: weight of the correction per lead.
        skill: validation skill over the reference, mean over leads.
        epoch: the epoch kept.
        epochs: epochs trained; 0 if nothing had to be done.
        final_until: the last time that the final weights have seen; "" without --refit.
        kind: of the targets.
    """

    run: str
    folder: Path
    reference: str
    reference_rmse: dict[str, list[float]]
    weights: dict[str, list[float]]
    blend: tuple[float, ...]
    skill: float
    epoch: int
    epochs: int
    final_until: str
    kind: str = CONTINUOUS

    def describe(self) -> str:
        """The result as a terminal shows it."""
        leads = len(self.blend)
        wide = max(map(len, self.reference_rmse), default=0) + 2
        head = "".join(f"{f'lead {lead}':>10}" for lead in range(1, leads + 1))
        unit = "in standard deviations"
        if self.kind in PROBABILITIES:
            unit = "as the root of the Brier score"
        lines = [f"Run '{self.run}'. Error on the validation block, {unit}:"]
        lines += [f"  {'':{wide}}{head}{'weight':>10}"]
        ranked = sorted(self.reference_rmse.items(), key=lambda one: mean_error(one[1]))
        idle = [name for name, _ in ranked if "autoregression" in name and not self._share(name)]
        ranked = [one for one in ranked if one[0] not in idle]
        rows = {name: self._cells(name, errors) for name, errors in ranked}
        kept, twins = without_twins(rows)
        lines += [f"  {name:{wide}}{''.join(rows[name])}" for name in kept]
        lines += [f"  {twins}"] if twins else []
        lines += [f"  {len(idle)} autoregressions without weight are not shown."] if idle else []
        if any(self.blend):
            weights = ", ".join(f"{weight:.2f}" for weight in self.blend)
            lines.append(
                f"Epoch {self.epoch} is kept: {100 * self.skill:.1f} % less error than "
                f"{reference_label(self.reference)}; the correction is weighted {weights} by lead."
            )
        elif self.epochs or self.skill:
            lines.append(f"No correction helped: the forecast is the {self.reference} itself.")
        else:
            lines.append(f"The forecast is the {self.reference} itself.")
        if self.final_until:
            lines.append(f"Fitted again on all steps, for forecasts from {self.final_until} on.")
        return "\n".join(lines)

    def _cells(self, name: str, errors: list[float]) -> list[str]:
        """A row of the table: errors by lead, then the weight."""
        return ["         –" if v != v else f"{v:10.4f}" for v in errors] + [self._share(name)]

    def _share(self, name: str) -> str:
        """The weight at the first lead; nothing if there is none to speak of."""
        weight = self.weights.get(name, [0.0])[0]
        return f"{weight:10.2f}" if weight >= SMALLEST_WEIGHT else ""


def mean_error(errors: list[float]) -> float:
    """Mean over the leads that have an error; infinity if none has."""
    known = [value for value in errors if value == value]
    return float(np.mean(known)) if known else math.inf
