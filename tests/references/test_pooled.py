"""Numbers that are pooled over pixels: known ones are recovered from evidence that adds up."""

import numpy as np
import pytest

from geoforecast.references import Setting, feed, reference_classes

ALL = reference_classes()
YEAR = 365.2425
STEP_DAYS = 16.0


def evidence(name, values, days, valid=None, step_days=STEP_DAYS):
    """What a reference gathers from a tile whose parameters are not known yet."""
    setting = Setting(values.shape[1:], (0, 0), step_days, {})
    reference = ALL[name](setting)
    for index, day in enumerate(days):
        seen = np.isfinite(values[index]) if valid is None else valid[index]
        feed([reference], setting, values[index].astype(np.float32), seen, day)
    return reference.evidence()


def added(*parts):
    keys = set().union(*parts)
    return {key: sum(part.get(key, 0.0) for part in parts) for key in keys}


def seasonal(days, curve, order):
    """(time, 1, 1, 1) of a curve's coefficients: 1, then cosine and sine of each wave."""
    angle = 2 * np.pi * np.asarray(days) / YEAR
    pairs = [f(k * angle) for k in range(1, order + 1) for f in (np.cos, np.sin)]
    return (np.stack([np.ones_like(angle), *pairs], axis=1) @ curve)[:, None, None, None]


@pytest.mark.parametrize("order", [1, 2])
def test_the_shared_curve_is_recovered_whatever_the_levels_and_bands(order):
    rng = np.random.default_rng(0)
    days = np.arange(0, 2 * YEAR, 7.0)  # whole cycles: the mean is the level
    curves = [np.array([0.0, 2.0, -1.0, 0.5, 0.3])[: 1 + 2 * order] for _ in range(2)]
    curves[1] = -3 * curves[1]
    levels = 280 + 20 * rng.standard_normal((2, 6, 6))
    signal = np.concatenate([seasonal(days, curve, order) for curve in curves], axis=1)
    values = levels + signal + 0.1 * rng.standard_normal((len(days), 2, 6, 6))
    fitted = ALL[f"harmonic{order}"].fit(evidence(f"harmonic{order}", values, days))
    for band, curve in enumerate(curves):
        found = np.array([fitted[f"{band}.{k}"] for k in range(1 + 2 * order)])
        assert np.abs(found - curve).max() < 0.1


def test_waves_that_the_phases_leave_open_are_zero():
    days = np.array([0.0, 0.5, 1.0, 1.5, 2.0]) * YEAR  # two phases: cosine only
    values = np.cos(2 * np.pi * days / YEAR)[:, None, None, None] * np.ones((1, 1, 3, 3))
    fitted = ALL["harmonic2"].fit(evidence("harmonic2", values, days))
    assert fitted["0.2"] == pytest.approx(0, abs=1e-3)
    assert max(abs(number) for number in fitted.values()) < 2


def test_half_a_cycle_fits_no_curve():
    values = np.random.default_rng(0).random((10, 1, 3, 3))
    assert evidence("harmonic1", values, np.arange(10) * STEP_DAYS) == {}
    assert ALL["harmonic1"].fit({}) == {}


@pytest.mark.parametrize(
    ("name", "order"), [("damped_anomaly", 0), ("damped_harmonic1", 1), ("damped_harmonic2", 2)]
)
def test_memories_are_recovered_between_irregular_steps(name, order):
    rng = np.random.default_rng(1)
    tau_days = 4 * STEP_DAYS
    days = np.cumsum(STEP_DAYS * rng.choice([0.5, 1.0, 2.0], 240))
    anomaly = np.zeros((len(days), 1, 12, 12))
    anomaly[0] = rng.standard_normal((1, 12, 12))
    for t in range(1, len(days)):
        kept = np.exp(-(days[t] - days[t - 1]) / tau_days)
        noise = rng.standard_normal((1, 12, 12))
        anomaly[t] = kept * anomaly[t - 1] + np.sqrt(1 - kept**2) * noise
    curve = np.array([0.0, 4.0, -2.0, 1.0, 1.0])[: 1 + 2 * max(order, 1)]
    season = seasonal(days, curve, max(order, 1)) if order else 0.0
    valid = rng.random(anomaly.shape) < 0.7
    fitted = ALL[name].fit(evidence(name, 10 + season + anomaly, days, valid))
    assert fitted["tau_steps"] == 4.0
    assert fitted["phi"] == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("name", ["damped_anomaly", "harmonic2"])
def test_evidence_of_tiles_adds_up_to_that_of_the_whole(name):
    rng = np.random.default_rng(2)
    days = np.cumsum(STEP_DAYS * rng.choice([1.0, 2.0], 40))
    values = rng.normal(0, 1, (40, 1, 6, 8)).cumsum(axis=0)
    whole = ALL[name].fit(evidence(name, values, days))
    halves = (evidence(name, values[..., :3], days), evidence(name, values[..., 3:], days))
    assert ALL[name].fit(added(*halves)) == pytest.approx(whole, rel=1e-5)


def test_nothing_is_gathered_once_the_numbers_are_known():
    setting = Setting((1, 2, 2), (0, 0), STEP_DAYS, {"damped_anomaly": {"phi": 1, "tau_steps": 1}})
    reference = ALL["damped_anomaly"](setting)
    for step in range(5):
        frame = np.full((1, 2, 2), float(step), np.float32)
        feed([reference], setting, frame, np.isfinite(frame), step * STEP_DAYS)
    assert reference.evidence() == {}


def test_anomalies_that_turn_round_are_forgotten():
    days = np.arange(40) * 4.0  # under a cycle: about the mean
    flip = np.where(np.arange(40) % 2, 1.0, -1.0)[:, None, None, None] * np.ones((1, 1, 3, 3))
    fitted = ALL["damped_anomaly"].fit(evidence("damped_anomaly", flip, days, step_days=4.0))
    assert fitted["phi"] == 0.0
