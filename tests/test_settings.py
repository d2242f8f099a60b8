"""Settings: precedence, types, choices, bounds, and errors that name the remedy."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from pathlib import Path
from typing import Any

import pytest

from geoforecast.errors import SettingsError
from geoforecast.settings import (
    SECTIONS,
    PredictSettings,
    StackSettings,
    TrainSettings,
    read_settings_file,
    resolve_settings,
    toml_key,
)


def resolve(section: str, **kwargs: Any) -> Any:
    given = kwargs.pop("given", {})
    return resolve_settings(
        section, given, file_values=kwargs.get("file", {}), environ=kwargs.get("environ", {})
    )


@pytest.fixture
def settings_file(tmp_path: Path) -> Path:
    return tmp_path / "geoforecast.toml"


# ---- precedence -----------------------------------------------------------------------------


def test_defaults_need_nothing() -> None:
    assert resolve("train") == TrainSettings()


def test_flag_beats_variable_beats_file_beats_default() -> None:
    file = {"train": {"epochs": 3}}
    environ = {"GEOFORECAST_TRAIN_EPOCHS": "5"}
    assert resolve("train").epochs == TrainSettings().epochs
    assert resolve("train", file=file).epochs == 3
    assert resolve("train", file=file, environ=environ).epochs == 5
    assert resolve("train", file=file, environ=environ, given={"epochs": 7}).epochs == 7


def test_a_flag_that_was_not_given_is_none_and_hides_nothing() -> None:
    assert resolve("train", file={"train": {"epochs": 3}}, given={"epochs": None}).epochs == 3


def test_a_flag_may_turn_off_what_the_file_turns_on() -> None:
    file = {"train": {"peepholes": True}}
    assert resolve("train", file=file, given={"peepholes": False}).peepholes is False


def test_a_variable_of_another_section_is_ignored() -> None:
    assert resolve("predict", environ={"GEOFORECAST_TRAIN_RUN": "other"}).run == "default"


def test_variables_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEOFORECAST_STACK_CADENCE", "16D")
    assert resolve_settings("stack", {}, file_values={}).cadence == "16D"


def test_a_python_keyword_drops_its_underscore_outside_python() -> None:
    assert toml_key("from_") == "from"
    assert resolve("predict", file={"predict": {"from": "2020-01-01"}}).from_ == "2020-01-01"
    assert resolve("predict", environ={"GEOFORECAST_PREDICT_FROM": "2020"}).from_ == "2020"


# ---- types ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "expected"),
    [("B04,B08", ("B04", "B08")), (" B04 , B08 ,", ("B04", "B08")), ("", ()), (["B04"], ("B04",))],
)
def test_a_list_is_comma_separated_text_or_a_toml_array(raw: Any, expected: Any) -> None:
    assert resolve("stack", given={"bands": raw}).bands == expected


def test_the_items_of_a_list_are_converted() -> None:
    settings = resolve("stack", given={"mask_values": "3,8,9", "res": 20})
    assert settings.mask_values == (3, 8, 9)
    assert settings.res == (20.0,)


@pytest.mark.parametrize("word", ["1", "true", "YES", "on"])
def test_words_for_true(word: str) -> None:
    assert resolve("stack", environ={"GEOFORECAST_STACK_OVERWRITE": word}).overwrite is True


@pytest.mark.parametrize("word", ["0", "false", "No", "off", ""])
def test_words_for_false(word: str) -> None:
    environ = {"GEOFORECAST_STACK_OVERWRITE": word}
    file = {"stack": {"overwrite": True}}
    assert resolve("stack", environ=environ, file=file).overwrite is False


def test_an_optional_number_may_be_absent_or_given() -> None:
    assert resolve("stack").scale is None
    assert resolve("stack", given={"scale": "1e-4"}).scale == 1e-4
    assert resolve("stack", given={"nodata": 0}).nodata == 0.0


def test_zero_is_given_and_not_absent() -> None:
    assert resolve("train", given={"epochs": 0}, file={"train": {"epochs": 9}}).epochs == 0


def test_a_whole_float_is_a_whole_number() -> None:
    assert resolve("train", given={"epochs": 3.0}).epochs == 3


@pytest.mark.parametrize(
    ("section", "name", "raw", "expected"),
    [
        ("train", "epochs", "many", "a whole number"),
        ("train", "epochs", 2.5, "a whole number"),
        ("train", "epochs", True, "a whole number"),
        ("train", "lr", "fast", "a number"),
        ("stack", "scale", "big", "a number"),
        ("stack", "overwrite", "perhaps", "true or false"),
        ("stack", "mask_values", "3,cloud", "a comma-separated list, each a whole number"),
    ],
)
def test_a_wrong_type_names_the_setting_the_value_and_the_type(
    section: str, name: str, raw: Any, expected: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        resolve(section, given={name: raw})
    message = str(caught.value)
    assert name.replace("_", "-") in message
    assert repr(raw) in message
    assert f"Give {expected}." in message


def test_the_message_names_where_the_value_came_from() -> None:
    with pytest.raises(SettingsError, match=r"^GEOFORECAST_TRAIN_EPOCHS is 'x'"):
        resolve("train", environ={"GEOFORECAST_TRAIN_EPOCHS": "x"})
    with pytest.raises(SettingsError, match=r"^geoforecast.toml \[train\] epochs is 'x'"):
        resolve("train", file={"train": {"epochs": "x"}})


# ---- choices and bounds ---------------------------------------------------------------------


def test_a_choice_out_of_the_list_offers_the_nearest() -> None:
    with pytest.raises(SettingsError, match="Did you mean 'bilinear'"):
        resolve("stack", given={"resampling": "bilinaer"})


def test_a_choice_unlike_all_lists_them() -> None:
    with pytest.raises(SettingsError, match=r"Known: auto, cpu, cuda, mps\."):
        resolve("train", given={"device": "xyz"})


def test_a_number_below_its_minimum_names_it() -> None:
    with pytest.raises(SettingsError, match=r"train --batch-size is 0\.\nGive 1 or more\."):
        resolve("train", given={"batch_size": 0})
    assert resolve("train", given={"batch_size": 1}).batch_size == 1


@pytest.mark.parametrize("section", SECTIONS)
def test_every_setting_has_help_and_a_default_that_passes_its_own_checks(section: str) -> None:
    for field in dataclasses.fields(SECTIONS[section]):
        assert field.metadata["help"].strip(), field.name
        assert not field.metadata["help"].endswith("."), field.name
        if field.default is not None:
            value = getattr(resolve(section, given={field.name: field.default}), field.name)
            assert value == field.default


@pytest.mark.parametrize("word", ["nan", "inf", "-inf", "1e999"])
@pytest.mark.parametrize(
    ("section", "name"),
    [
        ("stack", "scale"),
        ("stack", "offset"),
        ("stack", "res"),
        ("stack", "bounds"),
        ("split", "test"),
        ("split", "validation"),
        ("train", "lr"),
    ],
)
def test_a_number_must_be_finite(section: str, name: str, word: str) -> None:
    with pytest.raises(SettingsError, match=r"Give a finite number\."):
        resolve(section, given={name: word})


def test_only_nodata_may_be_nan() -> None:
    assert math.isnan(resolve("stack", given={"nodata": "nan"}).nodata)
    open_ended = [
        field.name
        for cls in SECTIONS.values()
        for field in dataclasses.fields(cls)
        if not field.metadata["finite"]
    ]
    assert open_ended == ["nodata"]


@pytest.mark.parametrize(("section", "name"), [("train", "lr"), ("stack", "res")])
@pytest.mark.parametrize("raw", ["0", "-1"])
def test_a_number_that_must_be_above_zero(section: str, name: str, raw: str) -> None:
    with pytest.raises(SettingsError, match=r"Give more than 0\."):
        resolve(section, given={name: raw})


def test_every_item_of_a_list_is_bounded() -> None:
    with pytest.raises(SettingsError, match=r"stack --res is 0.0\.\nGive more than 0\."):
        resolve("stack", given={"res": "10,0"})


def test_patience_is_at_least_one() -> None:
    with pytest.raises(SettingsError, match=r"Give 1 or more\."):
        resolve("train", given={"patience": 0})


@pytest.mark.parametrize("raw", [5, 1.5, ["a"], {"a": 1}, True])
@pytest.mark.parametrize(("section", "name"), [("train", "run"), ("stack", "mask")])
def test_text_is_text(section: str, name: str, raw: Any) -> None:
    with pytest.raises(SettingsError, match=r"Give text\."):
        resolve(section, file={section: {name: raw}})


@pytest.mark.parametrize("raw", [{"B04": 1}, [1.5], [["B04"]], True])
def test_a_list_of_text_holds_text(raw: Any) -> None:
    with pytest.raises(SettingsError, match="each text"):
        resolve("stack", file={"stack": {"bands": raw}})


def test_bands_may_be_numbered_and_dates_unquoted() -> None:
    assert resolve("stack", file={"stack": {"bands": [1, 2]}}).bands == ("1", "2")
    file = {"predict": {"from": dt.date(2020, 1, 2)}}
    assert resolve("predict", file=file).from_ == "2020-01-02"
    assert resolve("stack", given={"like": Path("a.tif")}).like == "a.tif"


def test_overwrite_says_that_it_overwrites() -> None:
    for cls, text in ((StackSettings, "make the cube again"), (TrainSettings, "train again")):
        (field,) = (f for f in dataclasses.fields(cls) if f.name == "overwrite")
        assert field.metadata["help"] == f"{text}, whatever is there"


# ---- unknown names --------------------------------------------------------------------------


def test_an_unknown_argument_offers_the_nearest() -> None:
    with pytest.raises(SettingsError, match=r"'epoch' is not a setting of train.\n.*'epochs'"):
        resolve("train", given={"epoch": 3})


def test_an_unknown_key_in_the_file_offers_the_nearest(settings_file: Path) -> None:
    settings_file.write_text("[stack]\ncadance = '16D'\n")
    with pytest.raises(SettingsError) as caught:
        read_settings_file(settings_file)
    assert "unknown setting 'cadance' in [stack]" in str(caught.value)
    assert "Did you mean 'cadence'?" in str(caught.value)
    assert str(settings_file) in str(caught.value)


def test_an_unknown_section_offers_the_nearest(settings_file: Path) -> None:
    settings_file.write_text("[stakc]\n")
    with pytest.raises(SettingsError, match=r"unknown section \[stakc\].\nDid you mean 'stack'"):
        read_settings_file(settings_file)


def test_a_key_outside_any_section_is_told_where_to_go(settings_file: Path) -> None:
    settings_file.write_text("train = 3\n")
    with pytest.raises(SettingsError, match=r"Write \[train\] above it"):
        read_settings_file(settings_file)


def test_a_broken_file_names_the_line(settings_file: Path) -> None:
    settings_file.write_text("[stack]\nbands = \n")
    with pytest.raises(SettingsError, match=r"not valid TOML.*line 2"):
        read_settings_file(settings_file)


def test_bytes_that_are_not_text_are_an_error_not_a_traceback(settings_file: Path) -> None:
    settings_file.write_bytes(b"[stack]\nmask = '\xff'\n")
    with pytest.raises(SettingsError, match="not valid TOML"):
        read_settings_file(settings_file)


def test_a_missing_file_has_no_settings(settings_file: Path) -> None:
    assert read_settings_file(settings_file) == {}


def test_a_file_is_read_into_sections(settings_file: Path) -> None:
    settings_file.write_text(
        "[stack]\ninputs = 'scenes'\nbands = ['NDVI']\n[predict]\nfrom = '2020-01-01'\n"
    )
    values = read_settings_file(settings_file)
    assert values["stack"]["inputs"] == "scenes"
    stack = resolve_settings("stack", {}, file_values=values, environ={})
    predict = resolve_settings("predict", {}, file_values=values, environ={})
    assert stack == dataclasses.replace(StackSettings(), bands=("NDVI",))
    assert predict == dataclasses.replace(PredictSettings(), from_="2020-01-01")
