"""Words: digits, units, times."""

from __future__ import annotations

import math

import numpy as np
import pytest

from geoforecast.figures.words import (
    four_digits,
    shown_unit,
    step_length,
    time_label,
    without_twins,
)

NAN = math.nan


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.19, "0.1900"), (16.28416, "16.28"), (1234.4, "1234"), (-2.0, "-2.000"), (NAN, "-")],
)
def test_four_digits(value: float, text: str) -> None:
    assert four_digits(value) == text


def test_dimensionless_numbers_show_no_unit() -> None:
    assert [shown_unit(unit) for unit in ("1", "", "K")] == ["", "", "K"]


def test_time_words() -> None:
    start = np.datetime64("2024-01-01T00:00:00", "s")
    minutes = start + np.arange(5) * np.timedelta64(300, "s")
    assert step_length(minutes) == "5 min"
    assert step_length(start + np.array([0, 16, 32, 47]) * np.timedelta64(86400, "s")) == (
        "about 16 d"
    )
    assert time_label(start) == "2024-01-01"
    assert time_label(minutes[1]) == "2024-01-01 00:05 UTC"


def test_rows_that_are_alike_are_told_once() -> None:
    rows = {"mean": ["1", "2"], "trend": ["1", "3"], "climatology": ["1", "2"], "wave": ["1", "2"]}
    kept, sentence = without_twins(rows)
    assert kept == ["mean", "trend"]
    assert sentence == "As mean: climatology, wave."
    assert without_twins({"mean": ["1"], "trend": ["2"]}) == (["mean", "trend"], "")
