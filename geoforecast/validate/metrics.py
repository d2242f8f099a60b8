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

import numpy as np
from numpy.typing import NDArray

# What is summed for one frame (one valid time and lead), in this order.
SUMS = ("n", "e", "abs_e", "ee", "o", "oo")
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
        o, oo: sums of the observed values and their squares, about a fixed shift.
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
    data_range: float = math.nan
    ssim: float = math.nan
    ssim_pixels: int = 0


@dataclass(frozen=True)
class Metric:
    """One metric and how to read it.

    Attributes:
        name: as in metrics.csv.
        title: as in the report.
        better: ``lower``, ``higher``, or the best value, ``zero`` or ``one``.
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


def skill_metrics(kind: str = "continuous") -> tuple[str, ...]:
    """Metrics that skill is told for; the first one leads."""
    return ("rmse", "mae") if kind in VALUES else ("brier",)


def evaluate(name: str, pooled: Any) -> tuple[float, str]:
    """A metric's value and, where it has none (NaN), the reason in plain words."""
    if pooled.n == 0:
        return math.nan, "no pixel could be scored"
    try:
        return _METRICS[name].compute(pooled), ""
    except UndefinedMetricError as reason:
        return math.nan, str(reason)


def frame_sums(
    forecast: NDArray[np.floating], observed: NDArray[np.floating], shift: float
) -> NDArray[np.float64]:
    """The sums that the metrics need, in float64.

    Args:
        forecast, observed: (pixel,) scored pixels only, all finite, band units.
        shift: a typical value, taken off the observed so that their variance stays exact.
    Returns:
        (6,) in the order of SUMS.
    """
    o = observed.astype(np.float64)
    e = forecast.astype(np.float64) - o
    o -= shift
    return np.array([e.size, e.sum(), np.abs(e).sum(), (e * e).sum(), o.sum(), (o * o).sum()])


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
    spread = pooled.oo - pooled.o * pooled.o / pooled.n
    if spread <= CONSTANT * pooled.oo:
        raise UndefinedMetricError("all observed pixels have one value, so there is no variance")
    return 1 - pooled.ee / spread


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


def _check_range(pooled: Pooled) -> None:
    if not pooled.data_range > 0:
        raise UndefinedMetricError("the training pixels have no range of values")
