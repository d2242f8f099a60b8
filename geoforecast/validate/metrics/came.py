"""What came in a part of a frame: what of it is the same whatever was forecast is made once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from geoforecast.samples.normaliser import BandStatistics
from geoforecast.validate.metrics.alignment import REACH_PX
from geoforecast.validate.metrics.neighbours import Weights, weigh
from geoforecast.validate.metrics.spectra import ring_power, whole_blocks
from geoforecast.validate.metrics.variogram import pair_counts, square_sums

BINS = 512
WIDER = 0.1  # of the range of the training values, on both sides
NEAR_PX = max(2, REACH_PX)  # around a part, for neighbours of neighbours and for shifts


@dataclass(frozen=True)
class Came:
    """What came in a part of a frame, and what of it is the same for all that was forecast.

    Attributes:
        observed: (y, x) band units, finite where scored, with NEAR_PX around the part where the
            raster goes on, and fractions.REACH_PX if events are scored.
        scored: (y, x) bool.
        inner: the part.
        side: of the blocks that spectra are made of, 0 for none; the part begins with one.
        kept: rows and columns of the part whose alignment is looked at; see lattice.
        statistics: of the band, in training.
    """

    observed: NDArray[Any]
    scored: NDArray[np.bool_]
    inner: tuple[slice, slice]
    side: int
    kept: tuple[slice, slice]
    statistics: BandStatistics

    @property
    def shift(self) -> float:
        """A typical value, which sums are about."""
        return self.statistics.mean if math.isfinite(self.statistics.mean) else 0.0

    @cached_property
    def weights(self) -> Weights:
        """Who is whose neighbour."""
        return weigh(self.scored, self.inner)

    @cached_property
    def neighbours(self) -> NDArray[np.float64]:
        """(SUMS,)"""
        return self.weights.sums(self.observed, self.shift)

    @cached_property
    def corners(self) -> NDArray[np.int64]:
        """(block, 2) of the blocks of spectra that are scored."""
        return whole_blocks(self.scored[self.inner], self.side)

    @cached_property
    def power(self) -> NDArray[np.float64]:
        """(wavenumber,)"""
        return self.power_of(self.observed)

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """(BINS,)"""
        return self.counts_of(self.observed)

    @cached_property
    def pairs(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(LAGS_PX,) pairs of pixels so far apart, and their squared differences."""
        return pair_counts(self.scored[self.inner], self.side), self.squares_of(self.observed)

    def squares_of(self, field: NDArray[Any]) -> NDArray[np.float64]:
        """(LAGS_PX,) squared differences of a field on the same pixels."""
        return square_sums(field[self.inner], self.scored[self.inner], self.side)

    def power_of(self, field: NDArray[Any]) -> NDArray[np.float64]:
        """(wavenumber,) of a field on the same pixels."""
        inner = self.inner
        return ring_power(field[inner], self.scored[inner], self.corners, self.side)

    def counts_of(self, field: NDArray[Any]) -> NDArray[np.int64]:
        """(BINS,) of a field on the same pixels."""
        return histogram(field[self.inner], self.scored[self.inner], self.statistics)


def histogram(
    values: NDArray[Any], scored: NDArray[np.bool_], statistics: BandStatistics
) -> NDArray[np.int64]:
    """(BINS,) how many values lie in which part of the training range, widened a little.

    Values beyond count in the first and the last.

    Args:
        values: (y, x) band units, finite where scored.
        scored: (y, x) bool.
        statistics: of the band, in training.
    """
    low, high = statistics.minimum, statistics.maximum
    if not high > low:
        low, high = low - 1, low + 1
    margin = WIDER * (high - low)
    counts = np.zeros(BINS, np.int64)
    _count(values, scored, low - margin, BINS / (high - low + 2 * margin), counts)
    return counts


@numba.njit(cache=True, nogil=True)
def _count(values: Any, scored: Any, low: float, scale: float, counts: Any) -> None:
    most = np.float64(len(counts) - 1)
    for row in range(scored.shape[0]):
        for col in range(scored.shape[1]):
            if scored[row, col]:
                place = (np.float64(values[row, col]) - low) * scale
                counts[int(min(max(place, 0.0), most))] += 1
