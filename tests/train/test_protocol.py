"""Folds and hold-outs: what a training must not see changes no bit of it."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from geoforecast.errors import (
    InterruptedRunError,
    SeriesTooShortError,
    SettingsError,
)
from geoforecast.project import read_history
from geoforecast.raster.cube import open_cube
from geoforecast.raster.holdout import load_holdout
from geoforecast.samples.normaliser import from_meta
from geoforecast.samples.split import Split
from geoforecast.train import estimate_training, train_folds, train_model

TINY = {"lookback": 2, "horizon": 1, "model": "none"}
LEARNED = {
    **{"lookback": 2, "horizon": 1, "model": "convlstm", "epochs": 1},
    **{"hidden": 2, "batch_size": 4, "patch": 8},
}
WILD = np.float32(-1e4)


def content(project, run):
    return json.loads((project.run_dir(run) / "model.json").read_text())


def assert_same(one, other, run):
    """Whether two projects hold the same run, to the bit."""
    assert content(one, run) == content(other, run)
    for name in ("model.safetensors", "errors.safetensors"):
        a, b = (load_file(project.run_dir(run) / name) for project in (one, other))
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])


@pytest.fixture
def small(wave):
    """(24, 1, 16, 18) of the wave."""
    return np.ascontiguousarray(wave[:24, :, :16, :18])


def split_of(project, run):
    return Split.from_meta(content(project, run)["split"], open_cube(project.cube_path).times)


# ---- folds ----------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [TINY, LEARNED], ids=["mixture", "correction"])
def test_nothing_after_its_gap_begins_reaches_a_fold(make_project, small, settings):
    clean = make_project(small, name="clean")
    train_model(clean, **settings, fold="1/3")
    split = split_of(clean, "default.fold1of3")
    assert split.gap == 3
    assert split.seen < split.test < split.steps < 24
    small[split.seen :] = WILD * (1 + np.arange(24 - split.seen))[:, None, None, None]
    poisoned = make_project(small, name="poisoned")
    # Even the statistics of the cube's own split know the wild values.
    assert open_cube(poisoned.cube_path).meta["normaliser"]["statistics"][0]["minimum"] < -1e3
    train_model(poisoned, **settings, fold="1/3")
    assert_same(clean, poisoned, "default.fold1of3")


def test_the_last_step_before_the_gap_does_reach_it(make_project, small):
    """Or the test above would prove nothing."""
    clean = make_project(small, name="clean")
    train_model(clean, **TINY, fold="1/3")
    small[split_of(clean, "default.fold1of3").seen - 1] += 0.5
    changed = make_project(small, name="changed")
    train_model(changed, **TINY, fold="1/3")
    with pytest.raises(AssertionError):
        assert_same(clean, changed, "default.fold1of3")


def test_statistics_are_those_of_the_folds_own_training_steps(make_project, small):
    project = make_project(small)
    train_model(project, **TINY, fold="2/3")
    stored = content(project, "default.fold2of3")
    _, (band,) = from_meta(stored["normaliser"])
    seen = small[split_of(project, "default.fold2of3").train_steps].astype(np.float64)
    assert band.count == seen.size
    assert band.mean == pytest.approx(seen.mean(), rel=1e-9)
    assert (band.minimum, band.maximum) == (seen.min(), seen.max())


def test_the_step_between_scenes_is_that_of_the_past(make_project, small):
    """Scenes that come faster later on tell a fold nothing."""
    days = np.cumsum([16] * 14 + [2] * 10)
    project = make_project(small, times=np.datetime64("2020-01-01") + days)
    train_model(project, **TINY, fold="1/3")
    assert content(project, "default.fold1of3")["step_days"] == 16


def test_folds_share_a_reach_and_are_trained_once(make_project, small):
    project = make_project(small)
    results = train_folds(project, model="none", folds=3, run="x")
    names = [f"x.fold{number}of3" for number in (1, 2, 3)]
    assert [result.run for result in results] == names
    assert len({(content(project, name)["lookback"]) for name in names}) == 1
    written = [(project.run_dir(name) / "model.json").stat().st_mtime_ns for name in names]
    train_folds(project, model="none", folds=3, run="x")
    train_model(project, model="none", fold="2/3", run="x")
    assert written == [(project.run_dir(name) / "model.json").stat().st_mtime_ns for name in names]
    said = [
        (entry["settings"]["run"], entry["settings"]["fold"]) for entry in read_history(project)
    ]
    assert said == [("x", "1/3"), ("x", "2/3"), ("x", "3/3")] * 2 + [("x", "2/3")]


def test_folds_that_were_stopped_go_on_to_the_same_bits(make_project, small):
    whole, broken = make_project(small, name="whole"), make_project(small, name="broken")
    train_folds(whole, **LEARNED, folds=2)
    calls = iter(range(100_000))
    with pytest.raises(InterruptedRunError):
        train_folds(broken, **LEARNED, folds=2, interrupted=lambda: next(calls) == 60)
    done = [broken.run_dir(f"default.fold{n}of2") / "model.json" for n in (1, 2)]
    assert [path.exists() for path in done] == [True, False]
    train_folds(broken, **LEARNED, folds=2)
    for number in (1, 2):
        assert_same(whole, broken, f"default.fold{number}of2")


def test_a_time_limit_is_one_for_all_folds(make_project, small):
    project = make_project(small)
    with pytest.raises(InterruptedRunError):
        train_folds(project, **TINY, folds=3, time_limit="0.001s")
    assert not (project.run_dir("default.fold2of3")).exists()


def test_too_many_folds_name_the_most(make_project, small):
    project = make_project(small)
    with pytest.raises(SeriesTooShortError, match="24 steps are too few for 13 folds") as error:
        train_model(project, **TINY, fold="1/13")
    most = int(str(error.value).split("ut it into ")[1].split(",")[0].lower())
    assert estimate_training(project, **TINY, fold=f"1/{most}").run == f"default.fold1of{most}"
    assert not (project.root / "runs").exists()


@pytest.mark.parametrize(
    ("wrong", "says", "remedy"),
    [
        ({"fold": "4/3"}, "--fold 4/3 is no fold", "--fold 1/5"),
        ({"fold": "1/3", "refit": True}, "--refit learns from every step", "--no-refit"),
        ({"folds": 3}, "--folds 3 means several runs", "--fold 1/3"),
        ({"holdout_blocks": 2, "holdout_region": "x.gpkg"}, "both say", "Give one"),
    ],
)
def test_settings_that_do_not_go_together(make_project, small, wrong, says, remedy):
    project = make_project(small)
    with pytest.raises(SettingsError, match=says) as error:
        train_model(project, **TINY, **wrong)
    assert remedy in str(error.value)
    with pytest.raises(SettingsError, match="trains every fold"):
        train_folds(project, **TINY, fold="1/3", folds=3)


# ---- hold-outs ------------------------------------------------------------------------------

BLOCKS = {"holdout_blocks": 2, "holdout_halo": 1}


@pytest.mark.parametrize("settings", [TINY, LEARNED], ids=["mixture", "correction"])
def test_nothing_of_a_held_out_pixel_reaches_a_run(make_project, small, settings):
    clean = make_project(small, name="clean")
    train_model(clean, **settings, **BLOCKS)
    digest = content(clean, "default")["holdout"]
    grid = open_cube(clean.cube_path).grid
    hidden = load_holdout(clean.run_dir("default"), digest, grid).hidden
    assert 0.2 < hidden.mean() < 0.6
    small[:, :, hidden] = WILD * (1 + np.arange(24))[:, None, None]
    poisoned = make_project(small, name="poisoned")
    train_model(poisoned, **settings, **BLOCKS)
    assert_same(clean, poisoned, "default")
