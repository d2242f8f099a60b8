"""What a correction sees besides its bands: the rule of drivers, and nothing from the future."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch

from geoforecast.errors import InputError, RunError
from geoforecast.forecast import correction as correction_module
from geoforecast.forecast.context import open_context
from geoforecast.forecast.drivers import Drivers, driven
from geoforecast.forecast.engine import open_engine
from geoforecast.forecast.series import future_times, make_series, to_days
from geoforecast.forecast.steps import StepReader
from geoforecast.predict import predict_rasters
from geoforecast.project import Project, write_json
from geoforecast.raster.cube import CubeWriter, open_cube, update_meta
from geoforecast.raster.grid import Tile
from geoforecast.raster.layers import StaticWriter
from geoforecast.samples.context import Context, Group, Surroundings
from geoforecast.samples.normaliser import (
    Normaliser,
    fit_normaliser,
    fit_statistics,
    to_meta,
)
from geoforecast.train import train_model

FAST = {"epochs": 1, "lookback": 3, "horizon": 2, "hidden": 4, "batch_size": 2, "patch": 16}


def add_drivers(project, values, times, names=("t2m",)):
    """Put a cube of drivers, (time, band, y, x) and NaN where invalid, into a project's cube."""
    cube = open_cube(project.cube_path)
    place = project.cube_path / "drivers"
    shutil.rmtree(place, ignore_errors=True)
    times = np.asarray(times).astype("datetime64[s]")
    observed = np.ones(len(times), dtype=bool)
    writer = CubeWriter(
        place, times=times, bands=names, grid=cube.grid, dtype="float32", observed=observed
    )
    writer.write(0, 0, values.astype(np.float32), np.isfinite(values))
    gaps = np.diff(times).astype("timedelta64[s]").astype(float)
    meta = {
        "kind": "continuous",
        "units": ["K"] * len(names),
        "cadence": {"step": "none", "median_seconds": float(np.median(gaps))},
        "split": dict(cube.meta["split"]),
    }
    writer.finish({**meta, "normaliser": None})
    count = max(1, int(np.searchsorted(times, np.datetime64(meta["split"]["validation_start"]))))
    statistics = fit_statistics(open_cube(place), range(count))
    normaliser = to_meta(fit_normaliser("zscore", statistics), statistics)
    update_meta(place, normaliser=normaliser)


def add_static(project, values, names=("dem",)):
    """Put static layers, (layer, y, x) and NaN where invalid, into a project's cube."""
    shape = values.shape[1:]
    writer = StaticWriter(
        project.cube_path, names=names, units=["m"] * len(names), shape=shape, sources=[]
    )
    writer.write(Tile(0, shape[0], 0, shape[1]), values.astype(np.float32), np.isfinite(values))
    writer.finish()


def surrounded(make_project, wave, *, name="project", late=0.0, after=None, bands=None):
    """A project with two bands, a static layer with a hole and a driver with gaps.

    Drivers come every 5 days from 20 days before the series to 60 days after it. Those later
    than ``after`` are raised by ``late``.
    """
    rng = np.random.default_rng(3)
    two = np.concatenate([wave, rng.random(wave.shape)], axis=1)
    project = make_project((two if bands is None else bands).astype(np.float32), name=name)
    last = open_cube(project.cube_path).times[-1]
    start = np.datetime64("2020-01-01T00:00:00") - np.timedelta64(20, "D")
    times = np.arange(start, last + np.timedelta64(60, "D"), np.timedelta64(5, "D"))
    values = rng.random((len(times), 1, *wave.shape[2:]))
    values[rng.random(values.shape) < 0.2] = np.nan
    if after is not None:
        values[times > after] += late
    add_drivers(project, values, times)
    dem = rng.random((1, *wave.shape[2:]))
    dem[:, 3:6, 4:9] = np.nan
    add_static(project, dem)
    return project


def lively(engine):
    """The engine with random weights and full blend, so that every channel matters."""
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in engine.model.parameters():
            weight.copy_(0.3 * torch.randn(weight.shape))
    full = {"blend": (1.0,) * engine.horizon, "evidence": ()}
    checkpoint = dataclasses.replace(engine.checkpoint, **full)
    return dataclasses.replace(engine, checkpoint=checkpoint)


def give_weight(project):
    """Let the stored correction count, whatever validation said of it."""
    path = project.run_dir("default") / "model.json"
    content = json.loads(path.read_text())
    write_json(path, {**content, "blend": [1.0] * content["horizon"], "evidence": []})


# ---- the rule of drivers ---------------------------------------------------------------------


def plain_driver(values, days, previous, day, reach):
    """The rule for one pixel, value by value."""
    inside = [v for v, d in zip(values, days, strict=True) if previous < d <= day and v == v]
    if inside:
        return np.mean(inside)
    before = [v for v, d in zip(values, days, strict=True) if day - reach <= d <= previous]
    known = [v for v in before if v == v]
    return known[-1] if known else np.nan


@pytest.fixture
def small(make_project):
    return make_project(np.zeros((12, 1, 4, 5), np.float32))


def drivers_of(project, step_days):
    cube = open_cube(project.cube_path / "drivers")
    flat = Normaliser("none", (0.0,) * len(cube.bands), (1.0,) * len(cube.bands))
    drivers = Drivers(cube, Group(cube.bands, cube.units, flat), step_days)
    return drivers, StepReader(cube, cube.bands, cube.grid.whole)


@pytest.mark.parametrize("step_days", [4.0, 16.0])
def test_drivers_at_a_step_are_as_the_rule_says(small, step_days):
    """Irregular times, gaps, two bands: against one pixel and one value at a time."""
    rng = np.random.default_rng(0)
    hours = np.cumsum(rng.integers(6, 400, 40))
    times = np.datetime64("2020-01-01") + hours.astype("timedelta64[h]")
    values = rng.random((40, 2, 4, 5))
    values[rng.random(values.shape) < 0.5] = np.nan
    add_drivers(small, values, times, ("t2m", "rain"))
    drivers, reader = drivers_of(small, step_days)
    reach = max(drivers.own_step_days, step_days)
    stored = values.astype(np.float32)
    seen = set()
    for begin in np.arange(drivers.days[0] - 10, drivers.days[-1] + 30, 8.5):
        for length in (1.0, 16.0):
            found = driven(drivers, reader, begin, begin + length)
            for place in np.ndindex(2, 4, 5):
                of_pixel = stored[(slice(None), *place)]
                expected = plain_driver(of_pixel, drivers.days, begin, begin + length, reach)
                np.testing.assert_allclose(found[place], expected, rtol=1e-6)
                seen.add(bool(np.isfinite(expected)))
    assert seen == {True, False}


def test_an_interval_is_open_before_and_closed_at_its_end(small):
    times = np.datetime64("2020-01-01") + 10 * np.arange(4)
    values = np.array([1.0, 2.0, 4.0, 8.0])[:, None, None, None] * np.ones((1, 1, 4, 5))
    add_drivers(small, values, times)
    drivers, reader = drivers_of(small, 10.0)
    day = drivers.days
    assert driven(drivers, reader, day[0], day[2])[0, 0, 0] == 3.0  # 2 and 4; not 1
    assert driven(drivers, reader, day[0], day[1] - 0.5)[0, 0, 0] == 1.0  # what stands in
    assert driven(drivers, reader, day[3], day[3] + 10)[0, 0, 0] == 8.0  # just young enough
    assert np.isnan(driven(drivers, reader, day[3], day[3] + 10.1)).all()


def test_what_counts_as_the_end_of_drivers(small):
    hours = np.datetime64("2020-01-01T00") + np.arange(48)
    add_drivers(small, np.ones((48, 1, 4, 5)), hours)
    drivers, _ = drivers_of(small, 1.0)
    first = drivers.days[0]
    assert drivers.reaches(first + 1, first + 2)  # hourly up to 23 o'clock is enough for 24
    assert not drivers.reaches(first + 2, first + 3)
    months = np.datetime64("2020-01-01", "D") + np.array([0, 31, 60, 91])
    add_drivers(small, np.ones((4, 1, 4, 5)), months)
    drivers, _ = drivers_of(small, 8.0)
    last = drivers.days[-1]
    assert drivers.reaches(last + 16, last + 24)  # the month goes on
    assert not drivers.reaches(last + 24, last + 32)


# ---- nothing from the future, and the same in any tile ------------------------------------------


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Where a trained project is kept that every test gets a copy of."""
    return tmp_path_factory.mktemp("kept") / "project"


@pytest.fixture
def trained(make_project, wave, tmp_path, kept):
    if not kept.exists():
        project = surrounded(make_project, wave, name="first")
        train_model(project, **FAST, bands=("b0",))
        shutil.copytree(project.root, kept)
    return Project(shutil.copytree(kept, tmp_path / "project"))


def test_all_of_it_is_seen_and_stored(trained):
    context = open_engine(trained, "default").series.context
    assert context.describe() == "static dem; drivers t2m; bands b1"
    assert context.channels == 6
    assert lively(open_engine(trained, "default")).model.config.in_channels == 16


@pytest.mark.parametrize(("block", "size"), [(16, 13), (7, 12), (256, 17)])
def test_tiles_equal_the_whole_to_the_bit(trained, monkeypatch, block, size):
    monkeypatch.setattr(correction_module, "BLOCK_PX", block)
    engine = lively(open_engine(trained, "default"))
    grid, init = engine.cube.grid, len(engine.cube.times) - 1
    days = to_days(future_times(engine.cube.times, 3)).tolist()
    whole = engine.forecast(grid.whole, init, days).values
    assert np.isfinite(whole).all()
    parts = np.empty_like(whole)
    for tile in grid.tiles(size):
        parts[(..., *tile.slices)] = engine.forecast(tile, init, days).values
    np.testing.assert_array_equal(parts, whole)


def test_hindcasts_see_what_forecasts_see(trained):
    engine = lively(open_engine(trained, "default"))
    tile = Tile(3, 17, 4, 21)
    for hindcast in engine.hindcasts(tile, range(31, 34)):
        init = hindcast.step - hindcast.lead
        days = engine.series.days[init + 1 : init + 1 + hindcast.lead].tolist()
        expected = engine.forecast(tile, init, days).values[hindcast.lead - 1]
        np.testing.assert_array_equal(hindcast.forecasts["forecast"], expected)


def forecast_of(project, trained, init, leads):
    """A lively forecast made with the run of one project on the cube of another."""
    engine = lively(open_engine(trained, "default"))
    cube = open_cube(project.cube_path)
    series = dataclasses.replace(engine.series, cube=cube)
    engine = dataclasses.replace(engine, series=series)
    days = to_days(cube.times[init + 1 : init + 1 + leads]).tolist()
    return engine.forecast(cube.grid.whole, init, days).values


def test_no_driver_after_the_valid_time_is_seen(make_project, wave, trained):
    init, times = 20, open_cube(trained.cube_path).times
    made = forecast_of(trained, trained, init, 2)
    later = surrounded(make_project, wave, name="later", late=9.0, after=times[init + 2])
    np.testing.assert_array_equal(forecast_of(later, trained, init, 2), made)
    sooner = surrounded(make_project, wave, name="sooner", late=9.0, after=times[init + 1])
    changed = forecast_of(sooner, trained, init, 2)
    np.testing.assert_array_equal(changed[0], made[0])  # lead 1 ends before those
    assert (changed[1] != made[1]).mean() > 0.9


def test_no_band_after_the_init_time_is_seen(make_project, wave, trained):
    init = 20
    values, _ = open_cube(trained.cube_path).read(0, len(wave))
    made = forecast_of(trained, trained, init, 2)
    values[init + 1 :, 1] += 5
    later = surrounded(make_project, wave, name="later", bands=values.copy())
    np.testing.assert_array_equal(forecast_of(later, trained, init, 2), made)
    values[init, 1] += 5
    now = surrounded(make_project, wave, name="now", bands=values)
    assert (forecast_of(now, trained, init, 2) != made).mean() > 0.9


def test_training_and_forecasting_see_the_same(trained):
    """The channels of a site, cut and windowed, are those that the engine reads at a step."""
    engine = open_engine(trained, "default")
    source = open_context(engine.series)
    init, lookback, leads = 12, 3, 2
    site = source.tile(engine.cube.grid.whole).at(27, 28)
    area = Tile(2, 14, 5, 20)
    cut = site.part(*area.slices).window(init, lookback, leads).channels(lookback + leads)
    days = engine.series.days[init + 1 : init + 1 + leads].tolist()
    read = source.tile(area).at(init, lookback, days).channels(lookback + leads)
    np.testing.assert_array_equal(cut, read)
    known = read[:, 1], read[lookback:, 5]  # static validity; the band's at leads
    assert 0 < known[0].mean() < 1
    assert not known[1].any()
    assert not read[lookback:, 4].any()


def test_a_window_beyond_the_decoded_steps_is_not_known(trained):
    source = open_context(open_engine(trained, "default").series)
    site = source.tile(Tile(0, 4, 0, 4)).at(9, 10)
    x = site.window(8, 3, 2).channels(5)
    assert x[3, 3].any()  # step 9 is decoded
    assert not x[4, 2:].any()  # step 10 is not


# ---- cubes that do not fit --------------------------------------------------------------------


def test_a_cube_that_lacks_what_is_seen_is_refused(make_project, wave, trained):
    give_weight(trained)
    bare = make_project(np.concatenate([wave, wave], axis=1), name="bare")
    (bare.root / "runs").symlink_to(trained.root / "runs")
    with pytest.raises(RunError, match="lacks what the run's correction sees") as error:
        open_engine(bare, "default")
    assert "static layer dem: the cube has none" in str(error.value)
    assert "driver t2m: the cube has none" in str(error.value)
    update_meta(trained.cube_path / "drivers", units=["degC"])
    with pytest.raises(RunError, match="driver t2m: was in K, is now in degC"):
        open_engine(trained, "default")


def test_a_correction_without_weight_needs_nothing(make_project, wave, trained):
    path = trained.run_dir("default") / "model.json"
    write_json(path, {**json.loads(path.read_text()), "blend": [0.0, 0.0]})
    bare = make_project(np.concatenate([wave, wave], axis=1), name="bare")
    (bare.root / "runs").symlink_to(trained.root / "runs")
    assert not open_engine(bare, "default").context.series.context.channels


def test_drivers_that_end_before_the_horizon_are_refused(trained, wave):
    give_weight(trained)
    cube = open_cube(trained.cube_path)
    start, last = cube.times[0], cube.times[-1]
    times = np.arange(start, last + np.timedelta64(20, "D"), np.timedelta64(5, "D"))
    add_drivers(trained, np.ones((len(times), 1, *wave.shape[2:])), times)
    with pytest.raises(InputError, match=r"drivers \(t2m\) end at 2021-07-29") as error:
        predict_rasters(trained, interrupted=lambda: False)
    said = str(error.value)
    assert f"needs them up to {last + np.timedelta64(32, 'D')}" in said
    assert f"first valid time without them: {last + np.timedelta64(32, 'D')}" in said
    assert "fewer --steps" in said
    assert "--no-drivers" in said
    predict_rasters(trained, steps=1)
    predict_rasters(trained, from_=str(cube.times[-3])[:10])


def test_channels_are_finite_and_in_order():
    nan = np.nan
    static = np.array([2.0, nan], np.float32).reshape(1, 1, 2)
    drivers = np.array([[1.0, nan], [3.0, 4.0]], np.float32).reshape(2, 1, 1, 2)
    bands = np.array([[nan, 7.0]], np.float32).reshape(1, 1, 1, 2)
    x = Surroundings(static, drivers, bands).channels(3)
    expected = [
        [[2, 0], [1, 0], [1, 0], [1, 0], [0, 7], [0, 1]],
        [[2, 0], [1, 0], [3, 4], [1, 1], [0, 0], [0, 0]],
        [[2, 0], [1, 0], [0, 0], [0, 0], [0, 0], [0, 0]],
    ]
    np.testing.assert_array_equal(x[:, :, 0], expected)


def test_an_empty_context_reads_nothing(make_project, wave):
    cube = open_cube(make_project(wave).cube_path)
    around = open_context(make_series(cube, cube.bands)).tile(Tile(0, 5, 0, 6)).at(9, 4, [18800.0])
    assert around.channels(5).shape == (5, 0, 5, 6)
    assert Context().channels == 0
