"""Composites, with the arithmetic in sight."""

from __future__ import annotations

import numpy as np
import pytest

from geoforecast.stack.composite import RULES, composite

# Four layers of three pixels; the last pixel is never valid.
VALUES = np.array([[[4, 9, 1]], [[1, 9, 1]], [[3, 2, 1]], [[100, 8, 1]]], np.float32)
VALID = np.array(
    [[[True, False, False]], [[True, False, False]], [[True, True, False]], [[False, True, False]]]
)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("median", [3, 5]),  # of 4 1 3; mean of the middle two, 2 and 8
        ("mean", [8 / 3, 5]),
        ("max", [4, 8]),
        ("min", [1, 2]),
        ("first", [4, 2]),
        ("last", [3, 8]),
    ],
)
def test_rules(rule, expected):
    values, valid = composite(VALUES, VALID, rule)
    np.testing.assert_allclose(values[0, :2], expected, rtol=1e-7)
    assert valid.tolist() == [[True, True, False]]
    assert values[0, 2] == 0
    assert values.dtype == np.float32


def test_median_of_many_equals_numpy():
    rng = np.random.default_rng(0)
    values = rng.random((37, 5, 6)).astype(np.float32)
    valid = rng.random(values.shape) > 0.3
    result, _ = composite(values, valid, "median")
    expected = np.nanmedian(np.where(valid, values.astype(float), np.nan), axis=0)
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_classes_keep_their_dtype():
    values, _ = composite(VALUES.astype(np.uint8), VALID, "last")
    assert values.dtype == np.uint8
    assert values[0, :2].tolist() == [3, 8]


def test_rules_are_those_of_the_settings():
    from geoforecast.settings import StackSettings

    field = StackSettings.__dataclass_fields__["composite"]
    assert set(field.metadata["choices"]) == set(RULES)
