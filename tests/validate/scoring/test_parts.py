"""Parts of the pixels: sums by label equal those of the pixels alone, rows are tidy."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoforecast.validate.metrics.pooled import evaluate
from geoforecast.validate.scoring.parts import part_pooled, part_rows, part_sums, skills_of
from geoforecast.validate.scoring.sums import SUMS, Scale, frame_sums

# Errors 1, 2, -3 and 4; labels 0, 0, 1 and none.
OBSERVED = np.array([[1.0, 2.0], [5.0, 6.0]], np.float32)
FORECAST = np.array([[2.0, 4.0], [2.0, 10.0]], np.float32)
LABELS = np.array([[0, 0], [1, 7]])
ALL = np.ones((2, 2), bool)


def test_each_label_has_its_own_sums():
    sums = part_sums(FORECAST, OBSERVED, ALL, LABELS, 3, Scale())
    assert sums.shape == (3, len(SUMS))
    n, e, abs_e, ee = (SUMS.index(name) for name in ("n", "e", "abs_e", "ee"))
    np.testing.assert_array_equal(sums[0, [n, e, abs_e, ee]], [2, 3, 3, 5])  # 1 + 2, 1 + 4
    np.testing.assert_array_equal(sums[1, [n, e, abs_e, ee]], [1, -3, 3, 9])
    np.testing.assert_array_equal(sums[2], 0)  # nobody has it; 7 is beyond


def test_pixels_that_are_not_scored_take_no_part():
    scored = np.array([[True, False], [False, False]])
    sums = part_sums(FORECAST, OBSERVED, scored, LABELS, 2, Scale())
    assert sums[:, SUMS.index("n")].tolist() == [1, 0]
    assert sums[0, SUMS.index("ee")] == 1


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 12), st.booleans())
def test_labels_share_out_the_frame(seed, height, width, with_normal):
    rng = np.random.default_rng(seed)
    forecast, observed, normal = rng.normal(5, 2, (3, height, width)).astype(np.float32)
    scored = rng.random((height, width)) > 0.3
    labels = rng.integers(0, 4, (height, width))
    scale, known = Scale(4.5, 0.1), normal if with_normal else None
    sums = part_sums(forecast, observed, scored, labels, 4, scale, known)
    whole = frame_sums(forecast, observed, scored, scale, known)
    np.testing.assert_allclose(sums.sum(axis=0), whole, rtol=1e-12, atol=1e-12)
    for label in range(4):
        own = frame_sums(forecast, observed, scored & (labels == label), scale, known)
        np.testing.assert_allclose(sums[label], own, rtol=1e-12, atol=1e-12)


def test_metrics_of_a_part_are_those_of_its_pixels():
    sums = part_sums(FORECAST, OBSERVED, ALL, LABELS, 2, Scale(shift=1.5))
    pooled = part_pooled(sums[0], 1.5, 10.0)
    assert evaluate("rmse", pooled)[0] == pytest.approx(math.sqrt(5 / 2))
    assert evaluate("mae", pooled)[0] == 1.5
    assert evaluate("bias", pooled)[0] == 1.5
    # Observed 1 and 2 about their mean: 0.5; 1 - 5 / 0.5.
    assert evaluate("r2", pooled)[0] == pytest.approx(-9)
    assert evaluate("ssim", pooled)[1]  # undefined, with a reason


def test_rows_of_a_part_have_its_name_and_skills():
    scale = Scale()
    ours = part_pooled(part_sums(FORECAST, OBSERVED, ALL, LABELS, 2, scale)[0], 0, 1)
    # Persistence errs by 2 and 4: RMSE sqrt(20 / 2), twice ours.
    other = part_pooled(
        part_sums(2 * FORECAST - OBSERVED, OBSERVED, ALL, LABELS, 2, scale)[0], 0, 1
    )
    rows = part_rows({"forecast": ours, "persistence": other}, "b0", 2, "held out")
    assert {row.part for row in rows} == {"held out"}
    assert {row.pixels for row in rows} == {2}
    value = {(row.method, row.metric): row.value for row in rows}
    assert value["forecast", "rmse_skill_vs_persistence"] == pytest.approx(0.5)
    assert value["forecast", "rmse_skill"] == pytest.approx(0.5)
    assert value["forecast", "mae_skill"] == pytest.approx(0.5)
    assert value["persistence", "rmse"] == pytest.approx(math.sqrt(10))
    assert skills_of(rows, "rmse_skill", "held out") == [pytest.approx(0.5)]
    assert skills_of(rows, "rmse_skill", "other") == []


def test_a_part_without_pixels_is_told_with_a_reason():
    empty = part_pooled(np.zeros(len(SUMS)), 0, 1)
    rows = part_rows({"forecast": empty, "persistence": empty}, "b0", 1, "held out")
    assert all(math.isnan(row.value) and row.reason for row in rows)
    assert {row.pixels for row in rows} == {0}
