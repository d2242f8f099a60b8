"""The one grid that all scenes go to: theirs if they share it, else settled by rule."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.errors import CRSError as RasterioCRSError
from rasterio.errors import RasterioError
from rasterio.warp import calculate_default_transform, transform_bounds

from geoforecast.errors import GridMismatchError, InputError, SettingsError
from geoforecast.raster.geotiff import read_header
from geoforecast.raster.grid import Grid
from geoforecast.raster.resample import same_crs, way_between
from geoforecast.settings import StackSettings

MAX_PIXELS = 2**40
# Two positions closer than this share of a pixel are one.
CLOSE_PX = 1e-6
# GDAL's errors reach Python in three families.
_NO_WAY = (RasterioError, RasterioCRSError, CPLE_BaseError)

Bounds = tuple[float, float, float, float]


def target_grid(grids: Sequence[Grid], settings: StackSettings) -> tuple[Grid, str]:
    """The cube's grid.

    Args:
        grids: of each scene file, in name order.
        settings: --like, or --crs --res --bounds.
    Returns:
        The grid; a sentence on how it was settled.
    Raises:
        SettingsError: options that contradict each other or have impossible values.
        GridMismatchError: a rotated source without an explicit target, or no way between CRSs.
        InputError: the bounds hold no scene, or the grid is absurdly large.
    """
    explicit = bool(settings.crs or settings.res or settings.bounds)
    if settings.like:
        if explicit:
            raise SettingsError(
                "--like takes a whole grid and cannot go with --crs, --res or --bounds.",
                remedy="Leave --like or the others out.",
            )
        grid, text = _like(settings.like), f"the grid of {settings.like}"
    elif len(set(grids)) == 1 and not explicit and not grids[0].rotated:
        grid, text = grids[0], "that of all scenes; pixels are copied, not resampled"
    else:
        _refuse_rotated(grids, settings)
        grid, text = _settled(grids, settings)
    _check(grid, grids)
    return grid, f"Grid: {grid.describe()} ({text})."


def out_of_reach(
    grids: Sequence[Grid], settings: StackSettings, target: Grid | None = None
) -> dict[Grid, GridMismatchError]:
    """Those of some grids that the target's CRS cannot express, and why.

    With --like, --bounds or a target the extent is settled, so that any way between the CRSs
    will do.
    """
    if target is None and settings.like:
        target = _like(settings.like)
    wkt = target.wkt if target else _target_crs(grids, settings.crs)[0]
    found = {}
    for grid in dict.fromkeys(grids):
        try:
            if not (target or settings.bounds):
                _bounds_in(grid, wkt)
            elif not same_crs(grid.wkt, wkt):
                way_between(replace(grid, wkt=wkt), grid)
        except GridMismatchError as error:
            found[grid] = error
    return found


def extents(grids: Sequence[Grid], settings: StackSettings) -> list[Bounds]:
    """Left, bottom, right, top of each grid in the CRS that target_grid would choose.

    Raises:
        GridMismatchError: one cannot be expressed in it; see out_of_reach.
    """
    wkt = _target_crs(grids, settings.crs)[0]
    return [_bounds_in(grid, wkt) for grid in grids]


def _like(path: str) -> Grid:
    if not Path(path).is_file():
        raise InputError(f"--like {path} does not exist.", remedy="Check the path.")
    grid = read_header(Path(path)).grid
    if not grid.wkt or grid.rotated:
        what = "is rotated" if grid.wkt else "has no coordinate reference system"
        raise GridMismatchError(
            f"--like {path} {what}.", remedy="Name a GeoTIFF whose rows run along an axis."
        )
    return grid


def _refuse_rotated(grids: Sequence[Grid], settings: StackSettings) -> None:
    rotated = [grid for grid in grids if grid.rotated]
    if rotated and not (settings.crs and settings.res):
        raise GridMismatchError(
            f"{len(rotated)} of {len(grids)} scenes have a rotated grid, which has no x and y "
            "axes.",
            where=f"first: {rotated[0].describe()}",
            remedy="Give the target with --crs and --res, or with --like; or unrotate the files "
            "first: gdalwarp IN OUT.",
        )


def _settled(grids: Sequence[Grid], settings: StackSettings) -> tuple[Grid, str]:
    wkt, crs_text = _target_crs(grids, settings.crs)
    same = [grid for grid in grids if same_crs(grid.wkt, wkt)]
    res, res_text = _resolution(same, grids, wkt, settings.res)
    # Commonest grid of the target CRS at this resolution: its lattice is kept.
    matching = [
        g
        for g in same
        if not g.rotated and all(abs(a / b - 1) < CLOSE_PX for a, b in zip(g.res, res, strict=True))
    ]
    anchor = Counter(matching).most_common(1)[0][0] if matching else None
    if anchor is not None:
        res = anchor.res
    origin = (anchor.transform.c, anchor.transform.f) if anchor is not None else (0.0, 0.0)
    if settings.bounds:
        bounds = _checked_bounds(settings.bounds)
        exact = _fits(bounds, res)
        bounds_text = "--bounds"
    else:
        bounds = _union([_bounds_in(grid, wkt) for grid in grids])
        exact, bounds_text = False, "union of extents"
    left, bottom, right, top = bounds if exact else _snapped(bounds, res, origin)
    height, width = round((top - bottom) / res[1]), round((right - left) / res[0])
    grid = Grid(wkt, Affine(res[0], 0.0, left, 0.0, -res[1], top), (height, width))
    return grid, f"{crs_text}, {res_text}, {bounds_text}"


def _target_crs(grids: Sequence[Grid], text: str) -> tuple[str, str]:
    if not text:
        groups: list[tuple[str, int]] = []
        for wkt, count in Counter(grid.wkt for grid in grids).most_common():
            known = next((i for i, (w, _) in enumerate(groups) if same_crs(w, wkt)), None)
            if known is None:
                groups.append((wkt, count))
            else:
                groups[known] = (groups[known][0], groups[known][1] + count)
        wkt, count = max(groups, key=lambda item: item[1])
        return wkt, f"commonest CRS, of {count} of {len(grids)} files"
    try:
        return CRS.from_user_input(text).to_wkt(), f"--crs {text}"
    except (RasterioCRSError, ValueError) as error:
        raise SettingsError(
            f"--crs {text} is no coordinate reference system that PROJ knows.",
            remedy="Give a code such as EPSG:32633, a PROJ string or WKT.",
        ) from error


def _resolution(
    same: Sequence[Grid], grids: Sequence[Grid], wkt: str, wanted: tuple[float, ...]
) -> tuple[tuple[float, float], str]:
    if wanted:
        if len(wanted) > 2 or not all(value > 0 and math.isfinite(value) for value in wanted):
            raise SettingsError(
                f"--res {','.join(map(str, wanted))} is no pixel size.",
                remedy="Give one positive number, or x,y.",
            )
        return (wanted[0], wanted[-1]), f"--res {wanted[0]:g} x {wanted[-1]:g}"
    if same:
        sizes = [grid.res for grid in same]
    else:
        sizes = [_res_in(grid, wkt) for grid in sorted(set(grids), key=repr)]
    x, y = np.median(np.array(sizes), axis=0)
    return (float(x), float(y)), f"median resolution {x:.7g} x {y:.7g}"


def _res_in(grid: Grid, wkt: str) -> tuple[float, float]:
    height, width = grid.shape
    try:
        with rasterio.Env():  # sends GDAL's messages to logging instead of stderr
            transform, _, _ = calculate_default_transform(
                grid.crs, CRS.from_wkt(wkt), width, height, *grid.bounds
            )
    except _NO_WAY as error:
        raise _no_way(grid, wkt) from error
    return abs(transform.a), abs(transform.e)


def _bounds_in(grid: Grid, wkt: str) -> Bounds:
    if same_crs(grid.wkt, wkt):
        return grid.bounds
    try:
        with rasterio.Env():
            bounds: Bounds = transform_bounds(grid.crs, CRS.from_wkt(wkt), *grid.bounds)
    except _NO_WAY as error:
        raise _no_way(grid, wkt) from error
    if not all(math.isfinite(value) for value in bounds):
        raise _no_way(grid, wkt)
    return bounds


def _no_way(grid: Grid, wkt: str) -> GridMismatchError:
    return GridMismatchError(
        "A scene's extent cannot be expressed in the target CRS.",
        where=(f"scene: {grid.describe()}", f"target: {CRS.from_wkt(wkt).to_string()[:80]}"),
        remedy="Choose another --crs, or give --bounds and --res with it.",
    )


def _union(extents: Sequence[Bounds]) -> Bounds:
    left, bottom, right, top = zip(*extents, strict=True)
    return min(left), min(bottom), max(right), max(top)


def _checked_bounds(bounds: tuple[float, ...]) -> Bounds:
    if len(bounds) != 4 or not (bounds[0] < bounds[2] and bounds[1] < bounds[3]):
        raise SettingsError(
            f"--bounds {','.join(f'{v:g}' for v in bounds)} enclose nothing.",
            remedy="Give left,bottom,right,top in the target CRS's units.",
        )
    return bounds[0], bounds[1], bounds[2], bounds[3]


def _fits(bounds: Bounds, res: tuple[float, float]) -> bool:
    """Whether the bounds are a whole number of pixels apart already."""
    sizes = (bounds[2] - bounds[0]) / res[0], (bounds[3] - bounds[1]) / res[1]
    return all(abs(size - round(size)) < CLOSE_PX * max(1, size) and round(size) for size in sizes)


def _snapped(bounds: Bounds, res: tuple[float, float], origin: tuple[float, float]) -> Bounds:
    """Bounds moved outward onto the lattice of pixel edges through ``origin``."""

    def edge(value: float, axis: int, up: bool) -> float:
        steps = (value - origin[axis]) / res[axis]
        near = round(steps)
        if abs(steps - near) >= CLOSE_PX * max(1.0, abs(steps) * 1e-3):
            near = math.ceil(steps) if up else math.floor(steps)
        return origin[axis] + near * res[axis]

    left, bottom, right, top = bounds
    return edge(left, 0, False), edge(bottom, 1, False), edge(right, 0, True), edge(top, 1, True)


def _check(grid: Grid, grids: Sequence[Grid]) -> None:
    if grid.shape[0] * grid.shape[1] > MAX_PIXELS:
        raise InputError(
            f"A grid of {grid.shape[1]} x {grid.shape[0]} pixels is too large.",
            where=f"pixel size: {grid.res[0]:g} x {grid.res[1]:g}",
            remedy="Check --res and --bounds; they are in the target CRS's units.",
        )
    left, bottom, right, top = grid.bounds
    extents = []
    for source in dict.fromkeys(grids):
        a, b, c, d = _bounds_in(source, grid.wkt)
        if grid.crs.is_geographic:  # 350 and -10 degrees are one meridian
            turns = round(((left + right) - (a + c)) / 720) * 360
            a, c = a + turns, c + turns
        if a < right and c > left and b < top and d > bottom:
            return
        extents.append((a, b, c, d))
    scenes = ", ".join(f"{value:.10g}" for value in _union(extents))
    raise InputError(
        "The target grid holds no scene.",
        where=(
            f"target: {', '.join(f'{value:.10g}' for value in grid.bounds)}",
            f"scenes: {scenes} (left, bottom, right, top)",
        ),
        remedy="Check --bounds or --like; bounds are in the target CRS's units.",
    )
