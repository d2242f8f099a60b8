"""How much structure a field has at each scale: power spectra, whatever the gaps.

A forecast that minimises errors is smoother than what comes. RMSE does not show it; its spectrum
does: at short wavelengths power is missing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import fft

# Small, to find a place between gaps; smaller still on a small raster.
BLOCK_PX, SMALL_BLOCK_PX = 64, 32
LARGE_PX = 256  # a side of a raster that has the larger ones
LEAST_PX = 8
FULL_SHARE = 0.9  # of a block's pixels must be valid; the others are set to the block's mean
BLOCKS_AT_ONCE = 4  # a transform of few stays in the cache
SHORT_PX = 8.0  # wavelengths below are the fine structure


@dataclass(frozen=True)
class Spectra:
    """Summed power of two fields on the same pixels.

    Attributes:
        side: of the blocks, pixels; 0 if there is none.
        blocks: how many were summed.
        forecast, observed: (wavenumber,) power, band units squared, summed over blocks and over
            directions; wavenumbers 1 to side / 2, in cycles a block.
    """

    side: int
    blocks: int
    forecast: NDArray[np.float64]
    observed: NDArray[np.float64]

    def __add__(self, other: Spectra) -> Spectra:
        if not self.blocks:
            return other
        if not other.blocks:
            return self
        return Spectra(
            self.side,
            self.blocks + other.blocks,
            self.forecast + other.forecast,
            self.observed + other.observed,
        )

    @property
    def wavelengths(self) -> NDArray[np.float64]:
        """(wavenumber,) pixels, from the longest to two."""
        return self.side / np.arange(1, len(self.forecast) + 1)

    def fine_power(self) -> float:
        """Forecast's power over the observed below SHORT_PX: 1 is right, less is blurred.

        NaN where the observed has none.
        """
        fine = self.wavelengths < SHORT_PX
        return _ratio(float(self.forecast[fine].sum()), float(self.observed[fine].sum()))

    def effective_resolution(self) -> float:
        """The shortest wavelength, pixels, from which on a forecast has half the power at least.

        At it and at all longer ones; infinity if even the longest has less, NaN without blocks.
        """
        if not self.blocks:
            return math.nan
        enough = self.forecast >= 0.5 * self.observed
        lost = np.flatnonzero(~enough)
        kept = int(lost[0]) if lost.size else len(enough)
        return float(self.wavelengths[kept - 1]) if kept else math.inf


NO_SPECTRA = Spectra(0, 0, np.zeros(0), np.zeros(0))


def block_side(shape: tuple[int, int]) -> int:
    """Side of the blocks of a raster, an even number; 0 if it is too small for any."""
    usual = BLOCK_PX if min(shape) >= LARGE_PX else SMALL_BLOCK_PX
    side = min(usual, *shape)
    side -= side % 2
    return side if side >= LEAST_PX else 0


def power_spectra(
    forecast: NDArray[Any], observed: NDArray[Any], scored: NDArray[np.bool_], side: int = 0
) -> Spectra:
    """Power of two fields by wavenumber, on blocks that both have (nearly) all pixels of.

    Of each block its mean is taken off and a Hann window is laid over it, against the jump
    between its opposite edges.

    Args:
        forecast, observed: (y, x), band units, anything where not scored.
        scored: (y, x) bool, True = usable in both.
        side: of the blocks, pixels; 0 follows from the shape. A part of a raster needs the
            raster's, and begins where one of its blocks does.
    Source:
        Welch (1967), IEEE Transactions on Audio and Electroacoustics 15, in two dimensions;
        Skamarock (2004), Monthly Weather Review 132, for what it says of forecasts.
    """
    side = side or block_side(scored.shape)
    corners = whole_blocks(scored, side)
    if not len(corners):
        return NO_SPECTRA
    powers = [ring_power(field, scored, corners, side) for field in (forecast, observed)]
    return Spectra(side, len(corners), *powers)


def whole_blocks(scored: NDArray[np.bool_], side: int) -> NDArray[np.int64]:
    """(block, 2) first row and column of the blocks of which enough is scored.

    Args:
        scored: (y, x) bool; blocks lie side by side from its first row and column on.
        side: of a block, pixels; 0 for none.
    """
    if not side:
        return np.zeros((0, 2), np.int64)
    rows, cols = (length // side for length in scored.shape)
    blocks = scored[: rows * side, : cols * side].reshape(rows, side, cols, side)
    shares = blocks.mean(axis=(1, 3))
    corners: NDArray[np.int64] = np.argwhere(shares >= FULL_SHARE) * side
    return corners


def ring_power(
    field: NDArray[Any], scored: NDArray[np.bool_], corners: NDArray[np.int64], side: int
) -> NDArray[np.float64]:
    """(wavenumber,) power summed over blocks and directions, from wavenumber 1 on.

    Args:
        field: (y, x), anything where not scored.
        scored: (y, x) bool.
        corners, side: of the blocks; see whole_blocks.
    """
    window, rings = _plan(side)
    power = np.zeros((side, 2 * (side // 2 + 1)))  # of real and imaginary parts
    for first in range(0, len(corners), BLOCKS_AT_ONCE):
        cut = _cut(field, scored, corners[first : first + BLOCKS_AT_ONCE], window)
        _add_power(fft.rfft2(cut, overwrite_x=True).view(np.float64), power)
    total = power[:, ::2] + power[:, 1::2]
    # The half of the transform that a real field repeats.
    total[:, 1:-1] *= 2
    total /= side**4
    count = side // 2
    summed = np.bincount(rings.ravel(), total.ravel(), count + 2)
    return summed[1 : count + 1].astype(np.float64)


@lru_cache(maxsize=4)
def _plan(side: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(y, x) window of a block, and (y, x) rings of the half of its transform that is made."""
    bell = np.hanning(side + 1)[:-1]  # periodic
    # So that white noise keeps its variance.
    window = np.outer(bell, bell) / np.square(bell).mean()
    return window, _rings(side)[:, : side // 2 + 1]


@numba.njit(cache=True, nogil=True)
def _add_power(waves: NDArray[np.float64], power: NDArray[np.float64]) -> None:
    """Add the squares of (block, y, x) to (y, x)."""
    for number in range(waves.shape[0]):
        for row in range(waves.shape[1]):
            line, total = waves[number, row], power[row]
            for col in range(total.shape[0]):
                total[col] += line[col] * line[col]


@numba.njit(cache=True, nogil=True)
def _cut(
    field: NDArray[Any],
    scored: NDArray[np.bool_],
    corners: NDArray[np.int64],
    window: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(block, y, x) deviations from each block's mean times the window, 0 where not scored."""
    side = window.shape[0]
    made = np.zeros((len(corners), side, side))
    for number in range(len(corners)):
        row0, col0 = corners[number]
        n, total = 0, 0.0
        for row in range(side):
            known = scored[row0 + row, col0 : col0 + side]
            values = field[row0 + row, col0 : col0 + side]
            for col in range(side):
                if known[col]:
                    n += 1
                    total += np.float64(values[col])
        mean = total / n
        for row in range(side):
            known = scored[row0 + row, col0 : col0 + side]
            values = field[row0 + row, col0 : col0 + side]
            line = made[number, row]
            for col in range(side):
                if known[col]:
                    line[col] = (np.float64(values[col]) - mean) * window[row, col]
    return made


def _rings(side: int) -> NDArray[np.int64]:
    """(y, x) the rounded wavenumber of each place of a transform, side / 2 + 1 beyond the last."""
    cycles = np.fft.fftfreq(side, 1 / side)
    rounded = np.rint(np.hypot(cycles[:, None], cycles)).astype(np.int64)
    rings: NDArray[np.int64] = np.minimum(rounded, side // 2 + 1)
    return rings


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan
