"""Maps of one band through the test steps, as the viewer and the animation show them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoforecast.figures.maps import north_up
from geoforecast.figures.words import shown_unit, time_label
from geoforecast.validate.report.class_pictures import OUTCOME_COLOURS, class_panels
from geoforecast.validate.report.palettes import DIVERGING, SEQUENTIAL, Scale
from geoforecast.validate.report.pictures import diverging_limit, shape_ratio, shared_limits
from geoforecast.validate.scoring.class_parts import OUTCOMES
from geoforecast.validate.scoring.class_scores import ClassScores
from geoforecast.validate.scoring.frames import Frames, evenly
from geoforecast.validate.source import Source

LOOKED_AT = 24  # dates that decide on colours
Look = Callable[[int, int, int], NDArray[np.float32]]


@dataclass(frozen=True)
class Film:
    """One band's maps through the test steps.

    Attributes:
        name: of the band.
        layers: titles of the maps of a date and lead.
        scales: the colours of each.
        times: of each date, as text.
        leads: how many there are, from the first on.
        ratio: height over width of a map as drawn.
        look: (date, lead, layer), from 0 -> (y, x), north up, NaN where there is nothing.
    """

    name: str
    layers: tuple[str, ...]
    scales: tuple[Scale, ...]
    times: tuple[str, ...]
    leads: int
    ratio: float
    look: Look


def value_films(engine: Source, frames: Frames) -> tuple[Film, ...]:
    """Observed, forecast and their difference, of each band; all its dates share their colours."""
    times = _times(engine, frames)
    films = []
    for band, name in enumerate(engine.band_names):
        chosen = list(evenly(len(times), LOOKED_AT))
        values = frames.values[chosen, :, band]
        difference = values[:, :, 1] - values[:, :1, 0]
        limit = diverging_limit([difference])
        unit = shown_unit(engine.units[band])
        label = f"{name} ({unit})" if unit else name
        plain = Scale(SEQUENTIAL, shared_limits([values]), label)
        films.append(
            Film(
                name=name,
                layers=("observed", "forecast", "difference"),
                scales=(plain, plain, Scale(DIVERGING, (-limit, limit), label)),
                times=times,
                leads=frames.plan.kept_leads,
                ratio=shape_ratio(engine.cube.grid),
                look=_value_look(engine, frames, band),
            )
        )
    return tuple(films)


def class_films(engine: Source, frames: Frames, scores: ClassScores) -> tuple[Film, ...]:
    """Observed and forecast classes, and what became of each pixel, of each band."""
    grid, times = engine.cube.grid, _times(engine, frames)
    films = []
    for band, name in enumerate(scores.bands):
        # Colours go to the classes that are frequent over all dates together.
        observed, forecast = (frames.values[:, :, band, layer] for layer in (0, 1))
        came, said = (values.reshape(-1, values.shape[-1]) for values in (observed, forecast))
        panels = class_panels(came, said, came, scores.classes)
        shown = [panel.values.reshape(observed.shape) for panel in panels[:2]]
        shown.append(frames.values[:, :, band, 2])
        assert isinstance(panels[0].colours, tuple)
        classes = Scale(panels[0].colours, words=panels[0].words)

        def look(
            date: int,
            lead: int,
            layer: int,
            shown: Sequence[NDArray[np.float32]] = shown,
        ) -> NDArray[np.float32]:
            values: NDArray[np.float32] = north_up(shown[layer][date, lead], grid)
            return values

        films.append(
            Film(
                name=name,
                layers=("observed", "forecast", "outcome"),
                scales=(classes, classes, Scale(OUTCOME_COLOURS, words=OUTCOMES)),
                times=times,
                leads=frames.plan.kept_leads,
                ratio=shape_ratio(grid),
                look=look,
            )
        )
    return tuple(films)


def _value_look(engine: Source, frames: Frames, band: int) -> Look:
    grid = engine.cube.grid

    def look(date: int, lead: int, layer: int) -> NDArray[np.float32]:
        # What came is the same at every lead; the first is there at every date but the cube's own.
        observed, forecast = frames.values[date, 0, band, 0], frames.values[date, lead, band, 1]
        values = (observed, forecast, forecast - observed)[layer]
        found: NDArray[np.float32] = north_up(values, grid)
        return found

    return look


def _times(engine: Source, frames: Frames) -> tuple[str, ...]:
    steps = engine.split.test_steps
    return tuple(time_label(engine.cube.times[steps[date]]) for date in frames.plan.dates)
