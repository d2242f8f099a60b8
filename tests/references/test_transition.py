"""Transitions and the logistic rule: counts by hand, gaps carried on, any tile the same."""

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from geoforecast.references import Setting, feed, reference_classes
from geoforecast.references.transition import BACK_OFF, Chain

ALL = reference_classes()
YEAR = 365.0


def codes(*rows):
    """(step, class, 1, pixel) indicators of class numbers; -1 is not valid."""
    states = np.array(rows)
    values = (states[:, None, None] == np.arange(3)[:, None, None]).astype(np.float32)
    return values, np.broadcast_to((states >= 0)[:, None, None], values.shape)


def fed(name, values, valid, parameters=None):
    setting = Setting(values.shape[1:], (0, 0), YEAR, parameters or {}, "categorical")
    made = ALL[name](setting)
    for step, (frame, seen) in enumerate(zip(values, valid, strict=True)):
        feed([made], setting, np.where(seen, frame, np.nan), seen, YEAR * step)
    return made


def test_they_are_for_classes_only():
    assert "transition" not in reference_classes(YEAR)
    assert "transition" in reference_classes(YEAR, "binary")
    assert set(reference_classes(YEAR, "categorical")) == {
        *("kriging", "logistic", "mean", "persistence", "transition")
    }


def test_counts_by_hand():
    # One pixel: 0 1 2 1 2; another: 0 0, a gap, 0 1.
    values, valid = codes([0, 0], [1, 0], [2, -1], [1, 0], [2, 1])
    sums = fed("transition", values, valid).evidence()
    kept = 0.5 ** (1 / 3)  # least half-life of three steps; every step fades older ones
    assert sums.keys() == {"1.0.0.1", "1.0.0.0", "1.0.1.2", "1.0.2.1"} | {
        *("2.0.0.1.2", "2.0.1.2.1", "2.0.2.1.2", "2.0.0.0.1")
    }
    assert sums["1.0.0.0"] == pytest.approx(kept**3)
    assert sums["1.0.0.1"] == pytest.approx(kept**3 + 1)
    assert sums["1.0.1.2"] == pytest.approx(kept**2 + 1)
    assert sums["2.0.0.0.1"] == 1  # the last two valid classes, a gap between them or not


def test_a_chain_backs_off():
    chain = Chain({"1.0.0.1": 30.0, "1.0.1.0": 10.0, "2.0.1.0.1": 5.0}, 0, 2)
    base = np.array([11, 31]) / 42
    after0 = (np.array([0, 30]) + BACK_OFF * base) / (30 + BACK_OFF)
    np.testing.assert_allclose(chain.first[0], after0)
    after10 = (np.array([0, 5]) + BACK_OFF * after0) / (5 + BACK_OFF)
    np.testing.assert_allclose(chain.second[1 * 2 + 0], after10)
    np.testing.assert_allclose(chain.second[2 * 2 + 0], after0)  # the class before is not known
    np.testing.assert_allclose(chain.after(3), chain.second @ chain.first @ chain.first)
    np.testing.assert_allclose(Chain({}, 0, 2).first, np.eye(2))  # nothing known: it stays


def test_gaps_and_leads_are_carried_on():
    numbers = {"1.0.0.1": 90.0, "1.0.1.2": 80.0, "1.0.2.0": 70.0, "2.0.0.1.1": 50.0}
    values, valid = codes([0, 0, -1], [1, 1, -1], [-1, 1, -1])
    reference = fed("transition", values, valid, {"transition": numbers})
    made = reference.forecast([1.0, 2.0])
    chain = Chain(numbers, 0, 3)
    late = chain.second[0 * 3 + 1] @ chain.first  # last seen one step ago
    np.testing.assert_allclose(made[0, :, 0, 0], late, rtol=1e-6)
    np.testing.assert_allclose(made[1, :, 0, 0], late @ chain.first, rtol=1e-6)
    np.testing.assert_allclose(made[0, :, 0, 1], chain.second[1 * 3 + 1], rtol=1e-6)
    assert np.isnan(made[:, :, 0, 2]).all()
    np.testing.assert_allclose(np.nansum(made, axis=1)[:, 0, :2], 1, rtol=1e-6)


def test_yes_and_no_have_a_chain_for_each_band():
    setting = Setting((2, 1, 1), (0, 0), 1.0, {}, "binary")
    reference = ALL["transition"](setting)
    for step in range(6):
        frame = np.array([step % 2, 0], np.float32).reshape(2, 1, 1)
        feed([reference], setting, frame, np.ones(frame.shape, bool), float(step))
    numbers = ALL["transition"].fit(reference.evidence())
    setting = Setting((2, 1, 1), (0, 0), 1.0, {"transition": numbers}, "binary")
    again = ALL["transition"](setting)
    feed([again], setting, np.zeros((2, 1, 1), np.float32), np.ones((2, 1, 1), bool), 0.0)
    flips, stays = again.forecast([1.0])[0, :, 0, 0]
    assert flips > stays


def test_the_logistic_rule_learns_from_neighbours():
    """A class spreads by a pixel a step: a pixel's own history does not say where."""
    grown = [np.random.default_rng(0).random((40, 60)) < 0.002]
    for _ in range(7):
        grown.append(binary_dilation(grown[-1], np.ones((3, 3))))
    states = np.stack(grown).astype(int)
    values = (states[:, None] == np.arange(3)[:, None, None]).astype(np.float32)
    valid = np.ones(values.shape, bool)
    learned = fed("logistic", values[:-1], valid[:-1])
    numbers = ALL["logistic"].fit_samples(learned.samples())
    made = fed("logistic", values[:-1], valid[:-1], {"logistic": numbers})
    likely = made.forecast([YEAR * 7])[0]
    np.testing.assert_allclose(likely.sum(axis=0), 1, rtol=1e-5)
    persistence = (states[-2] != states[-1]).mean()
    assert (likely.argmax(axis=0) != states[-1]).mean() < 0.5 * persistence
    assert len(learned.samples()) == 5  # of the seven steps, those that two came before


def test_the_logistic_fit_is_the_one_of_least_cross_entropy():
    from sklearn.linear_model import LogisticRegression

    from geoforecast.references.logistic import RIDGE, _fitted

    rng = np.random.default_rng(1)
    x = np.c_[rng.standard_normal((400, 2)), np.ones(400)].astype(np.float32)
    truth = (x @ rng.standard_normal((3, 3)) + rng.gumbel(size=(400, 3))).argmax(axis=1)
    found = _fitted(x, truth, np.full(400, 1.0), 3)
    # scikit-learn lowers C * sum of losses + |w|^2 / 2; ours is their mean + RIDGE |w|^2.
    other = LogisticRegression(C=1 / (2 * RIDGE * 400), fit_intercept=False, tol=1e-8)
    expected = other.fit(x.astype(float), truth).coef_.T
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_any_tile_gives_the_same():
    rng = np.random.default_rng(2)
    states = rng.integers(-1, 3, (6, 40, 44))
    values = (states[:, None] == np.arange(3)[:, None, None]).astype(np.float32)
    valid = np.broadcast_to((states >= 0)[:, None], values.shape)
    numbers = ALL["logistic"].fit_samples(fed("logistic", values, valid).samples())
    counts = fed("transition", values, valid).evidence()
    parameters = {"logistic": numbers, "transition": counts}
    for name in ("logistic", "transition"):
        whole = fed(name, values, valid, parameters).forecast([1.0, 2.0])
        reach = ALL[name].reach_px
        part = np.s_[..., 12 - reach : 20 + reach, 11 - reach : 30 + reach]
        tile = fed(name, values[part], valid[part], parameters).forecast([1.0, 2.0])
        inner = tile[..., reach : reach + 8, reach : reach + 19]
        np.testing.assert_array_equal(inner, whole[..., 12:20, 11:30])
