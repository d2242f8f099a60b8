"""All folds of a series, trained one after the other in one process."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from geoforecast.errors import SettingsError
from geoforecast.project import Project
from geoforecast.settings import TrainSettings
from geoforecast.system import launched
from geoforecast.train.result import TrainResult
from geoforecast.train.stop import Stop
from geoforecast.train.verb import run_training
from geoforecast.values import duration_seconds


def train_each(
    project: Project, settings: TrainSettings, interrupted: Callable[[], bool]
) -> list[TrainResult]:
    """Train every fold that is not trained yet; see geoforecast.train.train_folds."""
    count = settings.folds
    if settings.fold or not count:
        raise SettingsError(
            f"--folds {count} trains every fold, --fold {settings.fold or 'I/K'} one.",
            remedy="Give one of them.",
        )
    if launched().size > 1:
        raise SettingsError(
            f"{launched().size} processes started together train one run, not --folds {count}.",
            remedy=f"Train the folds one by one: --fold 1/{count}, and so on.",
        )
    limit_s = duration_seconds(settings.time_limit)
    stop = Stop(interrupted, time.monotonic() + limit_s if limit_s else None)
    results = []
    for number in range(1, count + 1):
        one = replace(settings, folds=0, fold=f"{number}/{count}", time_limit="")
        results.append(run_training(project, one, interrupted=stop.due))
    return results
