"""What a forecast looks like beside what came: how smooth, how grainy, how it is distributed.

A forecast can be right on average and look like none of the maps that it stands for. Whole
frames are compared here: how alike neighbours are, at which wavelengths there is structure, and
which values occur.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoforecast.validate.metrics.alignment import (
    ALIGNMENT_SUMS,
    FAR_PX,
    REACH_PX,
    SHIFTS,
    TELLING,
    alignment_sums,
    find_shift,
)
from geoforecast.validate.metrics.autocorrelation import from_sums
from geoforecast.validate.metrics.came import BINS, Came
from geoforecast.validate.metrics.neighbours import SUMS
from geoforecast.validate.metrics.pooled import UndefinedMetricError, metric
from geoforecast.validate.metrics.spectra import NO_SPECTRA, Spectra
from geoforecast.validate.metrics.variogram import (
    LAGS_PX,
    SILL_SHARE,
    VARIOGRAM_SUMS,
    Variogram,
)

FIELD = "field"  # a kind of metrics: of frames, not of pixels
FIELDS = ("observed", "forecast", "error")


@dataclass(frozen=True)
class PooledFields:
    """Frames of one method, band and lead.

    Attributes:
        n: scored pixels, all frames together.
        neighbours: (frame, FIELDS, SUMS) of frames of which enough is scored.
        spectra: of the forecast and what came.
        counts: (2, BINS) how often which value was observed, and forecast.
        shifts: (frame, SHIFTS, SHIFTS, ALIGNMENT_SUMS) of the same frames as ``neighbours``.
        variogram: of pixels so far apart.
    """

    n: int
    neighbours: NDArray[np.float64]
    spectra: Spectra
    counts: NDArray[np.int64]
    shifts: NDArray[np.float64]
    variogram: Variogram


@dataclass
class FieldSums:
    """What is summed of one method, band and lead, part by part of the raster.

    Attributes:
        neighbours: (step, FIELDS, SUMS).
        spectra: see PooledFields.
        counts: see PooledFields.
        shifts: (step, SHIFTS, SHIFTS, ALIGNMENT_SUMS).
        pairs: (LAGS_PX, VARIOGRAM_SUMS), see variogram.py.
    """

    neighbours: NDArray[np.float64]
    spectra: Spectra
    counts: NDArray[np.int64]
    shifts: NDArray[np.float64]
    pairs: NDArray[np.float64]

    @staticmethod
    def empty(steps: int) -> FieldSums:
        """Nothing yet, of so many steps."""
        nothing = np.zeros((steps, len(FIELDS), len(SUMS)))
        shifts = np.zeros((steps, SHIFTS, SHIFTS, len(ALIGNMENT_SUMS)))
        pairs = np.zeros((len(LAGS_PX), len(VARIOGRAM_SUMS)))
        return FieldSums(nothing, NO_SPECTRA, np.zeros((2, BINS), np.int64), shifts, pairs)

    def add(self, step: int, forecast: NDArray[Any], came: Came) -> None:
        """Add a part of a frame.

        Args:
            step: of the test block, from 0.
            forecast: (y, x) band units, finite where scored; of the same place as what came.
            came: what came.
        """
        scored, inner, shift = came.scored, came.inner, came.shift
        error = np.zeros(scored.shape)
        np.subtract(forecast, came.observed, out=error, where=scored, dtype=np.float64)
        self.neighbours[step] += (
            came.neighbours,
            came.weights.sums(forecast, shift),
            came.weights.sums(error, 0.0),
        )
        if len(came.corners):
            powers = came.power_of(forecast), came.power
            self.spectra = self.spectra + Spectra(came.side, len(came.corners), *powers)
        self.counts[0] += came.counts
        self.counts[1] += came.counts_of(forecast)
        squares = came.squares_of(forecast), came.squares_of(error)
        self.pairs += np.stack([*came.pairs, *squares], axis=1)
        self.shifts[step] += alignment_sums(
            forecast, came.observed, scored, inner, came.kept, shift
        )

    def __iadd__(self, other: FieldSums) -> FieldSums:
        self.neighbours += other.neighbours
        self.spectra = self.spectra + other.spectra
        self.counts += other.counts
        self.shifts += other.shifts
        self.pairs += other.pairs
        return self

    def pooled(self, enough: NDArray[np.bool_]) -> PooledFields:
        """All steps together, for metrics.

        Args:
            enough: (step,) whether enough of a frame is scored to say how it looks.
        """
        scored = int(self.counts[0].sum())
        return PooledFields(
            scored,
            self.neighbours[enough],
            self.spectra,
            self.counts,
            self.shifts[enough],
            Variogram(scored, self.pairs),
        )


def _mean(pooled: PooledFields, field: str, name: str) -> float:
    """Mean over frames of Moran's I or Geary's C of a field."""
    found = [from_sums(frame[FIELDS.index(field)]) for frame in pooled.neighbours]
    values = [getattr(one, name) for one in found if not one.reason]
    if not values:
        reasons = {one.reason for one in found}
        raise UndefinedMetricError(min(reasons) if reasons else "no frame has 25 % scored pixels")
    return math.fsum(values) / len(values)


_MORAN = "Cliff & Ord (1981), Spatial Processes, eq. 1.44"
_GEARY = "Cliff & Ord (1981), Spatial Processes, eq. 1.45"
_WEIGHTS = "w = 1 / k for the k scored pixels beside and across from each, mean over frames"


@metric(
    title="Moran's I, forecast",
    better="",
    kinds=(FIELD,),
    formula=f"n / Σw · Σw z z′ / Σz², z = f − f̄, {_WEIGHTS}; 1 is smooth, 0 is noise; should be "
    "that of what came",
    source=_MORAN,
)
def moran(pooled: PooledFields) -> float:
    """How alike neighbouring pixels of the forecast are."""
    return _mean(pooled, "forecast", "moran")


@metric(
    title="Moran's I, observed",
    better="",
    kinds=(FIELD,),
    formula="the same of o on the same pixels",
    source=_MORAN,
)
def moran_observed(pooled: PooledFields) -> float:
    """How alike neighbouring pixels of what came are."""
    return _mean(pooled, "observed", "moran")


@metric(
    title="Moran's I, error",
    better="zero",
    kinds=(FIELD,),
    formula="the same of f − o; above 0 neighbouring errors are alike: there is structure left to "
    "forecast",
    source=_MORAN,
)
def moran_error(pooled: PooledFields) -> float:
    """How alike neighbouring errors are."""
    return _mean(pooled, "error", "moran")


@metric(
    title="Geary's C, forecast",
    better="",
    kinds=(FIELD,),
    formula=f"(n − 1) / 2Σw · Σw (f − f′)² / Σ(f − f̄)², {_WEIGHTS}; 0 is smooth, 1 is noise",
    source=_GEARY,
)
def geary(pooled: PooledFields) -> float:
    """How much neighbouring pixels of the forecast differ."""
    return _mean(pooled, "forecast", "geary")


@metric(
    title="Geary's C, observed",
    better="",
    kinds=(FIELD,),
    formula="the same of o on the same pixels",
    source=_GEARY,
)
def geary_observed(pooled: PooledFields) -> float:
    """How much neighbouring pixels of what came differ."""
    return _mean(pooled, "observed", "geary")


@metric(
    title="Geary's C, error",
    better="one",
    kinds=(FIELD,),
    formula="the same of f − o",
    source=_GEARY,
)
def geary_error(pooled: PooledFields) -> float:
    """How much neighbouring errors differ."""
    return _mean(pooled, "error", "geary")


@metric(
    title="fine structure",
    better="one",
    kinds=(FIELD,),
    formula="forecast over observed power at wavelengths below 8 px, from blocks of up to 64 px; "
    "below 1 the forecast is blurred, whatever its RMSE",
    source="Skamarock (2004), Monthly Weather Review 132",
)
def fine_power(pooled: PooledFields) -> float:
    """How much of the observed fine structure the forecast has."""
    _check_blocks(pooled)
    value = pooled.spectra.fine_power()
    if math.isnan(value):
        raise UndefinedMetricError("what was observed has no fine structure")
    return value


@metric(
    title="effective resolution (px)",
    better="lower",
    kinds=(FIELD,),
    formula="the shortest wavelength down to which the forecast has half the observed power or "
    "more; 2 px is all",
    source="Skamarock (2004), Monthly Weather Review 132",
)
def effective_resolution(pooled: PooledFields) -> float:
    """The smallest waves that the forecast still shows, pixels."""
    _check_blocks(pooled)
    value = pooled.spectra.effective_resolution()
    if math.isinf(value):
        raise UndefinedMetricError("even the longest waves have less than half the power")
    return value


@metric(
    title="Kolmogorov-Smirnov distance",
    better="zero",
    kinds=(FIELD,),
    formula="largest difference between the shares of forecast and of observed pixels below any "
    f"value, to {BINS} parts of the training range; 0 is the same distribution",
    source="Massey (1951), Journal of the American Statistical Association 46",
)
def ks_distance(pooled: PooledFields) -> float:
    """How far the distributions of forecast and observed values are apart."""
    observed, forecast = np.cumsum(pooled.counts, axis=1) / pooled.counts.sum(axis=1)[:, None]
    return float(np.abs(forecast - observed).max())


_PADFIELD = "Padfield (2012), IEEE Transactions on Image Processing 21"


@metric(
    title="alignment (px)",
    better="lower",
    kinds=(FIELD,),
    formula="√(d² + r²), d and r the shift, down and to the right, at which the forecast is most "
    f"like what came: correlations of pairs at shifts up to {REACH_PX} px, frames added up, the "
    f"peak by a quadratic surface. Untold where a shift of {FAR_PX:g} px or more would take away "
    f"less than {TELLING:.0%} of 1 − r²".replace("%", " %"),
    source=_PADFIELD,
)
def alignment(pooled: PooledFields) -> float:
    """How far the forecast lies beside what came, pixels."""
    return find_shift(pooled.shifts).size


@metric(
    title="alignment, to the right (px)",
    better="zero",
    kinds=(FIELD,),
    formula="r of the alignment: above 0 the forecast lies in columns further right",
    source=_PADFIELD,
)
def alignment_right(pooled: PooledFields) -> float:
    """How far the forecast lies to the right of what came, pixels."""
    return find_shift(pooled.shifts).right


@metric(
    title="alignment, down (px)",
    better="zero",
    kinds=(FIELD,),
    formula="d of the alignment: above 0 the forecast lies in rows further down",
    source=_PADFIELD,
)
def alignment_down(pooled: PooledFields) -> float:
    """How far the forecast lies below what came, pixels."""
    return find_shift(pooled.shifts).down


@metric(
    title="variogram range, forecast (px)",
    better="",
    kinds=(FIELD,),
    formula=f"the distance at which γ of f reaches {SILL_SHARE:.0%} of its value at the longest "
    "distance, linear between distances; should be that of what came".replace("%", " %"),
    source="Cressie (1993), Statistics for Spatial Data, ch. 2",
)
def variogram_range(pooled: PooledFields) -> float:
    """How far structures of the forecast reach, pixels."""
    return pooled.variogram.range_px("forecast")


@metric(
    title="variogram range, observed (px)",
    better="",
    kinds=(FIELD,),
    formula="the same of o on the same pixels",
    source="Cressie (1993), Statistics for Spatial Data, ch. 2",
)
def variogram_range_observed(pooled: PooledFields) -> float:
    """How far structures of what came reach, pixels."""
    return pooled.variogram.range_px("observed")


def _check_blocks(pooled: PooledFields) -> None:
    if not pooled.spectra.blocks:
        raise UndefinedMetricError("no block of the raster has 90 % scored pixels")
