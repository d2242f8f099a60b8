"""Into which parts pixels and steps are divided, to say where, when and of what a forecast is good.

Regions from polygons, classes from a raster, ranges of what came, and seasons. What is told of a
part is told of all its pixels, so a pixel that lies in two regions counts in both.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoforecast.errors import InputError, SettingsError
from geoforecast.raster.geotiff import Header, not_nodata, open_geotiff, read_header, read_pixels
from geoforecast.raster.grid import Grid, Tile
from geoforecast.raster.holdout import HELD_OUT, SEEN, HoldOut
from geoforecast.raster.polygons import Region, rasterise, read_polygons
from geoforecast.raster.resample import CoordinateMap, coordinate_map, sample
from geoforecast.settings import ValidateSettings

MOST_CLASSES = 64
SEARCH_PX = 1024  # tiles in which a raster's classes are looked for
SEASONS = ("DJF", "MAM", "JJA", "SON")  # by the first letters of their months
LEAST_MONTHS = 3  # that test steps lie in, or there are no seasons to tell of

Labels = NDArray[np.int32]
_ALONE = threading.Lock()


@dataclass(frozen=True)
class Parting:
    """One way to divide pixels, the same at all times.

    Attributes:
        titles: of the parts.
        at: labels of a tile's pixels, (y, x): number of the part, or -1 in none.
    """

    titles: tuple[str, ...]
    at: Callable[[Tile], Labels]


@dataclass(frozen=True)
class Partings:
    """All ways in which a validation divides pixels.

    Attributes:
        fixed: by where they lie.
        edges: between ranges of observed values, band units, ascending; () for no ranges.
        blocks: name and steps of parts of the time, besides seasons.
    """

    fixed: tuple[Parting, ...] = ()
    edges: tuple[float, ...] = ()
    blocks: tuple[tuple[str, range], ...] = ()

    @property
    def titles(self) -> tuple[tuple[str, ...], ...]:
        """Names of the parts, of each way."""
        fixed = tuple(one.titles for one in self.fixed)
        return (*fixed, range_titles(self.edges)) if self.edges else fixed

    def labels(self, tile: Tile) -> list[Labels]:
        """Of each fixed way; see Parting."""
        # GDAL's bindings silence warnings for all threads at once, and put back what another
        # thread had silenced: tiles in threads would warn of what nobody did.
        with _ALONE:
            return [one.at(tile) for one in self.fixed]

    def with_ranges(self, fixed: Sequence[Labels], observed: NDArray[Any]) -> list[Labels]:
        """The labels of each way, of what was observed in a tile.

        Args:
            fixed: from ``labels``.
            observed: (y, x) band units, anything where not scored.
        """
        if not self.edges:
            return list(fixed)
        # As float32, which the pixels are: a value at an edge is in the range above it.
        edges = np.asarray(self.edges, dtype=np.float32)
        return [*fixed, np.searchsorted(edges, observed, side="right").astype(np.int32)]


NO_PARTINGS = Partings()


def open_partings(
    settings: ValidateSettings, grid: Grid, known: Partings = NO_PARTINGS
) -> Partings:
    """What --regions, --by and --ranges ask for, beside what is known to be told apart.

    Args:
        settings: of validate.
        grid: of what is validated.
        known: folds, and what training did not see.
    Raises:
        InputError: a file cannot be read, or is not of this place.
        SettingsError: ranges do not ascend.
    """
    fixed = [*known.fixed]
    if settings.regions:
        fixed += region_partings(read_polygons(Path(settings.regions), grid), grid)
    if settings.by:
        fixed.append(class_parting(Path(settings.by), grid))
    return Partings(tuple(fixed), parse_ranges(settings.ranges), known.blocks)


def holdout_parting(holdout: HoldOut) -> Parting:
    """What a training did not see, and what it saw; the halo between is part of neither."""
    parts = np.full(3, -1, dtype=np.int32)
    parts[HELD_OUT], parts[SEEN] = 0, 1
    return Parting(
        ("held out", "seen in training"), lambda tile: parts[holdout.labels[tile.slices]]
    )


def parse_ranges(edges: Sequence[float]) -> tuple[float, ...]:
    """Edges of ranges of values.

    Raises:
        SettingsError: they are not finite, or do not ascend.
    """
    if not all(math.isfinite(edge) for edge in edges) or list(edges) != sorted(set(edges)):
        raise SettingsError(
            f"--ranges {','.join(f'{edge:g}' for edge in edges)} does not ascend.",
            remedy="Give finite numbers in ascending order, such as 0.2,0.4,0.6.",
        )
    return tuple(map(float, edges))


def range_titles(edges: Sequence[float]) -> tuple[str, ...]:
    """Names of the ranges between edges; () of none."""
    if not edges:
        return ()
    between = [f"range {low:g} to {high:g}" for low, high in itertools.pairwise(edges)]
    return (f"range below {edges[0]:g}", *between, f"range from {edges[-1]:g}")


def region_partings(regions: Sequence[Region], grid: Grid) -> list[Parting]:
    """Regions in as few ways as keep those that overlap apart, so that each counts whole."""
    groups: list[list[Region]] = []
    for region in regions:
        for group in groups:
            if all(region.geometry.intersection(one.geometry).area == 0 for one in group):
                group.append(region)
                break
        else:
            groups.append([region])

    def parting(group: Sequence[Region]) -> Parting:
        return Parting(
            tuple(f"region {region.name}" for region in group),
            lambda tile: rasterise(group, grid, tile) - np.int32(1),
        )

    return [parting(group) for group in groups]


def class_parting(path: Path, grid: Grid) -> Parting:
    """Classes of a raster of codes, which is laid on the grid by its nearest pixels.

    Raises:
        InputError: it has no whole numbers, more than one band, too many classes, or none here.
    """
    header = read_header(path)
    if header.count != 1 or np.dtype(header.dtypes[0]).kind not in "ui":
        raise InputError(
            f"{path.name} is no raster of classes.",
            where=f"{header.count} bands of {header.dtypes[0]}",
            remedy="--by needs one band of whole numbers, such as a land cover map.",
        )
    way = coordinate_map(grid, header.grid)
    codes: set[int] = set()
    for tile in grid.tiles(SEARCH_PX):
        values, known = _codes(header, way, tile)
        codes.update(np.unique(values[known]).tolist())
    if not 0 < len(codes) <= MOST_CLASSES:
        what = f"{len(codes)} different codes, {MOST_CLASSES} are the most" if codes else "no code"
        raise InputError(
            f"{path.name} has {what}, on the pixels that are validated.",
            remedy="Give a map of classes of this place.",
        )
    ascending = np.array(sorted(codes))

    def at(tile: Tile) -> Labels:
        values, known = _codes(header, way, tile)
        return np.where(known, np.searchsorted(ascending, values), -1).astype(np.int32)

    return Parting(tuple(f"class {code}" for code in ascending.tolist()), at)


def _codes(
    header: Header, way: CoordinateMap, tile: Tile
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Codes of a tile's pixels, 0 where there are none, and where there are."""
    x, y = way.at(tile)
    height, width = header.grid.shape
    inside = (x >= -0.5) & (x < width - 0.5) & (y >= -0.5) & (y < height - 0.5)
    dtype = np.dtype(header.dtypes[0])
    if not inside.any():
        return np.zeros(tile.shape, dtype), np.zeros(tile.shape, np.bool_)
    cols, rows = (np.rint(place[inside]) for place in (x, y))
    window = Tile(
        max(0, int(rows.min()) - 1),
        min(height, int(rows.max()) + 2),
        max(0, int(cols.min()) - 1),
        min(width, int(cols.max()) + 2),
    )
    with open_geotiff(header.path, header) as dataset:
        raw = read_pixels(dataset, [1], window)[0]
    known = not_nodata(raw, header.nodata[0])
    return sample(raw, known, window, header.grid.shape, x, y, bilinear=False)


def season_parts(
    steps: Sequence[int], times: NDArray[np.datetime64]
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Titles of the seasons of the valid times, and which one each step lies in.

    () of both where the steps lie in one season, or in fewer than LEAST_MONTHS months.

    Args:
        steps: the test steps.
        times: of the cube's steps.
    """
    months = times[list(steps)].astype("datetime64[M]").astype(np.int64) % 12 + 1
    seasons = (months % 12 // 3).tolist()
    known = sorted(set(seasons))
    if len(set(months.tolist())) < LEAST_MONTHS or len(known) < 2:
        return (), ()
    titles = tuple(f"season {SEASONS[season]}" for season in known)
    return titles, tuple(known.index(season) for season in seasons)
