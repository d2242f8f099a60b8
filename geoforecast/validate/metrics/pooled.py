"""Metrics of a forecast against what was observed, each a function of pooled sums.

Sums, not pixels, are kept: they add up over tiles and steps, so memory does not grow and
no metric depends on how the raster was cut. A new metric is one decorated function here;
it then appears in metrics.csv, in the report and among the gates of `--fail-under`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

VALUES = ("continuous", "count")  # kinds of targets whose errors have a size
P = TypeVar("P")
# Below this share of the sum of squares, a spread is rounding error.
CONSTANT = 1e-12


class UndefinedMetricError(ValueError):
    """A metric has no value; the message says why and goes into the report."""


@dataclass(frozen=True)
class Pooled:
    """Sums over all scored pixels of one method, band and lead.

    Attributes:
        n: scored pixels.
        e, abs_e, ee: sums of the error, its size and its square (error = forecast - observed).
        o, oo: sums of the observed values and their squares, about ``shift``.
        oe: sum of the products of those and the errors.
        relative, relative_n: sum of sizes of errors over those of the observed values, and of how
            many pixels, those too near to 0 left out.
        anomalies_n: pixels of which is known what is normal.
        ff_anomaly, oo_anomaly, fo_anomaly: sums of squares and products of their anomalies.
        shift: a typical value, band units.
        data_range: largest minus smallest valid training value, band units.
        ssim: mean over frames of the masked SSIM, NaN if undefined.
        ssim_pixels: scored pixels of the frames that SSIM counts.
    """

    n: int
    e: float
    abs_e: float
    ee: float
    o: float
    oo: float
    oe: float = math.nan
    relative: float = 0.0
    relative_n: int = 0
    anomalies_n: int = 0
    ff_anomaly: float = 0.0
    oo_anomaly: float = 0.0
    fo_anomaly: float = 0.0
    shift: float = 0.0
    data_range: float = math.nan
    ssim: float = math.nan
    ssim_pixels: int = 0

    @property
    def observed_spread(self) -> float:
        """Sum of squared deviations of the observed values from their mean; 0 if rounding."""
        return _spread(self.oo, self.o, self.n, self.oo)

    @property
    def forecast_spread(self) -> float:
        """The same of the forecast, whose values are the observed ones plus the error."""
        squares = self.oo + 2 * self.oe + self.ee
        return _spread(squares, self.o + self.e, self.n, self.oo + 2 * abs(self.oe) + self.ee)

    @property
    def common_spread(self) -> float:
        """Sum of products of both deviations."""
        return self.oo + self.oe - self.o * (self.o + self.e) / self.n


@dataclass(frozen=True)
class Metric:
    """One metric and how to read it.

    Attributes:
        name: as in metrics.csv.
        title: as in the report.
        better: ``lower``, ``higher``, or the best value, ``zero`` or ``one``; empty where only
            a comparison of values tells.
        in_units: the value has the band's units.
        formula, source: for the report; f forecast, o observed, n scored pixels.
        compute: pooled sums -> value; raises UndefinedMetricError.
        kinds: of targets that it is of.
    """

    name: str
    title: str
    better: str
    in_units: bool
    formula: str
    source: str
    compute: Callable[[Any], float]
    kinds: tuple[str, ...] = VALUES


_METRICS: dict[str, Metric] = {}


def metric(
    *,
    title: str,
    better: str,
    formula: str,
    source: str,
    in_units: bool = False,
    kinds: tuple[str, ...] = VALUES,
) -> Callable[[Callable[[P], float]], Callable[[P], float]]:
    """Register a function as a metric; see Metric for the arguments."""

    def register(compute: Callable[[P], float]) -> Callable[[P], float]:
        name = compute.__name__
        _METRICS[name] = Metric(name, title, better, in_units, formula, source, compute, kinds)
        return compute

    return register


def metric_names(kind: str = "continuous") -> tuple[str, ...]:
    """Names of all metrics of a kind of targets, in the order of their definition."""
    return tuple(one.name for one in metrics(kind))


def metrics(kind: str = "continuous") -> tuple[Metric, ...]:
    """All metrics of a kind of targets, in the order of their definition."""
    return tuple(one for one in _METRICS.values() if kind in one.kinds)


def skill_metrics(kind: str = "continuous", *, probable: bool = True) -> tuple[str, ...]:
    """Metrics that skill is told for; the first one leads.

    Args:
        kind: of targets.
        probable: whether forecasts of classes, or of yes and no, are probabilities, and not maps.
    """
    if kind in VALUES:
        return ("rmse", "mae")
    return ("brier",) if probable else ("disagreement",)


def evaluate(name: str, pooled: Any) -> tuple[float, str]:
    """A metric's value and, where it has none (NaN), the reason in plain words."""
    if pooled.n == 0:
        return math.nan, "no pixel could be scored"
    try:
        return _METRICS[name].compute(pooled), ""
    except UndefinedMetricError as reason:
        return math.nan, str(reason)


@metric(
    title="MAE",
    better="lower",
    in_units=True,
    formula="Σ|f − o| / n",
    source="Willmott & Matsuura (2005), Climate Research 30",
)
def mae(pooled: Pooled) -> float:
    """Mean absolute error, band units."""
    return pooled.abs_e / pooled.n


@metric(
    title="RMSE",
    better="lower",
    in_units=True,
    formula="√(Σ(f − o)² / n), squared errors pooled over pixels and steps, one root last",
    source="Potts (2012), in Forecast Verification, ch. 2",
)
def rmse(pooled: Pooled) -> float:
    """Root mean squared error, band units: pools squared error first, takes one root last."""
    return math.sqrt(pooled.ee / pooled.n)


@metric(
    title="MSE",
    better="lower",
    formula="Σ(f − o)² / n, in squared units",
    source="Murphy (1988), Monthly Weather Review 116",
)
def mse(pooled: Pooled) -> float:
    """Mean squared error, band units squared."""
    return pooled.ee / pooled.n


@metric(
    title="MAPE (%)",
    better="lower",
    formula="100 Σ(|f − o| / |o|) / n over pixels whose |o| is at least 1 % of the range of the "
    "training values; a forecast that is too low is favoured",
    source="Hyndman & Koehler (2006), International Journal of Forecasting 22",
)
def mape(pooled: Pooled) -> float:
    """Mean absolute percentage error of the pixels that are not too near to 0."""
    if not pooled.relative_n:
        raise UndefinedMetricError("all observed values are too near to 0")
    return 100 * pooled.relative / pooled.relative_n


@metric(
    title="bias",
    better="zero",
    in_units=True,
    formula="Σ(f − o) / n; above 0 the forecast is too high",
    source="Wilks (2019), Statistical Methods in the Atmospheric Sciences, ch. 9",
)
def bias(pooled: Pooled) -> float:
    """Mean error, forecast minus observed, band units."""
    return pooled.e / pooled.n


@metric(
    title="R²",
    better="higher",
    formula="1 − Σ(f − o)² / Σ(o − ō)², ō the mean of the same observed pixels; "
    "0 is as good as knowing that mean, below 0 is worse",
    source="Nash & Sutcliffe (1970), Journal of Hydrology 10",
)
def r2(pooled: Pooled) -> float:
    """Coefficient of determination about the observed mean of the scored pixels."""
    spread = pooled.observed_spread
    if not spread:
        raise UndefinedMetricError("all observed pixels have one value, so there is no variance")
    return 1 - pooled.ee / spread


@metric(
    title="correlation",
    better="higher",
    formula="Σ(f − f̄)(o − ō) / √(Σ(f − f̄)² Σ(o − ō)²), all pixels and steps together; neither "
    "bias nor too small a range lowers it",
    source="Wilks (2019), Statistical Methods in the Atmospheric Sciences, ch. 9",
)
def correlation(pooled: Pooled) -> float:
    """Pearson's correlation of forecast and observed values."""
    both = pooled.observed_spread * pooled.forecast_spread
    if not both > 0:
        raise UndefinedMetricError("the observed or the forecast pixels have one value")
    return _within_one(pooled.common_spread / math.sqrt(both))


@metric(
    title="anomaly correlation",
    better="higher",
    formula="Σ(f − c)(o − c) / √(Σ(f − c)² Σ(o − c)²), c what is normal for the pixel and season: "
    "the climatology reference, fitted on training steps, or the mean where there is none",
    source="Murphy & Epstein (1989), Monthly Weather Review 117",
)
def anomaly_correlation(pooled: Pooled) -> float:
    """Correlation of departures from what is normal, not centred."""
    if not pooled.anomalies_n:
        raise UndefinedMetricError("it is not known what is normal")
    both = pooled.ff_anomaly * pooled.oo_anomaly
    if not both > 0:
        raise UndefinedMetricError("the observed or the forecast values are what is normal")
    return _within_one(pooled.fo_anomaly / math.sqrt(both))


@metric(
    title="variance ratio",
    better="one",
    formula="Σ(f − f̄)² / Σ(o − ō)²; below 1 the forecast varies too little: it is blurred, or "
    "drawn towards the mean",
    source="Murphy (1988), Monthly Weather Review 116",
)
def variance_ratio(pooled: Pooled) -> float:
    """Variance of the forecast over that of what came."""
    if not pooled.observed_spread:
        raise UndefinedMetricError("all observed pixels have one value, so there is no variance")
    return pooled.forecast_spread / pooled.observed_spread


@metric(
    title="KGE",
    better="higher",
    formula="1 − √((r − 1)² + (σf/σo − 1)² + (f̄/ō − 1)²), r the correlation, σ deviations; for "
    "quantities with a true zero",
    source="Gupta et al. (2009), Journal of Hydrology 377",
)
def kge(pooled: Pooled) -> float:
    """Kling-Gupta efficiency: correlation, spread and mean in one number."""
    mean = pooled.shift + pooled.o / pooled.n
    spread = math.sqrt(pooled.observed_spread / pooled.n)
    if not spread:
        raise UndefinedMetricError("all observed pixels have one value, so there is no variance")
    if abs(mean) <= CONSTANT * spread:
        raise UndefinedMetricError("the observed mean is 0, so no ratio of means is defined")
    ratio = math.sqrt(variance_ratio(pooled))
    return 1 - math.hypot(correlation(pooled) - 1, ratio - 1, pooled.e / pooled.n / mean)


@metric(
    title="SSIM",
    better="higher",
    formula="mean of the structural similarity map over scored pixels, then over frames with "
    "at least 25 % of them; windows of 7 × 7 px (less on a raster smaller than that), other "
    "pixels set to the training mean in both images, data range from training pixels; 1 is "
    "identical",
    source="Wang et al. (2004), IEEE Transactions on Image Processing 13",
)
def ssim(pooled: Pooled) -> float:
    """Masked structural similarity, averaged over frames; see ssim.py."""
    _check_range(pooled)
    if math.isnan(pooled.ssim):
        raise UndefinedMetricError(
            "no frame has 25 % scored pixels, or the raster is under 3 px a side"
        )
    return pooled.ssim


@metric(
    title="PSNR (dB)",
    better="higher",
    formula="20 log₁₀(range / RMSE), range = largest − smallest valid training value",
    source="Huynh-Thu & Ghanbari (2008), Electronics Letters 44",
)
def psnr(pooled: Pooled) -> float:
    """Peak signal-to-noise ratio in dB over the range of the training pixels."""
    _check_range(pooled)
    if pooled.ee == 0:
        raise UndefinedMetricError("the error is zero, so the ratio is infinite")
    return 10 * math.log10(pooled.data_range**2 * pooled.n / pooled.ee)


def skill(error: float, reference_error: float) -> tuple[float, str]:
    """Skill score 1 - error / reference error, and why it is NaN if it is.

    Args:
        error, reference_error: of one metric whose perfect value is 0, same pixels.
    Source:
        Murphy (1988), Monthly Weather Review 116, eq. 4.
    """
    if math.isnan(error) or math.isnan(reference_error):
        return math.nan, "no pixel could be scored"
    if reference_error == 0:
        return math.nan, "the reference has no error, so no forecast can improve on it"
    return 1 - error / reference_error, ""


def _spread(squares: float, total: float, n: int, size: float) -> float:
    """Squared deviations, or 0 where they are rounding of numbers of that size."""
    spread = squares - total * total / n
    return spread if spread > CONSTANT * size else 0.0


def _within_one(value: float) -> float:
    """A correlation, without what rounding adds to it."""
    return max(-1.0, min(1.0, value))


def _check_range(pooled: Pooled) -> None:
    if not pooled.data_range > 0:
        raise UndefinedMetricError("the training pixels have no range of values")
