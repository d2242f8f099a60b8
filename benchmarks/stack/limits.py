"""What the work costs at the least, part by part, with two threads.

    python benchmarks/stack/limits.py SCENES/work.json SCRATCH REPORT.json [--radar FOLDER]

Two dates are in work at a time, one a thread, and each part is timed alone over all dates:

- decode: rasterio reads every block of every file once;
- warp: one compiled kernel resamples, masks and sums all bands of a date. It is written here
  and not the product's, so that a slow product does not lower its own limit;
- encode: lz4 of shuffled bytes, chunks of 4 x 256 x 256;
- write: the encoded bytes into one file a date.

GDAL's own warp of the same decoded arrays is timed beside them. With --radar, reading all
blocks of a folder's files twice is timed too.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pyproj
import rasterio
from affine import Affine
from numcodecs import Blosc, blosc
from numpy.typing import NDArray
from rasterio.warp import Resampling, reproject
from work import BANDS, MASK, THREADS, UNUSABLE, Work, load_work

LATTICE_PX = 32
CHUNK_PX = 256
# A mask pixel is two target pixels wide.
MASK_DILATE_PX = 1
Image = tuple[NDArray[Any], Affine, str]


def decode(work: Work, step: int) -> list[Image]:
    """Pixels, transform and CRS of each band of a date and of its mask."""
    images = []
    for band in (*BANDS, MASK):
        with rasterio.open(work.path(step, band)) as file:
            images.append((file.read(1), file.transform, file.crs.to_string()))
    return images


def lattice(work: Work, transform: Affine, crs: str) -> NDArray[np.float64]:
    """(2, nodes, nodes) source columns and rows at every 32nd target pixel centre."""
    height, width = work.shape
    rows = np.arange(0, height + LATTICE_PX, LATTICE_PX)
    cols = np.arange(0, width + LATTICE_PX, LATTICE_PX)
    col, row = np.meshgrid(cols + 0.5, rows + 0.5)
    way = pyproj.Transformer.from_crs(work.crs, crs, always_xy=True)
    left, _, _, top = work.bounds
    x, y = way.transform(left + work.res * col, top - work.res * row)
    back = ~transform
    return np.stack([back.a * x + back.c - 0.5, back.e * y + back.f - 0.5])


@numba.njit(nogil=True, cache=True)
def _usable(scl: NDArray[Any], table: NDArray[np.bool_], dilate: int) -> NDArray[np.bool_]:
    height, width = scl.shape
    usable = np.ones((height, width), np.bool_)
    for i in range(height):
        for j in range(width):
            if table[scl[i, j]]:
                for r in range(max(0, i - dilate), min(height, i + dilate + 1)):
                    for c in range(max(0, j - dilate), min(width, j + dilate + 1)):
                        usable[r, c] = False
    return usable


@numba.njit(nogil=True, cache=True)
def _warp(
    b0: NDArray[Any],
    b1: NDArray[Any],
    b2: NDArray[Any],
    b3: NDArray[Any],
    usable: NDArray[np.bool_],
    nodes: NDArray[np.float64],
    step: int,
    result: NDArray[np.float32],
    sums: NDArray[np.float64],
) -> None:
    height, width = b0.shape
    for i in range(result.shape[1]):
        n = i // step
        v = (i - n * step) / step
        for k in range(nodes.shape[2] - 1):
            x0 = nodes[0, n, k] * (1 - v) + nodes[0, n + 1, k] * v
            y0 = nodes[1, n, k] * (1 - v) + nodes[1, n + 1, k] * v
            dx = (nodes[0, n, k + 1] * (1 - v) + nodes[0, n + 1, k + 1] * v - x0) / step
            dy = (nodes[1, n, k + 1] * (1 - v) + nodes[1, n + 1, k + 1] * v - y0) / step
            for m in range(min(step, result.shape[2] - k * step)):
                j = k * step + m
                x, y = x0 + m * dx, y0 + m * dy
                keep = -0.5 <= x < width - 0.5 and -0.5 <= y < height - 0.5
                if keep:
                    keep = usable[int(y + 0.5) // 2, int(x + 0.5) // 2]
                if not keep:
                    for b in range(4):
                        result[b, i, j] = np.nan
                    continue
                c, r = int(max(x, 0.0)), int(max(y, 0.0))
                c1, r1 = min(c + 1, width - 1), min(r + 1, height - 1)
                u, w = np.float32(x - c), np.float32(y - r)
                a00, a01 = (1 - u) * (1 - w), u * (1 - w)
                a10, a11 = (1 - u) * w, u * w
                for b in range(4):
                    image = b0 if b == 0 else b1 if b == 1 else b2 if b == 2 else b3
                    p00, p01 = image[r, c], image[r, c1]
                    p10, p11 = image[r1, c], image[r1, c1]
                    value = a00 * p00 + a01 * p01 + a10 * p10 + a11 * p11
                    if p00 == 0 or p01 == 0 or p10 == 0 or p11 == 0:
                        weight = a00 * (p00 > 0) + a01 * (p01 > 0)
                        weight += a10 * (p10 > 0) + a11 * (p11 > 0)
                        value = value / weight if weight > 0 else np.float32(np.nan)
                        if weight <= 0:
                            result[b, i, j] = np.nan
                            continue
                    result[b, i, j] = value
                    sums[b, 0] += 1
                    sums[b, 1] += value
                    sums[b, 2] += value * value


class Parts:
    """Times each part over all dates.

    Attributes:
        seconds: part -> wall time.
        maps: coordinate lattice of each source grid, made once as every contender could.
    """

    def __init__(self, work: Work, scratch: Path) -> None:
        self.work, self.scratch = work, scratch
        self.seconds: dict[str, float] = {}
        self.maps: dict[tuple[Affine, str], NDArray[np.float64]] = {}
        self.table = np.isin(np.arange(256), UNUSABLE)
        self.results = [np.empty((len(BANDS), *work.shape), np.float32) for _ in range(THREADS)]
        self.sums = np.zeros((len(work.dates), len(BANDS), 3))

    def run(self, pool: ThreadPoolExecutor, *, gdal: bool) -> None:
        """All parts of all dates; ``gdal`` adds GDAL's warp, which is slow."""
        for first in range(0, len(self.work.dates), THREADS):
            steps = range(first, min(first + THREADS, len(self.work.dates)))
            self._pair(pool, steps, gdal)

    def _pair(self, pool: ThreadPoolExecutor, steps: range, gdal: bool) -> None:
        images = self._timed("decode", pool, lambda step: decode(self.work, step), steps)
        by_step = dict(zip(steps, images, strict=True))
        if gdal:
            self._timed("warp_gdal", pool, lambda step: self._gdal(by_step[step]), steps)
        for step in steps:
            _, transform, crs = by_step[step][0]
            if (transform, crs) not in self.maps:
                self.maps[transform, crs] = lattice(self.work, transform, crs)
        self._timed("warp", pool, lambda step: self._kernel(step, by_step[step]), steps)
        by_step.clear()
        encoded = self._timed("encode", pool, self._encode, steps)
        parts = dict(zip(steps, encoded, strict=True))
        self._timed("write", pool, lambda step: self._write(step, parts[step]), steps)

    def _timed(
        self, name: str, pool: ThreadPoolExecutor, work: Callable[[int], Any], steps: range
    ) -> list[Any]:
        started = time.perf_counter()
        done = list(pool.map(work, steps))
        passed = time.perf_counter() - started
        self.seconds[name] = self.seconds.get(name, 0.0) + passed
        return done

    def _kernel(self, step: int, images: Sequence[Image]) -> None:
        b0, b1, b2, b3, scl = (image for image, _, _ in images)
        usable = _usable(scl, self.table, MASK_DILATE_PX)
        _, transform, crs = images[0]
        nodes, result = self.maps[transform, crs], self.results[step % THREADS]
        _warp(b0, b1, b2, b3, usable, nodes, LATTICE_PX, result, self.sums[step])

    def _gdal(self, images: Sequence[Image]) -> None:
        left, _, _, top = self.work.bounds
        target = Affine(self.work.res, 0, left, 0, -self.work.res, top)
        for number, (pixels, transform, crs) in enumerate(images):
            mask = number == len(BANDS)
            reproject(
                pixels,
                np.zeros(self.work.shape, pixels.dtype if mask else np.float32),
                src_transform=transform,
                src_crs=crs,
                src_nodata=0,
                dst_transform=target,
                dst_crs=self.work.crs,
                dst_nodata=0,
                resampling=Resampling.nearest if mask else Resampling.bilinear,
                num_threads=1,
            )

    def _encode(self, step: int) -> list[bytes]:
        codec = Blosc(cname="lz4", clevel=5, shuffle=Blosc.SHUFFLE)
        result = self.results[step % THREADS]
        height, width = self.work.shape
        return [
            codec.encode(
                np.ascontiguousarray(result[:, row : row + CHUNK_PX, col : col + CHUNK_PX])
            )
            for row in range(0, height, CHUNK_PX)
            for col in range(0, width, CHUNK_PX)
        ]

    def _write(self, step: int, parts: Sequence[bytes]) -> None:
        with (self.scratch / f"{step}.bin").open("wb") as file:
            file.writelines(parts)


def read_twice(folder: Path) -> float:
    """Seconds to read all blocks of all files of a folder twice, two files at a time."""

    def read(path: Path) -> None:
        with rasterio.open(path) as file:
            file.read()

    paths = sorted(folder.glob("*.tif"))
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(read, paths))  # so that the page cache holds them
        started = time.perf_counter()
        for _ in range(2):
            list(pool.map(read, paths))
        return time.perf_counter() - started


def main() -> None:
    """Time the parts and write them down."""
    work_path, scratch, report = (Path(word) for word in sys.argv[1:4])
    work = load_work(work_path)
    scratch.mkdir(parents=True)
    blosc.use_threads = False  # one thread a date is enough
    with ThreadPoolExecutor(THREADS) as pool:
        Parts(_first(work, 2), scratch).run(pool, gdal=True)  # compiles, and warms caches
        parts = Parts(work, scratch)
        parts.run(pool, gdal=True)
    shutil.rmtree(scratch)
    content: dict[str, Any] = dict(parts.seconds)
    count, first, second = np.moveaxis(parts.sums.sum(axis=0), -1, 0)
    content["means"] = (first / count).tolist()
    content["deviations"] = np.sqrt(second / count - (first / count) ** 2).tolist()
    if "--radar" in sys.argv:
        content["radar_read_twice"] = read_twice(Path(sys.argv[sys.argv.index("--radar") + 1]))
    report.write_text(json.dumps(content), encoding="utf-8")


def _first(work: Work, dates: int) -> Work:
    return Work(
        work.folder, work.dates[:dates], work.tiles[:dates], work.crs, work.res, work.bounds
    )


if __name__ == "__main__":
    main()
