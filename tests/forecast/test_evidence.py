"""Learning from errors: none is known before its day, and whoever asks is told the same."""

import dataclasses
import shutil

import numpy as np
import pytest

from geoforecast.forecast.engine import open_engine
from geoforecast.forecast.evidence import Learner, Watch, note_errors, watched
from geoforecast.forecast.mixing import empty_tally, known_at
from geoforecast.forecast.series import make_series
from geoforecast.raster.cube import open_cube
from geoforecast.raster.grid import Tile
from geoforecast.references.autoregression import smoothed
from geoforecast.references.mixture import MIXTURE, Sums
from geoforecast.samples.split import Split
from geoforecast.train import cache, train_model
from geoforecast.train.stop import Stop

NONE = {"model": "none", "lookback": 3, "horizon": 2}
TINY = {"epochs": 1, "lookback": 3, "horizon": 2, "hidden": 4, "batch_size": 2, "patch": 16}
TILES = (Tile(0, 9, 0, 12), Tile(5, 15, 10, 20))


def series_of(project):
    cube = open_cube(project.cube_path)
    return make_series(cube, cube.bands)


@pytest.fixture
def series(make_project, wave):
    wave[np.random.default_rng(2).random(wave.shape) < 0.1] = np.nan
    return series_of(make_project(wave[:, :, :15, :20]))


def assert_same(left, right):
    assert left.members == right.members
    for field in dataclasses.fields(left)[1:]:
        ours, theirs = getattr(left, field.name), getattr(right, field.name)
        np.testing.assert_array_equal(ours, theirs, err_msg=field.name)


def differ(left, right):
    return not np.array_equal(left.coefficients, right.coefficients)


def errors_of(tally, seed):
    rng = np.random.default_rng(seed)
    e = rng.standard_normal((len(tally.members), 30)).astype(np.float32)
    x = rng.standard_normal((tally.products.shape[-1], 30)).astype(np.float32)
    return Sums.of(e, x, e[0])


class Ahead:
    """Just the lead of a forecast."""

    def __init__(self, lead):
        self.lead = lead


def test_an_error_is_known_from_the_day_that_it_was_made_for(series):
    learner = Learner(series, empty_tally(series, 2), 0)
    by_hand = empty_tally(series, 2)
    noted = {}
    last = 34  # half-lives have begun to grow with the record by then
    for init in range(last):
        for lead in (1, 2):
            noted[init, lead] = errors_of(by_hand, 10 * init + lead)
    for step in range(last):
        # All that is noted so far is of forecasts from earlier steps, as far ahead as can be.
        known = learner.knowledge(step)
        for lead in (1, 2):
            if (init := step - lead) >= 0:
                by_hand.add(lead - 1, 0, step + 1, noted[init, lead])
        assert_same(known, known_at(series, by_hand, step))
        for lead in (1, 2):
            learner.note(step, Ahead(lead), [noted[step, lead]])
    assert learner.tally.counts[0, :, 0].tolist() == [last - 1, last - 2]


def test_tiles_are_added_before_they_are_counted(series):
    learner, by_hand = Learner(series, empty_tally(series, 1), 0), empty_tally(series, 1)
    learner.knowledge(0)
    first, second = errors_of(by_hand, 1), errors_of(by_hand, 2)
    for one in (first, second):
        learner.note(0, Ahead(1), [one])
    assert [at for at, _ in learner.noted(1)] == [(0, 0)]
    by_hand.add(0, 0, 2, first + second)
    assert_same(learner.knowledge(1), known_at(series, by_hand, 1))
    assert learner.noted(1) == []
    assert learner.tally.counts[0, 0, 0] == 1  # one step, not two


def test_earlier_knowledge_stays_as_it_was(series):
    learner = Learner(series, empty_tally(series, 1), 0)
    before = []
    for step in range(6):
        before.append(learner.knowledge(step))
        learner.note(step, Ahead(1), [errors_of(learner.tally, step)])
    for step, known in enumerate(before):
        assert_same(learner.knowledge(step), known)
    assert differ(before[4], before[5])


def tally_until(series, end, leads=2, tiles=TILES):
    """What was learned from all errors before a step."""
    learner = Learner(series, empty_tally(series, leads), 0)
    streams = [watched(series, tile, learner.knowledge) for tile in tiles]
    for _ in range(end - 1):
        for stream in streams:
            stream.advance()
            note_errors(learner, stream, leads, 0, end)
    learner.knowledge(end - 1)
    return learner.tally


def test_before_the_end_what_is_known_is_what_was_stored(series):
    tally = tally_until(series, 20)
    watch = Watch(series, tally, 20, TILES, 2)
    stored = known_at(series, tally, 19)
    for step in (19, 3, 0):
        assert_same(watch.knowledge(step), stored)
    assert differ(watch.knowledge(20), stored)
    assert_same(watch.knowledge(19), stored)


def test_a_watch_goes_on_as_if_it_had_never_stopped(series):
    """Stored after 20 steps and taken up again, or learned in one go: the same one step ahead.

    Farther ahead, forecasts from before the stop are made with what is known at it.
    """
    watch = Watch(series, tally_until(series, 20), 20, TILES, 2)
    unbroken = Watch(series, empty_tally(series, 2), 0, TILES, 2)
    for step in (20, 24, 35):
        stopped, straight = watch.knowledge(step), unbroken.knowledge(step)
        np.testing.assert_array_equal(stopped.weights[0], straight.weights[0])
        np.testing.assert_array_equal(stopped.coefficients[:, 0], straight.coefficients[:, 0])
        assert stopped.weights[1] == pytest.approx(straight.weights[1], abs=0.1)


def test_training_learns_what_a_watch_would(series):
    split = Split.from_meta(series.cube.meta["split"], series.cube.times)
    stop = Stop(lambda: False, None)
    _, tally, scored = cache.load_sites(series, TILES, MIXTURE, split, 2, stop)
    for name, array in tally_until(series, split.test).arrays().items():
        np.testing.assert_array_equal(tally.arrays()[name], array, err_msg=name)
    assert scored.steps.tolist() == [[len(split.validation_steps)]] * 2


def test_validation_scores_are_those_of_the_members(series):
    split = Split.from_meta(series.cube.meta["split"], series.cube.times)
    _, _, scored = cache.load_sites(series, TILES[:1], MIXTURE, split, 2, Stop(lambda: False, None))
    watch = Watch(series, empty_tally(series, 2), 0, TILES[:1], 2)
    stream = watched(series, TILES[0], watch.knowledge)
    squares = {"persistence": np.zeros(2), MIXTURE: np.zeros(2)}
    for init in range(split.test - 1):
        stream.advance_to(init)
        days = series.days[init + 1 : min(init + 3, split.test)].tolist()
        made = stream.forecasts(days, list(squares))
        for lead in range(len(days)):
            if init + 1 + lead in split.validation_steps:
                observed, valid = stream.observed(init + 1 + lead)
                for name, forecast in made.items():
                    error = (forecast[lead] - observed)[valid & np.isfinite(forecast[lead])]
                    squares[name][lead] += np.square(error).mean()
    for name, expected in squares.items():
        assert scored.squares[name][:, 0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("order", [[35, 22, 28], [20, 21, 22, 28, 35], [28, 35, 22]])
def test_the_order_of_questions_does_not_matter(series, order):
    tally = tally_until(series, 20)
    straight = Watch(series, tally, 20, TILES, 2)
    asked = Watch(series, tally, 20, TILES, 2)
    for step in order:
        assert_same(asked.knowledge(step), straight.knowledge(step))


def test_a_watch_leaves_the_runs_own_sums_alone(series):
    tally = tally_until(series, 20)
    before = tally.copy()
    Watch(series, tally, 20, TILES, 2).knowledge(30)
    for name, array in before.arrays().items():
        np.testing.assert_array_equal(tally.arrays()[name], array)


@pytest.mark.parametrize("step", [20, 26])
def test_knowledge_knows_no_later_pixel(make_project, wave, step):
    changed = wave.copy()
    changed[step + 1 :] = 7.0
    first = series_of(make_project(wave, name="first"))
    second = dataclasses.replace(
        first, cube=open_cube(make_project(changed, name="second").cube_path)
    )
    tally = tally_until(first, 18)
    watches = [Watch(one, tally, 18, TILES, 2) for one in (first, second)]
    for earlier in range(17, step + 1):
        assert_same(*(watch.knowledge(earlier) for watch in watches))
    assert differ(*(watch.knowledge(step + 1) for watch in watches))


@pytest.mark.parametrize("settings", [NONE, TINY], ids=["mixture", "corrected"])
@pytest.mark.parametrize("init", [27, 31])
def test_a_forecast_knows_no_later_pixel(make_project, wave, settings, init):
    """Of the same run, on two cubes that differ after the init step only."""
    changed = wave.copy()
    changed[init + 1 :] = np.where(changed[init + 1 :] > 0.5, np.nan, 40.0)
    first, second = make_project(wave, name="first"), make_project(changed, name="second")
    train_model(first, **settings)
    shutil.copytree(first.root / "runs", second.root / "runs")
    made = []
    for project in (first, second):
        engine = open_engine(project, "default")
        checkpoint = dataclasses.replace(engine.checkpoint, blend=(0.7, 0.7))
        engine = dataclasses.replace(engine, checkpoint=checkpoint)
        engine.watch.knowledge(34)  # whoever has asked for more before
        made.append(engine.forecast(Tile(2, 20, 3, 30), init, [19000.0, 19016.0, 19032.0], 0.9))
    np.testing.assert_array_equal(made[0].values, made[1].values)
    if settings is NONE:
        np.testing.assert_array_equal(made[0].lower, made[1].lower)
        np.testing.assert_array_equal(made[0].upper, made[1].upper)


def test_sums_go_through_a_checkpoint_bit_by_bit(make_project, wave):
    project = make_project(wave)
    train_model(project, **NONE)
    engine = open_engine(project, "default")
    series, split = engine.series, engine.split
    stop = Stop(lambda: False, None)
    tiles = [engine.cube.grid.whole]
    _, tally, _ = cache.load_sites(series, tiles, MIXTURE, split, 2, stop)
    assert tally.errors.any()
    for name, array in tally.arrays().items():
        np.testing.assert_array_equal(engine.checkpoint.errors[name], array, err_msg=name)
    assert engine.watch.tiles == tiles
    assert engine.checkpoint.known_until == str(engine.cube.times[split.test - 1])


def test_a_linear_rule_is_found_and_its_errors_are_the_noise(make_project):
    rng = np.random.default_rng(0)
    noise = 0.1
    values = rng.normal(0, 0.2, (60, 1, 20, 22)).astype(np.float32)
    for step in range(2, 60):
        old, older = values[step - 1], values[step - 2]
        drawn = old + 0.5 * smoothed(old, 1.0) - 0.8 * older
        values[step] = drawn + noise * rng.standard_normal(old.shape)
    project = make_project(10 + values)
    result = train_model(project, model="none", lookback=3, horizon=1)
    spread = (10 + values[:38]).std()  # of the training steps, the unit of the errors
    errors = {name: spread * error[0] for name, error in result.reference_rmse.items()}
    simple = min(
        error for name, error in errors.items() if not name.startswith(("auto", "vary", "mix"))
    )
    assert errors["autoregression 0.003"] < 1.04 * noise
    assert errors["mixture"] < 1.05 * noise
    assert simple > 1.3 * noise
