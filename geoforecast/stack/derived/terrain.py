"""Slope and aspect of an elevation, with the true metres of every pixel.

A pixel of a CRS is rarely as many metres wide as it says: degrees shrink towards the poles,
Mercator's metres grow, sinusoidal rows lean. So the gradient is taken in pixels, and turned
into metres east and north by how far a step of one pixel leads on the ellipsoid.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pyproj
from numpy.typing import NDArray
from pyproj.exceptions import CRSError

from geoforecast.raster.grid import Grid, Tile

LAYERS = ("slope", "aspect")
# Pixels between points at which PROJ is asked how long a pixel is.
NODE_PX = 8
FEET = {"ft": 0.3048, "foot": 0.3048, "feet": 0.3048, "us-ft": 1200 / 3937, "ftus": 1200 / 3937}

Floats = NDArray[np.float64]


def metres_of(unit: str) -> float:
    """Metres of one unit of elevation; anything but feet is taken for metres."""
    return FEET.get(unit.strip().casefold(), 1.0)


class PixelMetres:
    """How many metres east and north a step along the columns and the rows of a grid leads.

    Args:
        grid: where; without a CRS that lies on earth its own units are metres.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self._to_degrees: pyproj.Transformer | None = None
        self._axes = (6378137.0, 6356752.314245)
        self.node_px = NODE_PX
        try:
            crs = pyproj.CRS.from_wkt(grid.wkt)
        except CRSError:
            return
        if crs.geodetic_crs is None:
            return
        if crs.ellipsoid is not None:
            self._axes = (crs.ellipsoid.semi_major_metre, crs.ellipsoid.semi_minor_metre)
        self._to_degrees = pyproj.Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
        if crs.is_geographic:  # exact and cheap; a degree is too long to be linear over eight
            self.node_px = 1

    def at(self, tile: Tile) -> Floats:
        """(4, nodes_y, nodes_x): east and north of a column step, then of a row step.

        Nodes stand at every ``node_px``-th pixel of the grid, from the last at or before the
        tile to the first beyond it, so that they are the same for any tiling.
        """
        rows = _nodes(tile.row0, tile.row1, self.node_px)
        cols = _nodes(tile.col0, tile.col1, self.node_px)
        col, row = np.meshgrid(cols + 0.5, rows + 0.5)
        if self._to_degrees is None:
            t = self.grid.transform
            flat = np.array([t.a, t.d, t.b, t.e])[:, None, None]
            return np.broadcast_to(flat, (4, len(rows), len(cols))).copy()
        _, latitude = self._degrees(col, row)
        along, down = self._step(col, row, 0.5, 0.0), self._step(col, row, 0.0, 0.5)
        major, minor = self._axes
        e2 = 1 - (minor / major) ** 2
        w = np.sqrt(1 - e2 * np.sin(np.radians(latitude)) ** 2)
        east = major / w * np.cos(np.radians(latitude))
        north = major * (1 - e2) / w**3
        return np.stack([along[0] * east, along[1] * north, down[0] * east, down[1] * north])

    def _degrees(self, col: Floats, row: Floats) -> tuple[Floats, Floats]:
        t = self.grid.transform
        assert self._to_degrees is not None  # asked for only where there are degrees
        x, y = t.a * col + t.b * row + t.c, t.d * col + t.e * row + t.f
        lon, lat = self._to_degrees.transform(x, y, errcheck=False)
        lon, lat = np.asarray(lon, float), np.asarray(lat, float)
        known = np.isfinite(lon) & np.isfinite(lat)
        return np.where(known, lon, np.nan), np.where(known, lat, np.nan)

    def _step(self, col: Floats, row: Floats, dx: float, dy: float) -> tuple[Floats, Floats]:
        """Radians of longitude and latitude of one pixel's step."""
        lon0, lat0 = self._degrees(col - dx, row - dy)
        lon1, lat1 = self._degrees(col + dx, row + dy)
        turn = (lon1 - lon0 + 180) % 360 - 180  # across the antimeridian
        return np.radians(turn), np.radians(lat1 - lat0)


def slope_and_aspect(
    elevation: NDArray[np.float32], valid: NDArray[np.bool_], metres: PixelMetres, tile: Tile
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Slope and aspect in a tile.

    Args:
        elevation: (height + 2, width + 2) metres: the tile and one pixel around it.
        valid: the same shape, True = usable.
        metres: of the grid that the tile lies in.
        tile: the rectangle.
    Returns:
        (2, height, width): slope in degrees, aspect in degrees clockwise from true north, the
        way the ground falls; valid: all nine pixels are, and for aspect it is not flat.
    Source:
        Horn (1981), Proceedings of the IEEE 69, 14-47, eqs. 2-3.
    """
    result = np.full((2, *tile.shape), np.nan, np.float32)
    usable = np.zeros((2, *tile.shape), bool)
    steps: Any = metres.at(tile)
    first = tile.row0 % metres.node_px, tile.col0 % metres.node_px
    _horn(elevation, valid, steps, metres.node_px, *first, result, usable)
    return result, usable


def _nodes(start: int, stop: int, step: int) -> Floats:
    return np.arange(start // step, (stop - 1) // step + 2, dtype=np.float64) * step


@numba.njit(nogil=True, cache=True)
def _horn(
    z: NDArray[np.float32],
    valid: NDArray[np.bool_],
    steps: Floats,
    node_px: int,
    row0: int,
    col0: int,
    result: NDArray[np.float32],
    usable: NDArray[np.bool_],
) -> None:
    for i in range(result.shape[1]):
        n = (row0 + i) // node_px
        v = (row0 + i) / node_px - n
        for j in range(result.shape[2]):
            whole = True
            for di in range(3):
                for dj in range(3):
                    whole = whole and valid[i + di, j + dj]
            if not whole:
                continue
            k = (col0 + j) // node_px
            u = (col0 + j) / node_px - k
            across = _sum(z[i, j + 2], z[i + 1, j + 2], z[i + 2, j + 2])
            across -= _sum(z[i, j], z[i + 1, j], z[i + 2, j])
            down = _sum(z[i + 2, j], z[i + 2, j + 1], z[i + 2, j + 2])
            down -= _sum(z[i, j], z[i, j + 1], z[i, j + 2])
            across, down = across / 8.0, down / 8.0
            ce, cn = _between(steps[0], n, k, u, v), _between(steps[1], n, k, u, v)
            re, rn = _between(steps[2], n, k, u, v), _between(steps[3], n, k, u, v)
            area = ce * rn - re * cn
            if area == 0.0 or area != area:
                continue
            east = (across * rn - down * cn) / area
            north = (down * ce - across * re) / area
            result[0, i, j] = np.degrees(np.arctan(np.hypot(east, north)))
            usable[0, i, j] = True
            if east != 0.0 or north != 0.0:
                angle = np.degrees(np.arctan2(-east, -north))
                result[1, i, j] = np.float32(angle + 360.0 if angle < 0.0 else angle) % 360
                usable[1, i, j] = True


@numba.njit(nogil=True, cache=True, inline="always")
def _between(nodes: Floats, n: int, k: int, u: float, v: float) -> float:
    top = nodes[n, k] * (1.0 - u) + nodes[n, k + 1] * u
    low = nodes[n + 1, k] * (1.0 - u) + nodes[n + 1, k + 1] * u
    return float(top * (1.0 - v) + low * v)


@numba.njit(nogil=True, cache=True, inline="always")
def _sum(a: float, b: float, c: float) -> float:
    return float(a) + 2.0 * float(b) + float(c)
