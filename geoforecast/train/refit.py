"""The final weights: once all is chosen and scored, everything is fitted again on every step.

A run then holds two checkpoints. The first has seen nothing of the test block, and all scores
and hindcasts are made with it. The second, in the run's folder `final`, has seen every step and
serves forecasts of what comes after them. It takes over what was chosen on the validation
block, the epochs and the weights of the correction, and fits what can be fitted in one go.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import torch

from geoforecast.forecast.device import without_denormals
from geoforecast.forecast.engine import make_engine
from geoforecast.forecast.opening import series_of
from geoforecast.forecast.trust import as_rows
from geoforecast.models import Correction, build_model
from geoforecast.models.checkpoint import (
    FINAL,
    Checkpoint,
    final_until,
    load_checkpoint,
)
from geoforecast.raster.cube import Cube
from geoforecast.samples.split import Split
from geoforecast.settings import TrainSettings
from geoforecast.train.last import write_checkpoint
from geoforecast.train.material import Material, gather
from geoforecast.train.members import Trainer
from geoforecast.train.ranks import ALONE, Ranks
from geoforecast.train.space import MEMORY, Space
from geoforecast.train.stop import Stop

log = logging.getLogger(__name__)

SAVED = "the run is complete without --refit"


def refit(
    folder: Path,
    cube: Cube,
    settings: TrainSettings,
    identity: str,
    device: torch.device,
    stop: Stop,
    ranks: Ranks = ALONE,
    space: Space = MEMORY,
) -> None:
    """Write the final checkpoint of a run that is complete; one that is there stays.

    Args:
        folder: the run's; its first checkpoint is read, never changed.
        cube: the one it was trained on.
        settings: resolved settings of the run.
        identity: see Loop.
        device: where tensors live.
        stop: asked at every step.
        ranks: the processes that train together.
        space: where decoded samples are kept.
    Raises:
        InterruptedRunError: stopped early; what was done is saved.
    """
    if ranks.from_first(lambda: final_until(folder)):
        return
    honest, model = load_checkpoint(folder)
    steps = len(cube.times)
    log.info("fitting again on all %d steps, those of the test block as well", steps)
    stop = replace(stop, saved=SAVED)
    # Pooled numbers of an earlier fit must not take part in the new one.
    series = series_of(cube, replace(honest, parameters={}))
    reach = honest.lookback, honest.horizon
    everything = Split(steps, steps, steps)
    material = gather(series, everything, honest.reference, reach, honest.seed, stop, space)
    weights, evidence = model.state_dict(), honest.evidence
    if any(honest.blend):
        if evidence:
            evidence = ranks.from_first(lambda: _learned(cube, honest, model, device))
        place = folder / FINAL, identity, device
        weights = _trained(honest, material, settings, place, stop, ranks)
    else:
        log.info("no correction helped, so none is trained again")
    final = replace(
        honest,
        watched=material.watched,
        known_until=str(cube.times[-1]),
        evidence=evidence,
        parameters=material.parameters,
        residual_scale=material.residual_scale,
        errors=material.tally.arrays(),
    )
    if ranks.first:
        write_checkpoint(folder / FINAL, final, weights)


def _learned(
    cube: Cube, honest: Checkpoint, model: Correction, device: torch.device
) -> tuple[tuple[float, ...], ...]:
    """What the errors of the honest weights say by now of how far to trust a correction."""
    engine = make_engine(cube, honest, model, device, final=False)
    with without_denormals():
        return as_rows(engine.trust.evidence(len(cube.times) - 1))


def _trained(
    honest: Checkpoint,
    material: Material,
    settings: TrainSettings,
    place: tuple[Path, str, torch.device],
    stop: Stop,
    ranks: Ranks,
) -> dict[str, torch.Tensor]:
    """Weights of all members, each trained for as many epochs as were kept of it."""
    config = replace(honest.config, members=1)
    folder, identity, device = place
    trainer = Trainer(
        build=lambda: build_model(config),
        windows=material.windows,
        settings=settings,
        folder=folder,
        identity=identity,
        device=device,
        ranks=ranks,
    )
    with without_denormals():
        return trainer.run_for(honest.kept, stop)
