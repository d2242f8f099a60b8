"""A project of any size for the benchmark: seeded scenes, stacked by the product itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.windows import Window

BANDS, DATES, STRIP = 4, 12, 512
LOOKBACK, HORIZON = 5, 1  # six steps for the model


def make_scenes(folder: Path, edge: int) -> None:
    """Scenes of four bands: waves that pass by, noise, and a cloud in each."""
    folder.mkdir(parents=True, exist_ok=True)
    for date in range(DATES):
        day = str(np.datetime64("2020-01-01") + 16 * date).replace("-", "")
        profile = {
            "driver": "GTiff",
            "height": edge,
            "width": edge,
            "count": BANDS,
            "dtype": "int16",
            "crs": "EPSG:32633",
            "transform": Affine(10, 0, 500000, 0, -10, 5200000),
            "nodata": -9999,
            "tiled": True,
            "compress": "zstd",
        }
        with rasterio.open(folder / f"scene_{day}.tif", "w", **profile) as dataset:
            for row in range(0, edge, STRIP):
                pixels = _strip(date, row, min(STRIP, edge - row), edge)
                dataset.write(pixels, window=Window(0, row, edge, pixels.shape[1]))


def _strip(date: int, row: int, height: int, edge: int) -> np.ndarray:
    rng = np.random.default_rng([date, row])
    y, x = np.mgrid[row : row + height, :edge].astype(np.float32)
    pixels = np.empty((BANDS, height, edge), np.int16)
    for band in range(BANDS):
        wave = np.sin(2 * np.pi * (date / 7 - x / 300 + y / (400 + 100 * band)))
        noise = rng.standard_normal((height, edge), dtype=np.float32)
        pixels[band] = (3000 + 800 * wave + 60 * noise).astype(np.int16)
    middle = np.random.default_rng(date).integers(0, edge, 2)
    pixels[:, np.hypot(y - middle[0], x - middle[1]) < edge / 12] = -9999
    return pixels


def command(project: Path, *words: str) -> list[str]:
    """A command line of the product."""
    return [sys.executable, "-m", "geoforecast", "-q", "-p", str(project), *words]


def make_project(project: Path, scenes: Path, edge: int, jobs: int) -> None:
    """Stack scenes of a size, unless that has been done."""
    if not (project / "cube.zarr").exists():
        make_scenes(scenes, edge)
        words = command(project, "stack", str(scenes), "--jobs", str(jobs))
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def train(project: Path, hidden: int) -> None:
    """Train a small run, unless that has been done."""
    words = ["--model", "convlstm", "--layers", "2", "--hidden", str(hidden), "--epochs", "1"]
    words += ["--lookback", str(LOOKBACK), "--horizon", str(HORIZON), "--members", "1"]
    words += ["--no-retrain"]
    subprocess.run(command(project, "train", *words), check=True, stdout=subprocess.DEVNULL)
