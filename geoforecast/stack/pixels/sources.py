"""Decoded rows of source files, kept while a pass moves down them.

A strip of the target rarely ends where a block of the source does. Each file stays open and
keeps the rows that the next strip needs as well, so that no block is decoded twice; GDAL's
own cache would forget them with the file's handle, and cannot be shared between threads.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoforecast.raster.checks import check_stamp
from geoforecast.raster.geotiff import Header, hold_geotiff, read_dataset_mask, read_pixels
from geoforecast.raster.grid import Tile

# Bytes of decoded rows kept for later strips, over all files of a lane.
KEPT_BYTES = 2**28
# Files kept open by all lanes; many systems allow a process 1024.
MOST_OPEN = 256


Source = tuple[Path, Header, tuple[int, ...]]  # a file and its 1-based band numbers


class SourceRows:
    """Some bands of files on one grid, read window by window, mostly downwards.

    Args:
        sources: the files, of one dtype and block size; their bands follow one another.
        own_mask: also read the alpha or mask band of the file, which is then the only one.
    """

    def __init__(self, sources: Sequence[Source], own_mask: bool) -> None:
        self.sources, self.own_mask = tuple(sources), own_mask
        self.bands = tuple(number for _, _, numbers in sources for number in numbers)
        self.lock = threading.Lock()
        self._datasets: list[Any] = []
        self._tile = Tile(0, 0, 0, 0)  # what is held
        self._pixels: NDArray[Any] | None = None
        self._usable: NDArray[np.bool_] | None = None

    @property
    def bytes(self) -> int:
        """Size of the rows held."""
        held = (self._pixels, self._usable)
        return sum(array.nbytes for array in held if array is not None)

    def read(self, window: Tile, reach: Tile) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Raw pixels and the file's own mask in a window.

        Args:
            window: inside the raster.
            reach: about what will be read beside it before anything below; decoded as well.
        Returns:
            (band, y, x) raw pixels; (y, x) bool, True = usable, or None without own mask.
        Raises:
            SceneError: pixels cannot be decoded, or the file has changed.
        """
        reach = _around(window, reach)
        held = self._tile
        fits = held.col0 <= window.col0 and window.col1 <= held.col1
        if not (fits and held.row0 <= window.row0 <= held.row1):
            self._load(self._whole_blocks(reach))
        elif window.row1 > held.row1:
            below = self._whole_blocks(Tile(held.row1, reach.row1, held.col0, held.col1))
            keep_from = min(max(reach.row0, held.row0), held.row1)
            self._load(below, keep_from=keep_from)
        assert self._pixels is not None
        rows, cols = window.within(self._tile)
        usable = None if self._usable is None else self._usable[rows, cols]
        return self._pixels[:, rows, cols], usable

    def release(self) -> None:
        """Forget the rows; the file stays open."""
        self._tile, self._pixels, self._usable = Tile(0, 0, 0, 0), None, None

    def close(self) -> None:
        """Close the files; they are opened again if they are needed."""
        for dataset in self._datasets:
            dataset.close()
        self._datasets = []

    def _load(self, tile: Tile, keep_from: int | None = None) -> None:
        """Decode a tile, below the held rows from ``keep_from`` on, or in their place."""
        if not self._datasets:
            self._datasets = [hold_geotiff(path, header) for path, header, _ in self.sources]
        first = self._tile.row1 if keep_from is None else keep_from
        kept = self._tile.row1 - first
        high, wide = tile.shape
        header, numbers = self.sources[0][1:]
        dtype = header.dtypes[numbers[0] - 1]
        pixels = np.empty((len(self.bands), kept + high, wide), dtype)
        if kept and self._pixels is not None:
            pixels[:, :kept] = self._pixels[:, -kept:]
        usable = None
        band = 0
        for dataset, (path, header, numbers) in zip(self._datasets, self.sources, strict=True):
            out = pixels[band : band + len(numbers), kept:]
            read_pixels(dataset, numbers, tile, out)
            band += len(numbers)
            if self.own_mask:
                usable = read_dataset_mask(dataset, tile)
            check_stamp(path, header.stamp)
        if usable is not None and kept and self._usable is not None:
            usable = np.concatenate([self._usable[-kept:], usable])
        self._tile = Tile(tile.row0 - kept, tile.row1, tile.col0, tile.col1)
        self._pixels, self._usable = pixels, usable

    def _whole_blocks(self, window: Tile) -> Tile:
        """The window, grown to whole blocks of the file."""
        header = self.sources[0][1]
        height, width = header.grid.shape
        high, wide = header.block
        return Tile(
            window.row0 // high * high,
            min(-(-window.row1 // high) * high, height),
            window.col0 // wide * wide,
            min(-(-window.col1 // wide) * wide, width),
        )


def _around(a: Tile, b: Tile) -> Tile:
    """The smallest rectangle around two."""
    return Tile(min(a.row0, b.row0), max(a.row1, b.row1), min(a.col0, b.col0), max(a.col1, b.col1))


class Stock:
    """All files that the lanes of one pass hold, so that what they hold together is bounded.

    Args:
        lanes: how many at a time have room for KEPT_BYTES each.
    """

    def __init__(self, lanes: int = 1) -> None:
        self.lanes = lanes
        self._rows: OrderedDict[SourceRows, None] = OrderedDict()  # used longest ago first
        self._lock = threading.Lock()

    def used(self, rows: SourceRows) -> None:
        """Note that a file was just read, and release those used longest ago if need be."""
        with self._lock:
            self._rows[rows] = None
            self._rows.move_to_end(rows)
            items = [other for other in self._rows if other is not rows]
        held = sum(other.bytes for other in items)
        surplus = sum(len(other.sources) for other in items) - MOST_OPEN
        for other in items:
            if held <= KEPT_BYTES * self.lanes and surplus <= 0:
                break
            if not other.lock.acquire(blocking=False):
                continue  # in use just now
            try:
                held -= other.bytes
                other.release()
                if surplus > 0:
                    other.close()
                    surplus -= len(other.sources)
            finally:
                other.lock.release()

    def forget(self, gone: Iterable[SourceRows]) -> None:
        """Leave files to their lane, which closes them."""
        with self._lock:
            for rows in gone:
                self._rows.pop(rows, None)


class Lane:
    """The files that one column of units reads, moving down together.

    Args:
        bands: path -> all its bands that are read, so that interleaved ones are decoded once.
        stock: shared with other lanes of the pass; by default there is no other.
    """

    def __init__(self, bands: Mapping[Path, tuple[int, ...]], stock: Stock | None = None) -> None:
        self.bands = bands
        self.stock = stock or Stock()
        self._rows: dict[tuple[object, ...], SourceRows] = {}
        self._lock = threading.Lock()

    def read(
        self, sources: Sequence[Source], window: Tile, reach: Tile
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Raw pixels of some bands in a window; see SourceRows.read.

        Args:
            sources: files of one grid and dtype, with band numbers among those of ``bands``.
            window, reach: see SourceRows.read.
        """
        paths = [path for path, _, _ in sources]
        numbers = [numbers for _, _, numbers in sources]
        # One file is read once for all who want some of its bands.
        key = (paths[0],) if len(paths) == 1 else (*paths, *numbers)
        with self._lock:
            rows = self._rows.get(key)
            if rows is None:
                path, header, _ = sources[0]
                own_mask = bool(header.alpha or header.own_mask)
                whole = [(path, header, self.bands[path])] if len(sources) == 1 else sources
                rows = self._rows[key] = SourceRows(whole, own_mask)
        with rows.lock:
            pixels, usable = rows.read(window, reach)
        self.stock.used(rows)
        wanted = tuple(number for found in numbers for number in found)
        if wanted != rows.bands:
            pixels = pixels[[rows.bands.index(number) for number in wanted]]
        return pixels, usable

    def close(self) -> None:
        """Close the files and forget their rows."""
        with self._lock:
            gone = list(self._rows.values())
            self._rows.clear()
        self.stock.forget(gone)
        for rows in gone:
            with rows.lock:
                rows.release()
                rows.close()
