"""How models see values: statistics of valid training pixels, applied on read.

Pixels are stored once, in physical units; only these few numbers are added.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoforecast.raster.cube import CHUNK_STEPS, Cube
from geoforecast.raster.measures import COUNT, HIGH, LOW, M2, MEAN, joined

# Quantiles come from at most about this many pixels a band, on a fixed lattice.
QUANTILE_PIXELS = 2_000_000


@dataclass(frozen=True)
class BandStatistics:
    """Statistics of one band's valid training pixels, in band units.

    ``log_mean`` and ``log_std`` are those of log(1 + max(x, 0)). All are NaN where no
    pixel was valid; they and the quantiles are from a regular subsample of large cubes.
    """

    count: int
    mean: float
    std: float
    minimum: float
    maximum: float
    median: float
    lower_quartile: float
    upper_quartile: float
    log_mean: float
    log_std: float


@dataclass(frozen=True)
class Normaliser:
    """Maps band units to what models see, and back.

    Attributes:
        method: zscore, minmax, robust, log1p or none.
        centre, scale: per band; models see (x - centre) / scale, after log1p if so named.
    """

    method: str
    centre: tuple[float, ...]
    scale: tuple[float, ...]

    def apply(self, values_BHW: NDArray[np.float32]) -> NDArray[np.float32]:
        """Band units to model units; axis -3 is the band."""
        values = np.asarray(values_BHW, dtype=np.float32)
        if self.method == "log1p":
            values = np.log1p(np.maximum(values, 0))
        scaled: NDArray[np.float32] = (values - self._column(self.centre)) / self._column(
            self.scale
        )
        return scaled

    def invert(self, values_BHW: NDArray[np.float32]) -> NDArray[np.float32]:
        """Model units to band units; axis -3 is the band."""
        values = values_BHW * self._column(self.scale) + self._column(self.centre)
        return np.expm1(values) if self.method == "log1p" else values

    def shifted(
        self, values_BHW: NDArray[np.float32], delta_BHW: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Values in band units, moved by a difference in model units.

        The same as invert(apply(values) + delta), but a zero difference returns the
        values to the bit; axis -3 is the band.
        """
        step = delta_BHW * self._column(self.scale)
        if self.method == "log1p":
            step = (1 + np.maximum(values_BHW, 0)) * np.expm1(step)
        return values_BHW + step

    @staticmethod
    def _column(numbers: tuple[float, ...]) -> NDArray[np.float32]:
        return np.asarray(numbers, dtype=np.float32)[:, None, None]


def fit_statistics(cube: Cube, steps: range) -> list[BandStatistics]:
    """Statistics of each band's valid pixels over some steps.

    Counts, means, spreads and extremes are exact and were measured while the cube was
    written; quantiles and logarithms come from the cube's overview, which holds every pixel
    of a small cube. No pixel is read again.

    Args:
        cube: where to read.
        steps: the training steps, consecutive.
    """
    measures = joined(np.swapaxes(cube.step_statistics()[steps.start : steps.stop], 0, 1))
    overview = cube.overview()
    kept: list[list[NDArray[np.float32]]] = [[] for _ in cube.bands]
    for start in range(steps.start, steps.stop, CHUNK_STEPS):
        seen = overview.read(start, min(start + CHUNK_STEPS, steps.stop))
        stride = max(1, math.isqrt(len(steps) * seen[0, 0].size // QUANTILE_PIXELS))
        for band, values in enumerate(kept):
            sub = seen[:, band, ::stride, ::stride]
            values.append(sub[np.isfinite(sub)])
    return [_statistics(measures[band], kept[band]) for band in range(len(cube.bands))]


def fit_normaliser(method: str, statistics: list[BandStatistics]) -> Normaliser:
    """The normaliser of a method; a constant or never valid band has scale 1."""
    centre: list[float] = []
    scale: list[float] = []
    for band in statistics:
        c, s = {
            "zscore": (band.mean, band.std),
            "minmax": (band.minimum, band.maximum - band.minimum),
            "robust": (band.median, (band.upper_quartile - band.lower_quartile) / 1.349),
            "log1p": (band.log_mean, band.log_std),
            "none": (0.0, 1.0),
        }[method]
        if method == "robust" and s == 0:
            s = band.std  # more than half of the pixels are equal, as with rain
        centre.append(c if math.isfinite(c) else 0.0)
        # Sums of a constant leave a rounding error, not a spread.
        usable = math.isfinite(s) and s > 0 and band.minimum != band.maximum
        scale.append(s if usable or method == "none" else 1.0)
    return Normaliser(method, tuple(centre), tuple(scale))


def to_meta(normaliser: Normaliser, statistics: list[BandStatistics]) -> dict[str, Any]:
    """The cube's ``normaliser`` entry; NaN, which JSON lacks, becomes None."""
    bands = [
        {k: (None if isinstance(v, float) and math.isnan(v) else v) for k, v in asdict(s).items()}
        for s in statistics
    ]
    return {**asdict(normaliser), "statistics": bands}


def from_meta(meta: Mapping[str, Any]) -> tuple[Normaliser, list[BandStatistics]]:
    """What to_meta stored."""
    normaliser = Normaliser(meta["method"], tuple(meta["centre"]), tuple(meta["scale"]))
    bands: list[dict[str, Any]] = [
        {key: math.nan if value is None else value for key, value in band.items()}
        for band in meta["statistics"]
    ]
    return normaliser, [BandStatistics(**band) for band in bands]


def _statistics(measures: NDArray[np.float64], kept: list[NDArray[np.float32]]) -> BandStatistics:
    count = int(measures[COUNT])
    nan = math.nan
    if count == 0:
        return BandStatistics(0, nan, nan, nan, nan, nan, nan, nan, nan, nan)
    sample = np.concatenate(kept).astype(np.float64)
    quartiles, logs = [nan] * 3, (nan, nan)
    if sample.size:
        quartiles = [float(q) for q in np.quantile(sample, [0.25, 0.5, 0.75])]
        logarithms = np.log1p(np.maximum(sample, 0))
        logs = float(logarithms.mean()), float(logarithms.std())
    return BandStatistics(
        count=count,
        mean=float(measures[MEAN]),
        std=math.sqrt(measures[M2] / count),
        minimum=float(measures[LOW]),
        maximum=float(measures[HIGH]),
        median=quartiles[1],
        lower_quartile=quartiles[0],
        upper_quartile=quartiles[2],
        log_mean=logs[0],
        log_std=logs[1],
    )
