"""Small rasters for all tests, and where shared real data lie, if they do."""

from __future__ import annotations

import os

# Before torch is imported: two test processes of two threads each would wait for one another
# at every small operation, and no test may depend on the number of cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Hundreds of small runs are trained here; those that are about several members say so.
os.environ["GEOFORECAST_TRAIN_MEMBERS"] = "1"

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


MakeProject = Callable[..., Any]


@pytest.fixture
def make_project(tmp_path: Path) -> MakeProject:
    """A project whose cube holds given values, without any scene on disk."""
    from geoforecast.project import Project
    from geoforecast.raster.cube import CubeWriter, open_cube, update_meta
    from geoforecast.raster.grid import Grid
    from geoforecast.samples.normaliser import fit_normaliser, fit_statistics, to_meta
    from geoforecast.samples.split import make_split
    from geoforecast.settings import SplitSettings

    def make(
        values: NDArray[np.float32],
        *,
        name: str = "project",
        valid: NDArray[np.bool_] | None = None,
        times: NDArray[np.datetime64] | None = None,
        normalise: str = "zscore",
    ) -> Project:
        steps, bands, height, width = values.shape
        if times is None:
            times = np.datetime64("2020-01-01") + 16 * np.arange(steps)
        times = times.astype("datetime64[s]")
        valid = np.isfinite(values) if valid is None else valid
        crs = rasterio.crs.CRS.from_epsg(32633).to_wkt()
        project = Project(tmp_path / name)
        project.ensure_writable()
        writer = CubeWriter(
            project.cube_path,
            times=times,
            bands=[f"b{number}" for number in range(bands)],
            grid=Grid(crs, UTM, (height, width)),
            dtype="float32",
            observed=np.ones(steps, dtype=bool),
        )
        writer.write(0, 0, np.where(valid, values, np.nan).astype(np.float32), valid)
        split = make_split(steps, SplitSettings())
        gaps = np.diff(times).astype("timedelta64[s]").astype(float)
        writer.finish(
            {
                "kind": "continuous",
                "units": ["1"] * bands,
                "cadence": {"step": "none", "median_seconds": float(np.median(gaps))},
                "split": split.to_meta(times),
                "fingerprint": "f0",
                "normaliser": None,
            }
        )
        statistics = fit_statistics(open_cube(project.cube_path), split.train_steps)
        normaliser = fit_normaliser(normalise, statistics)
        update_meta(project.cube_path, normaliser=to_meta(normaliser, statistics))
        return project

    return make


@pytest.fixture
def wave() -> NDArray[np.float32]:
    """(time, band, y, x) seasonal values with a travelling front, noise, and odd sides."""
    rng = np.random.default_rng(7)
    t = np.arange(36)[:, None, None]
    y, x = np.mgrid[:23, :31]
    season = np.sin(2 * np.pi * (16 * t / 365.25 - x / 60))
    values = 0.5 + 0.2 * season + 0.02 * rng.standard_normal((36, 23, 31)) + 0.002 * y
    result: NDArray[np.float32] = values[:, None].astype(np.float32)
    return result
