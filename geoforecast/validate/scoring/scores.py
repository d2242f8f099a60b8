"""All that a pass over the raster sums, and what may be asked of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoforecast.forecast.outcome import FORECAST, OURS
from geoforecast.samples.normaliser import BandStatistics
from geoforecast.validate.metrics.ensemble import PooledEnsemble
from geoforecast.validate.metrics.events import PooledEvents
from geoforecast.validate.metrics.fields import PooledFields
from geoforecast.validate.metrics.fractions import SCALES_PX, PooledFractions
from geoforecast.validate.metrics.pooled import Pooled, skill_metrics
from geoforecast.validate.metrics.ssim import MIN_SHARE
from geoforecast.validate.metrics.temporal import TEMPORAL_SUMS, PooledTemporal
from geoforecast.validate.scoring.looks import Key, Looks
from geoforecast.validate.scoring.sums import NEAR_ZERO, SUMS, Scale
from geoforecast.validate.source import Source

STATS = (*SUMS, "ssim")


@dataclass(frozen=True)
class Scores:
    """All sums over the raster.

    Attributes:
        methods: what was scored, `forecast` first, on the same pixels.
        bands: names of the predicted bands.
        steps: the test steps.
        pixels: pixels of one frame, valid or not.
        sums: (step, lead, method, band, STATS) float64.
        seen, usable: see TileScores.
        shifts: per band what sums are about, see Scale.
        data_range: per band, from training pixels.
        interval: share that the interval was to cover; 0 if there is none.
        bounds, likely, ranks: see TileScores.
        events: per band the thresholds of events, band units.
        event_counts, looks: see TileScores.
        temporal: (TEMPORAL_SUMS,) of pixels through time, by method, band and lead.
        parts: of each way to divide pixels its parts' titles, and (lead, method, band, part, SUMS).
    """

    methods: tuple[str, ...]
    bands: tuple[str, ...]
    steps: range
    pixels: int
    sums: NDArray[np.float64]
    seen: NDArray[np.int64]
    usable: NDArray[np.int64]
    shifts: tuple[float, ...]
    data_range: tuple[float, ...]
    interval: float
    bounds: NDArray[np.float64]
    likely: NDArray[np.float64]
    ranks: NDArray[np.float64]
    events: tuple[tuple[float, ...], ...]
    event_counts: NDArray[np.int64]
    looks: Looks
    temporal: dict[Key, NDArray[np.float64]]
    parts: tuple[tuple[tuple[str, ...], NDArray[np.float64]], ...] = ()

    @property
    def kind(self) -> str:
        """Of targets whose errors have a size."""
        return "continuous"

    @property
    def skills(self) -> tuple[str, ...]:
        """Metrics that skill is told for; the first one leads."""
        return skill_metrics(self.kind)

    @property
    def leads(self) -> range:
        return range(1, self.sums.shape[1] + 1)

    @property
    def counts(self) -> NDArray[np.int64]:
        """(step, lead, band) scored pixels, the same for every method."""
        return self.sums[:, :, 0, :, STATS.index("n")].astype(np.int64)

    def pooled(self, method: str, band: int, lead: int) -> Pooled:
        """Sums over all test steps of one method, band (index) and lead (from 1)."""
        frames = self.sums[:, lead - 1, self.methods.index(method), band]
        total = dict(zip(STATS, (math.fsum(column) for column in frames.T), strict=True))
        similarity = total.pop("ssim")
        counts, ssim_sums = frames[:, STATS.index("n")], frames[:, STATS.index("ssim")]
        full = (counts > 0) & (counts >= MIN_SHARE * self.pixels)
        similarity = math.nan
        if full.any():
            similarity = math.fsum(ssim_sums[full] / counts[full]) / int(full.sum())
        return Pooled(
            n=int(total.pop("n")),
            relative_n=int(total.pop("relative_n")),
            anomalies_n=int(total.pop("anomalies_n")),
            **total,
            shift=self.shifts[band],
            data_range=self.data_range[band],
            ssim=similarity,
            ssim_pixels=int(counts[full].sum()),
        )

    def event(self, method: str, band: int, lead: int, number: int) -> PooledEvents:
        """Counts over all test steps of the band's event of that number; else see pooled."""
        counts = self.event_counts[lead - 1, self.methods.index(method), band, number]
        scored = int(self.counts[:, lead - 1, band].sum())
        return PooledEvents(scored, *(int(count) for count in counts))

    def fields(self, method: str, band: int, lead: int) -> PooledFields:
        """How frames look; else see pooled. The method is one of ``looks``."""
        counts = self.counts[:, lead - 1, band]
        enough = (counts > 0) & (counts >= MIN_SHARE * self.pixels)
        return self.looks.fields[method, band, lead].pooled(enough)

    def course(self, method: str, band: int, lead: int) -> PooledTemporal:
        """Pixels through time; else see fields."""
        scored = int(self.counts[:, lead - 1, band].sum())
        sums = self.temporal[method, band, lead].tolist()
        return PooledTemporal(scored, dict(zip(TEMPORAL_SUMS, sums, strict=True)))

    def fraction(
        self, method: str, band: int, lead: int, number: int
    ) -> dict[int, PooledFractions]:
        """Sums by scale of window, of the band's event of that number."""
        scored = int(self.counts[:, lead - 1, band].sum())
        sums = self.looks.fractions[method, band, lead][number]
        return {
            scale: PooledFractions(scored, *of_scale.tolist())
            for scale, of_scale in zip(SCALES_PX, sums, strict=True)
        }

    def ensemble(self, band: int, lead: int) -> PooledEnsemble:
        """Of the forecast's equally likely values; else see pooled."""
        count = int(self.ranks[lead - 1, band].sum())  # 0 where an interval is all that is known
        crps, variance, ee = self.likely[lead - 1, band].tolist()
        return PooledEnsemble(count, crps, variance, ee, self.ranks[lead - 1, band])

    def coverage(self, band: int, lead: int) -> tuple[float, float]:
        """Share of scored pixels inside the interval, and its mean width; NaN if unscored."""
        inside, width = self.bounds[:, lead - 1, band].sum(axis=0).tolist()
        count = int(self.counts[:, lead - 1, band].sum())
        return (inside / count, width / count) if count else (math.nan, math.nan)

    def step_errors(
        self, method: str, band: int, lead: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Sums of squared errors of each scored test step, and pixels; else see pooled."""
        frames = self.sums[:, lead - 1, self.methods.index(method), band]
        frames = frames[frames[:, STATS.index("n")] > 0]
        return frames[:, STATS.index("ee")], frames[:, STATS.index("n")]

    def without_values(self) -> dict[str, str]:
        """References that have no value at all for some band and lead that was observed."""
        return without_values(self.methods, self.bands, self.seen, self.usable)


def without_values(
    methods: Sequence[str],
    bands: Sequence[str],
    seen: NDArray[np.int64],
    usable: NDArray[np.int64],
) -> dict[str, str]:
    """References without any value for some band and lead that was observed, and which that is.

    Args:
        methods, bands: names.
        seen: (lead, band) observed pixels.
        usable: (lead, band, method) pixels with a value among them.
    """
    missing: dict[str, str] = {}
    for number, method in enumerate(methods):
        gone = (seen > 0) & (usable[:, :, number] == 0)
        if method != FORECAST and gone.any():
            lead, band = np.argwhere(gone)[0]
            missing[method] = f"no value for {bands[band]} at lead {lead + 1}"
    return missing


def map_reference(engine: Source, methods: Sequence[str]) -> str:
    """The reference that skill maps are against: the best on validation, or one scored."""
    others = [method for method in methods if method not in OURS]
    if engine.yardstick in others:
        return engine.yardstick
    return others[0] if others else ""


def drawn(engine: Source, methods: Sequence[str]) -> tuple[str, ...]:
    """The forecast, and the reference that its maps are drawn against."""
    return tuple(name for name in (FORECAST, map_reference(engine, methods)) if name)


def best_reference(errors: Mapping[str, float], *, highest: bool = False) -> str:
    """The reference of least error, the first of equals; "" if none has a value.

    Args:
        errors: by method.
        highest: what is given are no errors but scores, of which the highest is best.
    """
    known = {
        method: value
        for method, value in errors.items()
        if method not in OURS and not math.isnan(value)
    }
    choose = max if highest else min
    return choose(known, key=lambda method: known[method]) if known else ""


def scale_of(statistics: BandStatistics) -> Scale:
    """What a band's sums are about: its training mean and range."""
    mean = statistics.mean if math.isfinite(statistics.mean) else 0.0
    data_range = statistics.maximum - statistics.minimum
    return Scale(mean, NEAR_ZERO * data_range if data_range > 0 else 0.0)


def normal_method(methods: Sequence[str]) -> str:
    """The reference that says what is normal for a pixel and season; "" if none does."""
    return next((name for name in ("climatology", "mean") if name in methods), "")
