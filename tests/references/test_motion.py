"""Motion fields: a known shift is found, on the whole raster and on a coarse one."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates, shift

from geoforecast.forecast.series import make_series
from geoforecast.raster.cube import open_cube
from geoforecast.references import motion as motion_module
from geoforecast.references.motion import bilinear


def moving_blobs(steps=4, side=96, down=1.5, right=-2.0):
    rng = np.random.default_rng(3)
    texture = np.maximum(gaussian_filter(rng.standard_normal((side, side)), 4), 0) * 100
    frames = [shift(texture, (down * k, right * k), order=1, mode="wrap") for k in range(steps)]
    return np.stack(frames)[:, None].astype(np.float32)


@pytest.mark.parametrize("coarse_px", [360, 48])
def test_a_shift_is_found(make_project, monkeypatch, coarse_px):
    monkeypatch.setattr(motion_module, "COARSE_PX", coarse_px)
    frames = moving_blobs(steps=9)
    times = np.datetime64("2020-01-01T00:00") + 5 * np.arange(9)
    project = make_project(frames, times=times)
    cube = open_cube(project.cube_path)
    motion = make_series(cube, cube.bands).motions.at(3)
    middle = motion.flow[:, motion.flow.shape[1] // 2, motion.flow.shape[2] // 2]
    assert middle == pytest.approx([1.5, -2.0], abs=0.35)


def test_constant_fields_do_not_move(make_project):
    times = np.datetime64("2020-01-01T00:00") + 5 * np.arange(9)
    project = make_project(np.zeros((9, 1, 20, 20), np.float32), times=times)
    cube = open_cube(project.cube_path)
    assert make_series(cube, cube.bands).motions.at(5).largest_px == 0


def test_bilinear_equals_scipy():
    rng = np.random.default_rng(4)
    image = rng.random((11, 13))
    rows, cols = rng.uniform(-2, 12, 200), rng.uniform(-2, 14, 200)
    expected = map_coordinates(image, [rows, cols], order=1, mode="nearest")
    inside = (rows >= 0) & (rows <= 10) & (cols >= 0) & (cols <= 12)
    assert bilinear(image, rows, cols)[inside] == pytest.approx(expected[inside], abs=1e-12)


def test_bilinear_does_not_depend_on_where_the_array_starts():
    rng = np.random.default_rng(5)
    image = rng.random((60, 60)).astype(np.float32)
    rows, cols = rng.uniform(30, 50, 500), rng.uniform(30, 50, 500)
    part = bilinear(image[25:, 29:], rows, cols, (25, 29))
    np.testing.assert_array_equal(part, bilinear(image, rows, cols))
