"""Reference forecasts: each against arithmetic, and all against the contract."""

import numpy as np
import pytest

from geoforecast.errors import SettingsError
from geoforecast.references import Setting, feed, find_reference, reference_classes
from geoforecast.references.motion import Motion

ALL = reference_classes()


def setting(shape=(1, 1, 1), origin=(0, 0), step_days=16.0, parameters=None):
    return Setting(shape, origin, step_days, parameters or {})


def fed(reference, values, days, valid=None):
    for index, day in enumerate(days):
        frame = np.asarray(values[index], dtype=np.float32).reshape(reference.setting.shape)
        usable = np.isfinite(frame) if valid is None else valid[index]
        feed([reference], reference.setting, frame, usable, day)
    return reference


def test_persistence_keeps_the_last_valid_value():
    reference = fed(ALL["persistence"](setting()), [1.0, 2.0, np.nan], [0, 16, 32])
    assert reference.forecast([48, 64]).ravel().tolist() == [2.0, 2.0]


def test_trend_continues_the_line_within_reach():
    # 1, 2, 3 at days 0, 16, 32: at day 48 the line says 4; range 2, so at most 3 + 1.
    reference = fed(ALL["trend"](setting()), [1.0, 2.0, 3.0], [0, 16, 32])
    assert reference.forecast([48, 64, 400]).ravel().tolist() == pytest.approx([4.0, 4.0, 4.0])
    assert reference.forecast([40]).ravel().tolist() == pytest.approx([3.5])


def test_trend_uses_only_the_last_six_valid_values():
    values = [100.0, np.nan, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    reference = fed(ALL["trend"](setting()), values, np.arange(8) * 16.0)
    assert reference.forecast([8 * 16.0]).item() == pytest.approx(7.0, abs=1e-4)


def test_trend_of_two_values_persists():
    reference = fed(ALL["trend"](setting()), [1.0, 2.0], [0, 16])
    assert reference.forecast([32]).item() == 2.0


def test_climatology_is_the_mean_until_a_cycle_has_passed():
    reference = fed(ALL["climatology"](setting()), [1.0, 2.0, 6.0], [0, 100, 200])
    assert reference.forecast([300]).item() == pytest.approx(3.0)


def test_climatology_finds_the_season():
    days = np.arange(0, 4 * 365, 16.0)
    season = np.sin(2 * np.pi * days / 365.2425)
    reference = fed(ALL["climatology"](setting()), season, days)
    target = 4 * 365.2425 + np.array([91.0, 274.0])
    # Smoothing over weeks flattens the peak by less than a tenth.
    assert reference.forecast(target).ravel() == pytest.approx([1.0, -1.0], abs=0.12)


def test_climatology_of_hours_finds_the_day():
    days = np.arange(0, 10, 1 / 24)
    reference = ALL["climatology"](setting(step_days=1 / 24))
    fed(reference, np.cos(2 * np.pi * days), days)
    assert reference.forecast([10.0, 10.5]).ravel() == pytest.approx([1.0, -1.0], abs=0.12)


def test_climatology_keeps_the_digits_of_large_values():
    days = np.arange(0, 800, 8.0)
    reference = fed(ALL["climatology"](setting()), np.full(100, 300.001), days)
    assert reference.forecast([801.0]).item() == pytest.approx(300.001, abs=1e-4)


def test_damped_anomaly_recovers_its_memory():
    # x_t = 0.8 x_(t-1) + noise around 5: phi exp(-1/tau) must come out near 0.8.
    rng = np.random.default_rng(0)
    x = np.zeros((400, 20, 20))
    for t in range(1, 400):
        x[t] = 0.8 * x[t - 1] + rng.standard_normal((20, 20))
    days = np.arange(400) * 0.5  # 200 days: no annual cycle seen, steps too long for a daily one
    cls = ALL["damped_anomaly"]
    reference = fed(cls(setting((1, 20, 20), step_days=0.6)), 5 + x, days)
    fitted = cls.fit(reference.evidence())
    kept = fitted["phi"] * np.exp(-1 / 1.2 / fitted["tau_steps"] * 1.0)
    assert kept == pytest.approx(0.8, abs=0.05)


def test_damped_anomaly_tends_to_climatology():
    given = {"damped_anomaly": {"phi": 1.0, "tau_steps": 1.0}}
    reference = fed(ALL["damped_anomaly"](setting(parameters=given)), [1.0, 1.0, 4.0], [0, 16, 32])
    near, far = reference.forecast([48.0, 48.0 + 160]).ravel()
    # Mean 2, anomaly 2: after one step 2 + 2/e, after eleven nearly 2.
    assert near == pytest.approx(2 + 2 / np.e, abs=1e-4)
    assert far == pytest.approx(2.0, abs=1e-3)


def test_damped_anomaly_counts_age_from_each_pixels_own_last_value():
    given = {"damped_anomaly": {"phi": 1.0, "tau_steps": 1.0}}
    reference = ALL["damped_anomaly"](setting((1, 1, 2), parameters=given))
    fed(reference, [[0.0, 0.0], [4.0, 4.0], [np.nan, 4.0]], [0, 16, 32])
    old, new = reference.forecast([48.0]).ravel()
    assert old == pytest.approx(2 + 2 * np.exp(-2), abs=1e-4)  # mean 2, last seen 2 steps ago
    assert new == pytest.approx(8 / 3 + 4 / 3 * np.exp(-1), abs=1e-4)  # mean 8/3, 1 step ago


def test_advection_moves_with_the_flow():
    field = np.zeros((1, 9, 9), dtype=np.float32)
    field[0, 4, 2] = 1.0
    reference = ALL["advection"](setting((1, 9, 9), step_days=0.003))
    feed([reference], reference.setting, field, np.ones_like(field, dtype=bool), 0.0)
    flow = np.zeros((2, 9, 9))
    flow[1] = 2.0  # two columns to the right a step
    moved = reference.forecast([0.1, 0.2], Motion(flow, 1))
    assert np.argwhere(moved[0, 0] == 1).tolist() == [[4, 4]]
    assert np.argwhere(moved[1, 0] == 1).tolist() == [[4, 6]]


def test_advection_needs_short_steps():
    assert "advection" in reference_classes(5 / 1440)
    assert "advection" not in reference_classes(5.0)
    with pytest.raises(SettingsError, match="'advection' for continuous targets in steps of 5 da"):
        find_reference("advection", 5.0)


def test_an_unknown_reference_is_answered_with_the_nearest():
    with pytest.raises(SettingsError, match="Did you mean 'persistence'"):
        find_reference("persistance", 5.0)


@pytest.mark.parametrize("name", sorted(ALL))
def test_contract(name):
    """Finite where ever valid, NaN elsewhere; of any shape; changed by no later value."""
    rng = np.random.default_rng(1)
    shape = (2, 5, 7)
    values = rng.random((9, *shape), dtype=np.float32)
    valid = rng.random((9, *shape)) < 0.7
    valid[:, :, 0, 0] = False
    days = np.arange(9) * 0.02
    reference = ALL[name](setting(shape, step_days=0.02))
    fed(reference, values, days, valid)
    motion = Motion(np.full((2, 5, 7), 0.3), 1)
    forecast = reference.forecast([0.18, 0.2], motion)
    assert forecast.shape == (2, *shape)
    assert forecast.dtype == np.float32
    assert np.isnan(forecast[:, :, 0, 0]).all()
    ever = valid.any(axis=0)
    assert np.isfinite(forecast[:, ever]).all()
    fed(reference, values[:1], [0.18], valid[:1])  # what comes later cannot change it
    again = fed(ALL[name](setting(shape, step_days=0.02)), values, days, valid)
    np.testing.assert_array_equal(again.forecast([0.18, 0.2], motion), forecast)


@pytest.mark.parametrize("name", sorted(ALL))
def test_invalid_pixels_have_no_influence(name):
    rng = np.random.default_rng(2)
    shape = (1, 4, 4)
    values = rng.random((8, *shape), dtype=np.float32)
    valid = rng.random((8, *shape)) < 0.6
    results = []
    for junk in (np.nan, 1e9):
        dirty = np.where(valid, values, np.float32(junk))
        reference = ALL[name](setting(shape, step_days=0.02))
        fed(reference, dirty, np.arange(8) * 0.02, valid)
        results.append(reference.forecast([0.16], Motion(np.zeros((2, 4, 4)), 1)))
    np.testing.assert_array_equal(*results)
