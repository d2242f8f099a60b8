"""Bias correction: forecasts mapped to the distribution of what came after earlier ones.

The map of a lead and band is fitted to pairs of forecasts and observations: of the validation
block, and of every later step that a forecast may know. Pixels are pooled, so tiles stay exact.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoforecast.errors import SeriesTooShortError
from geoforecast.samples.features import Array

Floats = NDArray[np.float64]

NONE, MEAN_VARIANCE, QUANTILE = "none", "mean-variance", "quantile"
METHODS = (NONE, MEAN_VARIANCE, QUANTILE)
QUANTILES = 50
LEAST_STEPS = 3  # two steps can be off by the same weather
LEAST_PAIRS = 100  # of pixels, two a quantile
MOST_PAIRS = 400_000  # kept a lead and band: more tell nothing new of the same few steps

# Of one step, lead and band: forecasts and what came, (n,) each.
Pairs = tuple[int, int, int, Array, Array]


@dataclass(frozen=True)
class Transfer:
    """The maps of one init step.

    Attributes:
        method: mean-variance or quantile.
        table: (lead, band, 2, n) of forecasts and of what came: mean and standard deviation, or
            the middles of QUANTILES equal shares, ascending.
    """

    method: str
    table: Floats

    def apply(self, values: Array) -> Array:
        """(lead, band, y, x) mapped; leads beyond the table take its last one. NaN stays NaN.

        Mean and variance: y = mean_o + std_o / std_f (x - mean_f). Quantiles: linear between
        them; beyond the outermost the shift of that one. Where several quantiles of forecasts
        are the same value, as those of a dry rain forecast are, it takes the mean of theirs.

        Source:
            Piani et al. (2010), Theoretical and Applied Climatology 99, 187-192; Cannon, Sobie
            and Murdock (2015), Journal of Climate 28, 6938-6959, equation 1, with constant
            shifts outside.
        """
        result = np.empty_like(values)
        for lead, band in np.ndindex(values.shape[:2]):
            made, came = self.table[min(lead, len(self.table) - 1), band]
            x = values[lead, band].astype(np.float64)
            mapped = _scaled if self.method == MEAN_VARIANCE else _interpolated
            result[lead, band] = mapped(x, made, came)
        return result


def _scaled(x: Floats, made: Floats, came: Floats) -> Floats:
    gain = came[1] / made[1] if made[1] > 0 else 1.0
    return np.asarray(came[0] + gain * (x - made[0]))


def _interpolated(x: Floats, made: Floats, came: Floats) -> Floats:
    at, place = np.unique(made, return_inverse=True)
    to = np.bincount(place, came) / np.bincount(place)
    inside = np.interp(x, at, to)
    # At the ends interp is constant: what x is beyond them is added.
    beyond = x - np.clip(x, at[0], at[-1])
    return np.asarray(inside + beyond)


class Bias:
    """What is known of the bias at each step.

    Args:
        method: mean-variance or quantile.
        end: first step that the run has not seen: what is earlier counts from every step on.
        look: tells all pairs of the record; called once, when a map is asked for.
    """

    def __init__(self, method: str, end: int, look: Callable[[], Iterable[Pairs]]) -> None:
        self.method, self._end, self._look = method, end, look
        self._pairs: dict[tuple[int, int], dict[int, list[tuple[Array, Array]]]] = {}
        self._known: dict[int, Transfer] = {}

    def at(self, step: int) -> Transfer:
        """The maps of forecasts from a step; no later step takes part.

        Raises:
            SeriesTooShortError: fewer than LEAST_STEPS steps or LEAST_PAIRS pixels are known.
        """
        last = max(step, self._end - 1)
        if last not in self._known:
            if not self._pairs:
                self._collect()
            self._known[last] = self._fitted(last)
        return self._known[last]

    def _collect(self) -> None:
        found: dict[tuple[int, int], dict[int, list[tuple[Array, Array]]]] = {}
        for step, lead, band, made, came in self._look():
            steps = found.setdefault((lead, band), defaultdict(list))
            if made.size:
                steps[step].append((made, came))
        self._pairs = found

    def _fitted(self, last: int) -> Transfer:
        leads = 1 + max(lead for lead, _ in self._pairs)
        bands = 1 + max(band for _, band in self._pairs)
        wide = 2 if self.method == MEAN_VARIANCE else QUANTILES
        table = np.zeros((leads, bands, 2, wide))
        for lead, band in np.ndindex(leads, bands):
            known = {s: p for s, p in sorted(self._pairs[lead, band].items()) if s <= last}
            parts = [part for found in known.values() for part in found]
            pixels = sum(made.size for made, _ in parts)
            if len(known) < LEAST_STEPS or pixels < LEAST_PAIRS:
                raise SeriesTooShortError(
                    f"--bias-correct needs {LEAST_STEPS} steps with {LEAST_PAIRS} valid pixels of "
                    f"them to learn from; at lead {lead + 1} there are {len(known)} with "
                    f"{pixels}.",
                    remedy="Leave it out, or stack with a larger --validation and train again.",
                )
            for side, values in enumerate(zip(*parts, strict=True)):
                table[lead, band, side] = self._summary(np.concatenate(values))
        return Transfer(self.method, table)

    def _summary(self, values: Array) -> Floats:
        exact = values.astype(np.float64)
        if self.method == MEAN_VARIANCE:
            return np.array([exact.mean(), exact.std()])
        return np.asarray(np.quantile(exact, (np.arange(QUANTILES) + 0.5) / QUANTILES))


def lattice_stride(pixels: int, steps: int) -> int:
    """Pixels from one that is kept to the next, so that MOST_PAIRS are kept at most.

    Args:
        pixels: of a step.
        steps: how many.
    """
    share = pixels * steps / MOST_PAIRS
    return max(1, int(np.ceil(np.sqrt(share))))
