"""Logistic: one rule for all pixels, from a pixel's history of classes and its neighbours'."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geoforecast.references import Array, Reference, Samples, Setting, ordered_sum, reference
from geoforecast.references.autoregression import HALO_PX, Filled, smoothed
from geoforecast.references.climatology import OverallMean
from geoforecast.references.motion import Motion
from geoforecast.references.transition import HALF_LIFE, LEAST_HALF_LIFE, Chain, Transition

SMOOTHED_PX = (1.0, 3.0)  # standard deviations of the Gaussians that neighbours are seen through
FADING = 0.3  # weight of the newest step in the fading mean
SAMPLED_VALUES = 2_000_000  # features times pixels that are kept of one step
KEPT_STEPS = 20
RIDGE = 1e-4
MOST_ROUNDS = 80
LEAST_STEPS = 2  # seen before a step can be learned from

Floats = NDArray[np.float64]


@reference
class Logistic(Reference):
    """Multinomial logistic regression of the next class, pooled over pixels.

    It looks at a pixel's last three classes, at how often it had each class, in all and lately,
    and at the classes around it, through Gaussians of 1 and 3 pixels. Fitted to the last 20
    training steps, recent ones counting more (half-life 30 % of the record). Later leads carry
    its forecast on with the chain of transition.

    Source:
        Hosmer & Lemeshow (2000), Applied logistic regression, ch. 8; the features are those of
        Wu (2002), Calibration of stochastic cellular automata, Int. J. GIS 16.
    """

    name = "logistic"
    kinds = ("categorical",)
    reach_px = HALO_PX

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._filled = setting.state(Filled)
        self._mean = setting.state(OverallMean)
        self._lately = np.full(setting.shape, np.nan, dtype=np.float32)
        self._steps = 0
        self._samples: deque[Samples] = deque(maxlen=KEPT_STEPS)
        classes = setting.shape[0]
        self._count = classes * (5 + len(SMOOTHED_PX)) + 1
        numbers = setting.parameters.get(self.name, {})
        self._weights = np.zeros((self._count, classes), dtype=np.float32)
        for key, number in numbers.items():
            row, column = key.split(".")
            self._weights[int(row), int(column)] = number
        self._fitted = bool(numbers)
        self._chain = Chain(setting.parameters.get(Transition.name, {}), 0, classes)

    def compare(self, values_BHW: Array, valid_BHW: NDArray[np.bool_], day: float) -> None:
        if self.setting.parameters or self._steps < LEAST_STEPS:
            return
        most = max(1, SAMPLED_VALUES // self._count)
        stride = 1
        while values_BHW[0].size > most * stride * stride:
            stride += 1
        rows, cols = (slice(-start % stride, None, stride) for start in self.setting.origin)
        features = self._features(day)[:, rows, cols]
        truth = np.where(valid_BHW, values_BHW, np.float32(0))[:, rows, cols].argmax(axis=0)
        known = valid_BHW[0, rows, cols] & np.isfinite(features).all(axis=0)
        self._samples.append(Samples(self._steps, features[:, known].T.copy(), truth[known]))

    def update(self, values_BHW: Array, valid_BHW: NDArray[np.bool_], day: float) -> None:  # noqa: ARG002
        self._steps += 1
        first = valid_BHW & np.isnan(self._lately)
        moved = self._lately + np.float32(FADING) * (values_BHW - self._lately)
        np.copyto(self._lately, np.where(first, values_BHW, moved), where=valid_BHW)

    def forecast(self, days: Sequence[float], motion: Motion | None = None) -> Array:  # noqa: ARG002
        if not self._fitted:
            return np.repeat(self._filled.lag(0)[None], len(days), axis=0)
        features = self._features(days[0])
        scores = np.zeros(self.setting.shape, dtype=np.float32)
        for feature, weights in zip(features, self._weights, strict=True):
            # One by one in a fixed order: the same bits for any tile.
            for number, weight in enumerate(weights):
                scores[number] += weight * feature
        scores -= scores.max(axis=0)
        likely = np.exp(scores)
        total = ordered_sum(likely)
        made = [(likely / total).astype(np.float32)]
        carried: Array = self._chain.first.astype(np.float32)
        for _ in days[1:]:
            parts = made[-1][:, None] * carried[:, :, None, None]
            made.append(ordered_sum(parts))
        return np.stack(made)

    def samples(self) -> list[Samples]:
        return list(self._samples)

    @classmethod
    def fit_samples(cls, samples: Sequence[Samples]) -> dict[str, float]:
        if not samples:
            return {}
        last = max(one.step for one in samples)
        half_life = max(LEAST_HALF_LIFE, HALF_LIFE * (last + 1))
        # Each step counts by its age, however many of its pixels are valid.
        weight = [
            np.full(len(one.truth), 0.5 ** ((last - one.step) / half_life) / max(len(one.truth), 1))
            for one in samples
        ]
        features = np.concatenate([one.features for one in samples])
        weights = _fitted(
            features,
            np.concatenate([one.truth for one in samples]),
            np.concatenate(weight),
            (features.shape[1] - 1) // (5 + len(SMOOTHED_PX)),
        )
        return {f"{row}.{column}": float(w) for (row, column), w in np.ndenumerate(weights)}

    def _features(self, day: float) -> Array:
        """(feature, y, x) what the rule looks at; NaN where nothing was ever valid."""
        now = self._filled.lag(0)
        parts = [now, self._filled.lag(1), self._filled.lag(2), self._mean.at(day), self._lately]
        parts += [smoothed(now, sigma) for sigma in SMOOTHED_PX]
        parts.append(np.ones((1, *now.shape[1:]), dtype=np.float32))
        return np.concatenate(parts)


def _fitted(features: Array, truth: NDArray[np.int64], weight: Floats, classes: int) -> Floats:
    """(feature, class) weights of least cross-entropy, drawn a little towards 0."""
    from scipy.optimize import minimize

    share = (weight / weight.sum()).astype(np.float32)
    pixels = np.arange(len(truth))

    def loss(flat: Floats) -> tuple[float, Floats]:
        weights = flat.reshape(-1, classes)
        scores = features @ weights.astype(np.float32)
        scores -= scores.max(axis=1, keepdims=True)
        likely = np.exp(scores)
        total = likely.sum(axis=1, keepdims=True)
        entropy = np.log(total[:, 0]) - scores[pixels, truth]
        likely /= total
        likely[pixels, truth] -= 1
        slope = features.T @ (likely * share[:, None])
        value = float((share * entropy).sum(dtype=np.float64)) + RIDGE * float((flat**2).sum())
        return value, slope.astype(np.float64).ravel() + 2 * RIDGE * flat

    start = np.zeros(features.shape[1] * classes)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": MOST_ROUNDS})
    return np.asarray(found.x).reshape(-1, classes)
