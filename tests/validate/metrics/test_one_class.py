"""Metrics of each class: against scikit-learn, and by hand on few pixels."""

import numpy as np
import pytest
from sklearn import metrics as oracle

from geoforecast.validate.metrics.classes import PooledClasses
from geoforecast.validate.metrics.listing import find_metric
from geoforecast.validate.metrics.one_class import NEVER_SEEN, class_values, of_class
from geoforecast.validate.metrics.pooled import evaluate

CODES = (3, 7, 200)


def table_of(observed, forecast):
    """Classes by number; 3 is one that training never saw."""
    flat = np.bincount(np.asarray(observed) * 3 + np.asarray(forecast), minlength=12)
    return PooledClasses(len(observed), 0.0, flat.reshape(4, 3), np.zeros(4, int))


def told(sums):
    return {name: (value, reason) for name, value, reason in class_values(sums, CODES)}


def test_against_scikit_learn():
    rng = np.random.default_rng(3)
    observed = rng.choice(3, 900, p=(0.6, 0.3, 0.1))
    forecast = np.where(rng.random(900) < 0.6, observed, rng.integers(0, 3, 900))
    found = told(table_of(observed, forecast))
    precision, recall, f1, _ = oracle.precision_recall_fscore_support(observed, forecast)
    iou = oracle.jaccard_score(observed, forecast, average=None)
    for number, code in enumerate(CODES):
        expected = {"f1": f1, "precision": precision, "recall": recall, "iou": iou}
        for name, values in expected.items():
            assert found[f"{name}_class_{code}"] == (pytest.approx(values[number]), "")
    assert not any("unknown" in name for name in found)


def test_by_hand():
    # Observed 3 3 7 7, forecast 3 7 7 7: class 3 has a hit and a miss, 7 two hits and one false.
    sums = table_of([0, 0, 1, 1], [0, 1, 1, 1])
    one = of_class(sums, 0)
    assert (one.n, one.hits, one.misses, one.false_alarms) == (4, 1, 1, 0)
    found = told(sums)
    assert found["f1_class_3"][0] == pytest.approx(2 / 3)
    assert found["precision_class_3"][0] == 1
    assert found["recall_class_3"][0] == 0.5
    assert found["iou_class_7"][0] == pytest.approx(2 / 3)
    assert found["precision_class_7"][0] == pytest.approx(2 / 3)
    # 200 is nowhere: nothing to tell, and why.
    for name, words in {
        "f1": "neither observed nor forecast",
        "iou": "neither observed nor forecast",
        "precision": "never forecast",
        "recall": "never observed",
    }.items():
        value, reason = found[f"{name}_class_200"]
        assert np.isnan(value)
        assert words in reason


def test_a_class_that_training_never_saw_has_no_hit():
    found = told(table_of([0, 3, 3], [0, 0, 1]))
    assert found["f1_class_unknown"] == (0.0, NEVER_SEEN)
    assert found["recall_class_unknown"] == (0.0, NEVER_SEEN)
    assert found["iou_class_unknown"] == (0.0, NEVER_SEEN)
    assert "never forecast" in found["precision_class_unknown"][1]
    # What is forecast there is a false alarm of the class that was forecast: h = 1, f = 1.
    assert found["precision_class_3"] == (0.5, "")


def test_no_pixel_no_value():
    assert (
        evaluate("f1_class", of_class(table_of(np.zeros(0, int), np.zeros(0, int)), 0))[1]
        == "no pixel could be scored"
    )


def test_names_hold_the_code():
    for name in ("f1_class_3", "iou-class-200", "recall_class_-1", "f1_class_unknown"):
        found, kind = find_metric(name)
        assert kind == "class"
        assert name.replace("-", "_").startswith(found.name)
    for name in ("f1_class", "f1_class_", "f1_class_0.1", "accuracy_3"):
        assert find_metric(name) is None
