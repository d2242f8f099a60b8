"""Damped anomaly: what is usual plus what is left of today's departure from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from geoforecast.references import Array, Reference, Setting, reference
from geoforecast.references.climatology import Season, SeasonalMean
from geoforecast.references.harmonic import Curve1, Curve2
from geoforecast.references.motion import Motion

MEMORY_STEPS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 128.0)  # e-folding times that are tried


class _Damped(Reference):
    kind: ClassVar[type[Season]]

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._season = setting.state(self.kind)
        self._anomaly = np.full(setting.shape, np.nan, dtype=np.float32)
        self._day = np.zeros(setting.shape, dtype=np.float32)
        self._start: float | None = None
        given = setting.parameters.get(self.name, {})
        self._phi = given.get("phi", 0.7)
        self._tau_days = given.get("tau_steps", 8.0) * setting.step_days
        self._sums: dict[str, float] = {}

    def compare(self, values_BHW: Array, valid_BHW: NDArray[np.bool_], day: float) -> None:
        if self._start is not None and not self.setting.parameters:
            self._collect(values_BHW - self._season.at(day), valid_BHW, day - self._start)

    def update(self, values_BHW: Array, valid_BHW: NDArray[np.bool_], day: float) -> None:
        if self._start is None:
            self._start = day
        fresh = values_BHW - self._season.at(day)
        np.copyto(self._anomaly, fresh, where=valid_BHW)
        # Days from the first step fit float32; days from 1970 would lose minutes.
        np.copyto(self._day, np.float32(day - self._start), where=valid_BHW)

    def forecast(self, days: Sequence[float], motion: Motion | None = None) -> Array:  # noqa: ARG002
        start = self._start or 0.0
        result = []
        for day in days:
            age_days = np.float32(day - start) - self._day
            kept = np.float32(self._phi) * np.exp(-age_days / np.float32(self._tau_days))
            result.append(self._season.at(day) + kept * self._anomaly)
        return np.stack(result)

    def _collect(self, anomaly: Array, valid: NDArray[np.bool_], elapsed: float) -> None:
        pair = valid & np.isfinite(self._anomaly) & np.isfinite(anomaly)
        y = anomaly[pair].astype(np.float64)
        last = self._anomaly[pair].astype(np.float64)
        age_steps = (elapsed - self._day[pair].astype(np.float64)) / self.setting.step_days
        # Departures from the mean and from the season have memories of their own.
        about = "season" if self._season.spanned else "mean"
        for tau in MEMORY_STEPS:
            x = last * np.exp(-age_steps / tau)
            for key, value in ((f"{about}.xy{tau}", x @ y), (f"{about}.xx{tau}", x @ x)):
                self._sums[key] = self._sums.get(key, 0.0) + float(value)

    def evidence(self) -> dict[str, float]:
        return dict(self._sums)

    @classmethod
    def fit(cls, evidence: Mapping[str, float]) -> dict[str, float]:
        about = "season" if any(key.startswith("season.") for key in evidence) else "mean"
        best = (0.0, 0.0, MEMORY_STEPS[0])  # explained sum of squares, phi, tau
        for tau in MEMORY_STEPS:
            xy = evidence.get(f"{about}.xy{tau}", 0.0)
            xx = evidence.get(f"{about}.xx{tau}", 0.0)
            if xx > 0 and xy > 0:
                # Longer memory cannot grow an anomaly: phi exp(-1/tau) stays below 1.
                phi = min(xy / xx, float(np.exp(1 / tau)))
                explained = 2 * phi * xy - phi * phi * xx
                best = max(best, (explained, phi, tau))
        return {"phi": best[1], "tau_steps": best[2]}


@reference
class DampedAnomaly(_Damped):
    """C(t) + phi exp(-age / tau) (last - C(last)), C the climatology.

    phi and tau are pooled over pixels: for each tau of MEMORY_STEPS, phi is least squares
    of every training anomaly on the damped one before it; the tau with the least error wins.

    Source:
        Van den Dool (2007), Empirical methods in short-term climate prediction, ch. 8.
    """

    name = "damped_anomaly"
    kind = SeasonalMean


@reference
class DampedHarmonic1(_Damped):
    """The damped anomaly about the harmonic curve of one wave; see DampedAnomaly."""

    name = "damped_harmonic1"
    needs_cycle = True
    kind = Curve1


@reference
class DampedHarmonic2(_Damped):
    """The damped anomaly about the harmonic curve of two waves; see DampedAnomaly."""

    name = "damped_harmonic2"
    needs_cycle = True
    kind = Curve2
