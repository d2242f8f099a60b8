"""Ticks: round, and around what is shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoforecast.figures.axes import nice_ticks, tick_digits


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 0.18, [0, 0.05, 0.1, 0.15, 0.2]),
        (-0.6, 0.5, [-1, -0.5, 0, 0.5]),
        (0.0, 4.0, [0, 1, 2, 3, 4]),
    ],
)
def test_nice_ticks(low: float, high: float, expected: list[float]) -> None:
    assert nice_ticks(low, high) == pytest.approx(expected)


def test_nice_ticks_of_one_value() -> None:
    ticks = nice_ticks(3.0, 3.0)
    assert ticks[0] <= 3.0 <= ticks[-1]
    assert len(ticks) > 1


def test_digits_tell_ticks_apart() -> None:
    assert tick_digits([0.0, 0.25, 0.5]) == 2
    assert tick_digits([0.0, 0.1, 0.2]) == 1
    assert tick_digits([0.0, 50.0]) == 0


@given(st.floats(-1e12, 1e12), st.floats(-1e12, 1e12))
def test_any_two_numbers_are_enclosed_by_a_few_ticks_that_differ(one: float, other: float) -> None:
    low, high = sorted((one, other))
    ticks, size = nice_ticks(low, high), max(abs(low), abs(high))
    assert ticks[0] <= low + 1e-9 * size
    assert ticks[-1] >= high - 1e-9 * size
    assert 2 <= len(ticks) <= 12
    assert len({f"{tick:.{tick_digits(ticks)}f}" for tick in ticks}) == len(ticks)
