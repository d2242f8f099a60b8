"""Bias correction: maps by hand, who may know what, and too little to learn from."""

import numpy as np
import pytest

from geoforecast.errors import SeriesTooShortError
from geoforecast.forecast.bias import (
    LEAST_STEPS,
    MEAN_VARIANCE,
    MOST_PAIRS,
    QUANTILE,
    QUANTILES,
    Bias,
    Transfer,
    lattice_stride,
)


def transfer(method, made, came):
    return Transfer(method, np.array([[[made, came]]], dtype=np.float64))


def one(numbers):
    return np.array(numbers, dtype=np.float32)[None, None, None]


def test_mean_and_variance_by_hand():
    # y = 10 + 4 / 2 (x - 3)
    found = transfer(MEAN_VARIANCE, [3, 2], [10, 4]).apply(one([3, 5, np.nan, 1]))
    np.testing.assert_array_equal(found, one([10, 14, np.nan, 6]))


def test_forecasts_that_never_vary_are_only_shifted():
    found = transfer(MEAN_VARIANCE, [3, 0], [10, 4]).apply(one([3, 5]))
    np.testing.assert_array_equal(found, one([10, 12]))


def test_quantiles_are_joined_by_lines_and_shifted_beyond():
    # 1 -> 10, 2 -> 12, 4 -> 20: half way from 2 to 4 is 16; 0 is 1 below the first, so 9; 6 is
    # 2 above the last, so 22.
    found = transfer(QUANTILE, [1, 2, 4], [10, 12, 20]).apply(one([1, 3, 0, 6, np.nan]))
    np.testing.assert_array_equal(found, one([10, 16, 9, 22, np.nan]))


def test_one_value_at_several_quantiles_takes_their_mean():
    # Three of four quantiles of the forecast are dry; of what came, one was 0.3.
    found = transfer(QUANTILE, [0, 0, 0, 2], [0, 0, 0.3, 4]).apply(one([0, 1, 2]))
    np.testing.assert_allclose(found, one([0.1, 2.05, 4]), rtol=1e-6)


def test_leads_beyond_the_table_take_the_last_one():
    table = np.array([[[[0, 1], [1, 1]]], [[[0, 1], [5, 1]]]], dtype=np.float64)
    values = np.zeros((3, 1, 1, 1), dtype=np.float32)
    found = Transfer(MEAN_VARIANCE, table).apply(values)
    assert found.ravel().tolist() == [1, 5, 5]


def pairs(steps=10, size=200, seed=0):
    rng = np.random.default_rng(seed)
    for step in range(20, 20 + steps):
        for lead in range(2):
            made = rng.normal(size=size).astype(np.float32)
            yield step, lead, 0, made, (made + step + 100 * lead).astype(np.float32)


def test_no_later_step_takes_part():
    known = Bias(MEAN_VARIANCE, 25, lambda: list(pairs()))
    shift = known.at(24).apply(np.zeros((2, 1, 1, 1), dtype=np.float32)).ravel()
    # Steps 20 to 24: came - made is their mean, 22.
    assert shift == pytest.approx([22, 122], abs=0.2)
    np.testing.assert_array_equal(known.at(3).table, known.at(24).table)
    later = known.at(26).apply(np.zeros((1, 1, 1, 1), dtype=np.float32)).item()
    assert later == pytest.approx(23, abs=0.2)  # steps 20 to 26
    fewer = Bias(MEAN_VARIANCE, 25, lambda: [one for one in pairs() if one[0] <= 26])
    np.testing.assert_array_equal(fewer.at(26).table, known.at(26).table)


def test_the_record_is_looked_at_once():
    looks = []

    def look():
        looks.append(1)
        return pairs()

    known = Bias(QUANTILE, 25, look)
    for step in (24, 27, 26, 24):
        known.at(step)
    assert len(looks) == 1


def test_quantiles_map_one_distribution_onto_the_other():
    rng = np.random.default_rng(1)
    made = rng.normal(size=40_000).astype(np.float32)
    came = np.exp(rng.normal(size=40_000)).astype(np.float32)
    split = [(s, 0, 0, made[s::4], came[s::4]) for s in range(4)]
    table = Bias(QUANTILE, 10, lambda: split).at(3)
    assert table.table.shape == (1, 1, 2, QUANTILES)
    mapped = table.apply(made[None, None, None])
    shares = [0.1, 0.5, 0.9]
    np.testing.assert_allclose(np.quantile(mapped, shares), np.quantile(came, shares), rtol=0.05)
    order = np.argsort(made)
    assert (np.diff(mapped.ravel()[order]) >= 0).all()


@pytest.mark.parametrize(("steps", "size"), [(LEAST_STEPS - 1, 200), (LEAST_STEPS, 20)])
def test_too_little_is_an_error(steps, size):
    with pytest.raises(SeriesTooShortError, match="needs 3 steps with 100 valid pixels"):
        Bias(QUANTILE, 100, lambda: pairs(steps, size)).at(99)


def test_steps_without_a_pixel_do_not_count():
    nothing = np.zeros(0, dtype=np.float32)
    empty = [(50, lead, 0, nothing, nothing) for lead in range(2)]
    with pytest.raises(SeriesTooShortError, match="there are 2 with 400"):
        Bias(QUANTILE, 100, lambda: [*pairs(2), *empty]).at(99)


def test_the_lattice_keeps_no_more_than_the_most():
    assert lattice_stride(1000, 10) == 1
    for pixels, steps in ((300_000, 10), (90_000, 300), (1, 10**6)):
        stride = lattice_stride(pixels, steps)
        assert pixels / stride**2 * steps <= MOST_PAIRS
