"""Coordinate maps and sampling: against PROJ, against GDAL, and against themselves in tiles."""

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

from geoforecast.errors import GridMismatchError
from geoforecast.raster import resample
from geoforecast.raster.footprints import window_for
from geoforecast.raster.grid import Grid, Tile
from geoforecast.raster.resample import CoordinateMap, coordinate_map, sample

ZONE_32 = CRS.from_epsg(32632).to_wkt()
ZONE_33 = CRS.from_epsg(32633).to_wkt()
# One place in two zones, so that rows and columns of the two grids are turned by 3 degrees.
SOURCE = Grid(ZONE_32, Affine(10, 0, 800000, 0, -10, 5200000), (250, 300))
TARGET = Grid(ZONE_33, Affine(10, 0, 343200, 0, -10, 5194300), (220, 260))


def warp(way, values, valid, tile, *, bilinear):
    x, y = way.at(tile)
    window = window_for("bilinear", x, y, way.source.shape)
    if window is None:
        return np.zeros(tile.shape, values.dtype), np.zeros(tile.shape, bool)
    part = window.slices
    return sample(values[part], valid[part], window, values.shape, x, y, bilinear=bilinear)


@pytest.fixture
def noise():
    rng = np.random.default_rng(1)
    return rng.random(SOURCE.shape).astype(np.float32)


def shifted(dx, dy, scale=1.0, shape=(6, 7)):
    """A grid of the CRS of SOURCE, moved by (dx, dy) of its pixels from its origin."""
    t = SOURCE.transform
    return Grid(
        ZONE_32,
        Affine(t.a * scale, 0, t.c + dx * t.a, 0, t.e * scale, t.f + dy * t.e),
        shape,
    )


def test_map_agrees_with_proj_everywhere():
    way = coordinate_map(TARGET, SOURCE)
    assert way.step == 32
    x, y = way.at(TARGET.whole)
    col, row = np.meshgrid(np.arange(260.0), np.arange(220.0))
    exact = resample._Forward(TARGET, SOURCE)(col, row)
    # The lattice is checked to 1e-3 px; here it is far better.
    assert max(np.abs(x - exact[0]).max(), np.abs(y - exact[1]).max()) < 5e-5


def test_lattice_is_halved_until_it_is_exact_enough():
    # A third of the globe in one image bends far more within 32 pixels.
    mollweide = CRS.from_proj4("+proj=moll +datum=WGS84").to_wkt()
    target = Grid(mollweide, Affine(50000, 0, 0, 0, -50000, 8e6), (150, 150))
    source = Grid(CRS.from_epsg(4326).to_wkt(), Affine(0.5, 0, 0, 0, -0.5, 90), (180, 240))
    way = coordinate_map(target, source)
    assert way.step < 32
    x, y = way.at(target.whole)
    col, row = np.meshgrid(np.arange(150.0), np.arange(150.0))
    ex, ey = resample._Forward(target, source)(col, row)
    inside = (ex > 0) & (ex < 239) & (ey > 0) & (ey < 179)
    assert inside.sum() > 1000
    error = np.maximum(np.abs(x - ex), np.abs(y - ey))[inside]
    assert error.max() < 2e-3


@pytest.mark.parametrize(
    ("method", "bilinear"), [(Resampling.nearest, False), (Resampling.bilinear, True)]
)
def test_agrees_with_gdal_without_approximation(tmp_path, noise, method, bilinear):
    path = tmp_path / "a.tif"
    with rasterio.open(
        path, "w", driver="GTiff", height=250, width=300, count=1, dtype="float32",
        crs=SOURCE.crs, transform=SOURCE.transform, nodata=-9,
    ) as out:  # fmt: skip
        out.write(noise, 1)
    with (
        rasterio.open(path) as dataset,
        WarpedVRT(
            dataset, crs=TARGET.crs, transform=TARGET.transform, width=260, height=220,
            resampling=method, tolerance=1e-9, XSCALE=1, YSCALE=1,
        ) as vrt,
    ):  # fmt: skip
        expected = vrt.read(1)
    way = coordinate_map(TARGET, SOURCE)
    values, valid = warp(way, noise, np.ones_like(noise, bool), TARGET.whole, bilinear=bilinear)
    there = expected != -9
    assert 0.3 < there.mean() < 1
    # GDAL's edge differs by a rounding at most: 1 pixel in 10 000.
    assert (there != valid).mean() < 1e-4
    difference = np.abs(values - expected)[there & valid]
    if bilinear:
        assert difference.max() < 5e-5  # white noise: gradient 1 a pixel x 1.4e-5 px
    else:
        assert (difference > 0).mean() < 1e-4


def test_same_grid_is_the_identity(noise):
    way = coordinate_map(SOURCE, SOURCE)
    assert way.identity
    values, valid = warp(way, noise, noise > 0.5, SOURCE.whole, bilinear=True)
    assert (values == np.where(noise > 0.5, noise, 0)).all()
    assert (valid == (noise > 0.5)).all()


def test_aligned_subset_is_copied_exactly(noise):
    # (7.7 + 24 * 0.1 - 7.7) / 0.1 is 24.00000000000001: whole-pixel shifts must stay whole.
    source = Grid(ZONE_32, Affine(0.1, 0, 7.7, 0, -0.1, 3.3), noise.shape)
    target = Grid(ZONE_32, Affine(0.1, 0, 7.7 + 24 * 0.1, 0, -0.1, 3.3 - 0.1), (20, 30))
    way = coordinate_map(target, source)
    x, y = way.at(target.whole)
    assert (x == np.arange(24, 54)).all()
    assert (y[:, 0] == np.arange(1, 21)).all()
    values, valid = warp(way, noise, np.ones_like(noise, bool), target.whole, bilinear=True)
    assert valid.all()
    assert (values == noise[1:21, 24:54]).all()


def test_half_pixel_shift_is_the_mean_of_two(noise):
    way = coordinate_map(shifted(2.5, 3), SOURCE)
    values, valid = warp(way, noise, np.ones_like(noise, bool), Tile(0, 6, 0, 7), bilinear=True)
    # Centre of target column 0 lies at 3.0 pixels from the edge: between columns 2 and 3.
    expected = (noise[3:9, 2:9].astype(float) + noise[3:9, 3:10]) / 2
    assert valid.all()
    np.testing.assert_allclose(values, expected, atol=1e-7)


def test_pixel_centres_not_corners_are_compared():
    # Target pixels of twice the size: their centres are corners of source pixels.
    x, y = coordinate_map(shifted(0, 0, scale=2), SOURCE).at(Tile(0, 1, 0, 3))
    assert x.tolist() == [[0.5, 2.5, 4.5]]
    assert y.tolist() == [[0.5, 0.5, 0.5]]


def test_south_up_source_is_turned(noise):
    t = SOURCE.transform
    south_up = Grid(ZONE_32, Affine(t.a, 0, t.c, 0, -t.e, t.f + 250 * t.e), SOURCE.shape)
    values, valid = warp(
        coordinate_map(SOURCE, south_up), noise[::-1], np.ones_like(noise, bool), SOURCE.whole,
        bilinear=True,
    )  # fmt: skip
    assert valid.all()
    assert (values == noise).all()


def test_rotated_source_goes_through_its_affine(noise):
    turned = Grid(ZONE_32, SOURCE.transform @ Affine.rotation(30), SOURCE.shape)
    ramp = np.broadcast_to(np.arange(300, dtype=np.float32), (250, 300)).copy()
    target = shifted(-50, 20, shape=(150, 150))
    values, valid = warp(
        coordinate_map(target, turned), ramp, np.ones_like(noise, bool), target.whole,
        bilinear=True,
    )  # fmt: skip
    col, row = np.meshgrid(np.arange(150) + 0.5, np.arange(150) + 0.5)
    expected = (~turned.transform @ target.transform @ (col, row))[0] - 0.5
    inner = valid & (expected > 0) & (expected < 299)
    assert inner.sum() > 5000
    np.testing.assert_allclose(values[inner], expected[inner], atol=2e-5)


def test_validity_is_that_of_the_nearest_pixel_and_sentinels_never_enter():
    values = np.array([[1.0, -9999.0, 3.0, 5.0]], np.float32)
    valid = values > -9999
    window = Tile(0, 1, 0, 4)
    x = np.array([[0.0, 0.25, 0.75, 1.75, 2.5, 3.25, 3.5, -0.5, -0.6]])
    result, usable = sample(values, valid, window, (1, 4), x, np.zeros_like(x), bilinear=True)
    # 0.25: nearest is 0, neighbour 1 is invalid, so all weight is on 0. 0.75 and 1.2: nearest
    # is 1, invalid. 1.75: nearest is 2. 2.5: (3 + 5) / 2. 3.25: neighbour 4 is outside.
    # 3.5 is the image's right edge, which belongs to no pixel; -0.5 the left, which does.
    assert usable.tolist() == [[True, True, False, True, True, True, False, True, False]]
    assert result.tolist() == [[1.0, 1.0, 0.0, 3.0, 4.0, 5.0, 0.0, 1.0, 0.0]]


def test_nearest_keeps_classes_and_their_dtype():
    values = np.array([[4, 9, 255]], np.uint8)
    x = np.array([[0.4, 0.6, 1.4, 1.6]])
    result, usable = sample(
        values, values != 255, Tile(0, 1, 0, 3), (1, 3), x, np.zeros_like(x), bilinear=False
    )
    assert result.dtype == np.uint8
    assert result.tolist() == [[4, 9, 9, 0]]
    assert usable.tolist() == [[True, True, True, False]]


def test_nan_coordinates_are_outside():
    x = np.array([[np.nan, 0.0]])
    ones = np.ones((1, 1), np.float32)
    for bilinear in (True, False):
        _, usable = sample(
            ones, ones > 0, Tile(0, 1, 0, 1), (1, 1), x, np.zeros_like(x), bilinear=bilinear
        )
        assert usable.tolist() == [[False, True]]


def test_longitudes_of_0_to_360_meet_those_of_180():
    wkt = CRS.from_epsg(4326).to_wkt()
    mercator = CRS.from_epsg(3857).to_wkt()
    source = Grid(wkt, Affine(1, 0, 200, 0, -1, 10), (20, 120))
    target = Grid(mercator, Affine(50000, 0, -1e7, 0, -50000, 5e5), (20, 60))
    x, _ = coordinate_map(target, source).at(Tile(0, 1, 0, 1))
    # -9 975 000 m is -89.607 degrees, which is 270.393.
    assert x[0, 0] == pytest.approx(270.393 - 200 - 0.5, abs=2e-3)


def test_local_crs_is_refused_with_both_grids():
    local = Grid(
        'LOCAL_CS["site",UNIT["metre",1],AXIS["East",EAST],AXIS["North",NORTH]]',
        SOURCE.transform,
        (5, 5),
    )
    with pytest.raises(GridMismatchError, match="no way between two coordinate"):
        coordinate_map(TARGET, local)


MAPS = [
    coordinate_map(TARGET, SOURCE),
    coordinate_map(shifted(-3.3, 2.7, 1.37, (70, 90)), SOURCE),
]


@settings(max_examples=60, deadline=None)
@given(data=st.data(), which=st.integers(0, 1), bilinear=st.booleans())
def test_any_tile_equals_the_same_part_of_the_whole(data, which, bilinear):
    way: CoordinateMap = MAPS[which]
    rng = np.random.default_rng(2)
    values = rng.random(SOURCE.shape).astype(np.float32)
    valid = rng.random(SOURCE.shape) > 0.2
    whole, usable = warp(way, values, valid, way.target.whole, bilinear=bilinear)
    height, width = way.target.shape
    row0 = data.draw(st.integers(0, height - 1))
    col0 = data.draw(st.integers(0, width - 1))
    tile = Tile(
        row0,
        data.draw(st.integers(row0 + 1, height)),
        col0,
        data.draw(st.integers(col0 + 1, width)),
    )
    part, part_usable = warp(way, values, valid, tile, bilinear=bilinear)
    assert part.tobytes() == whole[tile.slices].tobytes()
    assert (part_usable == usable[tile.slices]).all()


def test_pixels_that_coincide_are_a_shift_apart():
    way = coordinate_map(shifted(2 + 1e-7, -3), SOURCE)
    assert way.shift == (-3, 2)
    x, y = way.at(Tile(0, 6, 0, 7))
    assert (x == np.arange(7) + 2).all()
    assert (y[:, 0] == np.arange(6) - 3).all()
    assert coordinate_map(SOURCE, SOURCE).shift == (0, 0)
    others = [shifted(2.5, 3), shifted(2, 3 + 1e-4), shifted(2, 3, scale=2), TARGET]
    assert [coordinate_map(other, SOURCE).shift for other in others] == [None] * 4
