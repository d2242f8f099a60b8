"""Signals: 75 whenever they come, and the handlers of others come back. What a heap keeps."""

import contextlib
import os
import platform
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner

from geoforecast.cli import cli
from geoforecast.system import Signals


def invoke(*args):
    return CliRunner().invoke(cli, [str(arg) for arg in args], catch_exceptions=False)


def terminate(*_, **__):
    os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_stops_before_and_between_verbs(tmp_path, tiny_folder, monkeypatch):
    """While settings are bound, inside a verb that swallows it, and inside one that notes it."""
    handler = signal.getsignal(signal.SIGTERM)
    p = ["-p", tmp_path / "p"]

    def swallow(*_):
        with contextlib.suppress(Exception):
            terminate()
        return []

    with monkeypatch.context() as patch:
        patch.setattr("geoforecast.cli.chain.open_project", terminate)
        assert invoke(*p, "status").exit_code == 75
    with monkeypatch.context() as patch:
        patch.setattr("geoforecast.doctor.examine", swallow)
        result = invoke(*p, "doctor", "stack", tiny_folder)
        assert result.exit_code == 75
        assert "Stopped by SIGTERM; what was complete is kept." in result.stderr
    with monkeypatch.context() as patch:
        patch.setattr("geoforecast.stack.stack_scenes", terminate, raising=False)
        assert invoke(*p, "stack", tiny_folder).exit_code == 75
    noted = []

    def train(_project, _settings, *, interrupted):
        terminate()
        noted.append(interrupted())

    with monkeypatch.context() as patch:
        patch.setattr("geoforecast.train.train_model", train, raising=False)
        assert invoke(*p, "train", "stack", tiny_folder).exit_code == 75
    assert noted == [True]
    assert not (tmp_path / "p").exists()
    assert signal.getsignal(signal.SIGTERM) is handler


def test_signals_are_nothing_to_one_that_is_leaving():
    old = signal.getsignal(signal.SIGTERM)
    with Signals() as signals:
        signals.leaving = True
        terminate()
        assert signals.seen == ""
        signals.check()
    assert signal.getsignal(signal.SIGTERM) is old


ENDING = """
import atexit, os, signal, sys
from geoforecast.__main__ import main
from geoforecast.cli import chain

def told(_):
    os.kill(os.getpid(), signal.SIGUSR1)

def told_again():
    print("told again", flush=True)
    os.kill(os.getpid(), signal.SIGTERM)

chain.open_project = told
atexit.register(told_again)
sys.argv[1:] = ["train"]
main()
"""


def test_a_process_that_is_leaving_is_not_disturbed():
    done = subprocess.run([sys.executable, "-c", ENDING], capture_output=True, text=True)
    assert done.returncode == 75
    assert done.stdout == "told again\n"
    assert "Stopped by SIGUSR1" in done.stderr


def test_one_of_several_processes_is_gone_at_once():
    """Threads of gloo abort a process whose interpreter is taken down, now and then."""
    together = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}
    done = subprocess.run(
        [sys.executable, "-c", ENDING],
        env={**os.environ, **together},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 75
    assert done.stdout == ""
    assert "Stopped by SIGUSR1" in done.stderr


FAULTS = """
import resource
import numpy as np
from geoforecast.system import keep_heap, keep_heap_small

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(20_000_000, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

found = []
for setting in (keep_heap, lambda: keep_heap_small(1), keep_heap):
    setting()
    faults()
    found.append(faults())
print(*found)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_a_kept_heap_asks_the_kernel_for_no_page_twice_until_it_shall_be_small():
    told = subprocess.run(
        [sys.executable, "-c", FAULTS], check=True, capture_output=True, text=True
    ).stdout
    kept, small, again = map(int, told.split())
    assert kept * 5 < small  # pages are large where the kernel makes them so
    assert again * 5 < small
