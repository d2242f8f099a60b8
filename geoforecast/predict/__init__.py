"""Prediction: run + cube -> forecast GeoTIFFs. The public function is :func:`predict_rasters`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from geoforecast.project import Project
from geoforecast.settings import PredictSettings

if TYPE_CHECKING:
    from geoforecast.predict.verb import PredictResult


def predict_rasters(
    project: Project,
    settings: PredictSettings | None = None,
    *,
    interrupted: Callable[[], bool] = lambda: False,
    **given: Any,
) -> PredictResult:
    """Write one COG for each step after the cube's end, or after a date in it.

    Args:
        project: where cube and run lie and the forecasts go.
        settings: all settings; None resolves them from ``given``, the environment and
            geoforecast.toml.
        interrupted: asked after every tile; True stops and leaves earlier forecasts alone.
        given: single settings, such as ``steps=3``.
    Returns:
        What was written.
    Raises:
        CubeError, RunError: no usable cube or run, or a band is missing.
        DateError: ``--from`` is before the cube, or too early for the lookback.
        InterruptedRunError: stopped early; the same call begins again.
    """
    from geoforecast.predict.verb import run_prediction

    chosen = settings or project.settings("predict", **given)
    return run_prediction(project, chosen, interrupted=interrupted)
