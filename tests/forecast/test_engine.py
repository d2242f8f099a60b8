"""The engine: exact tiles, exact references, no look into the future."""

import dataclasses

import numpy as np
import pytest
import torch

from geoforecast.errors import RunError, SettingsError
from geoforecast.forecast import correction as correction_module
from geoforecast.forecast.engine import open_engine, pick_device
from geoforecast.forecast.series import future_times, to_days
from geoforecast.raster.cube import open_cube, update_meta
from geoforecast.raster.grid import Tile
from geoforecast.train import train_model

FAST = {"epochs": 1, "lookback": 3, "horizon": 2, "hidden": 4, "batch_size": 2, "patch": 16}


def lively(engine, kernel_seed=0):
    """The engine with random weights and full blend, so that every halo pixel matters."""
    torch.manual_seed(kernel_seed)
    with torch.no_grad():
        for weight in engine.model.parameters():
            weight.copy_(0.3 * torch.randn(weight.shape))
    full = {"blend": (1.0,) * engine.horizon, "evidence": ()}
    checkpoint = dataclasses.replace(engine.checkpoint, **full)
    return dataclasses.replace(engine, checkpoint=checkpoint)


@pytest.fixture
def engine(make_project, wave):
    project = make_project(wave)
    train_model(project, **FAST)
    return lively(open_engine(project, "default"))


@pytest.fixture
def rain_engine(make_project):
    rng = np.random.default_rng(0)
    base = np.maximum(rng.standard_normal((40, 53)).cumsum(axis=0).cumsum(axis=1), 0)
    frames = np.stack([np.roll(base, (k, 2 * k), (0, 1)) for k in range(20)])[:, None]
    frames = np.where(rng.random(frames.shape) < 0.05, np.nan, frames).astype(np.float32)
    times = np.datetime64("2020-01-01T00:00") + 5 * np.arange(20)
    project = make_project(frames, times=times)
    train_model(project, **FAST, reference="advection")
    return lively(open_engine(project, "default"))


@pytest.fixture
def learning_engine(engine):
    """One whose weight of the correction is still on its way at the last step."""
    leads = engine.horizon
    evidence = ((900.0,) * leads, (1000.0,) * leads, (9.0,) * leads, (9.0,) * leads)
    checkpoint = dataclasses.replace(engine.checkpoint, evidence=evidence)
    result = dataclasses.replace(engine, checkpoint=checkpoint)
    first, last = (
        result.blend_at(step)[0] for step in (engine.split.test - 1, len(engine.cube.times) - 1)
    )
    assert 0.05 < last < 0.9
    assert abs(last - first) > 0.01
    return result


def stitched(engine, size, init, days):
    height, width = engine.cube.grid.shape
    result = np.full((len(days), len(engine.band_names), height, width), np.inf, np.float32)
    for tile in engine.cube.grid.tiles(size):
        result[(..., *tile.slices)] = engine.forecast(tile, init, days).values
    return result


@pytest.mark.parametrize(("block", "size"), [(16, 5), (16, 16), (7, 12), (256, 9), (8, 30)])
@pytest.mark.parametrize("kind", ["engine", "rain_engine", "learning_engine"])
def test_tiles_equal_the_whole_to_the_bit(request, monkeypatch, kind, block, size):
    monkeypatch.setattr(correction_module, "BLOCK_PX", block)
    engine = request.getfixturevalue(kind)
    init = len(engine.cube.times) - 1
    days = to_days(future_times(engine.cube.times, 3)).tolist()  # one lead beyond the horizon
    whole = engine.forecast(engine.cube.grid.whole, init, days).values
    np.testing.assert_array_equal(stitched(engine, size, init, days), whole)


def test_blocks_equal_one_pass_over_the_raster(engine, monkeypatch):
    """To float rounding; with half the halo they would not (tests/models has the exact width)."""
    days = to_days(future_times(engine.cube.times, 2)).tolist()
    init = len(engine.cube.times) - 1
    one_pass = engine.forecast(engine.cube.grid.whole, init, days).values
    monkeypatch.setattr(correction_module, "BLOCK_PX", 8)
    blocks = engine.forecast(engine.cube.grid.whole, init, days).values
    np.testing.assert_allclose(blocks, one_pass, rtol=0, atol=2e-6)
    exact = type(engine.model).halo_px
    monkeypatch.setattr(type(engine.model), "halo_px", lambda *args: exact(*args) // 2)
    short = engine.forecast(engine.cube.grid.whole, init, days).values
    assert np.abs(short - one_pass).max() > 1e-5


@pytest.mark.parametrize("kind", ["engine", "rain_engine", "learning_engine"])
def test_hindcast_equals_forecast_from_the_same_step(request, kind):
    engine = request.getfixturevalue(kind)
    tile = Tile(3, 17, 4, 21)
    steps = engine.split.test_steps
    seen = 0
    for hindcast in engine.hindcasts(tile, steps):
        init = hindcast.step - hindcast.lead
        days = engine.series.days[init + 1 : init + 1 + hindcast.lead].tolist()
        expected = engine.forecast(tile, init, days).values[hindcast.lead - 1]
        np.testing.assert_array_equal(hindcast.forecasts["forecast"], expected)
        seen += 1
    assert seen == len(steps) * engine.horizon  # every step at every lead


def test_every_hindcast_is_of_a_test_step(engine):
    found = {(h.step, h.lead) for h in engine.hindcasts(engine.cube.grid.whole, range(30, 33))}
    assert found == {(step, lead) for step in (30, 31, 32) for lead in (1, 2)}


@pytest.mark.parametrize("blend", [0.0, 1.0])
@pytest.mark.parametrize("normalise", ["zscore", "minmax", "robust", "log1p", "none"])
def test_an_untrained_model_equals_its_reference_to_the_bit(make_project, wave, normalise, blend):
    project = make_project(wave, normalise=normalise)
    train_model(project, **{**FAST, "epochs": 1, "lr": 1e-30})
    engine = open_engine(project, "default")
    checkpoint = dataclasses.replace(engine.checkpoint, blend=(blend,) * engine.horizon)
    engine = dataclasses.replace(engine, checkpoint=checkpoint)
    checked = 0
    for hindcast in engine.hindcasts(engine.cube.grid.whole, engine.split.test_steps):
        np.testing.assert_array_equal(
            hindcast.forecasts["forecast"], hindcast.forecasts[engine.reference]
        )
        checked += 1
    assert checked


def test_a_forecast_does_not_depend_on_later_steps(make_project, wave):
    project = make_project(wave)
    train_model(project, **FAST)
    changed = wave.copy()
    changed[32:] = 77.0
    other = make_project(changed, name="other")
    train_model(other, **FAST)
    days = [19000.0, 19016.0]
    forecasts = []
    for which in (project, other):
        engine = lively(open_engine(which, "default"))
        forecasts.append(engine.forecast(engine.cube.grid.whole, 31, days).values)
    np.testing.assert_array_equal(*forecasts)


def test_pixels_never_seen_have_no_forecast(make_project, wave):
    wave[:, :, 4:9, 5:8] = np.nan
    project = make_project(wave)
    train_model(project, **FAST)
    engine = lively(open_engine(project, "default"))
    forecast = engine.forecast(engine.cube.grid.whole, 35, [18900.0]).values[0, 0]
    expected = np.ones(forecast.shape, dtype=bool)
    expected[4:9, 5:8] = False
    np.testing.assert_array_equal(np.isfinite(forecast), expected)


def test_a_missing_band_is_named(make_project, wave):
    project = make_project(np.concatenate([wave, wave + 1], axis=1))
    train_model(project, **FAST)
    one = make_project(wave, name="one")
    (one.root / "runs").mkdir()
    project.run_dir("default").rename(one.run_dir("default"))
    with pytest.raises(RunError, match=r"forecasts b0, b1, but the cube has no b1\.") as error:
        open_engine(one, "default")
    assert "Stack that band again" in str(error.value)


def test_other_conditions_are_refused(make_project, wave):
    project = make_project(wave)
    train_model(project, **FAST)
    meta = open_cube(project.cube_path).meta
    update_meta(project.cube_path, units=["K"])
    with pytest.raises(RunError, match="trained on a cube of other units") as error:
        open_engine(project, "default")
    assert "units: was b0: 1, is now b0: K" in str(error.value)
    update_meta(project.cube_path, units=meta["units"], settings={"scale": 1000.0})
    with pytest.raises(RunError, match="of other scale"):
        open_engine(project, "default")


def test_further_bands_of_the_cube_do_not_matter(make_project, wave):
    one = make_project(wave, name="one")
    train_model(one, **FAST)
    two = make_project(np.concatenate([wave, wave + 1], axis=1), name="two")
    (two.root / "runs").mkdir()
    one.run_dir("default").rename(two.run_dir("default"))
    engine = open_engine(two, "default")
    assert engine.band_names == ("b0",)
    assert engine.forecast(engine.cube.grid.whole, 35, [18900.0]).values.shape == (1, 1, 23, 31)


def test_a_passing_zero_is_no_floor(make_project, wave):
    values = wave.copy()
    values[3, 0, 2, 2] = 0.0  # the training block touches 0 once, later steps go below
    values[22:] = -2.0
    project = make_project(values)
    train_model(project, **{**FAST, "epochs": 1, "lr": 1e-30}, reference="persistence")
    engine = open_engine(project, "default")
    assert engine.statistics[0].minimum == 0
    assert engine.forecast(engine.cube.grid.whole, 35, [18900.0]).values.max() == -2.0


def test_rain_is_not_forecast_below_zero(make_project):
    rng = np.random.default_rng(0)
    rain = np.maximum(rng.standard_normal((20, 1, 16, 16)), 0).astype(np.float32)
    times = np.datetime64("2020-01-01T00:00") + 5 * np.arange(20)
    project = make_project(rain, times=times)
    train_model(project, **FAST)
    engine = lively(open_engine(project, "default"))
    for hindcast in engine.hindcasts(engine.cube.grid.whole, engine.split.test_steps):
        for name, forecast in hindcast.forecasts.items():
            assert forecast.min() >= 0, name


def test_a_missing_run_is_named(make_project, wave):
    with pytest.raises(RunError, match="The run 'nobody' does not exist"):
        open_engine(make_project(wave), "nobody")


def test_a_damaged_run_is_named(make_project, wave):
    project = make_project(wave)
    train_model(project, **FAST)
    path = project.run_dir("default") / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RunError, match="The run 'default' is damaged"):
        open_engine(project, "default")


def test_an_absent_device_is_an_error():
    absent = "mps" if not torch.backends.mps.is_available() else "cuda"
    with pytest.raises(SettingsError, match=f"--device {absent}"):
        pick_device(absent)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (["2020-11-01", "2020-12-01", "2021-01-01"], ["2021-02-01", "2021-03-01"]),
        (["2020-11-30", "2020-12-31", "2021-01-31"], ["2021-02-28", "2021-03-31"]),
        (["2021-01-31", "2021-03-31", "2021-05-31"], ["2021-07-31", "2021-09-30"]),
        (["2019-01-01", "2020-01-01", "2021-01-01"], ["2022-01-01", "2023-01-01"]),
        (["2020-01-01", "2020-01-17", "2020-02-02"], ["2020-02-18", "2020-03-05"]),
        (
            ["2020-01-01T10:10:20", "2020-01-06T10:10:28", "2020-01-11T10:10:36"],
            ["2020-01-16T10:10:36", "2020-01-21T10:10:36"],
        ),
        (["2020-01-01T00:00", "2020-01-01T00:05"], ["2020-01-01T00:10", "2020-01-01T00:15"]),
    ],
)
def test_future_times_keep_the_rhythm(times, expected):
    after = future_times(np.array(times, dtype="datetime64[s]"), 2)
    np.testing.assert_array_equal(after, np.array(expected, dtype="datetime64[s]"))
