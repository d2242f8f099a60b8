"""Decoded rows of source files, kept while a pass moves down them.

A strip of the target rarely ends where a block of the source does. Each file stays open and
keeps the rows that the next strip needs as well, so that no block is decoded twice; GDAL's
own cache would forget them with the file's handle, and cannot be shared between threads.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoforecast.raster.checks import check_stamp
from geoforecast.raster.geotiff import Header, hold_geotiff, read_dataset_mask, read_pixels
from geoforecast.raster.grid import Tile

# Bytes of decoded rows kept for later strips, over all files.
KEPT_BYTES = 2**28
# Files kept open; many systems allow a process 1024.
MOST_OPEN = 256


class SourceRows:
    """Some bands of one file, read window by window, mostly downwards.

    Args:
        path: the file.
        header: as read when it was planned.
        bands: 1-based band numbers.
        own_mask: also read the file's alpha or mask band.
    """

    def __init__(self, path: Path, header: Header, bands: tuple[int, ...], own_mask: bool) -> None:
        self.path, self.header, self.bands, self.own_mask = path, header, bands, own_mask
        self.lock = threading.Lock()
        self._dataset: Any = None
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
        """Close the file; it is opened again if it is needed."""
        if self._dataset is not None:
            self._dataset.close()
            self._dataset = None

    def _load(self, tile: Tile, keep_from: int | None = None) -> None:
        """Decode a tile, below the held rows from ``keep_from`` on, or in their place."""
        if self._dataset is None:
            self._dataset = hold_geotiff(self.path, self.header)
        pixels = read_pixels(self._dataset, self.bands, tile)
        usable = read_dataset_mask(self._dataset, tile) if self.own_mask else None
        check_stamp(self.path, self.header.stamp)
        if keep_from is not None and self._pixels is not None:
            first = keep_from - self._tile.row0
            pixels = np.concatenate([self._pixels[:, first:], pixels], axis=1)
            if usable is not None and self._usable is not None:
                usable = np.concatenate([self._usable[first:], usable])
            tile = Tile(keep_from, tile.row1, tile.col0, tile.col1)
        self._tile, self._pixels, self._usable = tile, pixels, usable

    def _whole_blocks(self, window: Tile) -> Tile:
        """The window, grown to whole blocks of the file."""
        height, width = self.header.grid.shape
        high, wide = self.header.block
        return Tile(
            window.row0 // high * high,
            min(-(-window.row1 // high) * high, height),
            window.col0 // wide * wide,
            min(-(-window.col1 // wide) * wide, width),
        )


def _around(a: Tile, b: Tile) -> Tile:
    """The smallest rectangle around two."""
    return Tile(min(a.row0, b.row0), max(a.row1, b.row1), min(a.col0, b.col0), max(a.col1, b.col1))


class Lane:
    """The files that one column of units reads, moving down together.

    Args:
        bands: path -> all its bands that are read, so that interleaved ones are decoded once.
    """

    def __init__(self, bands: Mapping[Path, tuple[int, ...]]) -> None:
        self.bands = bands
        self._rows: OrderedDict[Path, SourceRows] = OrderedDict()
        self._lock = threading.Lock()

    def read(
        self, path: Path, header: Header, numbers: Sequence[int], window: Tile, reach: Tile
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Raw pixels of some bands in a window; see SourceRows.read.

        Args:
            path, header: of the file.
            numbers: 1-based band numbers, among those of ``bands``.
            window, reach: see SourceRows.read.
        """
        with self._lock:
            rows = self._rows.get(path)
            if rows is None:
                own_mask = bool(header.alpha or header.own_mask)
                rows = self._rows[path] = SourceRows(path, header, self.bands[path], own_mask)
            self._rows.move_to_end(path)
        with rows.lock:
            pixels, usable = rows.read(window, reach)
        self._make_room(path)
        if tuple(numbers) != rows.bands:
            pixels = pixels[[rows.bands.index(number) for number in numbers]]
        return pixels, usable

    def close(self) -> None:
        """Close the files and forget their rows."""
        with self._lock:
            gone = list(self._rows.values())
            self._rows.clear()
        for rows in gone:
            with rows.lock:
                rows.release()
                rows.close()

    def _make_room(self, used: Path) -> None:
        """Release the files that were used longest ago, beyond what may be kept."""
        with self._lock:
            items = [rows for path, rows in self._rows.items() if path != used]
        held = sum(rows.bytes for rows in items)
        surplus = len(items) - MOST_OPEN
        for number, rows in enumerate(items):
            if held <= KEPT_BYTES and number >= surplus:
                break
            if not rows.lock.acquire(blocking=False):
                continue  # in use just now
            try:
                held -= rows.bytes
                rows.release()
                if number < surplus:
                    rows.close()
            finally:
                rows.lock.release()
