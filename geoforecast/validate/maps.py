"""Maps of where the forecast errs: GeoTIFFs on the cube's grid, and small copies to draw."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoforecast.forecast.outcome import FORECAST, Hindcast
from geoforecast.raster.cog import CogWriter
from geoforecast.raster.grid import Tile
from geoforecast.validate.metrics.hotspots import NOT_SCORED, SPOTS, hotspot_strips
from geoforecast.validate.scoring.accumulate import TileScores, scored_pixels
from geoforecast.validate.scoring.class_parts import OUTCOMES
from geoforecast.validate.scoring.scores import map_reference
from geoforecast.validate.scoring.shown import Moment, Steps, hindcast_again, mapped_bands, moment
from geoforecast.validate.source import Source

PREVIEW_PX = 1000  # longest side of a drawn map
SMALL_PX = 480  # of the further ones
BIAS, SKILL, DIFFERENCE = "bias", "rmse_skill", "difference"
ABS_ERROR, LOCAL_SSIM = "abs_error", "local_ssim"
WIDTH, MISSES = "interval_width", "misses"
MORAN, HOTSPOTS, OUTCOME = "moran", "hotspots", "outcome"
ALWAYS = (BIAS, SKILL, ABS_ERROR, LOCAL_SSIM)  # of the pass
BOUNDED = (WIDTH, MISSES)  # of the pass, with intervals
LARGE = (BIAS, SKILL, DIFFERENCE, OUTCOME)
CODED = {HOTSPOTS: SPOTS, OUTCOME: OUTCOMES}  # what the codes of a map mean
WITHOUT_UNIT = (SKILL, LOCAL_SSIM, MISSES, MORAN)


class Preview:
    """A raster thinned to at most so many pixels a side, filled tile by tile.

    Every n-th pixel is kept rather than a mean, so that no error is smoothed away.
    """

    def __init__(self, shape: tuple[int, int], most_px: int = 0) -> None:
        self.stride = math.ceil(max(shape) / (most_px or PREVIEW_PX))
        height, width = (math.ceil(side / self.stride) for side in shape)
        self.values = np.full((height, width), np.nan, dtype=np.float32)

    def put(self, values: NDArray[np.float32], tile: Tile) -> None:
        """Take the kept pixels out of a tile's (y, x) values."""
        n = self.stride
        kept = values[-tile.row0 % n :: n, -tile.col0 % n :: n]
        row, col = math.ceil(tile.row0 / n), math.ceil(tile.col0 / n)
        self.values[row : row + kept.shape[0], col : col + kept.shape[1]] = kept


@dataclass(frozen=True)
class MapKey:
    """Which map: band and lead as indices from 0, and what it shows."""

    band: int
    lead: int
    quantity: str


class MapWriter:
    """Writes GeoTIFFs of some quantities for every band and lead, with previews beside.

    Args:
        folder: where the files go.
        engine: for grid, bands and units.
        quantities: which maps.
        tags: further dataset tags of a (band, lead) index pair.
        pairs: of those, the ones that are written; None for all.
    """

    def __init__(
        self,
        folder: Path,
        engine: Source,
        quantities: Sequence[str],
        *,
        tags: Mapping[tuple[int, int], Mapping[str, str]],
        pairs: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        self.folder, self.engine, self.tags = folder, engine, tags
        self._bands = mapped_bands(engine)
        wanted = np.ndindex(len(self._bands), engine.horizon) if pairs is None else pairs
        keys = [MapKey(band, lead, q) for band, lead in wanted for q in quantities]
        shape = engine.cube.grid.shape
        self.previews = {
            key: Preview(shape, PREVIEW_PX if key.quantity in LARGE else SMALL_PX) for key in keys
        }
        self._stack = contextlib.ExitStack()
        self._writers: dict[MapKey, CogWriter] = {}

    def __enter__(self) -> MapWriter:
        with contextlib.ExitStack() as stack:
            for key in self.previews:
                self._writers[key] = stack.enter_context(self._open(key))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.__exit__(*error)  # type: ignore[arg-type]

    def put(self, key: MapKey, values: NDArray[Any], tile: Tile) -> None:
        """Write one tile of one map, (y, x); codes where it is one of CODED."""
        self._writers[key].write(values[None], tile)
        pixels = values.astype(np.float32)
        if key.quantity in CODED:
            pixels[values == NOT_SCORED] = np.nan
        self.previews[key].put(pixels, tile)

    def put_scores(self, tile: Tile, scores: TileScores) -> None:
        """Write what a tile's scores say of its pixels; see pixel_maps."""
        for lead, band in np.ndindex(*scores.seen.shape):
            for quantity, values in pixel_maps(scores, lead, band).items():
                key = MapKey(band, lead, quantity)
                if key in self.previews:
                    self.put(key, values, tile)

    def _open(self, key: MapKey) -> CogWriter:
        path = map_path(self.folder, self._bands, key)
        grid, titles = self.engine.cube.grid, [f"{self._bands[key.band]} {key.quantity}"]
        tags = {"LEAD": str(key.lead + 1), **self.tags.get((key.band, key.lead), {})}
        if key.quantity in CODED:
            tags |= {f"CODE_{code}": words for code, words in enumerate(CODED[key.quantity])}
            return CogWriter(path, grid, titles, nodata=NOT_SCORED, dtype="uint8", tags=tags)
        unit = "1" if key.quantity in WITHOUT_UNIT else self.engine.units[key.band]
        return CogWriter(path, grid, titles, units=[unit], tags=tags)


def pixel_maps(scores: TileScores, lead: int, band: int) -> dict[str, NDArray[np.floating]]:
    """What a tile's scores say of its pixels, over the scored steps.

    Args:
        scores: of the tile.
        lead, band: from 0.
    Returns:
        (y, x) each, NaN where nothing was scored: mean error, RMSE skill, mean size of the error,
        mean structural similarity, and with intervals their mean width and the share of steps
        outside them.
    """
    scored, views = scores.scored[lead, band], scores.views
    bias, skill = bias_and_skill(
        scored,
        scores.error[lead, band],
        scores.squared[lead, band],
        scores.reference_squared[lead, band],
    )
    maps = {
        BIAS: bias,
        SKILL: skill,
        ABS_ERROR: _mean(views.size[lead, band], scored),
        LOCAL_SSIM: _mean(views.similar[lead, band], views.similar_n[lead, band]),
    }
    if views.width.size:
        maps[WIDTH] = _mean(views.width[lead, band], scored)
        maps[MISSES] = _mean(views.missed[lead, band], scored)
    return maps


def _mean(total: NDArray[Any], count: NDArray[np.int32]) -> NDArray[np.floating]:
    mean = np.full(total.shape, np.nan)
    np.divide(total, count, out=mean, where=count > 0)
    return mean


def bias_and_skill(
    scored: NDArray[np.int32],
    error: NDArray[np.float64],
    squared: NDArray[np.float64],
    reference_squared: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean error and RMSE skill at each pixel over the scored steps.

    Args:
        scored: (y, x) scored steps.
        error, squared, reference_squared: (y, x) sums over them, band units (squared).
    Returns:
        bias (y, x), band units, and skill (y, x); NaN where nothing was scored, skill
        also where the reference has no error.
    """
    bias = np.full(error.shape, np.nan)
    np.divide(error, scored, out=bias, where=scored > 0)
    ratio = np.full(error.shape, np.nan)
    np.divide(squared, reference_squared, out=ratio, where=reference_squared > 0)
    return bias, 1 - np.sqrt(ratio)


@dataclass(frozen=True)
class Shown:
    """Small copies of the maps, to draw.

    Attributes:
        maps: by band, lead and quantity.
        pairs: (observed, forecast) of each band at lead 1.
        steps: cube step of each (band, lead) difference.
    """

    maps: dict[MapKey, NDArray[np.float32]]
    pairs: dict[int, tuple[NDArray[np.float32], NDArray[np.float32]]]
    steps: dict[tuple[int, int], int]


class DifferenceWriter:
    """Writes forecast minus observed of one test step for every band and lead.

    Args:
        folder: where the GeoTIFFs go.
        engine: for grid, bands and units.
        steps: cube step of each (band, lead) that is shown.
    """

    def __init__(self, folder: Path, engine: Source, steps: Steps) -> None:
        grid, times = engine.cube.grid, engine.cube.times
        tags = {pair: {"VALID_TIME": f"{times[step]}Z"} for pair, step in steps.items()}
        self.steps = steps
        self._writer = MapWriter(folder, engine, [DIFFERENCE], tags=tags)
        bands = range(len(engine.band_names))
        self._pairs = {band: (Preview(grid.shape), Preview(grid.shape)) for band in bands}

    def __enter__(self) -> DifferenceWriter:
        self._writer.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._writer.__exit__(*error)

    def put(self, at: tuple[int, int], shown: Moment, tile: Tile) -> None:
        """Write one tile of a (band, lead)."""
        band, lead = at
        self._writer.put(MapKey(band, lead, DIFFERENCE), shown.difference, tile)
        if lead == 0:
            self._pairs[band][0].put(shown.observed, tile)
            self._pairs[band][1].put(shown.forecast, tile)

    @property
    def shown(self) -> Shown:
        """Small copies of what was written."""
        pairs = {band: (came.values, made.values) for band, (came, made) in self._pairs.items()}
        maps = {key: preview.values for key, preview in self._writer.previews.items()}
        return Shown(maps, pairs, self.steps)


def write_differences(
    folder: Path, engine: Source, methods: Sequence[str], steps: Steps, tile_px: int
) -> Shown:
    """Write difference maps of steps that the pass did not keep: they are hindcast once more.

    Args:
        folder: where the GeoTIFFs go.
        engine: makes the hindcasts.
        methods: that are scored.
        steps: cube step of each (band, lead) that is shown.
        tile_px: side of the tiles.
    """
    with DifferenceWriter(folder, engine, steps) as writer:
        for tile, hindcast, pairs in hindcast_again(engine, steps, tile_px):
            for at in pairs:
                writer.put(at, _moment(hindcast, methods, at[0]), tile)
    return writer.shown


def _moment(hindcast: Hindcast, methods: Sequence[str], band: int) -> Moment:
    observed = hindcast.observed[band]
    usable = hindcast.valid[band] & np.isfinite(observed)
    scored = scored_pixels(hindcast, methods, band)
    return moment(hindcast.forecasts[FORECAST][band], observed, usable, scored)


def write_hotspots(folder: Path, engine: Source) -> dict[MapKey, NDArray[np.float32]]:
    """Write where the mean error gathers, from the maps of it that lie in the folder.

    Args:
        folder: of the GeoTIFFs.
        engine: for grid, bands and units.
    Returns:
        Small copies of local Moran's I and of the hot and cold spots.
    """
    found: dict[MapKey, NDArray[np.float32]] = {}
    for band, lead in np.ndindex(len(engine.band_names), engine.horizon):
        path = map_path(folder, engine.band_names, MapKey(band, lead, BIAS))
        pairs = [(band, lead)]
        with MapWriter(folder, engine, [MORAN, HOTSPOTS], tags={}, pairs=pairs) as writer:
            for tile, local, codes in hotspot_strips(path):
                writer.put(MapKey(band, lead, MORAN), local, tile)
                writer.put(MapKey(band, lead, HOTSPOTS), codes, tile)
        found |= {key: preview.values for key, preview in writer.previews.items()}
    return found


def map_tags(engine: Source, methods: Sequence[str]) -> dict[tuple[int, int], dict[str, str]]:
    """Tags of maps over all test steps: what the skill is against, and the test period."""
    steps, times = engine.split.test_steps, engine.cube.times
    tags = {
        "REFERENCE": map_reference(engine, methods),
        "FIRST_VALID_TIME": f"{times[steps[0]]}Z",
        "LAST_VALID_TIME": f"{times[steps[-1]]}Z",
    }
    pairs = np.ndindex(len(engine.band_names), engine.horizon)
    return dict.fromkeys(pairs, tags)


def map_path(folder: Path, bands: Sequence[str], key: MapKey) -> Path:
    """Where a map lies."""
    return folder / f"{file_slugs(bands)[key.band]}_lead{key.lead + 1}_{key.quantity}.tif"


def file_slugs(bands: Sequence[str]) -> list[str]:
    """Band names as parts of file names, all different."""
    slugs: list[str] = []
    for number, band in enumerate(bands, 1):
        slug = re.sub(r"[^A-Za-z0-9.-]+", "-", band).strip(".-") or f"band{number}"
        taken = {other.lower() for other in slugs}
        slugs.append(f"{slug}-{number}" if slug.lower() in taken else slug)
    return slugs
