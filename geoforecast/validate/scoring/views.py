"""What the report draws beyond scores: further maps, values against each other, kept frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from geoforecast.raster.grid import Tile
from geoforecast.samples.normaliser import BandStatistics
from geoforecast.validate.metrics.came import WIDER
from geoforecast.validate.metrics.ensemble import SIZE
from geoforecast.validate.scoring.frames import FramePlan, Frames
from geoforecast.validate.scoring.shown import Moment, moment

CELLS = 96  # a side, of forecast against observed values
LEAST_SHARE = 0.5  # of SSIM's window that must be scored for a pixel's similarity to count


@dataclass(frozen=True)
class Seen:
    """One band of a hindcast on one tile; (y, x) each, band units.

    Attributes:
        forecast, observed: NaN or anything where there is none.
        usable: True = ``observed`` is.
        scored: True = observed, and forecast by every method; finite there.
        reference: of the method that maps are drawn against; None if there is none.
        lower, upper: ends of the interval; None if there is none.
        likely: (size, y, x) equally likely values; None if there are none.
    """

    forecast: NDArray[Any]
    observed: NDArray[Any]
    usable: NDArray[np.bool_]
    scored: NDArray[np.bool_]
    reference: NDArray[Any] | None
    lower: NDArray[Any] | None
    upper: NDArray[Any] | None
    likely: NDArray[Any] | None


@dataclass(frozen=True)
class TileViews:
    """What one tile adds.

    Attributes:
        size: (lead, band, y, x) sum of the error's size over scored steps.
        similar, similar_n: sum of the structural similarity, and steps in which enough of the
            window around a pixel was scored.
        width, missed: sum of the interval's width, and steps outside it; without an interval
            (lead, band, 0, 0).
        cells: (lead, band, CELLS, CELLS) pixels by forecast and observed value.
        chances: (lead, band, threshold, 2, SIZE + 1) pixels where an event did not come and where
            it came, by how many of the equally likely values had it.
        frames: small copies.
        wanted: step of the test block whose pixels are kept, by (band, lead), from 0.
        kept: those pixels.
    """

    size: NDArray[np.float32]
    similar: NDArray[np.float32]
    similar_n: NDArray[np.int32]
    width: NDArray[np.float32]
    missed: NDArray[np.int32]
    cells: NDArray[np.int64]
    chances: NDArray[np.int64]
    frames: Frames
    wanted: Mapping[tuple[int, int], int]
    kept: dict[tuple[int, int], Moment]

    @staticmethod
    def empty(
        plan: FramePlan,
        tile: Tile,
        events: Sequence[Sequence[float]],
        *,
        bounded: bool,
        wanted: Mapping[tuple[int, int], int],
    ) -> TileViews:
        """Nothing yet.

        Args:
            plan: what is kept of frames.
            tile: the part.
            events: thresholds of each band.
            bounded: whether there is an interval.
            wanted: step of the test block whose pixels are kept, by (band, lead), from 0.
        """
        layers = (plan.leads, plan.bands)
        maps = (*layers, *tile.shape)
        ends = maps if bounded else (*layers, 0, 0)
        most = max(map(len, events), default=0)
        return TileViews(
            size=np.zeros(maps, np.float32),
            similar=np.zeros(maps, np.float32),
            similar_n=np.zeros(maps, np.int32),
            width=np.zeros(ends, np.float32),
            missed=np.zeros(ends, np.int32),
            cells=np.zeros((*layers, CELLS, CELLS), np.int64),
            chances=np.zeros((*layers, most, 2, SIZE + 1), np.int64),
            frames=Frames(plan, tile),
            wanted=wanted,
            kept={},
        )

    def see(
        self,
        at: tuple[int, int, int],
        seen: Seen,
        statistics: BandStatistics,
        events: Sequence[float],
    ) -> None:
        """One band of one hindcast.

        Args:
            at: step of the test block, lead and band, from 0.
            seen: what was forecast, and what came.
            statistics: of the band, in training.
            events: thresholds of the band, band units.
        """
        step, lead, band = at
        own, nothing = seen.scored, np.float32(np.nan)
        add_sizes(own, seen.forecast, seen.observed, self.size[lead, band])
        self.cells[lead, band] += count_cells(seen.forecast, seen.observed, own, statistics)
        if seen.lower is not None and seen.upper is not None:
            low, high = seen.lower[own], seen.upper[own]
            self.width[lead, band][own] += high - low
            observed = seen.observed[own]
            self.missed[lead, band][own] += (observed < low) | (observed > high)
        if seen.likely is not None:
            for number, threshold in enumerate(events):
                self.chances[lead, band, number] += count_likely(seen, np.float32(threshold))
        came = np.where(seen.usable, seen.observed, nothing)
        self.frames.keep(step, lead, band, (came, seen.forecast))
        if self.wanted.get((band, lead)) == step:
            self.kept[band, lead] = moment(seen.forecast, seen.observed, seen.usable, own)
        if lead == 0:
            scored = np.where(own, seen.observed, nothing)
            courses = (scored, seen.forecast, seen.lower, seen.upper, seen.reference)
            self.frames.follow(step, band, courses)

    def see_similarity(
        self,
        at: tuple[int, int],
        similarity: NDArray[np.floating],
        scored: NDArray[np.bool_],
        own: tuple[slice, slice],
        window: int,
    ) -> None:
        """The structural similarity around each pixel of one band of one hindcast.

        Args:
            at: lead and band, from 0.
            similarity: (y, x) of the tile.
            scored: (y, x) bool, of the tile and half a window around it where the raster goes on.
            own: the tile within that.
            window: side of the window, pixels.
        """
        counted = scored[own] & (window_share(scored, window)[own] >= LEAST_SHARE)
        total = self.similar[at]
        np.add(total, similarity, out=total, where=counted, casting="same_kind")
        self.similar_n[at] += counted


class Views:
    """What all tiles added, but for the maps, which are written as they come.

    Args:
        plan: what is kept of frames.
        events: thresholds of each band.
    """

    def __init__(self, plan: FramePlan, events: Sequence[Sequence[float]]) -> None:
        layers = (plan.leads, plan.bands)
        self.events = tuple(map(tuple, events))
        self.frames = Frames(plan)
        self.cells: NDArray[np.int64] = np.zeros((*layers, CELLS, CELLS), np.int64)
        most = max(map(len, events), default=0)
        self.chances: NDArray[np.int64] = np.zeros((*layers, most, 2, SIZE + 1), np.int64)

    def add(self, tile: Tile, part: TileViews) -> None:
        """Take over what a tile added."""
        self.frames.add(tile, part.frames)
        self.cells += part.cells
        self.chances += part.chances


def cell_edges(statistics: BandStatistics) -> tuple[float, float]:
    """Lowest and highest value of the cells, band units: the training range, widened a little."""
    low, high = statistics.minimum, statistics.maximum
    if not high > low:
        return low - 1, low + 1
    margin = WIDER * (high - low)
    return low - margin, high + margin


def count_cells(
    forecast: NDArray[Any],
    observed: NDArray[Any],
    scored: NDArray[np.bool_],
    statistics: BandStatistics,
) -> NDArray[np.int64]:
    """(CELLS, CELLS) pixels by forecast and by observed value; beyond the edges in the last ones.

    Args:
        forecast, observed: (y, x) band units, finite where scored.
        scored: (y, x) bool.
        statistics: of the band, in training.
    """
    low, high = cell_edges(statistics)
    cells = np.zeros((CELLS, CELLS), np.int64)
    _count_cells(forecast, observed, scored, low, CELLS / (high - low), cells)
    return cells


@numba.njit(cache=True, nogil=True)
def _count_cells(
    forecast: Any, observed: Any, scored: Any, low: float, scale: float, cells: Any
) -> None:
    most = np.float64(cells.shape[0] - 1)
    for row in range(scored.shape[0]):
        for col in range(scored.shape[1]):
            if scored[row, col]:
                f = (np.float64(forecast[row, col]) - low) * scale
                o = (np.float64(observed[row, col]) - low) * scale
                cells[int(min(max(f, 0.0), most)), int(min(max(o, 0.0), most))] += 1


@numba.njit(cache=True, nogil=True)
def add_sizes(scored: Any, forecast: Any, observed: Any, total: Any) -> None:
    """Add the error's size where scored; (y, x) each."""
    for row in range(scored.shape[0]):
        for col in range(scored.shape[1]):
            if scored[row, col]:
                total[row, col] += abs(forecast[row, col] - observed[row, col])


def count_likely(seen: Seen, threshold: np.float32) -> NDArray[np.int64]:
    """(2, SIZE + 1) scored pixels where an event did not come and came, by how many values had it.

    Both are rounded as pixels are, to float32.
    """
    assert seen.likely is not None
    said = (seen.likely[:, seen.scored].astype(np.float32) >= threshold).sum(axis=0)
    came = seen.observed[seen.scored] >= threshold
    flat = np.bincount(came * (SIZE + 1) + said, minlength=2 * (SIZE + 1))
    return flat.reshape(2, SIZE + 1)


def window_share(scored: NDArray[np.bool_], window: int) -> NDArray[np.float64]:
    """(y, x) how much of the square around each pixel is scored; beyond the raster nothing counts.

    Integer sums: the same to the bit wherever a tile begins.
    """
    share: NDArray[np.float64] = _window_share(scored, window // 2)
    return share


@numba.njit(cache=True, nogil=True)
def _window_share(scored: Any, half: int) -> Any:
    height, width = scored.shape
    share = np.empty((height, width))
    down = np.zeros(width, np.int64)  # scored pixels of each column within the window's rows
    for row in range(min(half, height)):
        for col in range(width):
            down[col] += scored[row, col]
    for row in range(height):
        if row + half < height:
            for col in range(width):
                down[col] += scored[row + half, col]
        if row - half > 0:
            for col in range(width):
                down[col] -= scored[row - half - 1, col]
        rows = min(row + half, height - 1) - max(row - half, 0) + 1
        count = 0
        for col in range(min(half, width)):
            count += down[col]
        for col in range(width):
            if col + half < width:
                count += down[col + half]
            if col - half > 0:
                count -= down[col - half - 1]
            cols = min(col + half, width - 1) - max(col - half, 0) + 1
            share[row, col] = count / (rows * cols)
    return share
