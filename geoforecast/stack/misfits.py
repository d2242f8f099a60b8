"""Scenes whose place keeps them out of a common grid, or would make that grid absurd.

The default grid is the union of all extents. One scene of another continent, or one whose
pixel size has a wrong unit, makes it a thousand times as large as all others together, and
the whole stack would fail for its sake.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geoforecast.errors import GridMismatchError, InputError
from geoforecast.raster.grid import Grid
from geoforecast.settings import StackSettings
from geoforecast.stack.grids import extents, out_of_reach, target_grid

Boxes = NDArray[np.float64]  # (n, 4): left, bottom, right, top

# A gap of so many times the larger of two scenes does not part them: tiles are missing.
NEAR = 4.0
# So many times the area of most scenes is a grid for nobody, if it is large at all.
ABSURD = 100.0
LARGE_PIXELS = 2**26
REMEDY = (
    "Say which area you mean with --bounds or --like, or leave such files out with --on-error "
    "quarantine."
)


def misfits(grids: Sequence[Grid], settings: StackSettings) -> dict[Grid, GridMismatchError]:
    """Those of some grids that cannot join the others on one grid, and why.

    Args:
        grids: of each scene file.
        settings: --like, --crs, --res, --bounds.
    Returns:
        Grid -> error: out of the target CRS's reach; rotated among others that are not,
        without an explicit target; or astray.
    """
    found = out_of_reach(grids, settings)
    rest = [grid for grid in grids if grid not in found]
    if not settings.like and not (settings.crs and settings.res):
        rotated = {grid for grid in rest if grid.rotated}
        if len(rotated) < len(set(rest)):
            found |= dict.fromkeys(rotated, _ROTATED)
            rest = [grid for grid in rest if grid not in rotated]
    return found | _strays(rest, settings)


_ROTATED = GridMismatchError(
    "its grid is rotated, those of other scenes are not.",
    remedy="Give the target with --crs and --res, or with --like; or unrotate the files first: "
    "gdalwarp IN OUT.",
)


def _strays(grids: Sequence[Grid], settings: StackSettings) -> dict[Grid, GridMismatchError]:
    """Grids that lie far from where most files do, or are far larger than most."""
    counts = Counter(grids)
    if settings.like or settings.bounds or len(counts) < 2 or not _large(grids, settings):
        return {}
    distinct, files = list(counts), np.array(list(counts.values()))
    boxes = np.array(extents(distinct, settings))
    kept = _ordinary(boxes, files)
    group = _groups(boxes[kept])
    sizes = np.bincount(group, weights=files[kept])
    kept[np.flatnonzero(kept)] = group == int(sizes.argmax())
    times = _area(boxes) / _area(boxes[kept])
    if kept.all() or times <= ABSURD:
        return {}
    error = GridMismatchError(
        f"one grid over it and the others would be {times:.0f} times as large as theirs.",
        where=f"theirs: {', '.join(f'{v:.10g}' for v in _union(boxes[kept]))} "
        "(left, bottom, right, top)",
        remedy=REMEDY,
    )
    return {distinct[number]: error for number in np.flatnonzero(~kept)}


def _large(grids: Sequence[Grid], settings: StackSettings) -> bool:
    try:
        height, width = target_grid(grids, settings)[0].shape
    except InputError:  # too large for any cube
        return True
    return height * width > LARGE_PIXELS


def _ordinary(boxes: Boxes, files: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which boxes are not absurdly larger than all those together that most files have."""
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = np.argsort(areas, kind="stable")
    middle = order[np.searchsorted(np.cumsum(files[order]), files.sum() / 2)]
    result: NDArray[np.bool_] = areas <= ABSURD * _area(boxes[areas <= areas[middle]])
    return result


def _groups(boxes: Boxes) -> NDArray[np.int64]:
    """Number of the group of each box; those near one another are together."""
    spans = np.stack([boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]], axis=1)
    group = np.full(len(boxes), -1)
    for seed in range(len(boxes)):
        if group[seed] >= 0:
            continue
        number = group.max() + 1
        group[seed] = number
        waiting = [seed]
        while waiting:
            here = waiting.pop()
            gaps = np.maximum(boxes[here, :2] - boxes[:, 2:], boxes[:, :2] - boxes[here, 2:])
            near = (gaps <= NEAR * np.maximum(spans[here], spans)).all(axis=1) & (group < 0)
            group[near] = number
            waiting += np.flatnonzero(near).tolist()
    return group


def _union(boxes: Boxes) -> tuple[float, float, float, float]:
    left, bottom = boxes[:, :2].min(axis=0).tolist()
    right, top = boxes[:, 2:].max(axis=0).tolist()
    return left, bottom, right, top


def _area(boxes: Boxes) -> float:
    left, bottom, right, top = _union(boxes)
    return (right - left) * (top - bottom)
