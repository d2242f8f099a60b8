"""The normaliser: training pixels only, and an exact way back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from geoforecast.raster.cube import open_cube
from geoforecast.samples import normaliser as normaliser_module
from geoforecast.samples.normaliser import (
    Normaliser,
    fit_normaliser,
    fit_statistics,
    from_meta,
    to_meta,
)

METHODS = ("zscore", "minmax", "robust", "log1p", "none")


def test_statistics_equal_numpy_on_valid_training_pixels(make_project):
    rng = np.random.default_rng(0)
    values = rng.gamma(2.0, 300.0, (20, 2, 37, 41)).astype(np.float32)
    values[rng.random(values.shape) < 0.3] = np.nan
    cube = open_cube(make_project(values).cube_path)
    for band, ours in enumerate(fit_statistics(cube, range(13))):
        x = values[:13, band].astype(np.float64)
        x = x[np.isfinite(x)]
        expected = [
            x.size, x.mean(), x.std(), x.min(), x.max(), np.median(x),
            *np.quantile(x, [0.25, 0.75]), np.log1p(x).mean(), np.log1p(x).std(),
        ]  # fmt: skip
        found = [
            ours.count, ours.mean, ours.std, ours.minimum, ours.maximum, ours.median,
            ours.lower_quartile, ours.upper_quartile, ours.log_mean, ours.log_std,
        ]  # fmt: skip
        assert found == pytest.approx(expected, rel=1e-9)


def test_the_variance_of_large_values_keeps_its_digits(make_project):
    rng = np.random.default_rng(1)
    values = (1e6 + rng.standard_normal((9, 1, 30, 30))).astype(np.float32)
    cube = open_cube(make_project(values).cube_path)
    (statistics,) = fit_statistics(cube, range(9))
    assert statistics.std == pytest.approx(values.astype(np.float64).std(), rel=1e-9)


def test_quantiles_of_a_subsample_are_near(make_project, monkeypatch):
    monkeypatch.setattr(normaliser_module, "QUANTILE_PIXELS", 2000)
    values = np.random.default_rng(2).random((10, 1, 60, 50)).astype(np.float32)
    (statistics,) = fit_statistics(open_cube(make_project(values).cube_path), range(10))
    assert statistics.median == pytest.approx(0.5, abs=0.05)
    # 10 steps on a lattice of every 3rd row and column: nothing twice, nothing lost.
    expected = np.median(values[:, 0, ::3, ::3].astype(np.float64))
    assert statistics.median == pytest.approx(expected, rel=1e-12)


def normaliser(method):
    return Normaliser(method, (1.5, -2.0), (0.25, 40.0))


@pytest.mark.parametrize("method", METHODS)
@given(hnp.arrays(np.float32, (2, 3, 4), elements=st.floats(0, 1000, width=32)))
def test_invert_undoes_apply(method, values):
    again = normaliser(method).invert(normaliser(method).apply(values))
    np.testing.assert_allclose(again, values, rtol=2e-5, atol=2e-4)


@pytest.mark.parametrize("method", METHODS)
@given(hnp.arrays(np.float32, (2, 3, 4), elements=st.floats(0, 1000, width=32)))
def test_a_shift_of_zero_is_nothing_and_others_are_inverse_of_apply(method, values):
    n = normaliser(method)
    np.testing.assert_array_equal(n.shifted(values, np.zeros_like(values)), values)
    delta = np.full_like(values, 0.01)
    np.testing.assert_allclose(
        n.shifted(values, delta), n.invert(n.apply(values) + delta), rtol=1e-3, atol=1e-3
    )


def test_constant_and_empty_bands_have_scale_one(make_project):
    values = np.full((9, 2, 4, 4), 5.0, dtype=np.float32)
    values[:, 1] = np.nan
    statistics = fit_statistics(open_cube(make_project(values).cube_path), range(9))
    assert statistics[1].count == 0
    for method in METHODS:
        fitted = fit_normaliser(method, statistics)
        assert fitted.scale == (1.0, 1.0)
        again, stored = from_meta(to_meta(fitted, statistics))
        assert again == fitted
        assert stored[0] == statistics[0]


def test_robust_falls_back_where_most_pixels_are_equal(make_project):
    values = np.zeros((9, 1, 10, 10), dtype=np.float32)
    values[:, :, 0] = 3.0
    statistics = fit_statistics(open_cube(make_project(values).cube_path), range(9))
    assert fit_normaliser("robust", statistics).scale[0] == pytest.approx(statistics[0].std)
