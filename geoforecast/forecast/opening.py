"""A run and a cube brought together: whether they fit, and what the run knows of the cube."""

from __future__ import annotations

import numpy as np

from geoforecast.errors import RunError
from geoforecast.forecast.evidence import Watch
from geoforecast.forecast.kinds import Target
from geoforecast.forecast.mixing import empty_tally, member_references
from geoforecast.forecast.series import Series, conditions, make_series
from geoforecast.models.checkpoint import Checkpoint
from geoforecast.raster.cube import Cube
from geoforecast.raster.grid import Tile
from geoforecast.samples.context import Context


def check_fit(run: str, cube: Cube, checkpoint: Checkpoint) -> None:
    """Refuse a cube that the run cannot forecast.

    Raises:
        RunError: a band is missing, or the conditions are others.
    """
    missing = [band for band in checkpoint.bands if band not in cube.bands]
    if missing:
        raise RunError(
            f"The run '{run}' forecasts {', '.join(checkpoint.bands)}, but the cube has no "
            f"{', '.join(missing)}.",
            where=f"the cube's bands: {', '.join(cube.bands)}",
            remedy="Stack that band again, or train a new run.",
        )
    now = conditions(cube, checkpoint.bands)
    changed = [key for key, value in checkpoint.conditions.items() if now.get(key) != value]
    if changed:
        raise RunError(
            f"The run '{run}' was trained on a cube of other {', '.join(changed)}.",
            where=[f"{k}: was {checkpoint.conditions[k]}, is now {now.get(k)}" for k in changed],
            remedy="Stack as before, or train a new run with --run NAME.",
        )


def series_of(cube: Cube, checkpoint: Checkpoint) -> Series:
    """A cube as a run sees it."""
    return make_series(
        cube,
        checkpoint.bands,
        normaliser=checkpoint.normaliser,
        step_days=checkpoint.step_days,
        parameters=checkpoint.parameters,
        context=Context.from_meta(checkpoint.context),
        target=Target.from_meta(checkpoint.target),
    )


def steps_until(cube: Cube, checkpoint: Checkpoint) -> int:
    """How many of the cube's steps the run's errors cover."""
    return int(np.searchsorted(cube.times, np.datetime64(checkpoint.known_until), side="right"))


def watch_of(series: Series, checkpoint: Checkpoint) -> Watch:
    """What the run knows of errors, ready to learn on."""
    if checkpoint.members != member_references(series):
        raise RunError(
            "The run was trained with other references than this geoforecast has.",
            where=f"{', '.join(checkpoint.members)}",
            remedy="Train it again with --overwrite.",
        )
    end = steps_until(series.cube, checkpoint)
    tally = empty_tally(series, checkpoint.horizon).holding(checkpoint.errors)
    tiles = [Tile(*sides) for sides in checkpoint.watched]
    return Watch(series, tally, end, tiles, checkpoint.horizon)
