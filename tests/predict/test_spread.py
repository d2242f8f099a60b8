"""A forecast made in units: the same bits for any tile, thread, shard and moment of a kill."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import rasterio
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from geoforecast.cli import cli
from geoforecast.errors import InputError, InterruptedRunError
from geoforecast.forecast import correction
from geoforecast.predict import crew, predict_rasters, predict_share, units
from geoforecast.predict.making import LEARNED, begin, making_dir
from geoforecast.predict.plan import make_plan
from geoforecast.project import Project
from geoforecast.train import train_model

TRAIN = {"model": "convlstm", "epochs": 1, "lookback": 3, "horizon": 2, "hidden": 4, "patch": 16}
SIDE = 16  # of a unit in these tests: the raster of 40 x 56 pixels has twelve
UNITS = 12


def scenes(steps: int = 34) -> np.ndarray:
    """(time, band, y, x) with gaps, and a corner that was never seen."""
    rng = np.random.default_rng(11)
    t, (y, x) = np.arange(steps)[:, None, None], np.mgrid[:40, :56]
    values = 0.5 + 0.2 * np.sin(2 * np.pi * (t / 23 - x / 60 + y / 90))
    values = values + 0.03 * rng.standard_normal(values.shape)
    values[rng.random(values.shape) < 0.1] = np.nan
    values[:, :5, :7] = np.nan
    return values[:, None].astype(np.float32)


def with_weight(project: Project) -> None:
    """Give the run a correction that is not zero, and a weight, whatever it has learned."""
    folder = project.run_dir("default")
    weights, generator = load_file(folder / "model.safetensors"), torch.Generator().manual_seed(0)
    for tensor in weights.values():
        if tensor.is_floating_point():
            tensor += 0.1 * torch.randn(tensor.shape, generator=generator)
    save_file(weights, folder / "model.safetensors")
    meta = json.loads((folder / "model.json").read_text())
    meta |= {"blend": [0.5, 0.6], "evidence": [[1.0] * 2, [1.0] * 2, [10.0] * 2, [10.0] * 2]}
    (folder / "model.json").write_text(json.dumps(meta))


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Where the trained project is kept, of which every test has a copy."""
    return tmp_path_factory.mktemp("kept") / "project"


@pytest.fixture
def project(kept, make_project, tmp_path, monkeypatch):
    """A project with a run, on a lattice and in units of few pixels."""
    monkeypatch.setattr(correction, "BLOCK_PX", SIDE // 2)
    monkeypatch.setattr(units, "UNIT_PX", SIDE)
    if not kept.exists():
        made = make_project(scenes(), name="made")
        train_model(made, **TRAIN)
        with_weight(made)
        shutil.copytree(made.root, kept)
    shutil.copytree(kept, tmp_path / "project")
    return Project(tmp_path / "project")


def tifs(project):
    """The bytes of every raster of the only forecast, by name."""
    (folder,) = (project.root / "forecasts" / "default").glob("[!.]*")
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.tif"))}


@pytest.fixture(scope="module")
def expected():
    """Filled by made_at_once."""
    return {}


def made_at_once(project, expected):
    """What one process with one thread makes, kept for all tests."""
    if not expected:
        other = Project(project.root.with_name("at-once"))
        shutil.copytree(project.root, other.root)
        before, units.UNIT_PX = units.UNIT_PX, 64
        try:
            predict_rasters(other, tile=64, samples=2, jobs=1)
        finally:
            units.UNIT_PX = before
        expected.update(tifs(other))
    return expected


@pytest.mark.parametrize(
    ("tile", "jobs"), [(256, 1), (16, 2), pytest.param(9999, 3, marks=pytest.mark.slow)]
)
def test_any_tile_and_number_of_threads_give_the_same_bits(project, expected, tile, jobs):
    predict_rasters(project, tile=tile, jobs=jobs, samples=2)
    assert tifs(project) == made_at_once(project, expected)
    assert not list((project.root / "forecasts" / "default").glob(".*"))


@pytest.mark.parametrize("count", [pytest.param(1, marks=pytest.mark.slow), 5])
def test_shards_and_finalise_give_the_bits_of_one_process(project, expected, count):
    done = 0
    for index in reversed(range(count)):
        told = predict_share(project, (index, count), samples=2, tile=16 + index)
        assert (told.all_units, told.before) == (UNITS, 0)
        assert f"Share {index} of {count}: {told.units} of 12 units" in told.describe()
        done += told.units
    assert done == UNITS
    again = predict_share(project, (0, count), samples=2)
    assert again.before == again.units  # nothing is made twice
    predict_rasters(project, finalise=True, samples=2)
    assert tifs(project) == made_at_once(project, expected)
    assert not list((project.root / "forecasts" / "default").glob(".*"))


def test_the_last_shards_knowledge_is_the_first_ones(project, monkeypatch):
    predict_share(project, (0, 2))
    monkeypatch.setattr(
        "geoforecast.forecast.evidence.Watch._learn", lambda _: pytest.fail("learned again")
    )
    monkeypatch.setattr(
        "geoforecast.forecast.trust.Trust._learn", lambda _: pytest.fail("learned again")
    )
    predict_share(project, (1, 2))
    predict_rasters(project, finalise=True)


def test_finalise_names_the_shards_that_are_missing(project):
    with pytest.raises(InputError, match="12 of 12 units of the forecast are not done") as caught:
        predict_rasters(project, finalise=True)
    assert caught.value.where == ("no shard of this forecast has been run",)
    assert not list((project.root / "forecasts" / "default").glob(".*"))
    for index in (0, 3):
        predict_share(project, (index, 6))
    with pytest.raises(InputError, match="8 of 12 units of the forecast are not done") as caught:
        predict_rasters(project, finalise=True)
    assert caught.value.where == ("of 6 shards these are missing: 1, 2, 4, 5",)
    with pytest.raises(InputError, match="12 of 12 units") as caught:
        predict_rasters(project, finalise=True, steps=1)
    assert caught.value.where == ("shards were run by another run, cube, settings or version",)
    predict_rasters(project)  # without --finalise the rest is done here


def test_units_of_other_settings_are_not_taken(project):
    predict_share(project, (0, 1), samples=1, seed=3)
    folder = making_dir(make_plan(project, project.settings("predict")))
    (old,) = folder.iterdir()
    for other in ({"seed": 4}, {"samples": 2, "seed": 3}, {"interval": 0.5, "seed": 3}):
        plan = make_plan(project, project.settings("predict", **{"samples": 1, **other}))
        assert begin(plan, alone=False).folder != old
    same = make_plan(project, project.settings("predict", samples=1, seed=3, tile=32))
    assert begin(same, alone=False).folder == old


def test_units_of_another_run_are_not_taken_and_go(project):
    predict_share(project, (0, 1))
    folder = making_dir(make_plan(project, project.settings("predict")))
    (old,) = folder.iterdir()
    with_weight(project)
    plan = make_plan(project, project.settings("predict"))
    assert begin(plan, alone=False).folder != old
    assert old.exists()  # its shards may still be at work
    begin(plan, alone=True)
    assert not old.exists()


def test_an_interrupted_forecast_goes_on_where_it_was(project, expected):
    asked = []

    def interrupted():
        folders = list((project.root / "forecasts" / "default").glob(".*-making/*"))
        asked.append(len(list(folders[0].glob("*.unit"))) if folders else 0)
        return asked[-1] >= 4

    with pytest.raises(InterruptedRunError, match=r"\d+ of 12 units done; they are kept") as caught:
        predict_rasters(project, samples=2, jobs=2, interrupted=interrupted)
    assert caught.value.exit_code == 75
    totals = []
    predict_rasters(project, samples=2, progress=lambda _, total: totals.append(total))
    assert totals[0] <= UNITS - 4
    assert tifs(project) == made_at_once(project, expected)


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_unit_is_made_again(project, expected, damage):
    predict_share(project, (0, 1), samples=2)
    plan = make_plan(project, project.settings("predict", samples=2))
    making = begin(plan, alone=False)
    path = making.folder / making.units[5].file
    data = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
        assert making.missing(making.units) == [making.units[5]]
    else:
        data[300] ^= 1
        path.write_bytes(data)
        with pytest.raises(Exception, match=r"is damaged .*; it is removed"):
            predict_rasters(project, samples=2, finalise=True)
    predict_rasters(project, samples=2)
    assert tifs(project) == made_at_once(project, expected)


def test_what_was_learned_is_damaged(project):
    predict_share(project, (0, 2))
    plan = make_plan(project, project.settings("predict"))
    (begin(plan, alone=False).folder / LEARNED).write_bytes(b"no")
    with pytest.raises(Exception, match=r"learned.safetensors is damaged"):
        predict_rasters(project)


def test_nodata_lies_exactly_where_nothing_was_ever_seen(project):
    result = predict_rasters(project, samples=1)
    ever = np.isfinite(scenes()).any(axis=0)
    for path in (*result.files, *result.bounds[0], result.samples[0][1]):
        with rasterio.open(path) as dataset:
            assert np.isnan(dataset.nodata)
            np.testing.assert_array_equal(np.isfinite(dataset.read()), ever)
    assert result.valid_fraction == pytest.approx(1 - 35 / (40 * 56))


def test_errors_of_any_thread_end_it_and_keep_what_is_done(project, monkeypatch):
    pixels = crew.layer_pixels

    def failing(plan, engine, tile):
        if tile.row0 == SIDE and tile.col0 == SIDE:
            raise OSError(28, "No space left on device")
        return pixels(plan, engine, tile)

    monkeypatch.setattr(crew, "layer_pixels", failing)
    with pytest.raises(OSError, match="No space left"):
        predict_rasters(project, jobs=2)
    monkeypatch.undo()
    monkeypatch.setattr(correction, "BLOCK_PX", SIDE // 2)
    monkeypatch.setattr(units, "UNIT_PX", SIDE)
    plan = make_plan(project, project.settings("predict"))
    making = begin(plan, alone=False)
    assert len(making.missing(making.units)) < UNITS
    assert not list(making.folder.glob(".*"))  # no draft is left


def run(project, *words):
    return CliRunner().invoke(cli, ["-p", str(project.root), "predict", *words])


def test_the_command_line_does_the_same(project, expected):
    assert "--shard 3/2 is no share" in run(project, "--shard", "3/2").stderr
    both = run(project, "--shard", "0/2", "--finalise")
    assert both.exit_code == 2
    assert "three ways of doing the work" in both.stderr
    done = [run(project, "--samples", "2", "--shard", f"{index}/2") for index in range(2)]
    assert [one.exit_code for one in done] == [0, 0]
    assert "Share 1 of 2: 6 of 12 units are done, 0 of them before." in done[1].stdout
    assert run(project, "--samples", "2", "--finalise").exit_code == 0
    assert tifs(project) == made_at_once(project, expected)


KILLED = """
import sys
from geoforecast.forecast import correction
from geoforecast.predict import units
correction.BLOCK_PX, units.UNIT_PX = {block}, {side}
sys.argv = ["geoforecast", "-p", {root!r}, "-q", "predict", "--samples", "2", "-j", "2"]
from geoforecast.__main__ import main
main()
"""


@pytest.mark.slow
def test_a_forecast_that_is_killed_again_and_again_ends_with_the_same_bits(project, expected):
    code = KILLED.format(block=SIDE // 2, side=SIDE, root=str(project.root))
    words = [sys.executable, "-c", code]
    start = time.monotonic()
    other = Project(project.root.with_name("whole"))
    shutil.copytree(project.root, other.root)
    whole = [sys.executable, "-c", code.replace(str(project.root), str(other.root))]
    subprocess.run(whole, check=True, capture_output=True)
    usual = time.monotonic() - start
    draw = random.Random(5)
    ended = 0
    for kill in range(20):
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            process.wait(usual * draw.uniform(0.1, 1.1))
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
        told = process.communicate()[1]
        assert process.returncode in (0, -signal.SIGKILL), told
        if process.returncode == 0:
            ended += 1
            assert tifs(project) == made_at_once(project, expected)
            if kill % 2:  # begin anew, and with an older forecast in its place
                shutil.rmtree(project.root / "forecasts")
    subprocess.run(words, check=True, capture_output=True)
    assert tifs(project) == made_at_once(project, expected)
    assert not list((project.root / "forecasts" / "default").glob(".*"))
    assert ended < 20
