"""What lanes hold together is bounded, however many there are."""

from __future__ import annotations

import numpy as np
import pytest

from geoforecast.raster.geotiff import gdal_session, read_header
from geoforecast.raster.grid import Tile
from geoforecast.stack.pixels import sources
from geoforecast.stack.pixels.sources import Lane, Stock

TOP = Tile(0, 16, 0, 32)  # one block of 16 x 32 bytes


@pytest.fixture
def files(tmp_path, write_tif):
    paths = [tmp_path / f"{name}.tif" for name in "abc"]
    for path in paths:
        options = {"tiled": True, "blockxsize": 16, "blockysize": 16}
        write_tif(path, np.arange(64 * 32, dtype="uint8").reshape(1, 64, 32), **options)
    return paths


def read(lane, path):
    with gdal_session():
        return lane.read([(path, read_header(path), (1,))], TOP, TOP)[0]


def held(lanes):
    """Bytes and open files of each lane."""
    return [
        (
            sum(r.bytes for r in lane._rows.values()),
            sum(len(r._datasets) for r in lane._rows.values()),
        )
        for lane in lanes
    ]


@pytest.mark.parametrize(
    ("kept", "opened", "expected"),
    [
        (2**20, 9, [(512, 1), (512, 1), (512, 1)]),
        (600, 9, [(0, 1), (512, 1), (512, 1)]),  # 512 beside what was just read
        (600, 1, [(0, 0), (512, 1), (512, 1)]),
        (1, 9, [(0, 1), (0, 1), (512, 1)]),
    ],
)
def test_lanes_share_what_may_be_held(files, monkeypatch, kept, opened, expected):
    monkeypatch.setattr(sources, "KEPT_BYTES", kept)
    monkeypatch.setattr(sources, "MOST_OPEN", opened)
    stock = Stock()
    lanes = [Lane(dict.fromkeys(files, (1,)), stock) for _ in files]
    for lane, path in zip(lanes, files, strict=True):
        read(lane, path)
    assert held(lanes) == expected
    # What was released is read again.
    np.testing.assert_array_equal(read(lanes[0], files[0]), read(lanes[2], files[2]))
    for lane in lanes:
        lane.close()
    assert held(lanes) == [(0, 0)] * 3


def test_more_lanes_have_more_room(files, monkeypatch):
    monkeypatch.setattr(sources, "KEPT_BYTES", 600)
    stock = Stock(2)
    lanes = [Lane(dict.fromkeys(files, (1,)), stock) for _ in files]
    for lane, path in zip(lanes, files, strict=True):
        read(lane, path)
    assert held(lanes) == [(512, 1)] * 3


def test_a_closed_lane_counts_no_more(files, monkeypatch):
    monkeypatch.setattr(sources, "KEPT_BYTES", 600)
    stock = Stock()
    lanes = [Lane(dict.fromkeys(files, (1,)), stock) for _ in files]
    read(lanes[0], files[0])
    lanes[0].close()
    read(lanes[1], files[1])
    read(lanes[2], files[2])
    assert held(lanes) == [(0, 0), (512, 1), (512, 1)]
    assert len(stock._rows) == 2
