"""Slope and aspect: against planes on the ellipsoid, and against GDAL."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import Geod
from rasterio.crs import CRS
from rasterio.warp import transform as to_crs

from geoforecast.raster.grid import Grid, Tile
from geoforecast.stack.derived.terrain import PixelMetres, metres_of, slope_and_aspect

UTM = Affine(30.0, 0.0, 500000.0, 0.0, -30.0, 5200000.0)


def grid_of(crs: str, transform: Affine = UTM, shape: tuple[int, int] = (23, 29)) -> Grid:
    return Grid(CRS.from_user_input(crs).to_wkt(), transform, shape)


def computed(
    z: np.ndarray, grid: Grid, valid: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Slope and aspect of an elevation that reaches one pixel beyond the grid."""
    valid = np.isfinite(z) if valid is None else valid
    return slope_and_aspect(z.astype(np.float32), valid, PixelMetres(grid), grid.whole)


def plane(grid: Grid, east: float, north: float, true_north: bool = True) -> np.ndarray:
    """An elevation that rises by so much for every metre east and north of the grid's middle."""
    height, width = grid.shape
    col, row = np.meshgrid(np.arange(-1, width + 1) + 0.5, np.arange(-1, height + 1) + 0.5)
    x, y = grid.transform @ (col, row)
    if not true_north:
        return east * (x - x.mean()) + north * (y - y.mean())
    lon, lat = to_crs(grid.crs, "EPSG:4326", x.ravel(), y.ravel())
    lon, lat = np.reshape(lon, x.shape), np.reshape(lat, x.shape)
    middle = lon[height // 2, width // 2], lat[height // 2, width // 2]
    azimuth, _, metres = Geod(ellps="WGS84").inv(
        np.full(lon.shape, middle[0]), np.full(lat.shape, middle[1]), lon, lat
    )
    angle = np.radians(azimuth)
    return metres * (east * np.sin(angle) + north * np.cos(angle))


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:32633", UTM),
        ("EPSG:32633", Affine(30, 0, 800000, 0, -30, 8000000)),  # far off, north leans by 7 deg
        ("EPSG:3857", Affine(60, 0, 1.2e6, 0, -60, 8.4e6)),  # 60 N: a metre there is half a one
        ("EPSG:4326", Affine(0.0005, 0, 10, 0, -0.0003, 61)),
        ("EPSG:4326", Affine(0.0005, 0, 179.993, 0, 0.0003, -61)),  # south-up
        ("EPSG:3832", Affine(60, 0, 3339074.72, 0, -60, 4e6)),  # node at 180 E
        ("+proj=sinu +R=6371007.181", Affine(463.3, 0, -3.6e6, 0, -463.3, 5.1e6)),  # rows lean
        ("EPSG:32633", UTM @ Affine.rotation(25)),
    ],
    ids=[
        "utm",
        "utm-edge",
        "mercator",
        "degrees",
        "south-up",
        "antimeridian",
        "sinusoidal",
        "rotated",
    ],
)
@pytest.mark.parametrize(("east", "north"), [(0.3, 0.0), (0.0, -0.2), (-0.1, 0.25)])
def test_a_plane_has_its_slope_and_faces_its_fall(crs, transform, east, north) -> None:
    grid = grid_of(crs, transform)
    layers, valid = computed(plane(grid, east, north), grid)
    assert valid.all()
    slope = np.degrees(np.arctan(np.hypot(east, north)))
    aspect = np.degrees(np.arctan2(-east, -north)) % 360
    # Away from the middle the plane itself turns with the earth; the sphere is not the ellipsoid.
    tolerance = 0.15 if "sinu" in crs else 0.03
    np.testing.assert_allclose(layers[0], slope, atol=tolerance)
    turn = (layers[1] - aspect + 180) % 360 - 180
    assert np.abs(turn).max() < 4 * tolerance


def test_degrees_are_as_long_as_their_latitude_makes_them() -> None:
    """Two degrees a pixel from 71 to 31 north: the same rise is twice as steep at 60 as at 0."""
    grid = grid_of("EPSG:4326", Affine(2.0, 0, 10, 0, -2.0, 71), (20, 10))
    z = np.broadcast_to(1e4 * np.arange(12), (22, 12))
    layers, _ = computed(z, grid)
    latitude = 70 - 2 * np.arange(20.0)
    _, _, metres = Geod(ellps="WGS84").inv(np.zeros(20), latitude, np.full(20, 0.1), latitude)
    expected = np.degrees(np.arctan(1e4 / (20 * metres)))
    np.testing.assert_allclose(layers[0], np.broadcast_to(expected[:, None], (20, 10)), rtol=1e-4)


def test_known_directions() -> None:
    """East of the middle meridian of a zone, falling east is 90, south 180, west 270, north 0."""
    grid = grid_of("EPSG:32633", Affine(30, 0, 499850, 0, -30, 5200000), (5, 9))
    for east, north, expected in [(-1, 0, 90), (0, 1, 180), (1, 0, 270), (0, -1, 0)]:
        layers, _ = computed(plane(grid, east, north, true_north=False), grid)
        assert np.abs((layers[1] - expected + 180) % 360 - 180).max() < 0.01
        assert (layers[1] >= 0).all()
        assert (layers[1] < 360).all()
        np.testing.assert_allclose(layers[0], 45, atol=0.02)


def test_flat_ground_has_no_aspect() -> None:
    layers, valid = computed(np.full((25, 31), 7.0), grid_of("EPSG:32633"))
    assert valid[0].all()
    assert (layers[0] == 0).all()
    assert not valid[1].any()
    assert np.isnan(layers[1]).all()


def test_a_pixel_needs_all_nine() -> None:
    z = plane(grid_of("EPSG:32633"), 0.1, 0.1)
    z[4, 6] = np.nan  # of the padded raster: the grid's pixel 3, 5
    layers, valid = computed(z, grid_of("EPSG:32633"))
    expected = np.ones((23, 29), bool)
    expected[2:5, 4:7] = False
    for layer, usable in zip(layers, valid, strict=True):
        np.testing.assert_array_equal(usable, expected)
        np.testing.assert_array_equal(np.isfinite(layer), expected)


def rough(shape: tuple[int, int]) -> np.ndarray:
    rng = np.random.default_rng(2)
    y, x = np.mgrid[: shape[0], : shape[1]]
    bumps = 60 * np.sin(x / 5) * np.cos(y / 7) + rng.uniform(0, 8, shape)
    return (300 + bumps).astype(np.float32)


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:3857", "EPSG:4326"])
def test_any_tiling_gives_the_same_bits(crs: str) -> None:
    transform = Affine(0.01, 0, 10, 0, -0.01, 61) if crs == "EPSG:4326" else UTM
    grid = grid_of(crs, transform, (61, 83))
    z = rough((63, 85))
    z[20:22, 40] = np.nan
    whole, whole_valid = computed(z, grid)
    metres = PixelMetres(grid)
    for size in (9, 13, 32):
        for tile in grid.tiles(size):
            rows, cols = tile.slices
            part = z[rows.start : rows.stop + 2, cols.start : cols.stop + 2]
            layers, valid = slope_and_aspect(part, np.isfinite(part), metres, tile)
            np.testing.assert_array_equal(layers, whole[:, rows, cols])
            np.testing.assert_array_equal(valid, whole_valid[:, rows, cols])


@pytest.mark.skipif(shutil.which("gdaldem") is None, reason="no gdaldem")
@pytest.mark.parametrize("layer", ["slope", "aspect"])
def test_gdal_agrees_in_the_middle_of_a_zone(tmp_path, write_tif, layer: str) -> None:
    transform = Affine(30, 0, 499000, 0, -30, 5200000)
    z = rough((42, 52))
    path = write_tif(tmp_path / "dem.tif", z, transform=transform, nodata=-9999)
    subprocess.run(
        ["gdaldem", layer, path, tmp_path / "out.tif", "-q"], check=True, capture_output=True
    )
    with rasterio.open(tmp_path / "out.tif") as dataset:
        expected = dataset.read(1)[1:-1, 1:-1]
    grid = grid_of("EPSG:32633", transform @ Affine.translation(1, 1), (40, 50))
    layers, _ = computed(z, grid)
    found = layers[("slope", "aspect").index(layer)]
    # The zone's middle is mapped at 0.9996 of its length, which is 0.01 degrees of slope.
    assert np.abs((found - expected + 180) % 360 - 180).max() < 0.02


def test_a_place_that_no_latitude_has_is_invalid() -> None:
    """Beyond the rim of an orthographic earth there are no metres."""
    grid = grid_of("+proj=ortho +lat_0=0 +lon_0=0", Affine(1e4, 0, 6.2e6, 0, -1e4, 1e5), (20, 30))
    layers, valid = computed(plane(grid, 0.1, 0.1, true_north=False), grid)
    assert valid[0].any()
    assert not valid[0].all()
    assert np.isfinite(layers[valid]).all()


def test_a_crs_that_is_not_on_earth_has_its_own_metres() -> None:
    local = Grid('LOCAL_CS["mine",UNIT["metre",1]]', UTM, (4, 5))
    x = np.arange(-1, 6) * 30.0
    layers, _ = computed(np.broadcast_to(-x, (6, 7)), local)
    np.testing.assert_allclose(layers[0], 45, atol=1e-5)
    np.testing.assert_allclose(layers[1], 90, atol=1e-5)


def test_feet_are_told() -> None:
    assert metres_of("m") == metres_of("") == 1
    assert metres_of("ft") == metres_of(" Feet ") == 0.3048


def test_nodes_reach_beyond_the_tile() -> None:
    metres = PixelMetres(grid_of("EPSG:32633"))
    assert metres.at(Tile(0, 8, 0, 8)).shape == (4, 2, 2)
    assert metres.at(Tile(7, 9, 8, 9)).shape == (4, 3, 2)
