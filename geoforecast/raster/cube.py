"""The cube: a Zarr v3 store with dims (time, band, y, x) that every verb reads.

Arrays: ``values`` in physical units (NaN where invalid; class codes stay integers),
``valid`` (True = usable), ``observed`` (time; False where no scene contributed; in a cube
with filled gaps it has all four dims and is False where a value is invented), CF
coordinates ``time`` ``band`` ``y`` ``x`` and ``spatial_ref``. Everything that is not an
array (format, kind, units, normaliser, split, sources) is the ``geoforecast`` attribute.
The group ``measures`` holds what was measured while writing: see raster/measures.py.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from affine import Affine
from numpy.typing import NDArray

from geoforecast.errors import CubeError
from geoforecast.raster.cube_writer import CHUNK_PX, CHUNK_STEPS, FORMAT, CubeWriter
from geoforecast.raster.grid import Grid, Tile
from geoforecast.system import granted_cpus

if TYPE_CHECKING:
    import xarray

__all__ = [
    "CHUNK_PX",
    "CHUNK_STEPS",
    "FORMAT",
    "Cube",
    "CubeWriter",
    "Overview",
    "open_cube",
    "update_meta",
]

# Pixels are read by zarrs; what it cannot read, Zarr's own reader does.
READER = {"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}
_OPENING = threading.Lock()
MAKE_AGAIN = "Make it again: geoforecast stack FOLDER --overwrite."


@dataclass(frozen=True)
class Overview:
    """Every ``stride``-th pixel of a cube, rows and columns 0, stride, 2 stride ...

    Attributes:
        stride: pixels between two of the overview.
        shape: (time, band, y, x).
    """

    stride: int
    shape: tuple[int, int, int, int]
    _values: zarr.Array[Any]

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """(time, band, y, x) of steps ``[start, stop)``; NaN where invalid."""
        return np.asarray(self._values[start:stop], dtype=np.float32)


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
    _observed: zarr.Array[Any] | None = None

    @property
    def filled(self) -> bool:
        """Whether gaps in time were filled."""
        return self._observed is not None

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
        self, start: int, stop: int, tile: Tile | None = None, *, filled: bool = False
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values and validity of steps ``[start, stop)``.

        What was filled is left out unless it is asked for: a filled value knows the future,
        and was never seen.

        Args:
            start, stop: step numbers.
            tile: the rectangle; None reads whole steps.
            filled: count filled pixels as valid.
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
            observed = None
            if self._observed is not None and not filled:
                observed = np.asarray(self._observed[start:stop, :, rows, cols], dtype=bool)
        except (RuntimeError, ValueError, OSError) as error:
            raise self._damaged(start, stop, f"{type(error).__name__}: {error}") from error
        # Zarr reads a missing chunk as its fill value, NaN, which is never valid.
        if values.dtype.kind == "f" and not np.isfinite(values, where=valid, out=~valid).all():
            raise self._damaged(start, stop, "valid pixels have no value; a chunk is missing")
        if observed is not None:
            valid &= observed
            values[~valid] = np.nan
        return values, valid

    def overview(self) -> Overview:
        """A coarse look at every step, kept beside the pixels."""
        group = self._measures()
        values: Any = group["overview"]
        return Overview(int(group.attrs["stride"]), values.shape, values)

    def step_statistics(self) -> NDArray[np.float64]:
        """(time, band, 5): count, mean, sum of squared differences, least and largest value.

        Of all valid pixels of each step; the last four are NaN where there are none. See
        raster/measures.py.
        """
        return np.asarray(self._measures()["steps"][:])

    def _measures(self) -> Any:
        try:
            return zarr.open_group(self.path / "measures", mode="r")
        except (FileNotFoundError, ValueError, zarr.errors.BaseZarrError) as error:
            raise CubeError(
                f"{self.path} is damaged: its measures are missing.", remedy=MAKE_AGAIN
            ) from error

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
    if meta["format"] < FORMAT:
        raise CubeError(
            f"{path} was written by an older geoforecast (cube format {meta['format']}, "
            f"this one writes {FORMAT}).",
            remedy=MAKE_AGAIN,
        )
    mapping = dict(root["spatial_ref"].attrs)
    # An array keeps the reader that is set while it is opened; to set it is of all threads.
    with _OPENING, zarr.config.set({**READER, "threading.max_workers": granted_cpus()}):
        values, valid, observed = root["values"], root["valid"], root["observed"]
    filled = observed.ndim == 4
    times = np.asarray(root["time"][:]).astype("datetime64[s]")
    cube = Cube(
        path=path,
        times=times,
        bands=tuple(meta["bands"]),
        grid=Grid(
            str(mapping["crs_wkt"]), Affine(*mapping["geoforecast_transform"]), values.shape[2:]
        ),
        meta=meta,
        observed=np.asarray(meta["steps_observed"] if filled else observed[:], dtype=bool),
        _values=values,
        _valid=valid,
        _observed=observed if filled else None,
    )
    if not cube.shape == values.shape == valid.shape or (np.diff(times.astype(int)) <= 0).any():
        raise ValueError("arrays and coordinates differ")
    return cube


def update_meta(path: Path, **changes: Any) -> None:
    """Replace entries of a cube's metadata (one small file, rewritten atomically by Zarr)."""
    root: Any = zarr.open_group(path, mode="r+")
    root.attrs["geoforecast"] = {**root.attrs["geoforecast"], **changes}
