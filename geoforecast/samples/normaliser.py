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

from geoforecast.raster.cube import Cube
from geoforecast.raster.grid import Tile

# Quantiles come from at most about this many pixels a band, on a fixed lattice.
QUANTILE_PIXELS = 2_000_000
ROWS = 256  # rows read at once; fixed, so that sums do not depend on chunks or jobs


@dataclass(frozen=True)
class BandStatistics:
    """Statistics of one band's valid training pixels, in band units.

    ``log_mean`` and ``log_std`` are those of log(1 + max(x, 0)). All are NaN where no
    pixel was valid; quantiles are from a regular subsample of large cubes.
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

    Sums run over fixed blocks in a fixed order, in float64, so that they are the same to
    the bit whatever the cube's chunks.

    Args:
        cube: where to read.
        steps: the training steps, consecutive.
    """
    _, bands, height, width = cube.shape
    stride = max(1, math.isqrt(len(steps) * height * width // QUANTILE_PIXELS))
    sums = np.zeros((bands, 5), dtype=np.float64)  # count, sum, sum^2, log sum, log sum^2
    low, high = np.full(bands, np.inf), np.full(bands, -np.inf)
    kept: list[list[NDArray[np.float32]]] = [[] for _ in range(bands)]
    shift = _first_values(cube, steps)
    for row in range(0, height, ROWS):
        tile = Tile(row, min(row + ROWS, height), 0, width)
        for start in range(steps.start, steps.stop, 8):
            values, valid = cube.read(start, min(start + 8, steps.stop), tile)
            for band in range(bands):
                x = values[:, band][valid[:, band]].astype(np.float64)
                if x.size == 0:
                    continue
                # Sums of differences from a typical value keep the variance exact.
                d, logs = x - shift[band], np.log1p(np.maximum(x, 0))
                sums[band] += x.size, d.sum(), (d * d).sum(), logs.sum(), (logs * logs).sum()
                low[band], high[band] = min(low[band], x.min()), max(high[band], x.max())
                lattice = (slice(None), band, slice(-row % stride, None, stride))
                sub = (*lattice, slice(None, None, stride))
                kept[band].append(values[sub][valid[sub]])
    return [
        _statistics(sums[band], shift[band], low[band], high[band], kept[band])
        for band in range(bands)
    ]


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


def _first_values(cube: Cube, steps: range) -> NDArray[np.float64]:
    """A typical value of each band: the mean of the first step that has any valid pixel."""
    _, bands, height, width = cube.shape
    result = np.zeros(bands)
    missing = set(range(bands))
    tile = Tile(0, min(ROWS, height), 0, width)
    for step in steps:
        if not missing:
            break
        values, valid = cube.read(step, step + 1, tile)
        for band in sorted(missing):
            if valid[0, band].any():
                result[band] = values[0, band][valid[0, band]].mean(dtype=np.float64)
                missing.discard(band)
    return result


def _statistics(
    sums: NDArray[np.float64],
    shift: float,
    low: float,
    high: float,
    kept: list[NDArray[np.float32]],
) -> BandStatistics:
    count = int(sums[0])
    if count == 0:
        nan = math.nan
        return BandStatistics(0, nan, nan, nan, nan, nan, nan, nan, nan, nan)
    sample = np.concatenate(kept).astype(np.float64)
    quartiles = np.quantile(sample, [0.25, 0.5, 0.75]) if sample.size else [math.nan] * 3
    mean_shifted, log_mean = sums[1] / count, sums[3] / count
    return BandStatistics(
        count=count,
        mean=float(shift + mean_shifted),
        std=math.sqrt(max(0.0, sums[2] / count - mean_shifted**2)),
        minimum=float(low),
        maximum=float(high),
        median=float(quartiles[1]),
        lower_quartile=float(quartiles[0]),
        upper_quartile=float(quartiles[2]),
        log_mean=float(log_mean),
        log_std=math.sqrt(max(0.0, sums[4] / count - log_mean**2)),
    )
