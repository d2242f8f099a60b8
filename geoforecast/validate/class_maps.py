"""Maps of what became of each pixel, written while the scores are made: see OUTCOMES."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoforecast.forecast.outcome import FORECAST
from geoforecast.raster.cog import CogWriter
from geoforecast.raster.grid import Tile
from geoforecast.validate.maps import Preview, file_slugs
from geoforecast.validate.scoring.class_parts import NOT_SCORED, OUTCOMES, Outcome
from geoforecast.validate.scoring.class_scores import judge
from geoforecast.validate.scoring.shown import Steps, hindcast_again
from geoforecast.validate.source import Source

OUTCOME = "outcome"
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
        self.folder, self.engine, self.steps = folder, engine, steps
        shape = engine.cube.grid.shape
        self._previews = {(at, name): Preview(shape) for at in steps for name in PANELS}
        self._stack = contextlib.ExitStack()
        self._writers: dict[tuple[int, int], CogWriter] = {}

    def __enter__(self) -> OutcomeWriter:
        with contextlib.ExitStack() as stack:
            for at in self.steps:
                self._writers[at] = stack.enter_context(self._open(at))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.__exit__(*error)  # type: ignore[arg-type]

    def put(self, at: tuple[int, int], shown: Outcome, tile: Tile) -> None:
        """Write one tile of a (band, lead)."""
        self._writers[at].write(shown.outcome[None], tile)
        nothing = np.float32(np.nan)
        outcome = np.where(shown.outcome == NOT_SCORED, nothing, shown.outcome.astype(np.float32))
        for name, values in zip(PANELS, (shown.observed, shown.forecast, outcome), strict=True):
            self._previews[at, name].put(values, tile)

    @property
    def panels(self) -> Panels:
        """Small copies of what was written, and of both maps of classes."""
        return {at: {name: self._previews[at, name].values for name in PANELS} for at in self.steps}

    def _open(self, at: tuple[int, int]) -> CogWriter:
        (band, lead), name = at, self.engine.series.cube_bands[at[0]]
        return CogWriter(
            outcome_path(self.folder, self.engine.series.cube_bands, band, lead),
            self.engine.cube.grid,
            [f"{name} {OUTCOME}"],
            nodata=NOT_SCORED,
            dtype="uint8",
            tags={"LEAD": str(lead + 1), "VALID_TIME": f"{self.engine.cube.times[self.steps[at]]}Z"}
            | {f"CODE_{code}": words for code, words in enumerate(OUTCOMES)},
        )


def outcome_path(folder: Path, bands: Sequence[str], band: int, lead: int) -> Path:
    """Where the map of a band and lead (from 0) lies."""
    return folder / f"{file_slugs(bands)[band]}_lead{lead + 1}_{OUTCOME}.tif"


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
