"""How large a correction is and how long it is trained: one rule, and what was given stays."""

import dataclasses

import pytest

from geoforecast.settings import TrainSettings
from geoforecast.train.capacity import LEAST_STEPS, chosen_model, sized, steps_an_epoch

AUTO = TrainSettings()


def chosen(settings=AUTO, shape=(128, 128), train=22, steps=9, channels=10):
    found = sized(settings, shape, train, steps, channels)
    return found.hidden, found.layers, found.epochs


def test_the_rule_by_hand():
    # 16 passes of 8 crops of 32 x 32 pixels, 9 steps, 4 x 16 x (10 + 16) x 9 weights:
    # 1.77e10 a pass over the samples, of which 4.5e11 hold 25.
    assert chosen() == (16, 1, 25)
    # A large raster costs no more an epoch, for an epoch has 16 steps at most.
    assert chosen(shape=(5000, 4000)) == (16, 1, 25)
    # 11 crops of 27 x 32: 1.02e10, of which 44 would fit.
    assert chosen(shape=(27, 37), train=82) == (16, 1, 40)


def test_short_records_get_no_model_unless_one_is_named(caplog):
    assert chosen_model(AUTO, LEAST_STEPS).model == "convlstm"
    assert not caplog.records
    assert chosen_model(AUTO, LEAST_STEPS - 1).model == "none"
    assert "27 steps before the test block are too few" in caplog.text
    named = dataclasses.replace(AUTO, model="convgru")
    assert chosen_model(named, 5) is named
    assert f"{LEAST_STEPS} steps" in TrainSettings.__dataclass_fields__["model"].metadata["help"]


def test_short_series_get_a_small_model():
    assert chosen(train=19)[0] == 8
    assert chosen(train=20)[0] == 16


def test_what_is_given_stays_and_what_costs_more_is_trained_for_less():
    given = dataclasses.replace(AUTO, hidden=32, layers=2, epochs=7)
    assert chosen(given) == (32, 2, 7)
    assert chosen(dataclasses.replace(AUTO, hidden=64, layers=3)) == (64, 3, 8)
    # 4 x 16 x (10 + 3 x 16) x 9 weights: 3.94e10
    assert chosen(dataclasses.replace(AUTO, layers=2)) == (16, 2, 11)
    assert chosen(channels=30)[2] < chosen(channels=10)[2]


@pytest.mark.parametrize(
    ("pixels", "inits", "steps"), [(1024, 8, 6), (1024, 80, 10), (1024, 81, 11), (10**6, 20, 16)]
)
def test_an_epoch_shows_each_pixel_once_within_bounds(pixels, inits, steps):
    assert steps_an_epoch(pixels, inits, AUTO) == steps
