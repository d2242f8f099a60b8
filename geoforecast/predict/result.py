"""What a prediction wrote, as Python, JSON and terminals see it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geoforecast.models.checkpoint import FINAL


@dataclass(frozen=True)
class PredictResult:
    """The forecasts written.

    Attributes:
        run: the run used.
        init_time: the last step that was read.
        valid_times: (lead,) the times forecast.
        files: one COG a valid time, in order.
        bounds: lower and upper COG of each, if there are intervals.
        samples: COGs of each sample, in order of valid times.
        probabilities: COG of the probabilities of each, if classes or yes and no are forecast.
        catalogue: the STAC catalogue of the valid times' items.
        vrts: one file a layer with all valid times as bands, if they were asked for.
        valid_fraction: share of pixels that have a forecast.
        weights: ``final`` if they were fitted on every step, test block included, else
            ``honest``.
        seen_until: the last step that the run has learned from.
    """

    run: str
    init_time: np.datetime64
    valid_times: tuple[np.datetime64, ...]
    files: tuple[Path, ...]
    bounds: tuple[tuple[Path, Path], ...]
    samples: tuple[tuple[Path, ...], ...]
    probabilities: tuple[Path, ...]
    catalogue: Path
    vrts: tuple[Path, ...]
    valid_fraction: float
    weights: str
    seen_until: str

    def describe(self) -> str:
        """The result as a terminal shows it."""
        until = f", fitted on everything up to {self.seen_until}" if self.weights == FINAL else ""
        lines = [f"Forecasts from {self.init_time} (run '{self.run}'{until}):"]
        for time, path in zip(self.valid_times, self.files, strict=True):
            lines.append(f"  {time}  {path}")
        if self.bounds:
            lines.append("Beside each, lower_… and upper_… hold the ends of its interval.")
        if self.samples:
            names = ", ".join(f"{chain[0].name.split('_')[0]}_…" for chain in self.samples[:2])
            more = ", …" if len(self.samples) > 2 else ""
            lines.append(f"{names}{more} hold {len(self.samples)} draws of what may come.")
        if self.probabilities:
            lines.append("Beside each, probability_… holds how likely each class is, one a band.")
        if self.vrts:
            names = ", ".join(path.name for path in self.vrts[:3])
            more = ", …" if len(self.vrts) > 3 else ""
            lines.append(f"{names}{more} hold all valid times as bands.")
        lines.append(f"{100 * self.valid_fraction:.1f} % of the pixels have a forecast.")
        return "\n".join(lines)


@dataclass(frozen=True)
class ShareResult:
    """A share of the units that one process of several has done.

    Attributes:
        run: the run used.
        init_time: the last step that was read.
        shard: (index, count) of the share.
        all_units: of the forecast.
        units: of the share.
        before: those of them that were done already.
    """

    run: str
    init_time: np.datetime64
    shard: tuple[int, int]
    all_units: int
    units: int
    before: int

    def describe(self) -> str:
        """The result as a terminal shows it."""
        index, count = self.shard
        return (
            f"Share {index} of {count}: {self.units} of {self.all_units} units are done, "
            f"{self.before} of them before. predict --finalise ends the forecast."
        )
