"""Small rasters for all tests, and where shared real data lie, if they do."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray

WriteTif = Callable[..., Path]
UTM = Affine(10.0, 0.0, 500000.0, 0.0, -10.0, 5200000.0)


def make_tif(
    path: Path,
    array: NDArray[Any],
    *,
    transform: Affine = UTM,
    crs: str | None = "EPSG:32633",
    nodata: float | None = None,
    descriptions: Sequence[str] = (),
    scale: float | None = None,
    offset: float | None = None,
    tags: Mapping[str, str] | None = None,
    units: str = "",
    **creation: Any,
) -> Path:
    """Write (y, x) or (band, y, x) pixels as a GeoTIFF."""
    bands = array[None] if array.ndim == 2 else array
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=bands.shape[1],
        width=bands.shape[2],
        count=bands.shape[0],
        dtype=str(bands.dtype),
        crs=crs,
        transform=transform,
        nodata=nodata,
        **creation,
    ) as dataset:
        dataset.write(bands)
        for number in range(1, bands.shape[0] + 1):
            if number <= len(descriptions):
                dataset.set_band_description(number, descriptions[number - 1])
            if units:
                dataset.set_band_unit(number, units)
        if scale is not None:
            dataset.scales = (scale,) * bands.shape[0]
        if offset is not None:
            dataset.offsets = (offset,) * bands.shape[0]
        if tags:  # tags move the file's directory to its end
            dataset.update_tags(**tags)
    return path


@pytest.fixture
def write_tif() -> WriteTif:
    """A function that writes a small GeoTIFF; see make_tif."""
    return make_tif


@pytest.fixture
def tiny_folder(tmp_path: Path) -> Path:
    """Twelve scenes of 16 days, 20 x 24 pixels; value = 100 step + column."""
    folder = tmp_path / "tiny"
    start = np.datetime64("2020-01-01")
    for step in range(12):
        day = str(start + 16 * step).replace("-", "")
        columns = np.broadcast_to(np.arange(24, dtype=np.float32), (20, 24))
        make_tif(folder / f"ndvi_{day}.tif", (100 * step + columns).astype(np.float32))
    return folder


def shared_data(name: str) -> Path:
    """A folder of real data outside the repository; skips the test if it is absent."""
    root = os.environ.get("GEOFORECAST_SHARED")
    places = [Path(root)] if root else []
    places.append(Path(__file__).resolve().parents[2] / "shared")
    for place in places:
        if (place / "data" / name).is_dir():
            return place / "data" / name
    pytest.skip(f"no real data '{name}'; set GEOFORECAST_SHARED to the folder that holds data/")


@pytest.fixture
def real_data() -> Callable[[str], Path]:
    """A function that finds a folder of real data, or skips the test."""
    return shared_data
