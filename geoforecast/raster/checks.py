"""What makes a GeoTIFF unusable before any pixel is read: its name, size or place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from affine import Affine
from rasterio.enums import Interleaving
from rasterio.io import DatasetReader

from geoforecast.errors import SceneError
from geoforecast.raster.layout import FETCH_AGAIN, Layout, printable, stamp_of

# GDAL holds a decoded block whole, and once more where its bands are interleaved.
MAX_BLOCK_BYTES = 2**27
# Declared bytes to stored ones: a constant raster in the densest codec stays below.
MAX_RATIO = 100_000
MAX_EMPTY_RATIO = 5000
UNCHECKED_BYTES = 2**28
# More days than forty years have.
MOST_BANDS = 2**14
# Farther out than any map in any unit of length; and beyond poles and turns in degrees or
# gons, half a global pixel more included.
FARTHEST = 1e12
FARTHEST_DEGREES = (1000.0, 110.0)


def check_name(path: Path) -> None:
    """Refuse names that GDAL takes for something else."""
    if str(path.absolute()).startswith("/vsi"):
        raise SceneError(
            f"{printable(path)} is a GDAL virtual path.",
            remedy="Copy the file to disk, then give its path.",
        )
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as error:
        raise SceneError(
            f"The name of {printable(path)} is not in UTF-8, which GDAL demands.",
            remedy="Rename the file.",
        ) from error


def check_stamp(path: Path, stamp: tuple[int, int]) -> None:
    """Refuse a file that is another than it was."""
    try:
        now = stamp_of(path.stat())
    except OSError as error:
        raise SceneError(
            f"{printable(path)} vanished while it was being read: {error.strerror}.",
            remedy="Stack again when the folder is complete.",
        ) from error
    if now != stamp:
        raise SceneError(
            f"{printable(path)} changed while it was being read.",
            remedy="Stack again when nothing writes into the folder any more.",
        )


def check_size(dataset: DatasetReader, path: Path, layout: Layout) -> None:
    """Refuse what could not be held in memory, and what no file of its size can hold."""
    if dataset.count > MOST_BANDS:
        raise SceneError(
            f"{printable(path)} has {dataset.count} bands; {MOST_BANDS} are the most.",
            remedy="Split it: gdal_translate -b N IN OUT.",
        )
    sizes = [np.dtype({"float16": "float32"}.get(name, name)).itemsize for name in dataset.dtypes]
    size = layout.stamp[0]
    declared = sum(sizes) * dataset.height * dataset.width
    ratio = MAX_RATIO if layout.stored else MAX_EMPTY_RATIO
    if declared > UNCHECKED_BYTES and declared > ratio * size:
        raise SceneError(
            f"{printable(path)} declares {dataset.width} x {dataset.height} pixels "
            f"({declared / 2**30:.1f} GiB) in a file of {size} bytes with {layout.stored} blocks.",
            remedy=FETCH_AGAIN,
        )
    rows, cols = dataset.block_shapes[0]
    together = sum(sizes) if dataset.interleaving == Interleaving.pixel else max(sizes)
    if rows * cols * together > MAX_BLOCK_BYTES:
        raise SceneError(
            f"{printable(path)} has blocks of {cols} x {rows} pixels, "
            f"{rows * cols * together >> 20} MiB each; {MAX_BLOCK_BYTES >> 20} MiB are the most.",
            remedy="Write it in smaller blocks: gdal_translate -co TILED=YES IN OUT.",
        )


def check_transform(dataset: DatasetReader, path: Path) -> None:
    """Refuse a file whose pixels have no place, or whose place no affine transform tells."""
    transform = dataset.transform
    if transform == Affine.identity():
        points = len(dataset.gcps[0])
        if points in (1, 2):  # too few to warp by
            raise SceneError(
                f"{printable(path)} says where {points} of its pixels "
                f"{'lies' if points == 1 else 'lie'}, but not how large a pixel is.",
                remedy="Say it: gdal_edit.py -a_ullr LEFT TOP RIGHT BOTTOM FILE.",
            )
        kind = "ground control points" if points else "RPCs" if dataset.rpcs else ""
        if kind:
            raise SceneError(
                f"{printable(path)} is placed on earth by {kind} only, not by an affine transform.",
                remedy="Rectify it first: gdalwarp -order 1 (or -rpc) IN OUT.",
            )
        raise SceneError(
            f"{printable(path)} does not say where its pixels lie: it has no geotransform.",
            remedy="Say it: gdal_edit.py -a_srs EPSG:n -a_ullr LEFT TOP RIGHT BOTTOM FILE; if a "
            "world file does, gdal_translate IN OUT takes it in.",
        )
    corners = [transform @ (c, r) for c in (0, dataset.width) for r in (0, dataset.height)]
    far = max(abs(x) for x, _ in corners), max(abs(y) for _, y in corners)
    # Comparisons with NaN are False, whichever way round they are put.
    if not (max(far) < FARTHEST and sum(far) < FARTHEST and abs(transform.determinant) > 0):
        numbers = ", ".join(f"{value:g}" for value in transform.to_gdal())
        raise SceneError(
            f"{printable(path)} has a geotransform that places no pixel: {numbers}.",
            remedy="Correct it: gdal_edit.py -a_ullr LEFT TOP RIGHT BOTTOM FILE.",
        )
    most = FARTHEST_DEGREES
    if (far[0] > most[0] or far[1] > most[1]) and dataset.crs and dataset.crs.is_geographic:
        raise SceneError(
            f"{printable(path)} says that its coordinates are degrees, but they go to "
            f"{far[0]:.10g} east and {far[1]:.10g} north.",
            remedy="Say what they are: gdal_edit.py -a_srs EPSG:n FILE.",
        )
