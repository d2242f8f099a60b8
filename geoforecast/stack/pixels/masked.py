"""The mask of a scene, brought to the scene's pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geoforecast.raster.footprints import window_for
from geoforecast.raster.grid import Tile
from geoforecast.raster.resample import CoordinateMap, Floats, sample
from geoforecast.stack.inventory.scenes import MaskSource
from geoforecast.stack.pixels.sources import Lane


def masked(
    way: CoordinateMap, mask: MaskSource, lane: Lane, window: Tile, reach: Tile
) -> NDArray[np.bool_]:
    """Which pixels of a scene's window its mask leaves usable, by the nearest mask pixel.

    Args:
        way: from the scene's grid to the mask's.
        mask: of the scene.
        lane: reads it.
        window, reach: of the scene; see SourceRows.read.
    """
    shape = mask.header.grid.shape
    x, y = way.axes(window) if way.upright else way.at(window)
    needed = _axes_window(x, y, shape) if way.upright else window_for("nearest", x, y, shape)
    if needed is None:
        return np.zeros(window.shape, bool)
    # The halo lets clouds just outside the window grow into it.
    wide = needed.expanded(mask.rule.dilate, shape)
    far = wide
    if way.upright:
        far = _axes_window(*way.axes(reach), shape) or wide
        far = far.expanded(mask.rule.dilate, shape)
    raw, _ = lane.read([(mask.header.path, mask.header, (mask.band,))], wide, far)
    usable = mask.rule.usable(raw[0], mask.header.nodata[mask.band - 1])
    if way.upright:
        return _picked(usable, wide, shape, x, y)
    _, result = sample(usable.view(np.uint8), usable, wide, shape, x, y, bilinear=False)
    return result


def _axes_window(x: Floats, y: Floats, shape: tuple[int, int]) -> Tile | None:
    """The mask pixels nearest to columns at ``x``, (1, W), and rows at ``y``, (H, 1)."""
    spans = []
    for places, size in ((y, shape[0]), (x, shape[1])):
        nearest = np.floor(places + 0.5)
        inside = nearest[(nearest >= 0) & (nearest < size)]
        if inside.size == 0:
            return None
        spans += [int(inside.min()), int(inside.max()) + 1]
    return Tile(*spans)


def _picked(
    usable: NDArray[np.bool_], tile: Tile, shape: tuple[int, int], x: Floats, y: Floats
) -> NDArray[np.bool_]:
    """The nearest mask pixels where rows and columns of the two grids run alike.

    Args:
        usable: (h, w) of ``tile``.
        shape: of the whole mask.
        x, y: mask coordinates of the columns, (1, W), and of the rows, (H, 1).
    Returns:
        (H, W) bool, True = usable; False outside the mask.
    """
    cols = np.floor(x[0] + 0.5).astype(np.int64)
    rows = np.floor(y[:, 0] + 0.5).astype(np.int64)
    inside_x, inside_y = (cols >= 0) & (cols < shape[1]), (rows >= 0) & (rows < shape[0])
    cols = np.where(inside_x, cols, tile.col0) - tile.col0
    rows = np.where(inside_y, rows, tile.row0) - tile.row0
    result: NDArray[np.bool_] = usable.take(cols, axis=1).take(rows, axis=0)
    if not inside_x.all():
        result &= inside_x
    if not inside_y.all():
        result &= inside_y[:, None]
    return result
