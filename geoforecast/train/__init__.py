"""Training: cube -> run.

The public functions are :func:`train_model`, :func:`train_folds` for all folds of a series, and
:func:`estimate_training`, which only tells what it would take.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from geoforecast.project import Project
from geoforecast.settings import TrainSettings

if TYPE_CHECKING:
    from geoforecast.train.estimate import Estimate
    from geoforecast.train.result import TrainResult


def train_model(
    project: Project,
    settings: TrainSettings | None = None,
    *,
    interrupted: Callable[[], bool] = lambda: False,
    **given: Any,
) -> TrainResult:
    """Train a run on the project's cube, or go on with one that was interrupted.

    Args:
        project: where the cube lies and the run goes.
        settings: all settings; None resolves them from ``given``, the environment and
            geoforecast.toml.
        interrupted: asked after every step; True saves and stops.
        given: single settings, such as ``epochs=5``.
    Returns:
        What was trained and how it scores on the validation block.
    Raises:
        CubeError: no usable cube.
        SeriesTooShortError: too few steps for lookback + horizon.
        InterruptedRunError: stopped early; the same call goes on.
    """
    from geoforecast.train.verb import run_training

    chosen = settings or project.settings("train", **given)
    return run_training(project, chosen, interrupted=interrupted)


def train_folds(
    project: Project,
    settings: TrainSettings | None = None,
    *,
    interrupted: Callable[[], bool] = lambda: False,
    **given: Any,
) -> list[TrainResult]:
    """Train all folds, one after the other; those that are trained already stay as they are.

    Args:
        project, interrupted, given: see train_model.
        settings: with ``folds``; a time limit is one for all of them.
    Returns:
        What was trained, of each fold.
    Raises:
        SettingsError: a single fold is named as well.
        SeriesTooShortError: the series cannot be cut into so many.
        CubeError, InterruptedRunError: see train_model.
    """
    from geoforecast.train.each import train_each

    return train_each(project, settings or project.settings("train", **given), interrupted)


def estimate_training(
    project: Project, settings: TrainSettings | None = None, **given: Any
) -> Estimate:
    """Measure a step on a part of the raster, and tell what all of it would take.

    Args:
        project, settings, given: see train_model.
    Returns:
        Parameters, epochs, time and memory; nothing is written.
    Raises:
        CubeError, SeriesTooShortError: see train_model.
        SettingsError: more memory is needed than there is, or several processes ask.
    """
    from geoforecast.train.estimate import measure_training

    return measure_training(project, settings or project.settings("train", **given))
