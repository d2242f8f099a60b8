"""Training: no test pixel decides anything, a killed run goes on to the same bits."""

import json

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
from geoforecast.raster.cube import open_cube, update_meta
from geoforecast.train import train_model
from geoforecast.train.verb import duration_seconds

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
    log_a, log_b = (p.run_dir("default").joinpath("log.csv").read_text() for p in (a, b))
    assert log_a == log_b


@pytest.mark.parametrize("change", ["shuffled", "replaced", "masked"])
def test_test_pixels_change_nothing(make_project, wave, change):
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
        train_model(project, **FAST)
    assert_same_run(first, second)


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


@pytest.mark.parametrize("stop_at", [1, 7, 13])
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


def test_seeds_differ(make_project, wave):
    project = make_project(wave)
    for seed in (0, 1):
        train_model(project, **FAST, seed=seed, run=f"s{seed}")
    assert (weights(project, "s0")["head.weight"] != weights(project, "s1")["head.weight"]).any()


def test_peepholes_are_trained(make_project, wave):
    project = make_project(wave)
    train_model(project, **FAST, peepholes=True)
    assert any("peepholes" in name for name in weights(project))


def test_the_best_reference_of_the_validation_block_is_chosen(make_project):
    # A straight line upwards: trend has no error, all others do.
    line = np.arange(30, dtype=np.float32)[:, None, None, None] * np.ones((1, 1, 8, 8), np.float32)
    result = train_model(make_project(line), **{**FAST, "epochs": 0})
    assert result.reference == "trend"
    assert result.reference_rmse["trend"] == pytest.approx([0, 0], abs=1e-4)
    # Persistence is one and two steps behind, in units of the training steps' spread.
    spread = np.std(np.arange(19))
    assert result.reference_rmse["persistence"] == pytest.approx([1 / spread, 2 / spread], rel=1e-4)


def test_a_reference_may_be_chosen_by_hand(make_project, wave):
    result = train_model(make_project(wave), **{**FAST, "epochs": 0}, reference="climatology")
    assert result.reference == "climatology"


def test_a_learnable_correction_is_learned(make_project):
    # Alternating +1 and -1: persistence is wrong by 2, the mean by 1; a model can know.
    flip = np.where(np.arange(40) % 2, 1.0, -1.0)[:, None, None, None]
    values = np.broadcast_to(flip, (40, 1, 12, 12)).astype(np.float32)
    result = train_model(
        make_project(values), epochs=12, lookback=3, horizon=1, hidden=8, patch=8, lr=0.01
    )
    assert result.skill > 0.3
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


def test_classes_are_refused(make_project, wave):
    project = make_project(wave)
    update_meta(project.cube_path, kind="categorical")
    with pytest.raises(InputError, match="holds classes"):
        train_model(project, **FAST)


def test_even_kernels_and_unknown_models_are_refused(make_project, wave):
    project = make_project(wave)
    with pytest.raises(SettingsError, match="--kernel is 4"):
        train_model(project, **FAST, kernel=4)
    with pytest.raises(SettingsError, match="Did you mean 'convlstm'"):
        train_model(project, **FAST, model="convltsm", overwrite=True)


def test_constant_and_all_zero_fields_train(make_project):
    for name, value in (("zero", 0.0), ("constant", 3.0)):
        values = np.full((20, 1, 8, 8), value, dtype=np.float32)
        train_model(make_project(values, name=name), epochs=1, hidden=4, patch=8)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("50min", 3000), ("3h", 10800), ("", 0)]
)
def test_durations(text, seconds):
    assert duration_seconds(text) == seconds


def test_a_bad_duration_is_an_error():
    with pytest.raises(SettingsError, match="--time-limit is 'soon'"):
        duration_seconds("soon")
