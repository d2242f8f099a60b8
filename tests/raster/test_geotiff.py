"""Reading GeoTIFFs: what headers say, which files are refused, COGs written and reopened."""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from geoforecast.errors import SceneError
from geoforecast.raster.cog import CogWriter
from geoforecast.raster.geotiff import (
    Header,
    glimpse,
    not_nodata,
    open_geotiff,
    read_dataset_mask,
    read_header,
    read_pixels,
)
from geoforecast.raster.grid import Grid, Tile


def test_header_tells_all_that_the_file_says(write_tif, tmp_path):
    path = write_tif(
        tmp_path / "a.tif",
        np.ones((2, 3, 4), np.int16),
        nodata=-1,
        descriptions=("red", "nir"),
        scale=0.5,
        offset=-3.0,
        tags={"KEY": "word"},
        units="K",
    )
    header = read_header(path)
    assert header.count == 2
    assert header.dtypes == ("int16", "int16")
    assert header.nodata == (-1, -1)
    assert header.scales == (0.5, 0.5)
    assert header.offsets == (-3.0, -3.0)
    assert header.descriptions == ("red", "nir")
    assert header.units == ("K", "K")
    assert header.tags["KEY"] == "word"
    assert header.grid.shape == (3, 4)
    assert header.grid.crs.to_epsg() == 32633
    assert (header.alpha, header.own_mask) == (0, False)


def test_alpha_band_is_found_and_masks(write_tif, tmp_path):
    pixels = np.full((2, 3, 4), 7, np.uint8)
    pixels[1] = 255
    pixels[1, 0, 0] = 0
    path = write_tif(tmp_path / "a.tif", pixels, photometric="minisblack", alpha="yes")
    header = read_header(path)
    assert header.alpha == 2
    with open_geotiff(path) as dataset:
        mask = read_dataset_mask(dataset, header.grid.whole)
    assert mask.sum() == 11
    assert not mask[0, 0]


@pytest.mark.parametrize(
    ("raw", "nodata", "expected"),
    [
        (np.array([0, 255], np.uint8), 255.0, [True, False]),
        (np.array([0, 255], np.uint8), -1.0, [True, True]),  # uint8 cannot hold -1
        (np.array([0, 1], np.uint8), 0.5, [True, True]),
        (np.array([1.0, np.nan, np.inf], np.float32), None, [True, False, False]),
        (np.array([1.0, 1e20], np.float32), 1e20, [True, False]),  # not exact in float32
        (np.array([1.0, 0.0], np.float32), math.nan, [True, True]),
        (np.array([0, -9999], np.int16), -9999.0, [True, False]),
    ],
)
def test_nodata_is_compared_in_the_files_own_dtype(raw, nodata, expected):
    assert not_nodata(raw, nodata).tolist() == expected


def test_truncated_file_is_refused_by_its_header(write_tif, tmp_path):
    path = write_tif(tmp_path / "a.tif", np.arange(90000, dtype=np.int32).reshape(300, 300))
    path.write_bytes(path.read_bytes()[:200000])
    with pytest.raises(SceneError, match=r"is truncated: 23 of its 50 blocks lie beyond its end"):
        read_header(path)


def test_corrupt_block_is_refused_when_read(write_tif, tmp_path):
    path = corrupted(write_tif, tmp_path / "a.tif")
    header = read_header(path)
    with (
        pytest.raises(SceneError, match=r"pixels that cannot be decoded \(rows 0-31\)"),
        open_geotiff(path) as dataset,
    ):
        read_pixels(dataset, [1], header.grid.whole)


def corrupted(write_tif, path):
    """A GeoTIFF with a sound header whose deflate stream is broken."""
    values = np.random.default_rng(0).integers(0, 255, (32, 32)).astype(np.uint8)
    write_tif(path, values, compress="deflate")
    content = bytearray(path.read_bytes())
    start = content.find(zlib.compress(values.tobytes(), 6)[:2])
    content[start + 40 : start + 200] = b"\xff" * 160
    path.write_bytes(bytes(content))
    return path


def test_other_formats_in_disguise_are_refused(tmp_path):
    path = tmp_path / "a.tif"
    path.write_text("<VRTDataset rasterXSize='1' rasterYSize='1'></VRTDataset>")
    with pytest.raises(SceneError, match="cannot be read as a GeoTIFF"):
        read_header(path)
    with pytest.raises(SceneError, match="GDAL virtual path"):
        read_header(type(path)("/vsimem/a.tif"))


def test_complex_numbers_are_refused(write_tif, tmp_path):
    path = write_tif(tmp_path / "a.tif", np.ones((2, 2), np.complex64))
    with pytest.raises(SceneError, match="holds complex numbers"):
        read_header(path)


def test_control_points_alone_are_refused(tmp_path):
    path = tmp_path / "a.tif"
    points = [
        rasterio.control.GroundControlPoint(row, col, 10 + col, 50 - row)
        for row, col in ((0, 0), (0, 4), (4, 0), (4, 4))
    ]
    with rasterio.open(
        path, "w", driver="GTiff", height=4, width=4, count=1, dtype="uint8",
        gcps=points, crs="EPSG:4326",
    ) as dataset:  # fmt: skip
        dataset.write(np.ones((1, 4, 4), np.uint8))
    with pytest.raises(SceneError, match="by ground control points only"):
        read_header(path)


def test_two_control_points_say_nothing_of_the_pixel_size(real_data):
    """gdalwarp, the remedy where there are more, needs three."""
    with pytest.raises(SceneError, match="where 2 of its pixels lie, but not how large") as caught:
        read_header(real_data("_hostile") / "byte_gcp.tif")
    assert "-a_ullr" in caught.value.remedy


def test_a_file_that_changes_meanwhile_is_refused(write_tif, tmp_path):
    path = write_tif(tmp_path / "a.tif", np.ones((4, 5), np.uint8))
    header = read_header(path)
    with (
        pytest.raises(SceneError, match="changed while it was being read"),
        open_geotiff(path, header),
    ):
        write_tif(path, np.full((40, 50), 2, np.uint8))
    with (
        pytest.raises(SceneError, match="changed while it was being read"),
        open_geotiff(path, header),
    ):
        pytest.fail("it is another file")
    path.unlink()
    with (
        pytest.raises(SceneError, match="vanished while it was being read"),
        open_geotiff(path, header),
    ):
        pytest.fail("there is no file")


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(
    ("transform", "crs", "message"),
    [
        (Affine.identity(), "EPSG:32633", "has no geotransform"),
        (Affine(math.nan, 0, 5, 0, -10, 5), "EPSG:32633", "places no pixel"),
        (Affine(10, 0, 1e13, 0, -10, 5), "EPSG:32633", "places no pixel"),
        (Affine(10, 0, 5e5, 0, -10, 52e5), "EPSG:4326", "coordinates are degrees, but they go"),
    ],
)
def test_pixels_without_a_place_are_refused(write_tif, tmp_path, transform, crs, message):
    values = np.ones((4, 5), np.uint8)
    path = write_tif(tmp_path / "a.tif", values, transform=transform, crs=crs)
    with pytest.raises(SceneError, match=message) as caught:
        read_header(path)
    assert caught.value.remedy


def test_a_global_grid_of_cells_on_the_poles_is_fine(write_tif, tmp_path):
    grid = Affine(0.25, 0, -0.125, 0, -0.25, 90.125)
    path = write_tif(
        tmp_path / "a.tif", np.ones((721, 1440), np.uint8), transform=grid, crs="EPSG:4326"
    )
    assert read_header(path).grid.transform == grid


def test_blocks_too_large_to_hold_are_refused(write_tif, tmp_path):
    values = np.zeros((20, 30), np.float32)
    creation = {"tiled": True, "compress": "zstd", "SPARSE_OK": True}
    path = write_tif(tmp_path / "a.tif", values, blockxsize=8192, blockysize=8192, **creation)
    with pytest.raises(SceneError, match="blocks of 8192 x 8192 pixels, 256 MiB each"):
        read_header(path)
    several = np.zeros((3, 20, 30), np.float32)  # interleaved, so that all come together
    path = write_tif(
        path, several, blockxsize=4096, blockysize=4096, interleave="pixel", **creation
    )
    with pytest.raises(SceneError, match="192 MiB each"):
        read_header(path)
    path = write_tif(path, several, blockxsize=4096, blockysize=4096, interleave="band", **creation)
    assert read_header(path).block == (4096, 4096)


def test_a_tiny_file_that_declares_much_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    with rasterio.open(
        path, "w", driver="GTiff", height=300_000, width=300_000, count=1, dtype="float32",
        crs="EPSG:32633", transform=Affine(10, 0, 5e5, 0, -10, 52e5), tiled=True,
        blockxsize=4096, blockysize=4096, SPARSE_OK=True, BIGTIFF="YES",
    ):  # fmt: skip
        pass
    with pytest.raises(SceneError, match=r"\(335.3 GiB\) in a file of \d+ bytes with 0 blocks"):
        read_header(path)


def test_a_relative_name_is_no_gdal_prefix(write_tif, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_tif(tmp_path / "a.tif", np.ones((2, 2), np.uint8))
    write_tif(tmp_path / "GTIFF_DIR:1:a.tif", np.full((2, 2), 7, np.uint8))
    with open_geotiff(Path("GTIFF_DIR:1:a.tif")) as dataset:
        assert read_pixels(dataset, [1], Tile(0, 2, 0, 2)).min() == 7


def test_the_shell_does_not_move_pixels(write_tif, tmp_path, monkeypatch):
    path = write_tif(tmp_path / "a.tif", np.ones((2, 2), np.uint8), AREA_OR_POINT="Point")
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(AREA_OR_POINT="Point")
    plain = read_header(path).grid.transform
    monkeypatch.setenv("GTIFF_POINT_GEO_IGNORE", "YES")
    assert read_header(path).grid.transform == plain


def test_tags_in_another_encoding_do_not_cost_the_file(write_tif, tmp_path):
    path = write_tif(
        tmp_path / "a.tif", np.ones((2, 2), np.uint8), tags={"TIFFTAG_ARTIST": "abcdefgh"}
    )
    path.write_bytes(path.read_bytes().replace(b"abcdefgh", b"Andr\xe9 \xb0C"))
    assert "TIFFTAG_ARTIST" not in read_header(path).tags


def test_glimpse_of_a_raster_of_very_many_blocks(tmp_path):
    path = tmp_path / "a.tif"
    with rasterio.open(
        path, "w", driver="GTiff", height=2_000_000, width=2, count=1, dtype="uint8",
        crs="EPSG:32633", transform=Affine(10, 0, 5e5, 0, -10, 52e5), blockysize=1,
        SPARSE_OK=True, nodata=3,
    ):  # fmt: skip
        pass
    assert set(glimpse(path, 1)) == {3}


def test_glimpse_reads_blocks_spread_over_the_raster(write_tif, tmp_path):
    values = np.repeat(np.arange(16, dtype=np.uint8), 64)[:, None] * np.ones((1, 64), np.uint8)
    path = write_tif(tmp_path / "a.tif", values, tiled=True, blockxsize=64, blockysize=64)
    assert np.unique(glimpse(path, 1)).tolist() == [3, 6, 9, 12]


def test_a_codec_that_is_not_built_in_says_so(real_data):
    path = real_data("_hostile") / "unsupported_codec_unknown.tif"
    with pytest.raises(SceneError, match="missing codec of code 44510") as caught:
        read_header(path)
    assert caught.value.what.startswith(f"{path} cannot be read as a GeoTIFF: Cannot open TIFF")
    assert "COMPRESS=DEFLATE" in caught.value.remedy


def test_what_gdal_says_is_told_without_its_functions(write_tif, tmp_path):
    path = write_tif(tmp_path / "a.tif", np.ones((2, 2), np.uint8))
    content = bytearray(path.read_bytes())
    entry = content.index(struct.pack("<HHI", 277, 3, 1))  # SamplesPerPixel
    struct.pack_into("<H", content, entry + 8, 0)
    path.write_bytes(bytes(content))
    with pytest.raises(SceneError) as caught:
        read_header(path)
    what = f'{path} cannot be read as a GeoTIFF: Bad value 0 for "SamplesPerPixel" tag.'
    assert caught.value.what == what


def test_pixel_is_point_is_moved_by_half_a_pixel(real_data):
    """The tie point (440720, 3751320) is the centre of the first pixel of 60 m, not its corner."""
    grid = read_header(real_data("_hostile") / "byte_point.tif").grid
    assert grid.transform == Affine(60, 0, 440690, 0, -60, 3751350)


def test_every_hostile_file_gives_a_header_or_a_scene_error(real_data):
    paths = sorted(real_data("_hostile").glob("*.tif*"))
    assert len(paths) == 55
    refused = {}
    for path in paths:
        try:
            assert isinstance(read_header(path), Header)
        except SceneError as error:
            refused[path.name] = error
    assert {"many_blocks_truncated.tif", "huge4GB.tif", "byte_truncated.tif"} <= refused.keys()
    assert len(refused) == 22
    assert all(error.remedy and name in error.what for name, error in refused.items())


def test_cog_survives_the_round_trip(tmp_path):
    grid = Grid(
        rasterio.crs.CRS.from_epsg(32633).to_wkt(),
        Affine(10.25, 0, 500000.5, 0, -10.75, 5200000.25),
        (300, 270),
    )
    values = np.random.default_rng(0).random((2, 300, 270)).astype(np.float32)
    values[0, :5] = np.nan
    path = tmp_path / "out.tif"
    with CogWriter(path, grid, ["a", "b"], units=("K", ""), tags={"TIME": "now"}) as writer:
        for tile in grid.tiles(256):
            writer.write(values[:, *tile.slices], tile)
    with rasterio.open(path) as dataset:
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert dataset.transform == grid.transform
        assert dataset.crs.to_epsg() == 32633
        assert math.isnan(dataset.nodata)
        assert dataset.descriptions == ("a", "b")
        assert dataset.units[0] == "K"
        assert dataset.tags()["TIME"] == "now"
        np.testing.assert_array_equal(dataset.read(), values)
    assert [item.name for item in tmp_path.iterdir()] == ["out.tif"]
