"""Gaps in time are filled in a copy of the finished cube; what was observed is kept apart."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from geoforecast.raster.cube import Cube, CubeWriter
from geoforecast.raster.cube_writer import CHUNK_STEPS
from geoforecast.raster.grid import Tile
from geoforecast.stack.pixels.fill import fill

# Bytes of series held at once, over all threads.
HELD_BYTES = 2**30


def fill_cube(cube: Cube, target: Path, method: str, chunk_px: int, jobs: int) -> CubeWriter:
    """Copy a cube's pixels, the gaps of each pixel's series filled.

    Args:
        cube: complete; it is not changed.
        target: a store that does not exist yet.
        method: of fill.fill.
        chunk_px: side of the chunks.
        jobs: threads.
    Returns:
        The writer of ``target``, whose ``observed`` is (time, band, y, x); to be finished
        with the measures of the observed pixels.
    """
    steps, bands, height, width = cube.shape
    writer = CubeWriter(
        target,
        times=cube.times,
        bands=cube.bands,
        grid=cube.grid,
        dtype="float32",
        observed=cube.observed,
        chunk_px=chunk_px,
        filled=True,
    )
    high, wide = writer.block[2:]

    def work(tile: Tile) -> None:
        values, observed = cube.read(0, steps, tile)
        valid = observed.copy()
        for band in range(bands):
            series, filled = fill(values[:, band], observed[:, band], cube.times, method)
            values[:, band] = series
            valid[:, band] |= filled
        for start in range(0, steps, CHUNK_STEPS):
            part = slice(start, start + CHUNK_STEPS)
            writer.write(
                *(start, tile.row0, values[part], valid[part]),
                col=tile.col0,
                observed=observed[part],
            )
        writer.forget()

    series_bytes = steps * bands * min(high, height) * min(wide, width) * 12
    tiles = [
        Tile(row, min(row + high, height), col, min(col + wide, width))
        for row in range(0, height, high)
        for col in range(0, width, wide)
    ]
    with ThreadPoolExecutor(max(1, min(jobs, HELD_BYTES // series_bytes))) as pool:
        for _ in pool.map(work, tiles):
            pass
    return writer
