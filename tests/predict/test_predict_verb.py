"""Forecast files: what is in them, where they lie on earth, when they hold."""

import numpy as np
import pytest
import rasterio
from rio_cogeo.cogeo import cog_validate

from geoforecast.errors import DateError, InterruptedRunError, SettingsError
from geoforecast.forecast.engine import open_engine
from geoforecast.predict import predict_rasters
from geoforecast.predict.moments import time_name
from geoforecast.raster.cube import open_cube
from geoforecast.train import train_model

FAST = {"epochs": 1, "lookback": 3, "horizon": 2, "hidden": 4, "batch_size": 2, "patch": 16}


@pytest.fixture
def project(make_project, wave):
    two = np.concatenate([wave, 3 * wave], axis=1)
    two[:, :, :4, :3] = np.nan
    project = make_project(two)
    train_model(project, **FAST)
    return project


def test_forecasts_are_valid_cogs_on_the_cubes_grid(project):
    result = predict_rasters(project, steps=3)
    cube = open_cube(project.cube_path)
    assert [str(t)[:10] for t in result.valid_times] == ["2021-07-30", "2021-08-15", "2021-08-31"]
    for lead, path in enumerate(result.files, 1):
        valid, errors, warnings = cog_validate(path, strict=True, quiet=True)
        assert valid, (errors, warnings)
        with rasterio.open(path) as dataset:
            assert dataset.crs == cube.grid.crs
            assert dataset.transform == cube.grid.transform
            assert dataset.shape == cube.grid.shape
            assert dataset.descriptions == cube.bands
            assert dataset.units == ("1", "1")
            assert np.isnan(dataset.nodata)
            tags = dataset.tags()
            assert tags["lead"] == str(lead)
            assert tags["init_time"] == "2021-07-14T00:00:00Z"
            assert tags["valid_time"] == f"{result.valid_times[lead - 1]}Z"
            pixels = dataset.read()
        ever = cube.read(0, 36)[1].any(axis=0)
        np.testing.assert_array_equal(np.isfinite(pixels), ever)


def test_the_files_hold_what_the_engine_says(project):
    result = predict_rasters(project, steps=2, tile=16)
    engine = open_engine(project, "default")
    days = [(t - np.datetime64(0, "s")).astype(float) / 86400 for t in result.valid_times]
    expected = engine.forecast(engine.cube.grid.whole, 35, days).values
    for path, values in zip(result.files, expected, strict=True):
        with rasterio.open(path) as dataset:
            np.testing.assert_array_equal(dataset.read(), values)


def test_the_interval_lies_beside_each_forecast(project):
    result = predict_rasters(project, steps=2, interval=0.8)
    engine = open_engine(project, "default")
    days = [(t - np.datetime64(0, "s")).astype(float) / 86400 for t in result.valid_times]
    expected = engine.forecast(engine.cube.grid.whole, 35, days, 0.8)
    assert len(result.bounds) == 2
    for lead, (low, high) in enumerate(result.bounds):
        for path, end, values in ((low, "lower", expected.lower), (high, "upper", expected.upper)):
            assert path.name == result.files[lead].name.replace("forecast", end)
            with rasterio.open(path) as dataset:
                np.testing.assert_array_equal(dataset.read(), values[lead])
                assert dataset.tags()["interval"] == "0.8"
                assert dataset.tags()["end"] == end
    known = np.isfinite(expected.values)
    np.testing.assert_array_equal(np.isfinite(expected.lower), known)
    assert (expected.lower[known] < expected.upper[known]).all()
    wider = engine.forecast(engine.cube.grid.whole, 35, days, 0.95)
    assert (wider.upper - wider.lower)[known].sum() > (expected.upper - expected.lower)[known].sum()


def test_no_interval_is_written_where_none_is_wanted(project):
    result = predict_rasters(project, interval=0)
    assert result.bounds == ()
    assert {path.name.split("_")[0] for path in result.files[0].parent.glob("*.tif")} == {
        "forecast"
    }


def read(path):
    with rasterio.open(path) as dataset:
        return dataset.read(), dataset.tags()


def test_samples_lie_beside_each_forecast_and_do_not_hang_on_tiles(project):
    result = predict_rasters(project, steps=3, samples=12, seed=5, tile=16)
    assert [path.name.split("_")[0] for path, *_ in result.samples[::11]] == [
        "sample01",
        "sample12",
    ]
    pixels, tags = read(result.samples[6][1])
    assert (tags["sample"], tags["seed"], tags["lead"]) == ("7", "5", "2")
    valid, errors, warnings = cog_validate(result.samples[6][1], strict=True, quiet=True)
    assert valid, (errors, warnings)
    known = np.isfinite(read(result.files[1])[0])
    np.testing.assert_array_equal(np.isfinite(pixels), known)
    again = predict_rasters(project, steps=3, samples=12, seed=5)
    np.testing.assert_array_equal(read(again.samples[6][1])[0], pixels)
    other = predict_rasters(project, steps=3, samples=12, seed=6)
    assert (read(other.samples[6][1])[0][known] != pixels[known]).mean() > 0.9
    earlier = predict_rasters(project, samples=12, seed=5, from_="2021-06-28")
    assert earlier.valid_times[1] == result.valid_times[0]
    noise = read(earlier.samples[6][1])[0] - read(earlier.files[1])[0]
    assert (noise[known] != (pixels - read(result.files[1])[0])[known]).mean() > 0.9


@pytest.mark.slow
def test_samples_lie_within_the_interval_as_often_as_it_says(project):
    result = predict_rasters(project, steps=1, samples=200, interval=0.5)
    draws = np.stack([read(chain[0])[0] for chain in result.samples])
    low, high = (read(path)[0] for path in result.bounds[0])
    known = np.isfinite(low)
    share = ((draws >= low) & (draws <= high))[:, known].mean()
    # Both tails of the interval are cut later than asked where few steps were seen.
    assert 0.48 < share < 0.75
    assert np.median(draws, axis=0)[known] == pytest.approx(
        read(result.files[0])[0][known], abs=float((high - low)[known].max())
    )


def test_samples_need_a_run_that_knows_its_errors(make_project, wave):
    project = make_project(wave)
    train_model(project, **{**FAST, "epochs": 1, "lr": 1e-30, "reference": "trend"})
    with pytest.raises(SettingsError, match="does not say how sure it is"):
        predict_rasters(project, samples=3)


def test_a_run_that_corrects_one_reference_has_no_interval(make_project, wave):
    project = make_project(wave)
    train_model(project, **{**FAST, "epochs": 1, "lr": 1e-30, "reference": "trend"})
    assert predict_rasters(project).bounds == ()


def test_default_steps_are_the_horizon(project):
    assert len(predict_rasters(project).files) == 2


def test_from_a_date_uses_the_cubes_own_times_after_it(project):
    cube = open_cube(project.cube_path)
    result = predict_rasters(project, from_=str(cube.times[33])[:10], steps=3)
    np.testing.assert_array_equal(result.valid_times[:2], cube.times[34:])
    assert str(result.valid_times[2])[:10] == "2021-07-30"
    assert result.files[0].parent.name == str(cube.times[33])[:10].replace("-", "")


def test_a_date_between_steps_takes_the_one_before(project):
    cube = open_cube(project.cube_path)
    between = cube.times[30] + np.timedelta64(5, "D")
    assert predict_rasters(project, from_=str(between)[:10]).init_time == cube.times[30]


def test_a_date_takes_all_of_its_day(make_project, wave):
    times = np.datetime64("2020-01-01T10:30") + np.timedelta64(5, "D") * np.arange(36)
    project = make_project(wave, times=times)
    train_model(project, **FAST)
    result = predict_rasters(project, from_="2020-05-30")
    assert str(result.init_time) == "2020-05-30T10:30:00"


@pytest.mark.parametrize("text", ["2021-06-28", "20210628", "2021-06-28T00:00", "2021-06"])
def test_dates_may_be_written_in_several_ways(project, text):
    assert str(predict_rasters(project, from_=text).init_time) == "2021-06-28T00:00:00"


def test_too_many_steps_are_refused(project):
    with pytest.raises(SettingsError, match="--steps is 100000; the run's horizon is 2"):
        predict_rasters(project, steps=100000)


@pytest.mark.parametrize("text", ["yesterday", "NaT", "now", "202103", "2021-13-01", "20210631"])
def test_what_is_no_date_is_refused(project, text):
    with pytest.raises(DateError, match=f"--from is '{text}'"):
        predict_rasters(project, from_=text)


def test_dates_that_cannot_work_are_refused(project):
    with pytest.raises(DateError, match="lies after the cube's last step, 2021-07-14"):
        predict_rasters(project, from_="2099-01-01")
    with pytest.raises(DateError, match="needs 3 steps up to it; the cube has 2") as error:
        predict_rasters(project, from_="2020-01-20")
    assert "Give a date from 2020-02-02" in str(error.value)
    with pytest.raises(DateError, match="the cube has 0"):
        predict_rasters(project, from_="1999-01-01")


def test_an_interrupted_prediction_leaves_the_old_one(project):
    before = predict_rasters(project)
    content = [path.read_bytes() for path in before.files]
    with pytest.raises(InterruptedRunError):
        predict_rasters(project, tile=16, steps=2, interrupted=lambda: True)
    assert [path.read_bytes() for path in before.files] == content
    assert sorted(path.name for path in before.files[0].parent.parent.glob("[!.]*")) == ["20210714"]


def test_predicting_twice_gives_the_same_bytes(project):
    first = [path.read_bytes() for path in predict_rasters(project).files]
    assert [path.read_bytes() for path in predict_rasters(project, tile=16).files] == first


@pytest.mark.parametrize(
    ("time", "name"),
    [
        ("2023-06-15", "20230615"),
        ("2023-06-15T12:05", "20230615T1205"),
        ("2023-06-15T12:05:30", "20230615T120530"),
    ],
)
def test_time_names(time, name):
    moment = np.datetime64(time, "s")
    assert time_name(moment, [moment]) == name
