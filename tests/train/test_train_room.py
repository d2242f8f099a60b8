"""Where memory is short, the error names crops that fit, or the disk."""

import numpy as np
import pytest
import torch

from geoforecast.errors import RunError, SettingsError
from geoforecast.models import build_model
from geoforecast.raster.cube import open_cube
from geoforecast.settings import TrainSettings
from geoforecast.train import room, train_model, verb
from geoforecast.train.pieces import PIECE_BYTES
from geoforecast.train.plan import find_task, make_plan
from geoforecast.train.room import check_room, naming_room, needs

CPU = torch.device("cpu")
LARGE = {"lookback": 3, "horizon": 2, "hidden": 64, "batch_size": 4, "model": "convlstm"}


@pytest.fixture
def plan_of(make_project, wave):
    project = make_project(np.tile(wave, (1, 1, 7, 6)))

    def plan(**given):
        settings = project.settings("train", **{**LARGE, **given})
        return make_plan(find_task(open_cube(project.cube_path), settings), settings, CPU)

    return plan


def granted(monkeypatch, count):
    monkeypatch.setattr(room, "granted_memory_bytes", lambda: int(count))


def test_the_largest_crops_that_fit_are_named(plan_of, monkeypatch):
    plan = plan_of(patch=128)
    wanted = {patch: needs(plan, CPU, patch).memory(on_disk=False) for patch in (16, 32, 64, 128)}
    assert wanted[16] < wanted[32] < wanted[64] < wanted[128]
    granted(monkeypatch, wanted[128])
    check_room(plan, CPU)
    for fits in (64, 32):
        granted(monkeypatch, wanted[2 * fits] - 1)
        with pytest.raises(SettingsError, match=f"train with --patch {fits}[.]"):
            check_room(plan, CPU)
    # On a GPU a step takes nothing of this machine.
    check_room(plan, torch.device("cuda"))


def test_samples_on_a_disk_are_named_where_that_is_enough(plan_of, monkeypatch, tmp_path):
    plan = plan_of(patch=128)
    wanted = needs(plan, CPU)
    granted(monkeypatch, wanted.memory(on_disk=True))
    with pytest.raises(SettingsError, match="on a disk with --cache DIR"):
        check_room(plan, CPU)
    check_room(plan_of(patch=128, cache=str(tmp_path)), CPU)
    granted(monkeypatch, 1000)
    with pytest.raises(SettingsError, match=r"0\.0 GiB are granted") as found:
        check_room(plan, CPU)
    assert found.value.remedy == "Ask for more memory."


def test_processes_of_one_machine_share_its_memory(plan_of, monkeypatch):
    plan = plan_of(patch=32)
    granted(monkeypatch, 3 * needs(plan, CPU).memory(on_disk=False))
    for name, value in (("RANK", 1), ("WORLD_SIZE", 4), ("MASTER_ADDR", "here")):
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    check_room(plan, CPU)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(SettingsError, match="Training takes about"):
        check_room(plan, CPU)


def test_a_batch_counts_no_more_than_its_largest_piece(plan_of):
    plan = plan_of(patch=128)
    wide = plan_of(patch=128, hidden=200)
    assert needs(plan, CPU).step < 1.2 * PIECE_BYTES
    sample = room.kept_bytes(build_model(wide.config), 128**2, 5)
    assert needs(wide, CPU).step > sample  # more than a piece by itself


def test_a_training_without_a_correction_needs_no_step(plan_of):
    assert needs(plan_of(model="none"), CPU).step == 0


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        MemoryError(),
    ],
)
def test_full_memory_is_answered_with_what_to_do(error):
    settings = TrainSettings(patch=64, batch_size=8)
    with pytest.raises(RunError, match="runs out of memory") as found, naming_room(settings):
        raise error
    assert "--patch 32" in found.value.remedy
    assert "--batch-size 4" in found.value.remedy
    with pytest.raises(RuntimeError, match="shapes"), naming_room(settings):
        raise RuntimeError("shapes do not fit")


def test_training_asks_before_it_decodes_and_before_it_replaces_a_run(
    make_project, wave, monkeypatch, tmp_path
):
    project = make_project(wave)
    done = {"model": "none", "lookback": 3, "horizon": 2}
    train_model(project, **done)
    meta = project.run_dir("default") / "model.json"
    before = meta.read_bytes()
    with pytest.raises(SettingsError, match="there is no such folder"):
        train_model(project, **done, overwrite=True, cache=str(tmp_path / "none"))
    granted(monkeypatch, 1000)
    for more in ({"run": "other"}, {"overwrite": True}, {"refit": True}):
        with pytest.raises(SettingsError, match="Training takes about"):
            train_model(project, **done, **more)
    assert meta.read_bytes() == before
    assert not project.run_dir("other").exists()
    train_model(project, **done)  # nothing is left to do


@pytest.mark.parametrize("part", ["_train", "refit"])
def test_memory_that_runs_out_anywhere_in_a_training_is_answered(
    make_project, wave, monkeypatch, part
):
    def full(*_):
        raise MemoryError

    monkeypatch.setattr(verb, part, full)
    with pytest.raises(RunError, match="Training runs out of memory"):
        train_model(make_project(wave), model="none", lookback=3, horizon=2, refit=True)
