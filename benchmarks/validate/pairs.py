"""Make the two folders that the validate benchmark scores: forecasts, and what came.

    python benchmarks/validate/pairs.py [--pairs 24] [--edge 4096] [--out DIR]

A season, smooth fields that change slowly, texture and noise, as of a vegetation index; clouds take
about a sixth of what was observed, another place each time. The forecasts are smoother than what
came, and lack a border, as those of a model with a lookback may. One scene more is observed before
the first forecast: simple forecasts are made from it. The same seed gives the same pixels.
"""

from __future__ import annotations

import argparse
import datetime
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from scipy import ndimage

SEED = 20240607
START, DAYS_APART = datetime.date(2022, 1, 5), 8
NODATA = -9999.0
CRS, CORNER, PIXEL_M = "EPSG:32633", (500_000.0, 5_300_000.0), 10.0
COARSE_PX = 64  # between the points that smooth fields are drawn at
CLOUDED = 0.16  # of what was observed
BORDER = 64  # the share of the edge, one in so many, that forecasts lack

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Pairs:
    """Where the folders lie, and how many pairs of which size they hold."""

    forecast: Path
    observed: Path
    pairs: int
    edge: int


def smooth(rng: np.random.Generator, edge: int, coarse_px: int = COARSE_PX) -> Floats:
    """(edge, edge) a field of about unit deviation that bends every ``coarse_px`` pixels."""
    points = rng.standard_normal((edge // coarse_px + 4,) * 2, dtype=np.float32)
    places = np.arange(edge, dtype=np.float32) / coarse_px + 1
    made = np.empty((edge, edge), np.float32)
    rows = ndimage.spline_filter(points)
    for start in range(0, edge, 256):  # coordinates of the whole would take a gigabyte
        grid = np.meshgrid(places[start : start + 256], places, indexing="ij")
        made[start : start + 256] = ndimage.map_coordinates(rows, grid, order=1, prefilter=False)
    return made


def scene(step: int, edge: int) -> tuple[Floats, Floats]:
    """What came at a step, and what was forecast of it; (edge, edge), NODATA where nothing is."""
    ground = np.random.default_rng(SEED)
    place, texture = smooth(ground, edge), ground.standard_normal((edge, edge), dtype=np.float32)
    rng = np.random.default_rng((SEED, step))
    season = np.float32(np.sin(2 * np.pi * step * DAYS_APART / 365))
    change, clouds = smooth(rng, edge), smooth(rng, edge, 2 * COARSE_PX)
    sure = 0.45 + 0.15 * place + 0.12 * season + 0.04 * change
    noise = rng.standard_normal((edge, edge), dtype=np.float32)
    observed = sure + np.float32(0.03) * texture + np.float32(0.02) * noise
    forecast = sure + np.float32(0.015) * texture + np.float32(0.03) * smooth(rng, edge)
    observed[clouds > np.quantile(clouds[::8, ::8], 1 - CLOUDED)] = NODATA
    border = edge // BORDER
    forecast[:, edge - border :] = NODATA
    return observed.astype(np.float32), forecast.astype(np.float32)


def make_pairs(out: Path, pairs: int, edge: int) -> Pairs:
    """Write both folders; files that are there already are kept.

    Args:
        out: a folder for all sizes.
        pairs: how many.
        edge: rows and columns of a scene.
    """
    made = Pairs(out / f"{edge}x{pairs}/forecast", out / f"{edge}x{pairs}/observed", pairs, edge)
    made.forecast.mkdir(parents=True, exist_ok=True)
    made.observed.mkdir(parents=True, exist_ok=True)

    def write(step: int) -> None:
        day = (START + datetime.timedelta(days=step * DAYS_APART)).strftime("%Y%m%d")
        paths = made.observed / f"ndvi_{day}.tif", made.forecast / f"ndvi_{day}.tif"
        if all(path.exists() for path in paths[: 1 if step == 0 else 2]):
            return
        for path, pixels in zip(paths, scene(step, edge), strict=True):
            if step or path.parent == made.observed:
                _write(path, pixels)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, range(pairs + 1)))
    return made


def _write(path: Path, pixels: Floats) -> None:
    part = path.with_suffix(".part")
    with rasterio.open(
        part,
        "w",
        driver="GTiff",
        width=pixels.shape[1],
        height=pixels.shape[0],
        count=1,
        dtype="float32",
        nodata=NODATA,
        crs=CRS,
        transform=Affine(PIXEL_M, 0, CORNER[0], 0, -PIXEL_M, CORNER[1]),
        tiled=True,
        blockxsize=256,
        blockysize=256,
        compress="deflate",
        predictor=3,
        zlevel=1,
    ) as file:
        file.write(pixels, 1)
    part.rename(path)


def main() -> None:
    """Make them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=24)
    parser.add_argument("--edge", type=int, default=4096)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out/validate"))
    given = parser.parse_args()
    made = make_pairs(given.out, given.pairs, given.edge)
    print(made.forecast.parent)


if __name__ == "__main__":
    main()
