"""What STAC items say of a raster's grid and of times."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
from pyproj import CRS

from geoforecast.raster.grid import Grid


def projection(grid: Grid) -> dict[str, Any]:
    """What the projection extension says of a grid: code, WKT2, shape and transform."""
    epsg = grid.crs.to_epsg() if grid.wkt else None
    transform = grid.transform
    return {
        "code": f"EPSG:{epsg}" if epsg else None,
        "wkt2": CRS.from_wkt(grid.wkt).to_wkt() if grid.wkt else None,
        "shape": list(grid.shape),
        "transform": [float(number) for number in tuple(transform)[:6]],
    }


def moment(time: np.datetime64) -> datetime.datetime:
    """A time of the cube, which is in UTC."""
    found: datetime.datetime = time.astype("datetime64[s]").item()
    return found.replace(tzinfo=datetime.UTC)


def iso(time: np.datetime64) -> str:
    """A time of the cube as text, such as 2024-06-09T00:00:00Z."""
    return f"{time.astype('datetime64[s]')}Z"
