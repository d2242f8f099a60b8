"""Writing GeoTIFFs: Cloud Optimised, tile by tile, and read back before they are in place."""

from __future__ import annotations

import contextlib
import math
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.windows import Window

from geoforecast.errors import GeoforecastError
from geoforecast.project import replacing
from geoforecast.raster.geotiff import GDAL_ERRORS, GDAL_OPTIONS
from geoforecast.raster.grid import Grid, Tile


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
        threads: that compress.
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
        threads: int = 1,
    ) -> None:
        self.path, self._threads = path, threads
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
        self._checks: list[tuple[Tile, int]] = []

    def write(self, values: NDArray[Any], tile: Tile) -> None:
        """Write (band, y, x) pixels into a rectangle, which nobody writes again."""
        window = Window(tile.col0, tile.row0, tile.shape[1], tile.shape[0])
        pixels = np.ascontiguousarray(values, dtype=self.dtype)
        self._checks.append((tile, zlib.crc32(pixels.data)))
        with self._complaining():
            self._dataset.write(pixels, window=window)

    def __enter__(self) -> CogWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._dataset.close()
        try:
            if kind is None:
                predictor = "3" if self.dtype.startswith("float") else "2"
                with (
                    replacing(self.path) as temporary,
                    rasterio.Env(**GDAL_OPTIONS),
                    self._complaining(),
                ):
                    rasterio.shutil.copy(
                        self._draft,
                        temporary,
                        driver="COG",
                        compress="ZSTD",
                        level="1",
                        predictor=predictor,
                        overview_resampling="average" if predictor == "3" else "mode",
                        bigtiff="IF_SAFER",
                        num_threads=str(self._threads),
                    )
                    self._read_back(temporary)
        finally:
            self._draft.unlink(missing_ok=True)

    def _read_back(self, path: Path) -> None:
        """Compare a file with what was written: on a full disk GDAL closes it without an error."""
        with rasterio.open(path, driver="GTiff") as dataset:
            for tile, check in self._checks:
                window = Window(tile.col0, tile.row0, tile.shape[1], tile.shape[0])
                if zlib.crc32(dataset.read(window=window).data) != check:
                    raise RasterioError("pixels are missing from the file")

    @contextlib.contextmanager
    def _complaining(self) -> Iterator[None]:
        try:
            yield
        except GDAL_ERRORS as error:
            raise GeoforecastError(
                f"{self.path.name} cannot be written: {error.__cause__ or error}.",
                where=str(self.path.parent),
                remedy="Free some space, then run the same command again.",
            ) from error
