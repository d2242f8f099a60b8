"""Metrics of classes against scikit-learn, and by hand on few pixels."""

import numpy as np
import pytest
from sklearn import metrics as oracle

from geoforecast.validate.metrics.classes import PooledClasses, count_chances
from geoforecast.validate.metrics.pooled import evaluate, metric_names, metrics


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
    assert metric_names("binary") == (
        *("brier", "probability_r2", "roc_auc", "brier_reliability", "brier_resolution"),
        "disagreement",
        *("csi", "pod", "far", "f1", "hss"),
    )
    assert metric_names("categorical") == (
        *("brier", "probability_r2", "disagreement", "accuracy", "kappa", "macro_f1"),
        "figure_of_merit",
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
    # Of yes and no both are the same.
    assert value("hss", sums) == pytest.approx(oracle.cohen_kappa_score(wet, said))
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


def chances(probability, came):
    probability, came = np.asarray(probability), np.asarray(came)
    counts = count_chances(probability, came)
    return PooledClasses(came.size, 0.0, np.zeros((3, 2)), np.zeros(4), counts)


def test_the_area_under_the_curve_is_that_of_scikit_learn():
    rng = np.random.default_rng(1)
    came = (rng.random(4000) < 0.2).astype(int)
    probability = np.clip(rng.beta(2, 5, 4000) + 0.2 * came, 0, 1)
    rounded = np.floor(probability * 1000) / 1000
    expected = oracle.roc_auc_score(came, rounded)
    assert value("roc_auc", chances(probability, came)) == pytest.approx(expected, abs=1e-12)
    # Pairs by hand: 0.9 above 0.2 and 0.7; 0.2 as high as 0.2, below 0.7.
    assert value("roc_auc", chances([0.9, 0.2, 0.2, 0.7], [1, 1, 0, 0])) == (2 + 0.5) / 4
    assert np.isnan(value("roc_auc", chances([0.1, 0.4], [1, 1])))


def test_reliability_and_resolution_make_up_the_brier_score():
    rng = np.random.default_rng(2)
    probability = rng.integers(0, 10, 5000) / 10 + 0.05  # one value a part
    came = (rng.random(5000) < probability**2).astype(int)
    sums = chances(probability, came)
    brier = np.mean((probability - came) ** 2)
    uncertain = came.mean() * (1 - came.mean())
    reliability, resolution = (
        value(f"brier_{name}", sums) for name in ("reliability", "resolution")
    )
    assert reliability - resolution + uncertain == pytest.approx(brier, abs=2e-3)
    assert reliability > 0.01
    sure = chances([0.0, 1.0, 1.0], [0, 1, 1])
    assert value("brier_reliability", sure) == pytest.approx(0, abs=1e-6)
    assert value("brier_resolution", sure) == pytest.approx(2 / 9)
    assert np.isnan(value("brier_reliability", chances([], np.zeros(0, int))))


def test_r2_of_probabilities_is_that_of_zeros_and_ones():
    rng = np.random.default_rng(4)
    came = rng.integers(0, 2, 400)
    said = np.clip(came * 0.5 + rng.random(400) * 0.5, 0, 1)
    table = np.bincount(came * 2, minlength=6).reshape(3, 2)
    sums = PooledClasses(
        400, ((said - came) ** 2).sum(), table, np.zeros(4, int), count_chances(said, came)
    )
    assert value("probability_r2", sums) == pytest.approx(oracle.r2_score(came, said))
    # Of classes, each band about its own share, all together; the last class was never seen.
    codes = rng.integers(0, 4, 400)
    chances = np.pad(rng.dirichlet(np.ones(3), 400), ((0, 0), (0, 1)))
    truth = np.eye(4)[codes]
    sums = pooled(codes, np.zeros(400, int), brier=((chances - truth) ** 2).sum())
    expected = 1 - ((chances - truth) ** 2).sum() / ((truth - truth.mean(axis=0)) ** 2).sum()
    assert value("probability_r2", sums) == pytest.approx(expected)
    flat, reason = evaluate("probability_r2", pooled([1, 1], [1, 1]))
    assert np.isnan(flat)
    assert "alike" in reason
