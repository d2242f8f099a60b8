"""Files that a stack must use correctly or refuse: made from a seed, wherever wanted.

Each case makes one file. Truncations and bit flips leave a sound header or not; header
edits declare what is not there; disguises are other formats.
"""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
from affine import Affine
from rasterio.io import MemoryFile

SEED = 20
TRANSFORM = Affine(10.0, 0.0, 500000.0, 0.0, -10.0, 5200000.0)
# TIFF types by number of bytes.
CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}
WIDTH, HEIGHT, BITS, COMPRESSION, STRIP_OFFSETS, SAMPLES = 256, 257, 258, 259, 273, 277
ROWS_PER_STRIP, STRIP_LENGTHS, PLANAR, TILE_WIDTH, TILE_HEIGHT = 278, 279, 284, 322, 323
TILE_OFFSETS, TILE_LENGTHS, FORMAT, NODATA, GEO_KEYS, SCALE, TIE = (
    324, 325, 339, 42113, 34735, 33550, 33922,
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A hostile file.

    Attributes:
        name: of the case.
        what: for people.
        make: writes it at a path.
        pattern: of its file name, with {} for the date.
        line: how a list of files names it; without it, the folder is the input.
        meanwhile: what happens to it while it is read, time after time.
        versions: what it then holds at one time or another.
        group: of cases, for the table.
    """

    name: str
    what: str
    make: Callable[[Path], object]
    pattern: str = "ndvi_{}.tif"
    line: Callable[[Path], str] | None = None
    meanwhile: Callable[[Path, int], object] | None = None
    versions: tuple[bytes, ...] = ()
    group: str = ""


def values(step: int, *, height: int = 40, width: int = 50) -> np.ndarray:
    """Pixels of a good scene, none of them 0, which is its nodata."""
    rng = np.random.default_rng(SEED + step)
    return rng.integers(1, 4000, (height, width)).astype(np.uint16)


def scene(step: int = 0, **creation: object) -> bytes:
    """A good scene of 40 x 50 pixels, as a file's content."""
    pixels = values(step)
    options = {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "deflate"}
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff", height=pixels.shape[0], width=pixels.shape[1], count=1,
            dtype="uint16", crs="EPSG:32633", transform=TRANSFORM, nodata=0,
            **(options | creation),
        ) as dataset:  # fmt: skip
            dataset.write(pixels, 1)
        return bytes(memory.read())


def good_series(folder: Path, steps: int = 9) -> list[str]:
    """Write good scenes 16 days apart; return their dates."""
    folder.mkdir(parents=True)
    start = np.datetime64("2020-01-01")
    dates = [str(start + 16 * step).replace("-", "") for step in range(steps)]
    for step, date in enumerate(dates):
        (folder / f"ndvi_{date}.tif").write_bytes(scene(step))
    return dates


@cache
def bases() -> dict[str, bytes]:
    """Sound files that are then spoilt: tiles and strips, packed and plain, of either kind."""
    return {
        "deflate tiles": scene(),
        "plain strips": strips(compress="none"),
        "LZW strips": strips(compress="lzw"),
        "ZSTD BigTIFF": scene(compress="zstd", BIGTIFF="YES"),
        "big-endian tiles": scene(compress="none", ENDIANNESS="BIG"),
    }


def strips(compress: str) -> bytes:
    """A good scene in strips of 8 rows."""
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff", height=40, width=50, count=1, dtype="uint16", crs="EPSG:32633",
            transform=TRANSFORM, nodata=0, compress=compress, blockysize=8,
        ) as dataset:  # fmt: skip
            dataset.write(values(0), 1)
        return bytes(memory.read())


def entries(content: bytes) -> dict[int, tuple[int, int, int, str]]:
    """The first directory: tag -> place of its entry, width of its numbers, count, order."""
    order = "<" if content[:1] == b"I" else ">"
    big = content[2 + (order == ">")] == 43
    start = struct.unpack_from(f"{order}{'Q' if big else 'I'}", content, 8 if big else 4)[0]
    count = struct.unpack_from(f"{order}{'Q' if big else 'H'}", content, start)[0]
    step, head = (20, 8) if big else (12, 2)
    return {
        struct.unpack_from(f"{order}H", content, place)[0]: (place, 8 if big else 4, big, order)
        for place in range(start + head, start + head + count * step, step)
    }


def edited(
    content: bytes, tag: int, *, value: int | None = None, count: int | None = None,
    kind: int | None = None, new_tag: int | None = None,
) -> bytes:  # fmt: skip
    """A file with one entry of its first directory changed."""
    place, wide, _, order = entries(content)[tag]
    result = bytearray(content)
    code = CODES[wide]
    if value is not None:
        # A number that fits stands first in the field, in its own width.
        stored = struct.unpack_from(f"{order}H", content, place + 2)[0]
        own = {3: 2, 4: 4, 16: 8}.get(kind or stored, wide)
        number = struct.unpack_from(f"{order}{code}", content, place + 4)[0]
        own = own if number == 1 else wide
        mask = (1 << 8 * own) - 1
        struct.pack_into(f"{order}{CODES[own]}", result, place + 4 + wide, value & mask)
    if count is not None:
        struct.pack_into(f"{order}{code}", result, place + 4, count)
    if kind is not None:
        struct.pack_into(f"{order}H", result, place + 2, kind)
    if new_tag is not None:
        struct.pack_into(f"{order}H", result, place, new_tag)
    return bytes(result)


def payload(content: bytes, tag: int, new: bytes) -> bytes:
    """A file with the numbers that an entry points at replaced."""
    place, wide, _, order = entries(content)[tag]
    start = struct.unpack_from(f"{order}{CODES[wide]}", content, place + 4 + wide)[0]
    return content[:start] + new + content[start + len(new) :]


def content_case(name: str, what: str, content: bytes) -> Case:
    return Case(name, what, partial(write, content=content))


def write(path: Path, content: bytes) -> None:
    """Put a content at a path."""
    path.write_bytes(content)


def truncations() -> Iterator[Case]:
    for base in ("deflate tiles", "plain strips"):
        content = bases()[base]
        for tenth in range(1, 10):
            cut = content[: len(content) * tenth // 10]
            yield content_case(f"cut at {tenth}/10", f"{base}, truncated", cut)


def bit_flips(count: int = 6) -> Iterator[Case]:
    rng = random.Random(SEED)
    for base, content in bases().items():
        head = min(len(content), 400)
        for number in range(count):
            where = rng.randrange(8, head) if number % 2 else rng.randrange(head, len(content))
            flipped = bytearray(content)
            flipped[where] ^= 1 << rng.randrange(8)
            yield content_case(f"bit flip at {where}", base, bytes(flipped))


def header_edits() -> Iterator[Case]:
    tiles, plain = bases()["deflate tiles"], bases()["plain strips"]
    zero, huge = 0, 2**31 - 1
    for tag, name in ((WIDTH, "width"), (HEIGHT, "height")):
        for value in (zero, 50_000, 65_535):
            yield content_case(f"{name} {value}", "header edit", edited(tiles, tag, value=value))
        wide = edited(plain, tag, kind=4, value=huge)
        yield content_case(f"{name} {huge}", "header edit, strips", wide)
    for tag, name in ((TILE_WIDTH, "tile width"), (TILE_HEIGHT, "tile height")):
        for value in (zero, 17, 65_520):
            yield content_case(f"{name} {value}", "header edit", edited(tiles, tag, value=value))
    for value in (zero, 65_535):
        rows = edited(plain, ROWS_PER_STRIP, value=value)
        yield content_case(f"rows per strip {value}", "header edit", rows)
        samples = edited(tiles, SAMPLES, value=value)
        yield content_case(f"samples {value}", "header edit", samples)
    for tag, name in ((TILE_OFFSETS, "offsets"), (TILE_LENGTHS, "lengths")):
        number = len(np.frombuffer(tiles, "u1")) and 12
        for label, new in (
            ("zero", bytes(4 * number)),
            ("enormous", b"\xff\xff\xff\x7f" * number),
            ("first zero", bytes(4)),
        ):
            yield content_case(f"{name} {label}", "header edit", payload(tiles, tag, new))
        for count in (zero, 1, 2**31):
            few = edited(tiles, tag, count=count)
            yield content_case(f"{name} count {count}", "header edit", few)
    yield content_case("bits 64", "header edit", edited(tiles, BITS, value=64))
    yield content_case("complex", "sample format 5", edited(tiles, FORMAT, value=5))
    yield content_case("codec 44510", "header edit", edited(tiles, COMPRESSION, value=44510))
    yield content_case("planar 9", "header edit", edited(tiles, PLANAR, value=9))
    for tag, name in ((GEO_KEYS, "keys"), (NODATA, "nodata"), (SCALE, "pixel scale")):
        lost = edited(tiles, tag, value=2**31, count=99)
        yield content_case(f"{name} beyond the file", "header edit", lost)
    for label, numbers in (
        ("NaN", (np.nan, np.nan, 0)), ("0", (0, 0, 0)), ("1e300", (1e300, 1e300, 0)),
        ("1e5 m", (1e5, 1e5, 0)), ("1e-9 m", (1e-9, 1e-9, 0)),
    ):  # fmt: skip
        scaled = payload(tiles, SCALE, struct.pack("<3d", *numbers))
        yield content_case(f"pixel scale {label}", "header edit", scaled)
    for label, place in (("far off", 9e6), ("1e18", 1e18), ("inf", np.inf)):
        moved = payload(tiles, TIE, struct.pack("<6d", 0, 0, 0, place, place / 2, 0))
        yield content_case(f"tie point {label}", "header edit", moved)
    yield content_case("no geo keys", "header edit", edited(tiles, GEO_KEYS, new_tag=65_001))
    yield content_case("directory in a circle", "header edit", in_a_circle(tiles))
    yield content_case("two images", "header edit", two_pages(tiles))
    yield content_case("10 KB say 300 GB", "one block for all", bomb(listed=True))
    yield content_case("10 KB say 300 GB, sparse", "no block", bomb(listed=False))


def in_a_circle(content: bytes) -> bytes:
    """A file whose first directory follows itself."""
    start = struct.unpack_from("<I", content, 4)[0]
    count = struct.unpack_from("<H", content, start)[0]
    after = start + 2 + 12 * count
    return content[:after] + struct.pack("<I", start) + content[after + 4 :]


def two_pages(content: bytes) -> bytes:
    """A file with its first directory once more, as that of a second image."""
    start = struct.unpack_from("<I", content, 4)[0]
    count = struct.unpack_from("<H", content, start)[0]
    after = start + 2 + 12 * count
    head = content[:after] + struct.pack("<I", len(content)) + content[after + 4 :]
    return head + content[start:after] + bytes(4)


def bomb(*, listed: bool) -> bytes:
    """10 KB that declare 300 GB of zeros: all blocks in one place, or in none."""
    side, tile = 547_840, 16_384
    packed = zlib.compress(bytes(2**20), 9)
    number = (-(-side // tile)) ** 2
    scale, tie = struct.pack("<3d", 10, 10, 0), struct.pack("<6d", 0, 0, 0, 5e5, 52e5, 0)
    keys = struct.pack("<12H", 1, 1, 0, 2, 1024, 0, 1, 1, 3072, 0, 1, 32633)
    spare = 8 + 2 + 13 * 12 + 4
    places = {}
    body = b""
    for name, part in (("scale", scale), ("tie", tie), ("keys", keys), ("pixels", packed)):
        places[name] = spare + len(body)
        body += part + bytes(len(part) % 2)
    offsets = spare + len(body)
    body += struct.pack("<I", places["pixels"] if listed else 0) * number
    lengths = spare + len(body)
    body += struct.pack("<I", len(packed) if listed else 0) * number
    directory = [
        (WIDTH, 4, 1, side), (HEIGHT, 4, 1, side), (BITS, 3, 1, 8), (COMPRESSION, 3, 1, 8),
        (262, 3, 1, 1), (SAMPLES, 3, 1, 1), (TILE_WIDTH, 4, 1, tile), (TILE_HEIGHT, 4, 1, tile),
        (TILE_OFFSETS, 4, number, offsets),
        (TILE_LENGTHS, 4, number, lengths),
        (SCALE, 12, 3, places["scale"]), (TIE, 12, 6, places["tie"]),
        (GEO_KEYS, 3, 12, places["keys"]),
    ]  # fmt: skip
    head = b"II*\0" + struct.pack("<IH", 8, len(directory))
    content = head + b"".join(struct.pack("<HHII", *entry) for entry in directory) + bytes(4)
    return (content + body).ljust(10_240, b"\0")


def disguises() -> Iterator[Case]:
    secret = "<SourceFilename relativeToVRT='0'>/etc/hostname</SourceFilename>"
    vrt = (
        "<VRTDataset rasterXSize='50' rasterYSize='40'><VRTRasterBand dataType='Byte' band='1'>"
        f"<SimpleSource>{secret}</SimpleSource></VRTRasterBand></VRTDataset>"
    )
    for name, content in (
        ("VRT", vrt.encode()),
        ("HDF5", b"\x89HDF\r\n\x1a\n" + bytes(4000)),
        ("PNG", b"\x89PNG\r\n\x1a\n" + bytes(4000)),
        ("ZIP", b"PK\x03\x04" + bytes(4000)),
        ("gzip", b"\x1f\x8b\x08" + bytes(4000)),
        ("HTML", b"<!DOCTYPE html><html>404 Not Found</html>"),
        ("text", b"this is no raster"),
        ("empty file", b""),
        ("four bytes", b"II*\0"),
        ("zeros", bytes(5000)),
    ):
        yield content_case(name, "renamed .tif", content)
