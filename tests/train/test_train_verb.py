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


# The references take 78 steps first, then each of the three epochs 16.
@pytest.mark.parametrize("stop_at", [1, 50, 85, 100, 115])
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


@pytest.mark.parametrize("name", ["model.json", "model.safetensors", "settings.json"])
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
    with pytest.raises(InterruptedRunError, match=r"[12] epochs are saved"):
        train_model(project, **FAST, interrupted=lambda: next(calls) == 115)
    path = project.run_dir("default") / "last.pt"
    path.write_bytes(path.read_bytes()[:200])
    train_model(project, **FAST)
    assert_same_run(clean, project)


def test_an_overcast_validation_block_is_survived(make_project, wave):
    wave[22:28] = np.nan
    result = train_model(make_project(wave), **FAST)
    assert result.reference == "persistence"
    assert "–" in result.describe()
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
