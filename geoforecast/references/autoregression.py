"""Autoregression: one linear rule, for all pixels, from a neighbourhood in space and time.

The rule adds to a base forecast a weighted sum of how other forecasts, earlier values and
smoothed fields differ from it, and of the slopes of the last two fields, whose weights are how
fast all moves. Its coefficients are pooled over pixels and fitted in closed form to sums of
products, to which each step adds; every step counts alike, however many of its pixels are
valid. Some rules' coefficients vary with the season and the level; see ``varying``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

from geoforecast.references import Array, Setting, State
from geoforecast.references.advection import carried
from geoforecast.references.climatology import OverallMean
from geoforecast.references.motion import Motion
from geoforecast.references.varying import WAYS, Season, varied

LAGS = 3  # fields that are remembered, the newest among them
# (lag, standard deviation of the Gaussian in pixels) of smoothed fields.
SMOOTHED = ((0, 1.0), (0, 3.0), (1, 3.0))
SLOPES = (0, 1)  # lags of the fields whose slopes are looked at
SLOPE_SMOOTH_PX = 1.0
MOVING_SMOOTH_PX = 2.0
REACH_SIGMAS = 3.0


@dataclass(frozen=True)
class Rule:
    """How one rule is fitted.

    Attributes:
        ridge: its strength beside each feature's own variance.
        memory: half-life in shares of the record; 0 forgets nothing.
        varying: its coefficients vary with the season and the level.
    """

    ridge: float
    memory: float
    varying: bool = False

    def __str__(self) -> str:
        fading = f" fading {self.memory:g}" if self.memory else ""
        return f"{'varying ' * self.varying}autoregression {self.ridge:g}{fading}"


RULES = (
    *(
        Rule(ridge, memory, one)
        for one in (False, True)
        for memory in (0, 0.2)
        for ridge in (0.003, 0.3)
    ),
    Rule(0.003, 0.05),
    Rule(0.3, 0.05),
    Rule(0.3, 0.05, varying=True),
)
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
        count: number of features, without those that are multiplied for rules that vary.
        places: of the features that vary.
    """

    def __init__(self, setting: Setting, names: Sequence[str], moving: bool) -> None:
        self.setting, self.names, self.moving = setting, tuple(names), moving
        self._filled = setting.state(Filled)
        self._mean = setting.state(OverallMean)
        self.count = len(feature_names(names, moving))
        self.places = varied(feature_names(names, moving))
        self._smooth: dict[tuple[int, float], Array] = {}
        self._smooth_of: Array | None = None

    def season(self, day: float) -> Season:
        """Of a time; nothing before the record spans a cycle."""
        if not self._mean.spanned:
            return 0.0, 0.0
        phase = 2 * np.pi * (day / self._mean.period_days % 1.0)
        return float(np.sin(phase)), float(np.cos(phase))

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
        fields += [self._smoothed(lag, sigma) for lag, sigma in SMOOTHED]
        if self.moving:
            assert motion is not None  # the caller asks for it where fields move
            origin = self.setting.origin
            for lag, field in enumerate(lags):
                smooth = self._smoothed(lag, MOVING_SMOOTH_PX)
                both = np.concatenate([field, smooth]) if lag else smooth
                moved = carried(both, motion, origin, 1, first=lead + lag)[0]
                fields += list(moved.reshape(-1, *field.shape))
        bands, *shape = base_BHW.shape
        # Each band's features lie side by side, as those who add them up read them.
        result = np.empty((bands, self.count, *shape), dtype=np.float32).swapaxes(0, 1)
        for slot, field in enumerate(fields):
            np.subtract(field, base_BHW, out=result[slot])
        slot = len(fields)
        for lag in SLOPES:
            smooth = self._smoothed(lag, SLOPE_SMOOTH_PX)
            for axis in (-1, -2):
                result[slot] = slope(smooth, axis)
                slot += 1
        np.nan_to_num(result[:slot], copy=False, nan=0.0, posinf=0.0, neginf=0.0)
        for value in (*self.season(day), 1.0):
            result[slot] = value
            slot += 1
        return result

    def _smoothed(self, lag: int, sigma_px: float) -> Array:
        """A smoothed field, made once for all leads."""
        newest = self._filled.lag(0)
        if self._smooth_of is not newest:
            self._smooth, self._smooth_of = {}, newest
        if (lag, sigma_px) not in self._smooth:
            self._smooth[lag, sigma_px] = smoothed(self._filled.lag(lag), sigma_px)
        return self._smooth[lag, sigma_px]


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
    found += [f"lag {lag} slope along {axis}" for lag in SLOPES for axis in ("x", "y")]
    return (*found, "sine", "cosine", "constant")


def coefficient_count(names: Sequence[str], moving: bool) -> int:
    """Of one rule: a number for each feature, and one for each way in which some vary."""
    plain = feature_names(names, moving)
    return len(plain) + len(WAYS) * len(varied(plain))


def rule_names() -> tuple[str, ...]:
    """The rules as members of a mixture."""
    return tuple(str(rule) for rule in RULES)


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


def slope(field_BHW: Array, axis: int) -> Array:
    """The difference of a pixel's two neighbours along an axis; 0 at the array's edge.

    NaN beside a pixel that is not known.
    """
    result = np.zeros_like(field_BHW)
    inner, after, before = (
        tuple(
            part if one == axis % field_BHW.ndim else slice(None) for one in range(field_BHW.ndim)
        )
        for part in (slice(1, -1), slice(2, None), slice(None, -2))
    )
    np.subtract(field_BHW[after], field_BHW[before], out=result[inner])
    return result


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
