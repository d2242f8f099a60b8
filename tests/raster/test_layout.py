"""Where a TIFF says its pixels lie: what is refused before GDAL opens it."""

from __future__ import annotations

import os
import struct

import numpy as np
import pytest
import rasterio

from geoforecast.errors import SceneError
from geoforecast.raster import layout
from geoforecast.raster.layout import read_layout

PIXELS = np.arange(1, 1201, dtype=np.uint16).reshape(30, 40)
TILES = {"tiled": True, "blockxsize": 16, "blockysize": 16}


def place_of(content: bytes, tag: int) -> int:
    """Where the entry of a tag begins, in a little-endian classic TIFF."""
    start = struct.unpack_from("<I", content, 4)[0]
    count = struct.unpack_from("<H", content, start)[0]
    for place in range(start + 2, start + 2 + 12 * count, 12):
        if struct.unpack_from("<H", content, place)[0] == tag:
            return place
    raise KeyError(tag)


def set_value(path, tag: int, value: int, *, count: int | None = None) -> None:
    content = bytearray(path.read_bytes())
    place = place_of(content, tag)
    struct.pack_into("<I", content, place + 8, value)
    if count is not None:
        struct.pack_into("<I", content, place + 4, count)
    path.write_bytes(bytes(content))


def set_array(path, tag: int, index: int, value: int) -> None:
    """One number of an array of SHORTs or LONGs."""
    content = bytearray(path.read_bytes())
    kind, count, start = struct.unpack_from("<HII", content, place_of(content, tag) + 2)
    if count == 1:
        start = place_of(content, tag) + 8
    code, width = {3: ("H", 2), 4: ("I", 4)}[kind]
    struct.pack_into(f"<{code}", content, start + width * index, value)
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("creation", "blocks"),
    [
        (TILES, 6),
        ({**TILES, "BIGTIFF": "YES"}, 6),
        ({**TILES, "ENDIANNESS": "BIG"}, 6),
        ({**TILES, "ENDIANNESS": "BIG", "BIGTIFF": "YES"}, 6),
        ({"blockysize": 7}, 5),
        ({"blockysize": 7, "compress": "lzw"}, 5),
        ({**TILES, "compress": "zstd", "interleave": "band"}, 12),
        ({**TILES, "compress": "deflate", "interleave": "pixel"}, 6),
    ],
)
def test_blocks_are_counted_as_gdal_counts_them(write_tif, tmp_path, creation, blocks):
    array = np.stack([PIXELS, PIXELS]) if "interleave" in creation else PIXELS
    path = write_tif(tmp_path / "a.tif", array, **creation)
    found = read_layout(path)
    assert (found.stored, found.blocks, found.pages) == (blocks, blocks, 1)
    assert found.stamp == (path.stat().st_size, path.stat().st_mtime_ns)


def test_sparse_blocks_are_no_fault(write_tif, tmp_path):
    path = tmp_path / "a.tif"
    array = np.zeros_like(PIXELS)
    array[:16, :16] = 5
    write_tif(path, array, nodata=0, SPARSE_OK=True, **TILES)
    found = read_layout(path)
    assert (found.stored, found.blocks) == (1, 6)


def test_any_block_beyond_the_end_is_found(write_tif, tmp_path):
    for number in range(6):
        path = write_tif(tmp_path / f"{number}.tif", PIXELS, **TILES)
        set_array(path, layout.TILE_OFFSETS, number, 4_000_000_000)
        with pytest.raises(SceneError, match=f"1 of its 6 blocks lie.*number {number},"):
            read_layout(path)


@pytest.mark.parametrize(
    ("tag", "value", "message"),
    [
        (layout.TILE_OFFSETS, 0, "block 2 has no place"),
        (layout.TILE_LENGTHS, 0, "block 2 has no length"),
        (layout.TILE_LENGTHS, 2**16 - 1, "1 of its 6 blocks lie beyond"),
    ],
)
def test_blocks_of_no_place_or_length_are_found(write_tif, tmp_path, tag, value, message):
    path = write_tif(tmp_path / "a.tif", PIXELS, **TILES)
    set_array(path, tag, 2, value)
    with pytest.raises(SceneError, match=message):
        read_layout(path)


def test_blocks_without_lengths_are_read_only_if_plain_strips(write_tif, tmp_path):
    """libtiff works those out, and takes all others for sparse: zeros."""
    for number, creation in enumerate(({**TILES, "compress": "lzw"}, {"compress": "lzw"}, {})):
        path = write_tif(tmp_path / f"{number}.tif", PIXELS, **creation)
        with rasterio.open(path) as dataset:
            high = dataset.block_shapes[0][0]
        tag = layout.TILE_LENGTHS if "tiled" in creation else layout.STRIP_LENGTHS
        for index in range(6 if "tiled" in creation else -(-30 // high)):
            set_array(path, tag, index, 0)
        if creation:
            with pytest.raises(SceneError, match="does not say how long its blocks"):
                read_layout(path)
        else:
            assert read_layout(path).stored > 0
            with rasterio.open(path) as dataset:
                np.testing.assert_array_equal(dataset.read(1), PIXELS)


def test_blocks_that_are_not_listed_are_found(write_tif, tmp_path):
    """GDAL takes them for sparse, and reads zeros."""
    path = write_tif(tmp_path / "a.tif", PIXELS, **TILES)
    set_value(path, layout.HEIGHT, 300)
    with pytest.raises(SceneError, match="needs 57 blocks of pixels, but lists 6"):
        read_layout(path)


def test_a_mask_inside_the_file_is_checked_too(tmp_path):
    path = tmp_path / "a.tif"
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path, "w", driver="GTiff", height=30, width=40, count=1, dtype="uint16",
            crs="EPSG:32633", transform=rasterio.Affine(10, 0, 0, 0, -10, 0), **TILES,
        ) as dataset,
    ):  # fmt: skip
        dataset.write(PIXELS, 1)
        dataset.write_mask(PIXELS > 100)
    assert read_layout(path).pages == 1
    content = path.read_bytes()
    path.write_bytes(content[:-4])
    with pytest.raises(SceneError, match="is truncated"):
        read_layout(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"II*\0", "only 4 bytes long"),
        (b"II+\0" + bytes(8), "header is cut at byte 12"),
        (b"\x89PNG\r\n", "it is a PNG"),
        (b"\x89HDF\r\n\x1a\n", "it is HDF5"),
        (b"PK\x03\x04", "it is a ZIP"),
        (b"<VRTDataset/>", "it is a VRT"),
        (b"<html>", "error page of a download"),
        (b"plain text", "it is none, by its first bytes"),
        (b"II*\0" + struct.pack("<I", 8) + b"\xff\xff", "has a directory of 65535 entries"),
        (b"II*\0" + struct.pack("<I", 2**31), "points at byte 2147483650 of 8"),
    ],
)
def test_what_is_no_tiff_is_named(tmp_path, content, message):
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    with pytest.raises(SceneError, match=message) as caught:
        read_layout(path)
    assert caught.value.remedy
    assert "a.tif" in caught.value.what


def test_directories_in_a_circle_end(write_tif, tmp_path):
    path = write_tif(tmp_path / "a.tif", PIXELS)
    content = bytearray(path.read_bytes())
    start = struct.unpack_from("<I", content, 4)[0]
    after = start + 2 + 12 * struct.unpack_from("<H", content, start)[0]
    struct.pack_into("<I", content, after, start)
    path.write_bytes(bytes(content))
    with pytest.raises(SceneError, match="directories that run in a circle"):
        read_layout(path)


def test_values_beyond_the_file_are_refused(write_tif, tmp_path):
    """GDAL would warn, and go on without the geotransform."""
    path = write_tif(tmp_path / "a.tif", PIXELS)
    set_value(path, 33550, 2**31)
    with pytest.raises(SceneError, match="header points at byte 2147483672"):
        read_layout(path)


@pytest.mark.parametrize(
    "spoilt",
    [
        b"<GDALMetadat\xff></GDALMetadata>",
        b"<GDALMetadata",
        # Well-formed; entities that expand without end are declared in such a place.
        b"<!DOCTYPE GDALMetadata><GDALMetadata></GDALMetadata>",
    ],
)
def test_damaged_metadata_is_refused(write_tif, tmp_path, spoilt):
    """GDAL would pass over it, and with it over the scale."""
    path = write_tif(tmp_path / "a.tif", PIXELS, scale=0.5, tags={"PAD": "x" * 50})
    content = path.read_bytes()
    start, end = content.index(b"<GDALMetadata>"), content.index(b"</GDALMetadata>") + 15
    path.write_bytes(content[:start] + spoilt.ljust(end - start) + content[end:])
    with pytest.raises(SceneError, match="damaged metadata"):
        read_layout(path)
    path.write_bytes(content)
    assert read_layout(path).pages == 1


def test_pages_are_counted(real_data):
    assert read_layout(real_data("_hostile") / "twoimages.tif").pages == 2
    assert read_layout(real_data("_hostile") / "byte_with_ovr.tif").pages == 1


def test_too_many_blocks_are_refused_before_they_are_read(write_tif, tmp_path):
    path = write_tif(tmp_path / "a.tif", PIXELS, **TILES)
    for tag in (layout.WIDTH, layout.HEIGHT):  # as LONG, so that more than 65535 fits
        content = bytearray(path.read_bytes())
        struct.pack_into("<HII", content, place_of(content, tag) + 2, 4, 1, 2**20)
        path.write_bytes(bytes(content))
    with pytest.raises(SceneError, match=r"in 4294967296 blocks, over 4194304"):
        read_layout(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_what_is_no_plain_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.tif")
    (tmp_path / "folder.tif").mkdir()
    (tmp_path / "loop.tif").symlink_to("loop.tif")
    (tmp_path / "gone.tif").symlink_to("nowhere")
    for name, message in (
        ("pipe", "is a pipe"),
        ("folder", "is a folder"),
        ("loop", "Too many levels"),
        ("gone", "No such file"),
        ("x" * 10_000, "File name too long"),
        ("nul\0", "name cannot be used"),
    ):
        with pytest.raises(SceneError, match=message):
            read_layout(tmp_path / f"{name}.tif")


def test_a_name_is_shown_on_one_line(tmp_path):
    path = tmp_path / "a\nb\x1b[31m.tif"
    path.write_bytes(b"")
    with pytest.raises(SceneError) as caught:
        read_layout(path)
    assert r"a\nb\x1b[31m.tif is empty" in caught.value.what


@pytest.mark.parametrize("kind", [layout.COMPLEX[0], layout.COMPLEX[1]])
def test_complex_numbers_of_an_odd_width_are_refused(write_tif, tmp_path, kind):
    """GDAL shows those of 16 bits as uint16, which they are not."""
    path = write_tif(tmp_path / "a.tif", PIXELS, **TILES)
    set_value(path, layout.SAMPLE_FORMAT, kind)
    with rasterio.open(path) as dataset:
        assert dataset.dtypes == ("uint16",)
    with pytest.raises(SceneError, match="holds complex numbers") as caught:
        read_layout(path)
    assert "amplitude" in caught.value.remedy


def test_names_are_printable_whatever_they_hold():
    assert layout.printable("a\nb\x1b\udcff\u202e.tif") == r"a\nb\x1b\udcff\u202e.tif"
    assert layout.printable("größe 1.tif") == "größe 1.tif"
