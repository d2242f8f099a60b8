"""torchrun on this machine: the curve of one process, and what becomes of kills and signals."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

# A small model on a field that it can learn; every part of a training's life is short.
LINE = [
    *("--epochs", "3", "--lookback", "3", "--horizon", "2", "--hidden", "4", "--patch", "16"),
    *("--model", "convlstm", "--members", "2", "--lr", "0.02", "--batch-size", "4", "--refit"),
]
LONG = [*LINE, "--epochs", "500", "--patience", "500", "--members", "1"]

pytestmark = pytest.mark.slow
in_proc = pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="finds the processes in /proc"
)


@pytest.fixture
def learnable():
    """A field whose changes no linear rule finds: a tent map, each pixel by itself."""
    x = np.empty((40, 1, 20, 20), np.float32)
    x[0] = np.random.default_rng(5).random((1, 20, 20))
    for t in range(1, len(x)):
        x[t] = 1 - np.abs(1 - 1.98 * x[t - 1])
    return x


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}


def alone(project, *line):
    return [sys.executable, "-m", "geoforecast", "-p", str(project.root), *line]


def together(project, size, *line):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(size)),
        *("--master-addr", "127.0.0.1", "--master-port", str(port)),
        *("-m", "--", "geoforecast", "-p", str(project.root), *line),
    ]


def run(command):
    return subprocess.run(
        command, env=environment(), capture_output=True, text=True, check=False, timeout=300
    )


def columns(project, place=""):
    lines = (project.run_dir("default") / place / "log.csv").read_text().splitlines()
    return np.array([[float(number) for number in line.split(",")] for line in lines[1:]])


def assert_alike(one, other):
    for place in ("", "member2", "again", "final"):
        np.testing.assert_allclose(columns(one, place), columns(other, place), rtol=1e-4, atol=1e-5)
    folders = one.run_dir("default"), other.run_dir("default")
    for part in ("", "final"):
        ours, theirs = (load_file(folder / part / "model.safetensors") for folder in folders)
        for name, weight in ours.items():
            np.testing.assert_allclose(theirs[name], weight, rtol=0, atol=1e-4)
        metas = [json.loads((folder / part / "model.json").read_text()) for folder in folders]
        np.testing.assert_allclose(*(meta.pop("blend") for meta in metas), atol=1e-3)
        for meta in metas:
            for key in ("evidence", "narrowing", "scores"):
                meta.pop(key)
        assert metas[0] == metas[1]


@pytest.mark.parametrize("size", [2, 3])
def test_several_processes_follow_the_curve_of_one(make_project, learnable, size):
    one, many = make_project(learnable, name="one"), make_project(learnable, name="many")
    first = run(alone(one, "train", *LINE))
    assert first.returncode == 0, first.stderr
    second = run(together(many, size, "train", *LINE))
    assert second.returncode == 0, second.stderr
    assert first.stdout == second.stdout  # one of them speaks
    for line in ("convlstm: 1 x 4 channels", "epoch 1/3"):
        assert second.stderr.count(line) == first.stderr.count(line)
    assert_alike(one, many)
    assert any(json.loads((one.run_dir("default") / "model.json").read_text())["blend"])
    assert len(many.history_path.read_text().splitlines()) == 1


def ranks_of(project):
    """Process ids by rank of whoever trains in this project."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            settings = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if str(project.root).encode() in words:
            for setting in settings:
                if setting.startswith(b"RANK="):
                    found[int(setting[5:])] = int(process.name)
    return found


def saved(project):
    """When an epoch of the first member was saved last, ns; 0 before any."""
    try:
        return (project.run_dir("default") / "last.pt").stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def begun(project, command):
    """A training under way, once it has saved an epoch of its first member."""
    before = saved(project)
    process = subprocess.Popen(
        command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    until = time.monotonic() + 120
    while saved(project) == before:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.05)
    return process


@in_proc
def test_a_rank_that_is_killed_ends_the_others_and_the_same_command_goes_on(
    make_project, learnable
):
    whole, broken = make_project(learnable, name="whole"), make_project(learnable, name="broken")
    line = ["train", *LINE, "--epochs", "8"]
    for victim in (1, 0):
        process = begun(broken, together(broken, 2, *line))
        os.kill(ranks_of(broken)[victim], signal.SIGKILL)
        process.communicate(timeout=60)
        assert process.returncode != 0
        assert ranks_of(broken) == {}
    done = run(together(broken, 2, *line))
    assert done.returncode == 0, done.stderr
    assert "going on after epoch" in done.stderr
    assert run(together(whole, 2, *line)).returncode == 0
    for part in ("model.safetensors", "model.json", "log.csv", "final/model.safetensors"):
        files = [(project.run_dir("default") / part).read_bytes() for project in (whole, broken)]
        assert files[0] == files[1]


@in_proc
@pytest.mark.parametrize("how", ["SIGTERM to torchrun", "SIGUSR1 to one", "time limit"])
def test_all_stop_together_with_75(make_project, learnable, how):
    project = make_project(learnable)
    limit = ["--time-limit", "10s"] if how == "time limit" else []
    process = begun(project, together(project, 2, "train", *LONG, *limit))
    if how == "SIGTERM to torchrun":
        process.send_signal(signal.SIGTERM)
    elif how == "SIGUSR1 to one":
        os.kill(ranks_of(project)[1], signal.SIGUSR1)
    _, said = process.communicate(timeout=60)
    assert ranks_of(project) == {}
    for start in ("Error: ", "Error of process 1: "):
        assert f"{start}Stopped early; " in said
    if how != "SIGTERM to torchrun":  # of which it tells no exit codes
        assert set(re.findall(r"exitcode +: (-?\d+)", said)) == {"75"}


def test_what_cannot_be_shared_is_refused(make_project, learnable):
    project = make_project(learnable)
    found = run(together(project, 2, "status"))
    assert found.returncode != 0
    assert "2 processes started together can train, not status." in found.stderr
    found = run(together(project, 2, "train", *LINE, "--model", "crime_grid"))
    assert found.returncode != 0
    assert "The model normalises by batches" in found.stderr
