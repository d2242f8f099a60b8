"""Where a raster lies on the globe, as GeoJSON in longitudes and latitudes of WGS 84.

Straight edges of a raster are curves there, may cross the antimeridian, and may go round a pole.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from geoforecast.raster.grid import Grid

Floats = NDArray[np.float64]
Ring = list[tuple[float, float]]

MOST_POINTS = 64  # of a raster's side
LEAST_POINTS = 4  # so that no two of a world map are half a turn apart
TOLERANCE = 1e-3  # of the extent, by which the outline may miss the raster's edge
SAMPLES = 128  # a side, of a raster whose edges lie outside the world
DECIMALS = 7
EDGE = 0.01  # pixels, or degrees, that rounding may move a point


@dataclass(frozen=True)
class Footprint:
    """A raster's outline.

    Attributes:
        geometry: GeoJSON, a Polygon or, across the antimeridian, a MultiPolygon; outer rings run
            counterclockwise.
        bbox: west, south, east, north; west is the greater across the antimeridian.
    """

    geometry: dict[str, Any]
    bbox: tuple[float, float, float, float]


def footprint(grid: Grid) -> Footprint | None:
    """The outline of a grid; None if nobody can say where on the globe it lies.

    Edges are followed point by point, close enough to miss the true curve by TOLERANCE of the
    extent. A raster whose edges lie outside the world, as those of a full disc seen from space
    do, gets the box of those of its pixels that lie in it.

    Source:
        RFC 7946, sections 3.1.6, 3.1.9, 5.2 and 5.3.
    """
    if not grid.wkt:
        return None
    try:
        ground = _Ground(grid, CRS.from_wkt(grid.wkt))
    except ProjError:
        return None  # such as a local engineering frame
    poles = [lat for lat in (-90.0, 90.0) if ground.holds_pole(lat)]
    points = MOST_POINTS if poles else LEAST_POINTS
    lon, lat = ground.edges(points)
    while np.isfinite(lon).all() and points < MOST_POINTS and _misses(ground, points):
        points *= 2
        lon, lat = ground.edges(points)
    if not np.isfinite(lon).all():
        return _inside(ground, poles)
    lon = _continuous(lon)
    around = abs(lon[-1] - lon[0]) > 180
    if around and len(poles) == 1:
        return _polar(lon, lat, poles[0])
    if around or len(poles) == 2 or lon.max() - lon.min() > 360 - 1e-6:
        return _box(-180, float(lat.min()), 180, float(lat.max()), poles)
    return _drawn(list(zip(lon.tolist(), lat.tolist(), strict=True)))


class _Ground:
    """A grid's pixels on the globe.

    Raises:
        ProjError: its CRS has no relation to the globe.
    """

    def __init__(self, grid: Grid, crs: CRS) -> None:
        self.grid, self._degrees = grid, crs.is_geographic
        self._there = Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)
        self._back = Transformer.from_crs("OGC:CRS84", crs, always_xy=True)

    def edges(self, points: int) -> tuple[Floats, Floats]:
        """(n,) longitudes and latitudes along the outer pixel edges, first point last again.

        Args:
            points: on each side.
        """
        height, width = self.grid.shape
        share = np.arange(points) / points
        zero, one = np.zeros(points), np.ones(points)
        cols = width * np.concatenate([share, one, 1 - share, zero, [0]])
        rows = height * np.concatenate([zero, share, one, 1 - share, [0]])
        return self.located(cols, rows)

    def located(self, cols: Floats, rows: Floats) -> tuple[Floats, Floats]:
        """Longitudes and latitudes of pixel corners; NaN where they are not in the world.

        Projections may place what lies beyond the world somewhere in it, which shows on the way
        back. What comes back moved by one and the same distance has gone once round the globe,
        as maps do that are continued over their edge.
        """
        a, b, c, d, e, f = tuple(self.grid.transform)[:6]
        x, y = a * cols + b * rows + c, d * cols + e * rows + f
        lon, lat = (np.asarray(part, np.float64) for part in self._there.transform(x, y))
        # Pixels of degrees may have their middles on the poles, and half of them beyond.
        beyond = math.hypot(b, e) if self._degrees else EDGE
        out = ~(np.isfinite(lon) & np.isfinite(lat)) | (np.abs(lat) > 90 + beyond)
        if not self._degrees:
            again = self._back.transform(lon, lat)
            side = math.hypot(a, d)
            off_x, off_y = np.asarray(again[0]) - x, np.asarray(again[1]) - y
            moved = ~out & (np.hypot(off_x, off_y) > EDGE * side)
            turned = np.abs(off_x - off_x[moved][0]) <= EDGE * side if moved.any() else moved
            alike = (turned & (np.abs(off_y) <= EDGE * side))[moved].all()
            if not (alike and len(set(lat[moved].tolist())) > 1):
                out |= moved
        return np.where(out, np.nan, lon), np.where(out, np.nan, np.clip(lat, -90, 90))

    def holds_pole(self, lat: float) -> bool:
        """Whether a pole lies inside: a point, not the edge of a map of degrees."""
        height, width = self.grid.shape
        spots = []
        for lon in (0.0, 120.0, 240.0):
            x, y = self._back.transform(lon, lat)
            if not (math.isfinite(x) and math.isfinite(y)):
                return False
            spots.append(~self.grid.transform @ (x, y))
        apart = np.ptp(np.array(spots), axis=0).max()
        col, row = spots[0]
        return bool(apart < 0.5) and 0 < col < width and 0 < row < height


def _misses(ground: _Ground, points: int) -> bool:
    """Whether chords between so many points a side leave the edge by more than TOLERANCE."""
    lon, lat = ground.edges(2 * points)
    lon = _continuous(lon)
    extent = max(np.ptp(lon), np.ptp(lat))
    off = [np.abs(v[1::2] - (v[:-1:2] + v[2::2]) / 2).max() for v in (lon, lat)]
    return not max(off) <= TOLERANCE * extent


def _continuous(lon: Floats) -> Floats:
    """Longitudes without jumps of a turn."""
    steps = np.diff(lon)
    steps -= 360 * np.round(steps / 360)
    return np.asarray(lon[0] + np.concatenate([[0.0], np.cumsum(steps)]))


def _polar(lon: Floats, lat: Floats, pole: float) -> Footprint:
    """The outline of a raster that holds a pole: a cap, cut along the antimeridian."""
    if lon[-1] < lon[0]:
        lon, lat = lon[::-1], lat[::-1]
    # Three turns, of which one is kept, however the ring begins.
    turns = np.concatenate([lon[:-1] - 360, lon[:-1], lon + 360])
    ring = list(zip(turns.tolist(), np.concatenate([lat[:-1], lat[:-1], lat]), strict=True))
    ring += [(float(turns[-1]), pole), (float(turns[0]), pole)]
    west = 360 * math.floor((float(lon[0]) + 180) / 360) - 180
    cap = _cut(_cut(ring, west, keep_east=True), west + 360.0, keep_east=False)
    rings = [[(x - west - 180, y) for x, y in cap]]
    ends = sorted((pole, float(lat.min() if pole > 0 else lat.max())))
    return Footprint(_geometry(rings), (-180.0, _rounded(ends[0]), 180.0, _rounded(ends[1])))


def _drawn(ring: Ring) -> Footprint:
    """The outline of continuous longitudes, in two parts where it crosses the antimeridian."""
    lons, lats = zip(*ring, strict=True)
    shift = 360 * math.floor((min(lons) + 180) / 360)
    ring = [(x - shift, y) for x, y in ring]
    west, east = min(lons) - shift, max(lons) - shift
    rings = [ring]
    if east > 180:
        beyond = _cut(ring, 180, keep_east=True)
        rings = [_cut(ring, 180, keep_east=False), [(x - 360, y) for x, y in beyond]]
        east -= 360
    south, north = min(lats), max(lats)
    return Footprint(
        _geometry(rings), (_rounded(west), _rounded(south), _rounded(east), _rounded(north))
    )


def _box(west: float, south: float, east: float, north: float, poles: list[float]) -> Footprint:
    """A rectangle in degrees, which reaches the poles that it holds."""
    south, north = min([south, *poles]), max([north, *poles])
    # Edges of a quarter of a turn: one all round the globe would be read as none.
    xs = np.linspace(west, east, 2 + int((east - west) // 90)).tolist()
    ring = [(x, south) for x in xs] + [(x, north) for x in reversed(xs)]
    return _drawn([*ring, ring[0]])


def _inside(ground: _Ground, poles: list[float]) -> Footprint | None:
    """The box of the pixels that lie in the world; None if there are none."""
    height, width = ground.grid.shape
    share = (np.arange(SAMPLES) + 0.5) / SAMPLES
    cols, rows = np.meshgrid(share * width, share * height)
    lon, lat = ground.located(cols.ravel(), rows.ravel())
    known = np.isfinite(lon)
    if not known.any():
        return None
    turn = np.sort(lon[known] % 360)
    gaps = np.diff(np.append(turn, turn[0] + 360))
    widest = int(gaps.argmax())
    west, east = float(turn[(widest + 1) % len(turn)]), float(turn[widest])
    east += 360 * (east < west)
    if poles or gaps[widest] < 360 / SAMPLES * 4:
        west, east = -180.0, 180.0
    return _box(west, float(lat[known].min()), east, float(lat[known].max()), poles)


def _cut(ring: Ring, edge: float, *, keep_east: bool) -> Ring:
    """The part of a closed ring on one side of a meridian.

    Source:
        Sutherland and Hodgman (1974), Communications of the ACM 17, 32-42.
    """
    sign = 1 if keep_east else -1
    kept: Ring = []
    for (x0, y0), (x1, y1) in zip(ring, [*ring[1:], ring[0]], strict=True):
        inside, follows = sign * (x0 - edge) >= 0, sign * (x1 - edge) >= 0
        if inside:
            kept.append((x0, y0))
        if inside != follows:
            kept.append((edge, y0 + (y1 - y0) * (edge - x0) / (x1 - x0)))
    return kept


def _geometry(rings: list[Ring]) -> dict[str, Any]:
    """Rings as GeoJSON, counterclockwise, closed, without points said twice."""
    polygons = []
    for ring in rings:
        points = [(_rounded(x), min(90.0, max(-90.0, _rounded(y)))) for x, y in ring]
        points = [one for i, one in enumerate(points) if i == 0 or one != points[i - 1]]
        if points[0] != points[-1]:
            points.append(points[0])
        twice = sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in itertools.pairwise(points))
        polygons.append([[list(one) for one in (points if twice > 0 else points[::-1])]])
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}


def _rounded(degrees: float) -> float:
    return round(float(degrees), DECIMALS) + 0.0  # no -0.0
