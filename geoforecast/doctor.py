"""Checks of the installation: versions, GDAL and PROJ, devices, grants."""

from __future__ import annotations

import importlib.metadata
import platform
from dataclasses import dataclass

from geoforecast import __version__
from geoforecast.system import gdal_cache_mib, granted_cpus, granted_memory_bytes

LIBRARIES = ("torch", "rasterio", "xarray", "rioxarray", "zarr", "numpy", "numba", "scikit-image")


@dataclass(frozen=True)
class Check:
    """One finding; ``ok`` False means that geoforecast will not work well."""

    name: str
    ok: bool
    detail: str

    def describe(self) -> str:
        """One line for a terminal."""
        return f"{'ok ' if self.ok else 'BAD'}  {self.name:<13} {self.detail}"


def examine() -> list[Check]:
    """Run every check; none of them raises."""
    checks = [Check("geoforecast", True, f"{__version__}, Python {platform.python_version()}")]
    for library in LIBRARIES:
        try:
            checks.append(Check(library, True, importlib.metadata.version(library)))
        except importlib.metadata.PackageNotFoundError:
            checks.append(Check(library, False, "is missing: pip install geoforecast again"))
    probes = {"GDAL": _gdal, "PROJ": _proj, "COG": _cog, "devices": _devices}
    for name, probe in probes.items():
        try:
            checks.append(probe())
        except Exception as error:  # a broken install may fail in any way; say how
            checks.append(Check(name, False, f"{type(error).__name__}: {error}"))
    memory = f"{granted_memory_bytes() / 2**30:.1f} GiB, GDAL cache {gdal_cache_mib()} MiB"
    checks.append(Check("CPUs", True, f"{granted_cpus()} granted"))
    checks.append(Check("memory", True, memory))
    return checks


def _gdal() -> Check:
    import rasterio

    with rasterio.Env() as env:
        drivers = env.drivers()
    missing = [name for name in ("GTiff", "COG") if name not in drivers]
    detail = f"{rasterio.__gdal_version__}" + (f", lacks {', '.join(missing)}" if missing else "")
    return Check("GDAL", not missing, detail)


def _proj() -> Check:
    """A known point there and back: a broken proj.db gives inf or a wrong place."""
    import pyproj
    from rasterio.warp import transform

    (x,), (y,) = transform("EPSG:4326", "EPSG:32633", [15.0], [0.0])
    works = abs(x - 500_000) < 1e-3 and abs(y) < 1e-3
    advice = "" if works else "; EPSG:4326 to 32633 is wrong: unset PROJ_LIB and PROJ_DATA"
    return Check("PROJ", works, f"{pyproj.proj_version_str}{advice}")


def _cog() -> Check:
    """GDAL can compress as forecasts are written."""
    import numpy as np
    from rasterio.io import MemoryFile
    from rasterio.transform import from_origin

    with (
        MemoryFile() as memory,
        memory.open(
            driver="COG",
            width=8,
            height=8,
            count=1,
            dtype="float32",
            compress="ZSTD",
            crs="EPSG:32633",
            transform=from_origin(0, 80, 10, 10),
        ) as dataset,
    ):
        dataset.write(np.ones((1, 8, 8), dtype="float32"))
    return Check("COG", True, "writes ZSTD-compressed files")


def _devices() -> Check:
    import torch

    found = ["cpu"]
    if torch.cuda.is_available():
        found.append(f"cuda ({torch.cuda.get_device_name(0)})")
    if torch.backends.mps.is_available():
        found.append("mps")
    return Check("devices", True, ", ".join(found))
