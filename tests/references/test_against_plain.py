"""Every reference against a slow, plain one: a pixel at a time, in double precision.

The records have holes, irregular days, pixels never seen, seen once and seen late.
"""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from geoforecast.references import Setting, feed, reference_classes
from geoforecast.references.autoregression import smoothed

ALL = {n: c for n, c in reference_classes().items() if "continuous" in c.kinds}
YEAR = 365.2425
SHAPE = (2, 3, 4)

rng = np.random.default_rng(8)
PARAMETERS = {
    **{
        f"harmonic{order}": {
            f"{band}.{k}": float(rng.normal(0, 0.5))
            for band in range(SHAPE[0])
            for k in range(1 + 2 * order)
        }
        for order in (1, 2)
    },
    "damped_anomaly": {"phi": 0.8, "tau_steps": 2.0},
    "damped_harmonic1": {"phi": 0.9, "tau_steps": 4.0},
    "damped_harmonic2": {"phi": 0.6, "tau_steps": 1.0},
}


class Record:
    """What a plain forecast knows: all days, and the days and values of one pixel."""

    def __init__(self, all_days, days, values, band, step_days):
        self.all_days, self.days, self.values = all_days, np.array(days), np.array(values)
        self.band, self.step_days = band, step_days
        self.period = 1.0 if step_days <= 0.5 else YEAR

    @property
    def spanned(self):
        return self.all_days[-1] - self.all_days[0] >= self.period

    def until(self, day):
        """The record as it was on a day, that day included."""
        kept = self.days <= day
        days = [one for one in self.all_days if one <= day]
        return Record(days, self.days[kept], self.values[kept], self.band, self.step_days)

    def anomalies(self, usual):
        """Departures of each value from what was usual on its own day."""
        pairs = zip(self.days, self.values, strict=True)
        return np.array([value - usual(self.until(day), day) for day, value in pairs])


def persistence(record, day):  # noqa: ARG001
    return record.values[-1]


def mean(record, day):  # noqa: ARG001
    return record.values.mean()


def climatology(record, day):
    if not record.spanned:
        return record.values.mean()
    bins, least = (24, 1 / 24) if record.period == 1.0 else (36, 15.0)
    width = max(least, 0.5 * record.step_days)

    def number(at):
        return int(at / record.period % 1.0 * bins)

    top, bottom = 0.5 * record.values.mean(), 0.5
    for seen, value in zip(record.days, record.values, strict=True):
        apart = abs(number(seen) - number(day))
        distance = min(apart, bins - apart) / bins * record.period
        weight = np.exp(-0.5 * (distance / width) ** 2)
        if weight >= 1e-4:
            top, bottom = top + weight * value, bottom + weight
    return top / bottom


def waves(record, day, order):
    angle = 2 * np.pi * day / record.period
    pairs = [f(k * angle) for k in range(1, order + 1) for f in (np.cos, np.sin)]
    return np.array([1.0, *pairs])


def harmonic(order):
    def usual(record, day):
        if not record.spanned:
            return record.values.mean()
        shared = np.array(list(PARAMETERS[f"harmonic{order}"].values()))
        shared = shared.reshape(SHAPE[0], -1)[record.band]
        level = record.values.mean()
        x = np.array([waves(record, seen, order) for seen in record.days])
        # Three sightings of the shared curve, which count less for its level.
        prior = np.diag([0.9] + [3.0] * (2 * order))
        rest = record.values - level - x @ shared
        own = np.linalg.solve(x.T @ x + prior, x.T @ rest)
        return level + waves(record, day, order) @ (shared + own)

    return usual


def damped(usual, name):
    phi, tau = PARAMETERS[name]["phi"], PARAMETERS[name]["tau_steps"]

    def forecast(record, day):
        last = record.anomalies(usual)[-1]
        age_steps = (day - record.days[-1]) / record.step_days
        return usual(record, day) + phi * np.exp(-age_steps / tau) * last

    return forecast


def gaussian_process(record, anomalies, day, mean_variance):
    kernel = Matern(0.22 * record.period, nu=2.5) + WhiteKernel(0.05)
    if mean_variance:
        kernel = kernel + ConstantKernel(mean_variance)
    process = GaussianProcessRegressor(kernel, alpha=0.0, optimizer=None)
    process.fit(record.days[-6:, None], anomalies[-6:])
    return process.predict([[day]])[0]


def kriging(record, day):
    level = record.values.mean()
    return level + gaussian_process(record, record.values - level, day, 0.3)


def anomaly_kriging(record, day):
    anomalies = record.anomalies(climatology)
    return climatology(record, day) + gaussian_process(record, anomalies, day, 0.0)


def trend(record, day):
    values, days = record.values[-6:], record.days[-6:]
    if len(values) < 3:
        return values[-1]
    line = np.polynomial.Polynomial.fit(days, values, 1)
    reach = 0.5 * np.ptp(values)
    return np.clip(line(day), values.min() - reach, values.max() + reach)


PLAIN = {
    "persistence": persistence,
    "mean": mean,
    "trend": trend,
    "climatology": climatology,
    "harmonic1": harmonic(1),
    "harmonic2": harmonic(2),
    "damped_anomaly": damped(climatology, "damped_anomaly"),
    "damped_harmonic1": damped(harmonic(1), "damped_harmonic1"),
    "damped_harmonic2": damped(harmonic(2), "damped_harmonic2"),
    "kriging": kriging,
    "anomaly_kriging": anomaly_kriging,
}


def series(step_days, steps):
    """Irregular days, and values with a cycle, noise and holes."""
    rng = np.random.default_rng(5)
    days = 18_262.3 + np.cumsum(step_days * rng.choice([0.7, 1.0, 1.3, 2.0, 4.0], steps))
    period = 1.0 if step_days <= 0.5 else YEAR
    cycle = 3 * np.sin(2 * np.pi * days / period)[:, None, None, None]
    values = (280 + cycle + rng.normal(0, 1, (steps, *SHAPE))).astype(np.float32)
    valid = rng.random(values.shape) < 0.6
    valid[:, :, 0, 0] = False
    valid[:, :, 0, 1] = False
    valid[steps // 2, :, 0, 1] = True  # seen once
    valid[: steps - 4, :, 0, 2] = False  # seen late
    valid[-8:, :, 0, 3] = False  # not seen of late
    return days, values, valid


@pytest.mark.parametrize("name", sorted(set(ALL) - {"advection"}))
@pytest.mark.parametrize(
    ("step_days", "steps"),
    [(16.0, 50), (16.0, 9), (1 / 24, 60), (1 / 24, 8)],
    ids=["years", "part of a year", "days", "part of a day"],
)
def test_reference_equals_the_plain_one(name, step_days, steps):
    days, values, valid = series(step_days, steps)
    setting = Setting(SHAPE, (0, 0), step_days, PARAMETERS)
    reference = ALL[name](setting)
    later = [days[-1] + step_days, days[-1] + 2.5 * step_days]
    for day, frame, seen in zip(days, values, valid, strict=True):
        feed([reference], setting, np.where(seen, frame, np.float32(np.nan)), seen, day)
        found = reference.forecast(later)  # asked at every step: no earlier answer may stick
    for band, row, col in np.ndindex(*SHAPE):
        seen = valid[:, band, row, col]
        if not seen.any():
            assert np.isnan(found[:, band, row, col]).all()
            continue
        observed = values[seen, band, row, col].astype(float)
        record = Record(days.tolist(), days[seen], observed, band, step_days)
        expected = [PLAIN[name](record, day) for day in later]
        assert found[:, band, row, col] == pytest.approx(expected, rel=0, abs=3e-4)


def test_a_step_without_a_valid_pixel_is_a_step_all_the_same():
    """It makes the record longer, and nothing else."""
    setting = Setting((1, 1, 1), (0, 0), 16.0, {})
    reference = ALL["climatology"](setting)
    for day, value in ((0.0, 1.0), (180.0, 5.0), (YEAR, np.nan)):
        frame = np.full((1, 1, 1), value, np.float32)
        feed([reference], setting, frame, np.isfinite(frame), day)
    # The cycle is spanned, so the season of day 0 counts beside half a mean of all.
    assert reference.forecast([YEAR + 0.5]).item() == pytest.approx((1 + 0.5 * 3) / 1.5)


@pytest.mark.parametrize("sigma", [1.0, 2.0, 3.0])
def test_smoothed_equals_scipy(sigma):
    field = np.random.default_rng(0).normal(5, 1, (2, 14, 17)).astype(np.float32)
    options = {"sigma": (0, sigma, sigma), "radius": (0, 3 * int(sigma), 3 * int(sigma))}
    options["mode"] = "constant"
    full = field.astype(float)
    expected = gaussian_filter(full, **options) / gaussian_filter(np.ones_like(full), **options)
    assert smoothed(field, sigma) == pytest.approx(expected, abs=2e-5)


def test_smoothed_passes_over_what_is_unknown():
    rng = np.random.default_rng(1)
    field = rng.normal(5, 1, (1, 12, 11)).astype(np.float32)
    known = rng.random(field.shape) < 0.7
    field[~known] = np.nan
    found = smoothed(field, 1.0)
    assert np.isnan(found[~known]).all()
    reach = np.arange(-3, 4)
    for _, row, col in np.argwhere(known):
        top = bottom = 0.0
        for dy in reach:
            for dx in reach:
                y, x = row + dy, col + dx
                if 0 <= y < 12 and 0 <= x < 11 and known[0, y, x]:
                    weight = np.exp(-0.5 * (dy * dy + dx * dx))
                    top, bottom = top + weight * field[0, y, x], bottom + weight
        assert found[0, row, col] == pytest.approx(top / bottom, abs=1e-5)
