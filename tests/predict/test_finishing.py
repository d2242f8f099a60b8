"""What validate scores is what predict writes, whatever is done to forecasts once they are made."""

import json

import numpy as np
import pytest
import rasterio

from geoforecast.errors import SettingsError
from geoforecast.forecast.engine import open_engine
from geoforecast.forecast.finish import Finishing
from geoforecast.predict import predict_rasters
from geoforecast.raster.cube import open_cube, update_meta
from geoforecast.settings import ValidateSettings
from geoforecast.train import train_model
from geoforecast.validate import validate_run

ASKED = {"bias_correct": "quantile", "smooth": 1.5, "clip": True}


@pytest.fixture
def project(make_project, wave):
    project = make_project(wave)
    train_model(project, model="none", lookback=3, horizon=2)
    statistics = open_engine(project, "default").statistics
    update_meta(project.cube_path, ranges=[[s.minimum, s.maximum] for s in statistics])
    return project


def pixels(path):
    with rasterio.open(path) as dataset:
        return dataset.read(), dataset.tags()


def rmse_of_files(project, **asked):
    """Root mean squared error of forecasts written from each step before the test block on."""
    cube = open_cube(project.cube_path)
    split = open_engine(project, "default").split
    squares = []
    for step in split.test_steps:
        result = predict_rasters(project, from_=str(cube.times[step - 1]), interval=0, **asked)
        observed, valid = cube.read(step, step + 1)
        made, _ = pixels(result.files[0])
        squares.append(((made - observed[0])[valid[0]].astype(np.float64)) ** 2)
    return float(np.sqrt(np.concatenate(squares).mean()))


def rmse_of_validate(project, **asked):
    result = validate_run(project, ValidateSettings(**asked))
    rows = json.loads(result.json_path.read_text())["rows"]
    (found,) = (
        row["value"]
        for row in rows
        if (row["method"], row["lead"], row["metric"]) == ("forecast", 1, "rmse")
        and not row["part"]
    )
    return found


@pytest.mark.slow
@pytest.mark.parametrize("asked", [ASKED, {"smooth": 2.0}, {"clip": False}], ids=str)
def test_validate_scores_what_predict_writes(project, asked):
    assert rmse_of_files(project, **asked) == pytest.approx(
        rmse_of_validate(project, **asked), rel=1e-9
    )


def test_each_option_changes_the_files_and_is_told_in_their_tags(project):
    plain, tags = pixels(predict_rasters(project, steps=3).files[2])
    told = ("bias_correction", "smoothing_steps", "clipped")
    assert [tags[name] for name in told] == ["none", "0", "yes"]
    for asked in ({"bias_correct": "mean-variance"}, {"bias_correct": "quantile"}, {"smooth": 2}):
        result = predict_rasters(project, steps=3, **asked)
        made, tags = pixels(result.files[2])
        assert (made != plain).any(), asked
        expected = {"bias_correct": "bias_correction", "smooth": "smoothing_steps"}
        for name, value in asked.items():
            assert tags[expected[name]] == str(value)
        low, high = (pixels(path)[0] for path in result.bounds[2])
        known = np.isfinite(made)
        assert (low <= high)[known].all()
    upper, _ = pixels(predict_rasters(project, steps=3).bounds[2][1])
    loose, tags = pixels(predict_rasters(project, steps=3, clip=False).bounds[2][1])
    assert tags["clipped"] == "no"
    assert loose.max() > upper.max()


def test_samples_are_mapped_and_clipped_as_the_forecast_is(project):
    low, high = np.float32(open_cube(project.cube_path).meta["ranges"][0])

    def draws(**asked):  # read at once: the next forecast takes the folder
        chains = predict_rasters(project, samples=8, interval=0, **asked).samples
        return np.stack([pixels(chain[0])[0] for chain in chains])

    mapped = {"bias_correct": "quantile", "smooth": 1.5}
    free = draws(clip=False, **mapped)
    engine = open_engine(project, "default", finishing=Finishing(bias="quantile", smooth=1.5))
    unmapped = draws(clip=False, smooth=1.5)
    for sample, before in zip(free, unmapped, strict=True):
        expected = engine.bias.at(35).apply(before[None])[0]
        np.testing.assert_array_equal(sample, expected)
    assert free.max() > high
    np.testing.assert_array_equal(draws(**mapped), np.clip(free, low, high))
    assert (draws(clip=False) != free).mean() > 0.9


def test_probabilities_are_refused_before_any_work(make_project):
    wet = (np.random.default_rng(0).random((30, 1, 20, 24)) < 0.4).astype(np.float32)
    project = make_project(wet, name="wet")
    train_model(project, model="none", lookback=3, horizon=1)
    with pytest.raises(SettingsError, match="--smooth cannot be used"):
        predict_rasters(project, smooth=2)
    with pytest.raises(SettingsError, match="--bias-correct cannot be used"):
        validate_run(project, ValidateSettings(bias_correct="quantile"))
    assert not (project.root / "forecasts").exists()
