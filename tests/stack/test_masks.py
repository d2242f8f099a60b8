"""Mask profiles: what their values mean, which names they recognise, how areas grow."""

from __future__ import annotations

import numpy as np
import pytest

from geoforecast.errors import SettingsError
from geoforecast.stack.masks import mask_choice, profiles, usable_pixels


def test_profiles_are_those_that_the_help_lists():
    assert set(profiles()) == {"scl", "landsat-c1", "landsat-c2", "fmask", "cloud", "clear"}


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
    result = usable_pixels(raw, profiles()[profile])
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
        ("mask", None),
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
    result = usable_pixels(raw, profiles()["cloud"], values=(2,), nodata=9)
    assert result.tolist() == [[True, True, False, False, False]]


def test_float_masks_with_nan():
    raw = np.array([[0, 1, np.nan]], np.float32)
    assert usable_pixels(raw, profiles()["cloud"]).tolist() == [[True, False, False]]
    assert usable_pixels(raw, profiles()["landsat-c2"]).tolist() == [[True, False, False]]


def test_dilation_is_a_square():
    raw = np.zeros((7, 7), np.uint8)
    raw[3, 3] = 1
    for pixels in (1, 2, 9):
        expected = np.ones((7, 7), bool)
        expected[max(0, 3 - pixels) : 4 + pixels, max(0, 3 - pixels) : 4 + pixels] = False
        result = usable_pixels(raw, profiles()["cloud"], dilate=pixels)
        np.testing.assert_array_equal(result, expected)
