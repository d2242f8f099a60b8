"""The project directory: safe writing, the lock, the history, names and where it is."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from geoforecast.errors import ProjectError, SettingsError
from geoforecast.project import (
    Project,
    checked_name,
    open_project,
    plain,
    read_history,
    recorded,
    replacing,
    write_json,
)
from geoforecast.settings import TrainSettings


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def fill(folder: Path, text: str) -> None:
    folder.mkdir(parents=True)
    (folder / "chunk").write_text(text)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---- replacing ------------------------------------------------------------------------------


def test_a_file_takes_its_place_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "new" / "metrics.json"
    with replacing(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.suffix == ".json"
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert names(target.parent) == ["metrics.json"]


def test_a_directory_replaces_a_full_one(tmp_path: Path) -> None:
    target = tmp_path / "cube.zarr"
    fill(target, "old")
    with replacing(target) as temporary:
        fill(temporary, "new")
    assert (target / "chunk").read_text() == "new"
    assert names(tmp_path) == ["cube.zarr"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_no_litter(
    tmp_path: Path, error: type[BaseException]
) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    def write_half() -> None:
        with replacing(target) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_an_error_leaves_the_old_directory_and_no_litter(tmp_path: Path) -> None:
    target = tmp_path / "cube.zarr"
    fill(target, "old")

    def write_half() -> None:
        with replacing(target) as temporary:
            fill(temporary, "half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert (target / "chunk").read_text() == "old"
    assert names(tmp_path) == ["cube.zarr"]


def test_a_block_that_writes_nothing_fails_and_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(FileNotFoundError), replacing(target):
        pass
    assert target.read_text() == "old"


def killed(code: str) -> None:
    """Run Python code that ends in SIGKILL."""
    kill = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    prelude = (
        "from pathlib import Path\nfrom geoforecast.project import *\n"
        f"def die(*_): exec({kill!r})\n"
    )
    result = subprocess.run([sys.executable, "-c", prelude + code], check=False)
    assert result.returncode == -signal.SIGKILL


def test_a_kill_while_writing_leaves_the_old_file_and_the_next_write_sweeps(
    tmp_path: Path,
) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    killed(
        f"with replacing(Path({str(target)!r})) as temporary:\n"
        "    temporary.write_text('half')\n    die()\n"
    )
    assert target.read_text() == "old"
    assert len(names(tmp_path)) == 2
    with replacing(target) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


def test_a_kill_while_writing_leaves_the_old_directory(tmp_path: Path) -> None:
    target = tmp_path / "cube.zarr"
    fill(target, "old")
    killed(
        f"with replacing(Path({str(target)!r})) as temporary:\n"
        "    temporary.mkdir()\n    (temporary / 'chunk').write_text('half')\n    die()\n"
    )
    assert (target / "chunk").read_text() == "old"


@pytest.mark.parametrize("after", ["old", "new"])
def test_recover_mends_a_kill_about_the_two_renames(tmp_path: Path, after: str) -> None:
    """Killed between the renames the old one comes back; after them, the new one stays."""
    target = tmp_path / "cube.zarr"
    fill(target, "old")
    # `_remove` is called after both renames; `rename` dies on its second call.
    where = (
        "import geoforecast.project as p; p._remove = die\n"
        if after == "new"
        else "rename, calls = Path.rename, []\n"
        "def second(self, other):\n"
        "    calls.append(1)\n"
        "    return die() if len(calls) == 2 else rename(self, other)\n"
        "Path.rename = second\n"
    )
    killed(
        where + f"with replacing(Path({str(target)!r})) as temporary:\n"
        "    temporary.mkdir()\n    (temporary / 'chunk').write_text('new')\n"
    )
    assert target.exists() == (after == "new")
    with Project(tmp_path).lock():
        pass
    assert (target / "chunk").read_text() == after
    assert not [name for name in names(tmp_path) if "-old-" in name]
    with replacing(target) as temporary:
        fill(temporary, "newest")
    assert [name for name in names(tmp_path) if name != ".lock"] == ["cube.zarr"]


@pytest.mark.parametrize("place", ["validation/v1.2", "forecasts/default/20200101"])
def test_the_lock_recovers_every_folder_that_is_swapped(tmp_path: Path, place: str) -> None:
    target = tmp_path / place
    old = target.with_name(f".{target.stem}-old-0123abcd{target.suffix}")
    fill(old, "old")
    with Project(tmp_path).lock():
        assert (target / "chunk").read_text() == "old"
    assert not old.exists()


@pytest.mark.parametrize("place", [".", "runs/a", "validation", "forecasts/default"])
def test_the_lock_sweeps_what_was_half_written(tmp_path: Path, place: str) -> None:
    folder = tmp_path / place
    fill(folder / ".cube-writing-0123abcd.zarr", "half")
    (folder / ".last-writing-0123abcd.pt").write_text("half")
    (folder / ".my-writing-notes").write_text("mine")
    with Project(tmp_path).lock():
        pass
    assert [name for name in names(folder) if "writing" in name] == [".my-writing-notes"]


@pytest.mark.parametrize("name", ["runs", "forecasts", "validation"])
def test_a_file_in_a_folders_place_is_an_error(project: Project, name: str) -> None:
    (project.root / name).touch()
    with pytest.raises(ProjectError, match=f"{name} is a file where"), project.lock():
        pass
    (project.root / name).unlink()
    with project.lock():  # the refusal freed it
        pass


def test_a_project_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with (
        pytest.raises(ProjectError, match="There is no project at"),
        Project(tmp_path / "x").lock(),
    ):
        pass
    assert names(tmp_path) == []


def test_targets_of_one_folder_do_not_sweep_each_other(tmp_path: Path) -> None:
    with replacing(tmp_path / "a.tif") as first:
        first.write_text("a")
        with replacing(tmp_path / "b.tif") as second:
            second.write_text("b")
        with replacing(tmp_path / "a.json") as third:
            third.write_text("{}")
    assert names(tmp_path) == ["a.json", "a.tif", "b.tif"]


# ---- JSON -----------------------------------------------------------------------------------


def test_json_holds_no_nan_and_knows_numpy(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    content = {
        "nan": float("nan"),
        "inf": np.float32("inf"),
        "array": np.array([1.0, np.nan]),
        "count": np.int64(3),
        "path": Path("a"),
        "settings": TrainSettings(),
        1: (True, None),
    }
    write_json(path, content)
    read = json.loads(path.read_text())
    assert read["nan"] is None
    assert read["inf"] is None
    assert read["array"] == [1.0, None]
    assert read["count"] == 3
    assert read["path"] == "a"
    assert read["settings"]["epochs"] == TrainSettings().epochs
    assert read["1"] == [True, None]
    assert plain(content) == read


# ---- the lock -------------------------------------------------------------------------------


def test_a_second_command_is_told_who_holds_the_project(project: Project) -> None:
    with project.lock():
        with pytest.raises(ProjectError) as caught, project.lock():
            pass
        assert str(project.root) in str(caught.value)
        assert "Wait for it to end" in str(caught.value)
    with project.lock():
        pass


def test_an_error_frees_the_lock(project: Project) -> None:
    with pytest.raises(RuntimeError), project.lock():
        raise RuntimeError
    with project.lock():
        pass


def test_a_killed_process_frees_the_lock(project: Project) -> None:
    killed(f"with Project(Path({str(project.root)!r})).lock():\n    die()\n")
    with project.lock():
        pass


def test_a_read_only_project_is_an_error_that_says_so(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(ProjectError) as caught, project.lock():
        pass
    assert "Read-only file system" in str(caught.value)
    assert "choose another place with -p" in str(caught.value)


def test_a_project_below_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ProjectError, match="cannot be written to"):
        Project(tmp_path / "file" / "project").ensure_writable()


def test_writing_creates_the_project_and_leaves_no_probe(tmp_path: Path) -> None:
    project = Project(tmp_path / "a" / "b")
    project.ensure_writable()
    assert names(project.root) == []


# ---- the history ----------------------------------------------------------------------------


def test_each_command_is_one_line(project: Project) -> None:
    with recorded(project, "stack", {"bands": ("B04",)}) as notes:
        notes["steps"] = np.int64(48)
    with recorded(project, "train", TrainSettings()):
        pass
    first, second = read_history(project)
    assert first["command"] == "stack"
    assert first["settings"] == {"bands": ["B04"]}
    assert first["steps"] == 48
    assert first["outcome"] == "done"
    assert first["start"] <= first["end"] <= second["start"]
    assert second["settings"]["epochs"] == TrainSettings().epochs


@pytest.mark.parametrize("error", [ValueError("two\nlines"), KeyboardInterrupt(), SystemExit(75)])
def test_a_failure_is_recorded_and_goes_on(project: Project, error: BaseException) -> None:
    with pytest.raises(type(error)), recorded(project, "train", {}):
        raise error
    (entry,) = read_history(project)
    assert entry["outcome"].startswith(type(error).__name__)
    assert "\n" not in entry["outcome"]


def test_a_line_cut_short_costs_only_itself(project: Project) -> None:
    with recorded(project, "stack", {}):
        pass
    with project.history_path.open("a") as stream:
        stream.write('{"command": "train", "argv": ["--epo')
    assert [entry["command"] for entry in read_history(project)] == ["stack"]
    with recorded(project, "predict", {}):
        pass
    assert [entry["command"] for entry in read_history(project)] == ["stack", "predict"]
    with recorded(project, "validate", {}):
        pass
    commands = [entry["command"] for entry in read_history(project)]
    assert commands == ["stack", "predict", "validate"]
    assert len(project.history_path.read_text().splitlines()) == 4


def test_lines_that_are_no_entries_are_left_out(project: Project) -> None:
    with recorded(project, "stack", {}):
        pass
    with project.history_path.open("ab") as stream:
        stream.write(b'null\n3\n["a"]\n\xff\xfe\n{"command": "\xff"}\n')
    assert [entry["command"] for entry in read_history(project)] == ["stack", "\ufffd"]


def test_no_history_is_an_empty_one(project: Project) -> None:
    assert read_history(project) == []


# ---- names and places -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["default", "a.b_c-1", "20230615T120000"])
def test_names_that_may_be_folders(project: Project, name: str) -> None:
    assert checked_name(name) == name
    assert project.run_dir(name).parent == project.root / "runs"


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "-p", ".hidden", "a b", "a\n"])
def test_names_that_could_leave_the_project(project: Project, name: str) -> None:
    for place in (
        lambda: project.run_dir(name),
        lambda: project.validation_dir(name),
        lambda: project.forecast_dir("default", name),
    ):
        with pytest.raises(SettingsError, match="cannot be a name"):
            place()


def test_the_nearest_parent_with_settings_is_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "outer" / "inner"
    deep = inner / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert open_project().root == deep
    (tmp_path / "outer" / "geoforecast.toml").touch()
    assert open_project().root == tmp_path / "outer"
    (inner / "geoforecast.toml").touch()
    assert open_project().root == inner
    assert open_project(tmp_path / "elsewhere").root == tmp_path / "elsewhere"


def test_a_file_is_no_project(tmp_path: Path) -> None:
    (tmp_path / "scene.tif").touch()
    with pytest.raises(ProjectError, match="is a file, not a project directory"):
        open_project(tmp_path / "scene.tif")


def test_settings_and_inputs_come_from_the_project_file(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GEOFORECAST_TRAIN_EPOCHS", raising=False)
    assert project.inputs() == ()
    project.settings_path.write_text("[stack]\ninputs = ['a', '/b']\n[train]\nepochs = 3\n")
    assert project.settings("train").epochs == 3
    assert project.settings("train", epochs=5).epochs == 5
    assert project.inputs() == (str(project.root / "a"), "/b")


def test_inputs_are_a_setting_like_others(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    for text, expected in (
        ("'a'", (str(project.root / "a"),)),
        ("['~/scenes', '../b']", ("/home/somebody/scenes", str(project.root / "../b"))),
    ):
        project.settings_path.write_text(f"[stack]\ninputs = {text}\n")
        assert project.inputs() == expected
    monkeypatch.setenv("GEOFORECAST_STACK_INPUTS", "c,/d")
    assert project.inputs() == (str(project.root / "c"), "/d")


@pytest.mark.parametrize("raw", ["3", "[1]", "1.5", "true", "{a = 1}", "2020-01-01"])
def test_inputs_are_paths(project: Project, raw: str) -> None:
    project.settings_path.write_text(f"[stack]\ninputs = {raw}\n")
    with pytest.raises(SettingsError, match=r"\[stack\] inputs is .*\n.*each a path"):
        project.inputs()


def test_the_name_of_a_run_is_checked_with_the_settings(project: Project) -> None:
    for section in ("train", "predict", "validate"):
        with pytest.raises(SettingsError, match=r"'a/b' cannot be a name"):
            project.settings(section, run="a/b")
