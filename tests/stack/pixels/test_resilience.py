"""Kills at any moment, shares that are killed, and memory: stack in processes of its own."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from geoforecast.project import Project
from geoforecast.raster import cube_writer, measures
from geoforecast.settings import SplitSettings, StackSettings
from geoforecast.stack import stack_scenes
from geoforecast.stack.pixels import making, units

# One process that stacks; each unit that is noted as done is told in a file.
SCRIPT = """
import sys, json, time
from pathlib import Path
from geoforecast.project import Project
from geoforecast.raster import cube_writer, measures
from geoforecast.settings import SplitSettings, StackSettings
from geoforecast.stack import stack_scenes
from geoforecast.stack.pixels import making
from geoforecast.stack.pixels import units
for module in (measures, cube_writer, making):
    module.CELL_PX = 32
units.UNIT_VALUES = 1
cube_writer.SHARD_VALUES = 1
root, folder, told, options = sys.argv[1:]
note = units.Ledger.note
def noting(self, unit, *rest):
    note(self, unit, *rest)
    with open(told, "a") as out:
        out.write(f"{unit.number}\\n")
    time.sleep(pause)
units.Ledger.note = noting
options = json.loads(options)
pause = options.pop("pause", 0)
stack_scenes(Project(Path(root)), [folder], StackSettings(chunk=32), SplitSettings(), **options)
print("done")
"""


def start(tmp_path, project, told, **options):
    return subprocess.Popen(
        [
            *(sys.executable, "-W", "ignore", "-c", SCRIPT),
            *(str(project), str(tmp_path / "in"), str(told), json.dumps({"jobs": 2, **options})),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "done" in out


def kill_at(process, project, told, units, delay):
    """Kill a process that has noted so many units, a moment later; whether it was killed.

    Told by units and not by a clock, so that a slow or busy machine kills at the same work.
    """
    while process.poll() is None and len(numbers(told)) < units:
        time.sleep(0.001)
    # Before the first unit most of a process's life is imports: wait for a cube in the making.
    while process.poll() is None and not (project / ".stacking" / "cube.zarr").exists():
        time.sleep(0.001)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    _, err = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), err
    return process.returncode != 0


def contents(project):
    """Every file of a cube."""
    place = project / "cube.zarr"
    return {
        str(path.relative_to(place)): path.read_bytes()
        for path in sorted(place.rglob("*"))
        if path.is_file()
    }


def numbers(told):
    return [int(line) for line in told.read_text().split()] if told.exists() else []


@pytest.fixture
def folder(tmp_path, write_tif):
    """Sixteen noisy scenes of three bands: 4 x 6 x 7 units of 32 pixels."""
    for step in range(16):
        data = np.random.default_rng(step).integers(1, 900, (3, 180, 200)).astype(np.uint16)
        day = str(np.datetime64("2020-01-01") + 16 * step).replace("-", "")
        write_tif(tmp_path / "in" / f"a_{day}.tif", data, nodata=0, compress="deflate")
    return tmp_path / "in"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 here")
def test_kills_at_twenty_moments_leave_no_trace(tmp_path, folder):
    """Two kills in each of ten projects: the second goes on where the first was stopped."""
    assert folder.is_dir()
    finish(start(tmp_path, tmp_path / "clean", tmp_path / "clean.txt"))
    assert sorted(numbers(tmp_path / "clean.txt")) == list(range(168))
    expected = contents(tmp_path / "clean")
    rng = random.Random(0)
    killed = 0
    for row in range(10):
        project, told = tmp_path / f"p{row}", tmp_path / f"p{row}.txt"
        for turn in range(2):
            # Early and late in what there is to do, the second beyond the first.
            units = rng.randint(80 * turn, 80 * (1 + turn))
            process = start(tmp_path, project, told)
            killed += kill_at(process, project, told, units, rng.uniform(0, 0.02))
        finish(start(tmp_path, project, told))
        assert contents(project) == expected
        # What was noted is never done again; a kill can fall between a note and its telling.
        done = numbers(told)
        assert len(done) == len(set(done)) >= 168 - 2
        assert not (project / ".stacking").exists()
    assert killed >= 15  # the rest were done within the moment after a unit


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 here")
def test_shares_that_are_killed_are_done_again_and_finalised(tmp_path, folder):
    assert folder.is_dir()
    finish(start(tmp_path, tmp_path / "clean", tmp_path / "clean.txt"))
    project, told = tmp_path / "p", [tmp_path / "0.txt", tmp_path / "1.txt"]
    both = [start(tmp_path, project, told[i], shard=(i, 2), pause=0.05) for i in range(2)]
    for process, path in zip(both, told, strict=True):
        while len(numbers(path)) < 5:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    before = [len(numbers(path)) for path in told]
    assert all(5 <= count < 84 for count in before)
    assert not (project / "cube.zarr").exists()
    both = [start(tmp_path, project, told[i], shard=(i, 2)) for i in range(2)]
    for process in both:
        finish(process)
    done = numbers(told[0]) + numbers(told[1])
    assert len(done) == len(set(done)) >= 168 - 2
    last = tmp_path / "last.txt"
    finish(start(tmp_path, project, last, finalise=True))
    assert numbers(last) == []
    assert contents(project) == contents(tmp_path / "clean")


class Killed(BaseException):
    pass


@pytest.mark.parametrize("moment", ["finish", "put_in_place", "discard"])
def test_a_stop_after_the_last_unit_repeats_none(tmp_path, write_tif, monkeypatch, moment):
    """The moments between pixels and a cube in its place, which a kill rarely meets."""
    for module in (measures, cube_writer, making):
        monkeypatch.setattr(module, "CELL_PX", 32)
    monkeypatch.setattr(units, "UNIT_VALUES", 1)
    monkeypatch.setattr(cube_writer, "SHARD_VALUES", 1)
    for step in range(9):
        data = np.random.default_rng(step).random((40, 50)).astype(np.float32)
        data[data < 0.2] = np.nan
        day = str(np.datetime64("2020-01-01") + 16 * step).replace("-", "")
        write_tif(tmp_path / "in" / f"a_{day}.tif", data)
    settings = StackSettings(chunk=32, fill="linear")
    clean, project = Project(tmp_path / "clean"), Project(tmp_path / "p")
    stack_scenes(clean, [tmp_path / "in"], settings, SplitSettings())

    def stop(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(making.Making, moment, stop)
        with pytest.raises(Killed):
            stack_scenes(project, [tmp_path / "in"], settings, SplitSettings())
    assert project.cube_path.exists() == (moment == "discard")
    with monkeypatch.context() as patch:
        patch.setattr(units.Ledger, "note", stop)
        stack_scenes(project, [tmp_path / "in"], settings, SplitSettings())
    assert contents(project.root) == contents(clean.root)


MEMORY = """
import sys, types
from pathlib import Path
from geoforecast.project import Project
from geoforecast.settings import SplitSettings, StackSettings
from geoforecast.stack import stack_scenes, verb
# The report is not part of it: it looks at all overviews at once.
verb.write_quality = lambda *_: types.SimpleNamespace(describe=lambda: "")
stack_scenes(
    Project(Path(sys.argv[1])), sys.argv[2:], StackSettings(res=(9.0,)), SplitSettings(), jobs=2
)
(line,) = [l for l in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in l]
print("KiB", line.split()[1])
"""


def peak(project, files):
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MEMORY, str(project), *map(str, files)],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(result.stdout.split()[-1])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_memory_of_the_pixel_pass_does_not_grow_with_the_dates(tmp_path, write_tif):
    files = []
    for step in range(24):
        rng = np.random.default_rng(step)
        data = rng.integers(1, 4000, (4, 1200, 1200)).astype(np.uint16)
        day = str(np.datetime64("2020-01-01") + 5 * step).replace("-", "")
        files.append(
            write_tif(
                tmp_path / "in" / f"a_{day}.tif", data, nodata=0, tiled=True, compress="deflate"
            )
        )
    # The more of two, because what the threads hold at once is a matter of chance.
    few = max(peak(tmp_path / f"few{run}", files[:12]) for run in range(2))
    many = max(peak(tmp_path / f"many{run}", files) for run in range(2))
    assert many <= 1.05 * few
