"""Training: no test pixel decides anything, a killed run goes on to the same bits."""

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file

from geoforecast.errors import (
    InputError,
    InterruptedRunError,
    RunError,
    SeriesTooShortError,
    SettingsError,
)
from geoforecast.forecast.engine import open_engine
from geoforecast.forecast.series import make_series
from geoforecast.raster.cube import open_cube, update_meta
from geoforecast.train import cache as cache_module
from geoforecast.train import train_model
from geoforecast.values import duration_seconds

FAST = {"epochs": 3, "lookback": 3, "horizon": 2, "hidden": 4, "batch_size": 2, "patch": 16}


def weights(project, run="default"):
    return load_file(project.run_dir(run) / "model.safetensors")


def meta(project, run="default"):
    return json.loads((project.run_dir(run) / "model.json").read_text())


def assert_same_run(a, b):
    left, right = weights(a), weights(b)
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name])
    assert meta(a) == meta(b)
    sums_a, sums_b = (load_file(p.run_dir("default") / "errors.safetensors") for p in (a, b))
    assert sums_a.keys() == sums_b.keys()
    for name in sums_a:
        np.testing.assert_array_equal(sums_a[name], sums_b[name])
    log_a, log_b = (p.run_dir("default") / "log.csv" for p in (a, b))
    assert log_a.exists() == log_b.exists()
    assert not log_a.exists() or log_a.read_text() == log_b.read_text()


@pytest.mark.parametrize("model", ["convlstm", "none"])
@pytest.mark.parametrize("change", ["shuffled", "replaced", "masked"])
def test_test_pixels_change_nothing(make_project, wave, change, model):
    first = make_project(wave, name="first")
    start = open_cube(first.cube_path).meta["split"]["test_start"]
    test = int(np.searchsorted(open_cube(first.cube_path).times, np.datetime64(start)))
    changed = wave.copy()
    if change == "shuffled":
        flat = changed[test:].ravel()
        np.random.default_rng(0).shuffle(flat)
        changed[test:] = flat.reshape(changed[test:].shape)
    else:
        changed[test:] = -1e4 if change == "replaced" else np.nan
    second = make_project(changed, name="second")
    metas = [open_cube(p.cube_path).meta for p in (first, second)]
    assert metas[0] == metas[1]  # statistics and split
    for project in (first, second):
        train_model(project, **FAST, model=model)
    assert_same_run(first, second)


@pytest.mark.parametrize("model", ["convlstm", "none"])
def test_test_pixels_of_rain_change_nothing(make_project, model):
    rng = np.random.default_rng(0)
    base = np.maximum(rng.standard_normal((24, 26)).cumsum(axis=0).cumsum(axis=1), 0)
    rain = np.stack([np.roll(base, (k, 2 * k), (0, 1)) for k in range(20)])[:, None]
    times = np.datetime64("2020-01-01T00:00") + 5 * np.arange(20)
    projects = []
    for name in ("first", "second"):
        projects.append(make_project(rain.astype(np.float32), times=times, name=name))
        train_model(projects[-1], **{**FAST, "epochs": 1}, model=model)
        split = open_engine(projects[-1], "default").split
        rain[split.test :] = 50 * rng.random(rain[split.test :].shape)
    assert_same_run(*projects)


def test_validation_pixels_do_not_train(make_project, wave):
    """Targets of the validation block weigh in the blend, never in a gradient."""
    first = make_project(wave, name="first")
    changed = wave.copy()
    changed[23:28] += 5.0  # the validation block of 36 steps
    second = make_project(changed, name="second")
    assert open_cube(first.cube_path).meta["split"]["validation_start"].startswith("2020-12-18")
    losses = []
    for project in (first, second):
        train_model(project, **{**FAST, "epochs": 1, "reference": "persistence"})
        row = (project.run_dir("default") / "log.csv").read_text().splitlines()[1]
        losses.append(row.split(",")[1])
    assert losses[0] == losses[1]


# The references take 51 steps first, then each of the three epochs 16.
@pytest.mark.parametrize(
    "stop_at",
    [40, 75, *(pytest.param(other, marks=pytest.mark.slow) for other in (1, 60, 90))],
)
def test_an_interrupted_run_goes_on_to_the_same_bits(make_project, wave, stop_at):
    whole = make_project(wave, name="whole")
    train_model(whole, **FAST)
    broken = make_project(wave, name="broken")
    calls = iter(range(10_000))
    with pytest.raises(InterruptedRunError, match="Run the same command again") as error:
        train_model(broken, **FAST, interrupted=lambda: next(calls) == stop_at)
    assert error.value.exit_code == 75
    train_model(broken, **FAST)
    assert_same_run(whole, broken)


def test_a_finished_run_is_left_alone(make_project, wave):
    project = make_project(wave)
    train_model(project, **FAST)
    before = weights(project)
    assert train_model(project, **FAST).epochs == 0
    np.testing.assert_array_equal(weights(project)["head.weight"], before["head.weight"])


def test_other_settings_need_another_name_or_overwrite(make_project, wave):
    project = make_project(wave)
    train_model(project, **FAST)
    with pytest.raises(RunError, match="other settings") as error:
        train_model(project, **{**FAST, "hidden": 8})
    assert "hidden: was 4, is now 8" in str(error.value)
    train_model(project, **{**FAST, "hidden": 8}, run="wide")
    train_model(project, **{**FAST, "hidden": 8}, overwrite=True)
    assert meta(project)["config"]["hidden"] == 8


def test_another_cube_is_noticed(make_project, wave):
    project = make_project(wave)
    train_model(project, **FAST)
    update_meta(project.cube_path, fingerprint="f1")
    with pytest.raises(RunError, match="the cube has changed"):
        train_model(project, **FAST)


def test_a_time_limit_stops_and_saves(make_project, wave):
    project = make_project(wave)
    with pytest.raises(InterruptedRunError):
        train_model(project, **FAST, time_limit="0.001s")
    train_model(project, **FAST)  # another limit is the same run


def test_stopping_before_the_first_epoch_is_clean(make_project, wave):
    project = make_project(wave)
    with pytest.raises(InterruptedRunError, match="nothing is trained yet"):
        train_model(project, **FAST, interrupted=lambda: True)
    train_model(project, **FAST)


def test_a_wrong_setting_leaves_nothing_behind(make_project, wave):
    project = make_project(wave)
    for wrong in ({"kernel": 2}, {"reference": "foo"}):
        with pytest.raises(SettingsError):
            train_model(project, **FAST, **wrong)
    train_model(project, **FAST)  # without --overwrite


@pytest.mark.parametrize(
    "name",
    [
        "model.json",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("model.safetensors", "settings.json")),
    ],
)
def test_overwrite_mends_a_damaged_run(make_project, wave, name):
    clean = make_project(wave, name="clean")
    project = make_project(wave)
    for each in (clean, project):
        train_model(each, **FAST)
    (project.run_dir("default") / name).write_bytes(b"{broken")
    with pytest.raises(RunError, match=r"--overwrite"):
        train_model(project, **FAST)
    train_model(project, **FAST, overwrite=True)
    assert_same_run(clean, project)


def test_a_damaged_last_checkpoint_begins_again(make_project, wave):
    clean = make_project(wave, name="clean")
    train_model(clean, **FAST)
    project = make_project(wave)
    calls = iter(range(10_000))
    with pytest.raises(InterruptedRunError, match=r"epoch [12] is saved"):
        train_model(project, **FAST, interrupted=lambda: next(calls) == 90)
    path = project.run_dir("default") / "last.pt"
    path.write_bytes(path.read_bytes()[:200])
    train_model(project, **FAST)
    assert_same_run(clean, project)


def test_an_overcast_validation_block_is_survived(make_project, wave):
    wave[22:28] = np.nan
    result = train_model(make_project(wave), **FAST)
    assert result.reference == "mixture"
    assert result.reference_rmse == {}
    assert "the forecast is the mixture itself" in result.describe()
    assert not any(result.blend)


def test_sites_of_a_ragged_raster_are_of_one_size(make_project, monkeypatch):
    monkeypatch.setattr(cache_module, "SITE_PX", 16)
    monkeypatch.setattr(cache_module, "BUDGET_BYTES", 1_500_000)
    values = np.random.default_rng(0).random((10, 1, 33, 50)).astype(np.float32)
    cube = open_cube(make_project(values).cube_path)
    tiles = cache_module.choose_sites(make_series(cube, cube.bands), 8, 1, 0)
    assert len(tiles) > 4
    assert {tile.shape for tile in tiles} == {(16, 16)}
    assert max(tile.row1 for tile in tiles) <= 33
    assert max(tile.col1 for tile in tiles) <= 50


def test_seeds_differ(make_project, wave):
    project = make_project(wave)
    for seed in (0, 1):
        train_model(project, **FAST, seed=seed, run=f"s{seed}")
    first, second = weights(project, "s0"), weights(project, "s1")
    assert any((first[name] != second[name]).any() for name in first)


def test_peepholes_are_trained(make_project, wave):
    project = make_project(wave)
    train_model(project, **FAST, peepholes=True)
    assert any("peepholes" in name for name in weights(project))


def test_the_mixture_weighs_by_errors_and_says_them(make_project):
    # A straight line upwards: trend has no error, persistence is one and two steps behind.
    line = np.arange(30, dtype=np.float32)[:, None, None, None] * np.ones((1, 1, 8, 8), np.float32)
    result = train_model(make_project(line), **FAST, model="none")
    assert result.reference == "mixture"
    errors, weights = result.reference_rmse, result.weights
    assert errors["trend"][0] == pytest.approx(0, abs=1e-4)
    spread = np.std(np.arange(19))  # of the training steps, the unit of the errors
    assert errors["persistence"] == pytest.approx([1 / spread, 2 / spread], rel=1e-4)
    assert errors["mixture"][0] < 0.05 * errors["persistence"][0]
    assert weights["trend"][0] > 0.15  # the rules have no error either
    assert weights["persistence"][0] == 0
    assert np.sum(list(weights.values()), axis=0) == pytest.approx([1, 1])
    assert f"{errors['mixture'][0]:.4f}" in result.describe()


def test_rules_without_weight_are_counted_and_not_shown(make_project, wave):
    result = train_model(make_project(wave), **FAST, model="none")
    rules = [name for name in result.weights if "autoregression" in name]
    weights = {**result.weights, **{rule: [0.0, 0.0] for rule in rules}, rules[0]: [0.3, 0.0]}
    lines = replace(result, weights=weights).describe().splitlines()
    assert [line.split("  ")[1] for line in lines if "autoregression 0" in line] == [rules[0]]
    assert "  10 autoregressions without weight are not shown." in lines


def test_what_the_mixture_weighed_last_is_what_the_run_begins_with(make_project, wave):
    project = make_project(wave)
    result = train_model(project, **FAST, model="none")
    engine = open_engine(project, "default")
    known = engine.watch.knowledge(engine.split.test - 1)
    for slot, name in enumerate(known.members):
        found = known.weights[:, :, slot].mean(axis=1)
        assert found.tolist() == result.weights[name]


def test_a_reference_may_be_chosen_by_hand(make_project, wave):
    result = train_model(
        make_project(wave), **{**FAST, "epochs": 1, "lr": 1e-30}, reference="climatology"
    )
    assert result.reference == "climatology"


def test_a_learnable_correction_is_learned(make_project):
    # The tent map: no simple forecast knows where it goes next, a network can.
    values = np.random.default_rng(0).uniform(-1, 1, (40, 1, 12, 12))
    for step in range(1, 40):
        values[step] = 1 - 1.95 * np.abs(values[step - 1])
    settings = {"lookback": 3, "horizon": 1, "hidden": 12, "kernel": 1, "patch": 8, "lr": 0.02}
    settings["reference"] = "mean"  # the mixture's rules know it almost
    result = train_model(make_project(values.astype(np.float32)), epochs=25, **settings)
    assert result.skill > 0.4
    assert max(result.blend) > 0.5


def test_too_few_steps_say_how_many(make_project, wave):
    project = make_project(wave[:10])
    with pytest.raises(SeriesTooShortError, match=r"too few for --lookback 6 and --horizon 3"):
        train_model(project, lookback=6, horizon=3)


def test_the_shortest_series_trains(make_project, wave):
    train_model(make_project(wave[:8]), epochs=1, hidden=4)


def test_a_band_never_valid_in_training_is_named(make_project, wave):
    both = np.concatenate([wave, np.full_like(wave, np.nan)], axis=1)
    both[-1, 1] = 1.0
    with pytest.raises(InputError, match="Never valid in the training steps: b1"):
        train_model(make_project(both), **FAST)


def test_even_kernels_and_unknown_models_are_refused(make_project, wave):
    project = make_project(wave)
    with pytest.raises(SettingsError, match="--kernel is 4"):
        train_model(project, **FAST, kernel=4)
    with pytest.raises(SettingsError, match="Did you mean 'convlstm'"):
        train_model(project, **FAST, model="convltsm", overwrite=True)


@pytest.mark.parametrize(("value", "minutes"), [(0.0, 5), (3.0, None)], ids=["rain", "constant"])
def test_constant_fields_are_forecast_as_they_are(make_project, caplog, value, minutes):
    values = np.full((20, 1, 8, 8), value, dtype=np.float32)
    times = None if minutes is None else np.datetime64("2020-01-01T00:00") + minutes * np.arange(20)
    project = make_project(values, times=times)
    with caplog.at_level("WARNING"):
        result = train_model(project, epochs=1, hidden=4, patch=8)
    assert f"all training steps are constant ({value:g}): no correction is" in caplog.text
    assert "The forecast is the mixture itself." in result.describe()
    assert meta(project)["config"]["architecture"] == "none"
    engine = open_engine(project, "default")
    days = [float(engine.series.days[-1]) + 1]
    made = engine.forecast(engine.cube.grid.whole, 19, days)
    np.testing.assert_allclose(made.values, value, rtol=1e-6)


def test_a_constant_band_beside_one_that_varies_trains(make_project, wave):
    both = np.concatenate([wave, np.full_like(wave, 7.0)], axis=1)
    project = make_project(both)
    train_model(project, **{**FAST, "epochs": 1})
    engine = open_engine(project, "default")
    made = engine.forecast(engine.cube.grid.whole, 35, [18900.0])
    assert np.isfinite(made.values).all()
    np.testing.assert_allclose(made.values[:, 1], 7.0, rtol=1e-5)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("50min", 3000), ("3h", 10800), ("", 0)]
)
def test_durations(text, seconds):
    assert duration_seconds(text) == seconds


def test_a_bad_duration_is_an_error():
    with pytest.raises(SettingsError, match="--time-limit is 'soon'"):
        duration_seconds("soon")
