"""Views: no step beyond them and no hidden pixel can be read, and statistics know neither."""

import numpy as np
import pytest

from geoforecast.raster.cube import open_cube
from geoforecast.raster.grid import Tile
from geoforecast.raster.view import View, hidden_alike, hidden_of, shown, view_of
from geoforecast.samples.normaliser import fit_statistics

TILE = Tile(2, 9, 1, 8)


@pytest.fixture
def values():
    made = np.random.default_rng(0).random((11, 2, 12, 10)).astype(np.float32)
    made[3, 0, :4] = np.nan
    return made


@pytest.fixture
def cube(make_project, values):
    return open_cube(make_project(values).cube_path)


@pytest.fixture
def hidden():
    mask = np.zeros((12, 10), dtype=bool)
    mask[5:8, 2:6] = True
    return mask


def test_steps_beyond_a_view_are_not_there(cube):
    view = view_of(cube, 6)
    assert view.shape == (6, 2, 12, 10)
    assert (len(view.times), len(view.observed)) == (6, 6)
    read, valid = view.read(4, 11)
    assert read.shape == valid.shape == (2, 2, 12, 10)
    np.testing.assert_array_equal(read, cube.read(4, 6)[0])
    assert view.step_statistics().shape == (6, 2, 5)


def test_hidden_pixels_are_invalid_in_any_tile(cube, values, hidden):
    view = view_of(cube, hidden=hidden)
    known = np.isfinite(values) & ~hidden
    for tile in (None, TILE):
        read, valid = view.read(0, 11, tile)
        part = (..., *tile.slices) if tile else ...
        np.testing.assert_array_equal(valid, known[part])
        np.testing.assert_array_equal(np.isnan(read), ~known[part])
        np.testing.assert_array_equal(read[valid], values[part][valid])


def test_a_view_of_a_view_keeps_what_is_hidden_and_its_end(cube, hidden):
    other = np.roll(hidden, 4, axis=0)
    view = view_of(view_of(cube, 8, hidden, {"kind": "x"}), 6, other, {"units": ["K", "K"]})
    np.testing.assert_array_equal(hidden_of(view), hidden | other)
    assert (len(view.times), view.kind, view.units) == (6, "x", ("K", "K"))
    assert len(view_of(view_of(cube, 4)).times) == 4
    assert hidden_of(cube) is None


def test_statistics_are_of_what_can_be_seen(cube, values, hidden):
    view = view_of(cube, 7, hidden)
    for band, found in enumerate(fit_statistics(view, range(5))):
        seen = values[:5, band][:, ~hidden].astype(np.float64)
        seen = seen[np.isfinite(seen)]
        assert found.count == seen.size
        assert found.mean == pytest.approx(seen.mean(), rel=1e-12)
        assert found.std == pytest.approx(seen.std(), rel=1e-9)
        assert (found.minimum, found.maximum) == (seen.min(), seen.max())
        assert found.median == np.median(seen)  # the overview of a small cube is all of it


def test_what_is_measured_anew_has_the_bits_of_what_was_measured_when_writing(make_project):
    values = np.random.default_rng(1).random((8, 1, 300, 520)).astype(np.float32)  # several cells
    values[2, 0, 40:, 100:] = np.nan
    cube = open_cube(make_project(values).cube_path)
    nothing = np.zeros((300, 520), dtype=bool)
    view = view_of(cube, hidden=nothing)
    np.testing.assert_array_equal(view.step_statistics(), cube.step_statistics())
    whole, same = cube.overview(), view.overview()
    np.testing.assert_array_equal(same.read(0, 5), whole.read(0, 5))
    nothing[::2] = True
    hiding = view_of(cube, 3, nothing).overview()
    seen = hiding.read(0, 5)
    assert seen.shape[0] == hiding.shape[0] == 3
    assert np.isnan(seen[..., nothing[:: whole.stride, :: whole.stride]]).all()


def test_what_lies_beside_a_cube_hides_alike(cube, hidden):
    view = view_of(cube, hidden=hidden)
    assert hidden_alike(cube, cube) is cube
    beside = hidden_alike(view, cube)
    assert isinstance(beside, View)
    assert not beside.read(0, 1)[1][..., hidden].any()
    valid = np.ones((3, *TILE.shape), dtype=bool)
    assert shown(cube, valid, TILE) is valid
    np.testing.assert_array_equal(shown(view, valid, TILE)[1], ~hidden[TILE.slices])
