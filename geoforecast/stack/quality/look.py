"""Where alignment is measured: which steps, band and full-resolution windows.

Texture shows shifts, so windows are the places with the strongest texture that are valid
most of the time, and the band is the one whose texture persists from scene to scene best.
All of it is judged on the overview.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from geoforecast.raster.cube import CHUNK_PX
from geoforecast.raster.grid import Tile
from geoforecast.stack.quality.survey import Survey, evenly

MAX_STEPS = 60
MAX_WINDOWS = 2
LEAST_FRACTION = 0.05
STRONGEST = 95  # percentile: stronger edges, such as a cloud's, count no more than this

Gradients = tuple[NDArray[np.float32], NDArray[np.float32]]


def choose_steps(valid_fraction: NDArray[np.float64]) -> list[int]:
    """At most MAX_STEPS steps, evenly spread over those with enough valid pixels.

    Args:
        valid_fraction: (time,) share of the raster.
    """
    enough = np.flatnonzero(valid_fraction >= LEAST_FRACTION)
    return [int(step) for step in evenly(enough, MAX_STEPS)]


def choose_band(survey: Survey) -> int:
    """The band whose gradients agree best between the steps with most valid pixels."""
    scores = []
    for band in range(survey.best.shape[1]):
        fields = [_gradients(scene) for scene in survey.best[:, band]]
        found = [_agreement(first, second) for first, second in pairwise(fields)]
        scores.append(float(np.mean(found)) if found else 0.0)
    return int(np.argmax(scores))


def choose_windows(survey: Survey, band: int, shape: tuple[int, int]) -> list[Tile]:
    """At most MAX_WINDOWS windows of one chunk's size, that with most texture first.

    Args:
        survey: what was measured.
        band: whose texture counts.
        shape: of the grid, pixels.
    """
    texture = _texture(survey, band)
    height, width = (min(CHUNK_PX, side) for side in shape)
    scored: dict[Tile, float] = {}
    for row in range(0, shape[0], CHUNK_PX):
        for col in range(0, shape[1], CHUNK_PX):
            top, left = min(row, shape[0] - height), min(col, shape[1] - width)
            tile = Tile(top, top + height, left, left + width)
            seen = (
                slice(-(-tile.row0 // survey.stride), -(-tile.row1 // survey.stride)),
                slice(-(-tile.col0 // survey.stride), -(-tile.col1 // survey.stride)),
            )
            if texture[seen].size:
                scored[tile] = float(texture[seen].mean() * survey.coverage[seen].mean())
    chosen: list[Tile] = []
    for tile in sorted(scored, key=lambda tile: -scored[tile]):
        if len(chosen) < MAX_WINDOWS and not any(_overlap(tile, other) for other in chosen):
            chosen.append(tile)
    return [tile for tile in chosen if scored[tile] > 0] or chosen[:1]


def _overlap(tile: Tile, other: Tile) -> bool:
    """At the far edges windows are moved inwards, and may share more than half of their rows
    and columns with another."""
    rows = min(tile.row1, other.row1) - max(tile.row0, other.row0)
    cols = min(tile.col1, other.col1) - max(tile.col0, other.col0)
    area = tile.shape[0] * tile.shape[1]
    return rows > 0 and cols > 0 and rows * cols > area / 2


def _texture(survey: Survey, band: int) -> NDArray[np.float64]:
    """(y', x') mean size of the gradients of the best steps; 0 where none is known."""
    sizes = np.stack([np.hypot(*_gradients(scene)) for scene in survey.best[:, band]])
    known = np.isfinite(sizes)
    if not known.any():
        return np.zeros(survey.coverage.shape)
    strongest = np.percentile(sizes[known], STRONGEST)
    if strongest > 0:
        sizes = np.minimum(sizes, strongest)
    total = np.where(known, sizes, 0).sum(axis=0, dtype=np.float64)
    return np.asarray(total / np.maximum(known.sum(axis=0), 1))


def _gradients(scene: NDArray[np.float32]) -> Gradients:
    """Differences to the next column and row, (y, x) each; NaN at the far edges."""
    dx, dy = np.full((2, *scene.shape), np.nan, np.float32)
    dx[:, :-1] = np.diff(scene, axis=1)
    dy[:-1] = np.diff(scene, axis=0)
    return dx, dy


def _agreement(first: Gradients, second: Gradients) -> float:
    """Correlation of two gradient fields where both are known; 0 if it has no value."""
    product = energy_first = energy_second = 0.0
    for a, b in zip(first, second, strict=True):
        both = np.isfinite(a) & np.isfinite(b)
        x, y = a[both].astype(np.float64), b[both].astype(np.float64)
        # Not as dot products: BLAS would wake its threads, which then wait busily.
        product += float((x * y).sum())
        energy_first += float((x * x).sum())
        energy_second += float((y * y).sum())
    scale = (energy_first * energy_second) ** 0.5
    return product / scale if scale > 0 else 0.0
