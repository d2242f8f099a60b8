"""Cubic convolution: against GDAL, against the textbook, and against itself in tiles."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from scipy.ndimage import map_coordinates

from geoforecast.raster.footprints import source_window, window_for
from geoforecast.raster.grid import Grid, Tile
from geoforecast.raster.kernels import NODATA, OFFSET, SCALE, as_they_are
from geoforecast.raster.resample import coordinate_map
from geoforecast.raster.wide_kernels import cubic

ZONE_32 = CRS.from_epsg(32632).to_wkt()
ZONE_33 = CRS.from_epsg(32633).to_wkt()
SOURCE = Grid(ZONE_32, Affine(10, 0, 800000, 0, -10, 5200000), (250, 300))
TURNED = Grid(ZONE_33, Affine(10, 0, 343200, 0, -10, 5194300), (220, 260))
SHIFTED = Grid(ZONE_32, Affine(7, 0, 800013, 0, -7, 5199991), (240, 250))


def run(raw, x, y, *, usable=None, nodata=None, scale=1.0, offset=0.0, window=None):
    """The kernel on the window that it needs; raw (band, h, w)."""
    bands, *shape = raw.shape
    window = window or window_for("cubic", x, y, shape)
    values = np.ones((bands, *x.shape), np.float32)
    valid = np.full(values.shape, window is not None)
    usable = np.ones((1, *shape), bool) if usable is None else usable
    none = np.full(bands, np.nan) if nodata is None else np.asarray(nodata, float)
    numbers = as_they_are(bands)
    numbers[:, NODATA], numbers[:, SCALE], numbers[:, OFFSET] = none, scale, offset
    if window is not None:
        part = (slice(None), *window.slices)
        cubic(
            raw[part], usable[part], numbers,
            window.row0, window.col0, *shape, x, y, values, valid,
        )  # fmt: skip
    if window is not None:  # what is not valid was cleared
        assert np.isnan(values[~valid]).all()
    return np.where(valid, values, np.float32(0)), valid


def reflectance(shape, seed=1, bands=2):
    """uint16 numbers of a smooth scene with texture, 1e-4 reflectance a unit."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    smooth = 3000 + 1000 * np.sin(x / 9) * np.cos(y / 13)
    noise = rng.integers(0, 400, (bands, *shape))
    return (smooth + noise).astype(np.uint16)


def inner_pixels(x, y, shape):
    """Points whose four by four neighbours all lie in the image."""
    return (x > 1) & (x < shape[1] - 3) & (y > 1) & (y < shape[0] - 3)


@pytest.mark.parametrize("target", [TURNED, SHIFTED], ids=["other zone", "same zone"])
def test_agrees_with_gdal_without_approximation(tmp_path, write_tif, target):
    raw = reflectance(SOURCE.shape)
    path = write_tif(
        tmp_path / "a.tif", raw * np.float32(1e-4), transform=SOURCE.transform, crs="EPSG:32632"
    )
    with (
        rasterio.open(path) as dataset,
        WarpedVRT(
            dataset, crs=target.crs, transform=target.transform, height=target.shape[0],
            width=target.shape[1], resampling=Resampling.cubic, tolerance=1e-9,
            XSCALE=1, YSCALE=1,
        ) as vrt,
    ):  # fmt: skip
        expected = vrt.read()
    x, y = coordinate_map(target, SOURCE).at(target.whole)
    values, valid = run(raw, x, y, scale=1e-4)
    inner = inner_pixels(x, y, SOURCE.shape)
    assert inner.mean() > 0.3
    assert valid[:, inner].all()
    assert np.abs(values - expected)[:, inner].max() < 1e-5
    # Right at the image's edge GDAL is bilinear too.
    edge = valid[0] & ~inner
    assert edge.sum() > 100
    assert np.abs(values - expected)[:, edge].max() < 1e-5


def test_reproduces_quadratics_and_keeps_pixels_that_coincide():
    # Keys: the kernel of a = -1/2 is exact for polynomials of the second degree.
    row, col = np.mgrid[:12, :14].astype(float)
    raw = (2 + 3 * col - 0.25 * col**2 + 0.5 * row**2 - row)[None].astype(np.float32)
    x, y = np.array([[4.3, 5.75, 7.0]]), np.array([[3.9, 6.2, 5.0]])
    values, valid = run(raw, x, y)
    assert valid.all()
    expected = 2 + 3 * x - 0.25 * x**2 + 0.5 * y**2 - y
    np.testing.assert_allclose(values[0], expected, rtol=1e-6)
    yy, xx = np.mgrid[:12, :14].astype(float)
    values, valid = run(raw, xx, yy)
    assert valid.all()
    assert (values == raw).all()


def test_beside_what_cannot_be_used_it_is_bilinear_among_the_usable():
    raw = reflectance((12, 12), bands=1)
    usable = np.ones((1, 12, 12), bool)
    usable[0, 5, 7] = False
    x, y = np.array([[5.25, 6.25, 6.75]]), np.array([[5.5, 5.0, 5.25]])
    values, valid = run(raw, x, y, usable=usable)
    r = raw[0].astype(float)
    # First: (5, 7) is two columns on, so no cubic; its own two by two are all usable.
    first = 0.75 * (r[5, 5] + r[6, 5]) / 2 + 0.25 * (r[5, 6] + r[6, 6]) / 2
    # Second: of row 5 the left pixel only. Third: the nearest pixel is (5, 7) itself.
    assert valid.tolist() == [[[True, True, False]]]
    np.testing.assert_allclose(values[0, 0, :2], [first, r[5, 6]], rtol=1e-6)


def test_pixels_without_a_weight_may_be_unusable():
    raw = reflectance((12, 12), bands=1)
    usable = np.zeros((1, 12, 12), bool)
    usable[0, 5, 3:7] = True
    x, y = np.array([[4.5]]), np.array([[5.0]])
    values, valid = run(raw, x, y, usable=usable)
    r = raw[0, 5].astype(float)
    assert valid.all()
    expected = (-r[3] + 9 * r[4] + 9 * r[5] - r[6]) / 16
    np.testing.assert_allclose(values[0], [[expected]], rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -9999.0])
def test_sentinels_never_enter_a_result(bad):
    raw = reflectance((20, 20), bands=2).astype(np.float32)
    clean, _ = run(raw, *np.meshgrid(np.arange(20.0), np.arange(20) + 0.3))
    holes = raw.copy()
    holes[0, 8, 9] = bad
    x, y = np.meshgrid(np.arange(0, 19, 0.4), np.arange(0, 19, 0.4))
    values, valid = run(holes, x, y, nodata=[-9999.0, -9999.0])
    nearest = (np.floor(x + 0.5) == 9) & (np.floor(y + 0.5) == 8)
    assert (valid[0] == ~nearest).all()
    assert valid[1].all()
    assert values[0][valid[0]].min() > 1000
    assert values[0][valid[0]].max() < 5000
    assert clean.max() < 5000


def test_scale_offset_and_a_mask_for_each_band():
    raw = reflectance((16, 16), bands=2)
    usable = np.ones((2, 16, 16), bool)
    usable[1, 8:] = False
    x, y = np.meshgrid(np.arange(3, 12) + 0.25, np.arange(3, 12) + 0.5)
    values, valid = run(raw, x, y, usable=usable, scale=1e-4, offset=-0.1)
    plain, _ = run(raw, x, y)
    assert valid[0].all()
    # Rows 3.5 .. 6.5 are nearest to usable pixels, 7.5 and beyond are not.
    assert valid[1].all(axis=1).tolist() == [True] * 4 + [False] * 5
    expected = plain[0].astype(float) * 1e-4 - 0.1
    np.testing.assert_allclose(values[0], expected, atol=1e-7)


def test_what_float32_cannot_hold_is_not_valid():
    raw = reflectance((9, 9), bands=1)
    _, valid = run(raw, np.array([[4.2]]), np.array([[4.4]]), scale=1e36)
    assert not valid.any()


def test_a_tiny_image_and_points_outside():
    raw = np.array([[[5]]], np.uint16)
    x, y = np.array([[-0.6, -0.5, 0.0, 0.4, 0.5, np.nan]]), np.zeros((1, 6))
    values, valid = run(raw, x, y)
    assert valid[0, 0].tolist() == [False, True, True, True, False, False]
    assert (values[valid] == 5).all()
    assert source_window(np.array([[np.nan, 9.0]]), np.zeros((1, 2)), (3, 3), 1) is None


def test_agrees_with_scipys_weights_at_half_pixels():
    # An independent sum over 4 x 4 pixels with the weights -1/16, 9/16, 9/16, -1/16.
    raw = reflectance((10, 11), bands=1)
    w = np.array([-1, 9, 9, -1]) / 16
    expected = w @ raw[0, 2:6, 3:7].astype(float) @ w
    values, _ = run(raw, np.array([[4.5]]), np.array([[3.5]]))
    np.testing.assert_allclose(values[0, 0, 0], expected, rtol=1e-7)
    # And it is nearer to a smooth surface than bilinear is.
    row, col = np.mgrid[:40, :40].astype(float)
    smooth = (100 * np.sin(col / 4) * np.cos(row / 5)).astype(np.float32)
    x, y = np.meshgrid(np.arange(5, 30, 0.7), np.arange(5, 30, 0.9))
    truth = 100 * np.sin(x / 4) * np.cos(y / 5)
    values, _ = run(smooth[None], x, y)
    linear = map_coordinates(smooth, [y, x], order=1)
    assert np.abs(values[0] - truth).max() < np.abs(linear - truth).max() / 3


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 60), cols=st.integers(1, 60), seed=st.integers(0, 5),
    turned=st.booleans(), snapped=st.booleans(),
)  # fmt: skip
def test_same_bits_for_any_tiling(rows, cols, seed, turned, snapped):
    target, grid = (TURNED, SOURCE) if turned else (SHIFTED, SOURCE)
    if snapped:  # whole-pixel rows, so that some weights are 0
        target = Grid(ZONE_32, Affine(5, 0, 799995, 0, -10, 5200000), (40, 60))
    way = coordinate_map(target, grid)
    area = Tile(0, min(90, target.shape[0]), 0, min(90, target.shape[1]))
    rng = np.random.default_rng(seed)
    raw = reflectance(grid.shape, seed)
    raw[rng.random(raw.shape) < 0.01] = 0
    usable = rng.random((1, *grid.shape)) > 0.02
    options = {"usable": usable, "nodata": [0, 0], "scale": 1e-4}
    whole, ok = run(raw, *way.at(area), **options)
    assert ok.any()
    for row in range(0, area.row1, rows):
        for col in range(0, area.col1, cols):
            tile = Tile(row, min(row + rows, area.row1), col, min(col + cols, area.col1))
            values, valid = run(raw, *way.at(tile), **options)
            assert (valid == ok[:, *tile.slices]).all()
            assert (values == whole[:, *tile.slices]).all()


def test_a_wider_window_changes_nothing():
    raw = reflectance(SOURCE.shape)
    tile = Tile(30, 60, 40, 80)
    x, y = coordinate_map(TURNED, SOURCE).at(tile)
    tight = run(raw, x, y)
    whole = run(raw, x, y, window=SOURCE.whole)
    assert tight[1].any()
    assert (tight[0] == whole[0]).all()
    assert (tight[1] == whole[1]).all()
