"""Training ended at random moments of its life, and run again until it is done: the same bits."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from geoforecast.project import read_history

LINE = [
    *("train", "--epochs", "6", "--lookback", "3", "--horizon", "2", "--hidden", "4"),
    *("--patch", "16", "--model", "convlstm", "--members", "2", "--lr", "0.02", "--refit"),
]
# Two of five are told to end, which takes effect before the next step; the others are not asked.
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGKILL, signal.SIGUSR1)


@pytest.fixture
def learnable():
    """A field whose changes no linear rule finds: a tent map, each pixel by itself."""
    x = np.empty((40, 1, 20, 20), np.float32)
    x[0] = np.random.default_rng(5).random((1, 20, 20))
    for t in range(1, len(x)):
        x[t] = 1 - np.abs(1 - 1.98 * x[t - 1])
    return x


def start(project, *more):
    return subprocess.Popen(
        [sys.executable, "-m", "geoforecast", "-p", str(project.root), *LINE, *more],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process):
    _, said = process.communicate(timeout=300)
    return process.returncode, said


def results(project):
    """Every file of the run but states to go on from and measured times."""
    folder = project.run_dir("default")
    passing = ("last.pt", "before.pt", "speed.csv")
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in passing
    }


def saves(project):
    """When each state to go on from was saved last: whatever is saved changes it."""
    found = {}
    for path in project.run_dir("default").rglob("last.pt"):
        with contextlib.suppress(FileNotFoundError):
            found[path] = path.stat().st_mtime_ns
    return found


def wait(project, process, many, limit_s):
    """Until some epochs more are saved, or the process has ended, or the time is over."""
    before, count = saves(project), 0
    until = time.monotonic() + limit_s
    while count < many and process.poll() is None and time.monotonic() < until:
        time.sleep(0.002)
        now = saves(project)
        count += now != before
        before = now


@pytest.mark.slow
@pytest.mark.parametrize(("moments", "more"), [(20, []), (6, ["--overwrite"])])
def test_many_lives_end_with_the_bits_of_one(make_project, learnable, moments, more):
    whole, broken = make_project(learnable, name="whole"), make_project(learnable, name="broken")
    code, said = finished(start(whole))
    assert code == 0, said
    expected = results(whole)
    assert {"model.json", "model.safetensors", "errors.safetensors", "log.csv"} <= set(expected)
    assert {"again/log.csv", "member2/log.csv", "final/model.safetensors"} <= set(expected)
    rng = np.random.default_rng([5, moments])
    codes = []
    for number in range(moments):
        process = start(broken, *more)
        if rng.random() < 0.2:  # while it begins, or at its end, when little is saved any more
            wait(broken, process, 100, rng.uniform(1, 10))
        else:  # while it trains or saves
            wait(broken, process, rng.integers(1, 3), 60)
            time.sleep(rng.choice([0, rng.uniform(0, 0.01), rng.uniform(0, 0.3)]))
        sent = SIGNALS[number % len(SIGNALS)]
        process.send_signal(sent)
        code, said = finished(process)
        codes.append(code)
        assert "Traceback" not in said
        assert code in (0, 75, -sent), said
    assert codes.count(0) < moments / 2
    code, said = finished(start(broken))
    assert code == 0, said
    found = results(broken)
    assert found.keys() == expected.keys()
    for name, content in expected.items():
        assert found[name] == content, name
    assert list(broken.root.rglob(".*-writing-*")) == []


@pytest.mark.slow
def test_a_time_limit_ends_with_75_and_the_next_life_goes_on(make_project, learnable):
    whole, broken = make_project(learnable, name="whole"), make_project(learnable, name="broken")
    code, said = finished(start(whole))
    assert code == 0, said
    codes, limit_s = [], 0.01
    while not codes or codes[-1]:
        code, said = finished(start(broken, "--time-limit", f"{limit_s}s"))
        codes.append(code)
        assert code in (0, 75), said
        limit_s = 2 * limit_s if limit_s > 1 else 2.0
    assert codes[0] == 75
    assert results(broken) == results(whole)
    *stopped, last = [entry["outcome"] for entry in read_history(broken)]
    assert [outcome[:19] for outcome in stopped] == ["InterruptedRunError"] * (len(codes) - 1)
    assert last == "done"
