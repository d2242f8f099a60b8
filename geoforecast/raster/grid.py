"""Where pixels lie: a CRS, an affine transform and a shape; and tiles with halos in it.

Written here rather than taken from odc-geo because two things must hold to the bit: the
CRS travels as the WKT that GDAL read (spheres and unnamed CRSs included), and a tile's
halo is clipped, never padded, at the raster's edge.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from geoforecast.errors import InputError


@dataclass(frozen=True)
class Tile:
    """A rectangle of pixels: rows ``[row0, row1)`` and columns ``[col0, col1)``."""

    row0: int
    row1: int
    col0: int
    col1: int

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.row1 - self.row0, self.col1 - self.col0

    @property
    def slices(self) -> tuple[slice, slice]:
        """Row and column slices into a whole-grid array."""
        return slice(self.row0, self.row1), slice(self.col0, self.col1)

    def expanded(self, halo_px: int, shape: tuple[int, int]) -> Tile:
        """This tile with a halo on every side, clipped to a grid of ``shape``."""
        height, width = shape
        return Tile(
            max(0, self.row0 - halo_px),
            min(height, self.row1 + halo_px),
            max(0, self.col0 - halo_px),
            min(width, self.col1 + halo_px),
        )

    def within(self, outer: Tile) -> tuple[slice, slice]:
        """Slices that cut this tile out of an array that covers ``outer``."""
        return (
            slice(self.row0 - outer.row0, self.row1 - outer.row0),
            slice(self.col0 - outer.col0, self.col1 - outer.col0),
        )


@dataclass(frozen=True)
class Grid:
    """A raster's place on earth.

    Attributes:
        wkt: the CRS as WKT, as GDAL wrote it; empty if there is none.
        transform: affine from (column, row) at pixel corners to CRS coordinates.
        shape: (height, width) in pixels.
    """

    wkt: str
    transform: Affine
    shape: tuple[int, int]

    @cached_property
    def crs(self) -> CRS:
        return CRS.from_wkt(self.wkt)

    @property
    def res(self) -> tuple[float, float]:
        """Pixel size (x, y) in CRS units, both positive."""
        return abs(self.transform.a), abs(self.transform.e)

    @property
    def rotated(self) -> bool:
        return self.transform.b != 0 or self.transform.d != 0

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(left, bottom, right, top) of the outer pixel edges, whichever way rows run."""
        height, width = self.shape
        corners = [self.transform @ (c, r) for c in (0, width) for r in (0, height)]
        xs, ys = zip(*corners, strict=True)
        return min(xs), min(ys), max(xs), max(ys)

    @property
    def whole(self) -> Tile:
        return Tile(0, self.shape[0], 0, self.shape[1])

    def centres(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """x of the column centres and y of the row centres, in CRS units.

        Raises:
            InputError: the grid is rotated, so that centres are not separable.
        """
        if self.rotated:
            raise InputError(
                "A rotated grid has no separate x and y coordinates.",
                remedy="Give an unrotated target with --crs, --res or --like.",
            )
        height, width = self.shape
        x: NDArray[Any] = float(self.transform.c) + float(self.transform.a) * (
            np.arange(width) + 0.5
        )
        y: NDArray[Any] = float(self.transform.f) + float(self.transform.e) * (
            np.arange(height) + 0.5
        )
        return x, y

    def tiles(self, size: int) -> Iterator[Tile]:
        """Tiles of at most ``size`` pixels a side that cover each pixel exactly once."""
        height, width = self.shape
        for row in range(0, height, size):
            for col in range(0, width, size):
                yield Tile(row, min(row + size, height), col, min(col + size, width))

    def describe(self) -> str:
        """One line for people: CRS, pixel size and shape."""
        epsg = self.crs.to_epsg() if self.wkt else None
        name = f"EPSG:{epsg}" if epsg else _name_of(self.wkt)
        return f"{name}, {self.res[0]:g} x {self.res[1]:g}, {self.shape[1]} x {self.shape[0]} px"


def _name_of(wkt: str) -> str:
    """What a CRS without a code is called: its own name, or its projection's."""
    if '"' not in wkt:
        return "no CRS"
    name = wkt.split('"')[1]
    projection = re.search(r'PROJECTION\["([^"]+)', wkt)
    if projection and name.casefold() in ("unnamed", "unknown"):
        return f"{projection[1].replace('_', ' ')} (without an EPSG code)"
    return name
