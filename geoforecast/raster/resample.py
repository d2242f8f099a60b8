"""From one grid to another through exact coordinate maps, the same to the bit for any tile.

A map gives, for each target pixel centre, its place in the source image. Between grids of
one CRS it is an affine; otherwise PROJ is evaluated on a lattice anchored at the target's
origin, linear between, and checked. GDAL's warp is not used: its result depends on the
chunk that is asked for.

Source coordinates are in pixels with whole numbers at pixel centres, so a point lies in
the image where -0.5 <= x < width - 0.5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numba
import numpy as np
import pyproj
from numpy.typing import NDArray
from pyproj.exceptions import CRSError, ProjError

from geoforecast.errors import GridMismatchError
from geoforecast.raster import bilinear as linear
from geoforecast.raster import kernels
from geoforecast.raster.grid import Grid, Tile

LATTICE_PX = 32
MAX_ERROR_PX = 1e-3
# Aligned grids meet at whole and half pixels; rounding noise must not decide there.
SNAP_PX = 1e-5
CHECK_POINTS = 1000

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CoordinateMap:
    """Where each pixel of a target grid lies in a source image.

    Attributes:
        target, source: the two grids.
        affine: (a, b, c, d, e, f) with x = a col + b row + c, y = d col + e row + f; used
            if ``step`` is 0.
        lattice: (2, nodes_y, nodes_x) source x and y at every ``step``-th target pixel.
        step: target pixels between nodes; 0 for an affine map.
    """

    target: Grid
    source: Grid
    affine: Floats
    lattice: Floats
    step: int

    @property
    def identity(self) -> bool:
        """The grids are the same, so pixels are copied."""
        same_place = self.step == 0 and bool((self.affine == _IDENTITY).all())
        return same_place and self.target.shape == self.source.shape

    @property
    def shift(self) -> tuple[int, int] | None:
        """Rows and columns from target to source pixels where pixels coincide, else None."""
        (a, b, c, d, e, f), (rows, cols) = self.affine, np.rint(self.affine[[5, 2]])
        whole = max(abs(c - cols), abs(f - rows)) < SNAP_PX / 2
        if self.step or not whole or (a, b, d, e) != (1.0, 0.0, 0.0, 1.0):
            return None
        return int(rows), int(cols)

    def at(self, tile: Tile) -> tuple[Floats, Floats]:
        """Source x and y of a tile's pixels, each (height, width); NaN where there is none."""
        x = np.empty(tile.shape)
        y = np.empty(tile.shape)
        if self.step == 0:
            _affine_coordinates(self.affine, tile.row0, tile.col0, 0.0, x, y)
        else:
            _lattice_coordinates(self.lattice, self.step, tile.row0, tile.col0, 0.0, x, y)
        return x, y

    def corners(self, tile: Tile) -> tuple[Floats, Floats]:
        """Source x and y of a tile's pixel corners, each (height + 1, width + 1).

        NaN where there is none, and where pixels on either side of the corner lie at
        opposite ends of a source that goes round the globe: a footprint cannot be two.
        """
        x = np.empty((tile.shape[0] + 1, tile.shape[1] + 1))
        y = np.empty_like(x)
        if self.step == 0:
            _affine_coordinates(self.affine, tile.row0, tile.col0, -0.5, x, y)
            return x, y
        _lattice_coordinates(self.lattice, self.step, tile.row0, tile.col0, -0.5, x, y)
        if self.step == 1:  # a wider lattice is never exact across the seam
            rows = np.clip(np.arange(tile.row0 - 1, tile.row1), 0, self.lattice.shape[1] - 2)
            cols = np.clip(np.arange(tile.col0 - 1, tile.col1), 0, self.lattice.shape[2] - 2)
            around = [self.lattice[0][np.ix_(rows + i, cols + j)] for i in (0, 1) for j in (0, 1)]
            x[np.ptp(around, axis=0) > half_turn_px(self.source)] = np.nan
        return x, y

    @property
    def upright(self) -> bool:
        """Rows and columns of the two grids run alike, so that x and y are separable."""
        return self.step == 0 and self.affine[1] == self.affine[3] == 0

    def axes(self, tile: Tile) -> tuple[Floats, Floats]:
        """Of an upright map: source x of the columns, (1, width), y of the rows, (height, 1)."""
        x, _ = self.at(Tile(tile.row0, tile.row0 + 1, tile.col0, tile.col1))
        _, y = self.at(Tile(tile.row0, tile.row1, tile.col0, tile.col0 + 1))
        return x, y

    @cached_property
    def coarseness(self) -> float:
        """Source pixels along a target pixel's side, typically; 0 if the grids do not meet."""
        if self.step == 0:
            a, b, _, d, e, _ = self.affine
            return math.sqrt(abs(a * e - b * d))
        across = np.diff(self.lattice, axis=2)[:, :-1] / self.step
        down = np.diff(self.lattice, axis=1)[:, :, :-1] / self.step
        sides = np.sqrt(np.abs(across[0] * down[1] - across[1] * down[0]))
        height, width = self.source.shape
        x, y = self.lattice[:, :-1, :-1]
        met = (x > -1) & (x < width) & (y > -1) & (y < height) & np.isfinite(sides)
        return float(np.median(sides[met])) if met.any() else 0.0


_IDENTITY = np.array([1.0, 0.0, 0.0, 0.0, 1.0, 0.0])


def coordinate_map(target: Grid, source: Grid) -> CoordinateMap:
    """The map from a target grid's pixels into a source image.

    Args:
        target: where pixels are wanted.
        source: where pixels are.
    Raises:
        GridMismatchError: PROJ knows no way between the two CRSs.
    """
    none = np.empty((2, 0, 0))
    if target.transform == source.transform and same_crs(target.wkt, source.wkt):
        return CoordinateMap(target, source, _IDENTITY, none, 0)
    if same_crs(target.wkt, source.wkt):
        return CoordinateMap(target, source, _affine_between(target, source), none, 0)
    forward = _Forward(target, source)
    step = LATTICE_PX
    while True:
        lattice = forward.lattice(step)
        if step == 1 or forward.error_px(lattice, step) < MAX_ERROR_PX:
            return CoordinateMap(target, source, _IDENTITY, lattice, step)
        step //= 2


@lru_cache(maxsize=1024)
def same_crs(wkt_a: str, wkt_b: str) -> bool:
    """Whether two CRSs are the same, however they are written."""
    if wkt_a == wkt_b:
        return True
    try:
        return bool(pyproj.CRS.from_wkt(wkt_a) == pyproj.CRS.from_wkt(wkt_b))
    except CRSError:
        return False


@lru_cache(maxsize=1024)
def half_turn_px(grid: Grid) -> float:
    """Pixels of 180 degrees of longitude; infinite if the grid is not in longitudes."""
    if not pyproj.CRS.from_wkt(grid.wkt).is_geographic:
        return float("inf")
    return float(180 / max(abs(grid.transform.a), abs(grid.transform.b)))


def way_between(target: Grid, source: Grid) -> pyproj.Transformer:
    """What takes the target's x, y to the source's.

    Raises:
        GridMismatchError: PROJ knows none, as between planets.
    """
    try:
        return pyproj.Transformer.from_crs(
            pyproj.CRS.from_wkt(target.wkt), pyproj.CRS.from_wkt(source.wkt), always_xy=True
        )
    except (CRSError, ProjError) as error:
        raise GridMismatchError(
            "There is no way between two coordinate reference systems.",
            where=(f"from: {source.describe()}", f"to: {target.describe()}"),
            remedy="Give the files a known CRS (gdal_edit.py -a_srs EPSG:n FILE), "
            "or leave them out.",
        ) from error


def sample(
    values: NDArray[Any],
    valid: NDArray[np.bool_],
    window: Tile,
    source_shape: tuple[int, int],
    x: Floats,
    y: Floats,
    *,
    bilinear: bool,
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Values at source coordinates.

    A result is valid if the nearest source pixel is, so that resampling neither grows nor
    shrinks the data; bilinear weights are shared out among the valid neighbours, so that
    a nodata value never enters a result.

    Args:
        values: (h, w) pixels of the source in ``window``, float32 if bilinear.
        valid: (h, w), True = usable.
        window: where ``values`` lies in the source; from CoordinateMap.window.
        source_shape: (height, width) of the whole source.
        x, y: source coordinates in pixels, from CoordinateMap.at.
        bilinear: else nearest.
    Returns:
        values in the shape of ``x`` and the dtype of ``values``, 0 where invalid; valid.
    """
    result = np.empty((1, *x.shape), values.dtype)
    usable = np.empty((1, *x.shape), np.bool_)
    kernel = linear.bilinear if bilinear else kernels.nearest
    place = (window.row0, window.col0, *source_shape)
    kernel(values[None], valid[None], kernels.as_they_are(1), *place, x, y, result, usable)
    return np.where(usable[0], result[0], values.dtype.type(0)), usable[0]


def _affine_between(target: Grid, source: Grid) -> Floats:
    t, s = target.transform, source.transform
    if not (target.rotated or source.rotated):
        # Differences of origins first: a product of inverses would lose digits.
        a, e = t.a / s.a, t.e / s.e
        c, f = (t.c - s.c) / s.a, (t.f - s.f) / s.e
        numbers = [a, 0.0, c + 0.5 * a - 0.5, 0.0, e, f + 0.5 * e - 0.5]
    else:
        m = ~s @ t
        numbers = [m.a, m.b, m.c + 0.5 * (m.a + m.b) - 0.5]
        numbers += [m.d, m.e, m.f + 0.5 * (m.d + m.e) - 0.5]
    return np.array(numbers, dtype=np.float64)


class _Forward:
    """PROJ from target pixels to source pixels, evaluated point by point."""

    def __init__(self, target: Grid, source: Grid) -> None:
        self.target, self.source = target, source
        self.transformer = way_between(target, source)
        self.geographic = pyproj.CRS.from_wkt(source.wkt).is_geographic
        left, _, right, _ = source.bounds
        self.middle = (left + right) / 2
        self.inverse = ~source.transform

    def __call__(self, col: Floats, row: Floats) -> tuple[Floats, Floats]:
        """Source x, y in pixels of target pixel centres; NaN where PROJ has no answer."""
        t = self.target.transform
        px, py = col + 0.5, row + 0.5
        sx, sy = self.transformer.transform(
            t.a * px + t.b * py + t.c, t.d * px + t.e * py + t.f, errcheck=False
        )
        sx, sy = np.asarray(sx, float), np.asarray(sy, float)
        bad = ~(np.isfinite(sx) & np.isfinite(sy))
        sx, sy = np.where(bad, np.nan, sx), np.where(bad, np.nan, sy)
        if self.geographic:  # longitudes of 0..360 and -180..180 are the same places
            sx = sx - 360 * np.round((sx - self.middle) / 360)
        i = self.inverse
        return i.a * sx + i.b * sy + i.c - 0.5, i.d * sx + i.e * sy + i.f - 0.5

    def lattice(self, step: int) -> Floats:
        """(2, nodes_y, nodes_x) source coordinates; nodes reach the last pixel or beyond."""
        height, width = self.target.shape
        rows = np.arange(0, height - 1 + step, step, dtype=np.float64)
        cols = np.arange(0, width - 1 + step, step, dtype=np.float64)
        # At least two nodes each way, so that every pixel lies between nodes.
        rows = rows if len(rows) > 1 else np.array([0.0, step])
        cols = cols if len(cols) > 1 else np.array([0.0, step])
        col, row = np.meshgrid(cols, rows)
        return np.stack(self(col, row))

    def error_px(self, lattice: Floats, step: int) -> float:
        """Largest error of linear interpolation, in source pixels, where the source is.

        Checked in the middle of each lattice cell, where it is largest, and at seeded
        random pixels.
        """
        height, width = self.target.shape
        rows = np.arange(step // 2, height, step)
        cols = np.arange(step // 2, width, step)
        col, row = (a.ravel() for a in np.meshgrid(cols, rows))
        rng = np.random.default_rng(0)
        col = np.concatenate([col, rng.integers(0, width, CHECK_POINTS)])
        row = np.concatenate([row, rng.integers(0, height, CHECK_POINTS)])
        exact = np.stack(self(col.astype(float), row.astype(float)))
        linear = _interpolate(lattice, step, col, row)
        source_height, source_width = self.source.shape
        near = (np.abs(exact[0] - source_width / 2) <= source_width / 2 + 1) & (
            np.abs(exact[1] - source_height / 2) <= source_height / 2 + 1
        )
        if not near.any():
            return 0.0
        difference = np.abs(exact - linear)[:, near]
        return float(np.where(np.isnan(difference), np.inf, difference).max())


def _interpolate(lattice: Floats, step: int, col: NDArray[Any], row: NDArray[Any]) -> Floats:
    i, j = row // step, col // step
    v, u = (row - i * step) / step, (col - j * step) / step
    top = lattice[:, i, j] * (1 - u) + lattice[:, i, np.minimum(j + 1, lattice.shape[2] - 1)] * u
    i = np.minimum(i + 1, lattice.shape[1] - 1)
    low = lattice[:, i, j] * (1 - u) + lattice[:, i, np.minimum(j + 1, lattice.shape[2] - 1)] * u
    return np.asarray(top * (1 - v) + low * v)


@numba.njit(nogil=True, cache=True, inline="always")
def _snapped(value: float) -> float:
    near = np.rint(value * 2.0) / 2.0
    return near if abs(value - near) < SNAP_PX else value


@numba.njit(nogil=True, cache=True)
def _cell(place: float, step: int, last: int) -> int:
    """The node before a place; beyond the outer nodes the outer cell is drawn on."""
    node = min(max(int(np.floor(place / step)), 0), last)
    return node - 1 if node == last and place > node * step else node


@numba.njit(nogil=True, cache=True)
def _affine_coordinates(
    m: Floats, row0: int, col0: int, shift: float, x: Floats, y: Floats
) -> None:
    ma, mb, mc, md, me, mf = m[0], m[1], m[2], m[3], m[4], m[5]
    for i in range(x.shape[0]):
        row = row0 + i + shift
        for j in range(x.shape[1]):
            col = col0 + j + shift
            x[i, j] = _snapped(ma * col + mb * row + mc)
            y[i, j] = _snapped(md * col + me * row + mf)


@numba.njit(nogil=True, cache=True)
def _lattice_coordinates(
    lattice: Floats, step: int, row0: int, col0: int, shift: float, x: Floats, y: Floats
) -> None:
    last_row, last_col = lattice.shape[1] - 1, lattice.shape[2] - 1
    wide = x.shape[1]
    nodes_x, nodes_y = np.empty(last_col + 1), np.empty(last_col + 1)
    for i in range(x.shape[0]):
        row = row0 + i + shift
        n = _cell(row, step, last_row)
        v = (row - n * step) / step
        n1 = min(n + 1, last_row)
        for k in range(last_col + 1):  # the lattice at this row, then along it
            nodes_x[k] = lattice[0, n, k] * (1.0 - v) + lattice[0, n1, k] * v
            nodes_y[k] = lattice[1, n, k] * (1.0 - v) + lattice[1, n1, k] * v
        j = 0
        while j < wide:
            col = col0 + j + shift
            k = _cell(col, step, last_col)
            k1 = min(k + 1, last_col)
            stop = wide
            if k == last_col:
                stop = j + 1
            elif col < k1 * step:
                stop = min(wide, int(np.ceil(k1 * step - col0 - shift)))
            x0, x1, y0, y1 = nodes_x[k], nodes_x[k1], nodes_y[k], nodes_y[k1]
            for c in range(j, stop):
                u = (col0 + c + shift - k * step) / step
                x[i, c] = _snapped(x0 * (1.0 - u) + x1 * u)
                y[i, c] = _snapped(y0 * (1.0 - u) + y1 * u)
            j = stop
