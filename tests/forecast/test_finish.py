"""From a forecast that was made to one that is written: smoothed, mapped, clipped; exact."""

import dataclasses

import numpy as np
import pytest

from geoforecast.errors import SettingsError
from geoforecast.forecast.bias import MEAN_VARIANCE, QUANTILE
from geoforecast.forecast.engine import open_engine
from geoforecast.forecast.finish import Finish, Finishing, bounds_of, smoothed
from geoforecast.forecast.outcome import FORECAST
from geoforecast.forecast.stream import Step
from geoforecast.raster.cube import open_cube, update_meta
from geoforecast.train import train_model

ALL = Finishing(clip=True, bias=QUANTILE, smooth=1.5)


@pytest.fixture
def project(make_project, wave):
    values = np.concatenate([wave, 3 * wave], axis=1)
    values[:, :, :4, :3] = np.nan
    values[5:9, 0, 10:, 10:] = np.nan
    project = make_project(values)
    train_model(project, model="none", lookback=3, horizon=3)
    return project


def training_range(project):
    engine = open_engine(project, "default")
    return [[s.minimum, s.maximum] for s in engine.statistics]


def days_after(engine, init, leads):
    step = engine.series.step_days
    return [float(engine.series.days[init] + step * k) for k in range(1, leads + 1)]


def test_tiles_equal_the_whole_to_the_bit(project):
    update_meta(project.cube_path, ranges=training_range(project))
    engine = open_engine(project, "default", finishing=ALL)
    grid = engine.cube.grid
    whole = engine.forecast(grid.whole, 35, days_after(engine, 35, 4), 0.8)
    drawn = whole.uncertainty.sample(whole.made, grid.whole, [1, 2])
    for tile in grid.tiles(9):
        part = engine.forecast(tile, 35, days_after(engine, 35, 4), 0.8)
        inner = (..., *tile.slices)
        for name in ("values", "lower", "upper"):
            np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[inner])
        sample = part.uncertainty.sample(part.made, tile, [1, 2])
        np.testing.assert_array_equal(sample, drawn[inner])


def test_hindcasts_are_finished_as_forecasts_are(project):
    update_meta(project.cube_path, ranges=training_range(project))
    engine = open_engine(project, "default", finishing=ALL)
    tile, steps = engine.cube.grid.whole, engine.split.test_steps
    seen = 0
    for one in engine.hindcasts(tile, steps, 0.8):
        init = one.step - one.lead
        days = [float(day) for day in engine.series.days[init + 1 : one.step + 1]]
        forecast = engine.forecast(tile, init, days, 0.8)
        np.testing.assert_array_equal(one.forecasts[FORECAST], forecast.values[-1])
        np.testing.assert_array_equal(one.lower, forecast.lower[-1])
        np.testing.assert_array_equal(one.upper, forecast.upper[-1])
        seen += 1
    assert seen > 10


def test_everything_written_lies_within_the_range_and_nan_stays(project):
    low, high = np.array(training_range(project), dtype=np.float32).T[:, :, None, None]
    plain = open_engine(project, "default")
    days = days_after(plain, 35, 3)
    tile = plain.cube.grid.whole
    before = plain.forecast(tile, 35, days, 0.9)
    known = np.isfinite(before.values)
    assert (before.upper > high)[known].any()
    update_meta(project.cube_path, ranges=training_range(project))
    engine = open_engine(project, "default", finishing=Finishing(clip=True))
    after = engine.forecast(tile, 35, days, 0.9)
    sample = after.uncertainty.sample(after.made, tile, [1])
    for made in (after.values, after.lower, after.upper, sample):
        np.testing.assert_array_equal(np.isfinite(made), known)
        assert ((low <= made) & (made <= high))[known].all()
    np.testing.assert_array_equal(after.upper, np.clip(before.upper, low, high))
    one = next(engine.hindcasts(tile, engine.split.test_steps, 0.9))
    for made in (*one.forecasts.values(), one.lower, one.upper):
        inside = (low[:, 0, 0] <= np.nanmin(made, axis=(1, 2))) & (
            np.nanmax(made, axis=(1, 2)) <= high[:, 0, 0]
        )
        assert inside.all()


def test_no_clip_leaves_forecasts_as_they_are(project):
    update_meta(project.cube_path, ranges=[[0.4, 0.5], [1.2, 1.3]])
    engine = open_engine(project, "default", finishing=Finishing(clip=False))
    assert engine.bounds is None


def test_a_bound_that_training_values_lie_beyond_is_none(project):
    (low, high), (_, high1) = training_range(project)
    # 0.01 inside the least value; the other three bounds hold what was seen.
    update_meta(project.cube_path, ranges=[[low + 0.01, high], [None, high1 + 5]])
    found = bounds_of(open_engine(project, "default").series)
    assert found[0].ravel().tolist() == [-np.inf, -np.inf]
    assert found[1].ravel().tolist() == [np.float32(high), np.float32(high1 + 5)]


def test_a_cube_that_knows_no_range_bounds_nothing_but_counts(make_project, wave):
    project = make_project(wave)
    train_model(project, model="none", lookback=3, horizon=1)
    assert bounds_of(open_engine(project, "default").series) is None
    counts = make_project(np.round(20 * wave), name="counts")
    train_model(counts, model="none", kind="count", lookback=3, horizon=1)
    low, high = bounds_of(open_engine(counts, "default").series)
    assert (low.item(), high.item()) == (0, np.inf)


def test_bias_is_fitted_to_validation_and_what_is_known_since(project):
    """Replacing what comes after an init step changes nothing at it; what came before does."""
    finishing = Finishing(bias=MEAN_VARIANCE)
    engine = open_engine(project, "default", finishing=finishing)
    init = engine.split.test + 2
    before = engine.bias.at(init).table
    assert np.abs(before - engine.bias.at(len(engine.cube.times) - 1).table).max() > 1e-6
    tile = engine.cube.grid.whole
    made, came = [], []
    for one in engine.hindcasts(tile, range(engine.split.validation, init + 1), finished=False):
        if one.lead == 2:
            known = one.valid[1] & np.isfinite(one.forecasts[FORECAST][1])
            made.append(one.forecasts[FORECAST][1][known])
            came.append(one.observed[1][known])
    for side, values in enumerate((made, came)):
        exact = np.concatenate(values).astype(np.float64)
        np.testing.assert_allclose(before[1, 1, side], [exact.mean(), exact.std()], rtol=1e-12)


def test_the_bias_of_final_weights_is_that_of_the_honest_ones(make_project, wave):
    other = make_project(wave, name="refitted")
    train_model(other, model="none", lookback=3, horizon=2, refit=True)
    finishing = Finishing(bias=QUANTILE)
    honest = open_engine(other, "default", finishing=finishing)
    final = open_engine(other, "default", final=True, finishing=finishing)
    last = len(honest.cube.times) - 1
    np.testing.assert_array_equal(final.bias.at(last).table, honest.bias.at(last).table)
    assert open_engine(other, "default", final=True).bias is None


def test_probabilities_are_neither_mapped_nor_smoothed(make_project):
    wet = (np.random.default_rng(0).random((30, 1, 20, 24)) < 0.4).astype(np.float32)
    project = make_project(wet)
    train_model(project, model="none", lookback=3, horizon=1)
    open_engine(project, "default", finishing=Finishing(clip=True))
    for wrong in (Finishing(bias=QUANTILE), Finishing(smooth=1)):
        with pytest.raises(SettingsError, match="forecasts probabilities"):
            open_engine(project, "default", finishing=wrong)


class Band:
    """As much of a series as smoothing looks at."""

    class normaliser:  # noqa: N801
        @staticmethod
        def invert(values):
            return values

    @staticmethod
    def held(values):
        return np.maximum(values, -1e9)


def step(value, valid=True):
    return Step(np.full((1, 1, 1), value, np.float32), np.full((1, 1, 1), valid), None, None, 0.0)


def column(*values):
    return np.array(values, dtype=np.float32)[:, None, None, None]


def test_a_straight_line_stays_as_it_is():
    seen = [step(1), step(2), step(3)]
    found = smoothed(column(4, 5, 6), seen, Band, 2.0)
    np.testing.assert_allclose(found, column(4, 5, 6), rtol=1e-6)


def test_a_line_by_hand():
    # Lead 1 with 10, the step before with 0 and the one before that not seen: the line goes
    # through both points, whatever they weigh. Lead 2 has three points, at distances 0, 1, 2
    # with weights 1, a, a^4, where a = exp(-1/2).
    found = smoothed(column(10, 2), [step(7, False), step(0)], Band, 1.0).ravel()
    assert found[0] == pytest.approx(10, rel=1e-6)
    d, y = np.array([0, 1, 2.0]), np.array([2, 10, 0.0])
    line = np.polynomial.Polynomial.fit(d, y, 1, w=np.exp(-0.25 * d**2)).convert()
    assert found[1] == pytest.approx(line(0), rel=1e-5)


def test_later_leads_take_no_part():
    seen = [step(1), step(3)]
    long = smoothed(column(4, 1, 9, 2), seen, Band, 1.5)
    np.testing.assert_array_equal(long[:2], smoothed(column(4, 1), seen, Band, 1.5))


def test_what_is_missing_stays_missing_and_lends_nothing():
    found = smoothed(column(4, np.nan, 6), [step(3)], Band, 2.0).ravel()
    assert np.isnan(found).tolist() == [False, True, False]
    # 3, 4 and 6 lie on no line; without the one that is missing lead 3 is a line through these.
    d, y = np.array([0, 2, 3.0]), np.array([6, 4, 3.0])
    line = np.polynomial.Polynomial.fit(d, y, 1, w=np.exp(-0.0625 * d**2)).convert()
    assert found[2] == pytest.approx(line(0), rel=1e-5)


def test_alone_a_forecast_is_kept():
    assert smoothed(column(4), [step(9, False)], Band, 2.0).item() == 4
    assert smoothed(column(4), [step(9)], Band, 0.1).item() == 4


def test_finish_maps_before_it_clips():
    @dataclasses.dataclass
    class Doubled:
        def apply(self, values):
            return values * 2

    bounds = (np.full((1, 1, 1), 0, np.float32), np.full((1, 1, 1), 5, np.float32))
    assert Finish(Doubled(), bounds)(column(2, 3, -1)).ravel().tolist() == [4, 5, 0]
    assert Finish(Doubled(), bounds).clipped(column(2, 7)).ravel().tolist() == [2, 5]


def test_ranges_are_of_the_bands_that_are_forecast(make_project, wave):
    project = make_project(np.concatenate([wave, 3 * wave], axis=1))
    update_meta(project.cube_path, ranges=[[-1, 1], [-5, 5]])
    train_model(project, model="none", bands=("b1",), lookback=3, horizon=1)
    low, high = bounds_of(open_engine(project, "default").series)
    assert (low.shape, low.item(), high.item()) == ((1, 1, 1), -5, 5)
    assert open_cube(project.cube_path).bands == ("b0", "b1")


def test_what_comes_after_an_init_step_changes_nothing(make_project, wave):
    """The test block from the third step on is another: forecasts from before it stay."""
    values = np.concatenate([wave, 3 * wave], axis=1)
    changed = values.copy()
    made = []
    for name, content in (("as-it-was", values), ("changed", changed)):
        project = make_project(content, name=name)
        train_model(project, model="none", lookback=3, horizon=2)
        engine = open_engine(project, "default", finishing=Finishing(bias=QUANTILE, smooth=1.5))
        init, tile = engine.split.test + 2, engine.cube.grid.whole
        forecast = engine.forecast(tile, init, days_after(engine, init, 2), 0.8)
        hindcast = next(
            one
            for one in engine.hindcasts(tile, engine.split.test_steps, 0.8)
            if (one.step, one.lead) == (init + 1, 1)
        )
        made.append((forecast.values, forecast.lower, hindcast.forecasts[FORECAST]))
        changed[init + 1 :] += 5
    for before, after in zip(*made, strict=True):
        np.testing.assert_array_equal(before, after)
