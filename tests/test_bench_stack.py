"""The benchmark of stack: its scenes are what they say, and its figures are counted right."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import rasterio
import rasterio.warp

STACK = Path(__file__).parents[1] / "benchmarks" / "stack"


@pytest.fixture
def part(monkeypatch):
    """A function that imports a file of the benchmark by name."""
    monkeypatch.syspath_prepend(str(STACK))
    before = set(sys.modules)

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    yield load
    for name in set(sys.modules) - before:
        if str(STACK) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def pixels(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read(1)


def test_scenes_lie_in_two_zones_about_one_place(part, tmp_path) -> None:
    work = part("make_scenes").make_scenes(tmp_path, 2, 200)
    assert work.shape == (260, 260)
    for step, epsg in enumerate((32632, 32633)):
        with (
            rasterio.open(work.path(step, "B02")) as band,
            rasterio.open(work.path(step, "SCL")) as scl,
        ):
            assert (band.crs.to_epsg(), band.shape, band.dtypes[0]) == (epsg, (200, 200), "uint16")
            assert (scl.bounds, scl.shape, scl.dtypes[0]) == (band.bounds, (100, 100), "uint8")
            # The middle of the scene is the middle of the target, to a mask pixel.
            middle = band.transform @ (100, 100)
            x, y = rasterio.warp.transform(band.crs, work.crs, [middle[0]], [middle[1]])
        left, bottom, right, top = work.bounds
        assert abs(x[0] - (left + right) / 2) <= 20
        assert abs(y[0] - (bottom + top) / 2) <= 20


def test_scenes_have_clouds_and_no_data_where_the_classes_say_so(part, tmp_path) -> None:
    work = part("make_scenes").make_scenes(tmp_path, 2, 200)
    scl, band = pixels(work.path(0, "SCL")), pixels(work.path(0, "B04"))
    assert {0, 3, 9} <= set(np.unique(scl).tolist())
    np.testing.assert_array_equal(band == 0, np.kron(scl == 0, np.ones((2, 2), bool)))


def test_the_same_seed_gives_the_same_pixels_whatever_else_is_made(part, tmp_path) -> None:
    scenes = part("make_scenes")
    first = scenes.make_scenes(tmp_path / "a", 1, 200)
    second = scenes.make_scenes(tmp_path / "b", 3, 200)
    for band in ("B02", "SCL"):
        np.testing.assert_array_equal(pixels(first.path(0, band)), pixels(second.path(0, band)))
    # The left side, where no date has its edge.
    clouds = [pixels(second.path(step, "SCL"))[:, :60] == 9 for step in (0, 2)]
    assert not np.array_equal(*clouds)


def test_work_survives_its_file(part, tmp_path) -> None:
    work = part("make_scenes").make_scenes(tmp_path, 2, 200)
    assert part("work").load_work(Path(work.folder) / "work.json") == work


def test_ratios_are_taken_within_a_repeat(part) -> None:
    shows = part("shows")

    def run(name: str, wall: float) -> object:
        return shows.Run(name, wall, wall - 1, 100, wall)

    # The machine was slow in the second repeat; the third has no peer b.
    rounds = [
        {"geoforecast": run("geoforecast", 2), "a": run("a", 8), "b": run("b", 10)},
        {"geoforecast": run("geoforecast", 20), "a": run("a", 60), "b": run("b", 90)},
        {"geoforecast": run("geoforecast", 2), "a": run("a", 10)},
    ]
    assert shows.names_of(rounds) == ["geoforecast", "a"]
    assert shows.fastest_peer(rounds) == "a"
    assert shows.ratio(rounds, "a", "geoforecast", imports=True) == 4  # of 4, 3, 5
    assert shows.ratio(rounds, "a", "geoforecast", imports=False) == 7  # of 7, 59/19, 9
    assert shows.ratio(rounds, "b", "geoforecast", imports=True) is None


def test_a_figure_says_whether_it_hit_its_target(part) -> None:
    show = part("shows").Show
    assert show("speed", 3.6, 3.5).line().endswith("| hit |")
    assert show("speed", 3.4, 3.5).line().endswith("| MISS |")
    assert show("memory", 500, 512, least=False).line().endswith("| hit |")
    assert show("memory", 513, 512, least=False).line().endswith("| MISS |")
    assert "skipped: no data" in show("radar", None, 1, reason="no data").line()


def test_memory_of_child_processes_counts(part) -> None:
    measure = part("measure")
    # One write each, so that the two do not mix.
    child = (
        "import os, sys; held = b'x' * 2**26; os.write(1, b'ready' + bytes([10])); sys.stdin.read()"
    )
    parent = (
        "import subprocess, sys\n"
        f"start = lambda: subprocess.Popen([sys.executable, '-c', {child!r}])\n"
        "children = [start(), start()]\n"
        "sys.exit(sum(child.wait() for child in children))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["ready\n"] * 2
        members = measure.tree(process.pid)
        held = [measure.memory(member) for member in members]
    assert len(members) == 3
    assert 2**27 < sum(now for now, _ in held) < 2**28
    assert all(now <= highest for now, highest in held)
    assert measure.memory(process.pid) == (0, 0)  # it has ended


def test_a_failing_contender_keeps_its_code_and_its_words(part, tmp_path) -> None:
    code = "print('no such band'); raise SystemExit(3)"
    measured = part("measure").run_measured([sys.executable, "-c", code], tmp_path / "log")
    assert (measured.code, measured.output) == (3, "no such band\n")
    assert measured.peak_mib < 64  # its own, not that of this process, which is larger


def test_clouds_grow_in_a_square(part) -> None:
    cloud = np.zeros((7, 8), bool)
    cloud[0, 3] = True
    expected = np.zeros_like(cloud)
    expected[:3, 1:6] = True
    np.testing.assert_array_equal(part("peers").grown(cloud, 2), expected)


def test_peers_sum_what_is_left_of_the_clouds(part) -> None:
    peers = part("peers")
    number = np.array([[10, 0, 30], [40, 50, 60]], np.uint16)
    scl = np.array([[4, 4, 9], [4, 4, 4]], np.uint8)
    block = peers.masked([number] * 4, scl, 0)
    # Left are 10, 40, 50 and 60: mean 40, variance (900 + 0 + 100 + 400) / 4 = 350.
    means, deviations = peers.statistics(peers.sums_of(block))
    assert means == [40.0] * 4
    assert deviations == pytest.approx([350**0.5] * 4)
