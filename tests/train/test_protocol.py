"""Folds and hold-outs: what a training must not see changes no bit of it."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from geoforecast.errors import (
    InputError,
    InterruptedRunError,
    RunError,
    SeriesTooShortError,
    SettingsError,
)
from geoforecast.forecast.engine import open_engine
from geoforecast.forecast.finish import Finishing
from geoforecast.project import read_history
from geoforecast.raster.cube import CubeWriter, open_cube, update_meta
from geoforecast.raster.grid import Tile
from geoforecast.raster.holdout import HELD_OUT, held_out_blocks, load_holdout
from geoforecast.raster.layers import StaticWriter
from geoforecast.samples.normaliser import fit_normaliser, fit_statistics, from_meta, to_meta
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
    logs = [project.run_dir(run) / "log.csv" for project in (one, other)]  # of every epoch
    assert logs[0].exists() == (content(one, run)["config"]["architecture"] != "none")
    assert not logs[0].exists() or logs[0].read_text() == logs[1].read_text()


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
    days = np.cumsum([16] * 10 + [2] * 14)
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


def add_static(project, layer):
    """Put a static layer (1, y, x) into a project's cube."""
    height, width = layer.shape[1:]
    writer = StaticWriter(
        project.cube_path, names=["dem"], units=["m"], shape=(height, width), sources=[]
    )
    writer.write(Tile(0, height, 0, width), layer.astype(np.float32), np.isfinite(layer))
    writer.finish()


def add_drivers(project, values):
    """Put a cube of drivers (time, 1, y, x), every 16 days, into a project's cube."""
    place, cube = project.cube_path / "drivers", open_cube(project.cube_path)
    times = (np.datetime64("2020-01-01") + 16 * np.arange(len(values))).astype("datetime64[s]")
    observed = np.ones(len(times), dtype=bool)
    writer = CubeWriter(
        place, times=times, bands=["t2m"], grid=cube.grid, dtype="float32", observed=observed
    )
    writer.write(0, 0, values.astype(np.float32), np.isfinite(values))
    cadence = {"step": "none", "median_seconds": 16 * 86400.0}
    meta = {"kind": "continuous", "units": ["K"], "cadence": cadence}
    writer.finish({**meta, "split": dict(cube.meta["split"]), "normaliser": None})
    statistics = fit_statistics(open_cube(place), range(len(times)))
    update_meta(place, normaliser=to_meta(fit_normaliser("zscore", statistics), statistics))


def regions(path, col0, row0, col1, row1):
    """A GeoJSON of one rectangle, in pixels of the projects' grid."""
    left, right, top, bottom = (
        500000 + 10 * col0,
        500000 + 10 * col1,
        5200000 - 10 * row0,
        5200000 - 10 * row1,
    )
    ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
    shape = {"type": "Polygon", "coordinates": [ring]}
    content = {
        "type": "FeatureCollection",
        "features": [{"type": "Feature", "properties": {}, "geometry": shape}],
        "crs": {"type": "name", "properties": {"name": "EPSG:32633"}},
    }
    path.write_text(json.dumps(content))
    return path


def surrounded(make_project, values, hidden, wild, name):
    """A project with a static layer, drivers and a further band, wild where hidden if so asked."""
    steps, shape = len(values), values.shape[2:]
    rng = np.random.default_rng(3)
    layer, driver = rng.random((1, *shape)), rng.random((steps + 2, 1, *shape))
    values = np.concatenate([values, rng.random((steps, 1, *shape), np.float32)], axis=1)
    if wild:
        for array in (layer, driver, values):
            array[..., hidden] = WILD * (1 + rng.random(array[..., hidden].shape))
    project = make_project(values, name=name)
    add_static(project, layer)
    add_drivers(project, driver)
    return project


def test_nothing_beside_a_held_out_pixel_reaches_a_run(make_project, small):
    rows = held_out_blocks(2, (16, 18), 0, 1)
    projects = [
        surrounded(make_project, small, rows.hidden, wild, f"wild-{wild}") for wild in (False, True)
    ]
    for project in projects:
        train_model(project, **LEARNED, **BLOCKS, bands=("b0",))
    context = content(projects[0], "default")["context"]
    assert [len(context[key]["names"]) for key in ("static", "drivers", "bands")] == [1, 1, 1]
    assert_same(*projects, "default")


def test_what_is_learned_after_training_comes_from_no_held_out_pixel(make_project, small):
    known = []
    for name in ("clean", "poisoned"):
        project = make_project(small, name=name)
        train_model(project, **LEARNED, **BLOCKS)
        path = project.run_dir("default") / "model.json"
        path.write_text(json.dumps(content(project, "default") | {"blend": [0.4]}))
        engine = open_engine(project, "default", finishing=Finishing(bias="mean-variance"))
        torch.manual_seed(0)
        with torch.no_grad():
            for weight in engine.model.parameters():  # or its correction would be 0
                weight.copy_(0.3 * torch.randn(weight.shape))
        last = engine.watch.knowledge(23)
        known.append((last.weights, engine.trust.evidence(23), engine.bias.at(23).table))
        labels = held_out_blocks(2, (16, 18), 0, 1)
        small[:, :, labels.hidden] = 7 + np.arange(24)[:, None, None]
    assert known[0][1][1].all()  # squares of the correction
    for one, other in zip(*known, strict=True):
        np.testing.assert_array_equal(one, other)
    # Its own past is what a held-out pixel is forecast from, as in real use.
    made = engine.forecast(Tile(0, 16, 0, 18), 23, [float(engine.series.days[23] + 16)])
    assert (made.values[0, 0][labels.labels == HELD_OUT] > 1).all()
    assert open_engine(project, "default").watch.knowledge(23).weights.any()


def test_a_refit_holds_out_the_same(make_project, small):
    finals = []
    for name in ("clean", "poisoned"):
        project = make_project(small, name=name)
        train_model(project, **TINY, **BLOCKS, refit=True)
        finals.append(load_file(project.run_dir("default") / "final" / "errors.safetensors"))
        small[:, :, held_out_blocks(2, (16, 18), 0, 1).hidden] = WILD
    for key, array in finals[0].items():
        np.testing.assert_array_equal(array, finals[1][key])


def test_a_fold_and_a_hold_out_go_together(make_project, small):
    settings = {**TINY, **BLOCKS, "fold": "1/2"}
    clean = make_project(small, name="clean")
    train_model(clean, **settings)
    run = "default.fold1of2"
    seen = split_of(clean, run).seen
    small[seen:] = WILD
    small[:, :, held_out_blocks(2, (16, 18), 0, 1).hidden] = 2 * WILD
    poisoned = make_project(small, name="poisoned")
    train_model(poisoned, **settings)
    assert_same(clean, poisoned, run)
    assert content(clean, run)["holdout"]
    assert split_of(clean, run).gap == 3


def test_another_hold_out_is_another_training(make_project, small, tmp_path):
    project = make_project(small)
    path = regions(tmp_path / "z.geojson", 2, 2, 6, 6)
    train_model(project, **TINY, holdout_region=str(path), holdout_halo=1)
    train_model(project, **TINY, holdout_region=str(path), holdout_halo=1)
    again = tmp_path / "copy.geojson"
    again.write_text(path.read_text())
    train_model(project, **TINY, holdout_region=str(again), holdout_halo=1)
    regions(path, 2, 2, 6, 7)
    with pytest.raises(RunError, match="other settings") as error:
        train_model(project, **TINY, holdout_region=str(path), holdout_halo=1)
    assert "holdout: was" in str(error.value)
    with pytest.raises(RunError, match="other settings"):
        train_model(project, **TINY)


def test_classes_of_held_out_pixels_are_not_known(make_project, small):
    """A class that training cannot see is one that no forecast says."""
    hidden = held_out_blocks(2, (16, 18), 0, 1).hidden
    codes = (small > 0.5).astype(np.float32)
    codes[:, :, hidden] = 7
    project = make_project(codes)
    update_meta(project.cube_path, kind="categorical", normaliser=None)
    train_model(project, **TINY, **BLOCKS)
    assert content(project, "default")["target"]["classes"] == [0, 1]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"holdout_blocks": 60}, "--holdout-blocks 60"),
        ({"holdout_blocks": 2, "holdout_halo": 30}, "leaves no pixel"),
        ({"holdout_region": "none.gpkg"}, "There is no file"),
    ],
)
def test_hold_outs_that_cannot_be(make_project, small, wrong, says):
    project = make_project(small)
    with pytest.raises((InputError, SettingsError), match=says):
        train_model(project, **TINY, **wrong)
    assert not (project.root / "runs").exists()
