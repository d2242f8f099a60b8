"""What a prediction will make: from which step, for which times, and which layers of files."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoforecast.errors import SettingsError
from geoforecast.forecast.engine import Engine, open_engine
from geoforecast.forecast.finish import Finishing
from geoforecast.forecast.series import to_days
from geoforecast.models.checkpoint import final_until
from geoforecast.predict.layers import layer_names
from geoforecast.predict.moments import find_init, time_name, valid_times
from geoforecast.project import Project
from geoforecast.settings import PredictSettings

log = logging.getLogger(__name__)

MOST_STEPS = 500


@dataclass(frozen=True)
class Plan:
    """A forecast to be made.

    Attributes:
        engine: the run on the cube.
        settings: section [predict].
        init_step: the last step that may be read.
        times: (lead,) the times that are forecast.
        layers: what is written for each of them; see predict.layers.
        folder: where the files go.
        run_dir: where the run lies.
    """

    engine: Engine
    settings: PredictSettings
    init_step: int
    times: NDArray[np.datetime64]
    layers: tuple[str, ...]
    folder: Path
    run_dir: Path

    @property
    def init_time(self) -> np.datetime64:
        time: np.datetime64 = self.engine.cube.times[self.init_step]
        return time

    @cached_property
    def days(self) -> list[float]:
        """The valid times in days since 1970."""
        return [float(day) for day in to_days(self.times)]

    @property
    def level(self) -> float:
        """Of the interval; 0 for none."""
        return self.settings.interval if "lower" in self.layers else 0.0

    def name(self, layer: str, lead: int) -> str:
        """The file of a layer and a lead, 1 or more."""
        among = [self.init_time, *self.times]
        return f"{layer}_{time_name(self.times[lead - 1], among)}.tif"

    def paths(self, folder: Path) -> dict[str, list[Path]]:
        """The files of each layer in a folder, lead by lead."""
        leads = range(1, len(self.times) + 1)
        return {layer: [folder / self.name(layer, lead) for lead in leads] for layer in self.layers}


def make_plan(project: Project, settings: PredictSettings) -> Plan:
    """Open the run and settle what it shall forecast.

    Raises:
        CubeError, RunError: no usable cube or run.
        DateError: no such date, or drivers that end before a valid time.
        SettingsError: too many steps, or samples that the run cannot draw.
    """
    engine, init_step = _choose_engine(project, settings)
    leads = settings.steps or engine.horizon
    if leads > MOST_STEPS:
        raise SettingsError(
            f"--steps is {leads}; the run's horizon is {engine.horizon}.",
            remedy=f"Give {MOST_STEPS} or less: nothing is known of steps that far away.",
        )
    if leads > engine.horizon:
        log.warning(
            "leads %d to %d lie beyond the run's horizon and are not validated",
            engine.horizon + 1,
            leads,
        )
    times = valid_times(engine.cube.times, init_step, leads)
    engine.context.check_drivers(init_step, times)
    init_time = engine.cube.times[init_step]
    folder = project.forecast_dir(settings.run, time_name(init_time, [init_time, *times]))
    layers = layer_names(engine, settings)
    run_dir = project.run_dir(settings.run)
    return Plan(engine, settings, init_step, times, layers, folder, run_dir)


def _choose_engine(project: Project, settings: PredictSettings) -> tuple[Engine, int]:
    """The engine and the step to forecast from.

    Weights that were fitted on every step forecast only what came later than all of them; from
    an earlier date the forecast is made by those that have not seen the test block.
    """
    finishing = Finishing(settings.clip, settings.bias_correct, settings.smooth)
    opened = partial(open_engine, project, settings.run, settings.device, finishing=finishing)
    engine = opened()
    init_step = find_init(engine, settings.from_)
    until = final_until(project.run_dir(settings.run))
    if not until:
        return engine, init_step
    if engine.cube.times[init_step] >= np.datetime64(until):
        log.info("using the weights that were fitted on everything up to %s", until)
        return opened(final=True), init_step
    log.info("using the weights that have not seen the test block: --refit went on to %s", until)
    return engine, init_step
