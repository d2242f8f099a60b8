"""The only reader and writer of GeoTIFF pixels.

Only GDAL's GTiff driver opens inputs: a VRT renamed to .tif could read any other path.
Headers are checked before pixels are allocated, tile offsets against the file's size.
"""

from __future__ import annotations

import contextlib
import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError, RasterioIOError
from rasterio.windows import Window

from geoforecast.errors import SceneError
from geoforecast.project import replacing
from geoforecast.raster.grid import Grid, Tile
from geoforecast.system import gdal_cache_mib

# Blocks whose offsets are compared with the file size; the last ones tell of truncation.
CHECKED_BLOCKS = 64
GDAL_OPTIONS: dict[str, Any] = {
    "GDAL_NUM_THREADS": "1",
    # GDAL's own default is a share of the whole machine, for each process.
    "GDAL_CACHEMAX": gdal_cache_mib(),
    "GTIFF_IGNORE_READ_ERRORS": "NO",
}


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

    @property
    def count(self) -> int:
        return len(self.dtypes)


@contextlib.contextmanager
def open_geotiff(path: Path) -> Iterator[rasterio.io.DatasetReader]:
    """A GeoTIFF opened by the GTiff driver alone, with errors a person can act on.

    Raises:
        SceneError: not a GeoTIFF that this GDAL can read.
    """
    if str(path).startswith("/vsi"):
        raise SceneError(
            f"{path} is a GDAL virtual path.", remedy="Copy the file to disk, then give its path."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            with rasterio.Env(**GDAL_OPTIONS), rasterio.open(path, driver="GTiff") as dataset:
                yield dataset
        except (RasterioError, CPLE_BaseError) as error:
            # GDAL's own errors reach Python unwrapped from calls such as get_tag_item.
            reason = str(error.__cause__ or error).strip().rstrip(".")
            raise SceneError(
                f"{path} cannot be read as a GeoTIFF: {reason}.",
                remedy="Fetch the file again, or leave it out with --on-error quarantine.",
            ) from error


def read_header(path: Path) -> Header:
    """Read and check what a GeoTIFF says about itself.

    Raises:
        SceneError: unreadable, truncated, complex-valued, or without an affine transform.
    """
    with open_geotiff(path) as dataset:
        if any(dtype.startswith("complex") for dtype in dataset.dtypes):
            raise SceneError(
                f"{path} holds complex numbers ({dataset.dtypes[0]}).",
                remedy="Convert it to amplitude, intensity or dB first.",
            )
        _check_blocks(dataset, path)
        identity = dataset.transform.is_identity
        if identity and (dataset.gcps[0] or dataset.rpcs):
            kind = "ground control points" if dataset.gcps[0] else "RPCs"
            raise SceneError(
                f"{path} is placed on earth by {kind} only, not by an affine transform.",
                remedy="Rectify it first: gdalwarp -order 1 (or -rpc) IN OUT.",
            )
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
        )


def read_pixels(
    dataset: rasterio.io.DatasetReader, bands: Sequence[int], tile: Tile
) -> NDArray[Any]:
    """Raw pixels of some bands in a rectangle.

    Args:
        dataset: from open_geotiff.
        bands: 1-based band numbers.
        tile: the rectangle, inside the raster.
    Returns:
        (band, y, x) in the file's dtype.
    Raises:
        SceneError: a block cannot be decoded.
    """
    window = Window(tile.col0, tile.row0, tile.shape[1], tile.shape[0])
    try:
        result: NDArray[Any] = dataset.read(list(bands), window=window)
    except RasterioIOError as error:
        raise SceneError(
            f"{dataset.name} has pixels that cannot be decoded (rows {tile.row0}-{tile.row1 - 1}).",
            remedy="Fetch the file again, or leave it out with --on-error quarantine.",
        ) from error
    return result


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
        places = [
            (row, col)
            for row in range(0, dataset.height, high)
            for col in range(0, dataset.width, wide)
        ]
        chosen = np.unique(np.linspace(0, len(places) - 1, blocks + 2).round().astype(int)[1:-1])
        for row, col in (places[number] for number in chosen):
            rows = min(high, max(1, 2**20 // wide))
            tile = Tile(row, min(row + rows, dataset.height), col, min(col + wide, dataset.width))
            parts.append(read_pixels(dataset, [band], tile).ravel())
    return np.concatenate(parts)


def read_dataset_mask(dataset: rasterio.io.DatasetReader, tile: Tile) -> NDArray[np.bool_]:
    """The file's own alpha or mask band in a rectangle, (y, x), True = usable."""
    window = Window(tile.col0, tile.row0, tile.shape[1], tile.shape[0])
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


class CogWriter:
    """Writes a Cloud Optimised GeoTIFF tile by tile, and puts it in place when complete.

    Pixels go to a plain tiled GeoTIFF first; closing turns it into a COG with overviews
    through GDAL's own COG driver. Memory does not grow with the raster.

    Args:
        path: the file to create or replace.
        grid: its place on earth.
        bands: band names, written as descriptions.
        nodata: value of pixels without data.
        dtype: numpy dtype name.
        units: unit of each band, or "".
        tags: dataset tags.
    """

    def __init__(
        self,
        path: Path,
        grid: Grid,
        bands: Sequence[str],
        *,
        nodata: float = math.nan,
        dtype: str = "float32",
        units: Sequence[str] = (),
        tags: Mapping[str, str] | None = None,
    ) -> None:
        self.path = path
        self.dtype = dtype
        self._draft = path.with_name(f".{path.stem}-draft-{os.getpid()}.tif")
        path.parent.mkdir(parents=True, exist_ok=True)
        height, width = grid.shape
        with rasterio.Env(**GDAL_OPTIONS):
            self._dataset = rasterio.open(
                self._draft,
                "w",
                driver="GTiff",
                height=height,
                width=width,
                count=len(bands),
                dtype=dtype,
                crs=grid.crs if grid.wkt else None,
                transform=grid.transform,
                nodata=nodata,
                tiled=True,
                blockxsize=256,
                blockysize=256,
                interleave="band",
                bigtiff="IF_SAFER",
            )
        for index, name in enumerate(bands, 1):
            self._dataset.set_band_description(index, name)
            if index <= len(units) and units[index - 1]:
                self._dataset.set_band_unit(index, units[index - 1])
        self._dataset.update_tags(**(tags or {}))

    def write(self, values: NDArray[Any], tile: Tile) -> None:
        """Write (band, y, x) pixels into a rectangle."""
        window = Window(tile.col0, tile.row0, tile.shape[1], tile.shape[0])
        self._dataset.write(values.astype(self.dtype, copy=False), window=window)

    def __enter__(self) -> CogWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._dataset.close()
        try:
            if kind is None:
                predictor = "3" if self.dtype.startswith("float") else "2"
                with replacing(self.path) as temporary, rasterio.Env(**GDAL_OPTIONS):
                    rasterio.shutil.copy(
                        self._draft,
                        temporary,
                        driver="COG",
                        compress="ZSTD",
                        level="1",
                        predictor=predictor,
                        overview_resampling="average" if predictor == "3" else "nearest",
                        bigtiff="IF_SAFER",
                    )
        finally:
            self._draft.unlink(missing_ok=True)


def _check_blocks(dataset: rasterio.io.DatasetReader, path: Path) -> None:
    """Compare block offsets with the file's size, so that truncation shows at once."""
    size = path.stat().st_size
    block_rows, block_cols = dataset.block_shapes[0]
    rows = math.ceil(dataset.height / block_rows)
    cols = math.ceil(dataset.width / block_cols)
    total = rows * cols
    declared = sum(np.dtype(_plain_dtype(d)).itemsize for d in dataset.dtypes)
    declared *= dataset.height * dataset.width
    stored = 0
    for number in range(max(0, total - CHECKED_BLOCKS), total):
        row, col = divmod(number, cols)
        for band in range(1, dataset.count + 1):
            # get_tag_item counts blocks as x_y; a sparse block has no offset.
            offset = dataset.get_tag_item(f"BLOCK_OFFSET_{col}_{row}", "TIFF", bidx=band)
            length = dataset.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", bidx=band)
            if offset is None or length is None:
                continue
            stored += 1
            if int(offset) + int(length) > size:
                raise SceneError(
                    f"{path} is truncated: block {col},{row} of band {band} ends at byte "
                    f"{int(offset) + int(length)}, the file at {size}.",
                    remedy="Fetch the file again, or leave it out with --on-error quarantine.",
                )
    # A tiny file may declare any size; nothing that compresses reaches this ratio.
    if stored == 0 and declared > 2**28 and declared > 5000 * size:
        raise SceneError(
            f"{path} declares {dataset.width} x {dataset.height} pixels "
            f"({declared / 2**30:.1f} GiB) in a file of {size} bytes without any block.",
            remedy="Fetch the file again, or leave it out with --on-error quarantine.",
        )


def _plain_dtype(name: str) -> str:
    return {"float16": "float32", "complex_int16": "complex64"}.get(name, name)
