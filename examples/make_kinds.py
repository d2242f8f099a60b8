"""Make two small series to try other kinds of targets on: land cover, and a flood.

    python examples/make_kinds.py OUT
    geoforecast -p cover stack OUT/cover --kind categorical train predict validate
    geoforecast -p flood stack OUT/flood train predict validate

Both are synthetic and seeded. OUT/cover: yearly classes, forest that is cleared from its edges,
becomes pasture and then crops, beside a town and a lake. OUT/flood: water or not every twelve
days, a river that swells over a bumpy plain, with clouds.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.transform import from_origin
from scipy.ndimage import gaussian_filter, uniform_filter

FOREST, PASTURE, CROPS, WATER, TOWN = 1, 2, 3, 4, 5
COVER_SHAPE, COVER_YEARS, COVER_SEED = (110, 150), range(2005, 2023), 11
FLOOD_SHAPE, FLOOD_STEPS, FLOOD_SEED = (100, 140), 48, 4
MISREAD = 0.01  # share of pixels that are told as pasture


def rough(rng: np.random.Generator, shape: tuple[int, int], size_px: float) -> NDArray[np.float64]:
    """A smooth random field of mean 0 and deviation 1."""
    field = gaussian_filter(rng.standard_normal(shape), size_px)
    return np.asarray(field / field.std())


def write(path: Path, values: NDArray[np.generic], nodata: int, epsg: int, pixel_m: float) -> None:
    """One GeoTIFF of one band."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = values.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=height,
        width=width,
        count=1,
        dtype=values.dtype,
        nodata=nodata,
        crs=f"EPSG:{epsg}",
        transform=from_origin(600_330, 5_000_710, pixel_m, pixel_m),
        compress="deflate",
    ) as file:
        file.write(values, 1)


def make_cover(folder: Path) -> None:
    """Land cover, one map a year."""
    rng = np.random.default_rng(COVER_SEED)
    y, x = np.mgrid[: COVER_SHAPE[0], : COVER_SHAPE[1]]
    soil = rough(rng, COVER_SHAPE, 9)
    cover = np.full(COVER_SHAPE, FOREST)
    road = np.abs(y - 60 - 8 * np.sin(x / 25))
    cover[road < 5 + 2 * rough(rng, COVER_SHAPE, 5)] = PASTURE
    cover[np.hypot(y - 25, x - 110) < 9 + 2 * rough(rng, COVER_SHAPE, 4)] = WATER
    cover[np.hypot(y - 62, x - 40) < 4] = TOWN
    age = np.zeros(COVER_SHAPE)
    for year in COVER_YEARS:
        misread = (rng.random(COVER_SHAPE) < MISREAD) & (cover != WATER)
        seen = np.where(misread, PASTURE, cover).astype(np.uint8)
        write(folder / f"cover_{year}.tif", seen, 255, 32721, 250)
        cover = next_year(rng, cover, age, soil)


def next_year(
    rng: np.random.Generator,
    cover: NDArray[np.int64],
    age: NDArray[np.float64],
    soil: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Clearing spreads from what is cleared, old pasture on good soil is ploughed, towns grow."""
    cleared = uniform_filter(((cover != FOREST) & (cover != WATER)).astype(float), 5)
    near_town = uniform_filter((cover == TOWN).astype(float), 3) > 0.2
    luck = rng.random(cover.shape)
    age[cover == PASTURE] += 1
    new = cover.copy()
    new[(cover == FOREST) & (luck < 0.55 * cleared) & (soil > -0.8)] = PASTURE
    new[(cover == PASTURE) & (age > 2) & (soil > 0.1) & (luck < 0.45)] = CROPS
    new[(cover != WATER) & near_town & (luck < 0.12)] = TOWN
    return new


def make_flood(folder: Path) -> None:
    """Water or not, every twelve days."""
    rng = np.random.default_rng(FLOOD_SEED)
    y, x = np.mgrid[: FLOOD_SHAPE[0], : FLOOD_SHAPE[1]]
    river = 50 + 14 * np.sin(x / 22) + 5 * np.sin(x / 9 + 1)
    ground = np.abs(y - river) / 9 + 0.9 * rough(rng, FLOOD_SHAPE, 6)
    level, rise = 1.5, 0.0
    for step in range(FLOOD_STEPS):
        rise = 0.75 * rise + 0.55 * float(rng.standard_normal())
        level = 1.6 + 0.8 * (level - 1.6) + rise
        water = ground + 0.15 * rough(rng, FLOOD_SHAPE, 2) < max(level, 0.3)
        seen = water.astype(np.uint8)
        seen[rough(rng, FLOOD_SHAPE, 10) > 1.5] = 255  # clouds
        day = np.datetime64("2021-03-02") + 12 * step
        write(folder / f"water_{str(day).replace('-', '')}.tif", seen, 255, 32631, 20)


def main() -> None:
    """Make both series."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder to make them in")
    out = parser.parse_args().out
    make_cover(out / "cover")
    make_flood(out / "flood")


if __name__ == "__main__":
    main()
