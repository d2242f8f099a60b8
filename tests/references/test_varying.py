"""Coefficients that vary: the products by hand, and a kernel that says the same for any tile."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoforecast.references import reference_classes
from geoforecast.references.autoregression import coefficient_count, feature_names
from geoforecast.references.varying import (
    VARIED,
    WAYS,
    applied,
    level_of,
    varied,
    widened,
)

SEASON = (0.6, -0.8)
PLACES = (0, 3)


def random_parts(shape, seed=0, features=5, rules=3):
    """Base, features, level and coefficients, some of which are 0."""
    rng = np.random.default_rng(seed)
    base, level = (rng.normal(0, 1, shape).astype(np.float32) for _ in range(2))
    x = rng.normal(0, 1, (features, *shape)).astype(np.float32)
    coefficients = rng.normal(0, 1, (rules, features + len(WAYS) * len(PLACES)))
    coefficients[1, features:] = 0
    coefficients[2] = 0
    return base, x, level, coefficients


def test_what_varies_is_there():
    yearly = feature_names(tuple(reference_classes(16.0)), moving=False)
    assert [yearly[place] for place in varied(yearly)] == [n for n in yearly if n in VARIED]
    assert set(VARIED) <= set(yearly)
    assert coefficient_count(("mean", "persistence"), moving=False) == 14 + 5 * 3


def test_widened_by_hand():
    x = np.array([[1.0, 2.0], [10.0, 20.0], [-5.0, 7.0]], np.float32)
    level = np.array([0.5, -2.0], np.float32)
    found = widened(x, level, SEASON, (0, 2))
    expected = [
        [1.0, 2.0],
        [10.0, 20.0],
        [-5.0, 7.0],
        [0.6, 1.2],  # first feature by sine, by cosine, by level, by level^2 - 1
        [-0.8, -1.6],
        [0.5, -4.0],
        [-0.75, 6.0],
        [1.0, 2.0],  # and its size
        [-3.0, 4.2],  # the third one
        [4.0, -5.6],
        [-2.5, -14.0],
        [3.75, 21.0],
        [5.0, 7.0],
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found.dtype == np.float32
    assert widened(x[:, :0], level[:0], SEASON, (0, 2)).shape == (13, 0)


def test_a_level_counts_deviations_and_no_more_than_three():
    base = np.array([[[1.0, 4.0, 100.0, np.nan]], [[1.0, 4.0, 100.0, np.nan]]], np.float32)
    found = level_of(base, [2.0, 4.0], [1.0, 0.0])
    np.testing.assert_array_equal(found, [[[-1, 2, 3, 0]], [[0, 0, 0, 0]]])
    # A band that was never valid has no mean.
    np.testing.assert_array_equal(level_of(base[:1], [np.nan], [np.nan]), np.zeros((1, 1, 4)))


def test_applied_is_the_sum_of_what_is_widened():
    base, x, level, coefficients = random_parts((40, 33))
    found = applied(base, x, level, SEASON, PLACES, coefficients)
    wide = widened(x.reshape(5, -1), level.reshape(-1), SEASON, PLACES).astype(float)
    expected = base + (coefficients @ wide).reshape(3, 40, 33)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    np.testing.assert_array_equal(found[2], base)
    assert found.dtype == np.float32


def test_what_has_no_base_has_no_rule():
    base, x, level, coefficients = random_parts((3, 4))
    base[1, 2] = np.nan
    found = applied(base, x, level, SEASON, PLACES, coefficients)
    np.testing.assert_array_equal(np.isnan(found), np.broadcast_to(np.isnan(base), (3, 3, 4)))


@given(st.data())
def test_any_part_has_the_bits_of_the_whole(data):
    shape = (60, 37)
    base, x, level, coefficients = random_parts(shape)
    whole = applied(base, x, level, SEASON, PLACES, coefficients)
    start = [data.draw(st.integers(0, side - 1)) for side in shape]
    stop = [data.draw(st.integers(a + 1, side)) for a, side in zip(start, shape, strict=True)]
    cut = (..., slice(start[0], stop[0]), slice(start[1], stop[1]))
    part = applied(base[cut], x[cut], level[cut], SEASON, PLACES, coefficients)
    np.testing.assert_array_equal(part, whole[cut])


@pytest.mark.parametrize("way", range(5))
def test_every_way_has_its_own_coefficient(way):
    base, x, level, _ = random_parts((4, 5))
    coefficients = np.zeros((1, 5 + 10))
    coefficients[0, 5 + 5 + way] = 2.0  # of the second place
    found = applied(base, x, level, SEASON, PLACES, coefficients)[0]
    factor = (0.6, -0.8, level, level**2 - 1, np.sign(x[3]))[way]
    np.testing.assert_allclose(found, base + 2 * factor * x[3], atol=1e-5)
