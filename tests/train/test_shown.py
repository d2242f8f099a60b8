"""TensorBoard gets every epoch once, however often the run was stopped."""

import csv
import sys

import pytest

from geoforecast.errors import InterruptedRunError, SettingsError
from geoforecast.train import train_model

FAST = {"epochs": 4, "lookback": 3, "horizon": 2, "hidden": 4, "batch_size": 2, "patch": 16}


def scalars(folder):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    ).EventAccumulator(str(folder))
    accumulator.Reload()
    return {
        name: {event.step: event.value for event in accumulator.Scalars(name)}
        for name in accumulator.Tags()["scalars"]
    }, {name: len(accumulator.Scalars(name)) for name in accumulator.Tags()["scalars"]}


def rows(project):
    with (project.run_dir("default") / "log.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_every_epoch_is_told_once_also_by_a_run_that_was_stopped(make_project, wave):
    pytest.importorskip("tensorboard")
    project = make_project(wave)
    log = project.run_dir("default") / "log.csv"
    with pytest.raises(InterruptedRunError):
        train_model(
            project,
            **FAST,
            patience=99,
            tensorboard=True,
            interrupted=lambda: log.exists() and len(rows(project)) == 2,
        )
    assert len(rows(project)) == 2
    train_model(project, **FAST, patience=99, tensorboard=True)
    told, counts = scalars(project.run_dir("default") / "tensorboard")
    lines = rows(project)
    for name in lines[0]:
        if name == "epoch":
            continue
        assert counts[f"training/{name}"] == 4
        for row in lines:
            found = told[f"training/{name}"][int(row["epoch"])]
            assert found == pytest.approx(float(row[name]), rel=1e-5)
    assert all(value > 0 for value in told["speed/samples_per_s"].values())


def test_without_it_nothing_is_written_and_its_absence_is_named(make_project, wave, monkeypatch):
    project = make_project(wave)
    train_model(project, **FAST)
    assert not (project.run_dir("default") / "tensorboard").exists()
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(SettingsError, match="needs a package that is not installed") as found:
        train_model(project, **FAST, run="other", tensorboard=True)
    assert "pip install 'geoforecast[tensorboard]'" in found.value.remedy
    assert not project.run_dir("other").exists()
