"""The motion of a field: dense flow between consecutive steps, estimated once a raster.

The flow is scikit-image's iterative Lucas-Kanade on the whole raster, reduced to at most
360 pixels a side, so that every tile is moved by the same field.
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
from scipy.ndimage import gaussian_filter
from skimage.registration import optical_flow_ilk

from geoforecast.raster.cube import Cube
from geoforecast.raster.grid import Tile

COARSE_PX = 360  # longest side that flow is estimated on
PIECE_PX = 1024  # side of what is read at once
RADIUS_PX = 15  # Lucas-Kanade window; 7 is noisier and 25 no better on real rain
PRESMOOTH_PX = 1.0
SMOOTH_PX = 4.0  # of the averaged flow, which otherwise tears cells apart
WEIGHTS = (0.5, 0.3, 0.2)  # of the flows of the last three pairs of steps, newest first
MAX_PX = 24.0  # largest believed motion a step on the coarse raster


Positions = tuple[NDArray[np.float64], NDArray[np.float64]]  # rows, columns


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
    _frames: dict[int, NDArray[np.float32]] = field(default_factory=dict)
    _flows: dict[int, NDArray[np.float32]] = field(default_factory=dict)
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
        total = sum(WEIGHTS[: len(pairs)])
        for weight, step in zip(WEIGHTS, pairs, strict=False):
            mean += weight / total * self._flow(step)
        smooth = np.stack([gaussian_filter(part, SMOOTH_PX, mode="nearest") for part in mean])
        flow = np.clip(smooth, -MAX_PX, MAX_PX) * self.factor
        return Motion(flow, self.factor)

    def _flow(self, step: int) -> NDArray[np.float32]:
        if step not in self._flows:
            new, old = self._frame(step), self._frame(step - 1)
            if min(new.shape) < 8 or new.std() == 0 or old.std() == 0:
                flow = np.zeros((2, *new.shape), dtype=np.float32)
            else:
                # optical_flow_ilk answers where each pixel of `new` came from.
                radius = min(RADIUS_PX, (min(new.shape) - 1) // 2)
                back = optical_flow_ilk(new, old, radius=radius, dtype=np.float32)
                flow = np.nan_to_num(-back.astype(np.float32))
            self._flows[step] = np.clip(flow, -2 * MAX_PX, 2 * MAX_PX)
        return self._flows[step]

    def _frame(self, step: int) -> NDArray[np.float32]:
        """One step's brightness on the coarse raster; the last three are kept."""
        if step in self._frames:
            return self._frames[step]
        height, width = self.cube.grid.shape
        # Whole coarse pixels, and squares of about the same size however large the raster is.
        side = max(1, PIECE_PX // self.factor) * self.factor
        coarse = np.empty([-(-size // self.factor) for size in (height, width)], np.float32)
        for row in range(0, height, side):
            for col in range(0, width, side):
                tile = Tile(row, min(row + side, height), col, min(col + side, width))
                values, valid = self.cube.read(step, step + 1, tile)
                made = self._coarse(values[0], valid[0])
                down, right = row // self.factor, col // self.factor
                coarse[down : down + made.shape[0], right : right + made.shape[1]] = made
        smooth = gaussian_filter(coarse, PRESMOOTH_PX)
        frame: NDArray[np.float32] = smooth.astype(np.float32)
        self._frames[step] = frame
        for old in [key for key in self._frames if key < step - 2]:
            del self._frames[old]
        return frame

    def _coarse(
        self, values_BHW: NDArray[np.float32], valid_BHW: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        factor = self.factor
        total = None
        for index, band in enumerate(self.bands):
            # Invalid pixels take the band's resting value: 0, or the mean.
            rest = 0.0 if self.zero_based[index] else self.centre[index]
            raw = np.where(valid_BHW[band], values_BHW[band], np.float32(rest))
            if self.zero_based[index]:
                bright = np.log1p(np.maximum(raw, 0) / self.scale[index])
            else:
                bright = (raw - self.centre[index]) / self.scale[index]
            total = bright if total is None else total + bright
        assert total is not None  # a cube has at least one band
        height, width = total.shape
        padded = np.pad(total, ((0, -height % factor), (0, -width % factor)), mode="edge")
        blocks = padded.reshape(padded.shape[0] // factor, factor, -1, factor)
        means: NDArray[np.float32] = blocks.mean(axis=(1, 3), dtype=np.float32)
        return means
