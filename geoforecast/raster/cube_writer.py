"""Creates a cube and fills it block by block, from any thread or process."""

from __future__ import annotations

import contextlib
import itertools
import uuid
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import zarr
from numpy.typing import NDArray
from pyproj.exceptions import CRSError

from geoforecast.raster.chunks import ChunkFiles, Four, zarr_codec
from geoforecast.raster.grid import Grid
from geoforecast.raster.measures import (
    CELL_PX,
    Part,
    joined,
    measure,
    one_sided,
    overview_stride,
)

FORMAT = 2
CHUNK_STEPS = 4
CHUNK_PX = 256
# Files of a cube, beyond which shards grow: clusters ration inodes.
MOST_FILES = 20_000
# Steps times bands times pixels of a shard, as long as there are not too many files.
SHARD_VALUES = 2**22
EPOCH_UNITS = "seconds since 1970-01-01 00:00:00"
DIMS = ("time", "band", "y", "x")
# UDUNITS' spelling where PROJ's differs by more than spaces.
UNIT_NAMES = {"metre": "m", "unknown": "m"}


class CubeWriter:
    """Creates a cube, or goes on with one, and fills it block by block.

    Each call of write() must begin at a multiple of ``block`` and cover whole blocks (or
    reach the array's end), so that no two threads or processes ever share a file.

    Args:
        path: the store. One that another writer began with the same arguments is gone on with.
        times: (time,) datetime64, ascending.
        bands: band names.
        grid: place on earth, not rotated.
        dtype: numpy dtype name of the values.
        observed: (time,) bool.
        chunk_px: side of the chunks, a power of two; never changes the values.
        filled: some valid pixels are invented; which are observed is stored for each pixel.

    Attributes:
        shape: (time, band, y, x).
        block: (time, band, y, x) extent of what write() takes at least.
        stride: pixels between those of the overview.
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
        chunk_px: int = CHUNK_PX,
        filled: bool = False,
    ) -> None:
        self.path, self.grid, self.bands, self.dtype = path, grid, tuple(bands), np.dtype(dtype)
        self.shape: Four = (len(times), len(bands), *grid.shape)
        self.chunk, self.shard = chunk_layout(self.shape, chunk_px, alone=filled)
        high, wide = (max(side, CELL_PX) for side in self.shard[2:])
        self.block: Four = (CHUNK_STEPS, self.shape[1], high, wide)
        self.stride = overview_stride(grid.shape)
        self.filled = filled
        self._steps_observed = [bool(step) for step in observed]
        self._parts: list[Part] = []
        floating = self.dtype.kind == "f"
        self._fill = np.nan if floating else 0
        if not path.exists():
            self._create(times, observed)
        layout = (self.shape, self.chunk, self.shard)
        self._values = ChunkFiles(path / "values", *layout, self._fill)
        self._valid = ChunkFiles(path / "valid", *layout, True)
        self._observed = ChunkFiles(path / "observed", *layout, True)

    def write(
        self,
        step: int,
        row: int,
        values: NDArray[Any],
        valid: NDArray[np.bool_],
        *,
        col: int = 0,
        observed: NDArray[np.bool_] | None = None,
    ) -> list[Part]:
        """Write (time, band, rows, columns) values and validity from a step, row and column on.

        Values are NaN, or class code 0, where invalid. ``observed``, of the same shape, is
        needed if the cube is filled; only what was observed is measured.

        Returns:
            What was measured of them, a part for each block in time; finish() takes them.
        """
        seen = valid if observed is None else valid & observed
        parts = [
            measure(
                values[start : start + CHUNK_STEPS],
                seen[start : start + CHUNK_STEPS],
                self.stride,
                step=step + start,
                row=row,
                col=col,
            )
            for start in range(0, len(values), CHUNK_STEPS)
        ]
        place = (step, 0, row, col)
        if observed is None:
            side = self.chunk[2]
            known = [one_sided(part.cells, values.shape[2:], side) for part in parts]
            empty, full = (np.stack(each)[:, None] for each in zip(*known, strict=True))
            # Where nothing is valid, values are left out, and read as NaN. `valid` says so in
            # chunks of its own, so that a lost file still shows: see _create.
            self._values.write(place, values, empty)
            self._valid.write(place, valid, empty | full)
        else:
            self._values.write(place, values)
            self._valid.write(place, valid)
            self._observed.write(place, observed)
        self._parts += parts
        return parts

    def files(self, start: Four, stop: Four) -> Iterable[Path]:
        """The chunk files between two indices, relative to the store."""
        for array in (self._values, self._valid):
            for name in array.files(start, stop):
                yield Path(array.path.name) / name

    def forget(self) -> None:
        """Drop the parts held: the caller keeps them itself and hands them to finish()."""
        self._parts.clear()

    def finish(self, meta: Mapping[str, Any], parts: Iterable[Part] | None = None) -> None:
        """Store measures and metadata; the cube counts as complete from here on.

        Args:
            meta: kind, units, split and whatever else the ``geoforecast`` attribute holds.
            parts: of all blocks, those of one step together; default: those written here.
        """
        root = zarr.open_group(self.path, mode="r+")
        if parts is None:
            parts = sorted(self._parts, key=lambda part: part.step)
        self._store_measures(root, parts)
        root.attrs["Conventions"] = "CF-1.11"
        content = {"format": FORMAT, "bands": list(self.bands), **meta}
        if self.filled:
            content["steps_observed"] = self._steps_observed
        root.attrs["geoforecast"] = content

    def _create(self, times: NDArray[np.datetime64], observed: NDArray[np.bool_]) -> None:
        """Make the empty store beside its place, then put it there: it may be raced for."""
        draft = self.path.with_name(f"{self.path.name}-{uuid.uuid4().hex[:8]}")
        root = zarr.create_group(draft, zarr_format=3)
        marks = [("observed", np.dtype(bool), True, {"long_name": "False where it was filled"})]
        for name, dtype, fill, attributes in (
            *(marks if self.filled else []),
            ("values", self.dtype, self._fill, {"coordinates": "spatial_ref"}),
            # A chunk that is lost then reads as valid and has no value, which read() notices.
            ("valid", np.dtype(bool), True, {"long_name": "True where the value is usable"}),
        ):
            root.create_array(
                name,
                shape=self.shape,
                chunks=self.chunk,
                shards=None if self.shard == self.chunk else self.shard,
                dtype=dtype,
                compressors=zarr_codec(),
                fill_value=fill,
                dimension_names=DIMS,
                attributes={"grid_mapping": "spatial_ref", **attributes},
            )
        _write_coordinates(root, self.grid, times, self.bands, None if self.filled else observed)
        with contextlib.suppress(OSError):  # another process was first
            draft.rename(self.path)

    def _store_measures(self, root: Any, parts: Iterable[Part]) -> None:
        steps, bands, height, width = self.shape
        cells_shape = (steps, bands, -(-height // CELL_PX), -(-width // CELL_PX), 5)
        view_shape = (steps, bands, -(-height // self.stride), -(-width // self.stride))
        group = root.require_group("measures")
        arrays = {
            name: group.create_array(
                name,
                shape=shape,
                chunks=(min(CHUNK_STEPS, steps), *shape[1:]),
                dtype=dtype,
                compressors=zarr_codec(),
                fill_value=np.nan,
                overwrite=True,
            )
            for name, shape, dtype in (
                ("cells", cells_shape, "float64"),
                ("overview", view_shape, "float32"),
                ("steps", (steps, bands, 5), "float64"),
            )
        }
        group.attrs["stride"] = self.stride
        for step, together in itertools.groupby(parts, key=lambda part: part.step):
            count = min(CHUNK_STEPS, steps - step)
            cells = np.full((count, *cells_shape[1:]), np.nan)
            overview = np.full((count, *view_shape[1:]), np.float32(np.nan))
            for part in together:
                y, x = part.row // CELL_PX, part.col // CELL_PX
                high, wide = part.cells.shape[2:4]
                cells[:, :, y : y + high, x : x + wide] = part.cells
                y, x = part.row // self.stride, part.col // self.stride
                high, wide = part.overview.shape[2:]
                overview[:, :, y : y + high, x : x + wide] = part.overview
            arrays["cells"][step : step + count] = cells
            arrays["overview"][step : step + count] = overview
            arrays["steps"][step : step + count] = joined(cells.reshape(count, bands, -1, 5))


def chunk_layout(shape: Four, chunk_px: int, *, alone: bool = False) -> tuple[Four, Four]:
    """Chunks that are time-deep and band-complete, so that reading a patch opens few files.

    The depth does not depend on the number of steps, so that a cube can grow. Chunks side by
    side share a file, a shard, as far as one unit of work reaches: files cost time and inodes.

    Args:
        shape: (time, band, y, x).
        chunk_px: side of the chunks.
        alone: a file a chunk, as far as there are not too many: whole series are written.
    Returns:
        The chunk; the shard.
    """
    steps, bands, height, width = shape
    chunk = (CHUNK_STEPS, bands, chunk_px, chunk_px)
    high = wide = chunk_px
    most = 0 if alone else SHARD_VALUES
    while wide < width and 2 * CHUNK_STEPS * bands * max(high, CELL_PX) * wide <= most:
        wide *= 2
    deep = -(-steps // CHUNK_STEPS)
    while 2 * deep * -(-height // high) * -(-width // wide) > MOST_FILES and high < height:
        high *= 2
    return chunk, (CHUNK_STEPS, bands, high, wide)


def _write_coordinates(
    root: Any,
    grid: Grid,
    times: NDArray[np.datetime64],
    bands: Sequence[str],
    observed: NDArray[np.bool_] | None,
) -> None:
    def coordinate(
        name: str, data: NDArray[Any], attributes: dict[str, Any], dim: str | None = None
    ) -> None:
        array = root.create_array(
            name,
            shape=data.shape,
            chunks=data.shape,
            dtype=data.dtype,
            dimension_names=(dim or name,),
            attributes=attributes,
        )
        array[...] = data

    x, y = grid.centres()
    seconds = times.astype("datetime64[s]").astype(np.int64)
    calendar = {"units": EPOCH_UNITS, "calendar": "standard"}
    coordinate("time", seconds, {**calendar, "standard_name": "time", "axis": "T"})
    coordinate("y", y, {**_axis_attributes(grid, "y"), "axis": "Y"})
    coordinate("x", x, {**_axis_attributes(grid, "x"), "axis": "X"})
    with warnings.catch_warnings():
        # Zarr v3 has no final spec for text; the names also stand in the attributes.
        warnings.simplefilter("ignore")
        coordinate("band", np.array(list(bands), dtype=np.dtypes.StringDType()), {})
    if observed is not None:
        told = {"long_name": "True where a scene contributed"}
        coordinate("observed", observed, told, dim="time")
    mapping = root.create_array(
        "spatial_ref", shape=(), dtype="int64", attributes=_grid_mapping(grid)
    )
    mapping[...] = 0


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
