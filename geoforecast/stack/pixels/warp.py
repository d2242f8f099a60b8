"""One scene in one tile of the target: read, masked, warped, in physical units."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoforecast.errors import SceneError
from geoforecast.raster import area_kernels, kernels, wide_kernels
from geoforecast.raster.footprints import AREA_METHODS, window_for
from geoforecast.raster.geotiff import not_nodata
from geoforecast.raster.grid import Grid, Tile
from geoforecast.raster.resample import CoordinateMap, Floats, sample
from geoforecast.stack.inventory.scenes import MaskSource, SceneFile
from geoforecast.stack.pixels.sources import Lane
from geoforecast.stack.reading.readings import Reading, convert

KERNELS: dict[str, Callable[..., None]] = {
    "nearest": kernels.nearest,
    "bilinear": kernels.bilinear,
    "cubic": wide_kernels.cubic,
    "average": area_kernels.average,
    "mode": area_kernels.mode,
}
# Pixels times bands of one source window; a coarse target is cut until its windows fit.
WINDOW_PIXELS = 2**24
# From here on a target is so coarse that points of the source would be skipped. At twice the
# source bilinear skips none; a projection moves that by some per cent from scene to scene, and
# all scenes of a series must be resampled alike.
COARSE = 2.05


@dataclass(frozen=True)
class Bundle:
    """Bands of one acquisition that lie on one grid under one mask: warped together.

    Attributes:
        grid: of the sources.
        method: of resampling.
        parts: for each band: its file, its number there, its reading, its index in the cube.
    """

    grid: Grid
    method: str
    parts: tuple[tuple[SceneFile, int, Reading, int], ...]

    @property
    def bands(self) -> tuple[int, ...]:
        """Indices of the bands in what is read."""
        return tuple(index for *_, index in self.parts)


@dataclass(frozen=True)
class Warping:
    """What is needed to bring any scene of a plan to the cube's grid.

    Attributes:
        bands: names of all bands that are read, in order.
        dtype: of the values.
        resampling: --resampling.
        kind: --kind.
        maps: source grid -> its map.
        mask_maps: (source grid, mask grid) -> the map between them.
    """

    bands: tuple[str, ...]
    dtype: str
    resampling: str
    kind: str
    maps: Mapping[Grid, CoordinateMap]
    mask_maps: Mapping[tuple[Grid, Grid], CoordinateMap]

    def bundles(self, group: Sequence[SceneFile]) -> list[Bundle]:
        """The files of one time, those that can be warped together as one, in name order."""
        found: dict[Any, list[tuple[SceneFile, int, Reading, int]]] = {}
        for file in group:
            assert file.header is not None  # scenes of a plan have headers
            taken: set[int] = set()
            for band, number in file.bands.items():
                reading = file.readings[band]
                method = self.method(file.header.grid, reading)
                mask = file.mask
                key = (
                    *(file.header.grid, method, file.header.dtypes[number - 1]),
                    *((mask.header.path, mask.band) if mask else (None, 0)),
                    # Files with a mask of their own stand alone; so do twins of one band.
                    file.key if file.header.alpha or file.header.own_mask else "",
                )
                index = self.bands.index(band)
                taken.add(index)
                parts = found.setdefault(key, [])
                if any(other == index for *_, other in parts):
                    parts = found.setdefault((*key, file.key), [])
                parts.append((file, number, reading, index))
        return [
            Bundle(key[0], key[1], tuple(sorted(parts, key=lambda part: part[3])))
            for key, parts in found.items()
        ]

    def method(self, source: Grid, reading: Reading) -> str:
        """How a band of a source grid is resampled."""
        if reading.resampling in ("nearest", "mode") and self.resampling != "mode":
            return reading.resampling  # flags and classes: nothing lies between them
        if self.resampling != "auto":
            return self.resampling
        if self.kind == "categorical":
            return "nearest"
        if reading.resampling:
            return reading.resampling
        return "average" if self.maps[source].coarseness > COARSE else "bilinear"


@dataclass(frozen=True)
class Piece:
    """A part of a tile, and where it lies in a source.

    Attributes:
        tile: of the target.
        window: of the source.
        reach: of the source: what the whole lane needs in these rows, about.
        x, y: source coordinates of the tile's pixel centres, or corners.
    """

    tile: Tile
    window: Tile
    reach: Tile
    x: Floats
    y: Floats


@dataclass
class Places:
    """The pieces of one tile in each source grid, found once for all scenes on that grid.

    Attributes:
        warping: the maps.
        tile: of the target.
        cols: columns of the lane that it is part of.
    """

    warping: Warping
    tile: Tile
    cols: range
    _found: dict[tuple[Grid, str, int], list[Piece]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def pieces(self, grid: Grid, method: str, bands: int) -> list[Piece]:
        """Where the tile lies in a source; nothing if outside."""
        key = (grid, method, bands)
        with self._lock:
            if key not in self._found:
                way = self.warping.maps[grid]
                self._found[key] = _pieces(way, self.tile, self.cols, method, bands)
            return self._found[key]


def _pieces(way: CoordinateMap, tile: Tile, cols: range, method: str, bands: int) -> list[Piece]:
    x, y = way.corners(tile) if method in AREA_METHODS else way.at(tile)
    window = window_for(method, x, y, way.source.shape)
    if window is None:
        return []
    if window.shape[0] * window.shape[1] * bands > WINDOW_PIXELS and max(tile.shape) > 1:
        return [p for half in _halves(tile) for p in _pieces(way, half, cols, method, bands)]
    return [Piece(tile, window, _reach(way, tile, cols, window), x, y)]


def _reach(way: CoordinateMap, tile: Tile, cols: range, window: Tile) -> Tile:
    """The source rectangle of a tile's rows over a whole lane, from their upper and lower edge."""
    edges = (Tile(row, row + 1, cols.start, cols.stop) for row in (tile.row0, tile.row1 - 1))
    found = [window_for("bilinear", *way.at(edge), way.source.shape) for edge in edges]
    tiles = [window, *(tile for tile in found if tile is not None)]
    return Tile(
        min(t.row0 for t in tiles),
        max(t.row1 for t in tiles),
        min(t.col0 for t in tiles),
        max(t.col1 for t in tiles),
    )


def _halves(tile: Tile) -> tuple[Tile, Tile]:
    """A tile cut across its longer side."""
    high, wide = tile.shape
    if high >= wide:
        middle = (tile.row0 + tile.row1) // 2
        return (
            Tile(tile.row0, middle, tile.col0, tile.col1),
            Tile(middle, tile.row1, tile.col0, tile.col1),
        )
    middle = (tile.col0 + tile.col1) // 2
    return (
        Tile(tile.row0, tile.row1, tile.col0, middle),
        Tile(tile.row0, tile.row1, middle, tile.col1),
    )


def warp(
    warping: Warping,
    bundle: Bundle,
    places: Places,
    lane: Lane,
    values: NDArray[Any],
    valid: NDArray[np.bool_],
) -> bool:
    """Bring a bundle's bands to the target.

    Args:
        warping, places, lane: what is known of maps, of the tile, of the files.
        values: (band, y, x) of the tile; written where valid.
        valid: same shape, all False on entry.
    Returns:
        Whether the bundle reaches into the tile at all.
    Raises:
        SceneError: pixels cannot be decoded.
    """
    if warping.maps[bundle.grid].identity:
        tile = places.tile
        reach = Tile(tile.row0, tile.row1, places.cols.start, places.cols.stop)
        raw, usable, numbers = _numbers(warping, bundle, lane, tile, reach)
        kernels.copied(raw, usable, *numbers, values, valid)
        return True
    kernel = KERNELS[bundle.method]
    pieces = places.pieces(bundle.grid, bundle.method, len(bundle.parts))
    for piece in pieces:
        raw, usable, numbers = _numbers(warping, bundle, lane, piece.window, piece.reach)
        here = (slice(None), *piece.tile.within(places.tile))
        kernel(
            *(raw, usable, *numbers, piece.window.row0, piece.window.col0),
            *(*bundle.grid.shape, piece.x, piece.y, values[here], valid[here]),
        )
    return bool(pieces)


def blamed(bundle: Bundle, error: SceneError) -> list[SceneFile]:
    """The files of a bundle that cannot be used: those that are named, or all under the mask."""
    files = list({file.key: file for file, *_ in bundle.parts}.values())
    mask = files[0].mask
    if mask is not None and str(mask.header.path) in error.what:
        return files
    named = [file for file in files if str(file.path) in error.what]
    return named or files[:1]  # a name that is shown otherwise: one at a time


Numbers = tuple[Floats, Floats, Floats]  # nodata, scale, offset of each band


def _numbers(
    warping: Warping, bundle: Bundle, lane: Lane, window: Tile, reach: Tile
) -> tuple[NDArray[Any], NDArray[np.bool_], Numbers]:
    """Raw pixels of a window, their usability, and what makes them physical."""
    raw, usable = _decoded(bundle, lane, window, reach)
    file = bundle.parts[0][0]
    if file.mask is not None:
        usable = usable & _masked(warping, file, file.mask, lane, window, reach)
    usable = usable[None]
    readings = [reading for _, _, reading, _ in bundle.parts]
    if any(_needs_look(reading) for reading in readings):
        physical = any(reading.conversion for reading in readings)
        parts = [_looked_at(p, usable[0], r, physical) for p, r in zip(raw, readings, strict=True)]
        usable = np.stack([u for _, u in parts])
        if physical:
            raw = np.stack([p for p, _ in parts])
            return raw, usable, kernels.as_they_are(len(readings))
    kind = raw.dtype
    nodata = [_as_compared(r.nodata[0] if r.nodata else None, kind) for r in readings]
    scale, offset = [r.scale for r in readings], [r.offset for r in readings]
    if np.dtype(warping.dtype).kind in "iu":  # class codes stay as they are
        if kind.kind == "f":
            raw = np.rint(raw)
        scale, offset = [1.0] * len(readings), [0.0] * len(readings)
    return raw, usable, (np.array(nodata), np.array(scale), np.array(offset))


def _needs_look(reading: Reading) -> bool:
    """Whether a reading says more than a kernel can check along the way."""
    bounded = reading.low is not None or reading.high is not None
    return bool(reading.conversion) or bounded or len(reading.nodata) > 1


def _looked_at(
    raw: NDArray[Any], usable: NDArray[np.bool_], reading: Reading, physical: bool
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A band, in physical units if one of its bundle is converted, and its own usability."""
    usable = usable & np.logical_and.reduce([not_nodata(raw, n) for n in (None, *reading.nodata)])
    if reading.low is not None:
        usable &= raw >= reading.low
    if reading.high is not None:
        usable &= raw <= reading.high
    if not physical:
        return raw, usable
    values = np.where(usable, raw, raw.dtype.type(0)).astype(np.float32)
    values = values * np.float32(reading.scale) + np.float32(reading.offset)
    with np.errstate(all="ignore"):  # of pixels that are not usable, mostly
        values = convert(values, reading)
    return values, usable & np.isfinite(values)


def _as_compared(nodata: float | None, dtype: np.dtype[Any]) -> float:
    """A nodata value as the raster's own dtype holds it, so that 1e20 in float32 is found.

    NaN, which nothing equals, where the dtype cannot hold it.
    """
    if nodata is None or math.isnan(nodata):
        return math.nan
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return nodata if float(nodata).is_integer() and info.min <= nodata <= info.max else math.nan
    with np.errstate(over="ignore"):
        return float(dtype.type(nodata))


def _decoded(
    bundle: Bundle, lane: Lane, window: Tile, reach: Tile
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Raw pixels (band, y, x) and what the file's own mask leaves usable, (y, x)."""
    numbers: dict[str, list[int]] = {}
    for file, number, _, _ in bundle.parts:
        numbers.setdefault(file.key, []).append(number)
    files = {file.key: file for file, *_ in bundle.parts}
    sources = [
        (file.path, file.header, tuple(numbers[key]))
        for key, file in files.items()
        if file.header is not None
    ]
    raw, own = lane.read(sources, window, reach)
    order = [(key, number) for key, found in numbers.items() for number in found]
    wanted = [(file.key, number) for file, number, _, _ in bundle.parts]
    if order != wanted:
        raw = raw[[order.index(item) for item in wanted]]
    return raw, np.ones(window.shape, bool) if own is None else own


def _masked(
    warping: Warping, file: SceneFile, mask: MaskSource, lane: Lane, window: Tile, reach: Tile
) -> NDArray[np.bool_]:
    """Which pixels of a scene's window its mask leaves usable, by the nearest mask pixel."""
    assert file.header is not None
    way = warping.mask_maps[file.header.grid, mask.header.grid]
    shape = mask.header.grid.shape
    x, y = way.axes(window) if way.upright else way.at(window)
    needed = _axes_window(x, y, shape) if way.upright else window_for("nearest", x, y, shape)
    if needed is None:
        return np.zeros(window.shape, bool)
    # The halo lets clouds just outside the window grow into it.
    wide = needed.expanded(mask.rule.dilate, shape)
    far = wide
    if way.upright:
        far = _axes_window(*way.axes(reach), shape) or wide
        far = far.expanded(mask.rule.dilate, shape)
    raw, _ = lane.read([(mask.header.path, mask.header, (mask.band,))], wide, far)
    usable = mask.rule.usable(raw[0], mask.header.nodata[mask.band - 1])
    if way.upright:
        return _picked(usable, wide, shape, x, y)
    _, result = sample(usable.view(np.uint8), usable, wide, shape, x, y, bilinear=False)
    return result


def _axes_window(x: Floats, y: Floats, shape: tuple[int, int]) -> Tile | None:
    """The mask pixels nearest to columns at ``x``, (1, W), and rows at ``y``, (H, 1)."""
    spans = []
    for places, size in ((y, shape[0]), (x, shape[1])):
        nearest = np.floor(places + 0.5)
        inside = nearest[(nearest >= 0) & (nearest < size)]
        if inside.size == 0:
            return None
        spans += [int(inside.min()), int(inside.max()) + 1]
    return Tile(*spans)


def _picked(
    usable: NDArray[np.bool_], tile: Tile, shape: tuple[int, int], x: Floats, y: Floats
) -> NDArray[np.bool_]:
    """The nearest mask pixels where rows and columns of the two grids run alike.

    Args:
        usable: (h, w) of ``tile``.
        shape: of the whole mask.
        x, y: mask coordinates of the columns, (1, W), and of the rows, (H, 1).
    Returns:
        (H, W) bool, True = usable; False outside the mask.
    """
    cols = np.floor(x[0] + 0.5).astype(np.int64)
    rows = np.floor(y[:, 0] + 0.5).astype(np.int64)
    inside_x, inside_y = (cols >= 0) & (cols < shape[1]), (rows >= 0) & (rows < shape[0])
    cols = np.where(inside_x, cols, tile.col0) - tile.col0
    rows = np.where(inside_y, rows, tile.row0) - tile.row0
    result: NDArray[np.bool_] = usable.take(cols, axis=1).take(rows, axis=0)
    if not inside_x.all():
        result &= inside_x
    if not inside_y.all():
        result &= inside_y[:, None]
    return result
