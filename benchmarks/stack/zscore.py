"""The second, eager pass: read a finished array, write it z-scored; the same for everyone."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from work import THREADS
from zarr.codecs import BloscCodec


def write_zscored(
    source: Any, path: Path, means: Sequence[float], deviations: Sequence[float]
) -> None:
    """Write (values - mean) / standard deviation of each band, chunk by chunk.

    Args:
        source: Zarr array (time, band, y, x) float32, NaN where invalid.
        path: of the new array, with the chunks and the codec of the source.
        means, deviations: (band,) in band units.
    """
    target = create(path, source.shape, source.chunks)
    mean = np.asarray(means, np.float32)[:, None, None]
    scale = np.float32(1) / np.asarray(deviations, np.float32)[:, None, None]
    deep, bands, high, wide = source.chunks
    steps, all_bands, height, width = source.shape
    assert bands == all_bands  # every contender's chunks hold all bands

    def one(corner: tuple[int, int, int]) -> None:
        t, row, col = corner
        where = (
            slice(t, t + deep),
            slice(None),
            slice(row, row + high),
            slice(col, col + wide),
        )
        values = source[where]
        values -= mean
        values *= scale
        target[where] = values

    corners = [
        (t, row, col)
        for t in range(0, steps, deep)
        for row in range(0, height, high)
        for col in range(0, width, wide)
    ]
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(one, corners))


def create(path: Path, shape: Sequence[int], chunks: Sequence[int]) -> Any:
    """A new float32 Zarr array with the cheapest codec there is: lz4 of shuffled bytes."""
    return zarr.create_array(
        path,
        shape=tuple(shape),
        chunks=tuple(min(a, b) for a, b in zip(chunks, shape, strict=True)),
        dtype="float32",
        compressors=BloscCodec(cname="lz4", clevel=5, shuffle="shuffle"),
        fill_value=np.nan,
        # Else every chunk is compared with the fill value before it is written.
        config={"write_empty_chunks": True},
    )
