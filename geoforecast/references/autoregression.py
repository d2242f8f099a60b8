"""Autoregression: one linear rule, for all pixels, from a neighbourhood in space and time.

The rule adds to a base forecast a weighted sum of how other forecasts, earlier values and
smoothed fields differ from it. Its coefficients are pooled over pixels and fitted in closed
form to sums of products, to which each step adds; every step counts alike, however many of
its pixels are valid.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

from geoforecast.references import Array, Setting, State
from geoforecast.references.advection import carried
from geoforecast.references.climatology import OverallMean
from geoforecast.references.motion import Motion

LAGS = 3  # fields that are remembered, the newest among them
# (lag, standard deviation of the Gaussian in pixels) of smoothed fields.
SMOOTHED = ((0, 1.0), (0, 3.0), (1, 3.0))
MOVING_SMOOTH_PX = 2.0
REACH_SIGMAS = 3.0
# Strength of the ridge beside each feature's own variance, and memory in shares of the record;
# 0 forgets nothing. Each pair makes one rule.
RULES = ((0.003, 0.0), (0.3, 0.0), (0.003, 0.2), (0.3, 0.2))
HALO_PX = round(REACH_SIGMAS * max(sigma for _, sigma in SMOOTHED))
LEAST_STEPS = 2.0


class Filled(State):
    """The last fields of a tile, each with every pixel's last valid value.

    Attributes:
        fields: (band, y, x) each, the newest first; NaN where nothing was ever valid.
    """

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.fields: deque[Array] = deque(maxlen=LAGS)

    def update(self, values_BHW: Array, valid_BHW: NDArray[np.bool_], day: float) -> None:  # noqa: ARG002
        before = self.fields[0] if self.fields else np.float32(np.nan)
        self.fields.appendleft(np.where(valid_BHW, values_BHW, before).astype(np.float32))

    def lag(self, steps: int) -> Array:
        """The field some steps ago, or the oldest that is known."""
        return self.fields[min(steps, len(self.fields) - 1)]


class Features:
    """What the rules look at, for one tile.

    Args:
        setting: the tile and the series.
        names: of the references, in the order of every forecast.
        moving: fields are also carried along the motion.

    Attributes:
        count: number of features.
    """

    def __init__(self, setting: Setting, names: Sequence[str], moving: bool) -> None:
        self.setting, self.names, self.moving = setting, tuple(names), moving
        self._filled = setting.state(Filled)
        self._mean = setting.state(OverallMean)
        self.count = len(feature_names(names, moving))

    def at(
        self,
        lead: int,
        day: float,
        forecasts: Mapping[str, Array],
        base_BHW: Array,
        motion: Motion | None,
    ) -> Array:
        """(feature, band, y, x) features of a forecast; 0 where one is unknown.

        Args:
            lead: steps ahead, 1 or more.
            day: the valid time.
            forecasts: (band, y, x) of the references at that lead.
            base_BHW: what the rule corrects.
            motion: the motion field, if fields are moving.
        """
        lags = [self._filled.lag(steps) for steps in range(LAGS)]
        fields = [forecasts[name] for name in self.names]
        fields += lags[1:]
        fields += [smoothed(lags[lag], sigma) for lag, sigma in SMOOTHED]
        if self.moving:
            assert motion is not None  # the caller asks for it where fields move
            origin = self.setting.origin
            for lag, field in enumerate(lags):
                smooth = smoothed(field, MOVING_SMOOTH_PX)
                both = np.concatenate([field, smooth]) if lag else smooth
                moved = carried(both, motion, origin, 1, first=lead + lag)[0]
                fields += list(moved.reshape(-1, *field.shape))
        result = np.empty((self.count, *base_BHW.shape), dtype=np.float32)
        for slot, field in enumerate(fields):
            np.subtract(field, base_BHW, out=result[slot])
        np.nan_to_num(result[: len(fields)], copy=False, nan=0.0, posinf=0.0, neginf=0.0)
        phase = 2 * np.pi * (day / self._mean.period_days % 1.0)
        seen = float(self._mean.spanned)
        for slot, value in enumerate((seen * np.sin(phase), seen * np.cos(phase), 1.0)):
            result[len(fields) + slot] = value
        return result


def feature_names(names: Sequence[str], moving: bool) -> tuple[str, ...]:
    """What each feature is, in order.

    Args:
        names: of the references.
        moving: fields are also carried along the motion.
    """
    found = [*names, *(f"lag {lag}" for lag in range(1, LAGS))]
    found += [f"lag {lag} smoothed {sigma:g} px" for lag, sigma in SMOOTHED]
    if moving:
        for lag in range(LAGS):
            found += [f"lag {lag} moved"] if lag else []
            found += [f"lag {lag} smoothed {MOVING_SMOOTH_PX:g} px, moved"]
    return (*found, "sine", "cosine", "constant")


def rule_names() -> tuple[str, ...]:
    """The rules as members of a mixture."""
    return tuple(
        f"autoregression {ridge:g}" + (f" fading {memory:g}" if memory else "")
        for ridge, memory in RULES
    )


def smoothed(field_BHW: Array, sigma_px: float) -> Array:
    """A Gaussian mean of the known neighbours; unknown pixels keep what they have.

    Beyond the array nothing is known, so a tile must hold 3 ``sigma_px`` more on each side.
    """
    reach = round(REACH_SIGMAS * sigma_px)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_px) ** 2)
    known = np.isfinite(field_BHW)
    total, weight = np.where(known, field_BHW, np.float32(0)), known.astype(np.float32)
    for axis in (-2, -1):
        total = correlate1d(total, kernel, axis, mode="constant")
        weight = correlate1d(weight, kernel, axis, mode="constant")
    mean = np.where(known, total / np.where(known, weight, np.float32(1)), field_BHW)
    return mean.astype(np.float32, copy=False)


def solved(
    gram: NDArray[np.float64], products: NDArray[np.float64], steps: float, ridge: float
) -> NDArray[np.float64]:
    """Ridge regression from sums of products; zeros while too few steps were seen.

    Args:
        gram: (feature, feature) sum over steps of mean products of features.
        products: (feature,) the same with what is to be explained.
        steps: how many.
        ridge: strength beside each feature's own mean square.
    """
    if steps < LEAST_STEPS:
        return np.zeros_like(products)
    squares = np.diag(gram) / steps
    largest = squares.max(initial=0.0)
    # A feature that never varies must not make the matrix singular.
    strength = ridge * (1 + 1 / steps) * (squares + 1e-9 * largest) + 1e-12 * largest + 1e-300
    matrix = gram / steps + np.diag(strength)
    return np.linalg.solve(matrix, products / steps).astype(np.float64, copy=False)
