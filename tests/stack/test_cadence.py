"""Slots of a regular cadence."""

from __future__ import annotations

import numpy as np
import pytest

from geoforecast.errors import SettingsError
from geoforecast.stack.cadence import Cadence, parse_cadence


def stamps(*texts):
    return np.array(texts, dtype="datetime64[s]")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("none", None),
        ("5min", Cadence(5, "m")),
        ("3h", Cadence(3, "h")),
        ("16D", Cadence(16, "D")),
        ("16d", Cadence(16, "D")),
        ("W", Cadence(1, "W")),
        ("1M", Cadence(1, "M")),
        ("1Y", Cadence(1, "Y")),
    ],
)
def test_parse(text, expected):
    assert parse_cadence(text) == expected


@pytest.mark.parametrize("text", ["0D", "5", "fortnight", "5m", "-1D", "1.5D", "00h"])
def test_bad_cadence(text):
    with pytest.raises(SettingsError, match=f"--cadence {text} is no step"):
        parse_cadence(text)


@pytest.mark.parametrize(
    ("step", "times", "slots", "index"),
    [
        (
            "2D",
            ["2020-01-01T10:00", "2020-01-03T09:00", "2020-01-07T00:00"],
            ["2020-01-01", "2020-01-03", "2020-01-05", "2020-01-07"],
            [0, 1, 3],
        ),
        ("1W", ["2020-01-01T10:00", "2020-01-08T09:00"], ["2020-01-01", "2020-01-08"], [0, 1]),
        (
            "1M",
            ["2020-01-31", "2020-02-29", "2020-04-01"],
            ["2020-01-01", "2020-02-01", "2020-03-01", "2020-04-01"],
            [0, 1, 3],
        ),
        ("2Y", ["2019-06-01", "2020-12-31", "2021-01-01"], ["2019-01-01", "2021-01-01"], [0, 0, 1]),
        (
            "1h",
            ["2020-01-01T10:50", "2020-01-01T11:49:59", "2020-01-01T11:50"],
            ["2020-01-01T10:50", "2020-01-01T11:50"],
            [0, 0, 1],
        ),
        ("1D", ["1969-12-30T12:00", "1969-12-31T01:00"], ["1969-12-30", "1969-12-31"], [0, 1]),
    ],
)
def test_slots(step, times, slots, index):
    found, numbers = parse_cadence(step).slots(stamps(*times))
    assert found.dtype == np.dtype("datetime64[s]")
    assert (found == stamps(*slots)).all()
    assert numbers.tolist() == index


def test_absurdly_many_slots():
    with pytest.raises(SettingsError, match="into 26297281 steps"):
        parse_cadence("1min").slots(stamps("1970-01-01", "2020-01-01"))
