"""Outlines on the globe: every pixel inside, none beside, across the antimeridian and the poles."""

from itertools import pairwise

import numpy as np
import pytest
from affine import Affine
from pyproj import CRS, Transformer

from geoforecast.raster.globe import footprint
from geoforecast.raster.grid import Grid

SINUSOIDAL = "+proj=sinu +lon_0=0 +R=6371007.181 +units=m +no_defs"
TILE = 1111950.5197  # side of a tile of MODIS in metres


def grid(crs, transform, shape=(50, 60)):
    return Grid(CRS.from_user_input(crs).to_wkt("WKT1_GDAL"), Affine(*transform), shape)


def rings(geometry):
    parts = geometry["coordinates"]
    polygons = [parts] if geometry["type"] == "Polygon" else parts
    assert all(len(polygon) == 1 for polygon in polygons)
    return [np.array(polygon[0]) for polygon in polygons]


def inside(geometry, lon, lat):
    """Ray casting to the east, in each ring."""
    found = False
    for ring in rings(geometry):
        for (x0, y0), (x1, y1) in pairwise(ring):
            if (y0 > lat) != (y1 > lat) and lon < x0 + (lat - y0) * (x1 - x0) / (y1 - y0):
                found = not found
    return found


def at(g, cols, rows):
    x, y = zip(*(g.transform @ (c, r) for c, r in zip(cols, rows, strict=True)), strict=True)
    return Transformer.from_crs(g.wkt, "OGC:CRS84", always_xy=True).transform(x, y)


GRIDS = {
    "utm": grid(32633, (100, 0, 5e5, 0, -100, 5.2e6)),
    "south-up": grid(32633, (100, 0, 5e5, 0, 100, 5.2e6)),
    "rotated": grid(32633, (80, 60, 5e5, 60, -80, 5.2e6)),
    "degrees": grid(4326, (0.5, 0, 10, 0, -0.5, 60)),
    "over-the-antimeridian": grid(4326, (0.5, 0, 165, 0, -0.5, 60)),
    "from-0-to-360": grid(4326, (0.5, 0, 190, 0, -0.5, 60)),
    "utm-over-the-antimeridian": grid(32660, (10000, 0, 4e5, 0, -10000, 7.2e6)),
    "world": grid(4326, (6, 0, -180, 0, -3.6, 90)),
    "world-from-0": grid(4326, (6, 0, 0, 0, -3, 75)),
    "north": grid(3413, (50000, 0, -1.2e6, 0, -50000, 1.3e6)),
    "north-across": grid(3413, (60000, 0, -1e6, 0, 60000, -2e6)),
    "south": grid(3031, (100000, 0, -3e6, 0, -100000, 2.2e6)),
    "beside-the-pole": grid(3413, (20000, 0, 1e5, 0, -20000, 9e5)),
    "modis": grid(SINUSOIDAL, (TILE / 60, 0, 0, 0, -TILE / 50, 4 * TILE)),
}


@pytest.mark.parametrize("name", GRIDS)
def test_every_pixel_lies_inside_and_nothing_else(name):
    g = GRIDS[name]
    found = footprint(g)
    rng = np.random.default_rng(3)
    height, width = g.shape
    # Not within a tenth of a pixel of the edge, which outlines may miss by that much.
    lon, lat = at(g, rng.uniform(0.1, width - 0.1, 200), rng.uniform(0.1, height - 0.1, 200))
    west, south, east, north = found.bbox
    for x, y in zip(lon, lat, strict=True):
        x = (x + 180) % 360 - 180
        assert inside(found.geometry, x, y), (x, y)
        assert south <= y <= north
        assert west <= x <= east if west <= east else (x >= west or x <= east)
    back = Transformer.from_crs("OGC:CRS84", g.wkt, always_xy=True)
    for x, y in zip(rng.uniform(-180, 180, 500), rng.uniform(-89, 89, 500), strict=True):
        col, row = ~g.transform @ back.transform(x, y)
        if CRS.from_wkt(g.wkt).is_geographic:
            turn = 360 / g.transform.a
            col %= turn
        margin = 0.1
        is_in = margin < col < width - margin and margin < row < height - margin
        is_out = not (-margin < col < width + margin and -margin < row < height + margin)
        if is_in or is_out:
            assert inside(found.geometry, x, y) == is_in, (x, y, col, row)


@pytest.mark.parametrize("name", GRIDS)
def test_rings_are_closed_counterclockwise_and_on_the_globe(name):
    found = footprint(GRIDS[name])
    for ring in rings(found.geometry):
        assert ring[0].tolist() == ring[-1].tolist()
        assert len(ring) >= 4
        x, y = ring.T
        assert (x[:-1] * y[1:] - x[1:] * y[:-1]).sum() > 0
        assert x.min() >= -180
        assert x.max() <= 180
        assert np.abs(y).max() <= 90
        assert np.abs(np.diff(x)).max() <= 180 or name.startswith(("north", "south"))


def test_boxes_are_as_the_standard_has_them():
    assert footprint(GRIDS["degrees"]).bbox == (10, 35, 40, 60)
    across = footprint(GRIDS["over-the-antimeridian"])
    assert across.bbox == (165, 35, -165, 60)  # west is the greater: RFC 7946, section 5.2
    assert across.geometry["type"] == "MultiPolygon"
    assert [(r[:, 0].min(), r[:, 0].max()) for r in rings(across.geometry)] == [
        (165, 180),
        (-180, -165),
    ]
    assert footprint(GRIDS["from-0-to-360"]).bbox == (-170, 35, -140, 60)
    assert footprint(GRIDS["world"]).bbox == (-180, -90, 180, 90)
    assert footprint(GRIDS["world-from-0"]).bbox == (-180, -75, 180, 75)
    north, south = footprint(GRIDS["north"]).bbox, footprint(GRIDS["south"]).bbox
    assert (north[0], north[2], north[3]) == (-180, 180, 90)
    assert (south[0], south[1], south[2]) == (-180, -90, 180)


def test_curved_edges_are_followed_and_straight_ones_take_few_points():
    assert len(rings(footprint(GRIDS["degrees"]).geometry)[0]) <= 17
    assert len(rings(footprint(GRIDS["north"]).geometry)[0]) > 100
    # Along the northern edge of a wide UTM raster latitudes bulge.
    wide = grid(32633, (10000, 0, 2e5, 0, -10000, 7e6), (10, 60))
    ring = rings(footprint(wide).geometry)[0]
    assert ring[:, 1].max() > max(at(wide, [0, 60], [0, 0])[1]) + 0.05


def test_edges_beyond_the_world_leave_the_box_of_what_lies_in_it():
    # At 60 degrees north half of a circle of latitude is 10 007 km long, 9 tiles of MODIS; at 50
    # degrees 11.57. Columns go on to 11 tiles, so the upper right lies beyond the world.
    edge = grid(SINUSOIDAL, (TILE / 60, 0, 10 * TILE, 0, -TILE / 50, 6 * TILE))
    found = footprint(edge)
    lon = np.array([10, 11]) * TILE / (6371007.181 * np.cos(np.radians(50))) * 180 / np.pi
    west, south, east, north = found.bbox
    assert (west, south) == pytest.approx((lon[0], 50), abs=0.3)
    assert east == pytest.approx(180, abs=0.5)
    # 180 degrees of longitude are 10 tiles long where cos(latitude) is 10 / 18.
    assert north == pytest.approx(np.degrees(np.arccos(10 / 18)), abs=0.3)


def test_a_map_that_is_continued_over_its_edge_goes_on_beyond_the_antimeridian():
    fiji = grid(3857, (5000, 0, 19.9e6, 0, -5000, -1.7e6))
    found = footprint(fiji)
    assert found.geometry["type"] == "MultiPolygon"
    # x of 180 degrees is 20 037 508 m; 19.9e6 m are 178.764 degrees, 20.2e6 m -178.540.
    assert found.bbox[::2] == pytest.approx((178.7648, -178.5403), abs=1e-3)


def test_a_full_disc_gets_the_box_of_what_is_seen():
    disc = grid("+proj=geos +h=35785831 +lon_0=0 +sweep=y", (2e5, 0, -6e6, 0, -2e5, 6e6), (60, 60))
    west, south, east, north = footprint(disc).bbox
    assert -82 < west < -75
    assert 75 < east < 82
    assert -82 < south < -75
    assert 75 < north < 82


def test_middles_of_pixels_on_the_poles_are_no_reason_to_lose_the_outline():
    world = grid(4326, (3, 0, -1.5, 0, -3, 91.5), (61, 120))
    assert footprint(world).bbox == (-180, -90, 180, 90)
    part = grid(4326, (3, 0, 10, 0, -3, 91.5), (10, 20))
    assert footprint(part).bbox == (10, 61.5, 70, 90)


def test_what_has_no_place_on_the_globe_has_no_outline():
    assert footprint(Grid("", Affine(1, 0, 0, 0, -1, 0), (5, 5))) is None
    local = 'LOCAL_CS["site",UNIT["metre",1]]'
    assert footprint(Grid(local, Affine(1, 0, 0, 0, -1, 0), (5, 5))) is None
    nowhere = grid(SINUSOIDAL, (1, 0, 1e9, 0, -1, 1e9))
    assert footprint(nowhere) is None
