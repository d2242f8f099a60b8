"""Average and mode: against GDAL, against block means, and against themselves in tiles."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from geoforecast.raster.area_kernels import average, mode
from geoforecast.raster.footprints import footprint_window, window_for
from geoforecast.raster.grid import Grid, Tile
from geoforecast.raster.kernels import NODATA, OFFSET, SCALE, as_they_are
from geoforecast.raster.resample import coordinate_map

ZONE_32 = CRS.from_epsg(32632).to_wkt()
SOURCE = Grid(ZONE_32, Affine(10, 0, 800000, 0, -10, 5200000), (120, 150))
COARSE = Grid(ZONE_32, Affine(37, 0, 800011, 0, -37, 5199987), (30, 38))
TURNED = Grid(CRS.from_epsg(32633).to_wkt(), Affine(30, 0, 343200, 0, -30, 5194300), (60, 50))


def run(kernel, raw, x, y, *, usable=None, nodata=None, scale=1.0, offset=0.0, dtype=np.float32):
    """A kernel on the window that it needs; raw (band, h, w)."""
    bands, *shape = raw.shape
    window = footprint_window(x, y, shape)
    values = np.ones((bands, x.shape[0] - 1, x.shape[1] - 1), dtype)
    valid = np.full(values.shape, window is not None)
    usable = np.ones((1, *shape), bool) if usable is None else usable
    none = np.full(bands, np.nan) if nodata is None else np.asarray(nodata, float)
    five = as_they_are(bands)
    five[:, NODATA], five[:, SCALE], five[:, OFFSET] = none, scale, offset
    if window is not None:
        part = (slice(None), *window.slices)
        kernel(
            raw[part], usable[part], five,
            window.row0, window.col0, *shape, x, y, values, valid,
        )  # fmt: skip
    if window is not None:  # what is not valid was cleared
        left = values[~valid]
        assert (np.isnan(left) if values.dtype.kind == "f" else left == 0).all()
    return np.where(valid, values, dtype(0)), valid


def scaled(factor, shape=(120, 150)):
    """A grid of ``factor`` times the pixels of SOURCE, from the same corner."""
    t = SOURCE.transform
    size = (int(shape[0] / factor), int(shape[1] / factor))
    return Grid(ZONE_32, t @ Affine.scale(factor), size)


def corners(target, source=SOURCE):
    return coordinate_map(target, source).corners(target.whole)


def numbers(seed=0, bands=2, high=5000, shape=SOURCE.shape):
    return np.random.default_rng(seed).integers(1, high, (bands, *shape)).astype(np.uint16)


def gdal(tmp_path, write_tif, raw, target, method):
    path = write_tif(
        tmp_path / "a.tif", raw, transform=SOURCE.transform, crs="EPSG:32632", nodata=0
    )
    with (
        rasterio.open(path) as dataset,
        WarpedVRT(
            dataset, crs=target.crs, transform=target.transform, height=target.shape[0],
            width=target.shape[1], resampling=method, tolerance=1e-9, XSCALE=1, YSCALE=1,
        ) as vrt,
    ):  # fmt: skip
        return vrt.read()


def test_corners_lie_half_a_pixel_off_the_centres():
    way = coordinate_map(scaled(2), SOURCE)
    x, y = way.corners(Tile(1, 3, 2, 5))
    # Target pixel (1, 2) covers the source pixels 2, 3 down and 4, 5 across.
    assert x[0].tolist() == [3.5, 5.5, 7.5, 9.5]
    assert y[:, 0].tolist() == [1.5, 3.5, 5.5]


def test_corners_between_crss_lie_between_the_centres():
    way = coordinate_map(TURNED, SOURCE)
    assert way.step > 0
    x, y = way.corners(TURNED.whole)
    for centre, corner in zip(way.at(TURNED.whole), (x, y), strict=True):
        middle = (corner[:-1, :-1] + corner[1:, :-1] + corner[:-1, 1:] + corner[1:, 1:]) / 4
        assert np.abs(middle - centre).max() < 2e-4
    # The outer corners too, drawn on beyond the lattice, are where PROJ has them.
    from geoforecast.raster import resample

    col, row = np.meshgrid(np.arange(51) - 0.5, np.arange(61) - 0.5)
    exact = resample._Forward(TURNED, SOURCE)(col, row)
    assert max(np.abs(exact[0] - x).max(), np.abs(exact[1] - y).max()) < 1e-3


def test_corners_are_the_same_in_any_tile():
    way = coordinate_map(TURNED, SOURCE)
    whole = way.corners(TURNED.whole)
    for tile in TURNED.tiles(7):
        part = slice(tile.row0, tile.row1 + 1), slice(tile.col0, tile.col1 + 1)
        for a, b in zip(way.corners(tile), whole, strict=True):
            assert (a == b[part]).all()


def test_a_corner_on_the_seam_of_the_globe_is_nowhere():
    globe = Grid(CRS.from_epsg(4326).to_wkt(), Affine(1, 0, -180, 0, -1, 90), (180, 360))
    fiji = Grid(CRS.from_epsg(32760).to_wkt(), Affine(1e5, 0, 5e5, 0, -1e5, 8.2e6), (4, 12))
    x, y = coordinate_map(fiji, globe).corners(fiji.whole)
    seam = np.isnan(x)
    assert 0 < seam.sum() < 12
    raw = (np.arange(360)[None, None, :] + np.zeros((1, 180, 1))).astype(np.uint16)
    values, valid = run(average, raw, x, y)
    # On either side columns 357..359 or 0..5 are averaged, never the half of the world.
    assert valid.mean() > 0.7
    assert ((values[valid] > 355) | (values[valid] < 10)).all()


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_whole_factors_are_block_means(factor):
    raw = numbers()
    x, y = corners(scaled(factor))
    values, valid = run(average, raw, x, y, scale=1e-4, offset=-0.1)
    h, w = values.shape[1:]
    blocks = raw[:, : h * factor, : w * factor].reshape(2, h, factor, w, factor)
    expected = blocks.mean(axis=(2, 4), dtype=float) * 1e-4 - 0.1
    assert valid.all()
    assert (values == expected.astype(np.float32)).mean() > 0.999
    np.testing.assert_allclose(values, expected, atol=1e-7)


@settings(max_examples=30, deadline=None)
@given(
    factor=st.integers(2, 7), high=st.integers(1, 8), wide=st.integers(1, 8),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_the_mean_of_a_scene_is_kept(factor, high, wide, seed):
    source = Grid(ZONE_32, SOURCE.transform, (high * factor, wide * factor))
    raw = numbers(seed, shape=source.shape)
    target = scaled(factor, source.shape)
    values, valid = run(average, raw, *corners(target, source))
    assert valid.all()
    np.testing.assert_allclose(values.mean(axis=(1, 2), dtype=float), raw.mean(axis=(1, 2)), 1e-6)


def test_average_agrees_with_gdal(tmp_path, write_tif):
    raw = numbers(bands=1).astype(np.float32)
    raw[np.random.default_rng(3).random(raw.shape) < 0.3] = 0
    raw[:, 40:60, 50:80] = 0
    expected = gdal(tmp_path, write_tif, raw, COARSE, Resampling.average)
    values, valid = run(average, raw, *corners(COARSE), nodata=[0])
    assert 0.7 < valid.mean() < 1
    assert (valid == (expected != 0)).all()
    np.testing.assert_allclose(values, expected, rtol=2e-6)


def test_mode_agrees_with_gdal_where_no_two_classes_tie(tmp_path, write_tif):
    raw = numbers(high=5, bands=1).astype(np.uint8)
    raw[0, 30:50, 60:90] = 0
    target = scaled(5)
    expected = gdal(tmp_path, write_tif, raw, target, Resampling.mode)
    values, valid = run(mode, raw, *corners(target), nodata=[0], dtype=np.uint8)
    blocks = raw[0].reshape(24, 5, 30, 5).transpose(0, 2, 1, 3).reshape(24, 30, 25)
    counts = np.sort([(blocks == code).sum(axis=-1) for code in range(1, 5)], axis=0)
    alone = counts[-1] > counts[-2]
    assert 0.5 < alone.mean() < 1
    assert (valid == (expected != 0)).all()
    assert (values == expected)[0][alone].all()


def test_footprints_within_a_pixel_and_across_an_edge():
    raw = np.array([[[10, 20], [30, 60]]], np.uint16)
    # Quarters of pixel (0, 0); a box of a quarter of each of the four pixels; one that
    # reaches a pixel beyond the image; one beyond it.
    x, y = np.array([[-0.25, 0.25]] * 2), np.array([[0.0] * 2, [0.25] * 2])
    assert run(average, raw, x, y)[0].item() == 10
    x, y = np.array([[0.0, 1.0]] * 2), np.array([[0.25] * 2, [1.25] * 2])
    # A quarter of the height in row 0, three quarters in row 1.
    assert run(average, raw, x, y)[0].item() == (10 + 20 + 3 * 30 + 3 * 60) / 8
    x, y = np.array([[1.0, 3.0]] * 2), np.array([[0.5] * 2, [1.5] * 2])
    assert run(average, raw, x, y)[0].item() == 60
    x, y = np.array([[1.5, 3.0]] * 2), np.array([[0.5] * 2, [1.5] * 2])
    assert not run(average, raw, x, y)[1].any()
    assert window_for("average", x, y, (2, 2)) is None
    x = np.array([[0.0, np.nan]] * 2)
    assert not run(average, raw, x, y)[1].any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -9999.0])
@pytest.mark.parametrize("kernel", [average, mode])
def test_sentinels_never_enter_a_result(kernel, bad):
    raw = np.full((2, 6, 6), 7, np.float32)
    raw[0, :2, :3] = bad
    x, y = np.meshgrid(np.arange(-0.5, 6, 2), np.arange(-0.5, 6, 2))
    values, valid = run(kernel, raw, x, y, nodata=[-9999, -9999])
    assert (values[valid] == 7).all()
    # The first box is all bad, the second half of it.
    assert valid[0, 0].tolist() == [False, True, True]
    assert valid[1].all()


def test_a_mask_for_each_band():
    raw = numbers(shape=(4, 4))
    usable = np.ones((2, 4, 4), bool)
    usable[1, :2, :2] = False
    usable[1, 2, 2] = False
    x, y = np.meshgrid([-0.5, 1.5, 3.5], [-0.5, 1.5, 3.5])
    for kernel in (average, mode):
        _, valid = run(kernel, raw, x, y, usable=usable)
        assert valid[0].all()
        assert valid[1].tolist() == [[False, True], [True, True]]
    values, _ = run(average, raw, x, y, usable=usable)
    rest = raw[1, 2, 3], raw[1, 3, 2], raw[1, 3, 3]
    assert values[1, 1, 1] == pytest.approx(np.mean(rest), rel=1e-6)


def test_mode_goes_by_area_and_ties_go_to_the_smallest():
    raw = np.array([[[9, 4, 4], [2, 2, 7], [-3, 7, 1]]], np.int16)
    whole = np.meshgrid([-0.5, 2.5], [-0.5, 2.5])
    assert run(mode, raw, *whole, dtype=np.int16)[0].item() == 2  # 2, 4 and 7 twice each
    # Half of column 0 and a fifth of column 1: of row 0 only, 9 has the larger area.
    narrow = np.meshgrid([0.0, 0.7], [-0.5, 0.5])
    assert run(mode, raw, *narrow, dtype=np.int16)[0].item() == 9
    # A tenth of either column: equal areas, though 1.1 - 1 and 1 - 0.9 differ in the last bit.
    cross = np.array([[[9, 3], [3, 9]]], np.int16)
    tenths = np.meshgrid([0.9 - 0.5, 1.1 - 0.5], [0.7 - 0.5, 1.7 - 0.5])
    assert run(mode, cross, *tenths, dtype=np.int16)[0].item() == 3
    # Numbers keep their scale.
    assert run(mode, raw, *narrow, scale=0.5, offset=1.0)[0].item() == 5.5


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 999), classes=st.integers(1, 60), left=st.integers(-4, 40),
    top=st.integers(-4, 40), wide=st.integers(1, 60), high=st.integers(1, 60),
)  # fmt: skip
def test_mode_equals_a_count_in_fractions(seed, classes, left, top, wide, high):
    rng = np.random.default_rng(seed)
    raw = (rng.integers(-classes, classes, (1, 12, 12))).astype(np.int16)
    usable = rng.random((1, 12, 12)) > 0.2
    edges = [Fraction(left, 4), Fraction(left + wide, 4), Fraction(top, 4), Fraction(top + high, 4)]
    weights: Counter[int] = Counter()
    for r in range(12):
        for c in range(12):
            across = min(edges[1], c + 1) - max(edges[0], c)
            down = min(edges[3], r + 1) - max(edges[2], r)
            if usable[0, r, c] and across > 0 and down > 0:
                weights[int(raw[0, r, c])] += across * down
    x, y = np.meshgrid([float(e) - 0.5 for e in edges[:2]], [float(e) - 0.5 for e in edges[2:]])
    values, valid = run(mode, raw, x, y, usable=usable, dtype=np.int16)
    assert valid.item() == bool(weights)
    if weights:
        most = max(weights.values())
        assert values.item() == min(code for code, weight in weights.items() if weight == most)


@settings(max_examples=25, deadline=None)
@given(
    method=st.sampled_from([average, mode]), rows=st.integers(1, 30), cols=st.integers(1, 30),
    seed=st.integers(0, 5), turned=st.booleans(),
)  # fmt: skip
def test_same_bits_for_any_tiling(method, rows, cols, seed, turned):
    target = TURNED if turned else COARSE
    way = coordinate_map(target, SOURCE)
    raw = numbers(seed, high=30)
    usable = np.random.default_rng(seed).random((1, *SOURCE.shape)) > 0.3
    options = {"usable": usable, "nodata": [3, 4], "scale": 1e-4}
    whole, ok = run(method, raw, *way.corners(target.whole), **options)
    assert ok.any()
    for row in range(0, target.shape[0], rows):
        for col in range(0, target.shape[1], cols):
            tile = Tile(
                row, min(row + rows, target.shape[0]), col, min(col + cols, target.shape[1])
            )
            values, valid = run(method, raw, *way.corners(tile), **options)
            assert (valid == ok[:, *tile.slices]).all()
            assert (values == whole[:, *tile.slices]).all()


def test_south_up_and_finer_targets():
    # Rows of the source run upwards; target pixels of half its size repeat its values.
    t = SOURCE.transform
    south_up = Grid(ZONE_32, Affine(10, 0, t.c, 0, 10, t.f - 1200), SOURCE.shape)
    raw = numbers()
    for kernel in (average, mode):
        values, valid = run(kernel, raw, *corners(scaled(0.5), south_up))
        assert valid.all()
        assert (values == raw[:, ::-1].repeat(2, axis=1).repeat(2, axis=2)).all()
