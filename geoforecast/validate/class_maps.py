"""Maps of what became of each pixel, written while the scores are made: see OUTCOMES."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoforecast.forecast.outcome import FORECAST
from geoforecast.raster.grid import Tile
from geoforecast.validate.maps import OUTCOME, MapKey, MapWriter, Preview
from geoforecast.validate.scoring.class_parts import Outcome
from geoforecast.validate.scoring.class_scores import judge
from geoforecast.validate.scoring.shown import Steps, hindcast_again
from geoforecast.validate.source import Source

PANELS = ("observed", FORECAST, OUTCOME)

Panels = dict[tuple[int, int], dict[str, NDArray[np.float32]]]  # by (band, lead) and name


class OutcomeWriter:
    """Writes what became of each pixel at one test step, for every band and lead.

    Args:
        folder: where the GeoTIFFs go.
        engine: for grid, bands and times.
        steps: cube step of each (band, lead) that is shown.
    """

    def __init__(self, folder: Path, engine: Source, steps: Steps) -> None:
        times, shape = engine.cube.times, engine.cube.grid.shape
        tags = {at: {"VALID_TIME": f"{times[step]}Z"} for at, step in steps.items()}
        self.steps = steps
        self._writer = MapWriter(folder, engine, [OUTCOME], tags=tags, pairs=list(steps))
        self._classes = {(at, name): Preview(shape) for at in steps for name in PANELS[:2]}

    def __enter__(self) -> OutcomeWriter:
        self._writer.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._writer.__exit__(*error)

    def put(self, at: tuple[int, int], shown: Outcome, tile: Tile) -> None:
        """Write one tile of a (band, lead)."""
        self._writer.put(MapKey(*at, OUTCOME), shown.outcome, tile)
        for name, values in zip(PANELS[:2], (shown.observed, shown.forecast), strict=True):
            self._classes[at, name].put(values, tile)

    @property
    def panels(self) -> Panels:
        """Small copies of what was written, and of both maps of classes."""
        found: Panels = {at: {} for at in self.steps}
        for (at, name), preview in self._classes.items():
            found[at][name] = preview.values
        for key, preview in self._writer.previews.items():
            found[key.band, key.lead][OUTCOME] = preview.values
        return found


def write_outcomes(
    folder: Path, engine: Source, methods: Sequence[str], steps: Steps, tile_px: int
) -> Panels:
    """Write maps of steps that the pass did not keep: they are hindcast once more.

    Args:
        folder: where the GeoTIFFs go.
        engine: makes the hindcasts.
        methods: that are scored.
        steps: cube step of each (band, lead) that is shown.
        tile_px: side of the tiles.
    """
    with OutcomeWriter(folder, engine, steps) as writer:
        for tile, hindcast, pairs in hindcast_again(engine, steps, tile_px):
            judged = judge(engine, hindcast, methods)
            for at in pairs:
                writer.put(at, judged.shown(at[0]), tile)
    return writer.panels
