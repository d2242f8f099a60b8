"""Where a TIFF says its pixels lie, checked against the file before GDAL opens it.

GDAL tells of blocks one at a time, and believes a header until a block is read. Here the
directories are read as they are stored, few and small reads whatever they declare, and all
blocks are compared with the file's size at once.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray

from geoforecast.errors import SceneError

FETCH_AGAIN = "Fetch the file again, or leave it out with --on-error quarantine."
# More directories than any pyramid, mask or page of a book has; a circle has no end.
MOST_DIRECTORIES = 4096
MOST_ENTRIES = 4096
# A million pixels a side in tiles of 512 px; what lists more would fill the memory.
MOST_BLOCKS = 2**22
# What files are that begin otherwise than a TIFF does.
SIGNATURES = {
    b"\x89PNG": "a PNG",
    b"\x89HDF": "HDF5 or NetCDF-4",
    b"CDF": "NetCDF",
    b"\x0e\x03\x13\x01": "HDF4",
    b"\xff\xd8\xff": "a JPEG",
    b"\x00\x00\x00\x0cjP": "JPEG 2000",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "gzip",
    b"%PDF": "a PDF",
    b"<VRT": "a VRT, which only points at other files",
    b"<": "XML or HTML, perhaps the error page of a download",
}
KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
# TIFF 6.0, section 2, and BigTIFF's 16 to 18: type -> numpy code; others are not numbers
# that say where pixels lie.
CODES = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}
(
    SUBFILE_TYPE, WIDTH, HEIGHT, COMPRESSION, STRIP_OFFSETS, SAMPLES, ROWS_PER_STRIP, STRIP_LENGTHS,
    PLANAR, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_LENGTHS, SAMPLE_FORMAT,
) = (
    254, 256, 257, 259, 273, 277, 278, 279, 284, 322, 323, 324, 325, 339,
)  # fmt: skip
GDAL_METADATA = 42112
REDUCED, MASK = 1, 4
COMPLEX = (5, 6)
# Bytes of a value by type, 0 where the type is unknown.
WIDTHS = np.array([0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8, 0])


@dataclass(frozen=True)
class Layout:
    """What a TIFF's directories say.

    Attributes:
        stamp: size in bytes and time of last change in ns; another stamp is another file.
        stored: number of the first image's blocks that the file holds.
        blocks: number of blocks that its shape needs; the rest is sparse.
        pages: number of images, not counting overviews and masks.
    """

    stamp: tuple[int, int]
    stored: int
    blocks: int
    pages: int


def read_layout(path: Path) -> Layout:
    """Read and check where a TIFF's blocks lie.

    Raises:
        SceneError: no plain file, no TIFF, or blocks that are missing or beyond its end.
    """
    try:
        # Not to wait for whoever writes into a pipe that is called x.tif.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        handle = os.open(path, flags)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its name cannot be used"
        raise SceneError(
            f"{printable(path)} cannot be opened: {reason}.",
            remedy="Check that the file is there and may be read, or leave it out with "
            "--on-error quarantine.",
        ) from error
    try:
        info = os.fstat(handle)
        if not stat.S_ISREG(info.st_mode):
            kind = next((name for test, name in KINDS if test(info.st_mode)), "no plain file")
            raise SceneError(f"{printable(path)} is {kind}.", remedy="Name a GeoTIFF.")
        return _Reader(path, handle, info.st_size).layout(stamp_of(info))
    except OSError as error:
        raise SceneError(
            f"{printable(path)} cannot be read: {error.strerror}.", remedy=FETCH_AGAIN
        ) from error
    finally:
        os.close(handle)


def stamp_of(info: os.stat_result) -> tuple[int, int]:
    """Size and time of last change: what tells a file from one that took its place."""
    return info.st_size, info.st_mtime_ns


def printable(text: str | os.PathLike[str]) -> str:
    """A name as messages, keys and tables show it.

    Line breaks and other control characters, and bytes that are no UTF-8, are written as
    escapes, so that no name can break a line, a terminal or a file.
    """
    text = os.fspath(text)
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def _no_doctype(*_: object) -> None:
    """Entities that expand without end need one; GDAL never writes it."""
    raise expat.ExpatError("a document type")


class _Reader:
    """Reads the directories of one file; every read is bounded by the file's size."""

    def __init__(self, path: Path, handle: int, size: int) -> None:
        self.path = path
        self.handle = handle
        self.size = size
        self.order = "<"
        self.big = False

    def layout(self, stamp: tuple[int, int]) -> Layout:
        place = self._header()
        seen: set[int] = set()
        pages, first, shape = 0, (0, 0), (0, 0)
        while place:
            if place in seen:
                self._refuse("has directories that run in a circle")
            if len(seen) >= MOST_DIRECTORIES:
                self._refuse(f"holds over {MOST_DIRECTORIES} images")
            seen.add(place)
            tags, place = self._directory(place)
            if len(seen) == 1:
                self._check_metadata(tags)
                # GDAL takes those of an odd width for whole numbers.
                if self._one(tags, SAMPLE_FORMAT, 1) in COMPLEX:
                    self._refuse(
                        "holds complex numbers", "Convert it to amplitude, intensity or dB first."
                    )
            kind = self._one(tags, SUBFILE_TYPE, 0)
            here = self._one(tags, HEIGHT, 0), self._one(tags, WIDTH, 0)
            if len(seen) == 1:
                shape, first = here, self._blocks(tags)
            elif kind == MASK and here == shape:
                self._blocks(tags)
            pages += not kind & (REDUCED | MASK) or len(seen) == 1
        return Layout(stamp, *first, pages)

    def _header(self) -> int:
        """Where the first directory lies."""
        start = self._bytes(0, min(16, self.size))
        if not start:
            self._refuse("is empty (0 bytes)")
        magic = {b"II*\0": ("<", 0), b"MM\0*": (">", 0), b"II+\0": ("<", 1), b"MM\0+": (">", 1)}
        if start[:4] not in magic or len(start) < 8:
            named = next((n for s, n in SIGNATURES.items() if start.startswith(s)), "")
            if start[:4] in magic:
                named = f"only {self.size} bytes long"
            self._refuse(
                "cannot be read as a GeoTIFF: it is " + (named or "none, by its first bytes"),
                "Convert it to GeoTIFF, fetch it again, or leave it out with --on-error "
                "quarantine.",
            )
        self.order, self.big = magic[start[:4]][0], bool(magic[start[:4]][1])
        if self.big and len(start) < 16:
            self._refuse(f"is truncated: its header is cut at byte {self.size}")
        where = start[8:16] if self.big else start[4:8]
        return int.from_bytes(where, "little" if self.order == "<" else "big")

    def _directory(self, place: int) -> tuple[dict[int, NDArray[np.uint8]], int]:
        """The entries of a directory by tag, each as stored, and where the next one lies."""
        wide, entry = (8, 20) if self.big else (2, 12)
        count = self._number(self._bytes(place, wide))
        if not 0 < count <= MOST_ENTRIES:
            self._refuse(f"has a directory of {count} entries at byte {place}")
        end = 8 if self.big else 4
        raw = self._bytes(place + wide, count * entry, most=count * entry + end)
        table = np.frombuffer(raw[: count * entry], np.uint8).reshape(count, entry)
        tags = np.ascontiguousarray(table[:, :2]).view(f"{self.order}u2").ravel()
        # The last directory of some files ends with the file, without a pointer.
        after = raw[count * entry :]
        self._check_values(table)
        following = self._number(after) if len(after) == end else 0
        result: dict[int, NDArray[np.uint8]] = {}
        for tag, row in zip(tags.tolist(), table, strict=True):
            result.setdefault(tag, row)  # libtiff takes the first of twins
        return result, following

    def _check_values(self, table: NDArray[np.uint8]) -> None:
        """Refuse values beyond the file: GDAL would go on without them, nodata say."""
        wide = 8 if self.big else 4
        types = np.minimum(np.ascontiguousarray(table[:, 2:4]).view(f"{self.order}u2").ravel(), 19)
        numbers = np.ascontiguousarray(table[:, 4:]).view(f"{self.order}u{wide}")
        # In Python's integers, which do not wrap round.
        for count, place, width in zip(*numbers.T.tolist(), WIDTHS[types].tolist(), strict=True):
            if count * width > wide:
                self._check_place(place, count * width)

    def _check_metadata(self, tags: dict[int, NDArray[np.uint8]]) -> None:
        """Refuse GDAL's own metadata if damaged: it would pass over scales and names."""
        row = tags.get(GDAL_METADATA)
        if row is None:
            return
        wide = 8 if self.big else 4
        count, inside = self._number(row[4 : 4 + wide].tobytes()), row[4 + wide :].tobytes()
        text = inside[:count] if count <= wide else self._bytes(self._number(inside), count)
        parser = expat.ParserCreate()
        parser.StartDoctypeDeclHandler = _no_doctype
        try:
            parser.Parse(text.rstrip(b"\0"), True)
        except expat.ExpatError as error:
            self._refuse(
                f"has damaged metadata, which may hold scales and names: {error}",
                "Fetch the file again, or do without them: gdal_edit.py -unsetmd FILE.",
            )

    def _values(
        self, tags: dict[int, NDArray[np.uint8]], tag: int, most: int = 1
    ) -> NDArray[Any] | None:
        """The first numbers of an entry, or None if it is not there or holds none."""
        row = tags.get(tag)
        if row is None:
            return None
        wide = 8 if self.big else 4
        code = CODES.get(self._number(row[2:4].tobytes()))
        count = self._number(row[4 : 4 + wide].tobytes())
        if code is None or count == 0:
            return None
        dtype = np.dtype(self.order + code)
        inside = row[4 + wide :].tobytes()
        needed = min(count, most)
        if count * dtype.itemsize <= wide:
            return np.frombuffer(inside, dtype, needed)
        return np.frombuffer(self._bytes(self._number(inside), needed * dtype.itemsize), dtype)

    def _one(self, tags: dict[int, NDArray[np.uint8]], tag: int, default: int) -> int:
        values = self._values(tags, tag)
        return default if values is None else int(values[0])

    def _blocks(self, tags: dict[int, NDArray[np.uint8]]) -> tuple[int, int]:
        """How many blocks are stored, and how many there should be."""
        height, width = self._one(tags, HEIGHT, 0), self._one(tags, WIDTH, 0)
        tiled = TILE_OFFSETS in tags or TILE_WIDTH in tags
        if tiled:
            high, wide = self._one(tags, TILE_HEIGHT, 0), self._one(tags, TILE_WIDTH, 0)
        else:
            high, wide = self._one(tags, ROWS_PER_STRIP, height), width
        if 0 in (height, width, high, wide):
            self._refuse(f"declares {width} x {height} pixels in blocks of {wide} x {high}")
        needed = -(-height // high) * -(-width // wide)
        if self._one(tags, PLANAR, 1) == 2:
            needed *= self._one(tags, SAMPLES, 1)
        if needed > MOST_BLOCKS:
            self._refuse(
                f"declares {width} x {height} pixels in {needed} blocks, over {MOST_BLOCKS}",
                "Write it in larger blocks: gdal_translate -co TILED=YES IN OUT.",
            )
        offsets = self._values(tags, TILE_OFFSETS if tiled else STRIP_OFFSETS, needed)
        lengths = self._values(tags, TILE_LENGTHS if tiled else STRIP_LENGTHS, needed)
        if offsets is None:
            offsets = np.zeros(0, np.uint8)
        if len(offsets) < needed:
            self._refuse(f"needs {needed} blocks of pixels, but lists {len(offsets)}")
        if lengths is None or len(lengths) < needed or not lengths.any():
            # Old files leave the lengths of plain strips out, and libtiff works them out.
            if offsets.any() and (tiled or self._one(tags, COMPRESSION, 1) != 1):
                self._refuse("does not say how long its blocks of pixels are")
            lengths = None
        return self._inside(offsets, lengths), needed

    def _inside(self, offsets: NDArray[Any], lengths: NDArray[Any] | None) -> int:
        """Refuse blocks that are not wholly in the file; return how many there are."""
        starts = offsets.astype(np.uint64)
        sizes = (starts > 0).astype(np.uint64) if lengths is None else lengths.astype(np.uint64)
        limit = np.uint64(self.size)
        # Sums cannot wrap round where each part is within the file.
        beyond = (starts > limit) | (sizes > limit) | (starts + sizes > limit)
        beyond &= starts > 0
        if beyond.any():
            first = int(np.flatnonzero(beyond)[0])
            self._refuse(
                f"is truncated: {np.count_nonzero(beyond)} of its {len(starts)} blocks lie beyond "
                f"its end, the first, number {first}, ends at byte "
                f"{int(starts[first]) + int(sizes[first])} of {self.size}"
            )
        lost = (starts > 0) != (sizes > 0)
        if lost.any():
            number = int(np.flatnonzero(lost)[0])
            missing = "length" if starts[number] else "place"
            self._refuse(f"is damaged: block {number} has no {missing}")
        return int(np.count_nonzero(starts))

    def _bytes(self, place: int, count: int, most: int = 0) -> bytes:
        """``count`` bytes of the file, or up to ``most`` where there are more."""
        if place + count > self.size:
            self._refuse(f"is truncated: its header points at byte {place + count} of {self.size}")
        os.lseek(self.handle, place, os.SEEK_SET)
        raw = os.read(self.handle, min(max(count, most), self.size - place))
        if len(raw) < count:
            self._refuse("became shorter while it was read")
        return raw

    def _check_place(self, place: int, count: int) -> None:
        if place + count > self.size:
            self._refuse(f"is truncated: its header points at byte {place + count} of {self.size}")

    def _number(self, raw: bytes) -> int:
        return int.from_bytes(raw, "little" if self.order == "<" else "big")

    def _refuse(self, what: str, remedy: str = FETCH_AGAIN) -> NoReturn:
        raise SceneError(f"{printable(self.path)} {what}.", remedy=remedy)
