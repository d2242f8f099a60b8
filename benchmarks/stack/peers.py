"""The other contenders, each used as its documentation advises; run in an environment of theirs.

    python benchmarks/stack/peers.py NAME SCENES/work.json OUT REPORT.json [--zscored]

NAME is a key of CONTENDERS: a library and a way of using it. Every one makes the same Zarr
array, (time, band, y, x) float32 with NaN where masked, and each band's mean and standard
deviation, with two threads. The benchmark runs those of USUAL, or with `--every-way` all.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from work import BANDS, MASK, THREADS, UNUSABLE, Work, load_work

# Side of the Zarr chunks of contenders without chunks of their own.
CHUNK_PX = 640
# Class -> unusable.
TABLE = np.isin(np.arange(256), UNUSABLE)
Array = Any


def masked(numbers: Iterable[Array], scl: Array, dilate_px: int) -> Array:
    """Bands of one place as (1, band, y, x) float32, NaN where unusable.

    Args:
        numbers: (y, x) of each band, 0 or NaN = no data.
        scl: (y, x) uint8 scene classification on the same grid.
        dilate_px: by how much unusable areas grow, in a square.
    """
    unusable = grown(TABLE[scl], dilate_px)
    result = np.empty((1, len(BANDS), *scl.shape), np.float32)
    for band, there in zip(numbers, result[0], strict=True):
        there[:] = band
        np.copyto(there, np.nan, where=unusable | (band == 0))
    return result


def grown(unusable: Array, pixels: int) -> Array:
    """True within a square of ``pixels`` around a True: rows first, then columns."""
    rows = unusable.copy()
    for shift in range(1, pixels + 1):
        rows[shift:] |= unusable[:-shift]
        rows[:-shift] |= unusable[shift:]
    both = rows.copy()
    for shift in range(1, pixels + 1):
        both[:, shift:] |= rows[:, :-shift]
        both[:, :-shift] |= rows[:, shift:]
    return both


def sums_of(block: Array) -> Array:
    """Count, sum and sum of squares of each band of (1, band, y, x): (1, band, 3) float64."""
    sums = np.zeros((1, block.shape[1], 3))
    for number, band in enumerate(block[0]):
        valid = ~np.isnan(band)
        x = np.where(valid, band, np.float32(0))
        # Rows in float32, their sums in float64: exact enough, and without a float64 copy.
        squares = np.einsum("ij,ij->i", x, x)
        first = x.sum(axis=1)
        sums[0, number] = valid.sum(), first.sum(dtype=float), squares.sum(dtype=float)
    return sums


def statistics(sums: Array) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each band from (n, band, 3) sums."""
    count, first, second = np.moveaxis(sums.sum(axis=0), -1, 0)
    mean = first / count
    return mean.tolist(), np.sqrt(second / count - mean**2).tolist()


def date_by_date(work: Work, out: Path, warp: Callable[[int], Array], at_once: int) -> Array:
    """Fill the array a date at a time; the sums of all dates.

    Args:
        work: what is to be done.
        out: folder of the array.
        warp: step -> (1, band, y, x), masked.
        at_once: dates in work at the same time.
    """
    from zscore import create

    shape = (len(work.dates), len(BANDS), *work.shape)
    array = create(out / "array.zarr", shape, (1, len(BANDS), CHUNK_PX, CHUNK_PX))

    def one(step: int) -> Array:
        block = warp(step)
        array[step : step + 1] = block
        return sums_of(block)

    with ThreadPoolExecutor(at_once) as pool:
        return np.concatenate(list(pool.map(one, range(len(work.dates)))))


def dask_blocks(work: Work, out: Path, bands: list[Array], scl: Array) -> Array:
    """Mask, write and sum lazy bands in one run of the graph, so that blocks are shared.

    Args:
        work: what is to be done.
        out: folder of the array.
        bands: (time, y, x) dask arrays in chunks of one date.
        scl: the classification, in the same chunks.
    """
    import dask
    import dask.array as da
    from zscore import create

    whole = scl.numblocks[1:] == (1, 1)
    depth = {0: 0, 1: work.dilate_px, 2: work.dilate_px}

    def together(block: Array, *numbers: Array) -> Array:
        grow = work.dilate_px if whole else 0
        return masked((n[0] for n in numbers), block[0], grow)

    if not whole:  # clouds grow across the edges of chunks
        unusable = da.map_blocks(lambda b: TABLE[b], scl, dtype=bool)
        wide = unusable.map_overlap(
            lambda b: grown(b[0], work.dilate_px)[None], depth=depth, boundary="none", dtype=bool
        )
        scl = da.map_blocks(lambda b: np.where(b, UNUSABLE[0], 4).astype(np.uint8), wide)
    lazy = da.map_blocks(
        together,
        scl,
        *bands,
        new_axis=1,
        chunks=(scl.chunks[0], (len(bands),), *scl.chunks[1:]),
        dtype=np.float32,
        meta=np.empty((0, 0, 0, 0), np.float32),
    )
    dates, _, down, across = lazy.numblocks
    sums = da.map_blocks(
        lambda b: sums_of(b)[..., None],
        lazy,
        chunks=((1,) * dates, (len(bands),), (3,) * down, (1,) * across),
        dtype=np.float64,
        meta=np.empty((0, 0, 0, 0), np.float64),
    )
    side = min(max(scl.chunks[1]), CHUNK_PX)
    array = create(out / "array.zarr", lazy.shape, (1, len(bands), side, side))
    stored = da.store(lazy, array, lock=False, compute=False)
    with dask.config.set(scheduler="threads", num_workers=THREADS):
        _, summed = dask.compute(stored, sums)
    return summed.reshape(dates, len(bands), down, 3, across).sum(axis=(2, 4))


def odc_dask(work: Work, out: Path, *, chunk: int) -> Array:
    """odc-stac with dask: lazy load onto one geobox, in chunks of one date."""
    import odc.stac
    import pystac

    odc.stac.configure_rio(cloud_defaults=False, GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR")
    items = [pystac.Item.from_file(work.item(step)) for step in range(len(work.dates))]
    side = chunk or max(work.shape)
    data = odc.stac.load(
        items,
        bands=[*BANDS, MASK],
        geobox=_geobox(work),
        resampling={MASK: "nearest", "*": "bilinear"},
        chunks={"time": 1, "x": side, "y": side},
    )
    return dask_blocks(work, out, [data[band].data for band in BANDS], data[MASK].data)


def odc_eager(work: Work, out: Path, *, at_once: int) -> Array:
    """odc-stac without dask, a date at a time."""
    import odc.stac
    import pystac

    odc.stac.configure_rio(cloud_defaults=False, GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR")
    items = [pystac.Item.from_file(work.item(step)) for step in range(len(work.dates))]

    def warp(step: int) -> Array:
        data = odc.stac.load(
            [items[step]],
            bands=[*BANDS, MASK],
            geobox=_geobox(work),
            resampling={MASK: "nearest", "*": "bilinear"},
            pool=THREADS // at_once if at_once < THREADS else None,
        )
        numbers = (data[band].values[0] for band in BANDS)
        return masked(numbers, data[MASK].values[0], work.dilate_px)

    return date_by_date(work, out, warp, at_once)


def _geobox(work: Work) -> Any:
    from odc.geo.geobox import GeoBox

    return GeoBox.from_bbox(work.bounds, work.crs, shape=work.shape)


def stackstac_dask(work: Work, out: Path, *, chunk: int) -> Array:
    """stackstac: two lazy stacks, because its resampling holds for all bands of one."""
    import pystac
    import stackstac
    from rasterio.enums import Resampling

    items = [pystac.Item.from_file(work.item(step)) for step in range(len(work.dates))]
    lazy = partial(
        stackstac.stack,
        items,
        epsg=int(work.crs.rpartition(":")[2]),
        resolution=work.res,
        bounds=work.bounds,
        snap_bounds=False,
        chunksize=chunk or max(work.shape),
        rescale=False,
        xy_coords=False,
    )
    numbers = lazy(
        assets=list(BANDS),
        resampling=Resampling.bilinear,
        dtype="float32",
        fill_value=np.float32("nan"),
    )
    scl = lazy(assets=[MASK], resampling=Resampling.nearest, dtype="uint8", fill_value=np.uint8(0))
    bands = [numbers.data[:, number] for number in range(len(BANDS))]
    return dask_blocks(work, out, bands, scl.data[:, 0])


def rioxarray_loop(work: Work, out: Path, *, at_once: int) -> Array:
    """rioxarray: reproject each file onto the target, a date at a time."""
    import rioxarray
    from rasterio.enums import Resampling
    from rasterio.transform import from_origin

    left, _, _, top = work.bounds
    transform = from_origin(left, top, work.res, work.res)

    def one(step: int, band: str) -> Array:
        rule = Resampling.nearest if band == MASK else Resampling.bilinear
        opened: Any = rioxarray.open_rasterio(work.path(step, band))
        with opened as source:
            there = source.rio.reproject(
                work.crs,
                shape=work.shape,
                transform=transform,
                resampling=rule,
                nodata=0,
                num_threads=THREADS // at_once,
            )
            return there.values[0]

    def warp(step: int) -> Array:
        return masked((one(step, b) for b in BANDS), one(step, MASK), work.dilate_px)

    return date_by_date(work, out, warp, at_once)


def gdalwarp_numpy(work: Work, out: Path, *, at_once: int, joined: bool) -> Array:
    """The gdalwarp command to raw files, read by numpy.

    With ``joined`` the bands of a date are joined by gdalbuildvrt and warped by one command.
    """
    left, bottom, right, top = (f"{edge:g}" for edge in work.bounds)
    threads = THREADS // at_once
    fixed = [
        *("gdalwarp", "-q", "-overwrite", "-of", "ENVI", "-t_srs", work.crs),
        *("-te", left, bottom, right, top, "-tr", f"{work.res:g}", f"{work.res:g}"),
        *("-dstnodata", "0", "-wm", "500", "-wo", f"NUM_THREADS={threads}"),
        *("-wo", "XSCALE=1", "-wo", "YSCALE=1"),
        *(["-multi"] if threads > 1 else []),
    ]

    def run(source: Path, rule: str, dtype: type[np.generic], target: Path) -> Array:
        subprocess.run([*fixed, "-r", rule, str(source), str(target)], check=True)
        return np.fromfile(target, dtype).reshape(-1, *work.shape)

    def warp(step: int) -> Array:
        with tempfile.TemporaryDirectory(dir=out) as name:
            place = Path(name)
            sources = [work.path(step, band) for band in BANDS]
            if joined:
                together = place / "bands.vrt"
                command = ["gdalbuildvrt", "-q", "-separate", str(together), *map(str, sources)]
                subprocess.run(command, check=True)
                numbers = run(together, "bilinear", np.uint16, place / "bands.img")
            else:
                numbers = np.concatenate(
                    [run(s, "bilinear", np.uint16, place / f"{s.stem}.img") for s in sources]
                )
            scl = run(work.path(step, MASK), "near", np.uint8, place / "scl.img")[0]
            return masked(numbers, scl, work.dilate_px)

    return date_by_date(work, out, warp, at_once)


# Library/way -> function.
CONTENDERS: dict[str, Callable[[Work, Path], Array]] = {
    "odc-stac/eager": partial(odc_eager, at_once=2),
    "odc-stac/eager-pool": partial(odc_eager, at_once=1),
    "odc-stac/dask": partial(odc_dask, chunk=0),
    "odc-stac/dask-1280": partial(odc_dask, chunk=1280),
    "stackstac/dask": partial(stackstac_dask, chunk=0),
    "stackstac/dask-1280": partial(stackstac_dask, chunk=1280),
    "rioxarray/dates": partial(rioxarray_loop, at_once=2),
    "rioxarray/warp-threads": partial(rioxarray_loop, at_once=1),
    "gdalwarp/joined": partial(gdalwarp_numpy, at_once=2, joined=True),
    "gdalwarp/dates": partial(gdalwarp_numpy, at_once=2, joined=False),
    "gdalwarp/multi": partial(gdalwarp_numpy, at_once=1, joined=False),
}
# What runs if not every way is asked for: the usual way of each library, and its fastest.
USUAL = ("odc-stac/dask", "odc-stac/eager", "stackstac/dask", "rioxarray/dates", "gdalwarp/joined")
NEEDS = {
    "odc-stac": ("odc.stac", "pystac", "dask.array", "zscore"),
    "stackstac": ("stackstac", "pystac", "dask.array", "zscore"),
    "rioxarray": ("rioxarray", "zscore"),
    "gdalwarp": ("zscore",),
}


def main() -> None:
    """Run one contender and write what it took."""
    name = sys.argv[1]
    work_path, out, report = (Path(word) for word in sys.argv[2:5])
    started = time.perf_counter()
    for module in NEEDS[name.partition("/")[0]]:
        __import__(module)
    imported = time.perf_counter()
    out.mkdir(parents=True)
    means, deviations = statistics(CONTENDERS[name](load_work(work_path), out))
    if "--zscored" in sys.argv:
        import zarr
        from zscore import write_zscored

        array = zarr.open_array(out / "array.zarr", mode="r")
        write_zscored(array, out / "zscored.zarr", means, deviations)
    content = {
        "imports_s": imported - started,
        "work_s": time.perf_counter() - imported,
        "array": "array.zarr",
        "means": means,
        "deviations": deviations,
    }
    report.write_text(json.dumps(content), encoding="utf-8")


if __name__ == "__main__":
    main()
