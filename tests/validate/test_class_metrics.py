"""Metrics of classes against scikit-learn, and by hand on few pixels."""

import numpy as np
import pytest
from sklearn import metrics as oracle

from geoforecast.validate.class_metrics import PooledClasses
from geoforecast.validate.metrics import evaluate, metric_names, metrics


def pooled(observed, forecast, last=None, size=3, brier=0.0):
    observed, forecast = np.asarray(observed).ravel(), np.asarray(forecast).ravel()
    table = np.bincount(observed * size + forecast, minlength=(size + 1) * size)
    change = np.zeros(4, dtype=np.int64)
    if last is not None:
        last = np.asarray(last).ravel()
        came, said, right = observed != last, forecast != last, observed == forecast
        parts = (came & right, came & said & ~right, came & ~said, ~came & said)
        change = np.array([int(part.sum()) for part in parts])
    return PooledClasses(observed.size, brier, table.reshape(size + 1, size), change)


def value(name, sums):
    return evaluate(name, sums)[0]


def test_names_of_each_kind():
    assert metric_names("binary") == ("brier", "csi", "pod", "far", "f1")
    assert metric_names("categorical") == (
        *("brier", "accuracy", "kappa", "macro_f1", "figure_of_merit"),
        *("quantity_disagreement", "allocation_disagreement"),
    )
    assert "brier" not in metric_names()
    for one in metrics("binary") + metrics("categorical"):
        assert one.formula
        assert one.source


def test_against_scikit_learn():
    rng = np.random.default_rng(0)
    observed = rng.integers(0, 3, 500)
    forecast = np.where(rng.random(500) < 0.6, observed, rng.integers(0, 3, 500))
    sums = pooled(observed, forecast)
    assert value("kappa", sums) == pytest.approx(oracle.cohen_kappa_score(observed, forecast))
    assert value("accuracy", sums) == pytest.approx(oracle.accuracy_score(observed, forecast))
    expected = oracle.f1_score(observed, forecast, average="macro")
    assert value("macro_f1", sums) == pytest.approx(expected)
    np.testing.assert_array_equal(sums.table[:3], oracle.confusion_matrix(observed, forecast))
    wet, said = (observed == 1).astype(int), (forecast == 1).astype(int)
    sums = pooled(wet, said, size=2)
    assert value("csi", sums) == pytest.approx(oracle.jaccard_score(wet, said))
    assert value("f1", sums) == pytest.approx(oracle.f1_score(wet, said))
    assert value("pod", sums) == pytest.approx(oracle.recall_score(wet, said))
    assert value("far", sums) == pytest.approx(1 - oracle.precision_score(wet, said))


def test_by_hand_on_two_by_two():
    # Last 0 0 / 0 1; came 1 2 / 0 1; said 1 1 / 1 1.
    sums = pooled([[1, 2], [0, 1]], [[1, 1], [1, 1]], [[0, 0], [0, 1]], brier=3.0)
    assert value("brier", sums) == 0.75
    assert value("accuracy", sums) == 0.5
    # One hit, one change to a wrong class, no miss, one false alarm.
    assert value("figure_of_merit", sums) == pytest.approx(1 / 3)
    # Two hits, one miss, one false alarm.
    changes = pooled([[1, 1], [1, 0]], [[1, 1], [0, 1]], [[0, 0], [0, 0]])
    assert value("figure_of_merit", changes) == 0.5
    # Observed shares 1/4 2/4 1/4, forecast 0 1 0: half of 1/4 + 1/2 + 1/4.
    assert value("quantity_disagreement", sums) == pytest.approx(0.5)
    assert value("allocation_disagreement", sums) == pytest.approx(0)
    # Chance: 1/4 * 0 + 2/4 * 1 + 1/4 * 0 = 1/2, and so is the accuracy.
    assert value("kappa", sums) == pytest.approx(0)
    # Class 0: 0; class 1: 2 * 2 / (2 + 4); class 2: 0.
    assert value("macro_f1", sums) == pytest.approx(2 / 9)


def test_an_unknown_class_is_wrong_in_every_metric():
    sums = pooled([0, 1, 3, 3], [0, 1, 1, 0])
    assert value("accuracy", sums) == 0.5
    # Observed 1/4 1/4 0 1/2, forecast 1/2 1/2 0 0.
    assert value("quantity_disagreement", sums) == pytest.approx(0.5)
    assert value("macro_f1", sums) == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)


def test_what_has_no_value_says_why():
    sums = pooled([1, 1], [1, 1], [1, 1])
    assert evaluate("kappa", sums)[1].startswith("there is one class only")
    assert evaluate("figure_of_merit", sums)[1].startswith("nothing changed")
    dry = pooled([0, 0], [0, 0], size=2)
    assert evaluate("csi", dry)[1].startswith("no event was observed")
    assert np.isnan(evaluate("far", dry)[0])
