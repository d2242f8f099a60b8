"""Hold-out: pixels of a raster that a training never sees, and a halo about them.

The halo is kept out of training as well, for what borders on a held-out pixel is much like it and
the learned correction looks around itself; but it is not part of what is held out.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from geoforecast.errors import GeoforecastError, InputError, RunError, SettingsError
from geoforecast.raster.cog import CogWriter
from geoforecast.raster.geotiff import open_geotiff, read_header, read_pixels
from geoforecast.raster.grid import Grid
from geoforecast.raster.polygons import inside, read_polygons
from geoforecast.values import train_command

SEEN, HELD_OUT, HALO = 0, 1, 2
FILE = "holdout.tif"
TILE_PX = 1024
BLOCKS_SHARE = 0.2  # of the pixels, in all blocks together

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class HoldOut:
    """Which pixels a training sees.

    Attributes:
        labels: (y, x) uint8: SEEN, HELD_OUT or HALO.
    """

    labels: NDArray[np.uint8]

    @cached_property
    def hidden(self) -> Mask:
        """(y, x) pixels that training must not see."""
        return np.asarray(self.labels != SEEN)

    @cached_property
    def digest(self) -> str:
        """A hash of all labels."""
        content = f"{self.labels.shape}".encode() + np.ascontiguousarray(self.labels).tobytes()
        return hashlib.sha256(content).hexdigest()

    def describe(self) -> str:
        """How many pixels are what."""
        seen, held, halo = np.bincount(self.labels.ravel(), minlength=3).tolist()
        return f"{held} pixels are held out and {halo} about them; {seen} are learned from"

    def save(self, folder: Path, grid: Grid) -> None:
        """Write it beside a run, as a GeoTIFF that a GIS shows."""
        tags = {"meaning": f"{SEEN} learned from, {HELD_OUT} held out, {HALO} halo"}
        with CogWriter(
            folder / FILE, grid, ["holdout"], nodata=255, dtype="uint8", tags=tags
        ) as writer:
            for tile in grid.tiles(TILE_PX):
                writer.write(self.labels[tile.slices][None], tile)


def load_holdout(folder: Path, digest: str, grid: Grid) -> HoldOut:
    """What was saved beside a run.

    Args:
        folder: the run's.
        digest: that it must have.
        grid: of the cube.
    Raises:
        RunError: it is missing, damaged, or lies on another grid than the cube.
    """
    path = folder / FILE
    remedy = f"Train it again: {train_command(folder.name)} --overwrite."
    try:
        header = read_header(path)
        with open_geotiff(path, header) as dataset:
            labels = read_pixels(dataset, [1], header.grid.whole)[0]
    except (GeoforecastError, OSError) as error:
        raise RunError(
            f"What the run '{folder.name}' holds out cannot be read.",
            where=str(path),
            remedy=remedy,
        ) from error
    found = HoldOut(labels.astype(np.uint8))
    if found.digest != digest:
        raise RunError(
            f"What the run '{folder.name}' holds out has been changed.",
            where=str(path),
            remedy=remedy,
        )
    if header.grid != grid:
        raise RunError(
            f"The run '{folder.name}' holds out pixels of another grid than the cube's.",
            where=[header.grid.describe(), grid.describe()],
            remedy="Stack as before, or train a new run with --run NAME.",
        )
    return found


def held_out_regions(path: Path, grid: Grid, halo_px: int) -> HoldOut:
    """Hold out the pixels whose centre lies in a polygon of a file.

    Raises:
        InputError: the file cannot be read, or its polygons cover no pixel or all.
    """
    shapes = [region.geometry for region in read_polygons(path, grid)]
    held = np.zeros(grid.shape, dtype=bool)
    for tile in grid.tiles(TILE_PX):
        for shape in shapes:
            held[tile.slices] |= inside(shape, grid, tile)
    if not held.any():
        raise InputError(
            f"The polygons of {path.name} cover no pixel: none holds the centre of one.",
            where=f"{len(shapes)} polygons, {grid.describe()}",
            remedy="Give larger polygons to --holdout-region.",
        )
    return _with_halo(held, halo_px, path.name)


def held_out_blocks(count: int, shape: tuple[int, int], seed: int, halo_px: int) -> HoldOut:
    """Hold out blocks, a fifth of the pixels together, drawn so that they spread over the raster.

    The raster is divided into about ``count`` cells; each block lies somewhere in one of its own.

    Args:
        count: of blocks.
        shape: (height, width) of the raster.
        seed: of where they lie.
        halo_px: about each.
    Raises:
        SettingsError: so many blocks have no room.
    """
    height, width = shape
    side = math.isqrt(int(BLOCKS_SHARE * height * width / count))
    down = min(count, height, max(1, round(math.sqrt(count * height / width))))
    across = -(-count // down)
    if side < 1 or across > width:
        raise SettingsError(
            f"--holdout-blocks {count} is more than a raster of {width} x {height} pixels has "
            "room for.",
            remedy=f"Give at most {max(1, int(BLOCKS_SHARE * height * width))}, fewer for a "
            "halo between them.",
        )
    rows, cols = (
        np.linspace(0, length, parts + 1).astype(int)
        for length, parts in ((height, down), (width, across))
    )
    rng = np.random.default_rng([seed, 3])
    held = np.zeros(shape, dtype=bool)
    for cell in sorted(rng.permutation(down * across)[:count].tolist()):
        place = []
        for edges, number in ((rows, cell // across), (cols, cell % across)):
            room = int(edges[number + 1] - edges[number])
            size = min(side, room)
            start = int(edges[number]) + int(rng.integers(room - size + 1))
            place.append(slice(start, start + size))
        held[tuple(place)] = True
    return _with_halo(held, halo_px, f"--holdout-blocks {count}")


def _with_halo(held: Mask, halo_px: int, what: str) -> HoldOut:
    """Held-out pixels, and those no farther than the halo along either axis."""
    near = maximum_filter(held.astype(np.uint8), size=2 * halo_px + 1, mode="constant") > 0
    labels = np.where(held, HELD_OUT, np.where(near, HALO, SEEN)).astype(np.uint8)
    if near.all():
        share = f"{held.mean():.0%} of the pixels are held out, the others lie in the halo"
        raise InputError(
            f"{what} leaves no pixel to learn from.",
            where="all pixels are held out" if held.all() else f"{share} of {halo_px} pixels",
            remedy="Hold out less" + ("." if held.all() else ", or with a smaller --holdout-halo."),
        )
    return HoldOut(labels)
