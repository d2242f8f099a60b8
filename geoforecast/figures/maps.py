"""Maps the right way up and true to shape."""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import NDArray

from geoforecast.raster.grid import Grid


def north_up(values: NDArray[Any], grid: Grid) -> NDArray[Any]:
    """A (y, x) array with its first row in the north and first column in the west."""
    rows = slice(None, None, -1 if grid.transform.e > 0 else 1)
    cols = slice(None, None, -1 if grid.transform.a < 0 else 1)
    return values[rows, cols]


def pixel_aspect(grid: Grid) -> float:
    """Length of a unit of y over one of x: 1, or 1 / cos(latitude) for degrees."""
    if grid.wkt and grid.crs.is_geographic:
        _, bottom, _, top = grid.bounds
        return 1 / max(0.2, math.cos(math.radians((bottom + top) / 2)))
    return 1.0
