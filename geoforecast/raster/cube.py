"""The cube: a Zarr v3 store with dims (time, band, y, x) that every verb reads.

Arrays: ``values`` in physical units (NaN where invalid; class codes stay integers),
``valid`` (True = usable), ``observed`` (time; False where no scene contributed), CF
coordinates ``time`` ``band`` ``y`` ``x`` and ``spatial_ref``. Everything that is not an
array (format, kind, units, normaliser, split, sources) is the ``geoforecast`` attribute.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj
import zarr
from affine import Affine
from numpy.typing import NDArray
from pyproj.exceptions import CRSError
from zarr.codecs import BloscCodec

from geoforecast.errors import CubeError
from geoforecast.raster.grid import Grid, Tile

if TYPE_CHECKING:
    import xarray

FORMAT = 1
CHUNK_STEPS = 8
CHUNK_PX = 256
EPOCH_UNITS = "seconds since 1970-01-01 00:00:00"
MAKE_AGAIN = "Make it again: geoforecast stack FOLDER --overwrite."
# UDUNITS' spelling where PROJ's differs by more than spaces.
UNIT_NAMES = {"metre": "m", "unknown": "m"}


@dataclass(frozen=True)
class Cube:
    """An opened cube; pixels stay on disk until read.

    Attributes:
        path: the store.
        times: (time,) datetime64[s], ascending, UTC.
        bands: band names.
        grid: place on earth.
        meta: the ``geoforecast`` attribute: kind, units (a list), cadence, normaliser,
            split, fingerprint.
        observed: (time,) bool; False where a step was invented.
    """

    path: Path
    times: NDArray[np.datetime64]
    bands: tuple[str, ...]
    grid: Grid
    meta: Mapping[str, Any]
    observed: NDArray[np.bool_]
    _values: zarr.Array[Any]
    _valid: zarr.Array[Any]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(time, band, y, x)."""
        return (len(self.times), len(self.bands), *self.grid.shape)

    @property
    def units(self) -> tuple[str, ...]:
        return tuple(self.meta["units"])

    @property
    def kind(self) -> str:
        return str(self.meta["kind"])

    def read(
        self, start: int, stop: int, tile: Tile | None = None
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values and validity of steps ``[start, stop)``.

        Args:
            start, stop: step numbers.
            tile: the rectangle; None reads whole steps.
        Returns:
            values (time, band, y, x) in band units, NaN where invalid (class codes: 0);
            valid, same shape, True = usable.
        Raises:
            CubeError: a chunk is missing or cannot be decoded.
        """
        rows, cols = (tile or self.grid.whole).slices
        try:
            values = np.asarray(self._values[start:stop, :, rows, cols])
            valid = np.asarray(self._valid[start:stop, :, rows, cols], dtype=bool)
        except (RuntimeError, ValueError, OSError) as error:
            raise self._damaged(start, stop, f"{type(error).__name__}: {error}") from error
        # Zarr reads a missing chunk as its fill value, NaN, which is never valid.
        if values.dtype.kind == "f" and not np.isfinite(values, where=valid, out=~valid).all():
            raise self._damaged(start, stop, "valid pixels have no value; a chunk is missing")
        return values, valid

    def _damaged(self, start: int, stop: int, reason: str) -> CubeError:
        return CubeError(
            f"{self.path} is damaged: steps {start} to {stop - 1} cannot be read.",
            where=reason,
            remedy=MAKE_AGAIN,
        )

    def to_xarray(self) -> xarray.Dataset:
        """The cube as a lazily loaded xarray Dataset with its CRS set for rioxarray."""
        import rioxarray  # noqa: F401  registers the .rio accessor
        import xarray as xr

        dataset: xarray.Dataset = xr.open_zarr(
            self.path, consolidated=False, chunks=None, decode_coords="all"
        )
        return dataset


class CubeWriter:
    """Creates a cube and fills it chunk by chunk, from several threads if wanted.

    Each call of write() must cover whole chunks (or reach the array's end), so that no two
    threads ever share one.

    Args:
        path: a store that does not exist yet (see project.replacing).
        times: (time,) datetime64, ascending.
        bands: band names.
        grid: place on earth, not rotated.
        dtype: numpy dtype name of the values.
        observed: (time,) bool.
    """

    def __init__(
        self,
        path: Path,
        *,
        times: NDArray[np.datetime64],
        bands: Sequence[str],
        grid: Grid,
        dtype: str,
        observed: NDArray[np.bool_],
    ) -> None:
        self.shape = (len(times), len(bands), *grid.shape)
        self.chunks = chunk_shape(self.shape)
        self._root = zarr.create_group(path, zarr_format=3)
        codec = BloscCodec(cname="lz4", clevel=5, shuffle="shuffle")
        dims = ("time", "band", "y", "x")
        floating = np.dtype(dtype).kind == "f"
        self._values = self._root.create_array(
            "values",
            shape=self.shape,
            chunks=self.chunks,
            dtype=dtype,
            compressors=codec,
            fill_value=np.nan if floating else 0,
            dimension_names=dims,
            attributes={"grid_mapping": "spatial_ref", "coordinates": "spatial_ref"},
        )
        self._valid = self._root.create_array(
            "valid",
            shape=self.shape,
            chunks=self.chunks,
            dtype="bool",
            compressors=codec,
            fill_value=False,
            dimension_names=dims,
            attributes={
                "long_name": "True where the value is usable",
                "grid_mapping": "spatial_ref",
            },
        )
        x, y = grid.centres()
        seconds = times.astype("datetime64[s]").astype(np.int64)
        self._coordinate(
            "time",
            seconds,
            {"units": EPOCH_UNITS, "calendar": "standard", "standard_name": "time", "axis": "T"},
        )
        self._coordinate("y", y, {**_axis_attributes(grid, "y"), "axis": "Y"})
        self._coordinate("x", x, {**_axis_attributes(grid, "x"), "axis": "X"})
        with warnings.catch_warnings():
            # Zarr v3 has no final spec for text; the names also stand in the attributes.
            warnings.simplefilter("ignore")
            self._coordinate("band", np.array(list(bands), dtype=np.dtypes.StringDType()), {})
        self._coordinate(
            "observed", observed, {"long_name": "True where a scene contributed"}, dim="time"
        )
        mapping = self._root.create_array(
            "spatial_ref", shape=(), dtype="int64", attributes=_grid_mapping(grid)
        )
        mapping[...] = 0
        self._bands = tuple(bands)

    def write(
        self,
        step: int,
        row: int,
        values: NDArray[Any],
        valid: NDArray[np.bool_],
        *,
        col: int = 0,
    ) -> None:
        """Write (time, band, rows, columns) values and validity from a step, row and column on."""
        steps = slice(step, step + values.shape[0])
        rows = slice(row, row + values.shape[2])
        cols = slice(col, col + values.shape[3])
        self._values[steps, :, rows, cols] = values
        self._valid[steps, :, rows, cols] = valid

    def finish(self, meta: Mapping[str, Any]) -> None:
        """Store the metadata; the cube counts as complete from here on."""
        content = {"format": FORMAT, "bands": list(self._bands), **meta}
        self._root.attrs["Conventions"] = "CF-1.11"
        self._root.attrs["geoforecast"] = content

    def _coordinate(
        self, name: str, data: NDArray[Any], attributes: dict[str, Any], dim: str | None = None
    ) -> None:
        array = self._root.create_array(
            name,
            shape=data.shape,
            chunks=data.shape,
            dtype=data.dtype,
            dimension_names=(dim or name,),
            attributes=attributes,
        )
        array[...] = data


def chunk_shape(shape: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Chunks that are time-deep and band-complete, so that reading a patch opens few."""
    steps, bands, height, width = shape
    return (
        min(CHUNK_STEPS, steps),
        bands,
        min(CHUNK_PX, height),
        min(CHUNK_PX, width),
    )


def open_cube(path: Path) -> Cube:
    """Open a cube for reading.

    Raises:
        CubeError: missing, half-written, or from a newer geoforecast.
    """
    if not path.exists():
        raise CubeError(
            f"There is no cube at {path}.", remedy="Make one first: geoforecast stack FOLDER."
        )
    try:
        return _opened(path)
    except (
        *(KeyError, ValueError, TypeError, AttributeError, RuntimeError),
        *(FileNotFoundError, NotADirectoryError, zarr.errors.BaseZarrError),
    ) as error:
        raise CubeError(f"{path} is not a complete cube.", remedy=MAKE_AGAIN) from error


def _opened(path: Path) -> Cube:
    # Any: Zarr types each member as array-or-group and each attribute as any JSON.
    root: Any = zarr.open_group(path, mode="r")
    meta: dict[str, Any] = root.attrs["geoforecast"]
    if not isinstance(meta["format"], int):
        raise TypeError(meta["format"])
    if meta["format"] > FORMAT:
        raise CubeError(
            f"{path} was written by a newer geoforecast (cube format {meta['format']}, "
            f"this one knows {FORMAT}).",
            remedy="Upgrade: pip install -U geoforecast.",
        )
    mapping = dict(root["spatial_ref"].attrs)
    values, valid = root["values"], root["valid"]
    times = np.asarray(root["time"][:]).astype("datetime64[s]")
    cube = Cube(
        path=path,
        times=times,
        bands=tuple(meta["bands"]),
        grid=Grid(
            str(mapping["crs_wkt"]), Affine(*mapping["geoforecast_transform"]), values.shape[2:]
        ),
        meta=meta,
        observed=np.asarray(root["observed"][:], dtype=bool),
        _values=values,
        _valid=valid,
    )
    if not cube.shape == values.shape == valid.shape or (np.diff(times.astype(int)) <= 0).any():
        raise ValueError("arrays and coordinates differ")
    return cube


def update_meta(path: Path, **changes: Any) -> None:
    """Replace entries of a cube's metadata (one small file, rewritten atomically by Zarr)."""
    root: Any = zarr.open_group(path, mode="r+")
    root.attrs["geoforecast"] = {**root.attrs["geoforecast"], **changes}


def _axis_attributes(grid: Grid, axis: str) -> dict[str, str]:
    if grid.crs.is_geographic:
        name = {"x": "longitude", "y": "latitude"}[axis]
        unit = {"x": "degrees_east", "y": "degrees_north"}[axis]
        return {"standard_name": name, "units": unit}
    return {"standard_name": f"projection_{axis}_coordinate", "units": _unit(grid)}


def _unit(grid: Grid) -> str:
    """The unit of the x and y axes as CF spells it; metres if the CRS names none."""
    try:
        axes = pyproj.CRS.from_wkt(grid.wkt).axis_info
    except CRSError:
        axes = []
    name = (axes[0].unit_name if axes else "") or "metre"
    return UNIT_NAMES.get(name, name.replace(" ", "_"))


def _grid_mapping(grid: Grid) -> dict[str, Any]:
    """CF grid mapping attributes, and GDAL's, and the six numbers to the last bit."""
    try:
        attributes = dict(pyproj.CRS.from_wkt(grid.wkt).to_cf())
    except CRSError:
        attributes = {}
    a, b, c, d, e, f = grid.transform[:6]
    attributes.update(
        crs_wkt=grid.wkt,
        spatial_ref=grid.wkt,
        GeoTransform=" ".join(repr(float(v)) for v in (c, a, b, f, d, e)),
        geoforecast_transform=[float(v) for v in (a, b, c, d, e, f)],
    )
    return attributes
