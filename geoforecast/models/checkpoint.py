"""A checkpoint: weights and sums of errors as safetensors, all else it takes in model.json."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file

from geoforecast import __version__
from geoforecast.errors import RunError
from geoforecast.models import Correction, ModelConfig, build_model
from geoforecast.project import replacing, write_json
from geoforecast.values import train_command

FORMAT = 4
WEIGHTS = "model.safetensors"
ERRORS = "errors.safetensors"
META = "model.json"
FINAL = "final"  # the folder of a run that holds its second checkpoint, trained on everything


@dataclass(frozen=True)
class Checkpoint:
    """A trained run.

    Attributes:
        config: the model's build plan.
        bands: names of the bands it reads and forecasts.
        lookback, horizon: input and predicted steps.
        step_days: the nominal step it was trained on.
        reference: name of the corrected forecast: a reference, or the mixture.
        members: names of the references that are mixed.
        watched: (row0, row1, col0, col1) of the tiles whose errors weigh the mixture.
        known_until: the last time whose errors ``errors`` hold, ISO.
        parameters: pooled numbers of the references, fitted on training steps.
        residual_scale: (lead, band) error of the reference on training steps, model units.
        blend: per lead, the weight of the correction fitted on the validation block.
        evidence: (4, lead) what that weight follows from, see forecast.trust; (), if it stays.
        narrowing: per lead, what the correction leaves of the mixture's intervals.
        normaliser: as stored in the cube when it was trained, with the statistics.
        context: what the correction sees besides the bands, and how it is normalised: a
            samples.context.Context.
        target: the kind of target and its classes: a forecast.kinds.Target.
        decision: per lead, how probabilities become a map; see forecast.kinds.decided.
        split: the boundaries it was trained with.
        cube: fingerprint of the cube.
        conditions: of the cube, without which the weights mean nothing; see
            forecast.series.conditions.
        seed: of every random draw.
        epoch: the epoch the weights are from; 0 is the untrained model.
        kept: that epoch of each member; () without a model.
        scores: validation scores, for people.
        errors: sums by name, see references.mixture.Tally.
        holdout: hash of the pixels that training did not see, see raster.holdout; "" for none.
    """

    config: ModelConfig
    bands: tuple[str, ...]
    lookback: int
    horizon: int
    step_days: float
    reference: str
    members: tuple[str, ...]
    watched: tuple[tuple[int, int, int, int], ...]
    known_until: str
    parameters: dict[str, dict[str, float]]
    residual_scale: tuple[tuple[float, ...], ...]
    blend: tuple[float, ...]
    evidence: tuple[tuple[float, ...], ...]
    narrowing: tuple[float, ...]
    normaliser: dict[str, Any]
    context: dict[str, Any]
    target: dict[str, Any]
    decision: tuple[tuple[float, ...], ...]
    split: dict[str, str]
    cube: str
    conditions: dict[str, str]
    seed: int
    epoch: int
    kept: tuple[int, ...]
    scores: dict[str, Any]
    errors: dict[str, NDArray[np.float64]] = dataclasses.field(repr=False)
    holdout: str = ""


def save_checkpoint(folder: Path, checkpoint: Checkpoint, weights: dict[str, torch.Tensor]) -> None:
    """Write all files, model.json last: it means a complete run."""
    with replacing(folder / WEIGHTS) as temporary:
        save_file({name: tensor.contiguous().cpu() for name, tensor in weights.items()}, temporary)
    with replacing(folder / ERRORS) as temporary:
        sums = {name: np.ascontiguousarray(array) for name, array in checkpoint.errors.items()}
        save_arrays(sums, temporary)
    content = {"format": FORMAT, "geoforecast": __version__, **dataclasses.asdict(checkpoint)}
    del content["errors"]
    write_json(folder / META, content)


def final_until(folder: Path) -> str:
    """The last time that a run's final checkpoint has seen, ISO; "" if it has none.

    Args:
        folder: the run's.
    Raises:
        RunError: it is damaged.
    """
    path = folder / FINAL / META
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["known_until"])
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, error) from error


def load_checkpoint(folder: Path, *, final: bool = False) -> tuple[Checkpoint, Correction]:
    """A run's checkpoint and its model, on the CPU, in evaluation mode.

    Args:
        folder: the run's.
        final: the one that was trained on every step, for forecasts of what comes after.
    Raises:
        RunError: missing, unfinished, damaged, or from a newer geoforecast.
    """
    place = folder / FINAL if final else folder
    path = place / META
    if not path.exists():
        state = "has not finished training" if folder.exists() else "does not exist"
        raise RunError(
            f"The run '{folder.name}' {state}.",
            where=str(folder),
            remedy=f"Train it: {train_command(folder.name)}.",
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        written = content.pop("format")
        if written != FORMAT:
            age = "newer" if written > FORMAT else "older"
            remedy = "Upgrade: pip install -U geoforecast."
            if age == "older":
                remedy = f"Train it again: {train_command(folder.name)} --overwrite."
            raise RunError(
                f"The run '{folder.name}' was written by geoforecast {content['geoforecast']}, "
                f"in a format {age} than this {__version__} reads.",
                remedy=remedy,
            )
        content.pop("geoforecast")
        content["config"] = ModelConfig(**content["config"])
        for key in ("bands", "blend", "narrowing", "members", "kept"):
            content[key] = tuple(content[key])
        content["evidence"] = tuple(tuple(row) for row in content["evidence"])
        content["residual_scale"] = tuple(tuple(row) for row in content["residual_scale"])
        content["decision"] = tuple(tuple(row) for row in content["decision"])
        content["watched"] = tuple(tuple(tile) for tile in content["watched"])
        checkpoint = Checkpoint(**content, errors=load_arrays(place / ERRORS))
        model = build_model(checkpoint.config)
        model.load_state_dict(load_file(place / WEIGHTS))
    except (ValueError, KeyError, TypeError, OSError, RuntimeError, SafetensorError) as error:
        raise _damaged(folder, error) from error
    model.eval()
    return checkpoint, model


def _damaged(folder: Path, error: Exception) -> RunError:
    return RunError(
        f"The run '{folder.name}' is damaged: {error}.",
        where=str(folder),
        remedy=f"Train it again: {train_command(folder.name)} --overwrite.",
    )
