"""Maps as PNG: north up, true to shape, differences on a scale that is centred on zero."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geoforecast.figures.maps import north_up, pixel_aspect
from geoforecast.raster.grid import Grid
from geoforecast.validate.report.palettes import NOT_SCORED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colorbar import Colorbar
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

DPI = 110
PERCENTILE = 98  # of |value|: where a diverging scale ends
TICK_IN = 0.6  # that a rotated label of northings takes
KEY_COLUMNS, KEY_ROW_IN = 2, 0.17  # of what classes mean, below a map


@dataclass(frozen=True)
class Panel:
    """One map of a picture.

    Attributes:
        values: (y, x), NaN where there is nothing to show.
        title: above it.
        colours: name of a colour map, or a colour for each number from 0 on.
        limits: the values at the ends of the colour map.
        label: beside the colour bar.
        words: what each number stands for; then a key takes the place of the colour bar.
    """

    values: NDArray[np.float32]
    title: str
    colours: str | tuple[str, ...]
    limits: tuple[float, float] = (0.0, 1.0)
    label: str = ""
    words: tuple[str, ...] = ()


def diverging_limit(maps: Iterable[NDArray[np.floating]]) -> float:
    """The end of a zero-centred colour scale: the 98th percentile of the size, above 0."""
    sizes = [np.abs(values[np.isfinite(values)]).ravel() for values in maps]
    pooled = np.concatenate(sizes) if sizes else np.empty(0)
    if pooled.size == 0:
        return 1.0
    # Rain differs from 0 in few pixels: then the percentile is 0 and the maximum serves.
    return float(np.percentile(pooled, PERCENTILE)) or float(pooled.max()) or 1.0


def shared_limits(maps: Iterable[NDArray[np.floating]]) -> tuple[float, float]:
    """Colour limits for maps to be compared: percentiles 2 and 98 of all of them."""
    values = np.concatenate([item[np.isfinite(item)].ravel() for item in maps])
    if values.size == 0:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(values, (100 - PERCENTILE, PERCENTILE)))
    if high <= low:
        low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low, low + 1.0)


def is_wide(grid: Grid) -> bool:
    """The raster is more than twice as wide as high: maps go below each other."""
    return shape_ratio(grid) < 0.5


def draw(
    path: Path,
    panels: Sequence[Panel],
    grid: Grid,
    title: str,
    *,
    panel_in: float = 3.9,
    dpi: int = DPI,
) -> None:
    """Draw maps beside each other, or below each other if the raster is wide.

    The same maps make the same bytes: nothing such as a date is written into the file.

    Args:
        path: the PNG to create.
        panels: the maps, on one grid (thinned or not).
        grid: the whole raster's place.
        title: above all panels.
        panel_in: width in inches of a panel, or of half a panel if the raster is wide.
        dpi: pixels an inch.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

    left, bottom, right, top = grid.bounds
    ratio, wide = shape_ratio(grid), is_wide(grid)
    # Inches: the map, and beside it room for ticks and the colour bar.
    width = 2 * panel_in if wide else panel_in
    beside = 0.6 if all(panel.words for panel in panels) else 1.1
    map_in = min(max((width - beside) * ratio, 0.3), 9.0)
    height = map_in + (0.95 if wide else 0.7)
    height += KEY_ROW_IN * max(_key_rows(panel, wide) for panel in panels)
    rows, cols = (len(panels), 1) if wide else (1, len(panels))
    figure = Figure(figsize=(width * cols, height * rows + 0.35), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, cols, squeeze=False)
    for axis, panel in zip(axes.flat, panels, strict=True):
        image = axis.imshow(
            north_up(panel.values, grid),
            extent=(left, right, bottom, top),
            cmap=panel.colours if isinstance(panel.colours, str) else ListedColormap(panel.colours),
            vmin=-0.5 if panel.words else panel.limits[0],
            vmax=len(panel.words) - 0.5 if panel.words else panel.limits[1],
            interpolation="nearest",
        )
        _dress(axis, panel.title, pixel_aspect(grid), wide, map_in)
        if panel.words:
            _key(axis, panel, wide)
            continue
        bar = _colour_bar(figure, axis, image, pointed(panel, panels), wide)
        bar.set_label(panel.label, fontsize=8)
        bar.ax.tick_params(labelsize=7)
        bar.outline.set_linewidth(0.5)
    figure.suptitle(title, fontsize=10, fontweight="bold", x=0.01, ha="left")
    figure.savefig(
        path, format="png", metadata={"Software": None}, bbox_inches="tight", pad_inches=0.06
    )


def shape_ratio(grid: Grid) -> float:
    """Height over width of a raster as drawn."""
    left, bottom, right, top = grid.bounds
    return (top - bottom) * pixel_aspect(grid) / (right - left)


def pointed(panel: Panel, panels: Sequence[Panel]) -> str:
    """Which ends of a colour bar have values beyond them, on any map of that scale."""
    alike = [other.values for other in panels if other.limits == panel.limits]
    below = any(bool((values < panel.limits[0]).any()) for values in alike)
    above = any(bool((values > panel.limits[1]).any()) for values in alike)
    return ("both" if above else "min") if below else ("max" if above else "neither")


def _colour_bar(figure: Figure, axis: Axes, image: AxesImage, extend: str, wide: bool) -> Colorbar:
    """A bar as high as the map, or below it if the map is wide and flat."""
    if wide:
        return figure.colorbar(
            image, ax=axis, extend=extend, orientation="horizontal", fraction=0.08, aspect=40
        )
    place = axis.inset_axes((1.03, 0.0, 0.045, 1.0))
    return figure.colorbar(image, cax=place, extend=extend)


def _key_rows(panel: Panel, wide: bool) -> int:
    """Rows of a panel's key."""
    return math.ceil(len(panel.words) / (len(panel.words) or 1 if wide else KEY_COLUMNS))


def _key(axis: Axes, panel: Panel, wide: bool) -> None:
    """What each colour stands for, below the map."""
    from matplotlib.patches import Patch

    assert len(panel.colours) == len(panel.words)
    handles = [
        Patch(facecolor=colour, edgecolor="#888888", linewidth=0.3, label=word)
        for colour, word in zip(panel.colours, panel.words, strict=True)
    ]
    axis.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        borderaxespad=2.2,  # in font sizes: below the ticks' labels
        ncol=math.ceil(len(handles) / _key_rows(panel, wide)),
        fontsize=7,
        frameon=False,
        handlelength=1.0,
        handleheight=1.0,
        columnspacing=1.0,
        labelspacing=0.3,
    )


def _dress(axis: Axes, title: str, aspect: float, wide: bool, map_in: float) -> None:
    """Quiet axes: few ticks, plain numbers, grey where nothing was scored."""
    axis.set_aspect(aspect)
    axis.set_facecolor(NOT_SCORED)
    axis.set_title(title, fontsize=9, loc="left")
    axis.locator_params(nbins=4)
    axis.locator_params(axis="y", nbins=min(4, max(1, int(map_in / TICK_IN))))
    axis.ticklabel_format(useOffset=False, style="plain")
    axis.tick_params(labelsize=6, length=2, color="#888888", labelcolor="#555555")
    for label in axis.get_yticklabels():
        label.set_rotation(0 if wide else 90)
        label.set_verticalalignment("center")
    for spine in axis.spines.values():
        spine.set_linewidth(0.5)
