"""Each metric on numbers that can be checked by head, and against other libraries."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import pearsonr
from skimage.metrics import peak_signal_noise_ratio
from sklearn.metrics import (
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    r2_score,
)

from geoforecast.validate.metrics.pooled import (
    Pooled,
    evaluate,
    metric,
    metric_names,
    metrics,
    skill,
)
from geoforecast.validate.scoring.sums import SUMS, Scale, frame_sums

OBSERVED = np.array([[1.0, 2.0], [3.0, 6.0]], np.float32)
FORECAST = np.array([[2.0, 2.0], [1.0, 7.0]], np.float32)  # errors 1, 0, -2, 1


def pooled(
    forecast: np.ndarray,
    observed: np.ndarray,
    *,
    shift: float = 0.0,
    least: float = 0.0,
    normal: np.ndarray | None = None,
    data_range: float = math.nan,
) -> Pooled:
    f, o = (np.atleast_2d(values).astype(np.float64) for values in (forecast, observed))
    scored = np.ones(f.shape, bool)
    sums = frame_sums(f, o, scored, Scale(shift, least), normal)
    return Pooled(**dict(zip(SUMS, sums, strict=True)), shift=shift, data_range=data_range)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mae", 1.0),  # (1 + 0 + 2 + 1) / 4
        ("rmse", math.sqrt(1.5)),  # sqrt((1 + 0 + 4 + 1) / 4)
        ("mse", 1.5),
        ("bias", 0.0),  # (1 + 0 - 2 + 1) / 4
        ("mape", 100 * (1 + 0 + 2 / 3 + 1 / 6) / 4),
        # Deviations of o: -2 -1 0 3, of f (mean 3): -1 -1 -2 4; products 2 + 1 + 0 + 12.
        ("correlation", 15 / math.sqrt(14 * 22)),
        ("variance_ratio", 22 / 14),
        ("kge", 1 - math.hypot(15 / math.sqrt(14 * 22) - 1, math.sqrt(22 / 14) - 1, 0)),
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
        "mse": mean_squared_error(observed, forecast),
        "mape": 100 * mean_absolute_percentage_error(observed, forecast),
        "correlation": pearsonr(observed, forecast).statistic,
        "variance_ratio": np.var(forecast) / np.var(observed),
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
        ("mape", pooled(FORECAST, OBSERVED, least=7.0), "too near to 0"),
        ("mape", pooled(FORECAST, np.zeros((2, 2))), "too near to 0"),
        ("correlation", pooled(np.ones((2, 2)), OBSERVED), "one value"),
        ("correlation", pooled(FORECAST, np.full((2, 2), 0.1), shift=3.0), "one value"),
        ("anomaly_correlation", pooled(FORECAST, OBSERVED), "not known what is normal"),
        ("anomaly_correlation", pooled(FORECAST, OBSERVED, normal=FORECAST), "are what is normal"),
        ("variance_ratio", pooled(FORECAST, np.full((2, 2), 0.1)), "no variance"),
        ("kge", pooled(FORECAST, np.full((2, 2), 0.1)), "no variance"),
        ("kge", pooled(FORECAST, OBSERVED - OBSERVED.mean()), "observed mean is 0"),
        ("kge", pooled(np.ones((2, 2)), OBSERVED), "one value"),
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
    from geoforecast.validate.metrics import pooled as module

    monkeypatch.setattr(module, "_METRICS", dict(module._METRICS))

    @metric(title="squares", better="lower", formula="sum of squares", source="here")
    def squares(sums: Pooled) -> float:
        return sums.ee

    assert metric_names()[-1] == "squares"
    assert evaluate("squares", pooled(FORECAST, OBSERVED)) == (6, "")


def test_anomalies_are_taken_from_what_is_normal() -> None:
    normal = np.array([[1.0, 3.0], [np.nan, 5.0]])
    sums = pooled(FORECAST, OBSERVED, normal=normal)
    assert sums.anomalies_n == 3
    # Forecast 1, -1, 2 and observed 0, -1, 1 from normal.
    assert evaluate("anomaly_correlation", sums)[0] == pytest.approx(3 / math.sqrt(6 * 2))
    assert evaluate("rmse", sums) == evaluate("rmse", pooled(FORECAST, OBSERVED))


def test_what_is_not_scored_or_near_zero_is_left_out() -> None:
    observed = np.array([[1.0, 2.0, 0.001, np.nan]])
    forecast = np.array([[2.0, 2.0, 5.0, np.inf]])
    scored = np.array([[True, True, True, False]])
    found = dict(zip(SUMS, frame_sums(forecast, observed, scored, Scale(0, 0.01)), strict=True))
    assert found["n"] == 3
    assert found["relative_n"] == 2
    assert found["relative"] == 1
    assert found["e"] == pytest.approx(5.999)


def test_a_perfect_forecast_has_the_best_value_of_every_metric() -> None:
    rng = np.random.default_rng(2)
    observed = rng.normal(20, 5, (30, 30))
    sums = replace(
        pooled(observed, observed, shift=19.0, normal=np.full((30, 30), 18.0), data_range=40.0),
        ssim=1.0,
    )
    for item in metrics():
        value, reason = evaluate(item.name, sums)
        best = {"lower": 0.0, "zero": 0.0, "higher": 1.0, "one": 1.0}[item.better]
        if item.name == "psnr":
            assert "infinite" in reason
        else:
            assert value == pytest.approx(best, abs=1e-12), item.name


def test_a_bias_and_a_narrow_range_show_where_correlation_does_not() -> None:
    rng = np.random.default_rng(3)
    observed = rng.normal(20, 5, (30, 30))
    sums = pooled(0.5 * observed + 20, observed, shift=20.0)
    assert evaluate("correlation", sums)[0] == pytest.approx(1)
    assert evaluate("variance_ratio", sums)[0] == pytest.approx(0.25)
    mean = observed.mean()
    expected = 1 - math.hypot(0, 0.5, (0.5 * mean + 20) / mean - 1)
    assert evaluate("kge", sums)[0] == pytest.approx(expected)


def test_sums_take_any_layout_and_type() -> None:
    rng = np.random.default_rng(4)
    f, o = rng.normal(size=(2, 40, 50)).astype(np.float32)
    scored = rng.random((40, 50)) < 0.7
    whole = frame_sums(f, o, scored, Scale(0.5, 0.1), f - 1)
    part = (slice(3, 31), slice(7, 44))
    inner = frame_sums(f[part], o[part], scored[part], Scale(0.5, 0.1), (f - 1)[part])
    again = frame_sums(
        *(np.ascontiguousarray(one[part]) for one in (f, o, scored)), Scale(0.5, 0.1), (f - 1)[part]
    )
    np.testing.assert_array_equal(inner, again)
    assert inner[0] < whole[0] == scored.sum()


def test_every_metric_is_described() -> None:
    assert metric_names() == (
        *("mae", "rmse", "mse", "mape", "bias", "r2", "correlation", "anomaly_correlation"),
        *("variance_ratio", "kge", "ssim", "psnr"),
    )
    for item in metrics():
        assert item.formula
        assert item.source
        assert item.better in ("lower", "higher", "zero", "one")
