"""Polygons: named, reprojected, burnt alike by any tile; errors that say what to do."""

import json

import numpy as np
import pyogrio
import pyproj
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from geoforecast.errors import GridMismatchError, InputError
from geoforecast.raster import polygons
from geoforecast.raster.grid import Grid, Tile
from geoforecast.raster.polygons import Region, inside, rasterise, read_polygons

UTM = pyproj.CRS.from_epsg(32633).to_wkt()
GRID = Grid(UTM, Affine(10, 0, 500000, 0, -10, 5200000), (30, 40))


def box(col0, row0, col1, row1):
    """A rectangle of whole pixels of GRID."""
    return shapely.box(
        500000 + 10 * col0, 5200000 - 10 * row1, 500000 + 10 * col1, 5200000 - 10 * row0
    )


def write(path, shapes, crs="EPSG:32633", **fields):
    """A file of polygons."""
    columns = [np.array(values, dtype=object) for values in fields.values()]
    kinds = {".gpkg": "GPKG", ".geojson": "GeoJSON", ".shp": "ESRI Shapefile", ".fgb": "FlatGeobuf"}
    pyogrio.raw.write(
        path,
        np.array([None if s is None else shapely.to_wkb(s) for s in shapes], dtype=object),
        columns,
        list(fields),
        driver=kinds[path.suffix],
        geometry_type="Unknown",
        crs=crs,
    )
    return path


@pytest.mark.parametrize("ending", [".gpkg", ".geojson", ".fgb"])
def test_polygons_come_named_and_in_pixels(tmp_path, ending):
    path = write(
        tmp_path / f"z{ending}", [box(2, 3, 5, 7), box(10, 0, 40, 2)], name=["wood", "lake"]
    )
    # FlatGeobuf keeps an order of its own.
    found = sorted(read_polygons(path, GRID), key=lambda one: one.name, reverse=True)
    assert [one.name for one in found] == ["wood", "lake"]
    expected = np.zeros((30, 40), int)
    expected[3:7, 2:5], expected[0:2, 10:40] = 1, 2
    np.testing.assert_array_equal(rasterise(found, GRID, GRID.whole), expected)


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"ID": ["7", "8"], "other": ["a", "b"]}, ["7", "8"]),
        ({"Name": ["n", "m"], "id": ["7", "8"]}, ["n", "m"]),
        ({"soil": ["clay", "sand"]}, ["clay", "sand"]),
        ({"soil": ["clay", None]}, ["clay", "2"]),
        ({"name": ["same", "same"]}, ["same"]),
        ({}, ["1", "2"]),
    ],
)
def test_names_are_found(tmp_path, fields, names):
    path = write(tmp_path / "z.gpkg", [box(0, 0, 2, 2), box(4, 4, 8, 8)], **fields)
    found = read_polygons(path, GRID)
    assert [one.name for one in found] == names
    assert sum(one.geometry.area for one in found) == (4 + 16) * 100


def test_numbers_are_names_without_decimals(tmp_path):
    path = tmp_path / "z.geojson"
    feature = {
        "type": "Feature",
        "properties": {"id": 12},
        "geometry": shapely.geometry.mapping(shapely.box(14, 46, 16, 48)),
    }
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    assert [one.name for one in read_polygons(path, GRID)] == ["12"]


def test_a_polygon_in_degrees_lands_on_its_pixels(tmp_path):
    # The corner pixel's centre and its neighbours', in longitudes and latitudes.
    way = pyproj.Transformer.from_crs(32633, 4326, always_xy=True)
    corners = [
        way.transform(500000 + 10 * c, 5200000 - 10 * r)
        for c, r in ((4, 5), (9, 5), (9, 8), (4, 8))
    ]
    path = write(tmp_path / "z.geojson", [shapely.Polygon(corners)], crs="EPSG:4326", name=["a"])
    mask = inside(read_polygons(path, GRID)[0].geometry, GRID, GRID.whole)
    expected = np.zeros((30, 40), bool)
    expected[5:8, 4:9] = True
    np.testing.assert_array_equal(mask, expected)


def test_long_edges_bend_with_the_projection(tmp_path):
    """A parallel is a curve in UTM: 5 degrees from the middle 15 km north of the straight line."""
    grid = Grid(UTM, Affine(1000, 0, 200000, 0, -1000, 5700000), (600, 600))
    path = write(tmp_path / "z.geojson", [shapely.box(11, 47, 19, 50)], crs="EPSG:4326", name=["a"])
    mask = inside(read_polygons(path, grid)[0].geometry, grid, grid.whole)
    way = pyproj.Transformer.from_crs(32633, 4326, always_xy=True)
    y, x = np.mgrid[:600, :600]
    lon, lat = way.transform(200500 + 1000 * x, 5699500 - 1000 * y)
    truth = (lon > 11) & (lon < 19) & (lat > 47) & (lat < 50)
    assert truth.sum() > 100_000
    assert (mask != truth).sum() < 20  # of 360 000


def test_polygons_far_away_do_not_matter(tmp_path):
    """The other side of the world has no place in UTM; that is no error of this raster's."""
    shapes = [shapely.box(14, 46, 16, 48), shapely.box(-160, -60, -100, -20)]
    path = write(tmp_path / "z.gpkg", shapes, crs="EPSG:4326", name=["here", "there"])
    assert [one.name for one in read_polygons(path, GRID)] == ["here"]


@settings(deadline=None)
@given(st.integers(0, 29), st.integers(0, 39), st.integers(1, 30), st.integers(1, 40))
def test_any_tile_burns_the_same(row, col, height, width):
    tile = Tile(row, min(30, row + height), col, min(40, col + width))
    regions = [Region("a", box(3, 3, 20, 20).buffer(7.3)), Region("b", box(15, 10, 39, 29))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(polygons, "LATTICE_PX", 8)
        whole = rasterise(regions, GRID, GRID.whole)
        np.testing.assert_array_equal(rasterise(regions, GRID, tile), whole[tile.slices])


def test_the_first_of_two_that_overlap_counts():
    regions = [Region("a", box(0, 0, 10, 10)), Region("b", box(5, 5, 20, 20))]
    found = rasterise(regions, GRID, GRID.whole)
    assert found[7, 7] == 1
    assert found[15, 15] == 2
    assert inside(regions[1].geometry, GRID, GRID.whole)[7, 7]


def test_holes_stay_open():
    ring = box(0, 0, 10, 10).difference(box(4, 4, 6, 6))
    mask = inside(ring, GRID, GRID.whole)
    assert not mask[5, 5]
    assert mask.sum() == 96


BOWTIE = shapely.Polygon(
    [(500000, 5200000), (500100, 5199900), (500100, 5200000), (500000, 5199900)]
)


@pytest.mark.parametrize(
    ("shapes", "crs", "message"),
    [
        ([BOWTIE], "EPSG:32633", "Polygon 1 .* is not valid.*\n.*Self-intersection"),
        ([shapely.Point(500000, 5200000)], "EPSG:32633", "is a Point, no polygon"),
        ([None], "EPSG:32633", "has no geometry"),
        ([box(100, 100, 110, 110)], "EPSG:32633", "No polygon of z.gpkg touches the raster"),
        ([box(0, 0, 9, 9)], None, "has no CRS"),
        ([], "EPSG:32633", "holds no polygon"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, shapes, crs, message):
    with pytest.warns(UserWarning, match="crs") if crs is None else pytest.MonkeyPatch.context():
        path = write(tmp_path / "z.gpkg", shapes, crs=crs, name=["a"] * len(shapes))
    with pytest.raises(InputError, match=f"(?s){message}") as error:
        read_polygons(path, GRID)
    assert error.value.remedy


def test_files_that_are_no_polygons_are_named(tmp_path):
    with pytest.raises(InputError, match="There is no file"):
        read_polygons(tmp_path / "gone.gpkg", GRID)
    (tmp_path / "z.csv").write_text("a,b\n")
    with pytest.raises(InputError, match=r"Give one of \.gpkg"):
        read_polygons(tmp_path / "z.csv", GRID)
    (tmp_path / "z.gpkg").write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot be read as polygons"):
        read_polygons(tmp_path / "z.gpkg", GRID)
    other = write(tmp_path / "y.geojson", [box(0, 0, 9, 9)], name=["a"])
    other.rename(tmp_path / "y.gpkg")
    with pytest.raises(InputError, match="is not what its name says: GeoJSON"):
        read_polygons(tmp_path / "y.gpkg", GRID)


def test_a_raster_without_a_crs_takes_no_polygons(tmp_path):
    path = write(tmp_path / "z.gpkg", [box(0, 0, 9, 9)], name=["a"])
    with pytest.raises(GridMismatchError, match="raster has no CRS"):
        read_polygons(path, Grid("", GRID.transform, GRID.shape))
