"""Prediction: run + cube -> forecast GeoTIFFs.

The public functions are :func:`predict_rasters`, :func:`predict_share` for one of several
processes, and :func:`estimate_forecast`, which only tells what it would take.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from geoforecast.project import Project
from geoforecast.settings import PredictSettings

if TYPE_CHECKING:
    from geoforecast.predict.estimate import Estimate
    from geoforecast.predict.result import PredictResult, ShareResult


def predict_rasters(
    project: Project,
    settings: PredictSettings | None = None,
    *,
    interrupted: Callable[[], bool] = lambda: False,
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    finalise: bool = False,
    scheduler: str = "",
    **given: Any,
) -> PredictResult:
    """Write one COG for each step after the cube's end, or after a date in it.

    Args:
        project: where cube and run lie and the forecasts go.
        settings: all settings; None resolves them from ``given``, the environment and
            geoforecast.toml.
        interrupted: asked all the while; True stops and leaves earlier forecasts alone.
        jobs: threads; None takes the CPUs that this process may use.
        progress: called with units of work done and in all.
        finalise: put in place what shards have forecast; all of it must be there.
        scheduler: address of a Dask scheduler, whose workers do the units instead of ``jobs``
            threads here.
        given: single settings, such as ``steps=3``.
    Returns:
        What was written.
    Raises:
        CubeError, RunError: no usable cube or run, or a band is missing.
        DateError: ``--from`` is before the cube, or too early for the lookback.
        InputError: ``finalise``, and shards are missing; or no scheduler answers.
        InterruptedRunError: stopped early; the same call goes on with the units that are done.
    """
    from geoforecast.predict.verb import run_prediction

    return run_prediction(
        project,
        settings or project.settings("predict", **given),
        interrupted=interrupted,
        jobs=jobs,
        progress=progress,
        finalise=finalise,
        scheduler=scheduler,
    )


def predict_share(
    project: Project,
    shard: tuple[int, int],
    settings: PredictSettings | None = None,
    *,
    interrupted: Callable[[], bool] = lambda: False,
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    **given: Any,
) -> ShareResult:
    """Forecast one share of the raster, beside processes that do the others.

    Args:
        project, settings, interrupted, jobs, progress, given: see predict_rasters.
        shard: (index, count) of the share.
    Returns:
        How much of it is done; ``predict_rasters(finalise=True)`` writes the files.
    Raises:
        GeoforecastError: as predict_rasters.
    """
    from geoforecast.predict.verb import run_share

    return run_share(
        project,
        settings or project.settings("predict", **given),
        shard,
        interrupted=interrupted,
        jobs=jobs,
        progress=progress,
    )


def estimate_forecast(
    project: Project,
    settings: PredictSettings | None = None,
    *,
    jobs: int | None = None,
    **given: Any,
) -> Estimate:
    """What a forecast would take, from one unit that is forecast; nothing is written.

    Args:
        project, settings, jobs, given: see predict_rasters.
    Raises:
        GeoforecastError: as predict_rasters.
    """
    from geoforecast.predict.estimate import measure_forecast

    return measure_forecast(project, settings or project.settings("predict", **given), jobs=jobs)
