"""Pictures of the report: a thumbnail a step, and where the cube is valid."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoforecast.figures.maps import north_up, pixel_aspect
from geoforecast.figures.words import time_label
from geoforecast.raster.cube import Cube
from geoforecast.raster.grid import Grid
from geoforecast.stack.derived.bands import guess_roles
from geoforecast.stack.quality import png
from geoforecast.stack.quality.survey import Survey
from geoforecast.stack.quality.words import number

STRETCH = (2, 98)  # percentiles of a thumbnail's values
THUMB, WIDE_THUMB = 96, 200  # drawn width in px; of rasters over twice as wide as high
# Red, green and blue of a picture: natural colours, or near infrared, red and green.
COMPOSITES = (("R", "G", "B"), ("N", "R", "G"))
# Sentinel-2 and Landsat number their bands; B4 of older Landsats is infrared, which the
# picture shows as red just as well.
NUMBERED = (("b04", "b03", "b02"), ("b8a", "b04", "b03"), ("b08", "b04", "b03"), ("b4", "b3", "b2"))


@dataclass(frozen=True)
class Thumbnail:
    """A step's small picture."""

    step: int
    time: str
    uri: str


@dataclass(frozen=True)
class Sheet:
    """The contact sheet.

    Attributes:
        thumbnails: of the steps shown, in order.
        width, height: to draw them at, px.
        words: what the colours mean.
    """

    thumbnails: tuple[Thumbnail, ...]
    width: int
    height: int
    words: str


def draw_sheet(cube: Cube, survey: Survey, colours: Sequence[Sequence[str]]) -> Sheet:
    """Thumbnails with one stretch for all, so that they can be compared.

    Args:
        cube: for names, times and the way up.
        survey: holds the thumbnails' pixels.
        colours: of each band's classes; empty for numbers.
    """
    grid, width, height = cube.grid, *drawn_size(cube.grid, THUMB, WIDE_THUMB)
    triple = composite_bands(cube.bands, cube.meta.get("roles") or {})
    if cube.kind == "categorical":
        uris = _classes(survey.thumbnails, survey.edges[0], colours[0], grid)
        words = f"{cube.bands[0]}, colours as in its chart"
    elif triple is not None:
        uris = _composites(survey.thumbnails, triple, grid)
        names = ", ".join(cube.bands[band] for band in triple)
        words = f"red, green, blue: {names}; each stretched over what is usual in most steps"
    else:
        low, high = _limits([thumb[0] for thumb in survey.thumbnails.values()])
        uris = {
            step: png.indexed_uri(north_up(png.levels(thumb[0], low, high), grid), png.viridis())
            for step, thumb in survey.thumbnails.items()
        }
        words = f"{cube.bands[0]}, dark {number(low)} to bright {number(high)}"
    thumbnails = tuple(
        Thumbnail(step, time_label(cube.times[step]), uri) for step, uri in sorted(uris.items())
    )
    return Sheet(thumbnails, width, height, words)


def draw_coverage(coverage: NDArray[np.float64], grid: Grid) -> str:
    """The share of steps in which each overview pixel is valid; never valid is transparent."""
    shares = np.where(coverage > 0, coverage, np.nan)
    return png.indexed_uri(north_up(png.levels(shares, 0.0, 1.0), grid), png.viridis())


def drawn_size(grid: Grid, usual: int, wide: int) -> tuple[int, int]:
    """Width and height in px that show a raster true to shape, but for very flat ones."""
    height, width = grid.shape
    x, y = grid.res
    ratio = height * y * pixel_aspect(grid) / (width * x)
    if ratio > 1.5:
        usual = max(round(1.5 * usual / ratio), usual // 4)
    across = wide if ratio < 0.5 else usual
    return across, max(math.ceil(across / 12), min(round(across * ratio), 2 * usual))


def composite_bands(bands: Sequence[str], roles: Mapping[str, str]) -> tuple[int, int, int] | None:
    """Numbers of the bands to show as red, green and blue; None if they are not known.

    Args:
        bands: of the cube.
        roles: role (R, G, B, N) -> band where a sensor tells; names of bands tell the rest.
    """
    cast = {**guess_roles(bands), **{r: b for r, b in roles.items() if b in bands}}
    for wanted in COMPOSITES:
        if all(role in cast for role in wanted):
            red, green, blue = (list(bands).index(cast[role]) for role in wanted)
            return red, green, blue
    plain = [re.sub(r"[^a-z0-9]", "", band.casefold()).removeprefix("sr") for band in bands]
    for names in NUMBERED:
        if all(plain.count(name) == 1 for name in names):
            red, green, blue = (plain.index(name) for name in names)
            return red, green, blue
    return None


def _composites(
    thumbnails: Mapping[int, NDArray[np.float32]], triple: tuple[int, int, int], grid: Grid
) -> dict[int, str]:
    limits = [_limits([thumb[band] for thumb in thumbnails.values()]) for band in triple]
    uris = {}
    for step, thumb in thumbnails.items():
        channels = [
            png.levels(thumb[band], *limit) for band, limit in zip(triple, limits, strict=True)
        ]
        seen = np.all([channel > 0 for channel in channels], axis=0)
        uris[step] = png.rgb_uri(north_up(np.stack(channels, axis=-1), grid), north_up(seen, grid))
    return uris


def _classes(
    thumbnails: Mapping[int, NDArray[np.float32]],
    codes: NDArray[np.float64],
    colours: Sequence[str],
    grid: Grid,
) -> dict[int, str]:
    palette = np.array([list(bytes.fromhex(c[1:])) for c in colours], np.uint8).reshape(-1, 3)
    uris = {}
    for step, thumb in thumbnails.items():
        seen = np.isfinite(thumb[0])
        place = np.searchsorted(codes, np.where(seen, thumb[0], 0))
        # A code that is not listed belongs to the rest, which stands last.
        place = np.minimum(place, len(codes) - 1)
        place = np.where(codes[place] == thumb[0], place, len(codes) - 1)
        indices = np.where(seen, place + 1, 0).astype(np.uint8)
        uris[step] = png.indexed_uri(north_up(indices, grid), palette)
    return uris


def _limits(layers: Sequence[NDArray[np.float32]]) -> tuple[float, float]:
    """Colour limits that hold most of the values of most of the steps: a few steps in another
    unit must not turn all others black."""
    known = [layer[np.isfinite(layer)] for layer in layers]
    ends = np.array([np.percentile(values, STRETCH) for values in known if values.size])
    if len(ends) == 0:
        return 0.0, 1.0
    low = float(np.percentile(ends[:, 0], 10, method="lower"))
    high = float(np.percentile(ends[:, 1], 90, method="higher"))
    if high <= low:  # such as dry steps with a little rain
        low, high = float(min(v.min() for v in known if v.size)), float(ends.max())
    return (low, high) if high > low else (low, low + 1.0)
