"""Make the folder of scenes that the stack benchmark works on.

    python benchmarks/stack/make_scenes.py [--dates 24] [--edge 2500] [--out DIR]

Sentinel-2-like: one file a band (B02 B03 B04 B08, uint16, 10 m) and a scene classification
(SCL, uint8, 20 m), tiled GeoTIFFs with deflate and a predictor. The dates alternate between
two UTM zones of one place at their border, so half of them must be warped between zones.
Numbers are made up but of a real scene's kind: fields with sharp edges, fine texture and
sensor noise (so that deflate leaves 50 to 60 %, as it does of real scenes), clouds with
shadows, and slanted borders without data. The same seed gives the same pixels.

Files are kept in a pool and hard-linked into a folder per number of dates, with STAC items
and work.json beside them.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import rasterio
from affine import Affine
from numpy.typing import NDArray
from scipy import ndimage
from work import BANDS, MASK, THREADS, Work

SEED = 20240607
# 12 degrees east, where the zones meet, in EPSG:32632; whole 20 m pixels.
CENTRE = (722_000.0, 5_375_000.0)
ZONES = (("EPSG:32632", "T32UQU"), ("EPSG:32633", "T33UUP"))
TARGET_MARGIN_PX = 60
START = datetime.date(2023, 1, 4)
DAYS_APART = 5
# Digital numbers of each band: level, strength of the fields, of the texture, noise.
LEVELS = {
    "B02": (900.0, 250.0, 50.0, 7.0),
    "B03": (1100.0, 300.0, 55.0, 8.0),
    "B04": (1300.0, 500.0, 70.0, 10.0),
    "B08": (3000.0, 1100.0, 110.0, 20.0),
}
CLOUD, THIN, SHADOW, NODATA = 9, 8, 3, 0
# A scene above this edge is mirrored from a quarter, so that memory stays small.
WHOLE_EDGE = 6000

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Ground:
    """What does not change between dates, on one zone's grid: (edge, edge) float32 each.

    Attributes:
        fields, texture: between -1 and 1.
        green: how much the seasons change a place, 0 to 1.
    """

    fields: Floats
    texture: Floats
    green: Floats


def make_scenes(out: Path, dates: int, edge: int) -> Work:
    """Make what is not there yet, and the folder of the first ``dates`` dates.

    Args:
        out: where the pool and the folders go.
        dates: how many.
        edge: rows and columns of a scene at 10 m; even.
    Returns:
        The work to do on the folder.
    """
    pool = out / f"pool_{edge}"
    pool.mkdir(parents=True, exist_ok=True)
    _fill_pool(pool, dates, edge)
    folder = out / f"scenes_{edge}_{dates}"
    work = _work(folder, dates, edge)
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "items").mkdir(parents=True)
    for step in range(dates):
        for band in (*BANDS, MASK):
            path = work.path(step, band)
            os.link(pool / path.name, path)
        work.item(step).write_text(json.dumps(_stac_item(work, step)), encoding="utf-8")
    work.save()
    return work


def make_large(out: Path, edge: int, others: int, small: int) -> Work:
    """One large date, and small ones, because a series needs several steps.

    Args:
        out: where the pool and the folders go.
        edge: rows and columns of the large date.
        others: number of small dates.
        small: rows and columns of those.
    Returns:
        The work; its grid is that of the large date.
    """
    for size, number in ((edge, 1), (small, others + 1)):
        pool = out / f"pool_{size}"
        pool.mkdir(parents=True, exist_ok=True)
        _fill_pool(pool, number, size)
    folder = out / f"large_{edge}"
    work = _work(folder, others + 1, edge)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for step in range(others + 1):
        pool = out / f"pool_{small if step else edge}"
        for band in (*BANDS, MASK):
            os.link(pool / work.path(step, band).name, work.path(step, band))
    work.save()
    return work


def _work(folder: Path, dates: int, edge: int) -> Work:
    half = (edge + TARGET_MARGIN_PX) // 2 * 10.0
    x, y = CENTRE
    return Work(
        folder=str(folder.resolve()),
        dates=tuple(
            (START + datetime.timedelta(DAYS_APART * i)).strftime("%Y%m%d") for i in range(dates)
        ),
        tiles=tuple(ZONES[i % 2][1] for i in range(dates)),
        crs=ZONES[0][0],
        res=10.0,
        bounds=(x - half, y - half, x + half, y + half),
    )


def _fill_pool(pool: Path, dates: int, edge: int) -> None:
    work = _work(pool, dates, edge)
    missing = [
        step
        for step in range(dates)
        if not all(work.path(step, band).exists() for band in (*BANDS, MASK))
    ]
    if not missing:
        return
    print(f"Making {len(missing)} dates of {edge} x {edge} pixels in {pool}", file=sys.stderr)
    parts = 2 if edge > WHOLE_EDGE else 1
    grounds = _grounds(edge // parts)
    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(lambda step: _write_date(work, step, edge, parts, grounds), missing))


def _grounds(edge: int) -> list[Ground]:
    """The ground in both zones: drawn in the first, carried over to the second."""
    rng = np.random.default_rng(SEED)
    wide = edge + edge // 8
    rough = _noise(rng, wide, (5, 23, 90))
    parcels = np.floor((rough + 1) * 14 + 1.5 * _noise(rng, wide, (60, 200)))
    shades = rng.uniform(-1, 1, 997).astype(np.float32)
    fields = (0.6 * shades[(parcels.astype(np.int64) * 7919) % 997] + 0.4 * rough).astype(
        np.float32
    )
    texture = _noise(rng, wide, (wide // 8, wide // 3, wide // 2))
    green = np.clip(0.5 + 0.5 * _noise(rng, wide, (9, 40)), 0, 1).astype(np.float32)
    grounds = []
    for crs, _ in ZONES:
        rows, cols = _places(crs, edge, wide)
        grounds.append(
            Ground(
                *(
                    ndimage.map_coordinates(layer, (rows, cols), order=1, mode="reflect")
                    for layer in (fields, texture, green)
                )
            )
        )
    return grounds


def _places(crs: str, edge: int, wide: int) -> tuple[Floats, Floats]:
    """Where the pixels of a zone's grid lie in the ground drawn in the first zone."""
    t = _transform(crs, edge, 10)
    nodes = np.linspace(0, edge - 1, 33)
    col, row = np.meshgrid(nodes, nodes)
    way = pyproj.Transformer.from_crs(crs, ZONES[0][0], always_xy=True)
    x, y = way.transform(t.c + 10 * (col + 0.5), t.f - 10 * (row + 0.5))
    low_col = (np.asarray(x) - CENTRE[0]) / 10 + wide / 2 - 0.5
    low_row = (CENTRE[1] - np.asarray(y)) / 10 + wide / 2 - 0.5
    at = np.linspace(0, 32, edge)
    places = np.meshgrid(at, at, indexing="ij")
    rows, cols = (
        ndimage.map_coordinates(v, places, order=1).astype(np.float32) for v in (low_row, low_col)
    )
    return rows, cols


def _transform(crs: str, edge: int, size: int) -> Affine:
    """The grid of a zone's scenes, on whole 20 m, about the common centre."""
    way = pyproj.Transformer.from_crs(ZONES[0][0], crs, always_xy=True)
    x, y = (round(float(v) / 20) * 20 for v in way.transform(*CENTRE))
    half = edge // 2 * 10
    half -= half % 20
    return Affine(size, 0, x - half, 0, -size, y + half)


def _noise(rng: np.random.Generator, edge: int, cells: tuple[int, ...]) -> Floats:
    """A smooth random field between -1 and 1; finer cells are weaker."""
    total = np.zeros((edge, edge), np.float32)
    for number, count in enumerate(cells):
        count = max(2, min(count, edge))
        nodes = rng.uniform(-1, 1, (count + 1, count + 1)).astype(np.float32)
        at = np.linspace(0, count, edge, dtype=np.float32)
        low = np.minimum(at.astype(int), count - 1)
        part = at - low
        # Linear between nodes, one axis after the other.
        across = nodes[:, low] * (1 - part) + nodes[:, low + 1] * part
        field = across[low] * (1 - part[:, None]) + across[low + 1] * part[:, None]
        total += field / (number + 1)
    return total / np.float32(np.abs(total).max())


def _write_date(work: Work, step: int, edge: int, parts: int, grounds: list[Ground]) -> None:
    rng = np.random.default_rng([SEED, edge, step])
    crs, _ = ZONES[step % 2]
    ground = grounds[step % 2]
    scl, cloud = _classes(rng, edge // parts, ground, step)
    season = np.float32(np.cos(2 * np.pi * (step * DAYS_APART - 200) / 365))
    for band in BANDS:
        level, fields, texture, noise = LEVELS[band]
        sign = 1 if band == "B08" else -1
        values = level + fields * ground.fields + texture * ground.texture
        values += np.float32(sign * fields * 0.5) * season * ground.green
        values += cloud * np.float32(5000) * (1 + 0.2 * ground.texture)
        values *= rng.uniform(0.97, 1.03)
        noisy = rng.standard_normal(values.shape, np.float32) * (
            noise * (1 + np.abs(ground.texture)) + np.sqrt(np.maximum(values, 1)) * 0.1
        )
        pixels = np.clip(np.rint(values + noisy), 1, 20000).astype(np.uint16)
        pixels[np.kron(scl == NODATA, np.ones((2, 2), bool))] = 0
        _write(work.path(step, band), _mirrored(pixels, parts), crs, edge, 10)
    _write(work.path(step, MASK), _mirrored(scl, parts), crs, edge, 20)


def _classes(
    rng: np.random.Generator, edge: int, ground: Ground, step: int
) -> tuple[NDArray[np.uint8], Floats]:
    """The classification at 20 m, and the share of cloud at 10 m."""
    half = edge // 2
    field = _noise(rng, half, (4, 11, 37, 120))
    limit = np.quantile(field[::8, ::8], 1 - rng.choice([0.02, 0.1, 0.25, 0.45]))
    scl = np.where(ground.green[::2, ::2] > 0.45, 4, 5).astype(np.uint8)
    scl[ground.fields[::2, ::2] < -0.75] = 6
    thick, thin = field > limit, (field > limit - 0.03) & (field <= limit)
    shadow = np.roll(thick, (half // 40, half // 25), (0, 1))
    scl[shadow] = SHADOW
    scl[thin] = THIN if step % 3 else 10
    scl[thick] = CLOUD
    row, col = np.ogrid[:half, :half]
    if step % 3 == 0:  # the edge of the swath
        scl[col + 0.25 * row > 0.97 * half] = NODATA
    share = np.clip((field - limit + 0.03) * 8, 0, 1).astype(np.float32)
    return scl, np.kron(share, np.ones((2, 2), np.float32))


def _mirrored(pixels: NDArray[Any], parts: int) -> NDArray[Any]:
    if parts == 1:
        return pixels
    return np.block([[pixels, pixels[:, ::-1]], [pixels[::-1], pixels[::-1, ::-1]]])


def _write(path: Path, pixels: NDArray[Any], crs: str, edge: int, size: int) -> None:
    partial = path.with_suffix(".part")
    block = 1024 if size == 10 else 512
    with rasterio.open(
        partial,
        "w",
        driver="GTiff",
        height=pixels.shape[0],
        width=pixels.shape[1],
        count=1,
        dtype=pixels.dtype,
        crs=crs,
        transform=_transform(crs, edge, size),
        nodata=0,
        tiled=True,
        blockxsize=block,
        blockysize=block,
        compress="deflate",
        predictor=2,
    ) as file:
        file.write(pixels, 1)
    partial.rename(path)


def _stac_item(work: Work, step: int) -> dict[str, Any]:
    """A STAC item of one date, as odc-stac and stackstac want it: grid and nodata included."""
    assets: dict[str, Any] = {}
    for band in (*BANDS, MASK):
        with rasterio.open(work.path(step, band)) as file:
            shape, transform, dtype = file.shape, file.transform, file.dtypes[0]
            epsg, bounds = file.crs.to_epsg(), file.bounds
        assets[band] = {
            "href": str(work.path(step, band)),
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "roles": ["data"],
            "proj:shape": list(shape),
            "proj:transform": list(transform)[:6],
            "raster:bands": [{"nodata": 0, "data_type": dtype}],
        }
    way = pyproj.Transformer.from_crs(epsg, 4326, always_xy=True)
    left, bottom, right, top = way.transform_bounds(*bounds)
    ring = [[left, bottom], [right, bottom], [right, top], [left, top], [left, bottom]]
    day = datetime.datetime.strptime(work.dates[step], "%Y%m%d")
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [
            "https://stac-extensions.github.io/projection/v1.1.0/schema.json",
            "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
        ],
        "id": work.item(step).stem,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [left, bottom, right, top],
        "properties": {"datetime": day.strftime("%Y-%m-%dT10:00:00Z"), "proj:epsg": epsg},
        "assets": assets,
        "links": [],
    }


def main() -> None:
    """Make a folder from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dates", type=int, default=24)
    parser.add_argument("--edge", type=int, default=2500)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out/stack"))
    given = parser.parse_args()
    work = make_scenes(given.out, given.dates, given.edge)
    stored = sum(path.stat().st_size for path in work.files())
    raw = given.dates * given.edge**2 * (2 * len(BANDS) + 0.25)
    print(f"{work.folder}: {raw / 1e9:.2f} GB raw, {100 * stored / raw:.0f} % of it on disk")


if __name__ == "__main__":
    main()
