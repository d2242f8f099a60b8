"""Static layers inside a cube: what does not change with time, on the cube's grid.

They lie in the group ``static`` of the cube's store: ``values`` (layer, y, x) float32, NaN
where invalid; ``valid``, the same shape; names, units and sources are the group's attributes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

from geoforecast.errors import CubeError
from geoforecast.raster.grid import Tile

GROUP = "static"
CHUNK_PX = 256
DIMS = ("layer", "y", "x")


class StaticWriter:
    """Adds the group of static layers to a cube and fills it tile by tile.

    Each call of write() must begin at a multiple of CHUNK_PX and cover whole chunks (or reach
    the grid's end), so that no two threads ever share one.

    Args:
        cube_path: a store that is there already; layers that it has are replaced.
        names: of the layers.
        units: of each layer, or "".
        shape: (height, width) of the cube's grid.
        sources: what the layers were made from, made of JSON types.
    """

    def __init__(
        self,
        cube_path: Path,
        *,
        names: Sequence[str],
        units: Sequence[str],
        shape: tuple[int, int],
        sources: Sequence[Mapping[str, Any]],
    ) -> None:
        root: Any = zarr.open_group(cube_path, mode="r+")
        self._group = root.create_group(GROUP, overwrite=True)
        self._arrays = [
            self._group.create_array(
                name,
                shape=(len(names), *shape),
                chunks=(len(names), min(CHUNK_PX, shape[0]), min(CHUNK_PX, shape[1])),
                dtype=dtype,
                compressors=BloscCodec(cname="lz4", clevel=5, shuffle="shuffle"),
                # A chunk that is lost then reads as valid and has no value.
                fill_value=fill,
                dimension_names=DIMS,
                attributes={"grid_mapping": "spatial_ref", "long_name": text},
            )
            for name, dtype, fill, text in (
                ("values", "float32", np.nan, "static layers"),
                ("valid", "bool", True, "True where the value is usable"),
            )
        ]
        self._content = {
            "names": list(names),
            "units": list(units),
            "sources": [dict(source) for source in sources],
        }

    def write(self, tile: Tile, values: NDArray[np.float32], valid: NDArray[np.bool_]) -> None:
        """Write (layer, y, x) values and validity of a tile; values become NaN where invalid."""
        place = (slice(None), *tile.slices)
        self._arrays[0][place] = np.where(valid, values, np.float32(np.nan))
        self._arrays[1][place] = valid

    def finish(self) -> None:
        """Store names, units and sources; the layers count as complete from here on."""
        self._group.attrs["geoforecast"] = self._content


def static_units(cube_path: Path) -> dict[str, str]:
    """Unit of each static layer of a cube by name, without a pixel; empty if it has none.

    Raises:
        CubeError: they are there but cannot be read.
    """
    if not (cube_path / GROUP).exists():
        return {}
    try:
        group: Any = zarr.open_group(cube_path, mode="r", path=GROUP)
        content = group.attrs["geoforecast"]
        return dict(zip(content["names"], content["units"], strict=True))
    except (KeyError, ValueError, TypeError, RuntimeError, OSError) as error:
        raise _unreadable(cube_path, error) from error


def read_static(
    cube_path: Path, tile: Tile | None = None
) -> tuple[tuple[str, ...], NDArray[np.float32], NDArray[np.bool_]] | None:
    """The static layers of a cube.

    Args:
        cube_path: the cube.
        tile: the rectangle; None reads all of it.
    Returns:
        names; values (layer, y, x) float32, NaN where invalid; valid, same shape. None if the
        cube has no static layers.
    Raises:
        CubeError: they are there but cannot be read.
    """
    if not (cube_path / GROUP).exists():
        return None
    place = (slice(None), *tile.slices) if tile else ...
    try:
        group: Any = zarr.open_group(cube_path, mode="r", path=GROUP)
        names = tuple(group.attrs["geoforecast"]["names"])
        values = np.asarray(group["values"][place])
        valid = np.asarray(group["valid"][place], dtype=bool)
        if np.isnan(values[valid]).any() or len(names) != len(values):
            raise ValueError("valid pixels have no value; a chunk is missing")
    except (KeyError, ValueError, TypeError, RuntimeError, OSError) as error:
        raise _unreadable(cube_path, error) from error
    return names, values, valid


def _unreadable(cube_path: Path, error: Exception) -> CubeError:
    return CubeError(
        f"The static layers of {cube_path} cannot be read.",
        where=f"{type(error).__name__}: {error}",
        remedy="Make the cube again: geoforecast stack FOLDER --overwrite.",
    )
