"""One scene in one tile of the target: read, masked, warped, in physical units."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoforecast.errors import SceneError
from geoforecast.raster import area_kernels, bilinear, kernels, wide_kernels
from geoforecast.raster.footprints import AREA_METHODS, window_for
from geoforecast.raster.geotiff import not_nodata
from geoforecast.raster.grid import Grid, Tile
from geoforecast.raster.resample import CoordinateMap, Floats
from geoforecast.stack.inventory.scenes import SceneFile
from geoforecast.stack.pixels.masked import masked
from geoforecast.stack.pixels.sources import Lane
from geoforecast.stack.reading.readings import Reading, convert

KERNELS: dict[str, Callable[..., None]] = {
    "nearest": kernels.nearest,
    "bilinear": bilinear.bilinear,
    "cubic": wide_kernels.cubic,
    "average": area_kernels.average,
    "mode": area_kernels.mode,
}
# Pixels times bands of one source window; a coarse target is cut until its windows fit.
WINDOW_PIXELS = 2**22
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
        values, valid: (band, y, x) of the tile; every pixel is written: NaN, or 0 in
            integers, where nothing is valid.
    Returns:
        Whether the bundle reaches into the tile at all.
    Raises:
        SceneError: pixels cannot be decoded.
    """
    shift = warping.maps[bundle.grid].shift
    if shift is not None:  # all methods give the pixel itself
        return _copy(warping, bundle, places, lane, shift, values, valid)
    kernel = KERNELS[bundle.method]
    pieces = places.pieces(bundle.grid, bundle.method, len(bundle.parts))
    if sum(math.prod(piece.tile.shape) for piece in pieces) < math.prod(places.tile.shape):
        kernels.clear(values, valid)
    for piece in pieces:
        raw, usable, numbers = _numbers(warping, bundle, lane, piece.window, piece.reach)
        here = (slice(None), *piece.tile.within(places.tile))
        kernel(
            *(raw, usable, numbers, piece.window.row0, piece.window.col0),
            *(*bundle.grid.shape, piece.x, piece.y, values[here], valid[here]),
        )
    return bool(pieces)


def _copy(
    warping: Warping,
    bundle: Bundle,
    places: Places,
    lane: Lane,
    shift: tuple[int, int],
    values: NDArray[Any],
    valid: NDArray[np.bool_],
) -> bool:
    """``warp`` where target and source pixels coincide, ``shift`` rows and columns apart."""
    tile = places.tile
    window = _shifted(tile, shift, bundle.grid.shape)
    if window is None:
        kernels.clear(values, valid)
        return False
    line = Tile(tile.row0, tile.row1, places.cols.start, places.cols.stop)
    reach = _shifted(line, shift, bundle.grid.shape) or window
    raw, usable, numbers = _numbers(warping, bundle, lane, window, reach)
    place = window.row0 - tile.row0 - shift[0], window.col0 - tile.col0 - shift[1]
    kernels.copied(raw, usable, numbers, *place, values, valid)
    return True


def _shifted(tile: Tile, shift: tuple[int, int], shape: tuple[int, int]) -> Tile | None:
    """A tile in the pixels of a source of some shape; None if it lies beyond it."""
    rows, cols = shift
    moved = Tile(
        max(tile.row0 + rows, 0),
        min(tile.row1 + rows, shape[0]),
        max(tile.col0 + cols, 0),
        min(tile.col1 + cols, shape[1]),
    )
    return moved if moved.row0 < moved.row1 and moved.col0 < moved.col1 else None


def blamed(bundle: Bundle, error: SceneError) -> list[SceneFile]:
    """The files of a bundle that cannot be used: those that are named, or all under the mask."""
    files = list({file.key: file for file, *_ in bundle.parts}.values())
    mask = files[0].mask
    if mask is not None and str(mask.header.path) in error.what:
        return files
    named = [file for file in files if str(file.path) in error.what]
    return named or files[:1]  # a name that is shown otherwise: one at a time


def _numbers(
    warping: Warping, bundle: Bundle, lane: Lane, window: Tile, reach: Tile
) -> tuple[NDArray[Any], NDArray[np.bool_], Floats]:
    """Raw pixels of a window, their usability, and the numbers that kernels take with them."""
    raw, usable = _decoded(bundle, lane, window, reach)
    file = bundle.parts[0][0]
    if file.mask is not None:
        way = warping.mask_maps[bundle.grid, file.mask.header.grid]
        usable = usable & masked(way, file.mask, lane, window, reach)
    usable = usable[None]
    readings = [reading for _, _, reading, _ in bundle.parts]
    codes = np.dtype(warping.dtype).kind in "iu"  # of classes: they stay as they are
    rounded = codes and raw.dtype.kind == "f"
    if any(_needs_look(reading, rounded) for reading in readings):
        physical = any(reading.conversion for reading in readings)
        parts = [_looked_at(p, usable[0], r, physical) for p, r in zip(raw, readings, strict=True)]
        usable = np.stack([u for _, u in parts])
        if physical:
            raw = np.stack([p for p, _ in parts])
            return raw, usable, kernels.as_they_are(len(readings))
        readings = [replace(reading, low=None, high=None) for reading in readings]
    if rounded:
        raw = np.rint(raw)
    return raw, usable, np.array([_five(reading, raw.dtype, codes) for reading in readings])


def _five(reading: Reading, dtype: np.dtype[Any], codes: bool) -> tuple[float, ...]:
    """The numbers of a band of some dtype; see kernels."""
    nodata = _as_compared(reading.nodata[0] if reading.nodata else None, dtype)
    low = -math.inf if reading.low is None else reading.low
    high = math.inf if reading.high is None else reading.high
    if dtype.kind == "f":  # arrays are compared in their own dtype
        low, high = float(dtype.type(low)), float(dtype.type(high))
    return nodata, low, high, *((1.0, 0.0) if codes else (reading.scale, reading.offset))


def _needs_look(reading: Reading, rounded: bool) -> bool:
    """Whether a reading says more than a kernel can check along the way.

    Args:
        reading: of a band.
        rounded: kernels see whole numbers, but bounds are those of what the file holds.
    """
    bounded = reading.low is not None or reading.high is not None
    return bool(reading.conversion) or (bounded and rounded) or len(reading.nodata) > 1


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
