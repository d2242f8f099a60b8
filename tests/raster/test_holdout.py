"""Hold-outs: what is kept out and what lies about it, drawn, saved, read back, refused."""

import json

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS
from scipy.ndimage import label

from geoforecast.errors import InputError, RunError, SettingsError
from geoforecast.raster.grid import Grid
from geoforecast.raster.holdout import (
    FILE,
    HALO,
    HELD_OUT,
    SEEN,
    HoldOut,
    held_out_blocks,
    held_out_regions,
    load_holdout,
)

GRID = Grid(CRS.from_epsg(32633).to_wkt(), Affine(10, 0, 500000, 0, -10, 5200000), (12, 20))


def regions(path, *boxes, crs="EPSG:32633"):
    """A GeoJSON of rectangles, (col0, row0, col1, row1) in pixels of GRID."""
    shapes = []
    for col0, row0, col1, row1 in boxes:
        left, right = 500000 + 10 * col0, 500000 + 10 * col1
        top, bottom = 5200000 - 10 * row0, 5200000 - 10 * row1
        ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
        shapes.append({"type": "Polygon", "coordinates": [ring]})
    features = [{"type": "Feature", "properties": {}, "geometry": shape} for shape in shapes]
    content = {"type": "FeatureCollection", "features": features}
    content["crs"] = {"type": "name", "properties": {"name": crs}}
    path.write_text(json.dumps(content))
    return path


def test_regions_and_their_halo(tmp_path):
    found = held_out_regions(regions(tmp_path / "z.geojson", (2, 3, 5, 7), (18, 0, 20, 1)), GRID, 1)
    expected = np.full((12, 20), SEEN)
    expected[2:8, 1:6], expected[0:2, 17:20] = HALO, HALO
    expected[3:7, 2:5], expected[0:1, 18:20] = HELD_OUT, HELD_OUT
    np.testing.assert_array_equal(found.labels, expected)
    np.testing.assert_array_equal(found.hidden, expected != SEEN)
    # 12 and 2 pixels; 18 and 4 about them.
    assert found.describe() == "14 pixels are held out and 22 about them; 204 are learned from"


def test_regions_that_cover_nothing_or_all(tmp_path):
    path = tmp_path / "z.geojson"
    with pytest.raises(InputError, match="cover no pixel") as error:
        held_out_regions(regions(path, (2.6, 3.6, 3.4, 4.4)), GRID, 0)
    assert "--holdout-region" in str(error.value)
    with pytest.raises(InputError, match="touches the raster"):
        held_out_regions(regions(path, (100, 100, 110, 110)), GRID, 0)
    with pytest.raises(InputError, match="leaves no pixel to learn from") as error:
        held_out_regions(regions(path, (-1, -1, 30, 30)), GRID, 0)
    assert "all pixels are held out" in str(error.value)
    with pytest.raises(InputError, match="leaves no pixel") as error:
        held_out_regions(regions(path, (8, 4, 12, 8)), GRID, 9)
    assert "7% of the pixels" in str(error.value)  # 16 of 240
    assert "--holdout-halo" in str(error.value)


def test_regions_without_a_crs(tmp_path):
    content = "0 0 m\n"
    path = tmp_path / "z.txt"
    path.write_text(content)
    with pytest.raises(InputError, match="no file of polygons"):
        held_out_regions(path, GRID, 0)
    import pyogrio
    import shapely

    path = tmp_path / "z.gpkg"
    shapes = np.array([shapely.to_wkb(shapely.box(500000, 5199900, 500100, 5200000))], dtype=object)
    with pytest.warns(UserWarning, match="crs"):
        pyogrio.raw.write(path, shapes, [], [], driver="GPKG", geometry_type="Polygon")
    with pytest.raises(InputError, match="has no CRS"):
        held_out_regions(path, GRID, 0)


@given(
    st.tuples(st.integers(5, 60), st.integers(5, 60)), st.integers(1, 40), st.integers(0, 2**32 - 1)
)
def test_blocks_are_as_many_as_asked_and_a_fifth_at_most(shape, count, seed):
    try:
        found = held_out_blocks(count, shape, seed, 0)
    except SettingsError:
        assert count > 0.2 * shape[0] * shape[1] or count > min(shape)
        return
    held = found.labels == HELD_OUT
    assert 0 < held.mean() <= 0.2
    assert label(held)[1] <= count  # neighbours may touch
    np.testing.assert_array_equal(found.labels, held_out_blocks(count, shape, seed, 0).labels)


def test_blocks_spread_and_follow_the_seed():
    found = held_out_blocks(4, (40, 40), 0, 0).labels == HELD_OUT
    # 320 pixels shared by 4 are squares of 8; one in each quarter.
    quarters = [found[r : r + 20, c : c + 20].sum() for r in (0, 20) for c in (0, 20)]
    assert quarters == [64] * 4
    other = held_out_blocks(4, (40, 40), 1, 0).labels == HELD_OUT
    assert (found != other).any()


def test_too_many_blocks():
    with pytest.raises(SettingsError, match="--holdout-blocks 21") as error:
        held_out_blocks(21, (10, 10), 0, 0)
    assert "at most 20" in str(error.value)
    assert (held_out_blocks(20, (10, 10), 0, 0).labels == HELD_OUT).sum() == 20
    with pytest.raises(InputError, match="--holdout-blocks 4 leaves no pixel"):
        held_out_blocks(4, (10, 10), 0, 9)


def test_what_is_saved_is_read_and_seen_in_a_gis(tmp_path):
    found = held_out_blocks(3, GRID.shape, 0, 1)
    found.save(tmp_path, GRID)
    np.testing.assert_array_equal(load_holdout(tmp_path, found.digest, GRID).labels, found.labels)
    with rasterio.open(tmp_path / FILE) as dataset:
        assert dataset.crs.to_epsg() == 32633
        assert dataset.transform == GRID.transform
        assert dataset.nodata == 255
        np.testing.assert_array_equal(dataset.read(1), found.labels)


def test_a_hold_out_that_is_gone_changed_or_of_another_place(tmp_path):
    folder = tmp_path / "default.fold1of2"
    folder.mkdir()
    found = held_out_blocks(3, GRID.shape, 0, 1)
    with pytest.raises(RunError, match="cannot be read") as error:
        load_holdout(folder, found.digest, GRID)
    assert "geoforecast train --run default --fold 1/2 --overwrite" in str(error.value)
    HoldOut(np.roll(found.labels, 1, axis=0)).save(folder, GRID)
    with pytest.raises(RunError, match="has been changed"):
        load_holdout(folder, found.digest, GRID)
    found.save(folder, GRID)
    moved = Grid(GRID.wkt, GRID.transform @ Affine.translation(1, 0), GRID.shape)
    with pytest.raises(RunError, match="another grid"):
        load_holdout(folder, found.digest, moved)
