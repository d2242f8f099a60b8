"""Polygons from files: read, brought to a grid's CRS, and burnt into its pixels.

GDAL reads the files (GeoPackage, GeoJSON, Shapefile, FlatGeobuf), through pyogrio. A pixel lies
in a polygon if its centre does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import rasterio.features
from affine import Affine
from numpy.typing import NDArray
from pyproj.exceptions import CRSError, ProjError

from geoforecast.errors import GridMismatchError, InputError
from geoforecast.raster.grid import Grid, Tile

# By the file's ending: other drivers of GDAL may open further files, or addresses on a network.
DRIVERS = {
    ".gpkg": "GPKG",
    ".geojson": "GeoJSON",
    ".json": "GeoJSON",
    ".shp": "ESRI Shapefile",
    ".fgb": "FlatGeobuf",
}
NAME_FIELDS = ("name", "id")
PARTS_AN_EDGE = 100  # into which a polygon's longest side is cut before it is reprojected
LATTICE_PX = 512  # of the blocks that are burnt; fixed to the raster, so that tiles are exact


@dataclass(frozen=True)
class Region:
    """A named part of a grid.

    Attributes:
        name: from the file.
        geometry: a shapely polygon or multipolygon, in the grid's CRS.
    """

    name: str
    geometry: Any


def read_polygons(path: Path, grid: Grid) -> list[Region]:
    """The polygons of a file that touch a grid, in its CRS, in the order of the file.

    A polygon is named by the field ``name``, else ``id`` (in any case), else the first field
    of text, else by its number in the file, from 1. Those of one name become one region.

    Args:
        path: a GeoPackage (its first layer), GeoJSON, Shapefile or FlatGeobuf.
        grid: the raster that they shall be burnt into.
    Raises:
        InputError: the file cannot be read, has no CRS, no polygon or an invalid one, or none
            of them touches the grid.
        GridMismatchError: the grid has no CRS, or its CRS cannot show the polygons.
    """
    import shapely

    meta, names, shapes = _read(path)
    way = _way(path, str(meta["crs"] or ""), grid)
    area = _near(way, grid)
    box = shapely.box(*grid.bounds)
    regions: dict[str, list[Any]] = {}
    for number, (name, shape) in enumerate(zip(names, shapes, strict=True), 1):
        _check(path, number, name, shape)
        if area is not None and not shape.intersects(area):
            continue  # far away, where the grid's CRS may have no place for it
        moved = _moved(path, number, name, shape, way)
        if moved.intersection(box).area > 0:
            regions.setdefault(name, []).append(moved)
    if not regions:
        raise InputError(
            f"No polygon of {path.name} touches the raster.",
            where=(
                f"polygons: {len(shapes)}, {_bounds_text(shapely.total_bounds(shapes))} "
                f"in {meta['crs']}",
                f"raster: {_bounds_text(grid.bounds)} in {grid.describe()}",
            ),
            remedy="Check the file's CRS, and that it is of this place.",
        )
    return [
        Region(name, shapely.union_all(parts) if len(parts) > 1 else parts[0])
        for name, parts in regions.items()
    ]


def inside(geometry: Any, grid: Grid, tile: Tile) -> NDArray[np.bool_]:
    """(y, x) where the centres of a tile's pixels lie in a geometry of the grid's CRS.

    The same for a pixel whatever tile it is asked with.
    """
    return burnt([geometry], grid, tile) > 0


def rasterise(regions: Sequence[Region], grid: Grid, tile: Tile) -> NDArray[np.int32]:
    """(y, x) number of the region that each pixel of a tile lies in, from 1; 0 in none.

    Where regions overlap, the first one counts; who wants each whole asks ``inside``.

    Args:
        regions: from read_polygons.
        grid: the one that they were read for.
        tile: the pixels wanted.
    """
    return burnt([region.geometry for region in regions], grid, tile)


def burnt(geometries: Sequence[Any], grid: Grid, tile: Tile) -> NDArray[np.int32]:
    """(y, x) number of the first geometry, from 1, that a pixel's centre lies in; else 0."""
    found = np.zeros(tile.shape, dtype=np.int32)
    numbered = [(shape, number) for number, shape in enumerate(geometries, 1)][::-1]
    for block in _blocks(tile, grid.shape):
        x, y = (float(side) for side in grid.transform @ (block.col0, block.row0))
        t = grid.transform
        values = rasterio.features.rasterize(
            numbered,
            out_shape=block.shape,
            transform=Affine(t.a, t.b, x, t.d, t.e, y),
            dtype="int32",
        )
        wanted = _shared(block, tile)
        found[wanted.within(tile)] = values[wanted.within(block)]
    return found


def _blocks(tile: Tile, shape: tuple[int, int]) -> list[Tile]:
    """The lattice blocks that a tile touches: a block's corner decides the last bits."""
    first = tile.row0 // LATTICE_PX * LATTICE_PX, tile.col0 // LATTICE_PX * LATTICE_PX
    return [
        Tile(row, min(row + LATTICE_PX, shape[0]), col, min(col + LATTICE_PX, shape[1]))
        for row in range(first[0], tile.row1, LATTICE_PX)
        for col in range(first[1], tile.col1, LATTICE_PX)
    ]


def _shared(one: Tile, other: Tile) -> Tile:
    return Tile(
        max(one.row0, other.row0),
        min(one.row1, other.row1),
        max(one.col0, other.col0),
        min(one.col1, other.col1),
    )


def _read(path: Path) -> tuple[Mapping[str, Any], list[str], NDArray[Any]]:
    """The file's metadata, and name and geometry of each feature."""
    import pyogrio
    import shapely

    if not path.is_file():
        raise InputError(f"There is no file {path}.", remedy="Name a file of polygons.")
    driver = DRIVERS.get(path.suffix.lower())
    if driver is None:
        raise InputError(
            f"{path.name} is no file of polygons that is known here.",
            remedy=f"Give one of {', '.join(DRIVERS)}, such as ogr2ogr makes.",
        )
    try:
        found = pyogrio.read_info(path)["driver"]
        if found != driver:
            raise InputError(
                f"{path.name} is not what its name says: {found}.", remedy="Rename or convert it."
            )
        meta, _, shapes, columns = pyogrio.raw.read(path, force_2d=True)
        geometries = shapely.from_wkb(shapes if shapes is not None else [])
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, OSError) as error:
        raise _unreadable(path, error) from error
    except (pyogrio.errors.FeatureError, shapely.errors.GEOSException, ValueError) as error:
        raise _unreadable(path, error) from error
    if not len(geometries):
        raise InputError(f"{path.name} holds no polygon.", remedy="Give one that does.")
    return meta, _names(meta, columns, len(geometries)), geometries


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return InputError(
        f"{path.name} cannot be read as polygons: {reason}.",
        where=str(path.parent),
        remedy="Open it in QGIS or with ogrinfo to see what is wrong.",
    )


def _names(meta: Mapping[str, Any], columns: Sequence[Any], count: int) -> list[str]:
    fields = [str(field) for field in meta["fields"]]
    lower = [field.lower() for field in fields]
    for wanted in NAME_FIELDS:
        if wanted in lower:
            return _as_text(columns[lower.index(wanted)])
    for values in columns:
        if values.dtype.kind in "OU" and any(isinstance(value, str) for value in values):
            return _as_text(values)
    return [str(number) for number in range(1, count + 1)]


def _as_text(values: Sequence[Any]) -> list[str]:
    """Names; a feature that has none is called by its number."""
    result = []
    for number, value in enumerate(values, 1):
        gone = value is None or (isinstance(value, float | np.floating) and math.isnan(value))
        whole = isinstance(value, float | np.floating) and not gone and float(value).is_integer()
        text = str(number) if gone else str(int(value) if whole else value).strip()
        result.append(text or str(number))
    return result


def _check(path: Path, number: int, name: str, shape: Any) -> None:
    import shapely

    label = f"Polygon {number} of {path.name}" + (f" ({name})" if name != str(number) else "")
    if shape is None or shape.is_empty:
        raise InputError(f"{label} has no geometry.", remedy="Remove it from the file.")
    if shape.geom_type not in ("Polygon", "MultiPolygon"):
        raise InputError(
            f"{label} is a {shape.geom_type}, no polygon.",
            remedy="Give polygons; buffer points and lines first.",
        )
    if not shape.is_valid:
        raise InputError(
            f"{label} is not valid.",
            where=shapely.is_valid_reason(shape),
            remedy=f"Repair it, such as with ogr2ogr -makevalid REPAIRED {path.name}.",
        )


def _way(path: Path, crs: str, grid: Grid) -> pyproj.Transformer | None:
    """From the file's CRS to the grid's; None where they are the same."""
    if not crs:
        raise InputError(
            f"{path.name} has no CRS, so nobody can say where its polygons lie.",
            remedy=f"Give it one: ogr2ogr -a_srs EPSG:n WITH_CRS {path.name}.",
        )
    if not grid.wkt:
        raise GridMismatchError(
            f"The raster has no CRS, so the polygons of {path.name} cannot be placed in it.",
            remedy="Stack scenes that have one (gdal_edit.py -a_srs EPSG:n FILE).",
        )
    try:
        source, target = pyproj.CRS.from_user_input(crs), pyproj.CRS.from_wkt(grid.wkt)
        if source.equals(target, ignore_axis_order=True):
            return None
        return pyproj.Transformer.from_crs(source, target, always_xy=True)
    except (CRSError, ProjError) as error:
        raise GridMismatchError(
            f"There is no way from the CRS of {path.name} to that of the raster.",
            where=(f"from: {crs}", f"to: {grid.describe()}"),
            remedy="Give the polygons in the raster's CRS: ogr2ogr -t_srs.",
        ) from error


def _near(way: pyproj.Transformer | None, grid: Grid) -> Any:
    """The grid and as much again about it, in the file's CRS; None where that has no box."""
    import shapely

    left, bottom, right, top = grid.bounds
    width, height = right - left, top - bottom
    wide = left - width, bottom - height, right + width, top + height
    if way is None:
        return shapely.box(*wide)
    try:
        found = way.transform_bounds(*wide, direction="INVERSE")
    except ProjError:
        return None
    # Across the date line the left end is the larger one.
    usable = np.isfinite(found).all() and found[0] < found[2] and found[1] < found[3]
    return shapely.box(*found) if usable else None


def _moved(path: Path, number: int, name: str, shape: Any, way: pyproj.Transformer | None) -> Any:
    import shapely

    if way is None:
        return shape
    left, bottom, right, top = shape.bounds
    # A straight edge of one CRS is a curve in another.
    cut = shapely.segmentize(shape, max(right - left, top - bottom) / PARTS_AN_EDGE)
    moved = shapely.transform(cut, way.transform, interleaved=False)
    if not np.isfinite(shapely.get_coordinates(moved)).all():
        raise GridMismatchError(
            f"Polygon {number} of {path.name} ({name}) reaches where the raster's CRS knows no "
            "place.",
            where=f"its bounds: {_bounds_text(shape.bounds)}",
            remedy="Cut the polygons to the raster: ogr2ogr -clipsrc.",
        )
    return moved if moved.is_valid else shapely.make_valid(moved)


def _bounds_text(bounds: Sequence[float]) -> str:
    left, bottom, right, top = bounds
    return f"x {left:.6g} to {right:.6g}, y {bottom:.6g} to {top:.6g}"
