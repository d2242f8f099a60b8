"""One pass over the cube's overview: everything that the report measures or draws from it.

The full cube is never read: the overview has at most some 256 pixels a side, and blocks of
steps keep memory flat however long the series is.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoforecast.raster.cube import Cube, Overview
from geoforecast.raster.measures import COUNT, HIGH, LOW, M2, MEAN

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
BINS = 48
FEWEST_FOR_EDGES = 8
MAX_CLASSES = 24  # further classes are counted together
BLOCK_VALUES = 8_000_000  # of the overview held at once: 32 MB
SAMPLE_VALUES = 4_000_000  # of all steps at few pixels, for the comparison of steps
SAMPLE_SIDE = 64
BEST_STEPS = 4  # those with most valid pixels; they choose where alignment looks
MAX_THUMBNAILS = 120
THUMBNAIL_PIXELS = 480_000  # of all thumbnails together: the report stays below 3 MB
LARGEST_THUMBNAIL, SMALLEST_THUMBNAIL = 96, 48

Float = NDArray[np.float32]
Double = NDArray[np.float64]


@dataclass(frozen=True)
class Survey:
    """What one pass found.

    Attributes:
        stride: full-resolution pixels between those of the overview.
        statistics: (time, band, 5), exact: see Cube.step_statistics.
        quantiles: (time, band, 5) at QUANTILES; NaN where nothing is valid.
        edges: of each band's histogram, ascending; of class codes the codes themselves.
        counts: each band's (time, bin) histogram over the overview; values beyond the edges
            are in the outermost bins, of classes those beyond the last one in the last.
        at_lowest, at_highest: (time, band) overview pixels at the band's extreme values.
        coverage: (y', x') share of the steps in which all bands are valid.
        sample: (time, band, y'', x'') few pixels of all steps.
        digests: of each step's overview; "" where nothing is valid.
        best: (step, band, y', x') overview of the steps with most valid pixels.
        thumbnails: step -> (band, y, x).
    """

    stride: int
    statistics: Double
    quantiles: Double
    edges: tuple[Double, ...]
    counts: tuple[NDArray[np.int64], ...]
    at_lowest: NDArray[np.int64]
    at_highest: NDArray[np.int64]
    coverage: Double
    sample: Float
    digests: tuple[str, ...]
    best: Float
    thumbnails: dict[int, Float]

    @property
    def valid(self) -> Double:
        """(time, band) valid pixels at full resolution."""
        return np.nan_to_num(self.statistics[..., COUNT])

    @property
    def low(self) -> Double:
        """(band,) least value; NaN if none is valid."""
        return _over_time(np.fmin, self.statistics[..., LOW])

    @property
    def high(self) -> Double:
        """(band,) greatest value; NaN if none is valid."""
        return _over_time(np.fmax, self.statistics[..., HIGH])


def survey_cube(cube: Cube) -> Survey:
    """Measure a cube from its step statistics and its overview."""
    overview = cube.overview()
    statistics = np.asarray(cube.step_statistics(), np.float64)
    steps, bands = cube.shape[:2]
    height, width = (-(-side // overview.stride) for side in cube.grid.shape)
    low = _over_time(np.fmin, statistics[..., LOW])
    high = _over_time(np.fmax, statistics[..., HIGH])
    categorical = cube.kind == "categorical"
    edges = [] if categorical else [_edges(statistics[:, b]) for b in range(bands)]
    quantiles = np.full((steps, bands, len(QUANTILES)), np.nan)
    counts = [np.zeros((steps, BINS), np.int64) for _ in edges]
    classes: list[list[dict[float, int]]] = [[] for _ in range(bands)]
    at_lowest, at_highest = np.zeros((2, steps, bands), np.int64)
    coverage = np.zeros((height, width))
    thin = _thinning((height, width), _sample_side(steps * bands))
    sample = np.empty((steps, bands, *coverage[thin].shape), np.float32)
    digests: list[str] = []
    filled = np.flatnonzero(np.nan_to_num(statistics[..., COUNT]).sum(axis=1) > 0)
    chosen = evenly(filled, MAX_THUMBNAILS)
    every = _thinning((height, width), _thumbnail_side(len(chosen)))
    thumbnails: dict[int, Float] = {}
    by_count = np.argsort(-np.nan_to_num(statistics[..., COUNT]).sum(axis=1), kind="stable")
    best_steps = sorted(int(step) for step in by_count[:BEST_STEPS])
    best = np.empty((len(best_steps), bands, height, width), np.float32)
    for first, block in _blocks(overview, steps, bands * height * width):
        last = first + len(block)
        coverage += np.isfinite(block).all(axis=1).sum(axis=0)
        sample[first:last] = block[(..., *thin)]
        digests += [_digest(step) for step in block]
        for step in chosen[(chosen >= first) & (chosen < last)]:
            thumbnails[int(step)] = block[(step - first, slice(None), *every)].copy()
        for number, step in enumerate(best_steps):
            if first <= step < last:
                best[number] = block[step - first]
        ordered = np.sort(block.reshape(len(block), bands, -1), axis=-1)  # NaN last
        for row, band in np.ndindex(len(block), bands):
            values = ordered[row, band]
            values = values[: np.searchsorted(values, np.inf, side="right")]
            step = first + row
            quantiles[step, band] = _quantiles(values)
            at_lowest[step, band] = np.searchsorted(values, low[band], side="right")
            at_highest[step, band] = values.size - np.searchsorted(values, high[band])
            if categorical:
                codes, times = np.unique(values, return_counts=True)
                classes[band].append(dict(zip(codes.tolist(), times.tolist(), strict=True)))
            else:
                inner = np.searchsorted(values, edges[band][1:-1].astype(np.float32))
                counts[band][step] = np.diff(inner, prepend=0, append=values.size)
    if categorical:
        found = [_class_counts(rows) for rows in classes]
        edges, counts = [codes for codes, _ in found], [table for _, table in found]
    return Survey(
        stride=overview.stride,
        statistics=statistics,
        quantiles=quantiles,
        edges=tuple(edges),
        counts=tuple(counts),
        at_lowest=at_lowest,
        at_highest=at_highest,
        coverage=coverage / steps,
        sample=sample,
        digests=tuple(digests),
        best=best,
        thumbnails=thumbnails,
    )


def evenly(items: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """At most so many of some items, evenly spread, the first and the last among them."""
    if items.size <= most:
        return items
    return items[np.linspace(0, items.size - 1, most).round().astype(np.int64)]


def _blocks(overview: Overview, steps: int, values: int) -> Iterator[tuple[int, Float]]:
    """First step and (time, band, y', x') of blocks of steps; multiples of eight if possible,
    which is how deep chunks are."""
    size = max(1, BLOCK_VALUES // max(1, values))
    size = size // 8 * 8 or size
    for first in range(0, steps, size):
        yield first, np.asarray(overview.read(first, min(first + size, steps)), np.float32)


def _over_time(extreme: np.ufunc, values: Double) -> Double:
    return np.asarray(extreme.reduce(values, axis=0), np.float64)


def _edges(statistics: Double) -> Double:
    """Edges of a band's histogram that few strange steps do not stretch.

    They reach from the 5th to the 95th percentile over the steps of mean -+ 3.5 standard
    deviations (of few steps: from the least to the greatest), and never beyond the values
    there are.
    """
    known = statistics[np.nan_to_num(statistics[:, COUNT]) > 0]
    if len(known) == 0:
        return np.linspace(0.0, 1.0, BINS + 1)
    deviation = np.sqrt(known[:, M2] / known[:, COUNT])
    share = 5 if len(known) >= FEWEST_FOR_EDGES else 0
    lower, upper = known[:, MEAN] - 3.5 * deviation, known[:, MEAN] + 3.5 * deviation
    # A percentile between two steps would still be torn along by a single strange one.
    low = max(known[:, LOW].min(), np.percentile(lower, share, method="higher"))
    high = min(known[:, HIGH].max(), np.percentile(upper, 100 - share, method="lower"))
    if not high > low:
        pad = abs(low) * 0.01 or 0.5
        low, high = low - pad, low + pad
    return np.linspace(low, high, BINS + 1)


def _quantiles(values: Float) -> Double:
    """Of ascending values, linear between neighbours, as numpy.quantile does by default."""
    if values.size == 0:
        return np.full(len(QUANTILES), np.nan)
    place = np.array(QUANTILES) * (values.size - 1)
    below = place.astype(np.int64)
    above = np.minimum(below + 1, values.size - 1)
    low, high = values[below].astype(np.float64), values[above].astype(np.float64)
    return np.asarray(low + (high - low) * (place - below))


def _class_counts(rows: Sequence[dict[float, int]]) -> tuple[Double, NDArray[np.int64]]:
    """Codes, commonest kept if there are many, and (time, code) counts."""
    total: dict[float, int] = {}
    for row in rows:
        for code, count in row.items():
            total[code] = total.get(code, 0) + count
    common = sorted(sorted(total), key=lambda code: -total[code])[:MAX_CLASSES]
    codes = sorted(common)
    table = np.array([[row.get(code, 0) for code in codes] for row in rows], np.int64)
    table = table.reshape(len(rows), len(codes))
    rest = np.array([sum(row.values()) for row in rows]) - table.sum(axis=1)
    if rest.any():
        return np.array([*codes, np.inf]), np.column_stack([table, rest])
    return np.array(codes), table


def _digest(step: Float) -> str:
    """A hash of a step's values and of where they are valid; "" if none is."""
    seen = np.isfinite(step)
    if not seen.any():
        return ""
    values = np.where(seen, step, np.float32(np.nan))  # one kind of NaN
    return hashlib.blake2b(values.tobytes(), digest_size=16).hexdigest()


def _thinning(shape: tuple[int, int], side: int) -> tuple[slice, slice]:
    """Slices that leave at most ``side`` rows and columns, each axis by itself, so that a flat
    raster keeps its rows."""
    rows, cols = (slice(None, None, max(1, -(-length // side))) for length in shape)
    return rows, cols


def _sample_side(layers: int) -> int:
    return min(SAMPLE_SIDE, math.isqrt(max(16, SAMPLE_VALUES // max(1, layers))))


def _thumbnail_side(number: int) -> int:
    side = math.isqrt(THUMBNAIL_PIXELS // max(1, number))
    return min(LARGEST_THUMBNAIL, max(SMALLEST_THUMBNAIL, side))
