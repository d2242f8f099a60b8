"""Chunks that we write are those that Zarr writes, byte for byte, and Zarr reads our shards."""

from __future__ import annotations

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from geoforecast.raster.chunks import ChunkFiles, zarr_codec
from geoforecast.raster.measures import joined, measure, one_sided, overview_stride

SHAPE = (11, 2, 70, 90)


def stored(path):
    return {p.relative_to(path): p.read_bytes() for p in path.rglob("c/**/*") if p.is_file()}


@pytest.mark.parametrize("shard", [(8, 2, 16, 16), (8, 2, 64, 64)])
@pytest.mark.parametrize("dtype", ["float32", "uint8", "bool"])
def test_files_equal_those_of_zarr(tmp_path, shard, dtype):
    chunk = (8, 2, 16, 16)
    rng = np.random.default_rng(0)
    values = (rng.random(SHAPE) * 5).astype("uint8").astype(dtype)
    fill = np.nan if dtype == "float32" else dtype == "bool"
    options = {
        "shape": SHAPE,
        "chunks": chunk,
        "shards": None if shard == chunk else shard,
        "dtype": dtype,
        "compressors": zarr_codec(),
        "fill_value": fill,
        "config": {"write_empty_chunks": True},
    }
    theirs = zarr.create_array(tmp_path / "theirs", **options)
    theirs[:] = values
    ours = zarr.create_array(tmp_path / "ours", **options)
    files = ChunkFiles(tmp_path / "ours", SHAPE, chunk, shard, fill)
    for step in range(0, 11, 8):
        for row in range(0, 70, 64):
            block = values[step : step + 8, :, row : row + 64]
            files.write((step, 0, row, 0), block)
    np.testing.assert_array_equal(ours[:], values)
    if shard == chunk:  # inside a shard Zarr orders chunks along a Morton curve, we by rows
        assert stored(tmp_path / "ours") == stored(tmp_path / "theirs")
    named = set(files.files((0, 0, 0, 0), SHAPE))
    assert named == set(stored(tmp_path / "ours")) == set(stored(tmp_path / "theirs"))
    assert set(files.files((8, 0, 64, 0), SHAPE)) < named


def test_a_file_shared_with_another_cube_is_never_changed(tmp_path):
    files = ChunkFiles(tmp_path / "a", (8, 1, 4, 4), (8, 1, 4, 4), (8, 1, 4, 4), 0)
    files.write((0, 0, 0, 0), np.zeros((8, 1, 4, 4), "float32"))
    (name,) = files.files((0, 0, 0, 0), (8, 1, 4, 4))
    twin = tmp_path / "twin"
    twin.hardlink_to(tmp_path / "a" / name)
    before = twin.read_bytes()
    files.write((0, 0, 0, 0), np.ones((8, 1, 4, 4), "float32"))
    assert twin.read_bytes() == before


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 1100), st.integers(1, 700), st.sampled_from([64, 256, 512]), st.booleans())
def test_chunks_are_told_empty_or_full_from_their_cells(height, width, side, full):
    rng = np.random.default_rng(height * width)
    fields = rng.random((1, 2, -(-height // 200), -(-width // 200))) < (0.9 if full else 0.1)
    valid = fields.repeat(200, axis=2).repeat(200, axis=3)[:, :, :height, :width]
    part = measure(np.ones(valid.shape, "float32"), valid, 256, step=0, row=0, col=0)
    empty, whole = one_sided(part.cells, (height, width), side)
    for row in range(0, height, side):
        for col in range(0, width, side):
            here = valid[:, :, row : row + side, col : col + side]
            found = empty[row // side, col // side], whole[row // side, col // side]
            if side >= 256:
                assert found == (not here.any(), here.all())
            else:  # small chunks may be left undecided
                assert found[0] <= (not here.any())
                assert found[1] <= here.all()
    assert empty.shape == whole.shape == (-(-height // side), -(-width // side))


def test_small_chunks_are_told_by_their_cell():
    valid = np.zeros((1, 1, 300, 520), bool)
    valid[..., :256, 256:512] = True
    part = measure(np.ones(valid.shape, "float32"), valid, 256, step=0, row=0, col=0)
    empty, whole = one_sided(part.cells, (300, 520), 128)
    np.testing.assert_array_equal(whole, np.outer([1, 1, 0], [0, 0, 1, 1, 0]).astype(bool))
    np.testing.assert_array_equal(empty, ~whole)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 600), st.integers(1, 600), st.integers(0, 2**32 - 1))
def test_joined_cells_equal_numpy(height, width, seed):
    rng = np.random.default_rng(seed)
    values = (1e4 + rng.standard_normal((1, 1, height, width))).astype(np.float32)
    valid = rng.random(values.shape) < rng.random()
    part = measure(values, valid, 4, step=0, row=0, col=0)
    (found,) = joined(part.cells.reshape(1, -1, 5))
    x = values[valid].astype(np.float64)
    assert found[0] == x.size
    if x.size:
        expected = [x.mean(), ((x - x.mean()) ** 2).sum(), x.min(), x.max()]
        assert found[1:] == pytest.approx(expected, rel=1e-9, abs=1e-9)
    np.testing.assert_array_equal(
        part.overview, np.where(valid, values, np.nan)[:, :, ::4, ::4].astype(np.float32)
    )


@pytest.mark.parametrize(
    ("shape", "stride"), [((1, 1), 1), ((256, 256), 1), ((257, 3), 2), ((10980, 10980), 64),
                          ((200_000, 9), 256)]
)  # fmt: skip
def test_overviews_stay_small_and_cells_hold_whole_steps(shape, stride):
    assert overview_stride(shape) == stride
    assert 256 % stride == 0
