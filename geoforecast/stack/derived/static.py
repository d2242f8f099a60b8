"""Static layers: rasters without a date, and slope and aspect, on the cube's grid.

They are warped as scenes are, tile by tile, so that memory stays bounded and any tiling gives
the same bits. Slope and aspect look one pixel further on every side, beyond the cube's edge
too if the elevation reaches there.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

from geoforecast.errors import InputError, SceneError, SettingsError, did_you_mean
from geoforecast.project import Project
from geoforecast.raster.geotiff import Header, gdal_session, open_geotiff, read_header
from geoforecast.raster.grid import Grid, Tile
from geoforecast.raster.layers import CHUNK_PX, StaticWriter
from geoforecast.raster.resample import coordinate_map
from geoforecast.settings import StackSettings
from geoforecast.stack.derived.drivers import driver_files, plan_drivers, write_drivers
from geoforecast.stack.derived.terrain import LAYERS, PixelMetres, metres_of, slope_and_aspect
from geoforecast.stack.inventory.scenes import SceneFile
from geoforecast.stack.pixels.sources import Lane
from geoforecast.stack.pixels.warp import Places, Warping, warp
from geoforecast.stack.reading.readings import Reading

# Width of what a thread does at a time, a multiple of CHUNK_PX; never changes the values.
MOST_COLUMNS = 4096


@dataclass(frozen=True)
class StaticPlan:
    """The static layers to be made.

    Attributes:
        files: each file with its layers as bands.
        names, units: of all layers, the files' first, then slope and aspect.
        terrain: which of LAYERS are wanted, in order.
    """

    files: tuple[SceneFile, ...]
    names: tuple[str, ...]
    units: tuple[str, ...]
    terrain: tuple[str, ...]


def layer_files(settings: StackSettings) -> list[Path]:
    """All files that --static and --drivers name; the cube's content depends on them.

    Raises:
        InputError: one does not exist.
    """
    return [*_static_paths(settings), *driver_files(settings)]


def check_layers(settings: StackSettings, grid: Grid, project: Project, jobs: int) -> None:
    """Refuse static layers and drivers that cannot be made, before any pixel is read.

    Raises:
        GeoforecastError: settings that contradict each other, or files that cannot be used.
    """
    plan = plan_static(settings)
    for file in plan.files if plan else ():
        assert file.header is not None  # of a plan
        coordinate_map(grid, file.header.grid)
    plan_drivers(settings, grid, project, jobs)


def write_layers(
    cube_path: Path,
    grid: Grid,
    settings: StackSettings,
    jobs: int,
    project: Project | None = None,
) -> tuple[str, ...]:
    """Add static layers and drivers to a cube that is complete but for them.

    Args:
        cube_path: the cube, finished.
        grid: its grid.
        settings: --static, --terrain, --drivers, --resampling.
        jobs: threads.
        project: its outputs are no inputs; default: the one that the cube lies in.
    Returns:
        Sentences for people.
    Raises:
        GeoforecastError: as check_layers, and where pixels cannot be decoded.
    """
    texts = []
    plan = plan_static(settings)
    if plan is not None:
        texts.append(_write_static(cube_path, grid, plan, jobs))
    if settings.drivers:
        texts.append(write_drivers(cube_path, grid, settings, jobs, project))
    return tuple(texts)


def plan_static(settings: StackSettings) -> StaticPlan | None:
    """What --static and --terrain ask for; None if they are not given.

    Raises:
        SettingsError: --terrain without --static, an unknown layer, or two of one name.
        InputError: a file cannot be used.
    """
    terrain = tuple(dict.fromkeys(name.casefold() for name in settings.terrain))
    for name in terrain:
        if name not in LAYERS:
            raise SettingsError(
                f"--terrain {name} is no layer that is known.", remedy=did_you_mean(name, LAYERS)
            )
    if not settings.static:
        if terrain:
            raise SettingsError(
                f"--terrain {','.join(terrain)} needs an elevation.",
                remedy="Name it as the first file of --static.",
            )
        return None
    files = [_static_file(path, settings) for path in _static_paths(settings)]
    names = [name for file in files for name in file.bands] + [*terrain]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice:
        raise SettingsError(
            f"--static: two layers would be called '{twice}'.",
            where=[str(file.path) for file in files if twice in file.bands],
            remedy="Rename one of the files.",
        )
    units = [file.readings[name].unit for file in files for name in file.bands]
    units += ["degree"] * len(terrain)
    return StaticPlan(tuple(files), tuple(names), tuple(units), terrain)


def _static_paths(settings: StackSettings) -> list[Path]:
    paths = [Path(item).expanduser() for item in settings.static]
    for path in paths:
        if not path.is_file():
            raise InputError(f"--static {path} is no file.", remedy="Check the path.")
    return paths


def _static_file(path: Path, settings: StackSettings) -> SceneFile:
    """A file with a layer for each of its bands, named after it."""
    try:
        header = read_header(path)
    except SceneError as error:
        remedy = "Correct the file, or leave it out of --static."
        raise InputError(error.what, where=error.where, remedy=remedy) from error
    if not header.grid.wkt:
        raise InputError(
            f"--static {path} has no coordinate reference system.",
            remedy="Say what it is: gdal_edit.py -a_srs EPSG:n FILE.",
        )
    file = SceneFile(path, str(path), header=header)
    numbers = [n for n in range(1, header.count + 1) if n != header.alpha]
    classes = _class_bands(path, header)
    for number in numbers:
        described = header.descriptions[number - 1] or f"band_{number}"
        name = path.stem if len(numbers) == 1 else f"{path.stem}_{described}"
        name = re.sub(r"[^\w.-]+", "_", name)
        if name in file.bands:
            name = f"{name}_{number}"
        nodata = header.nodata[number - 1]
        file.bands[name] = number
        file.readings[name] = Reading(
            nodata=() if nodata is None else (nodata,),
            scale=header.scales[number - 1],
            offset=header.offsets[number - 1],
            resampling=_resampling(number in classes, settings),
            unit=header.units[number - 1],
        )
    return file


def _class_bands(path: Path, header: Header) -> set[int]:
    """Bands of class codes: those with a palette, and bytes without a scale.

    Heights, slopes or distances rarely fit a byte; land cover and soil classes nearly always
    do, and a mean of two codes is a third class.
    """
    with open_geotiff(path) as dataset:
        interpretations = dataset.colorinterp
    return {
        number
        for number in range(1, header.count + 1)
        if interpretations[number - 1] == ColorInterp.palette
        or (
            np.dtype(header.dtypes[number - 1]).itemsize == 1
            and (header.scales[number - 1], header.offsets[number - 1]) == (1, 0)
        )
    }


def _resampling(classes: bool, settings: StackSettings) -> str:
    """--resampling; but classes are never averaged."""
    if classes:
        return "mode" if settings.resampling == "mode" else "nearest"
    return "" if settings.resampling == "auto" else settings.resampling


def _write_static(cube_path: Path, grid: Grid, plan: StaticPlan, jobs: int) -> str:
    writer = StaticWriter(
        cube_path,
        names=plan.names,
        units=plan.units,
        shape=grid.shape,
        sources=[_source(file) for file in plan.files],
    )
    width = -(-grid.shape[1] // jobs // CHUNK_PX) * CHUNK_PX
    width = min(max(width, CHUNK_PX), MOST_COLUMNS)
    columns = [
        [
            Tile(row, min(row + CHUNK_PX, grid.shape[0]), col, min(col + width, grid.shape[1]))
            for row in range(0, grid.shape[0], CHUNK_PX)
        ]
        for col in range(0, grid.shape[1], width)
    ]
    layers = _Layers(grid, plan)
    with ThreadPoolExecutor(jobs) as pool:
        counts = sum(pool.map(lambda tiles: _write_column(layers, tiles, writer), columns))
    share = dict(zip(plan.names, np.asarray(counts) / np.prod(grid.shape), strict=True))
    for file in plan.files:
        if not any(share[name] for name in file.bands):
            raise InputError(
                f"--static {file.path} has no valid pixel on the cube's grid.",
                where=(
                    f"cube: {', '.join(f'{v:.10g}' for v in grid.bounds)} ({grid.describe()})",
                    f"file: {_extent(file)}",
                ),
                remedy="Give a file that covers the scenes, or leave it out of --static.",
            )
    writer.finish()
    shares = ", ".join(f"{name} ({100 * part:.4g} % valid)" for name, part in share.items())
    return f"Static layers: {shares}."


def _extent(file: SceneFile) -> str:
    assert file.header is not None  # of a plan
    grid = file.header.grid
    return f"{', '.join(f'{v:.10g}' for v in grid.bounds)} ({grid.describe()})"


def _source(file: SceneFile) -> dict[str, object]:
    with file.path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"file": file.path.name, "layers": list(file.bands), "sha256": digest}


def _write_column(
    layers: _Layers, tiles: Sequence[Tile], writer: StaticWriter
) -> NDArray[np.int64]:
    """Write some tiles one below the other; the number of valid pixels of each layer."""
    count = np.zeros(len(layers.plan.names), np.int64)
    lane = Lane(layers.bands)
    with gdal_session():
        try:
            for tile in tiles:
                values, valid = layers.at(tile, lane)
                writer.write(tile, values, valid)
                count += np.count_nonzero(valid, axis=(1, 2))
        finally:
            lane.close()
    return count


class _Layers:
    """All static layers in any tile of the grid.

    Where slope or aspect are wanted, everything is warped with one pixel more on every side.
    """

    def __init__(self, grid: Grid, plan: StaticPlan) -> None:
        self.plan = plan
        self.bands = {file.path: tuple(sorted(file.bands.values())) for file in plan.files}
        target = _around(grid) if plan.terrain else grid
        grids = {file.header.grid for file in plan.files if file.header}
        maps = {source: coordinate_map(target, source) for source in grids}
        names = tuple(name for file in plan.files for name in file.bands)
        self.warping = Warping(names, "float32", "auto", "continuous", maps, {})
        self.metres = PixelMetres(grid) if plan.terrain else None

    def at(self, tile: Tile, lane: Lane) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Values and validity of a tile, each (layer, y, x)."""
        if self.metres is None:
            return self.warped(tile, lane)
        wide = Tile(tile.row0, tile.row1 + 2, tile.col0, tile.col1 + 2)
        values, valid = self.warped(wide, lane)
        z = values[0] * np.float32(metres_of(self.plan.units[0]))
        both, usable = slope_and_aspect(z, valid[0], self.metres, tile)
        chosen = [LAYERS.index(name) for name in self.plan.terrain]
        inner = (slice(None), slice(1, -1), slice(1, -1))
        return (
            np.concatenate([values[inner], both[chosen]]),
            np.concatenate([valid[inner], usable[chosen]]),
        )

    def warped(self, tile: Tile, lane: Lane) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """The files' layers in a tile of the target."""
        values = np.zeros((len(self.warping.bands), *tile.shape), np.float32)
        valid = np.zeros(values.shape, bool)
        places = Places(self.warping, tile, range(tile.col0, tile.col1))
        for bundle in self.warping.bundles(self.plan.files):
            bands = list(bundle.bands)
            looks, usable = np.zeros_like(values[bands]), np.zeros_like(valid[bands])
            warp(self.warping, bundle, places, lane, looks, usable)
            values[bands], valid[bands] = looks, usable
        return values, valid


def _around(grid: Grid) -> Grid:
    """A grid with one pixel more on every side."""
    height, width = grid.shape
    transform = grid.transform @ Affine.translation(-1, -1)
    return Grid(grid.wkt, transform, (height + 2, width + 2))
