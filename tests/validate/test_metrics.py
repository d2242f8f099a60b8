"""Each metric on numbers that can be checked by head, and against other libraries."""

from __future__ import annotations

import math

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from geoforecast.validate.metrics import (
    Pooled,
    evaluate,
    frame_sums,
    metric,
    metric_names,
    metrics,
    skill,
)

OBSERVED = np.array([[1.0, 2.0], [3.0, 6.0]], np.float32)
FORECAST = np.array([[2.0, 2.0], [1.0, 7.0]], np.float32)  # errors 1, 0, -2, 1


def pooled(
    forecast: np.ndarray, observed: np.ndarray, *, shift: float = 0.0, data_range: float = math.nan
) -> Pooled:
    n, *sums = frame_sums(forecast.ravel(), observed.ravel(), shift)
    return Pooled(int(n), *sums, data_range=data_range)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mae", 1.0),  # (1 + 0 + 2 + 1) / 4
        ("rmse", math.sqrt(1.5)),  # sqrt((1 + 0 + 4 + 1) / 4)
        ("bias", 0.0),  # (1 + 0 - 2 + 1) / 4
        ("r2", 1 - 6 / 14),  # mean 3; 6 / ((-2)^2 + (-1)^2 + 0 + 3^2)
        ("psnr", 10 * math.log10(25 / 1.5)),  # range 5: 5^2 / mean squared error
    ],
)
def test_two_by_two(name: str, expected: float) -> None:
    value, reason = evaluate(name, pooled(FORECAST, OBSERVED, data_range=5.0))
    assert value == pytest.approx(expected, rel=1e-14)
    assert reason == ""


def test_bias_is_forecast_minus_observed() -> None:
    assert evaluate("bias", pooled(OBSERVED + 1, OBSERVED))[0] == 1.0


def test_other_libraries_agree() -> None:
    rng = np.random.default_rng(1)
    observed = rng.normal(290, 5, 500)
    forecast = observed + rng.normal(0.5, 2, 500)
    sums = pooled(forecast, observed, shift=288.0, data_range=30.0)
    for name, oracle in {
        "mae": mean_absolute_error(observed, forecast),
        "rmse": math.sqrt(mean_squared_error(observed, forecast)),
        "r2": r2_score(observed, forecast),
        "psnr": peak_signal_noise_ratio(observed, forecast, data_range=30.0),
    }.items():
        assert evaluate(name, sums)[0] == pytest.approx(oracle, rel=1e-12), name


def test_a_shift_keeps_the_variance_of_large_numbers() -> None:
    observed = 1e6 + np.array([0.0, 0.001, 0.002, 0.003])
    forecast = observed + 0.001
    expected = 1 - 4 * 1e-6 / 5e-6  # deviations -1.5, -.5, .5, 1.5 thousandths: 5e-6
    assert evaluate("r2", pooled(forecast, observed, shift=1e6))[0] == pytest.approx(
        expected, rel=1e-5
    )


@pytest.mark.parametrize(
    ("name", "sums", "reason"),
    [
        ("rmse", pooled(np.empty(0), np.empty(0)), "no pixel"),
        ("r2", pooled(np.array([1.0, 2.0]), np.array([0.1, 0.1])), "no variance"),
        ("r2", pooled(np.array([1.0, 2.0]), np.array([0.1, 0.1]), shift=7.0), "no variance"),
        ("r2", pooled(np.ones(1000), np.full(1000, 0.1)), "no variance"),  # left: rounding
        ("psnr", pooled(FORECAST, OBSERVED), "no range"),
        ("psnr", pooled(FORECAST, OBSERVED, data_range=0.0), "no range"),
        ("psnr", pooled(OBSERVED, OBSERVED, data_range=1.0), "infinite"),
        ("ssim", pooled(FORECAST, OBSERVED, data_range=1.0), "25 %"),
    ],
)
def test_an_undefined_value_has_a_reason(name: str, sums: Pooled, reason: str) -> None:
    value, why = evaluate(name, sums)
    assert math.isnan(value)
    assert reason in why


def test_skill() -> None:
    assert skill(3.0, 4.0) == (0.25, "")
    assert skill(5.0, 4.0) == (-0.25, "")
    for error, reference in [(1.0, 0.0), (0.0, 0.0), (math.nan, 1.0), (1.0, math.nan)]:
        value, reason = skill(error, reference)
        assert math.isnan(value)
        assert reason


def test_a_metric_is_one_decorated_function(monkeypatch: pytest.MonkeyPatch) -> None:
    from geoforecast.validate import metrics as module

    monkeypatch.setattr(module, "_METRICS", dict(module._METRICS))

    @metric(title="MSE", better="lower", formula="mean square", source="here")
    def mse(sums: Pooled) -> float:
        return sums.ee / sums.n

    assert metric_names()[-1] == "mse"
    assert evaluate("mse", pooled(FORECAST, OBSERVED)) == (1.5, "")


def test_every_metric_is_described() -> None:
    names = ("mae", "rmse", "bias", "r2", "ssim", "psnr")
    assert metric_names() == names
    for item in metrics():
        assert item.formula
        assert item.source
        assert item.better in ("lower", "higher", "zero")
