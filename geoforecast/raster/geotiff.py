"""The only reader and writer of GeoTIFF pixels.

Only GDAL's GTiff driver opens inputs: a VRT renamed to .tif could read any other path. It
sees a file only after `layout` has compared its blocks with its size, it opens no other file
(`sidecars`) and no address on a network, and it never writes beside one.
"""

from __future__ import annotations

import contextlib
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from geoforecast.errors import SceneError
from geoforecast.raster.checks import check_name, check_size, check_stamp, check_transform
from geoforecast.raster.grid import Grid, Tile
from geoforecast.raster.layout import FETCH_AGAIN, Layout, printable, read_layout
from geoforecast.raster.sidecars import refuse_sidecars
from geoforecast.system import gdal_cache_mib

GDAL_OPTIONS: dict[str, Any] = {
    "GDAL_NUM_THREADS": "1",
    # GDAL's own default is a share of the whole machine, for each process.
    "GDAL_CACHEMAX": min(16, gdal_cache_mib()),
    "GTIFF_IGNORE_READ_ERRORS": "NO",
    # Whatever the shell says: no pixel's place may hang on a variable.
    "GTIFF_POINT_GEO_IGNORE": "NO",
    "GTIFF_HONOUR_NEGATIVE_SCALEY": "NO",
    # No other file: no .aux.xml, .msk, .ovr or .tfw is looked for or written.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_GEOREF_SOURCES": "INTERNAL",
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none",
}
OTHER_CODEC = (
    "Write it with another codec, where there is a GDAL that has this one: gdal_translate "
    "-co COMPRESS=DEFLATE IN OUT; or leave it out with --on-error quarantine."
)
# In these families GDAL's errors reach Python, text that is no UTF-8 among them.
GDAL_ERRORS = (RasterioError, CPLE_BaseError, CRSError, UnicodeDecodeError)


@dataclass(frozen=True)
class Header:
    """What a GeoTIFF says about itself, read without any pixel.

    Attributes:
        path: the file.
        grid: CRS (may be empty), transform and shape.
        dtypes: numpy dtype name of each band.
        nodata: raw nodata of each band, or None.
        scales, offsets: of each band; 1 and 0 where the file says nothing.
        descriptions: name of each band, or "".
        units: unit of each band, or "".
        tags: dataset tags.
        alpha: 1-based index of an alpha band, or 0.
        own_mask: the file brings a per-dataset mask.
        block: (rows, columns) of the file's blocks.
        stamp: size and time of last change, which tell whether the file is still the same.
        pages: images in the file; the first is read.
    """

    path: Path
    grid: Grid
    dtypes: tuple[str, ...]
    nodata: tuple[float | None, ...]
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    descriptions: tuple[str, ...]
    units: tuple[str, ...]
    tags: Mapping[str, str]
    alpha: int
    own_mask: bool
    block: tuple[int, int]
    stamp: tuple[int, int] = (0, 0)
    pages: int = 1

    @property
    def count(self) -> int:
        return len(self.dtypes)


@contextlib.contextmanager
def open_geotiff(path: Path, header: Header | None = None) -> Iterator[rasterio.io.DatasetReader]:
    """A GeoTIFF opened by the GTiff driver alone, with errors a person can act on.

    Args:
        path: the file.
        header: as read before; the file must still be the one that it was read from. Without
            it the file is checked as for the first time.
    Raises:
        SceneError: not a GeoTIFF that this GDAL can read, or it changes meanwhile.
    """
    check_name(path)
    stamp = header.stamp if header is not None else read_layout(path).stamp
    check_stamp(path, stamp)
    with _opened(path) as dataset:
        yield dataset
    check_stamp(path, stamp)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[rasterio.io.DatasetReader]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            # A relative name could begin with what GDAL takes for a prefix: GTIFF_DIR:.
            with (
                rasterio.Env(**GDAL_OPTIONS),
                rasterio.open(path.absolute(), driver="GTiff") as dataset,
            ):
                yield dataset
        except GDAL_ERRORS as error:
            raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> SceneError:
    # GDAL's own errors reach Python unwrapped from calls such as get_tag_item.
    reason = str(error.__cause__ or error).strip().rstrip(".")
    for name in (f"{path.absolute()}: ", f"{path.name}: "):  # the file is named once
        reason = reason.replace(name, "")
    reason = re.sub(r"^_?TIFF\w+: *", "", reason)  # nor is a function of libtiff wanted
    remedy = OTHER_CODEC if "missing codec" in reason else FETCH_AGAIN
    return SceneError(f"{printable(path)} cannot be read as a GeoTIFF: {reason}.", remedy=remedy)


def gdal_session() -> rasterio.Env:
    """GDAL as this project wants it, for a thread that reads what hold_geotiff opened."""
    return rasterio.Env(**GDAL_OPTIONS)


def hold_geotiff(path: Path, header: Header) -> rasterio.io.DatasetReader:
    """Open a GeoTIFF and leave it open; the caller closes it. Within gdal_session only.

    Raises:
        SceneError: it is not the file any more that the header was read from.
    """
    check_stamp(path, header.stamp)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            return rasterio.open(path.absolute(), driver="GTiff")
        except GDAL_ERRORS as error:
            raise _unreadable(path, error) from error


def read_header(path: Path) -> Header:
    """Read and check what a GeoTIFF says about itself.

    Raises:
        SceneError: unreadable, truncated, complex-valued, without an affine transform, of
            blocks too large to hold, or with a mask or a scale in another file.
    """
    check_name(path)
    layout = read_layout(path)
    with _opened(path) as dataset:
        check_size(dataset, path, layout)
        check_transform(dataset, path)
        header = _header_of(dataset, path, layout)
    refuse_sidecars(path, header.grid, header.nodata, header.scales, header.offsets)
    check_stamp(path, layout.stamp)
    return header


def _header_of(dataset: rasterio.io.DatasetReader, path: Path, layout: Layout) -> Header:
    alpha = [i for i, c in enumerate(dataset.colorinterp, 1) if c == ColorInterp.alpha]
    own_mask = any(
        MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags
        for flags in dataset.mask_flag_enums
    )
    wkt = dataset.crs.to_wkt() if dataset.crs else ""
    return Header(
        path=path,
        grid=Grid(wkt, dataset.transform, dataset.shape),
        dtypes=tuple(dataset.dtypes),
        nodata=tuple(dataset.nodatavals),
        scales=tuple(float(value) for value in dataset.scales),
        offsets=tuple(float(value) for value in dataset.offsets),
        descriptions=tuple(text or "" for text in dataset.descriptions),
        units=tuple(text or "" for text in dataset.units),
        tags=dict(dataset.tags()),
        alpha=alpha[0] if alpha else 0,
        own_mask=own_mask,
        block=tuple(dataset.block_shapes[0]),
        stamp=layout.stamp,
        pages=layout.pages,
    )


def read_pixels(
    dataset: rasterio.io.DatasetReader,
    bands: Sequence[int],
    tile: Tile,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Raw pixels of some bands in a rectangle.

    Args:
        dataset: from open_geotiff.
        bands: 1-based band numbers.
        tile: the rectangle, inside the raster.
        out: where to put them; new memory by default.
    Returns:
        (band, y, x) in the file's dtype.
    Raises:
        SceneError: a block cannot be decoded.
    """
    window = Window(tile.col0, tile.row0, tile.shape[1], tile.shape[0])
    with _decoding(dataset, tile):
        result: NDArray[Any] = dataset.read(list(bands), window=window, out=out)
    return result


@contextlib.contextmanager
def _decoding(dataset: rasterio.io.DatasetReader, tile: Tile) -> Iterator[None]:
    try:
        yield
    except (*GDAL_ERRORS, MemoryError) as error:
        raise SceneError(
            f"{printable(Path(dataset.name))} has pixels that cannot be decoded (rows "
            f"{tile.row0}-{tile.row1 - 1}).",
            remedy=FETCH_AGAIN,
        ) from error


def glimpse(path: Path, band: int, *, blocks: int = 4) -> NDArray[Any]:
    """Raw pixels of a few blocks spread over a raster: enough to tell a unit by.

    Args:
        path: a GeoTIFF.
        band: 1-based.
        blocks: how many at most; each is read up to a million pixels.
    Returns:
        (n,) in the file's dtype, nodata included.
    Raises:
        SceneError: a block cannot be decoded.
    """
    parts = []
    with open_geotiff(path) as dataset:
        high, wide = dataset.block_shapes[band - 1]
        # Strips of few rows are read several together.
        high = min(dataset.height, high * math.ceil(64 / high))
        wide = min(dataset.width, wide)
        across = math.ceil(dataset.width / wide)
        total = across * math.ceil(dataset.height / high)
        chosen = np.unique(np.linspace(0, total - 1, blocks + 2).round().astype(int)[1:-1])
        rows = min(high, max(1, 2**20 // wide))
        for number in chosen.tolist():
            row, col = number // across * high, number % across * wide
            tile = Tile(row, min(row + rows, dataset.height), col, min(col + wide, dataset.width))
            parts.append(read_pixels(dataset, [band], tile).ravel())
    return np.concatenate(parts)


def read_dataset_mask(dataset: rasterio.io.DatasetReader, tile: Tile) -> NDArray[np.bool_]:
    """The file's own alpha or mask band in a rectangle, (y, x), True = usable.

    Raises:
        SceneError: a block cannot be decoded.
    """
    window = Window(tile.col0, tile.row0, tile.shape[1], tile.shape[0])
    with _decoding(dataset, tile):
        mask: NDArray[np.bool_] = dataset.dataset_mask(window=window) > 0
    return mask


def not_nodata(raw: NDArray[Any], nodata: float | None) -> NDArray[np.bool_]:
    """Which raw pixels are not the nodata value; NaN is never usable.

    The value is compared in the raster's own dtype, so that 1e20 in a float32 file is
    found; one that the dtype cannot hold matches nothing.
    """
    usable = np.isfinite(raw) if raw.dtype.kind == "f" else np.ones(raw.shape, bool)
    if nodata is None or math.isnan(nodata):
        return usable
    if raw.dtype.kind in "iu":
        info = np.iinfo(raw.dtype)
        if not (float(nodata).is_integer() and info.min <= nodata <= info.max):
            return usable
        differs: NDArray[np.bool_] = raw != raw.dtype.type(int(nodata))
        return usable & differs
    with np.errstate(over="ignore"):
        differs = raw != raw.dtype.type(nodata)
    return usable & differs
