"""Cubes with known faults, written and opened as stack does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from geoforecast.raster.cube import Cube, CubeWriter, open_cube
from geoforecast.raster.grid import Grid

MakeCube = Callable[..., Cube]
UTM = Affine(10.0, 0.0, 500000.0, 0.0, -10.0, 5200000.0)


@pytest.fixture
def make_cube(tmp_path: Path) -> MakeCube:
    """A function that writes (time, band, y, x) values as the cube of tmp_path / name."""

    def make(
        values: NDArray[Any],
        *,
        valid: NDArray[np.bool_] | None = None,
        times: NDArray[np.datetime64] | None = None,
        bands: tuple[str, ...] = (),
        observed: NDArray[np.bool_] | None = None,
        transform: Affine = UTM,
        name: str = "project",
        **meta: Any,
    ) -> Cube:
        steps = values.shape[0]
        categorical = values.dtype.kind in "iu"
        valid = np.isfinite(values) if valid is None else valid
        if times is None:
            times = np.datetime64("2020-01-01") + 10 * np.arange(steps)
        bands = bands or tuple(f"b{number}" for number in range(values.shape[1]))
        grid = Grid(CRS.from_epsg(32633).to_wkt(), transform, values.shape[2:])
        path = tmp_path / name / "cube.zarr"
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = CubeWriter(
            path,
            times=times.astype("datetime64[s]"),
            bands=bands,
            grid=grid,
            dtype=str(values.dtype),
            observed=np.ones(steps, bool) if observed is None else observed,
        )
        empty = 0 if categorical else np.nan
        writer.write(0, 0, np.where(valid, values, empty).astype(values.dtype), valid)
        content = {
            "kind": "categorical" if categorical else "continuous",
            "units": ["1"] * len(bands),
            "cadence": {"step": "none"},
            "split": {},
            "fingerprint": "f0",
        }
        writer.finish({**content, **meta})
        return open_cube(path)

    return make


def texture(shape: tuple[int, int], seed: int = 0, power: float = 1.0) -> NDArray[np.float64]:
    """Noise whose amplitude falls with frequency to a power, as land surfaces' does; it wraps."""
    rng = np.random.default_rng(seed)
    spectrum = np.fft.fft2(rng.standard_normal(shape))
    rows, cols = (np.fft.fftfreq(side) for side in shape)
    frequency = np.hypot(rows[:, None], cols)
    frequency[0, 0] = 1.0
    field = np.fft.ifft2(spectrum / frequency**power).real
    result: NDArray[np.float64] = (field - field.mean()) / field.std()
    return result


def moved(field: NDArray[np.float64], dy: float, dx: float) -> NDArray[np.float64]:
    """A field that wraps, moved by rows down and columns right, exactly, by its spectrum."""
    rows, cols = (np.fft.fftfreq(side) for side in field.shape)
    phase = np.exp(-2j * np.pi * (rows[:, None] * dy + cols * dx))
    result: NDArray[np.float64] = np.fft.ifft2(np.fft.fft2(field) * phase).real
    return result


@pytest.fixture
def land() -> Callable[..., NDArray[np.float32]]:
    """A function that makes (time, 1, y, x) scenes of one place with given (dy, dx) shifts."""

    def scenes(
        shifts: list[tuple[float, float]],
        shape: tuple[int, int] = (150, 170),
        *,
        noise: float = 0.1,
        seed: int = 0,
    ) -> NDArray[np.float32]:
        rng = np.random.default_rng(seed + 1)
        place = texture((shape[0] + 40, shape[1] + 40), seed)
        result = []
        for dy, dx in shifts:
            scene = moved(place, dy, dx)[20:-20, 20:-20]
            scene = rng.uniform(0.7, 1.4) * scene + rng.uniform(-1, 1)  # light and season
            result.append(scene + noise * rng.standard_normal(shape))
        return np.array(result, np.float32)[:, None]

    return scenes
