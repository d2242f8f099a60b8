"""What a run forecasts and what its correction sees: choices, skill gained, resuming."""

import logging
import shutil

import numpy as np
import pytest
import rasterio
from safetensors.numpy import load_file

from geoforecast.errors import InputError, InterruptedRunError, SettingsError
from geoforecast.forecast.engine import open_engine
from geoforecast.forecast.series import make_series
from geoforecast.predict import predict_rasters
from geoforecast.raster.cube import CubeWriter, open_cube, update_meta
from geoforecast.raster.grid import Tile
from geoforecast.raster.layers import StaticWriter
from geoforecast.samples.context import Context, Group
from geoforecast.samples.normaliser import fit_normaliser, fit_statistics, to_meta
from geoforecast.samples.split import Split
from geoforecast.settings import TrainSettings
from geoforecast.status import read_status
from geoforecast.train import cache as cache_module
from geoforecast.train import train_model
from geoforecast.train.inputs import choose_context, forecast_bands

SHAPE = (12, 12)
# A pixel for itself, one step ahead: what takes seconds and still must be learned.
QUICK = {"lookback": 1, "horizon": 1, "hidden": 12, "kernel": 1, "layers": 1, "patch": 8}
QUICK |= {"lr": 0.02, "epochs": 10, "retrain": False}
FAST = {
    "model": "convlstm",
    "epochs": 2,
    "lookback": 3,
    "horizon": 2,
    "hidden": 4,
    "batch_size": 2,
    "patch": 8,
}


def add_drivers(project, values, times, names=("t2m",)):
    """Put a cube of drivers, (time, band, y, x) and NaN where invalid, into a project's cube."""
    cube = open_cube(project.cube_path)
    place = project.cube_path / "drivers"
    times = np.asarray(times).astype("datetime64[s]")
    observed = np.ones(len(times), dtype=bool)
    writer = CubeWriter(
        place, times=times, bands=names, grid=cube.grid, dtype="float32", observed=observed
    )
    writer.write(0, 0, values.astype(np.float32), np.isfinite(values))
    gaps = np.diff(times).astype("timedelta64[s]").astype(float)
    cadence = {"step": "none", "median_seconds": float(np.median(gaps))}
    meta = {"kind": "continuous", "units": ["K"] * len(names), "cadence": cadence}
    writer.finish({**meta, "split": dict(cube.meta["split"]), "normaliser": None})
    statistics = fit_statistics(open_cube(place), range(len(times)))
    update_meta(place, normaliser=to_meta(fit_normaliser("zscore", statistics), statistics))


def add_static(project, values, names=("dem",)):
    """Put static layers, (layer, y, x) and NaN where invalid, into a project's cube."""
    height, width = values.shape[1:]
    writer = StaticWriter(
        project.cube_path,
        names=names,
        units=["m"] * len(names),
        shape=(height, width),
        sources=[],
    )
    writer.write(Tile(0, height, 0, width), values.astype(np.float32), np.isfinite(values))
    writer.finish()


def chosen(project, **settings):
    """The context that train chooses."""
    cube = open_cube(project.cube_path)
    resolved = TrainSettings(**settings)
    split = Split.from_meta(cube.meta["split"], cube.times)
    return choose_context(cube, forecast_bands(cube, resolved), resolved, split, 16.0)


def with_times(project, extra=1):
    """Times of the cube's steps, and of some more."""
    times = open_cube(project.cube_path).times
    return np.concatenate([times, times[-1] + np.timedelta64(16, "D") * np.arange(1, extra + 1)])


# ---- it pays ----------------------------------------------------------------------------------


def test_a_known_driver_is_learned(make_project):
    """The next step is half of this one and what the driver brings: no reference can know it."""
    rng = np.random.default_rng(0)
    brought = rng.standard_normal((41, 1, *SHAPE))
    values = np.zeros((40, 1, *SHAPE))
    for step in range(40):
        values[step] = 0.5 * values[max(step - 1, 0)] + brought[step]
    project = make_project(values.astype(np.float32))
    add_drivers(project, brought, with_times(project))
    seen = train_model(project, **QUICK)
    blind = train_model(project, **QUICK, drivers=False, run="blind")
    assert seen.skill > 0.6  # of 0.95: the blend is drawn to 0 where validation is short
    assert blind.skill < 0.2
    # And the forecast of what is not yet there is that of the driver's future.
    (path,) = predict_rasters(project, interval=0).files
    with rasterio.open(path) as dataset:
        made = dataset.read(1)
    truth = 0.5 * values[-1, 0] + brought[40, 0]
    assert np.sqrt(np.mean((made - truth) ** 2)) < 0.45 * np.std(truth)


@pytest.mark.slow
def test_a_static_layer_is_learned(make_project):
    """The driver is one number a step; how much of it a pixel takes, only the layer tells."""
    rng = np.random.default_rng(1)
    share = rng.choice([0.1, 1.0], SHAPE)
    brought = rng.standard_normal(41) * (np.arange(41) % 2)  # so that no pixel shows its share
    field = brought[:, None, None, None] * np.ones((1, 1, *SHAPE))
    project = make_project((share * field[:40]).astype(np.float32))
    add_drivers(project, field, with_times(project))
    add_static(project, share[None] * 700)
    seen = train_model(project, **QUICK)
    blind = train_model(project, **QUICK, static=False, run="blind")
    assert seen.skill > blind.skill + 0.2


@pytest.mark.slow
def test_another_band_is_learned_and_not_forecast(make_project):
    """Band b1 becomes what b0 was: b0 is noise, and nothing forecasts it."""
    noise = np.random.default_rng(0).standard_normal((40, *SHAPE))
    values = np.stack([noise, np.roll(noise, 1, axis=0)], axis=1).astype(np.float32)
    project = make_project(values)
    seen = train_model(project, **QUICK, bands=("b1",))
    blind = train_model(project, **QUICK, bands=("b1",), inputs=("none",), run="blind")
    assert seen.skill > 0.6  # of 0.95: the blend is drawn to 0 where validation is short
    assert blind.skill < 0.2
    engine = open_engine(project, "default")
    assert engine.band_names == ("b1",)
    (path,) = predict_rasters(project, interval=0).files
    with rasterio.open(path) as dataset:
        assert dataset.descriptions == ("b1",)
        assert np.sqrt(np.mean((dataset.read(1) - noise[-1]) ** 2)) < 0.5


# ---- what is chosen -----------------------------------------------------------------------------


@pytest.fixture
def project(make_project):
    """Two bands of 20 steps, with a layer that is partly invalid, and drivers."""
    rng = np.random.default_rng(2)
    project = make_project(rng.random((20, 2, *SHAPE)).astype(np.float32))
    layers = np.stack([rng.random(SHAPE), np.full(SHAPE, 7.1), np.full(SHAPE, np.nan)])
    layers[0, :5] = np.nan
    add_static(project, layers, ("dem", "same", "nowhere"))
    add_drivers(project, rng.random((21, 1, *SHAPE)), with_times(project))
    return project


def test_defaults_see_all_that_is_there(project, caplog):
    with caplog.at_level(logging.INFO):
        context = chosen(project)
    assert context.describe() == "static dem, same; drivers t2m"
    assert "the correction also sees: static dem, same; drivers t2m" in caplog.text
    assert "nowhere is valid nowhere" in caplog.text
    assert chosen(project, bands=("b1",)).bands.names == ("b0",)
    assert chosen(project, bands=("b1",), inputs=("none",)).bands.names == ()
    assert not chosen(project, static=False, drivers=False).channels


def test_static_layers_are_normalised_by_their_valid_pixels(project):
    names, scale = (getattr(chosen(project).static, key) for key in ("names", "normaliser"))
    assert names == ("dem", "same")
    rng = np.random.default_rng(2)
    rng.random((20, 2, *SHAPE))
    dem = rng.random(SHAPE)[5:].astype(np.float32)
    assert scale.centre == pytest.approx((dem.mean(), 7.1))
    assert scale.scale == pytest.approx((dem.std(), 1.0))
    flat = np.full((2, 1, 1), 7.1, np.float32)
    assert scale.apply(flat)[1] == 0  # not a rounding error, divided by another


def test_drivers_are_normalised_before_validation_only(project):
    """What is stored beside the drivers here knows all of them; a run does not take it."""
    before = chosen(project).drivers.normaliser
    cube = open_cube(project.cube_path / "drivers")
    split = Split.from_meta(open_cube(project.cube_path).meta["split"], cube.times[:20])
    values, _ = cube.read(0, split.validation)
    assert before.centre[0] == pytest.approx(values.mean(), rel=1e-6)
    assert before.scale[0] == pytest.approx(values.std(), rel=1e-6)
    assert before.centre != tuple(cube.meta["normaliser"]["centre"])


def test_test_drivers_change_no_training(make_project, project):
    runs = []
    for name in ("first", "second"):
        other = make_project(open_cube(project.cube_path).read(0, 20)[0], name=name)
        values, _ = open_cube(project.cube_path / "drivers").read(0, 21)
        cube = open_cube(other.cube_path)
        test = Split.from_meta(cube.meta["split"], cube.times).test
        if name == "second":
            values[test:] = 50
        add_drivers(other, values, with_times(other))
        train_model(other, **FAST)
        runs.append(load_file(other.run_dir("default") / "model.safetensors"))
    for name in runs[0]:
        np.testing.assert_array_equal(runs[0][name], runs[1][name])


def test_an_interrupted_run_goes_on_to_the_same_bits(project):
    settings = {**FAST, "bands": ("b1",), "epochs": 3}
    train_model(project, **settings, run="whole")
    asked = iter(range(10_000))
    with pytest.raises(InterruptedRunError, match="saved"):
        train_model(project, **settings, run="broken", interrupted=lambda: next(asked) == 60)
    train_model(project, **settings, run="broken")
    runs = [load_file(project.run_dir(n) / "model.safetensors") for n in ("whole", "broken")]
    assert runs[0].keys() == runs[1].keys()
    for name in runs[0]:
        np.testing.assert_array_equal(runs[0][name], runs[1][name])


def test_status_says_what_a_run_sees(project):
    train_model(project, **{**FAST, "epochs": 1})
    assert "also sees static dem, same; drivers t2m" in read_status(project).describe()
    train_model(project, **{**FAST, "model": "none"}, run="simple")
    status = [run for run in read_status(project).runs if run["run"] == "simple"]
    assert status[0]["sees"] == ""


def test_sites_leave_memory_for_what_is_seen(project, monkeypatch):
    monkeypatch.setattr(cache_module, "SITE_PX", 4)
    cube = open_cube(project.cube_path)
    assert chosen(project).bytes_px(16) == 4 * (2 + 16)
    many = Context(drivers=Group(tuple(f"d{number}" for number in range(50))))
    bare, seen = (make_series(cube, cube.bands, context=c) for c in (Context(), many))
    monkeypatch.setattr(cache_module, "BUDGET_BYTES", 280_000)
    counts = [len(cache_module.choose_sites(one, 16, 1, 0)) for one in (bare, seen)]
    assert counts[0] > counts[1]


# ---- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"bands": ("b3",)}, "--bands names 'b3'"),
        ({"inputs": ("b9",), "bands": ("b0",)}, "--inputs names 'b9'"),
        ({"inputs": ("b0",), "bands": ("b0",)}, "--inputs names b0, which the run forecasts"),
    ],
)
@pytest.mark.parametrize("model", ["convlstm", "none", "auto"])  # auto: 20 steps get none
def test_names_that_cannot_be(project, settings, said, model):
    with pytest.raises(SettingsError, match=said):
        train_model(project, **{**FAST, "model": model}, **settings)


@pytest.mark.parametrize("why", ["named", "short", "constant"])
def test_inputs_that_no_correction_will_see_are_warned_of(make_project, project, caplog, why):
    settings = {**FAST, "bands": ("b0",), "model": "none" if why == "named" else "auto"}
    if why == "constant":
        values = open_cube(project.cube_path).read(0, 20)[0]
        values[:, 0] = 3
        project, settings["model"] = make_project(values, name="constant"), "convlstm"
    train_model(project, **settings, inputs=("b1",))
    said = "--inputs b1: not seen, for no correction is trained"
    assert caplog.text.count(said) == 1
    assert not open_engine(project, "default").series.context.channels
    caplog.clear()
    for run, inputs in (("silent", ()), ("nothing", ("none",))):
        train_model(project, **settings, inputs=inputs, run=run)
    assert "--inputs" not in caplog.text


def test_drivers_of_another_time_are_refused(make_project):
    values = np.random.default_rng(0).random((20, 1, *SHAPE)).astype(np.float32)
    project = make_project(values)
    times = np.datetime64("2015-01-01") + 5 * np.arange(10)
    add_drivers(project, values[:10], times)
    with pytest.raises(InputError, match="drivers t2m is known at a training step") as error:
        train_model(project, **FAST)
    assert "drivers: 2015-01-01T00:00:00 to 2015-02-15T00:00:00" in str(error.value)
    assert "--no-drivers" in str(error.value)
    train_model(project, **FAST, drivers=False)
    assert open_engine(project, "default").series.context.channels == 0


def test_a_driver_that_is_never_valid_in_training_is_named(project):
    values = np.full((21, 2, *SHAPE), np.nan)
    values[:, 0] = values[-3:, 1] = 1.0
    shutil.rmtree(project.cube_path / "drivers")
    add_drivers(project, values, with_times(project), ("t2m", "rain"))
    with pytest.raises(InputError, match="drivers rain is known"):
        chosen(project)


def test_bands_never_valid_in_training(make_project):
    values = np.random.default_rng(0).random((20, 3, *SHAPE)).astype(np.float32)
    values[:-2, 2] = np.nan
    project = make_project(values)
    assert chosen(project, bands=("b0",)).bands.names == ("b1",)  # left out, and said
    with pytest.raises(InputError, match="Never valid in the training steps: b2"):
        chosen(project, bands=("b0",), inputs=("b2", "b1"))
    train_model(project, **{**FAST, "epochs": 1}, bands=("b1", "b0"))  # it is not forecast
    assert open_engine(project, "default").band_names == ("b1", "b0")
