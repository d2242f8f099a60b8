"""A dry run of training says what a training then takes, and writes nothing."""

import json
import math

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file

from geoforecast.cli import cli
from geoforecast.errors import SeriesTooShortError, SettingsError
from geoforecast.train import cache, estimate_training, train_model
from geoforecast.train.room import PROCESS_BYTES

FAST = {"epochs": 3, "lookback": 3, "horizon": 2, "hidden": 4, "batch_size": 2, "patch": 16}


def files(project):
    return {path: path.stat().st_mtime_ns for path in project.root.rglob("*")}


@pytest.mark.slow
def test_the_estimate_is_of_the_training_that_follows(make_project, wave):
    project = make_project(wave)
    before = files(project)
    told = estimate_training(project, **FAST, members=2)
    assert files(project) == before
    train_model(project, **FAST, members=2, patience=99)
    folder = project.run_dir("default")
    rows = (folder / "log.csv").read_text().splitlines()[1:]
    assert told.epochs == len(rows) == 3
    weights = load_file(folder / "model.safetensors")
    kept = json.loads((folder / "model.json").read_text())["config"]["members"]
    assert told.parameters * kept == 2 * sum(weight.size for weight in weights.values())
    speed = np.genfromtxt(folder / "speed.csv", delimiter=",", names=True)
    made = speed["samples_per_s"] * speed["seconds"] / FAST["batch_size"]
    assert told.steps_an_epoch == pytest.approx(made[0], rel=0.01)
    assert told.sites_px == math.prod(wave.shape[2:])


def test_its_time_adds_up(make_project, wave):
    project = make_project(wave)
    told = estimate_training(project, **FAST, members=2, refit=True)
    assert min(told.data_seconds, told.step_seconds, told.score_seconds) > 0
    step, score = told.steps_an_epoch * told.step_seconds, told.score_seconds
    # Two members, three epochs; once more for each of the second training and the refit.
    assert told.seconds == pytest.approx(2 * told.data_seconds + 6 * (3 * step + score))
    plain = estimate_training(project, **FAST, retrain=False)
    step, score = plain.steps_an_epoch * plain.step_seconds, plain.score_seconds
    assert plain.seconds == pytest.approx(plain.data_seconds + 3 * (step + score))


@pytest.mark.slow
def test_a_part_of_a_large_raster_stands_for_its_sites(make_project, wave, monkeypatch):
    project = make_project(np.tile(wave, (1, 1, 4, 5)))
    whole = estimate_training(project, **FAST, model="none")
    assert whole.sites_px == math.prod(wave.shape[2:]) * 20
    monkeypatch.setattr(cache, "SITE_PX", 32)
    monkeypatch.setattr(cache, "BUDGET_BYTES", (whole.memory_bytes - PROCESS_BYTES) // 3)
    told = estimate_training(project, **FAST, model="none")
    assert 0 < told.sites_px < whole.sites_px
    assert told.sites_px % 32**2 == 0
    assert told.memory_bytes < whole.memory_bytes
    assert (told.parameters, told.step_seconds, told.seconds) == (0, 0, told.data_seconds)


def test_the_command_says_it_and_writes_nothing(make_project, wave):
    project = make_project(wave)
    before = files(project)
    line = ["-p", str(project.root), "train", "--dry-run", "--epochs", "3", "--hidden", "4"]
    done = CliRunner().invoke(cli, line, catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    for words in (
        "a dry run: nothing is written",
        "convlstm, ",
        "at most 3 epochs of ",
        " until the first epoch",
        "  memory  about ",
    ):
        assert words in done.stdout
    found = CliRunner().invoke(cli, [*line, "--json"], catch_exceptions=False)
    assert json.loads(found.stdout)["epochs"] == 3
    none = CliRunner().invoke(cli, [*line, "--model", "none"], catch_exceptions=False)
    assert "none: the mixture alone" in none.stdout
    assert files(project) == before


def test_what_training_refuses_is_refused(make_project, wave, monkeypatch):
    project = make_project(wave)
    with pytest.raises(SeriesTooShortError, match="too few for --lookback 90"):
        estimate_training(project, lookback=90)
    with pytest.raises(SettingsError, match="convlsmt"):
        estimate_training(project, model="convlsmt")
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "localhost")):
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match="--dry-run measures one process"):
        estimate_training(project)
