"""The target grid: shared, settled by rule, or as the user says."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS

from geoforecast.errors import GridMismatchError, InputError, SettingsError
from geoforecast.raster.grid import Grid
from geoforecast.settings import StackSettings
from geoforecast.stack.grids import target_grid

WKT = CRS.from_epsg(32633).to_wkt()
WKT_32 = CRS.from_epsg(32632).to_wkt()


def grid(left=500000.0, top=5200000.0, res=10.0, shape=(20, 30), wkt=WKT):
    return Grid(wkt, Affine(res, 0, left, 0, -res, top), shape)


def settled(grids, **options):
    return target_grid(grids, StackSettings(**options))[0]


def test_a_shared_grid_is_taken_as_it_is_even_south_up():
    odd = Grid(WKT, Affine(10.1, 0, 3.3, 0, 9.7, 7.7), (5, 7))
    assert settled([odd, odd]) is odd


def test_union_lies_on_the_commonest_lattice():
    a, b = grid(left=500003), grid(left=500103, top=5200050)
    result = settled([a, a, b])
    assert result.transform == Affine(10, 0, 500003, 0, -10, 5200050)
    assert result.shape == (25, 40)


def test_other_lattices_are_snapped_outward():
    result = settled([grid(left=500003), grid(left=500003), grid(left=500008)])
    assert result.transform.c == 500003
    assert result.shape == (20, 31)


def test_commonest_crs_and_median_resolution_each_way():
    grids = [grid(wkt=WKT_32), grid(res=10), grid(res=12), grid(res=30)]
    result, text = target_grid(grids, StackSettings(bounds=(500000, 5199880, 500120, 5200000)))
    assert result.crs.to_epsg() == 32633
    assert result.res == (12, 12)
    assert "of 3 of 4 files" in text


def test_resolution_of_the_users_choice_is_snapped_to_its_multiples():
    result = settled([grid(left=500005, top=5200005)], res=(20.0, 40.0))
    assert result.transform == Affine(20, 0, 500000, 0, -40, 5200040)
    assert result.shape == (6, 16)  # 5199805 -> 5199800; 500305 -> 500320


def test_bounds_that_fit_are_taken_exactly_and_others_snapped():
    fits = settled([grid()], bounds=(500003.0, 5199903.0, 500103.0, 5199993.0))
    assert fits.bounds == (500003.0, 5199903.0, 500103.0, 5199993.0)
    other = settled([grid()], bounds=(500003.0, 5199903.0, 500104.0, 5199994.0))
    assert other.bounds == (500000.0, 5199900.0, 500110.0, 5200000.0)


def test_another_crs_gets_a_resolution_of_its_own():
    result = settled([grid(shape=(100, 100))], crs="EPSG:4326")
    assert result.crs.to_epsg() == 4326
    assert result.res[0] == pytest.approx(10 / 111320 / 0.84, rel=0.2)


def test_like(write_tif, tmp_path):
    path = write_tif(tmp_path / "like.tif", np.zeros((3, 4), np.uint8))
    result = settled([grid()], like=str(path))
    assert result.transform == Affine(10, 0, 500000, 0, -10, 5200000)
    assert result.shape == (3, 4)
    with pytest.raises(SettingsError, match="--like takes a whole grid"):
        settled([grid()], like=str(path), res=(10.0,))
    with pytest.raises(InputError, match="does not exist"):
        settled([grid()], like=str(tmp_path / "no.tif"))
    path = write_tif(tmp_path / "bare.tif", np.zeros((3, 4), np.uint8), crs=None)
    with pytest.raises(GridMismatchError, match="has no coordinate reference system"):
        settled([grid()], like=str(path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crs": "EPSG:999999"}, "--crs EPSG:999999 is no coordinate reference system"),
        ({"res": (0.0,)}, "--res 0.0 is no pixel size"),
        ({"res": (1.0, 2.0, 3.0)}, "is no pixel size"),
        ({"bounds": (1.0, 2.0, 3.0)}, "enclose nothing"),
        ({"bounds": (9.0, 2.0, 3.0, 4.0)}, "enclose nothing"),
    ],
)
def test_impossible_options(options, message):
    with pytest.raises(SettingsError, match=message):
        settled([grid()], **options)


def test_bounds_without_any_scene():
    with pytest.raises(InputError, match="The target grid holds no scene") as caught:
        settled([grid()], bounds=(0.0, 0.0, 100.0, 100.0))
    assert "scenes: 500000, 5199800, 500300, 5200000" in str(caught.value)


def test_absurdly_large_grid():
    with pytest.raises(InputError, match=r"3000000 x 2000000 pixels is too large"):
        settled([grid()], res=(1e-4,))


@pytest.mark.parametrize("options", [{}, {"crs": "EPSG:4326"}])
def test_no_way_between_earth_and_moon(options):
    moon = grid(wkt=CRS.from_proj4("+proj=eqc +R=1737400").to_wkt())
    with pytest.raises(GridMismatchError, match="extent cannot be expressed in the target CRS"):
        settled([grid(), grid(), moon] if not options else [moon], **options)


def test_rotated_scenes_need_an_explicit_target():
    turned = Grid(WKT, grid().transform @ Affine.rotation(20), (20, 30))
    with pytest.raises(GridMismatchError, match="1 of 2 scenes have a rotated grid") as caught:
        settled([turned, grid()])
    assert "gdalwarp" in str(caught.value)
    with pytest.raises(GridMismatchError, match="rotated grid"):
        settled([turned, turned])
    result = settled([turned], crs="EPSG:32633", res=(10.0,))
    assert not result.rotated
    left, bottom, right, top = turned.bounds
    assert result.bounds[0] <= left
    assert result.bounds[3] >= top
    assert result.bounds[1] <= bottom
    assert result.bounds[2] >= right


@given(
    lefts=st.lists(st.integers(-500, 500), min_size=2, max_size=5),
    res=st.sampled_from([0.1, 0.25, 10.0, 231.65635826]),
)
def test_union_holds_every_scene_within_a_pixel(lefts, res):
    grids = [grid(left=left * res / 3, top=left * res / 7, res=res) for left in lefts]
    result = settled(grids)
    left, bottom, right, top = result.bounds
    close = res * 1e-5
    for item in grids:
        a, b, c, d = item.bounds
        assert left <= a + close
        assert bottom <= b + close
        assert right >= c - close
        assert top >= d - close
    widest = max(g.bounds[2] for g in grids) - min(g.bounds[0] for g in grids)
    assert right - left <= widest + 2 * res + close
