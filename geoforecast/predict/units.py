"""Units of work of a forecast: squares of the raster, each kept in a file once it is done.

A unit consists of whole blocks of the model's lattice and is one block of the files. Its pixels
are kept layer by layer and lead by lead, compressed, with a checksum each, so that a file of
the forecast can be put together without holding more than one of them.
"""

from __future__ import annotations

import contextlib
import json
import struct
import uuid
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numcodecs import Blosc
from numpy.typing import NDArray

from geoforecast.errors import ProjectError
from geoforecast.raster.grid import Grid, Tile

UNIT_PX = 512  # two blocks of forecast.correction.BLOCK_PX, one of the files
MARK = b"GFUNIT01"
TAIL = struct.Struct("<Q8s")


@dataclass(frozen=True)
class Unit:
    """A square of the raster.

    Attributes:
        number: its place in the list of all units.
        tile: its pixels.
    """

    number: int
    tile: Tile

    @property
    def file(self) -> str:
        return f"{self.number:07d}.unit"


def units_of(grid: Grid) -> list[Unit]:
    """Units that cover a raster once, row by row."""
    return [Unit(number, tile) for number, tile in enumerate(grid.tiles(UNIT_PX))]


@dataclass(frozen=True)
class Part:
    """Some pixels in a unit's file: one layer and lead in one tile.

    Attributes:
        layer, lead, tile: what they are; lead from 1.
        dtype: numpy's name.
        bands: how many.
        start, size: bytes in the file.
        check: CRC-32 of those.
    """

    layer: str
    lead: int
    tile: Tile
    dtype: str
    bands: int
    start: int
    size: int
    check: int


class UnitWriter:
    """Writes a unit's file; nobody sees it before it is complete.

    Args:
        folder: where the file goes.
        unit: whose it is.
    """

    def __init__(self, folder: Path, unit: Unit) -> None:
        self.path = folder / unit.file
        self._draft = folder / f".{unit.file}-{uuid.uuid4().hex}"
        self._codec = Blosc("lz4", clevel=1, shuffle=Blosc.SHUFFLE)
        self._stream: IO[bytes] = self._draft.open("wb")
        self._parts: list[list[Any]] = []

    def add(self, layer: str, tile: Tile, pixels: NDArray[Any]) -> None:
        """Write (lead, band, y, x) pixels of a layer in a tile of the unit."""
        for lead, values in enumerate(pixels, 1):
            start = self._stream.tell()
            data = self._codec.encode(np.ascontiguousarray(values))
            self._stream.write(data)
            sides = [tile.row0, tile.row1, tile.col0, tile.col1]
            told = [str(values.dtype), len(values), start, len(data), zlib.crc32(data)]
            self._parts.append([layer, lead, sides, *told])

    def close(self, filled: int) -> None:
        """End the file, and let it be seen.

        Args:
            filled: pixels times bands times leads that have a forecast.
        """
        told = json.dumps({"filled": filled, "parts": self._parts}).encode()
        self._stream.write(told + TAIL.pack(len(told), MARK))
        # Not synced: what a power failure spoils fails its checksum, and is made again.
        self._stream.close()
        self._draft.replace(self.path)

    def discard(self) -> None:
        """Remove what was written of a unit that is not complete."""
        self._stream.close()
        self._draft.unlink(missing_ok=True)


def is_done(folder: Path, unit: Unit) -> bool:
    """Whether a unit's file is there, to its last byte."""
    try:
        _, parts = _index(folder / unit.file)
        return bool(parts)
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return False


def filled_in(folder: Path, unit: Unit) -> int:
    """How many of a unit's pixels have a forecast, over all bands and leads."""
    with _whole(folder / unit.file):
        return _index(folder / unit.file)[0]


def pixels_of(
    folder: Path, unit: Unit, layer: str, lead: int
) -> Iterator[tuple[Tile, NDArray[Any]]]:
    """The tiles of a unit and (band, y, x) their pixels of one layer and lead.

    Raises:
        ProjectError: the file is damaged; it is removed, so that it is made again.
    """
    path = folder / unit.file
    with _whole(path):
        _, parts = _index(path)
        with path.open("rb") as stream:
            for part in parts:
                if (part.layer, part.lead) != (layer, lead):
                    continue
                stream.seek(part.start)
                data = stream.read(part.size)
                if zlib.crc32(data) != part.check:
                    raise ValueError("the checksum differs")
                values = np.frombuffer(Blosc().decode(data), dtype=part.dtype)
                yield part.tile, values.reshape(part.bands, *part.tile.shape)


def _index(path: Path) -> tuple[int, list[Part]]:
    """What a unit's file says about itself.

    Raises:
        OSError, ValueError, KeyError, TypeError, struct.error: it is not there, or not whole.
    """
    with path.open("rb") as stream:
        end = stream.seek(0, 2)
        stream.seek(max(0, end - TAIL.size))
        length, mark = TAIL.unpack(stream.read(TAIL.size))
        if mark != MARK or length > end - TAIL.size:
            raise ValueError("the file is cut short")
        stream.seek(end - TAIL.size - length)
        told = json.loads(stream.read(length))
    return int(told["filled"]), [_part(words) for words in told["parts"]]


def _part(words: Sequence[Any]) -> Part:
    layer, lead, sides, *rest = words
    return Part(layer, lead, Tile(*sides), *rest)


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError, RuntimeError, struct.error) as error:
        path.unlink(missing_ok=True)
        raise ProjectError(
            f"{path} is damaged ({error}); it is removed.",
            remedy="Run the same command again without --finalise; it forecasts that unit anew.",
        ) from error
