"""Locks: one command alone in a project, or several that each hold a run of it."""

import contextlib
import os
import subprocess
import sys
import time

import pytest

from geoforecast import locking
from geoforecast.errors import ProjectError
from geoforecast.project import Project


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setattr(locking, "SHARING_WAIT_S", 0.2)
    return Project(tmp_path)


def refused(lock, match):
    with pytest.raises(ProjectError, match=match) as found, lock:
        pass
    return str(found.value)


def test_runs_of_one_project_are_held_side_by_side(project):
    with project.lock_run("a"), project.lock_run("b"):
        said = refused(project.lock_run("a"), "working on the run 'a'")
        assert "another name with --run" in said
        refused(project.lock(), "Another geoforecast command is working on")
    with project.lock():
        pass


def test_nobody_gets_the_project_until_the_last_run_is_let_go(project):
    with contextlib.ExitStack() as first, project.lock_run("b"):
        first.enter_context(project.lock_run("a"))
        first.close()
        refused(project.lock(), "Another geoforecast command")
        with project.lock_run("a"):
            pass


def test_a_run_is_refused_while_a_command_holds_the_project(project):
    with project.lock():
        said = refused(project.lock_run("a"), "Another geoforecast command is working on")
        assert str(project.root) in said
    with project.lock_run("a"):
        pass


def test_an_error_lets_the_run_go(project):
    with pytest.raises(RuntimeError), project.lock_run("a"):
        raise RuntimeError
    with project.lock():
        pass


def test_a_project_that_is_not_there_is_not_made(tmp_path):
    refused(Project(tmp_path / "x").lock_run("a"), "There is no project at")
    assert list(tmp_path.iterdir()) == []


def test_whoever_is_alone_ends_what_was_half_done(project):
    """The cube's swap that a killed stack left half done; nothing of another run that is held."""
    old = project.root / ".cube-old-0123abcd.zarr"
    old.mkdir()
    for run in ("a", "b"):
        (project.run_dir(run) / "member2").mkdir(parents=True)
    with project.lock_run("a"):
        assert project.cube_path.exists()
        assert not old.exists()
        theirs = project.run_dir("a") / "member2" / ".last-writing-0123abcd.pt"
        mine = project.run_dir("b") / "member2" / ".last-writing-0123abcd.pt"
        for path in (theirs, mine):
            path.write_text("half")
        with project.lock_run("b"):
            assert theirs.exists()  # it is being written
            assert not mine.exists()


HOLD = """
import sys, time
from pathlib import Path
from geoforecast.project import Project
with Project(Path(sys.argv[1])).lock_run(sys.argv[2]):
    print("held", flush=True)
    time.sleep(60)
"""


def holder(project, run):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(project.root), run], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    return process


def test_other_processes_count_and_a_kill_frees_what_they_held(project):
    process = holder(project, "a")
    try:
        refused(project.lock_run("a"), "working on the run 'a'")
        refused(project.lock(), "Another geoforecast command")
        with project.lock_run("b"):
            pass
    finally:
        process.kill()
        process.communicate()
    with project.lock_run("a"):
        pass
    with project.lock():
        pass


def test_jobs_that_begin_at_once_wait_for_the_one_that_tidies(project, monkeypatch):
    monkeypatch.setattr(locking, "SHARING_WAIT_S", 30.0)
    import fcntl

    descriptor = os.open(project.root / ".lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    slept = []

    def sleep(seconds):  # the other one is done meanwhile
        slept.append(seconds)
        fcntl.flock(descriptor, fcntl.LOCK_SH)

    monkeypatch.setattr(time, "sleep", sleep)
    with project.lock_run("a"):
        assert len(slept) == 1
    os.close(descriptor)
