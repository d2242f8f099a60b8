"""A checkpoint: weights in model.safetensors, and in model.json all it takes to use them."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from geoforecast import __version__
from geoforecast.errors import RunError
from geoforecast.models import Correction, ModelConfig, build_model
from geoforecast.project import replacing, write_json

FORMAT = 1
WEIGHTS = "model.safetensors"
META = "model.json"


@dataclass(frozen=True)
class Checkpoint:
    """A trained run.

    Attributes:
        config: the model's build plan.
        bands: names of the bands it reads and forecasts.
        lookback, horizon: input and predicted steps.
        step_days: the nominal step it was trained on.
        reference: name of the corrected reference forecast.
        parameters: pooled numbers of the references, fitted on training steps.
        residual_scale: (lead, band) error of the reference on training steps, model units.
        blend: per lead, the weight of the correction fitted on the validation block.
        normaliser: as stored in the cube when it was trained, with the statistics.
        split: the boundaries it was trained with.
        cube: fingerprint of the cube.
        conditions: of the cube, without which the weights mean nothing; see
            forecast.series.conditions.
        seed: of every random draw.
        epoch: the epoch the weights are from; 0 is the untrained model.
        scores: validation scores, for people.
    """

    config: ModelConfig
    bands: tuple[str, ...]
    lookback: int
    horizon: int
    step_days: float
    reference: str
    parameters: dict[str, dict[str, float]]
    residual_scale: tuple[tuple[float, ...], ...]
    blend: tuple[float, ...]
    normaliser: dict[str, Any]
    split: dict[str, str]
    cube: str
    conditions: dict[str, str]
    seed: int
    epoch: int
    scores: dict[str, Any]


def save_checkpoint(folder: Path, checkpoint: Checkpoint, weights: dict[str, torch.Tensor]) -> None:
    """Write both files, weights first: a model.json means a complete run."""
    with replacing(folder / WEIGHTS) as temporary:
        save_file({name: tensor.contiguous().cpu() for name, tensor in weights.items()}, temporary)
    content = {"format": FORMAT, "geoforecast": __version__, **dataclasses.asdict(checkpoint)}
    write_json(folder / META, content)


def load_checkpoint(folder: Path) -> tuple[Checkpoint, Correction]:
    """A run's checkpoint and its model, on the CPU, in evaluation mode.

    Raises:
        RunError: missing, unfinished, damaged, or from a newer geoforecast.
    """
    path = folder / META
    if not path.exists():
        state = "has not finished training" if folder.exists() else "does not exist"
        raise RunError(
            f"The run '{folder.name}' {state}.",
            where=str(folder),
            remedy=f"Train it: geoforecast train --run {folder.name}.",
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("format") > FORMAT:
            raise RunError(
                f"The run '{folder.name}' was written by geoforecast {content['geoforecast']}, "
                f"newer than this {__version__}.",
                remedy="Upgrade: pip install -U geoforecast.",
            )
        content.pop("geoforecast")
        content["config"] = ModelConfig(**content["config"])
        for key in ("bands", "blend"):
            content[key] = tuple(content[key])
        content["residual_scale"] = tuple(tuple(row) for row in content["residual_scale"])
        checkpoint = Checkpoint(**content)
        model = build_model(checkpoint.config)
        model.load_state_dict(load_file(folder / WEIGHTS))
    except (ValueError, KeyError, TypeError, OSError, RuntimeError, SafetensorError) as error:
        raise RunError(
            f"The run '{folder.name}' is damaged: {error}.",
            where=str(folder),
            remedy=f"Train it again: geoforecast train --run {folder.name} --overwrite.",
        ) from error
    model.eval()
    return checkpoint, model
