"""Written files are whole, or they are not there."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import rasterio
from affine import Affine

from geoforecast.errors import GeoforecastError
from geoforecast.raster.cog import CogWriter
from geoforecast.raster.grid import Grid

SHAPE = (900, 900)
GRID = Grid("", Affine(10, 0, 0, 0, -10, 0), SHAPE)

# Files may not grow beyond some bytes, as on a full disk: GDAL tells nobody when it closes one.
FULL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
from pathlib import Path
import numpy as np
from affine import Affine
from geoforecast.errors import GeoforecastError
from geoforecast.raster.cog import CogWriter
from geoforecast.raster.grid import Grid
grid = Grid("", Affine(10, 0, 0, 0, -10, 0), {shape})
rng = np.random.default_rng(0)
try:
    with CogWriter(Path({path!r}), grid, ["a"]) as writer:
        for tile in grid.tiles(300):
            writer.write(rng.random((1, *tile.shape), dtype=np.float32), tile)
except GeoforecastError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="of Unix")
@pytest.mark.parametrize("limit", [100_000, 2_000_000, 4_000_000])
def test_a_full_disk_leaves_no_file_with_holes(tmp_path, limit):
    path = tmp_path / "out" / "a.tif"
    code = FULL.format(limit=limit, path=str(path), shape=SHAPE)
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "a.tif cannot be written: " in told.stdout
    assert "Free some space, then run the same command again." in told.stdout
    assert list(path.parent.iterdir()) == []


def test_what_the_disk_has_lost_is_noticed(tmp_path, monkeypatch):
    path = tmp_path / "a.tif"
    path.write_bytes(b"before")
    copy = rasterio.shutil.copy

    def losing(source, target, **options):
        with rasterio.open(source, "r+") as dataset:  # one pixel differs
            pixels = dataset.read()
            pixels[0, 700, 800] += 1
            dataset.write(pixels)
        copy(source, target, **options)

    monkeypatch.setattr(rasterio.shutil, "copy", losing)
    writer = CogWriter(path, GRID, ["a"])
    for tile in GRID.tiles(512):
        writer.write(np.ones((1, *tile.shape), np.float32), tile)
    with pytest.raises(GeoforecastError, match=r"a\.tif cannot be written: pixels are missing"):
        writer.__exit__(None)
    assert path.read_bytes() == b"before"
    assert [one.name for one in tmp_path.iterdir()] == ["a.tif"]


def test_threads_change_no_byte(tmp_path):
    rng = np.random.default_rng(1)
    pixels = rng.random((2, *SHAPE), dtype=np.float32)
    pixels[:, :300] = np.nan
    made = []
    for threads in (1, 3):
        with CogWriter(tmp_path / "a.tif", GRID, ["a", "b"], threads=threads) as writer:
            for tile in GRID.tiles(512):
                writer.write(pixels[(slice(None), *tile.slices)], tile)
        made.append((tmp_path / "a.tif").read_bytes())
    assert made[0] == made[1]
