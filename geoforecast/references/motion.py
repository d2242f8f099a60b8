"""The motion of a field: dense flow between consecutive steps, estimated once a raster.

The flow is scikit-image's iterative Lucas-Kanade on the whole raster, reduced to at most
360 pixels a side, so that every tile is moved by the same field. It counts where it was
seen, and by how much of the change it explains; elsewhere flow is that of the surroundings.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter
from skimage.registration import optical_flow_ilk

from geoforecast.raster.cube import Cube
from geoforecast.raster.grid import Tile

COARSE_PX = 360  # longest side that flow is estimated on
PIECE_PX = 1024  # side of what is read at once
RADIUS_PX = 15  # Lucas-Kanade window; 7 is noisier and 25 no better on real rain
PRESMOOTH_PX = 1.0
SMOOTH_PX = 4.0  # of the averaged flow, which otherwise tears cells apart
# Where nothing is seen, brightness and flow are those around: rest would look like an edge that
# stands still, and calm whatever moves beside it.
AROUND_PIXELS_PX = (2.0, 12.0, 40.0)
AROUND_FLOWS_PX = (SMOOTH_PX, 12.0, 40.0)
FAINT = 0.01
EXPLAINED_PX = 9.0  # about as wide as the Lucas-Kanade window
NO_CHANGE = 1e-6  # of the largest squared change: what is less is rounded
DISTRUST = 4  # power of the share of the Lucas-Kanade window that was seen
WEIGHTS = (0.5, 0.3, 0.2)  # of the flows of the last three pairs of steps, newest first
MAX_PX = 24.0  # largest believed motion a step on the coarse raster


Positions = tuple[NDArray[np.float64], NDArray[np.float64]]  # rows, columns
Weighted = tuple[NDArray[np.float32], NDArray[np.float32]]  # values, and weights of 0 to 1


@dataclass(frozen=True)
class Motion:
    """Displacement a step.

    Attributes:
        flow: (2, y, x) float64, rows and columns a step in full-resolution pixels, on the
            coarse raster.
        factor: full-resolution pixels in a coarse one, a side.
    """

    flow: NDArray[np.float64]
    factor: int
    _of_thread: threading.local = field(default_factory=threading.local, repr=False, compare=False)

    @property
    def largest_px(self) -> float:
        """The largest displacement a step along either axis, full-resolution pixels."""
        return float(np.abs(self.flow).max(initial=0.0))

    def at(
        self, rows: NDArray[np.float64], cols: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Displacement at full-resolution pixel positions of the whole raster."""
        y = (rows + 0.5) / self.factor - 0.5
        x = (cols + 0.5) / self.factor - 0.5
        return bilinear(self.flow[0], y, x), bilinear(self.flow[1], y, x)

    def path(self, origin: tuple[int, int], shape: tuple[int, int], steps: int) -> Positions:
        """Where each pixel of a rectangle was some steps ago, looking back step by step.

        Args:
            origin: row and column of its first pixel.
            shape: its rows and columns.
            steps: 1 or more. Shorter paths are kept for whoever asks next.
        """
        # One tile after the other in each thread: the last one's are enough.
        last: dict[Any, list[Positions]] = getattr(self._of_thread, "paths", {})
        if (origin, shape) not in last:
            sides = zip(origin, shape, strict=True)
            spans = [np.arange(start, start + size, dtype=np.float64) for start, size in sides]
            rows, cols = np.meshgrid(*spans, indexing="ij")
            last = self._of_thread.paths = {(origin, shape): [(rows, cols)]}
        found = last[origin, shape]
        while len(found) <= steps:
            rows, cols = found[-1]
            down, right = self.at(rows, cols)
            found.append((rows - down, cols - right))
        return found[steps]


def bilinear(
    image: NDArray[np.floating],
    rows: NDArray[np.float64],
    cols: NDArray[np.float64],
    origin: tuple[int, int] = (0, 0),
) -> NDArray[np.float64]:
    """Bilinear samples at absolute positions, edge pixels repeated outside.

    scipy.ndimage.map_coordinates takes positions relative to the array, whose rounding
    depends on where a tile starts; here the fraction is that of the absolute position, so
    that any tile gives the same bits.

    Args:
        image: (y, x), a part of the raster that begins at ``origin``.
        rows, cols: absolute pixel positions, centres at whole numbers.
        origin: row and column of the image's first pixel.
    """
    result = np.empty(rows.shape)
    _sample(image, rows, cols, *origin, result)
    return result


@numba.njit(nogil=True, cache=True)
def _sample(
    image: NDArray[np.floating],
    rows: NDArray[np.float64],
    cols: NDArray[np.float64],
    first_row: int,
    first_col: int,
    result: NDArray[np.float64],
) -> None:
    height, width = image.shape
    for i in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            row0, col0 = np.floor(rows[i, j]), np.floor(cols[i, j])
            dy, dx = rows[i, j] - row0, cols[i, j] - col0
            r, c = int(row0) - first_row, int(col0) - first_col
            r0, r1 = min(max(r, 0), height - 1), min(max(r + 1, 0), height - 1)
            c0, c1 = min(max(c, 0), width - 1), min(max(c + 1, 0), width - 1)
            top = image[r0, c0] * (1 - dx) + image[r0, c1] * dx
            bottom = image[r1, c0] * (1 - dx) + image[r1, c1] * dx
            result[i, j] = top * (1 - dy) + bottom * dy


@dataclass
class MotionSource:
    """Motion fields of a cube by init step, each pair of steps matched once.

    Several threads may ask, each for the steps of a tile of its own.

    Attributes:
        cube: the series.
        bands: numbers of the bands that are forecast.
        centre, scale: per band, how values become brightness: log1p(value / scale) where
            the band begins at 0, (value - centre) / scale elsewhere.
        zero_based: per band.
    """

    cube: Cube
    bands: Sequence[int]
    centre: Sequence[float]
    scale: Sequence[float]
    zero_based: Sequence[bool]
    _frames: dict[int, Weighted] = field(default_factory=dict)
    _flows: dict[int, Weighted] = field(default_factory=dict)
    _of_thread: threading.local = field(default_factory=threading.local, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def factor(self) -> int:
        return max(1, math.ceil(max(self.cube.grid.shape) / COARSE_PX))

    def at(self, init_step: int) -> Motion:
        """The motion known at a step: a weighted mean of the last three flows."""
        latest: tuple[int, Motion] | None = getattr(self._of_thread, "latest", None)
        if latest is None or latest[0] != init_step:
            with self._lock:
                latest = self._of_thread.latest = init_step, self._mean(init_step)
        return latest[1]

    def _mean(self, init_step: int) -> Motion:
        pairs = [step for step in range(init_step, init_step - len(WEIGHTS), -1) if step >= 1]
        height, width = (-(-side // self.factor) for side in self.cube.grid.shape)
        mean = np.zeros((2, height, width), dtype=np.float64)
        known = np.zeros((height, width), dtype=np.float64)
        total = sum(WEIGHTS[: len(pairs)])
        for weight, step in zip(WEIGHTS, pairs, strict=False):
            flow, trust = self._flow(step)
            mean += weight / total * flow * trust
            known += weight / total * trust
        smooth = np.stack([from_around(part, known, AROUND_FLOWS_PX) for part in mean])
        believed: NDArray[np.float64] = np.clip(smooth, -MAX_PX, MAX_PX) * self.factor
        return Motion(believed, self.factor)

    def _flow(self, step: int) -> Weighted:
        """(2, y, x) motion from the step before, and (y, x) how far it is to be trusted."""
        if step not in self._flows:
            (new, new_known), (old, old_known) = self._frame(step), self._frame(step - 1)
            known = np.minimum(new_known, old_known)
            if min(new.shape) < 8 or new.std() == 0 or old.std() == 0:
                flow = np.zeros((2, *new.shape), dtype=np.float32)
            else:
                # optical_flow_ilk answers where each pixel of `new` came from.
                radius = min(RADIUS_PX, (min(new.shape) - 1) // 2)
                back = optical_flow_ilk(new, old, radius=radius, dtype=np.float32)
                flow = np.nan_to_num(-back.astype(np.float32))
                share = uniform_filter(known, 2 * radius + 1, mode="nearest")
                known = known * explained(flow, new, old, known)
                known *= np.clip(share, 0, 1) ** DISTRUST
            known[(flow == 0).all(axis=0)] = 0  # which is said of what is flat
            self._flows[step] = np.clip(flow, -2 * MAX_PX, 2 * MAX_PX), known
        return self._flows[step]

    def _frame(self, step: int) -> Weighted:
        """One step's brightness on the coarse raster, and the share of each pixel that is valid.

        The last three are kept.
        """
        if step in self._frames:
            return self._frames[step]
        height, width = self.cube.grid.shape
        # Whole coarse pixels, and squares of about the same size however large the raster is.
        side = max(1, PIECE_PX // self.factor) * self.factor
        coarse = np.empty([-(-size // self.factor) for size in (height, width)], np.float32)
        known = np.empty_like(coarse)
        for row in range(0, height, side):
            for col in range(0, width, side):
                tile = Tile(row, min(row + side, height), col, min(col + side, width))
                values, valid = self.cube.read(step, step + 1, tile)
                made, share = self._coarse(values[0], valid[0])
                down, right = row // self.factor, col // self.factor
                place = np.s_[down : down + made.shape[0], right : right + made.shape[1]]
                coarse[place], known[place] = made, share
        if (known < 1).any():
            around = from_around(coarse * known, known, AROUND_PIXELS_PX)
            coarse = (known * coarse + (1 - known) * around).astype(np.float32)
        smooth: NDArray[np.float32] = gaussian_filter(coarse, PRESMOOTH_PX).astype(np.float32)
        self._frames[step] = smooth, known
        for old in [key for key in self._frames if key < step - 2]:
            del self._frames[old]
        return self._frames[step]

    def _coarse(self, values_BHW: NDArray[np.float32], valid_BHW: NDArray[np.bool_]) -> Weighted:
        """Mean brightness of the valid pixels of each coarse one, 0 of none, and their share."""
        factor = self.factor
        valid = np.logical_and.reduce([valid_BHW[band] for band in self.bands])
        total = np.zeros(valid.shape, np.float32)
        for index, band in enumerate(self.bands):
            raw = np.where(valid, values_BHW[band], np.float32(0))
            if self.zero_based[index]:
                bright = np.log1p(np.maximum(raw, 0) / self.scale[index])
            else:
                bright = (raw - self.centre[index]) / self.scale[index]
            total += np.where(valid, bright, np.float32(0))
        height, width = valid.shape
        beyond = ((0, -height % factor), (0, -width % factor))
        sums, shares = (
            np.pad(layer, beyond, mode="edge")
            .reshape((height + beyond[0][1]) // factor, factor, -1, factor)
            .mean(axis=(1, 3), dtype=np.float32)
            for layer in (total, valid)
        )
        return np.divide(sums, shares, out=sums, where=shares > 0), shares


def explained(
    flow: NDArray[np.floating],
    new: NDArray[np.floating],
    old: NDArray[np.floating],
    known: NDArray[np.floating],
) -> NDArray[np.float32]:
    """How much of what changed about each pixel the flow takes away, 0 to 1; 0 where nothing did.

    Where fields are flat, or change faster than they move, a flow can be found all the same, and
    carries them to where they never come.

    Args:
        flow: (2, y, x) pixels a step.
        new, old: (y, x) fields a step apart.
        known: (y, x) weights of 0 to 1.
    """
    rows, cols = np.indices(new.shape, dtype=np.float64)
    moved = bilinear(old, rows - flow[0], cols - flow[1])
    left, changed = (
        gaussian_filter(np.square(field - new) * known, EXPLAINED_PX, mode="nearest")
        for field in (moved, old.astype(np.float64))
    )
    changes = changed > NO_CHANGE * changed.max()
    share = np.divide(left, changed, out=np.ones(new.shape), where=changes)
    found: NDArray[np.float32] = np.clip(1 - share, 0, 1).astype(np.float32)
    return found


def from_around(
    sums: NDArray[np.floating], weights: NDArray[np.floating], widths_px: Sequence[float]
) -> NDArray[np.float64]:
    """Weighted means of what lies around each pixel: near, and further off where nothing is near.

    Args:
        sums: (y, x) values times their weights.
        weights: (y, x) 0 to 1.
        widths_px: of the Gaussians, each counting FAINT as much as the one before it.
    Returns:
        (y, x), 0 where no weight is in reach.
    Source:
        Knutsson & Westin (1993), Normalized and differential convolution, CVPR.
    """
    total, share = np.zeros(sums.shape), np.zeros(sums.shape)
    for number, width in enumerate(widths_px):
        total += FAINT**number * gaussian_filter(sums, width, mode="nearest", output=np.float64)
        share += FAINT**number * gaussian_filter(weights, width, mode="nearest", output=np.float64)
    return np.divide(total, share, out=np.zeros(sums.shape), where=share > 0)
