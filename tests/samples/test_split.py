"""The time split: blocks in time order, that cover every step once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoforecast.errors import SeriesTooShortError, SettingsError
from geoforecast.samples.split import SMALLEST_SERIES, Split, make_split
from geoforecast.settings import SplitSettings


@given(st.integers(SMALLEST_SERIES, 2000))
def test_default_blocks(steps):
    split = make_split(steps, SplitSettings())
    blocks = [*split.train_steps, *split.validation_steps, *split.test_steps]
    assert blocks == list(range(steps))
    assert len(split.test_steps) == max(3, -(-steps // 5))


@pytest.mark.parametrize("steps", [1, SMALLEST_SERIES - 1])
def test_too_few_steps(steps):
    with pytest.raises(SeriesTooShortError, match=f"at least {SMALLEST_SERIES} time steps"):
        make_split(steps, SplitSettings())


def test_counts_and_fractions():
    split = make_split(100, SplitSettings(test=0.1, validation=5))
    assert (split.validation, split.test) == (85, 90)


def test_a_count_that_is_none():
    with pytest.raises(SettingsError, match=r"A block of 2\.5 steps"):
        make_split(100, SplitSettings(test=2.5))


def test_boundaries_survive_new_steps():
    times = np.datetime64("2020-01-01", "s") + np.arange(30) * np.timedelta64(86400, "s")
    split = make_split(20, SplitSettings())
    again = Split.from_meta(split.to_meta(times[:20]), times)
    assert (again.validation, again.test, again.steps) == (split.validation, split.test, 30)
