"""The preset from end to end on made-up counts; batch normalisation in training."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from geoforecast.errors import InterruptedRunError
from geoforecast.models import ModelConfig, build_model
from geoforecast.predict import predict_rasters
from geoforecast.train import train_model
from geoforecast.validate import validate_run

SMALL = {"preset": "crime-grid", "hidden": 6, "epochs": 4, "lr": 0.01, "lookback": 3}


@pytest.fixture
def counts():
    """Poisson counts of two types that flare up and die away, on 14 x 11 cells."""
    rng = np.random.default_rng(3)
    values = np.empty((30, 2, 14, 11), np.float32)
    unrest = np.zeros((2, 14, 11))
    for day in range(len(values)):
        unrest = 0.85 * unrest + 20 * (rng.random(unrest.shape) < 0.05)
        values[day] = rng.poisson(0.5 + unrest)
    return values


def times(counts):
    return np.datetime64("2023-01-01") + np.arange(len(counts))


def weights(project, place="."):
    return load_file(project.run_dir("default") / place / "model.safetensors")


@pytest.mark.slow
def test_the_preset_runs_from_end_to_end(make_project, counts):
    project = make_project(counts, times=times(counts), normalise="log1p")
    result = train_model(project, **{**SMALL, "epochs": 8, "lr": 0.02})
    meta = json.loads((project.run_dir("default") / "model.json").read_text())
    assert meta["config"]["architecture"] == "crime_grid"
    assert meta["reference"] == "mean"
    assert meta["normaliser"]["method"] == "log1p"
    assert (meta["lookback"], meta["horizon"]) == (3, 1)
    assert any(meta["blend"]), "outbreaks last: more than the average can be known"
    said = f"{100 * result.skill:.1f} % less error than mean (the historical average)"
    assert said in result.describe()
    assert len(predict_rasters(project, steps=2).files) == 2
    text = validate_run(project, project.settings("validate")).describe()
    assert "Than mean (the historical average), which is corrected: RMSE " in text
    assert " lower, MAE " in text.split("corrected: ")[1]


def test_what_is_stopped_goes_on_to_the_same_bits(make_project, counts):
    settings = {**SMALL, "epochs": 2, "retrain": False}
    whole = make_project(counts, times=times(counts), name="whole")
    train_model(whole, **settings)
    assert any("running_mean" in name for name in weights(whole))
    broken = make_project(counts, times=times(counts), name="broken")
    folder = broken.run_dir("default")
    asked = []

    def stop():
        asked.append((folder / "last.pt").exists())
        return sum(asked) == 3

    with pytest.raises(InterruptedRunError):
        train_model(broken, **settings, interrupted=stop)
    train_model(broken, **settings)
    for name, array in weights(whole).items():
        np.testing.assert_array_equal(weights(broken)[name], array)


def test_averaged_weights_come_with_the_statistics_of_training(make_project, counts):
    """Averaged like weights, statistics would remember those of a new model for 50 steps."""
    project = make_project(counts, times=times(counts))
    train_model(project, **{**SMALL, "epochs": 5, "retrain": False})
    folder = project.run_dir("default")
    state = torch.load(folder / "last.pt", weights_only=True)
    for number in (0, 1):
        for kind in ("mean", "var"):
            name = f"norms.{number}.running_{kind}"
            assert (state["average"][f"module.{name}"] == state["model"][name]).all()
            assert (state["model"][name] != float(kind == "var")).all()
    # With them a forecast is what a batch of training would have been.
    config = json.loads((folder / "model.json").read_text())["config"]
    model = build_model(ModelConfig(**config))
    model.load_state_dict({k[7:]: v for k, v in state["average"].items() if k[:7] == "module."})
    centre = counts.mean(axis=(0, 2, 3), keepdims=True)
    scaled = (counts - centre) / counts.std(axis=(0, 2, 3), keepdims=True)
    x = torch.zeros(20, 4, config["in_channels"], 14, 11)
    for init in range(20):
        x[init, :3, :2] = torch.from_numpy(scaled[init : init + 3])
    with torch.inference_mode():
        forecast, batch = model.eval()(x, 1), model.train()(x, 1)
    assert batch.std() > 0.05
    assert (forecast - batch).abs().mean() < 0.5 * batch.std()


def test_weight_decay_reaches_the_optimiser(make_project, counts):
    project = make_project(counts, times=times(counts))
    settings = {**SMALL, "epochs": 1, "retrain": False}
    for run, decay in (("none", 0.0), ("named", None), ("much", 0.5)):
        given = {} if decay is None else {"weight_decay": decay}
        train_model(project, **settings, run=run, **given)
    states = [
        torch.load(project.run_dir(run) / "last.pt", weights_only=True)["model"]
        for run in ("none", "named", "much")
    ]
    key = "layers.0.input_conv.weight"
    assert (states[0][key] == states[1][key]).all()  # the preset's is none
    assert (states[0][key] != states[2][key]).any()
