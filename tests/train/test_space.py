"""Samples in files are those in memory, leave nothing behind, and full disks are named."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from geoforecast.errors import InputError, SettingsError
from geoforecast.system import granted_memory_bytes
from geoforecast.train import estimate_training, room, train_model
from geoforecast.train.space import MEMORY, Space, find_space

FAST = {"epochs": 2, "lookback": 3, "horizon": 2, "hidden": 4, "batch_size": 2, "patch": 16}


@pytest.fixture
def disk(tmp_path, monkeypatch):
    """A folder, and the sizes of what was asked of it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    asked = []
    real = os.posix_fallocate
    monkeypatch.setattr(
        os, "posix_fallocate", lambda *given: (asked.append(given[-1]), real(*given))
    )
    return folder, asked


@pytest.mark.slow
def test_files_give_the_bits_of_memory(make_project, wave, disk):
    folder, asked = disk
    one, other = make_project(wave, name="one"), make_project(wave, name="other")
    train_model(one, **FAST, refit=True, cache="memory")
    assert asked == []
    train_model(other, **FAST, refit=True, cache=str(folder))
    assert len(asked) == 12  # six arrays of one site, and again for --refit
    assert sum(asked) > 20 * wave.size
    assert list(folder.iterdir()) == []
    for part in ("model.safetensors", "log.csv", "errors.safetensors", "final/model.safetensors"):
        files = [project.run_dir("default") / part for project in (one, other)]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_an_array_is_what_was_asked_for_and_can_be_written(disk):
    folder, _ = disk
    for shape, dtype in (((3, 2, 5), np.float32), ((7,), bool), ((0, 4), np.float32)):
        made = Space(folder).empty(shape, dtype)
        assert (made.shape, made.dtype) == (shape, dtype)
        made.fill(1)
        assert np.all(made == 1)
    assert list(folder.iterdir()) == []


def test_a_full_disk_is_named_before_anything_is_trained(make_project, wave, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(InputError, match="No space left on device") as found:
        train_model(make_project(wave), **FAST, cache=str(tmp_path))
    assert "--cache memory" in str(found.value)
    with pytest.raises(SettingsError, match="there is no such folder"):
        train_model(make_project(wave, name="other"), **FAST, cache=str(tmp_path / "none"))


def test_auto_takes_the_nodes_disk_only_where_memory_is_short(tmp_path, monkeypatch):
    monkeypatch.delenv("SLURM_TMPDIR", raising=False)
    assert find_space("auto", crowded=True) == MEMORY
    monkeypatch.setenv("SLURM_TMPDIR", str(tmp_path))
    assert find_space("auto", crowded=False) == MEMORY
    assert find_space("auto", crowded=True) == Space(tmp_path)
    assert find_space("memory", crowded=True) == MEMORY
    assert find_space(str(tmp_path), crowded=False) == Space(tmp_path)
    monkeypatch.setenv("SLURM_TMPDIR", str(Path(tmp_path) / "gone"))
    assert find_space("auto", crowded=True) == MEMORY


def test_a_training_too_large_for_memory_goes_to_the_nodes_disk(
    make_project, wave, disk, monkeypatch
):
    folder, asked = disk
    project = make_project(wave)
    told = estimate_training(project, **FAST)
    assert told.disk_bytes == 0
    assert told.memory_bytes < granted_memory_bytes()
    monkeypatch.setattr(room, "granted_memory_bytes", lambda: told.memory_bytes - 1)
    monkeypatch.setenv("SLURM_TMPDIR", str(folder))
    less = estimate_training(project, **FAST)
    assert less.disk_bytes > 0
    assert less.memory_bytes + less.disk_bytes == told.memory_bytes
    asked.clear()
    train_model(project, **FAST)
    assert sum(asked) == less.disk_bytes
