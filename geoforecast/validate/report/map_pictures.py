"""Every map of a validation as a picture and as a QGIS style, in the same colours and limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoforecast.figures.maps import north_up
from geoforecast.figures.words import shown_unit, time_label
from geoforecast.validate.maps import (
    ABS_ERROR,
    BIAS,
    DIFFERENCE,
    HOTSPOTS,
    LARGE,
    LOCAL_SSIM,
    MISSES,
    MORAN,
    SKILL,
    SMALL_PX,
    WIDTH,
    MapKey,
    Shown,
    file_slugs,
)
from geoforecast.validate.metrics.hotspots import SPOTS
from geoforecast.validate.report.paint import Shot, paint_file
from geoforecast.validate.report.palettes import (
    DIVERGING,
    ERROR_COLOURS,
    MORAN_COLOURS,
    SEQUENTIAL,
    SKILL_COLOURS,
    Scale,
)
from geoforecast.validate.report.pictures import (
    PERCENTILE,
    Panel,
    diverging_limit,
    draw,
    shape_ratio,
    shared_limits,
)
from geoforecast.validate.report.qgis import write_style
from geoforecast.validate.scoring.scores import map_reference
from geoforecast.validate.source import Source

TRIPTYCH = "triptych"
SMALLEST_SKILL_SCALE = 0.1  # so that skills near 0 look as pale as they are
# Grey where nothing is remarkable; red and blue as on the other maps, paler where a pixel differs
# from those around it.
SPOT_COLOURS = ("#eeeeee", "#b2182b", "#2166ac", "#f4a582", "#92c5de")
QUANTITIES = (SKILL, BIAS, ABS_ERROR, HOTSPOTS, MORAN, LOCAL_SSIM, WIDTH, MISSES, DIFFERENCE)
Scales = dict[tuple[int, str], Scale]


@dataclass(frozen=True)
class Picture:
    """A drawn map: the file, which band (index) and lead (from 1), and what it shows."""

    path: Path
    band: int
    lead: int
    quantity: str
    alt: str


def map_scales(engine: Source, shown: Shown) -> Scales:
    """The colours of each band's maps of one quantity, the same at all leads.

    Returns:
        By band (index) and quantity, of the quantities that there are.
    """
    scales: Scales = {}
    for band in range(len(engine.band_names)):
        for quantity in QUANTITIES:
            if MapKey(band, 0, quantity) in shown.maps:
                layers = [
                    shown.maps[MapKey(band, lead, quantity)] for lead in range(engine.horizon)
                ]
                scales[band, quantity] = _scale(quantity, layers, _unit(engine, band))
    return scales


def _scale(quantity: str, layers: Sequence[NDArray[np.float32]], unit: str) -> Scale:
    if quantity == HOTSPOTS:
        return Scale(SPOT_COLOURS, words=SPOTS)
    limit = diverging_limit(layers)
    around = (-limit, limit)
    if quantity == SKILL:
        limit = min(max(limit, SMALLEST_SKILL_SCALE), 1.0)
        return Scale(SKILL_COLOURS, (-limit, limit), "1 − RMSE / reference RMSE")
    if quantity == MORAN:
        return Scale(MORAN_COLOURS, around, "local Moran's I")
    if quantity == LOCAL_SSIM:
        return Scale(SEQUENTIAL, (lowest(layers), 1.0), "structural similarity")
    if quantity in (ABS_ERROR, WIDTH):
        return Scale(ERROR_COLOURS, (0.0, limit), unit)
    if quantity == MISSES:
        return Scale(ERROR_COLOURS, (0.0, min(limit, 1.0)), "share of test steps")
    return Scale(DIVERGING, around, unit)


def lowest(maps: Sequence[NDArray[np.floating]]) -> float:
    """The lower end of a scale that ends at 1: percentile 2, below 1."""
    pooled = np.concatenate([values[np.isfinite(values)].ravel() for values in maps])
    low = float(np.percentile(pooled, 100 - PERCENTILE)) if pooled.size else 0.0
    return low if low < 1 else 0.0


def write_styles(folder: Path, engine: Source, scales: Mapping[tuple[int, str], Scale]) -> None:
    """Write a QGIS style beside each GeoTIFF."""
    slugs = file_slugs(engine.band_names)
    for (band, quantity), scale in scales.items():
        for lead in range(engine.horizon):
            write_style(folder / f"{slugs[band]}_lead{lead + 1}_{quantity}.tif", scale)


def draw_pictures(
    folder: Path,
    engine: Source,
    methods: Sequence[str],
    shown: Shown,
    scales: Mapping[tuple[int, str], Scale],
) -> tuple[Picture, ...]:
    """Draw every band's maps; those of one band and kind share their colours."""
    pictures: list[Picture] = []
    ratio = shape_ratio(engine.cube.grid)
    for band, slug in enumerate(file_slugs(engine.band_names)):
        if (band, 0) in shown.steps:
            pictures.append(
                _draw_triptych(folder / f"{slug}_lead1_{TRIPTYCH}.png", engine, band, shown)
            )
        for quantity in (name for name in QUANTITIES if (band, name) in scales):
            for lead in (lead for lead in range(engine.horizon) if (band, lead) in shown.steps):
                values, scale = shown.maps[MapKey(band, lead, quantity)], scales[band, quantity]
                title = _title(engine, methods, shown, MapKey(band, lead, quantity))
                path = folder / f"{slug}_lead{lead + 1}_{quantity}.png"
                name = f"{engine.band_names[band]}, lead {lead + 1}"
                if quantity in LARGE:
                    assert isinstance(scale.colours, str)
                    panel = Panel(values, title, scale.colours, scale.limits, scale.label)
                    draw(path, [panel], engine.cube.grid, name)
                else:
                    shot = Shot(north_up(values, engine.cube.grid), scale, title)
                    paint_file(path, [shot], name, ratio, SMALL_PX)
                pictures.append(Picture(path, band, lead + 1, quantity, f"{name}: {title}"))
    return tuple(pictures)


def _draw_triptych(path: Path, engine: Source, band: int, shown: Shown) -> Picture:
    observed, forecast = shown.pairs[band]
    difference = shown.maps[MapKey(band, 0, DIFFERENCE)]
    limits, unit = shared_limits((observed, forecast)), _unit(engine, band)
    limit = diverging_limit([difference])
    time = time_label(engine.cube.times[shown.steps[band, 0]])
    title = f"{engine.band_names[band]}, {time}, one step ahead"
    plain = Panel(observed, "observed", SEQUENTIAL, limits, unit)
    panels = [
        plain,
        replace(plain, values=forecast, title="forecast"),
        Panel(difference, "forecast − observed", DIVERGING, (-limit, limit), unit),
    ]
    draw(path, panels, engine.cube.grid, title)
    alt = f"{title}: observed, forecast and difference"
    return Picture(path, band, 1, TRIPTYCH, alt)


def _title(engine: Source, methods: Sequence[str], shown: Shown, key: MapKey) -> str:
    """What a map shows, in a few words."""
    if key.quantity == DIFFERENCE:
        time = time_label(engine.cube.times[shown.steps[key.band, key.lead]])
        return f"forecast − observed, {time}"
    if key.quantity == SKILL:
        return f"RMSE skill against {map_reference(engine, methods) or 'no reference'}"
    return {
        BIAS: "mean error over the test steps",
        ABS_ERROR: "mean size of the error",
        LOCAL_SSIM: "mean structural similarity",
        MORAN: "how alike neighbouring mean errors are",
        HOTSPOTS: "where the mean error gathers",
        WIDTH: "mean width of the interval",
        MISSES: "how often the interval missed",
    }[key.quantity]


def _unit(engine: Source, band: int) -> str:
    name, unit = engine.band_names[band], shown_unit(engine.units[band])
    return f"{name} ({unit})" if unit else name
