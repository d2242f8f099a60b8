"""Harmonic: a smooth curve through the seasons, shared where a pixel has seen little."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numba
import numpy as np
from numpy.typing import NDArray

from geoforecast.references import Array, Reference, Setting, reference
from geoforecast.references.cholesky import factor, substitute
from geoforecast.references.climatology import OverallMean, Season
from geoforecast.references.motion import Motion

# Observations that the curve of all pixels is worth beside a pixel's own; its level, less.
PRIOR, PRIOR_LEVEL = 3.0, 0.9
LARGEST_ORDER = 2


class Moments(Season):
    """Sums of a pixel's values with the waves of the cycle: all that a fit needs.

    Attributes:
        gram: (15, band, y, x) upper triangle of the waves' sums of products, row by row.
        products: (5, band, y, x) sums of each wave times the value's difference from the
            pixel's first one.
    """

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.mean = setting.state(OverallMean)
        count = 1 + 2 * LARGEST_ORDER
        self.gram = np.zeros((count * (count + 1) // 2, *setting.shape), dtype=np.float32)
        self.products = np.zeros((count, *setting.shape), dtype=np.float32)

    def waves(self, day: float) -> NDArray[np.float32]:
        """1, then cosine and sine of each order."""
        angle = 2 * np.pi * (day / self.period_days % 1.0)
        orders = np.arange(1, LARGEST_ORDER + 1)
        pairs = np.stack([np.cos(orders * angle), np.sin(orders * angle)], axis=1)
        return np.concatenate([[1.0], pairs.ravel()]).astype(np.float32)

    def _add(self, values_BHW: Array, valid_BHW: NDArray[np.bool_], day: float) -> None:
        x = self.waves(day)
        difference = np.where(valid_BHW, values_BHW - self.mean.first, np.float32(0))
        seen = valid_BHW.astype(np.float32)
        for row in range(len(x)):
            self.products[row] += x[row] * difference
        for slot, (left, right) in enumerate(zip(*np.triu_indices(len(x)), strict=True)):
            self.gram[slot] += x[left] * x[right] * seen

    def _at(self, day: float) -> Array:
        return self.mean.at(day)


class _Curve(Season):
    """The curve of one order, fitted to the moments whenever a step has come in."""

    order: ClassVar[int]

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._moments = setting.state(Moments)
        self._coefficients: Array | None = None
        self._shape = setting.shape
        bands, count = setting.shape[0], 1 + 2 * self.order
        given = setting.parameters.get(f"harmonic{self.order}", {})
        self._shared = np.array(
            [[given.get(f"{band}.{k}", 0.0) for k in range(count)] for band in range(bands)]
        )

    def _add(self, values_BHW: Array, valid_BHW: NDArray[np.bool_], day: float) -> None:  # noqa: ARG002
        self._coefficients = None

    def _at(self, day: float) -> Array:
        mean = self._moments.mean
        if not self.spanned:
            return mean.at(day)
        if self._coefficients is None:
            self._coefficients = np.empty((len(self._shared[0]), *self._shape), np.float32)
            triangle = _triangle(len(self._shared[0]))
            _fit(
                self._moments.gram,
                self._moments.products,
                mean.excess,
                triangle,
                self._shared,
                self._coefficients,
            )
        waves = self._moments.waves(day)
        usual = mean.first + mean.excess
        for k, coefficient in enumerate(self._coefficients):
            usual = usual + waves[k] * coefficient
        return usual

    def pooled(self) -> dict[str, float]:
        """Sums over all pixels of what the shared curve is fitted to, by band."""
        sums: dict[str, float] = {}
        if not self.spanned:
            return sums
        moments = self._moments
        triangle = _triangle(len(self._shared[0]))
        for band in range(self._shape[0]):
            for row in range(len(triangle)):
                level = moments.gram[triangle[0, row], band] * moments.mean.excess[band]
                rest = (moments.products[row, band] - level).sum(dtype=np.float64)
                sums[f"{band}.y.{row}"] = float(rest)
                for col in range(row, len(triangle)):
                    total = moments.gram[triangle[row, col], band].sum(dtype=np.float64)
                    sums[f"{band}.x.{row}.{col}"] = float(total)
        return sums


class Curve1(_Curve):
    """One wave a cycle."""

    order = 1


class Curve2(_Curve):
    """Two waves a cycle."""

    order = 2


def _triangle(count: int) -> NDArray[np.int64]:
    """(count, count) where each product stands in Moments.gram."""
    size = 1 + 2 * LARGEST_ORDER
    slots = np.zeros((size, size), dtype=np.int64)
    rows, cols = np.triu_indices(size)
    slots[rows, cols] = slots[cols, rows] = np.arange(len(rows))
    return slots[:count, :count]


@numba.njit(nogil=True, cache=True)
def _fit(
    gram: Array,
    products: Array,
    excess: Array,
    triangle: NDArray[np.int64],
    shared: NDArray[np.float64],
    result: Array,
) -> None:
    """Ridge regression of each pixel's departures from its mean, towards the shared curve."""
    count = triangle.shape[0]
    a, b = np.empty((count, count)), np.empty(count)
    _, bands, height, width = gram.shape
    for band in range(bands):
        for y in range(height):
            for x in range(width):
                for i in range(count):
                    level = np.float64(gram[triangle[0, i], band, y, x])
                    b[i] = products[i, band, y, x] - level * excess[band, y, x]
                    for j in range(count):
                        a[i, j] = gram[triangle[i, j], band, y, x]
                        b[i] -= a[i, j] * shared[band, j]
                    a[i, i] += PRIOR_LEVEL if i == 0 else PRIOR
                factor(a, count)
                substitute(a, count, b)
                for i in range(count):
                    result[i, band, y, x] = shared[band, i] + b[i]


class _Harmonic(Reference):
    needs_cycle = True
    kind: ClassVar[type[_Curve]]

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._curve = setting.state(self.kind)

    def forecast(self, days: Sequence[float], motion: Motion | None = None) -> Array:  # noqa: ARG002
        return np.stack([self._curve.at(day) for day in days])

    def evidence(self) -> dict[str, float]:
        return self._curve.pooled()

    @classmethod
    def fit(cls, evidence: Mapping[str, float]) -> dict[str, float]:
        count = 1 + 2 * cls.kind.order
        result: dict[str, float] = {}
        band = 0
        while f"{band}.y.0" in evidence:
            y = np.array([evidence[f"{band}.y.{i}"] for i in range(count)])
            x = np.zeros((count, count))
            for i in range(count):
                for j in range(i, count):
                    x[i, j] = x[j, i] = evidence[f"{band}.x.{i}.{j}"]
            # A cycle of few phases leaves some waves open: those stay 0.
            curve = np.linalg.lstsq(x, y, rcond=1e-6)[0]
            result.update({f"{band}.{k}": float(value) for k, value in enumerate(curve)})
            band += 1
        return result


@reference
class Harmonic1(_Harmonic):
    """One wave a cycle about the pixel's mean, drawn towards the curve of all pixels.

    The mean of all steps until the record spans a cycle. The shared curve is least squares
    over all pixels of the training steps and counts as 3 observations.

    Source:
        Wilks (2019), Statistical methods in the atmospheric sciences, 4th ed., section 10.4.
    """

    name = "harmonic1"
    kind = Curve1


@reference
class Harmonic2(_Harmonic):
    """Two waves a cycle about the pixel's mean; see Harmonic1."""

    name = "harmonic2"
    kind = Curve2
