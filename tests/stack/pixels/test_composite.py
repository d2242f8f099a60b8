"""Composites, with the arithmetic in sight."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoforecast.stack.pixels.composite import RULES, best_order, composite

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
        ("best", [4, 2]),  # without an order: the layers are ordered already
    ],
)
def test_rules(rule, expected):
    values, valid = composite(VALUES, VALID, rule)
    np.testing.assert_allclose(values[0, :2], expected, rtol=1e-7)
    assert valid.tolist() == [[True, True, False]]
    assert values[0, 2] == 0
    assert values.dtype == np.float32


def test_best_takes_the_best_layer_and_fills_its_gaps_from_the_next():
    values, valid = composite(VALUES, VALID, "best", order=[3, 1, 2, 0])
    # Layer 3 has only the second pixel; the first comes from layer 1.
    assert values.tolist() == [[1, 8, 0]]
    assert valid.tolist() == [[True, True, False]]


def test_best_order_is_by_valid_fraction_and_ties_go_by_time():
    assert best_order([0.2, 0.9, 0.2, 0.5, 0.9]).tolist() == [1, 4, 3, 0, 2]


@pytest.mark.parametrize("layers", [1, 2, 3, 5, 8, 13, 37])
def test_median_equals_numpy(layers):
    rng = np.random.default_rng(layers)
    # Wider than the pixels that are sorted side by side, and not a multiple of them.
    values = rng.normal(size=(layers, 3, 530)).astype(np.float32)
    valid = rng.random(values.shape) > 0.4
    valid[:, 0, 0] = False
    valid[:, 0, 1] = True
    result, usable = composite(values, valid, "median")
    some = valid.any(axis=0)
    assert (usable == some).all()
    assert (result[~some] == 0).all()
    wide = np.where(valid, values.astype(float), np.nan)[:, some]
    expected = np.nanmedian(wide, axis=0).astype(np.float32)
    assert (result[some] == expected).all()


@pytest.mark.parametrize("rule", ["mean", "max", "min"])
def test_other_rules_equal_numpy(rule):
    rng = np.random.default_rng(3)
    values = rng.normal(size=(6, 4, 37)).astype(np.float32)
    valid = rng.random(values.shape) > 0.4
    valid[0] = True
    result, _ = composite(values, valid, rule)
    wide = np.where(valid, values.astype(float), np.nan)
    expected = getattr(np, f"nan{rule}")(wide, axis=0)
    np.testing.assert_allclose(result, expected, rtol=1e-6)


@settings(max_examples=30, deadline=None)
@given(
    rule=st.sampled_from(RULES),
    layers=st.integers(1, 9),
    width=st.integers(1, 600),
    cut=st.floats(0, 1),
    seed=st.integers(0, 9),
)
def test_same_bits_for_any_tiling(rule, layers, width, cut, seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(layers, 2, width)).astype(np.float32)
    valid = rng.random(values.shape) > 0.3
    order = rng.permutation(layers)
    whole = composite(values, valid, rule, order)
    at = int(cut * width)
    for part in (slice(0, at), slice(at, width)):
        piece = composite(values[..., part], valid[..., part], rule, order)
        assert (piece[0] == whole[0][..., part]).all()
        assert (piece[1] == whole[1][..., part]).all()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_a_dtype_keeps_its_kind_and_its_extremes(rule, dtype):
    ends = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else np.finfo(dtype)
    values = np.array([[[ends.min, ends.max]], [[ends.min, ends.max]]], dtype)
    valid = np.array([[[True, True]], [[False, False]]])
    result, usable = composite(values, valid, rule)
    assert result.dtype == dtype
    assert usable.all()
    assert result.tolist() == [[ends.min, ends.max]]


def test_rules_are_those_of_the_settings():
    from geoforecast.settings import StackSettings

    field = StackSettings.__dataclass_fields__["composite"]
    assert set(field.metadata["choices"]) == set(RULES)
