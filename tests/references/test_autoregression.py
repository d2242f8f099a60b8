"""Autoregression: the features' order and values, the ridge, and a rule that is found."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from geoforecast.references import Setting, feed
from geoforecast.references.autoregression import (
    HALO_PX,
    Features,
    Filled,
    feature_names,
    rule_names,
    smoothed,
    solved,
)
from geoforecast.references.motion import Motion

NAMES = ("mean", "persistence")
YEAR = 365.2425


def features_of(frames, days, *, moving=False, step_days=16.0):
    setting = Setting(frames.shape[1:], (0, 0), step_days, {})
    features = Features(setting, NAMES, moving)
    for frame, day in zip(frames, days, strict=True):
        feed([], setting, frame, np.isfinite(frame), day)
    return features


def random_frames(steps, shape=(2, 5, 6), seed=0):
    return np.random.default_rng(seed).normal(5, 1, (steps, *shape)).astype(np.float32)


def test_the_names_say_what_stands_where():
    assert feature_names(NAMES, moving=False) == (
        "mean",
        "persistence",
        "lag 1",
        "lag 2",
        "lag 0 smoothed 1 px",
        "lag 0 smoothed 3 px",
        "lag 1 smoothed 3 px",
        "lag 0 slope along x",
        "lag 0 slope along y",
        "lag 1 slope along x",
        "lag 1 slope along y",
        "sine",
        "cosine",
        "constant",
    )
    moving = feature_names(NAMES, moving=True)
    assert moving[7:12] == (
        "lag 0 smoothed 2 px, moved",
        "lag 1 moved",
        "lag 1 smoothed 2 px, moved",
        "lag 2 moved",
        "lag 2 smoothed 2 px, moved",
    )
    assert len(set(moving)) == len(moving)
    assert HALO_PX == 9
    assert rule_names()[::4] == (
        "autoregression 0.003",
        "varying autoregression 0.003",
        "autoregression 0.003 fading 0.05",
    )
    assert len(set(rule_names())) == 11


def test_features_by_hand():
    frames = random_frames(4)
    frames[1, :, 0, 0] = np.nan  # keeps what it was at step 0
    frames[3, :, 1, 1] = np.nan
    days = np.array([0.0, 100.0, 200.0, YEAR])
    features = features_of(frames, days)
    forecasts = {"mean": frames.mean(axis=0), "persistence": frames[2] + 1}
    base = frames[0] - 2
    forecasts["mean"][:, 2, 2] = np.nan
    day = YEAR + 30.0
    found = features.at(1, day, forecasts, base, None)
    filled = frames.copy()
    filled[1, :, 0, 0], filled[3, :, 1, 1] = frames[0, :, 0, 0], frames[2, :, 1, 1]
    expected = [
        np.nan_to_num(forecasts["mean"] - base),  # what is not known is no difference
        forecasts["persistence"] - base,
        filled[2] - base,
        filled[1] - base,
        smoothed(filled[3], 1.0) - base,
        smoothed(filled[3], 3.0) - base,
        smoothed(filled[2], 3.0) - base,
        *slopes(smoothed(filled[3], 1.0)),
        *slopes(smoothed(filled[2], 1.0)),
        np.full_like(base, np.sin(2 * np.pi * 30 / YEAR)),
        np.full_like(base, np.cos(2 * np.pi * 30 / YEAR)),
        np.ones_like(base),
    ]
    assert features.count == len(found) == len(expected)
    np.testing.assert_allclose(found, np.stack(expected), rtol=0, atol=1e-6)


def slopes(field):
    """Along x and y, pixel by pixel."""
    along_x, along_y = np.zeros_like(field), np.zeros_like(field)
    for _, row, col in np.ndindex(field.shape):
        if 0 < col < field.shape[2] - 1:
            along_x[:, row, col] = field[:, row, col + 1] - field[:, row, col - 1]
        if 0 < row < field.shape[1] - 1:
            along_y[:, row, col] = field[:, row + 1, col] - field[:, row - 1, col]
    return along_x, along_y


def test_a_slope_beside_an_unknown_pixel_is_no_feature():
    frames = random_frames(2)
    frames[:, :, 2, 3] = np.nan
    features = features_of(frames, [0.0, 16.0])
    forecasts = dict.fromkeys(NAMES, np.nan_to_num(frames[1]))
    found = features.at(1, 32.0, forecasts, forecasts["mean"], None)
    along_x, along_y = found[7], found[8]
    assert np.isfinite(found).all()
    assert (along_x[:, 2, [2, 4]] == 0).all()
    assert (along_y[:, [1, 3], 3] == 0).all()
    assert (along_x[:, 2, 1] != 0).all()


def test_smoothed_fields_are_those_of_the_last_step():
    frames = random_frames(3)
    days = [0.0, 16.0, 32.0]
    forecasts = dict.fromkeys(NAMES, frames[0])
    asked = features_of(frames[:2], days[:2])
    for lead in (1, 2):
        asked.at(lead, 48.0, forecasts, frames[0], None)
    feed([], asked.setting, frames[2], np.isfinite(frames[2]), days[2])
    fresh = features_of(frames, days)
    for lead in (1, 2):
        found = [one.at(lead, 48.0, forecasts, frames[0], None) for one in (asked, fresh)]
        np.testing.assert_array_equal(*found)


def test_the_season_is_no_feature_until_a_cycle_is_over():
    features = features_of(random_frames(2), [0.0, YEAR - 1])
    forecasts = dict.fromkeys(NAMES, np.zeros((2, 5, 6), np.float32))
    found = features.at(1, YEAR, forecasts, forecasts["mean"], None)
    assert (found[-3:-1] == 0).all()
    assert (found[-1] == 1).all()
    assert features.season(YEAR) == (0, 0)
    frame = np.zeros((2, 5, 6), np.float32)
    feed([], features.setting, frame, np.isfinite(frame), YEAR)
    assert features.season(1.25 * YEAR) == pytest.approx((1, 0), abs=1e-6)


def test_lags_beyond_the_first_step_are_the_first_step():
    frames = random_frames(2)
    setting = Setting(frames.shape[1:], (0, 0), 16.0, {})
    filled = setting.state(Filled)
    for day, frame in enumerate(frames):
        feed([], setting, frame, np.isfinite(frame), float(day))
    for lag, step in ((0, 1), (1, 0), (2, 0), (5, 0)):
        np.testing.assert_array_equal(filled.lag(lag), frames[step])


@pytest.mark.parametrize("lead", [1, 2])
def test_moved_features_are_carried_as_far_as_they_are_old(lead):
    frames = random_frames(3, shape=(1, 14, 16))
    features = features_of(frames, [0.0, 0.01, 0.02], moving=True, step_days=0.01)
    flow = np.zeros((2, 14, 16))
    flow[1] = 2.0
    base = np.zeros((1, 14, 16), np.float32)
    forecasts = dict.fromkeys(NAMES, base)
    found = features.at(lead, 0.03, forecasts, base, Motion(flow, 1))
    names = feature_names(NAMES, moving=True)
    for lag in range(3):
        past = frames[2 - lag]
        steps = 2 * (lead + lag)
        inside = (..., slice(steps, None))
        moved = found[names.index(f"lag {lag} smoothed 2 px, moved")]
        expected = np.roll(smoothed(past, 2.0), steps, -1)
        np.testing.assert_array_equal(moved[inside], expected[inside])
        if lag:
            moved = found[names.index(f"lag {lag} moved")]
            np.testing.assert_array_equal(moved[inside], np.roll(past, steps, -1)[inside])


@pytest.mark.parametrize("ridge", [0.003, 0.3])
def test_solved_equals_scikit_learn(ridge):
    rng = np.random.default_rng(3)
    spread = np.array([1.0, 0.1, 30.0, 2.0])
    gram, products, rows, targets = np.zeros((4, 4)), np.zeros(4), [], []
    steps = 7
    for step in range(steps):  # every step counts alike, however many of its pixels are valid
        pixels = 5 + 40 * step
        x = rng.standard_normal((pixels, 4)) * spread
        y = x @ [1.0, -2.0, 0.05, 0.3] + rng.standard_normal(pixels)
        gram += x.T @ x / pixels
        products += x.T @ y / pixels
        rows.append(x / np.sqrt(pixels))
        targets.append(y / np.sqrt(pixels))
    # A strength beside each feature's own mean square is a strength of 1 after scaling.
    size = np.sqrt(np.diag(gram) / steps)
    model = Ridge(alpha=steps * ridge * (1 + 1 / steps), fit_intercept=False, solver="cholesky")
    model.fit(np.concatenate(rows) / size, np.concatenate(targets))
    assert solved(gram, products, steps, ridge) == pytest.approx(model.coef_ / size, rel=1e-4)


def test_one_step_is_not_enough_to_regress_on():
    gram, products = np.eye(3), np.ones(3)
    assert (solved(gram, products, 1.9, 0.003) == 0).all()
    assert (solved(gram, products, 2.0, 0.003) != 0).all()


def test_features_that_never_vary_do_no_harm():
    gram, products = np.diag([4.0, 0.0, 0.0]), np.array([4.0, 0.0, 0.0])
    found = solved(gram, products, 4.0, 0.003)
    assert found == pytest.approx([1 / (1 + 0.003 * 1.25), 0, 0], rel=1e-6)
    assert (solved(np.zeros((3, 3)), np.zeros(3), 4.0, 0.003) == 0).all()
