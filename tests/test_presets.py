"""Presets: their values, who wins over them, and errors."""

import dataclasses

import pytest
from click.testing import CliRunner

from geoforecast.cli import cli
from geoforecast.errors import SettingsError
from geoforecast.settings import SECTIONS, TrainSettings, resolve_settings
from geoforecast.settings.presets import PRESETS, preset_names

CASES = [(section, name) for section in PRESETS for name in PRESETS[section]]


def resolve(given=None, file=None, environ=None):
    return resolve_settings(
        "train", given or {}, file_values={"train": file or {}}, environ=environ or {}
    )


def test_a_preset_takes_the_place_of_defaults_alone():
    values = PRESETS["train"]["crime-grid"]
    found = resolve({"preset": "crime-grid"})
    for field in dataclasses.fields(TrainSettings):
        expected = values.get(field.name, field.default)
        if field.name != "preset":
            assert getattr(found, field.name) == expected, field.name
    assert found.lookback == 6 != TrainSettings().lookback


def test_flag_variable_and_file_win_over_a_preset():
    preset = {"preset": "crime-grid"}
    assert resolve(preset).epochs == 150
    assert resolve(preset, file={"epochs": 3}).epochs == 3
    environ = {"GEOFORECAST_TRAIN_EPOCHS": "5"}
    assert resolve(preset, file={"epochs": 3}, environ=environ).epochs == 5
    assert resolve({**preset, "epochs": 7}, file={"epochs": 3}, environ=environ).epochs == 7
    # Even where what is given is the default.
    assert resolve({**preset, "lookback": 0}).lookback == 0


def test_a_preset_may_stand_in_the_file_or_a_variable():
    assert resolve(file={"preset": "crime-grid"}).model == "crime_grid"
    assert resolve(environ={"GEOFORECAST_TRAIN_PRESET": "crime-grid"}).model == "crime_grid"
    other = resolve({"preset": ""}, file={"preset": "crime-grid"})
    assert other.model == TrainSettings().model


def test_an_unknown_preset_offers_the_nearest():
    with pytest.raises(SettingsError, match=r"no preset 'crime_grid'.\nDid you mean 'crime-grid'"):
        resolve({"preset": "crime_grid"})


@pytest.mark.parametrize(("section", "name"), CASES)
def test_each_value_of_a_preset_is_one_that_could_be_given(section, name):
    values = PRESETS[section][name]
    assert "preset" not in values
    given = resolve_settings(section, values, file_values={}, environ={})
    named = resolve_settings(section, {"preset": name}, file_values={}, environ={})
    assert given == dataclasses.replace(named, preset="")


@pytest.mark.parametrize("section", PRESETS)
def test_help_names_the_presets(section):
    assert "preset" in {field.name for field in dataclasses.fields(SECTIONS[section])}
    text = CliRunner().invoke(cli, [section, "--help"], catch_exceptions=False).stdout
    for name in preset_names(section):
        assert name in text
