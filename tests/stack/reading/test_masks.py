"""Mask profiles: what their values mean, which names they recognise, how areas grow."""

from __future__ import annotations

import pickle
import re
from importlib import resources

import numpy as np
import pytest
from scipy import ndimage

from geoforecast.errors import SettingsError
from geoforecast.stack.reading.mask_kinds import Bits, MaskProfile, profile_from, profiles
from geoforecast.stack.reading.masks import (
    MaskRule,
    mask_choice,
    mask_rule,
    parse_bits,
)
from geoforecast.stack.reading.tables import Table

PLAIN = MaskProfile("plain", "", 0, ())


# The contract of mask_profiles/*.toml


def test_each_file_is_a_profile():
    folder = resources.files("geoforecast.stack.reading") / "mask_profiles"
    files = {item.name for item in folder.iterdir() if item.name.endswith(".toml")}
    assert {f"{name}.toml" for name in profiles()} == files
    assert len({p.names for p in profiles().values() if p.names}) == sum(
        bool(p.names) for p in profiles().values()
    )


@pytest.mark.parametrize("profile", profiles().values(), ids=lambda p: p.name)
def test_a_profile_decodes_its_example(profile):
    assert profile.description
    assert profile.names or profile.told_names
    assert profile.usable_example
    assert profile.unusable_example
    for pattern in (*profile.names, *profile.told_names):
        re.compile(pattern)
    for dtype in (np.int32, np.int64, np.float64):
        good = np.array([profile.usable_example], dtype)
        bad = np.array([profile.unusable_example], dtype)
        assert MaskRule(profile).usable(good).all()
        assert not MaskRule(profile).usable(bad).any()


def test_a_wrong_profile_is_refused():
    good = {"description": "x", "names": ["x"], "bits": [{"first": 0, "last": 0, "unusable": [1]}]}
    assert profile_from(Table(good, "x.toml"), "x").bits == (Bits(0, 0, (1,)),)
    with pytest.raises(SettingsError, match=r"x\.toml: 'unusabel' is not known here"):
        profile_from(Table({**good, "unusabel": [1]}, "x.toml"), "x")
    bits = [{"first": 0, "last": 0, "unusable": [1], "name": "cloud"}]
    with pytest.raises(SettingsError, match=r"x\.toml \[\[bits\]\] 1: 'name' is not known"):
        profile_from(Table({**good, "bits": bits}, "x.toml"), "x")
    with pytest.raises(SettingsError, match="says of no value what it means"):
        profile_from(Table({"description": "x", "names": ["x"]}, "x.toml"), "x")


@pytest.mark.parametrize(
    ("profile", "usable", "unusable"),
    [
        ("scl", [2, 4, 5, 6, 7], [0, 1, 3, 8, 9, 10, 11, 255]),
        ("fmask", [0, 1], [2, 3, 4, 255]),
        ("cloud", [0], [1, 2, 100, 255]),
        ("clear", [1, 2, 100], [0, 255]),
        # 2720: clear with all confidences low. 1 fill; 2800 cloud; bits 7-8 = 3: 384;
        # 9-10 = 3: 1536; 11-12 = 3: 6144. 128 and 256 are lower shadow confidences.
        ("landsat-c1", [2720, 128, 256], [1, 2800, 384, 1536, 6144]),
        # 21824 clear, 21952 water; 1 fill, 22280 cloud (bit 3), 23888 shadow (bit 4).
        ("landsat-c2", [21824, 21952], [1, 22280, 23888, 2, 4, 32]),
    ],
)
def test_what_values_mean(profile, usable, unusable):
    raw = np.array([usable + unusable], np.uint16)
    result = MaskRule(profiles()[profile]).usable(raw)
    assert result.tolist() == [[True] * len(usable) + [False] * len(unusable)]


@pytest.mark.parametrize(
    ("name", "profile"),
    [
        ("SCL", "scl"),
        ("scl_20m", "scl"),
        ("BQA", "landsat-c1"),
        ("QA_PIXEL", "landsat-c2"),
        ("Fmask", "fmask"),
        ("cfmask", "fmask"),
        ("CLM", "cloud"),
        ("cldmsk", "cloud"),
        ("cloud_mask", "cloud"),
        ("dataMask", "clear"),
        ("valid", "clear"),
        ("NDVI", None),
        ("B4", None),
        ("pixel_qa", "landsat-c1-sr"),
        ("state_1km", "modis-state"),
        ("sur_refl_state_500m", "modis-state"),
        ("pixel_reliability", "modis-reliability"),
        ("SummaryQA", "modis-reliability"),
        ("250m_16_days_VI_Quality", "modis-vi-quality"),
        ("QC_Day", "modis-lst"),
        ("Mandatory_Quality_Flag", "viirs-ntl"),
        ("mask", None),
        ("qa", None),
        ("state", None),
        ("DOY", None),
    ],
)
def test_names_are_recognised(name, profile):
    found = mask_choice("auto", ()).matches(name)
    assert (found.name if found else None) == profile


def test_mask_setting_forms():
    assert mask_choice("none", ()).auto is False
    assert mask_choice("cloud", ()).matches("mask").name == "cloud"
    assert mask_choice("cloud", ()).matches("NDVI") is None
    assert mask_choice("clear:flag", ()).matches("FLAG").name == "clear"
    assert mask_choice("CLM", ()).profile.name == "cloud"
    assert mask_choice("flag", (7,)).matches("flag").unusable == (7,)


def test_a_mask_of_unclear_sense_is_an_error():
    with pytest.raises(SettingsError, match="does not say what the mask's values mean") as caught:
        mask_choice("flag", ())
    assert "--mask cloud:flag (1 = unusable)" in str(caught.value)
    with pytest.raises(SettingsError, match="no mask profile 'clod'") as caught:
        mask_choice("clod:flag", ())
    assert "Did you mean 'cloud'?" in str(caught.value)


def test_values_and_nodata_override_and_add():
    raw = np.array([[0, 1, 2, 9, 255]], np.uint8)
    result = MaskRule(profiles()["cloud"], values=(2,)).usable(raw, 9)
    assert result.tolist() == [[True, True, False, False, False]]


def test_float_masks_with_nan():
    raw = np.array([[0, 1, np.nan]], np.float32)
    assert MaskRule(profiles()["cloud"]).usable(raw).tolist() == [[True, False, False]]
    assert MaskRule(profiles()["landsat-c2"]).usable(raw).tolist() == [[True, False, False]]


def test_dilation_is_a_square():
    raw = np.zeros((7, 7), np.uint8)
    raw[3, 3] = 1
    for pixels in (1, 2, 9):
        expected = np.ones((7, 7), bool)
        expected[max(0, 3 - pixels) : 4 + pixels, max(0, 3 - pixels) : 4 + pixels] = False
        result = MaskRule(profiles()["cloud"], dilate=pixels).usable(raw)
        np.testing.assert_array_equal(result, expected)


def test_names_that_only_a_sensor_makes_clear():
    hls = profiles()["hls"]
    assert mask_choice("auto", (), preferred=(hls,)).matches("Fmask") is hls
    assert mask_choice("auto", (), preferred=(hls,)).matches("QA") is hls
    assert mask_choice("auto", (), preferred=(hls,)).matches("SCL").name == "scl"
    assert mask_choice("hls", ()).matches("fmask") is hls
    assert mask_choice("none", (), preferred=(hls,)).matches("QA") is hls  # and so no data


def test_the_users_rule_makes_unclear_names_clear():
    assert mask_choice("auto", ()).matches("mask") is None
    for given in ({"clear_values": (0,)}, {"bits": "3"}):
        assert mask_choice("auto", (), **given).matches("mask") is not None
        assert mask_choice("flag", (), **given).matches("flag") is not None
        assert mask_choice("auto", (), **given).matches("NDVI") is None
    assert mask_choice("auto", (1,)).matches("qa") is not None
    assert mask_choice("auto", (1,)).matches("SCL").name == "scl"


# The user's own rule


def test_clear_values_are_the_only_usable_ones():
    raw = np.array([[0, 1, 2, 254, 255]], np.uint8)
    result = MaskRule(profiles()["cloud"], clear_values=(1, 255)).usable(raw)
    assert result.tolist() == [[False, True, False, False, True]]
    result = MaskRule(profiles()["cloud"], clear_values=(1, 255)).usable(raw, 255)
    assert result.tolist() == [[False, True, False, False, False]]


def test_bits_of_either_polarity():
    # bit 3 or bit 4 set; bits 8-9 = 2 or 3; bit 5 not set
    raw = np.array([[32, 32 + 8, 32 + 16, 32 + 256, 32 + 512, 32 + 768, 0]], np.uint16)
    bits = parse_bits("3,4,8-9=2|3,5=0")
    result = MaskRule(PLAIN, bits=bits).usable(raw)
    assert result.tolist() == [[True, False, False, True, False, False, False]]
    # 255 is a number like any other once bits are given
    assert MaskRule(PLAIN, bits=parse_bits("8")).usable(np.array([[255]], np.uint16)).all()


def test_bits_are_read():
    assert parse_bits("") == ()
    assert parse_bits("3, 4") == (Bits(3, 3, ()), Bits(4, 4, ()))
    assert parse_bits("8-9=2|3") == (Bits(8, 9, (2, 3)),)
    assert parse_bits("0-5") == (Bits(0, 5, ()),)


@pytest.mark.parametrize("text", ["x", "3-", "4-3", "3=", "40", "3=1|", "1;2", "-1"])
def test_bits_that_cannot_be_read(text):
    with pytest.raises(SettingsError, match="is no bit field"):
        parse_bits(text)


def test_contradictions():
    cloud = profiles()["cloud"]
    with pytest.raises(SettingsError, match="4 does not fit into bits 8-9"):
        mask_rule(cloud, bits="8-9=4")
    with pytest.raises(SettingsError, match="1 is both in --clear-values"):
        mask_rule(cloud, values=(1, 2), clear_values=(0, 1))
    with pytest.raises(SettingsError, match="--clear-values 12 has bits set"):
        mask_rule(cloud, clear_values=(0, 12), bits="3")
    with pytest.raises(SettingsError, match="leaves no value usable"):
        mask_rule(cloud, bits="3,3=0")
    rule = mask_rule(cloud, values=(7,), clear_values=(0, 1), bits="3", dilate=2)
    assert rule == MaskRule(cloud, (7,), (0, 1), (Bits(3, 3, ()),), 2)
    assert "usable only by --clear-values: 0, 1" in rule.describe()
    assert "grown by 2 px" in rule.describe()
    assert mask_rule(cloud).describe() == ""


# Tables and growth, against the same thing done another way


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
@pytest.mark.parametrize(
    "rule",
    [
        *(MaskRule(profile) for profile in profiles().values()),
        MaskRule(PLAIN, values=(0, 3, 255)),
        MaskRule(PLAIN, clear_values=(1, 255)),
        MaskRule(PLAIN, bits=parse_bits("0,3-4=1|2,7")),
    ],
    ids=lambda rule: rule.profile.name,
)
def test_looking_up_equals_decoding(rule, dtype):
    info = np.iinfo(dtype)
    raw = np.arange(info.min, info.max + 1).astype(dtype).reshape(2, -1)
    for nodata in (None, 0.0, 9.0, -1.0, 70000.0, float("nan")):
        expected = rule.usable(raw.astype(np.int64), nodata)  # wide types are decoded
        if nodata is not None and not info.min <= nodata <= info.max:
            expected = rule.usable(raw.astype(np.int64), None)
        np.testing.assert_array_equal(rule.usable(raw, nodata), expected)


def test_looking_up_strided_and_empty_pixels():
    raw = np.random.default_rng(0).integers(0, 12, (300, 500)).astype(np.uint8)
    scl = MaskRule(profiles()["scl"])
    whole = scl.usable(raw)
    np.testing.assert_array_equal(scl.usable(raw[::3, 1::2]), whole[::3, 1::2])
    assert scl.usable(raw[:0]).shape == (0, 500)
    assert scl.usable(raw[:0], 0).dtype == bool


@pytest.mark.parametrize("dilate", [1, 2, 3, 4, 5, 7, 8, 31, 100])
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (37, 53), (5, 2)])
def test_growth_equals_a_minimum_filter(dilate, shape):
    raw = (np.random.default_rng(dilate).random(shape) < 0.02).astype(np.uint8)
    expected = ndimage.minimum_filter(raw == 0, 2 * dilate + 1, mode="constant", cval=1)
    result = MaskRule(profiles()["cloud"], dilate=dilate).usable(raw)
    np.testing.assert_array_equal(result, expected)


def test_a_rule_can_be_sent_to_another_process():
    rule = mask_rule(profiles()["scl"], bits="3", dilate=2)
    assert pickle.loads(pickle.dumps(rule)) == rule
