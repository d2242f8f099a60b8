"""Kept maps and courses: the same for any tiles, within their bounds, the last date among them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoforecast.raster.grid import Tile
from geoforecast.validate.scoring import frames as module
from geoforecast.validate.scoring.frames import (
    FRAME_BYTES,
    FRAME_PX,
    TRACKS,
    FramePlan,
    Frames,
    Lattice,
    evenly,
)


@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    stride=st.integers(1, 9),
    tile_px=st.integers(1, 17),
)
def test_tiles_fill_the_lattice_exactly(shape: tuple[int, int], stride: int, tile_px: int) -> None:
    lattice = Lattice(shape, stride)
    values = np.arange(shape[0] * shape[1]).reshape(shape)
    kept, touched = np.full(lattice.size, -1), np.zeros(lattice.size, int)
    for row in range(0, shape[0], tile_px):
        for col in range(0, shape[1], tile_px):
            tile = Tile(row, min(row + tile_px, shape[0]), col, min(col + tile_px, shape[1]))
            part = values[tile.row0 : tile.row1, tile.col0 : tile.col1]
            kept[lattice.place(tile)] = part[lattice.kept(tile)]
            touched[lattice.place(tile)] += 1
    np.testing.assert_array_equal(kept, values[::stride, ::stride])
    assert (touched == 1).all()


@given(count=st.integers(1, 500), most=st.integers(1, 200))
def test_evenly_keeps_the_last_and_no_more_than_most(count: int, most: int) -> None:
    kept = evenly(count, most)
    assert kept[-1] == count - 1
    assert len(kept) == min(count, most)
    assert list(kept) == sorted(set(kept))
    if len(kept) > 1:
        gaps = np.diff(kept)
        assert gaps.max() - gaps.min() <= 1


@given(
    height=st.integers(1, 30_000),
    width=st.integers(1, 30_000),
    steps=st.integers(1, 400),
    leads=st.integers(1, 12),
    bands=st.integers(1, 8),
)
def test_memory_does_not_grow_with_raster_or_series(
    height: int, width: int, steps: int, leads: int, bands: int
) -> None:
    plan = FramePlan((height, width), steps, leads, bands)
    rows, cols = plan.lattice.size
    assert max(rows, cols) <= FRAME_PX
    each = rows * cols * bands * plan.layers * 4
    assert len(plan.dates) * plan.kept_leads * each <= max(FRAME_BYTES, each)
    assert plan.dates[-1] == steps - 1


def test_only_kept_steps_and_leads_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_DATES", 2)
    plan = FramePlan((4, 4), steps=3, leads=1, bands=1)
    assert plan.dates == (0, 2)
    frames = Frames(plan)
    for step in range(3):
        for lead in range(2):
            maps = [np.full((4, 4), 10 * step + lead), np.full((4, 4), -1.0)]
            frames.keep(step, lead, 0, maps)
    assert frames.values[:, 0, 0, 0, 0, 0].tolist() == [0.0, 20.0]
    assert frames.values[:, 0, 0, 1, 0, 0].tolist() == [-1.0, -1.0]


def test_courses_keep_what_is_known() -> None:
    frames = Frames(FramePlan((2, 2), steps=2, leads=1, bands=1))
    frames.follow(1, 0, [np.full((2, 2), 5.0), np.full((2, 2), 6.0), None, None, None])
    assert frames.tracks.shape == (2, 1, len(TRACKS), 2, 2)
    assert frames.tracks[1, 0, :2, 0, 0].tolist() == [5.0, 6.0]
    assert np.isnan(frames.tracks[1, 0, 2:]).all()
    assert np.isnan(frames.tracks[0]).all()
