"""Which parts of file names are variables, and which merely name a tile.

Both tell apart files of one time. Files that differ by a variable lie on the same place,
files that differ by a tile do not: headers decide, not spelling.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.warp import transform_bounds

from geoforecast.raster.grid import Grid
from geoforecast.stack.inventory.names import NameParts, split_names, telling_tokens, wanted_tokens
from geoforecast.stack.inventory.scenes import SceneFile

# Two footprints are one place if they share this part of the smaller one. Neighbouring tiles
# and orbits overlap, by a tenth as a rule; variables on grids of their own differ at the rim.
SAME_PLACE = 0.5
# What names a part of an area; words that are none of these are taken for variables.
_TILE_WORD = re.compile(
    r"(?:north|south|east|west|left|right|upper|lower|top|bottom|cent(?:re|er)|middle)+"
    r"|n|s|e|w|ne|nw|se|sw|(?=.*\d).+",
    re.IGNORECASE,
)
# Names with a number that are bands wherever they stand.
_BAND_WORD = re.compile(
    r"b(?:and)?\d{1,2}a?|ch(?:annel)?\d{1,2}|[im]\d{1,2}|swir\d{1,2}|nir\d|evi2|pc\d{1,2}"
    r"|[uvtdqz](?:2m|10m?|100m?|\d{3})|\d{1,3}[a-z]{1,2}",
    re.IGNORECASE,
)

Bounds = tuple[str, float, float, float, float]  # WKT, left, bottom, right, top


def label_scenes(files: Sequence[SceneFile]) -> tuple[list[NameParts], str]:
    """The label of each file, and a name for the variable if there is only one.

    A band that a manifest or STAC item states is the label.

    Args:
        files: dated files with headers.
    Returns:
        The parts of each name; the last telling part that all names share, or "".
    """
    known = [(file, file.time) for file in files if file.time is not None]
    names = [file.path.stem for file in files]
    spans = [file.span for file in files]
    tokens = wanted_tokens(names, spans)
    places = [_bounds(file.header.grid) if file.header else None for file in files]
    at_time: dict[np.datetime64, list[int]] = defaultdict(list)
    for index, (_, time) in enumerate(known):
        at_time[time].append(index)
    here: set[str] = set()  # tell apart files of one time and place
    only: set[str] = set()  # tell apart files of one time
    for members in at_time.values():
        telling = telling_tokens([tokens[i] for i in members])
        only |= telling
        if telling - here:
            here |= _telling_here([(tokens[i], places[i]) for i in members], telling - here)
    tiles = {token for token in only - here if _may_be_tile(token)}
    parts, common = split_names(names, spans, only - tiles)
    for index, file in enumerate(files):
        if file.told and file.told.band:
            parts[index] = replace(parts[index], label=file.told.band)
    return parts, common


def _may_be_tile(token: str) -> bool:
    return bool(_TILE_WORD.fullmatch(token)) and not _BAND_WORD.fullmatch(token)


def _telling_here(
    members: Sequence[tuple[Sequence[str], Bounds | None]], telling: set[str]
) -> set[str]:
    """Parts that one file has and another on the same place has not."""
    unique = sorted({place for _, place in members if place is not None})
    if len(unique) < 2:
        return telling
    near = _same_place(tuple(unique))
    numbers = {place: number for number, place in enumerate(unique)}
    files = np.zeros(len(unique), np.int64)
    holding: dict[str, Counter[int]] = defaultdict(Counter)  # token -> files at each place
    for parts, place in members:
        if place is not None:
            files[numbers[place]] += 1
            for token in telling.intersection(parts):
                holding[token][numbers[place]] += 1
    found = set()
    for token, counts in holding.items():
        places = list(counts)
        lacking = files.copy()
        lacking[places] -= list(counts.values())
        if near[places][:, lacking > 0].any():
            found.add(token)
    return found


@lru_cache(maxsize=64)
def _same_place(places: tuple[Bounds, ...]) -> NDArray[np.bool_]:
    """(n, n) bool: whether two footprints share most of the smaller one."""
    wkts = {place[0] for place in places}
    boxes = np.array([place[1:] if len(wkts) == 1 else _degrees(place) for place in places])
    left, bottom, right, top = boxes.T
    wide = np.minimum(right[:, None], right) - np.maximum(left[:, None], left)
    high = np.minimum(top[:, None], top) - np.maximum(bottom[:, None], bottom)
    shared = np.clip(wide, 0, None) * np.clip(high, 0, None)
    area = (right - left) * (top - bottom)
    near: NDArray[np.bool_] = shared >= SAME_PLACE * np.minimum(area[:, None], area)
    # What cannot be placed may lie anywhere; then spelling and labels decide as ever.
    unknown = ~np.isfinite(boxes).all(axis=1)
    near |= unknown[:, None] | unknown
    return near


def _degrees(place: Bounds) -> tuple[float, float, float, float]:
    wkt, *box = place
    nan = float("nan")
    try:
        left, bottom, right, top = transform_bounds(wkt, "EPSG:4326", *box)
    except (RasterioError, ValueError):
        return nan, nan, nan, nan
    # A footprint across the antimeridian comes back with its left edge right of its right one.
    return left, bottom, right if right >= left else right + 360, top


def _bounds(grid: Grid) -> Bounds:
    return (grid.wkt, *grid.bounds)
