"""What one would write with xarray, xskillscore and scikit-image to score a folder of forecasts.

    PYTHON peer_script.py FORECAST OBSERVED MAPS

Runs in the peers' environment and prints JSON. Files are opened lazily, a chunk a scene, and what
is told of scenes is computed in one go on Dask's threads. The forecast is scored, and persistence
beside it, on the pixels that both have: less than validate does, which scores four references and
also tells of Moran's I, Geary's C, spectra, distributions, trends and peaks.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import dask
import numpy as np
import rioxarray
import xarray as xr
import xskillscore as xs
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from skimage.registration import phase_cross_correlation

SPACE = ["y", "x"]
MAP_PX = 512  # chunks of the maps through time


def opened(folder: Path, side: int) -> xr.DataArray:
    """(time, y, x) a folder of scenes, NaN where they have no data."""
    paths = sorted(folder.glob("*.tif"))
    times = np.array(
        [np.datetime64(f"{p.stem[-8:-4]}-{p.stem[-4:-2]}-{p.stem[-2:]}") for p in paths]
    )
    chunks = {"x": side, "y": side} if side else {"x": -1, "y": -1}
    scenes: list[Any] = [
        rioxarray.open_rasterio(path, masked=True, chunks=chunks) for path in paths
    ]
    scenes = [scene.squeeze("band", drop=True) for scene in scenes]
    made: xr.DataArray = xr.concat(scenes, xr.DataArray(times, dims="time", name="time"))
    return made


def similar(forecast: Any, observed: Any, span: float) -> float:
    """SSIM of one scene, gaps set to the mean of what came."""
    gaps = np.isnan(forecast) | np.isnan(observed)
    mean = np.nanmean(observed)
    pair = [np.where(gaps, mean, one) for one in (forecast, observed)]
    full = structural_similarity(*pair, data_range=span, full=True)[1]
    return float(full[~gaps].mean())


def noise(forecast: Any, observed: Any, span: float) -> float:
    """PSNR of the pixels that both have."""
    known = ~(np.isnan(forecast) | np.isnan(observed))
    return float(peak_signal_noise_ratio(observed[known], forecast[known], data_range=span))


def by_scene(f: xr.DataArray, o: xr.DataArray, span: float) -> dict[str, Any]:
    """Every metric of each scene, lazily."""
    both: dict[str, Any] = {"dim": SPACE, "skipna": True}
    scene: dict[str, Any] = {
        "input_core_dims": [SPACE, SPACE],
        "vectorize": True,
        "dask": "parallelized",
        "output_dtypes": [float],
        "kwargs": {"span": span},
    }
    return {
        "mae": xs.mae(f, o, **both),
        "rmse": xs.rmse(f, o, **both),
        "mse": xs.mse(f, o, **both),
        "mape": xs.mape(f, o, **both),
        "bias": xs.me(f, o, **both),
        "r2": xs.r2(f, o, **both),
        "correlation": xs.pearson_r(f, o, **both),
        "variance_ratio": f.where(o.notnull()).var(SPACE) / o.where(f.notnull()).var(SPACE),
        "ssim": xr.apply_ufunc(similar, f, o, **scene),
        "psnr": xr.apply_ufunc(noise, f, o, **scene),
    }


def scores(forecast: Path, observed: Path) -> dict[str, float]:
    """Means over scenes, of the forecast and of persistence."""
    f, o = opened(forecast, 0), opened(observed, 0)
    last = o.shift(time=1).sel(time=f.time)
    came = o.sel(time=f.time)
    common = f.notnull() & came.notnull() & last.notnull()
    f, came, last = f.where(common), came.where(common), last.where(common)
    low, high = dask.compute(o.min(), o.max())
    span = float(high - low)
    lazy = {
        f"{name}_{metric}": value
        for name, made in (("forecast", f), ("persistence", last))
        for metric, value in by_scene(made, came, span).items()
    }
    found = xr.Dataset(lazy).compute()
    return {str(name): float(values.mean()) for name, values in found.items()}


def aligned(forecast: Path, observed: Path) -> dict[str, float]:
    """Mean size of the shift between what was forecast, or last seen, and what came, pixels."""
    f, o = opened(forecast, 0), opened(observed, 0)
    last = o.shift(time=1).sel(time=f.time)
    came = o.sel(time=f.time)
    found: dict[str, list[float]] = {"forecast": [], "persistence": []}
    for step in range(f.sizes["time"]):
        made = {"forecast": f[step].to_numpy(), "persistence": last[step].to_numpy()}
        reference = came[step].to_numpy()
        reference = np.where(np.isnan(reference), np.nanmean(reference), reference)
        for name, values in made.items():
            whole = np.where(np.isnan(values), np.nanmean(values), values)
            shift, _, _ = phase_cross_correlation(reference, whole, upsample_factor=10)
            found[name].append(float(np.hypot(*shift)))
    return {f"{name}_alignment": float(np.mean(sizes)) for name, sizes in found.items()}


def maps(forecast: Path, observed: Path, out: Path) -> None:
    """Mean error, its size, RMSE skill, correlation and NSE of each pixel through time."""
    f, o = opened(forecast, MAP_PX), opened(observed, MAP_PX)
    last = o.shift(time=1).sel(time=f.time).chunk(time=-1)
    f, came = f.chunk(time=-1), o.sel(time=f.time).chunk(time=-1)
    through: dict[str, Any] = {"dim": "time", "skipna": True}
    drawn = {
        "bias": xs.me(f, came, **through),
        "abs_error": xs.mae(f, came, **through),
        "rmse_skill": 1 - xs.rmse(f, came, **through) / xs.rmse(last, came, **through),
        "correlation": xs.pearson_r(f, came, **through),
        "nse": xs.r2(came, f, **through),
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, values in xr.Dataset(drawn).compute().items():
        values.astype("float32").rio.to_raster(out / f"{name}.tif", compress="deflate", tiled=True)


def main() -> None:
    """Score, align, draw, and say how long each took."""
    forecast, observed, out = (Path(word) for word in sys.argv[1:4])
    told: dict[str, Any] = {"scores": {}, "wall_s": {}, "cpu_s": {}}
    parts = {
        "scores": lambda: scores(forecast, observed),
        "alignment": lambda: aligned(forecast, observed),
        "maps": lambda: maps(forecast, observed, out),
    }
    for name, part in parts.items():
        wall, cpu = time.perf_counter(), time.process_time()
        told["scores"] |= part() or {}  # type: ignore[no-untyped-call]
        told["wall_s"][name] = time.perf_counter() - wall
        told["cpu_s"][name] = time.process_time() - cpu
    print(json.dumps(told))


if __name__ == "__main__":
    main()
