"""Which step a difference map shows, known before a pass where it can be, and its pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoforecast.forecast.outcome import Hindcast
from geoforecast.raster.grid import Tile
from geoforecast.validate.metrics.ssim import MIN_SHARE
from geoforecast.validate.scoring.class_scores import ClassScores
from geoforecast.validate.scoring.scores import Scores
from geoforecast.validate.source import Source

Steps = dict[tuple[int, int], int]  # cube step by (band, lead), from 0


@dataclass(frozen=True)
class Moment:
    """One band of one hindcast of a tile, (y, x) each, band units.

    Attributes:
        difference: forecast minus observed, NaN where it is not scored.
        observed: NaN where there is none.
        forecast: NaN where there is none.
    """

    difference: NDArray[np.float32]
    observed: NDArray[np.float32]
    forecast: NDArray[Any]


def moment(
    forecast: NDArray[Any],
    observed: NDArray[Any],
    usable: NDArray[np.bool_],
    scored: NDArray[np.bool_],
) -> Moment:
    """What is kept to draw.

    Args:
        forecast, observed: (y, x) band units; where they are not usable they may be any number.
        usable: (y, x) bool, True = observed.
        scored: (y, x) bool, True = observed, and forecast by every method.
    """
    # The subtraction only where scored: what lies elsewhere may be any number.
    difference = np.full(scored.shape, np.nan, dtype=np.float32)
    difference[scored] = forecast[scored] - observed[scored]
    came = np.where(usable, observed, np.float32(np.nan)).astype(np.float32)
    return Moment(difference, came, forecast.copy())  # no view: what it is of is large


def shown_steps(scores: Scores | ClassScores) -> Steps:
    """Which cube step the difference map of each (band, lead) index pair shows.

    The last test step of which at least a quarter is scored, else the best covered one; a
    pair of which nothing is scored is left out.
    """
    chosen: Steps = {}
    counts = scores.counts
    for lead, band in np.ndindex(*counts.shape[1:]):
        index = _last_covered(counts[:, lead, band], scores.pixels)
        if index is not None:
            chosen[band, lead] = scores.steps[index]
    return chosen


def expected_steps(engine: Source) -> Steps:
    """What ``shown_steps`` will say if every method has a value wherever something was observed.

    Args:
        engine: whose cube knows how many pixels of each step are valid.
    """
    cube, steps = engine.cube, engine.split.test_steps
    counts = cube.step_statistics()[steps.start : steps.stop, :, 0]
    pixels = cube.grid.shape[0] * cube.grid.shape[1]
    chosen: Steps = {}
    for band, name in enumerate(mapped_bands(engine)):
        index = _last_covered(counts[:, cube.bands.index(name)], pixels)
        if index is not None:
            chosen |= {(band, lead): steps[index] for lead in range(engine.horizon)}
    return chosen


def mapped_bands(engine: Source) -> tuple[str, ...]:
    """Names of the bands that maps are of: of classes, the one that they are of."""
    return engine.series.cube_bands if engine.has_probabilities else engine.band_names


def hindcast_again(
    engine: Source, steps: Steps, tile_px: int
) -> Iterator[tuple[Tile, Hindcast, list[tuple[int, int]]]]:
    """Each hindcast of the steps that are shown, its tile, and which (band, lead) it is shown for.

    Args:
        engine: makes the hindcasts.
        steps: cube step of each (band, lead).
        tile_px: side of the tiles.
    """
    for tile in engine.cube.grid.tiles(tile_px):
        for step in sorted(set(steps.values())):
            for made in engine.hindcasts(tile, range(step, step + 1)):
                leads = [at for at, shown in steps.items() if shown == step]
                yield tile, made, [at for at in leads if at[1] == made.lead - 1]


def _last_covered(counts: NDArray[Any], pixels: int) -> int | None:
    """Number of the step, of those with such counts of pixels; None if none has any."""
    if not counts.any():
        return None
    full = np.flatnonzero(counts >= MIN_SHARE * pixels)
    return int(full[-1]) if full.size else int(counts.argmax())
