"""Static layers: warped onto the cube's grid, with slope and aspect, the same for any tiling."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import rasterio
import zarr
from affine import Affine

from geoforecast.errors import GeoforecastError, GridMismatchError, InputError, SettingsError
from geoforecast.raster import layers as store
from geoforecast.raster.cube import open_cube
from geoforecast.raster.geotiff import gdal_session
from geoforecast.raster.grid import Grid, Tile
from geoforecast.raster.layers import read_static
from geoforecast.settings import StackSettings
from geoforecast.stack.derived import static as layers
from geoforecast.stack.derived.static import check_layers, layer_files, plan_static, write_layers
from geoforecast.stack.derived.terrain import PixelMetres, slope_and_aspect

SHAPE = (40, 50)
X0, Y0 = 500000.0, 5200000.0  # of make_project's cube, with pixels of 10 m


@pytest.fixture
def cube(make_project):
    """A cube of 40 x 50 pixels, or another shape."""

    def make(shape: tuple[int, int] = SHAPE):
        return open_cube(make_project(np.zeros((8, 1, *shape), np.float32)).cube_path)

    return make


def settings(*files, **others) -> StackSettings:
    return StackSettings(static=tuple(str(file) for file in files), **others)


def made(cube, chosen: StackSettings, jobs: int = 2) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    write_layers(cube.path, cube.grid, chosen, jobs)
    names, values, valid = read_static(cube.path)
    return {name: (values[i], valid[i]) for i, name in enumerate(names)}


def moved(left_px: float, up_px: float, size: float = 10.0) -> Affine:
    """A grid that begins so many cube pixels left of and above the cube."""
    return Affine(size, 0, X0 - 10 * left_px, 0, -size, Y0 + 10 * up_px)


def hills(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    return (500 + 40 * np.sin(x / 9) * np.cos(y / 6) + rng.uniform(0, 5, shape)).astype("f4")


def test_a_file_on_the_same_grid_is_copied(tmp_path, write_tif, cube) -> None:
    here = cube()
    z = hills(SHAPE)
    z[3, 4] = -9999
    z[5, 6] = np.nan
    path = write_tif(tmp_path / "my dem.tif", z, nodata=-9999, units="m")
    found, valid = made(here, settings(path))["my_dem"]
    expected = (z != -9999) & np.isfinite(z)
    np.testing.assert_array_equal(valid, expected)
    np.testing.assert_array_equal(found, np.where(expected, z, np.nan))
    content = zarr.open_group(here.path, mode="r")["static"].attrs["geoforecast"]
    assert content["units"] == ["m"]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert content["sources"] == [{"file": "my dem.tif", "layers": ["my_dem"], "sha256": digest}]


def test_each_band_is_a_layer_in_physical_units(tmp_path, write_tif, cube) -> None:
    raw = np.stack([np.full(SHAPE, 30), np.full(SHAPE, 70), np.full(SHAPE, 9)]).astype(np.int16)
    path = write_tif(
        tmp_path / "soil.tif", raw, descriptions=("clay", "clay", ""), scale=0.1, offset=-1
    )
    found = made(cube(), settings(path))
    assert list(found) == ["soil_clay", "soil_clay_2", "soil_band_3"]
    assert [round(float(values[0, 0]), 5) for values, _ in found.values()] == [2.0, 6.0, -0.1]


def test_numbers_are_bilinear_and_reach_as_far_as_the_file(tmp_path, write_tif, cube) -> None:
    """On a plane bilinear is exact; half a pixel off, every result is between two."""
    y, x = np.mgrid[:30, :70]
    path = write_tif(
        tmp_path / "dem.tif", (2.0 * x + 3.0 * y).astype("f4"), transform=moved(4.5, 2.5)
    )
    found, valid = made(cube(), settings(path))["dem"]
    row, col = np.mgrid[: SHAPE[0], : SHAPE[1]]
    np.testing.assert_array_equal(valid, row + 2.5 < 29.5)
    expected = 2.0 * (col + 4.5) + 3.0 * (row + 2.5)
    inside = row + 2.5 <= 29
    np.testing.assert_allclose(found[inside], expected[inside], rtol=1e-6)


def test_a_much_finer_file_is_averaged(tmp_path, write_tif, cube) -> None:
    z = hills((160, 200))  # 2.5 m, so that 4 x 4 pixels fall into one
    path = write_tif(tmp_path / "dem.tif", z, transform=moved(0, 0, 2.5))
    found, valid = made(cube(), settings(path))["dem"]
    assert valid.all()
    blocks = z.reshape(40, 4, 50, 4).astype(np.float64).mean(axis=(1, 3))
    np.testing.assert_allclose(found, blocks, rtol=1e-6)
    twice = write_tif(tmp_path / "twice.tif", z[:80, :100], transform=moved(0, 0, 5))
    found, _ = made(cube(), settings(twice))["twice"]  # just twice: not over
    # Two by two pixels meet in the middle of each: bilinear is their mean as well.
    blocks = z[:80, :100].reshape(40, 2, 50, 2).astype(np.float64).mean(axis=(1, 3))
    np.testing.assert_allclose(found, blocks, rtol=1e-6)


def codes(shape: tuple[int, int], dtype: str) -> np.ndarray:
    return np.random.default_rng(4).choice([1, 40, 200], shape).astype(dtype)


def test_bytes_are_classes_unless_they_have_a_scale(tmp_path, write_tif, cube) -> None:
    raw = codes((60, 70), "uint8")
    place = {"transform": moved(4.4, 2.3)}
    cover = write_tif(tmp_path / "cover.tif", raw, **place)
    trees = write_tif(tmp_path / "trees.tif", raw, scale=0.5, **place)
    wide = write_tif(tmp_path / "wide.tif", raw.astype("int16"), **place)
    found = made(cube(), settings(cover, trees, wide))
    assert set(np.unique(found["cover"][0])) == {1, 40, 200}
    row, col = np.mgrid[: SHAPE[0], : SHAPE[1]]
    np.testing.assert_array_equal(found["cover"][0], raw[row + 2, col + 4])
    assert len(np.unique(found["wide"][0])) > 50
    np.testing.assert_allclose(found["trees"][0], found["wide"][0] / 2, rtol=1e-6)


def test_a_palette_means_classes(tmp_path, write_tif, cube) -> None:
    path = write_tif(tmp_path / "soil.tif", codes((60, 70), "uint16"), transform=moved(4.4, 2.3))
    with rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, {1: (9, 9, 9), 40: (8, 8, 8), 200: (7, 7, 7)})
    assert set(np.unique(made(cube(), settings(path))["soil"][0])) == {1, 40, 200}


def test_resampling_is_as_asked_for_but_classes_stay_codes(tmp_path, write_tif, cube) -> None:
    cover = write_tif(tmp_path / "cover.tif", codes((60, 70), "uint8"), transform=moved(4.4, 2.3))
    z = hills((60, 70))
    dem = write_tif(tmp_path / "dem.tif", z, transform=moved(4.4, 2.3))
    row, col = np.mgrid[: SHAPE[0], : SHAPE[1]]
    found = made(cube(), settings(cover, dem, resampling="nearest"))
    np.testing.assert_array_equal(found["dem"][0], z[row + 2, col + 4])
    found = made(cube(), settings(cover, dem, resampling="cubic"))
    assert set(np.unique(found["cover"][0])) == {1, 40, 200}
    assert not np.array_equal(found["dem"][0], z[row + 2, col + 4])


def test_another_crs_is_warped(tmp_path, write_tif, cube) -> None:
    """A plane over longitudes, brought to UTM: its values are the longitudes there."""
    here = cube()
    x, y = np.meshgrid(X0 + 10 * (np.arange(50) + 0.5), Y0 - 10 * (np.arange(40) + 0.5))
    lon, _ = rasterio.warp.transform("EPSG:32633", "EPSG:4326", x.ravel(), y.ravel())
    left, top, size = min(lon) - 0.002, 47.0, 0.0001
    columns = left + size * (np.arange(200) + 0.5) - 15
    z = np.broadcast_to(columns, (800, 200)).astype("f4")
    path = write_tif(
        tmp_path / "lon.tif", z, crs="EPSG:4326", transform=Affine(size, 0, left, 0, -size, top)
    )
    found, valid = made(here, settings(path))["lon"]
    assert valid.all()
    np.testing.assert_allclose(found, np.reshape(lon, SHAPE) - 15, atol=2e-8)


def test_slope_looks_beyond_the_cube_if_the_elevation_reaches_there(
    tmp_path, write_tif, cube
) -> None:
    y, x = np.mgrid[:44, :54]
    z = (3.0 * x + 1.0 * y).astype("f4")  # rises 3 m in 10 m to the east, 1 m to the south
    wide = write_tif(tmp_path / "wide.tif", z, transform=moved(2, 2))
    found = made(cube(), settings(wide, terrain=("aspect", "slope")))
    assert list(found) == ["wide", "aspect", "slope"]
    assert all(valid.all() for _, valid in found.values())
    np.testing.assert_allclose(
        found["slope"][0], np.degrees(np.arctan(np.hypot(0.3, 0.1))), atol=0.01
    )
    np.testing.assert_allclose(
        found["aspect"][0], np.degrees(np.arctan2(-0.3, 0.1)) + 360, atol=0.1
    )
    narrow = write_tif(tmp_path / "narrow.tif", z[2:-2, 2:-2], transform=moved(0, 0))
    found = made(cube(), settings(narrow, terrain=("Aspect",)))
    assert list(found) == ["narrow", "aspect"]
    assert found["aspect"][0][5, 5] == pytest.approx(288.4, abs=0.2)
    np.testing.assert_array_equal(found["narrow"][0], z[2:-2, 2:-2])  # still a copy
    rim = np.ones(SHAPE, bool)
    rim[1:-1, 1:-1] = False
    np.testing.assert_array_equal(found["aspect"][1], ~rim)


def test_feet_count(tmp_path, write_tif, cube) -> None:
    z = np.broadcast_to(10 * np.arange(54, dtype="f4"), (44, 54))
    path = write_tif(tmp_path / "dem.tif", z, transform=moved(2, 2), units="ft")
    found = made(cube(), settings(path, terrain=("slope",)))
    np.testing.assert_allclose(found["slope"][0], np.degrees(np.arctan(0.3048)), atol=0.01)
    assert found["dem"][0][0, 0] == 20  # the layer itself keeps its unit


@pytest.mark.parametrize("size", [7.3, 2.0])
def test_any_tiling_gives_the_bits_of_the_whole(
    tmp_path, write_tif, cube, monkeypatch, size: float
) -> None:
    here = cube((300, 530))
    shape = (round(3400 / size), round(5700 / size))
    z = hills(shape, 3)
    z[200:260, 300:460] = -1
    dem = write_tif(
        tmp_path / "dem.tif", z, transform=moved(15.3, 12.1, size), nodata=-1, tiled=True,
        blockxsize=64, blockysize=64,
    )  # fmt: skip
    cover = write_tif(tmp_path / "cover.tif", codes((350, 560), "uint8"), transform=moved(5, 5.4))
    chosen = settings(dem, cover, terrain=("slope", "aspect"))
    results = []
    for chunk, jobs in ((256, 1), (256, 3), (64, 2), (512, 1)):
        monkeypatch.setattr(layers, "CHUNK_PX", chunk)
        monkeypatch.setattr(store, "CHUNK_PX", chunk)
        results.append(made(here, chosen, jobs))
    # The whole raster's slope in one go, from the elevation on the grid with one pixel around.
    plan = plan_static(chosen)
    all_layers = layers._Layers(here.grid, plan)
    lane = layers.Lane(all_layers.bands)
    with gdal_session():
        around, known = all_layers.warped(Tile(0, 302, 0, 532), lane)
        lane.close()
    whole, _ = slope_and_aspect(around[0], known[0], PixelMetres(here.grid), here.grid.whole)
    for result in results:
        np.testing.assert_array_equal(result["slope"][0], whole[0])
        np.testing.assert_array_equal(result["aspect"][0], whole[1])
        for name, (values, valid) in result.items():
            np.testing.assert_array_equal(values, results[0][name][0])
            np.testing.assert_array_equal(valid, results[0][name][1])
    slope, valid = results[0]["slope"]
    assert 0.5 < valid.mean() < 1
    assert np.isfinite(slope[valid]).all()


def test_sentences_tell_names_and_shares(tmp_path, write_tif, cube) -> None:
    z = hills(SHAPE)
    z[:20] = -1
    path = write_tif(tmp_path / "dem.tif", z, nodata=-1)
    here = cube()
    assert write_layers(here.path, here.grid, settings(path), 1) == (
        "Static layers: dem (50 % valid).",
    )
    assert write_layers(here.path, here.grid, StackSettings(), 1) == ()


def test_an_alpha_band_is_no_layer_but_counts(tmp_path, write_tif, cube) -> None:
    bands = np.stack([np.full(SHAPE, 7), np.full(SHAPE, 255)]).astype("uint8")
    bands[1, :10] = 0
    path = write_tif(tmp_path / "a.tif", bands)
    with rasterio.open(path, "r+") as dataset:
        dataset.colorinterp = [rasterio.enums.ColorInterp.gray, rasterio.enums.ColorInterp.alpha]
    found = made(cube(), settings(path))
    assert list(found) == ["a"]
    assert not found["a"][1][:10].any()
    assert found["a"][1][10:].all()


def test_what_cannot_be_made_is_refused_early(tmp_path, write_tif, make_project, cube) -> None:
    here, project = cube(), make_project(np.zeros((8, 1, 5, 5), np.float32), name="other")
    dem = write_tif(tmp_path / "dem.tif", hills(SHAPE))
    twin = write_tif(tmp_path / "b" / "dem.tif", hills(SHAPE))
    bare = write_tif(tmp_path / "bare.tif", hills(SHAPE), crs=None)
    moon = (
        'GEOGCS["Moon",DATUM["D",SPHEROID["S",1737400,0]],PRIMEM["R",0],'
        'UNIT["degree",0.0174532925199433]]'
    )
    far = write_tif(tmp_path / "far.tif", hills(SHAPE), crs=moon, transform=Affine.scale(0.1, -0.1))
    text = tmp_path / "text.tif"
    text.write_text("no raster")
    wrong: list[tuple[StackSettings, type[GeoforecastError], str]] = [
        (settings(terrain=("slope",)), SettingsError, "--terrain slope needs an elevation"),
        (settings(dem, terrain=("slop",)), SettingsError, r"slop is no layer(.|\n)*'slope'"),
        (settings(dem, twin), SettingsError, "two layers would be called 'dem'"),
        (settings(tmp_path / "gone.tif"), InputError, "gone.tif is no file"),
        (settings(bare), InputError, "no coordinate reference system"),
        (settings(text), InputError, r"text.tif(.|\n)*leave it out of --static"),
        (settings(far), GridMismatchError, "no way between"),
    ]
    for chosen, kind, message in wrong:
        with pytest.raises(kind, match=message):
            check_layers(chosen, here.grid, project, 1)
    check_layers(settings(dem, terrain=("slope",)), here.grid, project, 1)
    assert read_static(here.path) is None


def test_a_file_elsewhere_is_refused(tmp_path, write_tif, cube) -> None:
    here = cube()
    path = write_tif(tmp_path / "dem.tif", hills(SHAPE), transform=moved(-900, 0))
    with pytest.raises(InputError, match="has no valid pixel on the cube's grid"):
        write_layers(here.path, here.grid, settings(path), 1)


def test_files_that_the_content_depends_on(tmp_path, write_tif) -> None:
    dem = write_tif(tmp_path / "dem.tif", hills(SHAPE))
    rain = write_tif(tmp_path / "weather" / "rain_20200101.tif", hills(SHAPE))
    chosen = settings(dem, drivers=(str(tmp_path / "weather"),))
    assert layer_files(chosen) == [dem, rain]
    assert layer_files(StackSettings()) == []


def test_the_grid_around_is_one_pixel_larger() -> None:
    """Its map is that of the cube's grid, shifted; a rotated grid shifts along its own axes."""
    transform = Affine(30, 0, 5e5, 0, -30, 5.2e6) @ Affine.rotation(20)
    wkt = rasterio.crs.CRS.from_epsg(32633).to_wkt()
    grid = layers._around(Grid(wkt, transform, (4, 6)))
    assert grid.shape == (6, 8)
    np.testing.assert_allclose(grid.transform @ (1, 1), transform @ (0, 0))
