"""Members of several seeds, and the second training on the validation steps as well."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from geoforecast.errors import InterruptedRunError
from geoforecast.forecast.engine import open_engine
from geoforecast.models import ModelConfig, build_model
from geoforecast.models.ensemble import Ensemble
from geoforecast.raster.cube import open_cube
from geoforecast.train import loop as loop_module
from geoforecast.train import train_model
from geoforecast.train.members import that_learned

FAST = {"epochs": 3, "lookback": 3, "horizon": 2, "hidden": 4, "batch_size": 2, "patch": 16}


@pytest.fixture
def learnable():
    """A field whose changes no linear rule finds: a tent map, each pixel by itself."""
    x = np.empty((40, 1, 16, 16), np.float32)
    x[0] = np.random.default_rng(5).random((1, 16, 16))
    for t in range(1, len(x)):
        x[t] = 1 - np.abs(1 - 1.98 * x[t - 1])
    return x


def loaded(project, run="default"):
    folder = project.run_dir(run)
    return load_file(folder / "model.safetensors"), json.loads((folder / "model.json").read_text())


def test_the_correction_is_the_mean_of_its_members():
    config = ModelConfig("convlstm", 10, 1, 4, 1, 3, False, members=3)
    torch.manual_seed(0)
    ensemble = build_model(config).eval()
    assert isinstance(ensemble, Ensemble)
    for parameter in ensemble.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    x = torch.randn(2, 5, 10, 8, 8)
    with torch.inference_mode():
        parts = torch.stack([member(x, 2) for member in ensemble.members])
        torch.testing.assert_close(ensemble(x, 2), parts.mean(dim=0))
    assert ensemble.halo_px(5) == build_model(
        ModelConfig("convlstm", 10, 1, 4, 1, 3, False)
    ).halo_px(5)


def test_members_are_trained_from_seeds_that_count_on(make_project, learnable):
    together = make_project(learnable, name="together")
    train_model(together, **FAST, members=2, seed=7, retrain=False)
    weights, meta = loaded(together)
    assert meta["config"]["members"] == 2
    for number, seed in enumerate((7, 8)):
        alone = make_project(learnable, name=f"seed{seed}")
        train_model(alone, **FAST, seed=seed, retrain=False)
        for name, array in loaded(alone)[0].items():
            np.testing.assert_array_equal(weights[f"members.{number}.{name}"], array)


def test_the_mean_is_of_members_that_learned():
    assert that_learned((3, 0, 5)) == [0, 2]
    assert that_learned((0, 4)) == [1]
    assert that_learned((0, 0, 0)) == [0]


@pytest.mark.slow
@pytest.mark.parametrize("retrain", [False, True])
def test_a_member_that_learned_nothing_is_left_out(make_project, learnable, monkeypatch, retrain):
    settings = {**FAST, "epochs": 8, "lr": 0.02, "retrain": retrain}
    plain = loop_module.Loop.run

    def run(self, stop):
        outcome = plain(self, stop)
        if self.settings.seed != 1:
            return outcome
        return replace(outcome, epoch=0, weights={k: 0 * v for k, v in outcome.weights.items()})

    monkeypatch.setattr(loop_module.Loop, "run", run)
    project = make_project(learnable, name="three")
    result = train_model(project, **settings, members=3)
    weights, meta = loaded(project)
    assert meta["config"]["members"] == 2
    assert len(meta["kept"]) == 3
    assert [bool(epoch) for epoch in meta["kept"]] == [True, False, True]
    assert any(result.blend)
    for number, seed in enumerate((0, 2)):
        alone = make_project(learnable, name=f"seed{seed}")
        train_model(alone, **settings, seed=seed)
        for name, array in loaded(alone)[0].items():
            np.testing.assert_array_equal(weights[f"members.{number}.{name}"], array)
    refitted = train_model(project, **settings, members=3, refit=True)
    assert refitted.final_until
    final = load_file(project.run_dir("default") / "final" / "model.safetensors")
    assert set(final) == set(weights)


def test_training_again_sees_the_validation_steps_and_nothing_later(make_project, learnable):
    cube = open_cube(make_project(learnable, name="look").cube_path)
    split = [
        int(np.searchsorted(cube.times, np.datetime64(cube.meta["split"][key])))
        for key in ("validation_start", "test_start")
    ]
    settings = {**FAST, "epochs": 8, "lr": 0.02}
    first = make_project(learnable, name="first")
    train_model(first, **settings)
    chosen = make_project(learnable, name="chosen")
    train_model(chosen, **settings, retrain=False)
    before, after = loaded(chosen), loaded(first)
    assert any(before[1]["blend"]), "the field must be learnable, or nothing is tested"
    # The epochs and their weight were chosen before, and stay.
    assert after[1]["blend"] == before[1]["blend"]
    assert after[1]["epoch"] == before[1]["epoch"]
    assert any((after[0][name] != before[0][name]).any() for name in before[0])
    changed = learnable.copy()
    changed[split[1] :] = 0.5
    second = make_project(changed, name="second")
    train_model(second, **settings)
    for name, array in after[0].items():
        np.testing.assert_array_equal(loaded(second)[0][name], array)


@pytest.mark.slow
def test_training_again_goes_on_after_a_stop(make_project, learnable):
    settings = {**FAST, "epochs": 8, "lr": 0.02, "members": 2}
    whole = make_project(learnable, name="whole")
    train_model(whole, **settings)
    assert any(loaded(whole)[1]["blend"])
    for at in (70, 130, 160):
        project = make_project(learnable, name=f"stopped{at}")
        asked = [0]

        def stop(limit=at, asked=asked):
            asked[0] += 1
            return asked[0] == limit

        try:
            train_model(project, **settings, interrupted=stop)
        except InterruptedRunError:
            train_model(project, **settings)
        for name, array in loaded(whole)[0].items():
            np.testing.assert_array_equal(loaded(project)[0][name], array)


@pytest.mark.slow
def test_an_ensemble_forecasts(make_project, learnable):
    project = make_project(learnable)
    train_model(project, **{**FAST, "epochs": 8, "lr": 0.02}, members=2)
    engine = open_engine(project, "default")
    days = [float(day) for day in engine.series.days[-2:]]
    made = engine.forecast(engine.cube.grid.whole, len(learnable) - 3, days)
    assert np.isfinite(made.values).all()
