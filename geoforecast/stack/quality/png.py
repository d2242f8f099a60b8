"""Small pictures as PNG data URIs, without a drawing library.

Matplotlib's import alone takes longer than the whole report may, and its pictures are made
for paper; here a picture is an array and a palette.
"""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from geoforecast.figures.axes import COLOURS

# Viridis (van der Walt & Smith 2015) at 17 places, linear between: within 6 of 255 of it.
VIRIDIS = (
    *("440154", "48186a", "472d7b", "424086", "3b528b", "33638d", "2c728e", "26828e", "21918c"),
    *("1fa088", "28ae80", "3fbc73", "5ec962", "84d44b", "addc30", "d8e219", "fde725"),
)
LEVELS = 255  # palette entries 1 to 255; 0 is transparent

Bytes = NDArray[np.uint8]


def viridis() -> Bytes:
    """(LEVELS, 3) colours from dark blue (low) to yellow (high)."""
    stops = np.array([list(bytes.fromhex(stop)) for stop in VIRIDIS], np.float64)
    places = np.linspace(0, len(stops) - 1, LEVELS)
    ramp = [np.interp(places, np.arange(len(stops)), stops[:, channel]) for channel in range(3)]
    return np.stack(ramp, axis=1).round().astype(np.uint8)


def class_colours(number: int) -> list[str]:
    """So many colours as ``#rrggbb``: those of the house, then lighter, then darker ones."""
    base = [np.array(list(bytes.fromhex(colour[1:])), np.float64) for colour in COLOURS]
    shades = [*base, *(127 + c / 2 for c in base), *(c / 2 for c in base)]
    chosen = [shades[n % len(shades)] for n in range(number)]
    return ["#" + bytes(colour.astype(np.uint8).tolist()).hex() for colour in chosen]


def levels(values: NDArray[np.floating], low: float, high: float) -> Bytes:
    """Palette indices of values: 1 at ``low`` to LEVELS at ``high``; 0 where not finite."""
    scale = (LEVELS - 1) / (high - low) if high > low else 0.0
    seen = np.isfinite(values)
    safe = np.clip(np.where(seen, values, low), low, high).astype(np.float64)
    return np.where(seen, 1 + np.rint((safe - low) * scale), 0).astype(np.uint8)


def indexed_uri(indices: Bytes, palette: Bytes) -> str:
    """A picture of palette indices (y, x); 0 is transparent, n is ``palette[n - 1]``."""
    colours = b"\0\0\0" + palette.tobytes()
    return _uri(indices[..., None], 3, [(b"PLTE", colours), (b"tRNS", b"\0")])


def rgb_uri(colours: Bytes, seen: NDArray[np.bool_]) -> str:
    """A picture of colours (y, x, 3), transparent where not ``seen`` (y, x)."""
    # Black stands for transparent, so that real black is made one step lighter.
    shown = np.where(seen[..., None], np.maximum(colours, 1), 0).astype(np.uint8)
    return _uri(shown, 2, [(b"tRNS", bytes(6))])


def _uri(pixels: Bytes, colour_type: int, chunks: list[tuple[bytes, bytes]]) -> str:
    height, width = pixels.shape[:2]
    header = struct.pack(">2I5B", width, height, 8, colour_type, 0, 0, 0)
    rows = pixels.reshape(height, -1)
    plain = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1).tobytes()
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(plain, 6)), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in parts)
    return "data:image/png;base64," + base64.b64encode(data).decode("ascii")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
