"""Scores of events by hand on four pixels, and against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as oracle

from geoforecast.validate.metrics.events import PooledEvents, event_counts
from geoforecast.validate.metrics.pooled import evaluate, metric_names, metrics

OBSERVED = np.array([[0.0, 1.0], [2.0, 5.0]], np.float32)
FORECAST = np.array([[1.0, 0.5], [0.0, 9.0]], np.float32)


def pooled(forecast: np.ndarray, observed: np.ndarray, threshold: float) -> PooledEvents:
    (counts,) = event_counts(forecast.ravel(), observed.ravel(), [threshold])
    return PooledEvents(observed.size, *counts.tolist())


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        # 1 or more came at 1, 2, 5 and was forecast at 0 and 5: 1 hit, 2 misses, 1 false alarm.
        # CSI 1 / (1 + 2 + 1), POD 1 / (1 + 2), FAR 1 / (1 + 1), F1 2 / (2 + 2 + 1), HSS
        # 2 (1 x 0 - 2 x 1) / ((1 + 2) (2 + 0) + (1 + 1) (1 + 0)), bias (1 + 1) / (1 + 2).
        (1.0, (1 / 4, 1 / 3, 1 / 2, 2 / 5, -4 / 8, 2 / 3)),
        # 0.5 or more came at 1, 2, 5 and was forecast at 0, 1, 5: 2 hits, 1 miss, 1 false alarm.
        (0.5, (2 / 4, 2 / 3, 1 / 3, 4 / 6, -2 / 6, 3 / 3)),
        # Everything is 0 or more, so nothing is left to chance.
        (0.0, (1.0, 1.0, 0.0, 1.0, None, 1.0)),
        # 5 came and 9 was forecast: the size beyond the threshold does not matter.
        (5.0, (1.0, 1.0, 0.0, 1.0, 1.0, 1.0)),
    ],
)
def test_two_by_two(threshold: float, expected: tuple[float | None, ...]) -> None:
    sums = pooled(FORECAST, OBSERVED, threshold)
    assert metric_names("event") == ("csi", "pod", "far", "f1", "hss", "frequency_bias")
    for name, value in zip(metric_names("event"), expected, strict=True):
        if value is None:
            assert math.isnan(evaluate(name, sums)[0])
            continue
        assert evaluate(name, sums) == (pytest.approx(value, rel=1e-14), ""), name


def test_thresholds_are_counted_apart_and_in_order() -> None:
    counts = event_counts(FORECAST.ravel(), OBSERVED.ravel(), [0.5, 1.0, 6.0])
    # Hits, misses, false alarms; at 6 only the 9 is forecast.
    assert counts.tolist() == [[2, 1, 1], [1, 2, 1], [0, 0, 1]]
    assert event_counts(FORECAST.ravel(), OBSERVED.ravel(), []).shape == (0, 3)


def test_a_pixel_of_the_threshold_is_an_event_whatever_float32_makes_of_it() -> None:
    pixel = np.array([0.7], np.float32)  # 0.699999988
    assert float(pixel[0]) < 0.7
    assert event_counts(pixel, pixel, [0.7]).tolist() == [[1, 0, 0]]


def test_against_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    observed = rng.gamma(0.5, 2.0, 900).astype(np.float32)
    forecast = (observed * rng.lognormal(0, 0.7, 900)).astype(np.float32)
    for threshold in (0.1, 1.0, 3.0):
        came, said = observed >= np.float32(threshold), forecast >= np.float32(threshold)
        sums = pooled(forecast, observed, threshold)
        np.testing.assert_array_equal(sums.table, oracle.confusion_matrix(came, said))
        for name, value in {
            "csi": oracle.jaccard_score(came, said),
            "pod": oracle.recall_score(came, said),
            "far": 1 - oracle.precision_score(came, said),
            "frequency_bias": said.sum() / came.sum(),
        }.items():
            assert evaluate(name, sums)[0] == pytest.approx(value, rel=1e-12), name


@pytest.mark.parametrize(
    ("name", "sums", "reason"),
    [
        ("csi", PooledEvents(9, 0, 0, 0), "no event was observed and none was forecast"),
        ("pod", PooledEvents(9, 0, 0, 4), "no event was observed"),
        ("far", PooledEvents(9, 0, 4, 0), "no event was forecast"),
        ("frequency_bias", PooledEvents(9, 0, 0, 4), "no event was observed"),
        ("csi", PooledEvents(0, 0, 0, 0), "no pixel could be scored"),
    ],
)
def test_what_has_no_value_says_why(name: str, sums: PooledEvents, reason: str) -> None:
    value, why = evaluate(name, sums)
    assert math.isnan(value)
    assert why == reason


def test_no_hit_is_0_and_not_undefined() -> None:
    assert evaluate("csi", PooledEvents(9, 0, 1, 0)) == (0.0, "")
    assert evaluate("far", PooledEvents(9, 0, 0, 1)) == (1.0, "")


def test_every_event_metric_is_described() -> None:
    for one in metrics("event"):
        assert one.formula
        assert one.source
        assert not one.in_units
