"""What goes wrong with training from outside: each a clear message, and nothing lost."""

import errno
import json
import logging
import resource

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.numpy import load_file

from geoforecast import project as project_module
from geoforecast.cli import cli
from geoforecast.errors import InterruptedRunError, ProjectError, RunError, SettingsError
from geoforecast.forecast.engine import open_engine
from geoforecast.models.checkpoint import FORMAT
from geoforecast.project import read_history
from geoforecast.train import place as place_module
from geoforecast.train import train_model
from geoforecast.train.last import write_checkpoint

FAST = {
    "epochs": 3,
    "lookback": 3,
    "horizon": 2,
    "hidden": 4,
    "batch_size": 2,
    "patch": 16,
    "members": 1,
}


@pytest.fixture
def stopped(make_project, wave):
    """A function that makes a project whose run was stopped after its first epoch."""

    def make(**settings):
        project = make_project(wave)
        folder = project.run_dir("default")
        asked = []

        def stop():
            asked.append((folder / "last.pt").exists())
            return sum(asked) == 3

        with pytest.raises(InterruptedRunError, match="epoch 1 is saved"):
            train_model(project, **FAST, **settings, interrupted=stop)
        return project

    return make


@pytest.fixture
def small_files():
    """A function that lets the system refuse files beyond some bytes, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda most: resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_run_folder_that_cannot_be_written_is_told_at_once(stopped, monkeypatch, caplog):
    project = stopped()

    def refuse(**_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(place_module.tempfile, "NamedTemporaryFile", refuse)
    caplog.clear()  # of what was said until it was stopped
    with caplog.at_level(logging.INFO), pytest.raises(RunError, match="Permission denied") as e:
        train_model(project, **FAST)
    assert str(project.run_dir("default")) in str(e.value)
    assert "another name with --run" in str(e.value)
    assert not any("validation error" in record.message for record in caplog.records)
    monkeypatch.undo()
    assert train_model(project, **FAST).epochs == 3


def test_a_full_disk_is_named_with_the_file_and_training_goes_on_later(
    stopped, small_files, monkeypatch
):
    project = stopped()
    before = (project.run_dir("default") / "last.pt").read_bytes()
    plain = project_module._append_line

    def full(path, line):  # the same disk holds the history
        plain(path, line)
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(project_module, "_append_line", full)
    line = ["-p", str(project.root), "train", *options(FAST)]
    small_files(8000)
    result = CliRunner().invoke(cli, line)
    small_files(resource.RLIM_INFINITY)
    assert result.exit_code == 2
    assert f"  {project.run_dir('default') / 'last.pt'}\n" in result.stderr
    assert "File too large" in result.stderr
    assert (project.run_dir("default") / "last.pt").read_bytes() == before
    monkeypatch.undo()
    result = CliRunner().invoke(cli, line)
    assert result.exit_code == 0
    assert "going on after epoch 1" in result.stderr


def test_a_history_that_cannot_be_written_is_an_error_where_all_else_went_well(
    tmp_path, monkeypatch
):
    def full(path, line):  # noqa: ARG001
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(project_module, "_append_line", full)
    project = project_module.Project(tmp_path)
    with pytest.raises(OSError, match="No space"), project_module.recorded(project, "train", {}):
        pass
    with pytest.raises(KeyError), project_module.recorded(project, "train", {}):
        raise KeyError("what went wrong first")


def options(settings):
    return [word for k, v in settings.items() for word in (f"--{k.replace('_', '-')}", str(v))]


def test_weights_that_cannot_be_written_are_no_traceback(tmp_path, small_files):
    small_files(1000)
    with pytest.raises(RunError, match=r"The checkpoint cannot be written: .*too large") as error:
        write_checkpoint(tmp_path, None, {"weight": torch.zeros(10_000)})
    assert "Free some space" in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_two_trainings_in_one_run_folder_are_refused_and_in_two_are_not(make_project, wave):
    project = make_project(wave)
    with project.lock_run("a"):
        with pytest.raises(ProjectError, match="working on the run 'a'"):
            train_model(project, **FAST, run="a")
        assert not project.run_dir("a").exists()
        train_model(project, **FAST, run="b")
    train_model(project, **FAST, run="a")
    ours, theirs = (load_file(project.run_dir(run) / "model.safetensors") for run in "ab")
    for name, weight in ours.items():
        np.testing.assert_array_equal(theirs[name], weight)


def test_overwrite_that_was_stopped_goes_on_and_starts_anew_when_it_is_done(stopped, caplog):
    project = stopped(overwrite=True)
    with caplog.at_level(logging.INFO):
        train_model(project, **FAST, overwrite=True)
        assert "going on after epoch 1" in [record.message for record in caplog.records]
        caplog.clear()
        train_model(project, **FAST, overwrite=True)
    said = [record.message for record in caplog.records]
    assert not any("going on" in line for line in said)
    assert any(line.startswith("epoch 1/3") for line in said)


@pytest.mark.slow
def test_overwrite_that_was_stopped_while_fitting_again_goes_on(make_project, wave, caplog):
    project = make_project(wave)
    settings = {**FAST, "refit": True, "overwrite": True, "reference": "persistence"}
    last = project.run_dir("default") / "final" / "last.pt"
    asked = []

    def stop():
        asked.append(last.exists())
        return sum(asked) == 2

    with pytest.raises(InterruptedRunError):
        train_model(project, **settings, interrupted=stop)
    made = (project.run_dir("default") / "model.json").stat().st_mtime_ns
    with caplog.at_level(logging.INFO):
        train_model(project, **settings)
    assert "run 'default' is trained already" in [record.message for record in caplog.records]
    assert (project.run_dir("default") / "model.json").stat().st_mtime_ns == made
    train_model(project, **settings)
    assert (project.run_dir("default") / "model.json").stat().st_mtime_ns != made


def test_a_device_that_is_not_there_leaves_nothing_behind(make_project, wave, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    project = make_project(wave)
    with pytest.raises(SettingsError, match=r"--device cuda: PyTorch .* finds none") as error:
        train_model(project, **FAST, device="cuda")
    assert "cpu" in error.value.remedy
    assert not project.run_dir("default").exists()
    assert read_history(project) == []


@pytest.mark.parametrize(("change", "said"), [(1, "a format newer"), (-1, "a format older")])
def test_a_run_of_another_version_says_what_to_do(make_project, wave, change, said):
    project = make_project(wave)
    train_model(project, **FAST)
    path = project.run_dir("default") / "model.json"
    content = json.loads(path.read_text())
    assert content["format"] == FORMAT
    path.write_text(json.dumps({**content, "format": FORMAT + change, "geoforecast": "9.9"}))
    with pytest.raises(RunError, match=f"geoforecast 9.9, in {said}") as error:
        open_engine(project, "default")
    assert ("Upgrade" if change > 0 else "--overwrite") in str(error.value)
    with pytest.raises(RunError, match=said):
        train_model(project, **FAST)


def test_a_run_of_another_grid_says_which(make_project, wave):
    project = make_project(wave)
    train_model(project, **FAST)
    path = project.run_dir("default") / "model.json"
    content = json.loads(path.read_text())
    content["conditions"]["pixel size"] = "30 x 30"
    path.write_text(json.dumps(content))
    with pytest.raises(RunError, match="on a cube of other pixel size") as error:
        open_engine(project, "default")
    assert "pixel size: was 30 x 30, is now 10 x 10" in str(error.value)
