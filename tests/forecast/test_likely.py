"""Equally likely values are quantiles as intervals have them, finished as forecasts are."""

import numpy as np
import pytest

from geoforecast.forecast.engine import open_engine
from geoforecast.forecast.finish import Finishing
from geoforecast.raster.grid import Tile
from geoforecast.references import spread
from geoforecast.train import train_model


@pytest.mark.parametrize("finishing", [Finishing(), Finishing(bias="quantile")])
def test_they_are_the_ends_of_intervals(make_project, wave, monkeypatch, finishing):
    monkeypatch.setattr(spread, "CAUTION_STEPS", 0.0)  # for which intervals are wider
    project = make_project(wave)
    train_model(project, model="none", horizon=3, lookback=3)
    engine = open_engine(project, "default", finishing=finishing)
    whole, steps = engine.cube.grid.whole, engine.split.test_steps
    made = list(engine.hindcasts(whole, steps, likely=20))
    assert {one.lead for one in made} == {1, 2, 3}
    assert all(one.lower is None for one in made)
    for level, number in ((0.95, 0), (0.55, 4), (0.05, 9)):
        for one, other in zip(made, engine.hindcasts(whole, steps, level), strict=True):
            assert other.likely is None
            np.testing.assert_allclose(one.likely[number], other.lower, rtol=1e-6)
            np.testing.assert_allclose(one.likely[-1 - number], other.upper, rtol=1e-6)
    for one in made:
        assert one.likely.shape == (20, *one.observed.shape)
        assert (np.diff(one.likely, axis=0) >= 0).all()
    part = Tile(3, 17, 8, 29)
    for one, other in zip(made, engine.hindcasts(part, steps, likely=20), strict=True):
        np.testing.assert_array_equal(one.likely[(..., *part.slices)], other.likely)


def test_without_known_errors_there_are_none(make_project, wave):
    project = make_project(wave)
    train_model(project, model="none", horizon=2, lookback=3, reference="persistence")
    engine = open_engine(project, "default")
    steps = engine.split.test_steps
    for one in engine.hindcasts(engine.cube.grid.whole, steps, 0.9, likely=20):
        assert one.likely is None
        assert one.lower is None
