"""Motion fields: a known shift is found, on the whole raster and on a coarse one."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates, shift

from geoforecast.forecast.series import make_series
from geoforecast.raster.cube import open_cube
from geoforecast.references import motion as motion_module
from geoforecast.references.advection import carried
from geoforecast.references.motion import Motion, bilinear, explained, from_around


def moving_blobs(steps=4, side=96, down=1.5, right=-2.0):
    rng = np.random.default_rng(3)
    texture = np.maximum(gaussian_filter(rng.standard_normal((side, side)), 4), 0) * 100
    frames = [shift(texture, (down * k, right * k), order=1, mode="wrap") for k in range(steps)]
    return np.stack(frames)[:, None].astype(np.float32)


@pytest.mark.parametrize("coarse_px", [360, 48])
def test_a_shift_is_found(make_project, monkeypatch, coarse_px):
    monkeypatch.setattr(motion_module, "COARSE_PX", coarse_px)
    frames = moving_blobs(steps=9)
    times = np.datetime64("2020-01-01T00:00") + 5 * np.arange(9)
    project = make_project(frames, times=times)
    cube = open_cube(project.cube_path)
    motion = make_series(cube, cube.bands).motions.at(3)
    middle = motion.flow[:, motion.flow.shape[1] // 2, motion.flow.shape[2] // 2]
    assert middle == pytest.approx([1.5, -2.0], abs=0.35)


def source_of(make_project, frames):
    times = np.datetime64("2020-01-01T00:00") + 5 * np.arange(len(frames))
    cube = open_cube(make_project(frames, times=times).cube_path)
    return make_series(cube, cube.bands).motions


@pytest.mark.parametrize("hole", [20, 36])
def test_what_is_never_seen_does_not_calm_what_is_beside_it(make_project, hole):
    """A hole that stands still would look like an edge that does, and stop all flow near it."""
    frames, first = moving_blobs(steps=9), (96 - hole) // 2
    frames[:, :, first : first + hole, first : first + hole] = np.nan
    flow = source_of(make_project, frames).at(3).flow
    near = slice(first - 8, first + hole + 8)  # the hole and what lies beside it
    for part, true in zip(flow, (1.5, -2.0), strict=True):
        assert np.abs(part[near, near] - true).mean() < 0.18


@pytest.mark.parametrize("nothing", [np.nan, 0])
def test_a_scene_without_pixels_or_rain_says_nothing_of_motion(make_project, nothing):
    frames = moving_blobs(steps=9)
    only, _ = source_of(make_project, frames)._flow(2)
    frames[3] = nothing  # a step of two of the three pairs
    found = source_of(make_project, frames).at(4).flow
    expected = np.stack([gaussian_filter(part, 4, mode="nearest") for part in only])
    np.testing.assert_allclose(found, expected, atol=0.05)


def test_nothing_seen_at_all_does_not_move(make_project):
    frames = moving_blobs(steps=9)
    frames[1:5] = np.nan
    assert (source_of(make_project, frames).at(4).flow == 0).all()


def test_means_of_what_lies_around():
    rng = np.random.default_rng(9)
    values, weights = rng.random((40, 50)), (rng.random((40, 50)) > 0.3).astype(float)
    weights[:, :25] = 0
    even = from_around(np.full(values.shape, 7.0) * weights, weights, (2.0, 12.0))
    np.testing.assert_allclose(even[:, 20:], 7)  # however little is near
    sums, shares = (
        gaussian_filter(layer, 2, mode="nearest")[:, 30:] for layer in (values * weights, weights)
    )
    found = from_around(values * weights, weights, (2.0,))
    np.testing.assert_allclose(found[:, 30:], sums / shares)
    ones = np.ones_like(values)
    near, far = (gaussian_filter(values, width, mode="nearest") for width in (2, 12))
    np.testing.assert_allclose(from_around(values, ones, (2.0, 12.0)), (near + far / 100) / 1.01)
    assert (from_around(0 * values, 0 * ones, (2.0, 12.0)) == 0).all()


def test_a_coarse_pixel_is_the_mean_of_what_is_valid_in_it(make_project, monkeypatch):
    monkeypatch.setattr(motion_module, "COARSE_PX", 24)
    source = many_steps(make_project)
    values = np.random.default_rng(2).random((1, 90, 90)).astype(np.float32)
    valid = np.random.default_rng(3).random((1, 90, 90)) > 0.5
    valid[0, 4:8, 8:12] = False
    made, share = source._coarse(np.where(valid, values, -999), valid)
    block, known = values[0, :4, 4:8], valid[0, :4, 4:8]
    bright = (
        np.log1p(block / source.scale[0])
        if source.zero_based[0]
        else ((block - source.centre[0]) / source.scale[0])
    )
    assert made[0, 1] == pytest.approx(bright[known].mean(), rel=1e-5)
    assert share[0, 1] == known.mean()
    assert (made[1, 2], share[1, 2]) == (0, 0)


def test_what_a_flow_explains():
    old = gaussian_filter(np.random.default_rng(1).random((120, 120)), 2)
    new, ones = np.roll(old, (2, -1), (0, 1)), np.ones_like(old)
    flow = np.stack([np.full(old.shape, 2.0), np.full(old.shape, -1.0)])
    middle = np.s_[45:-45, 45:-45]  # beyond it edges are felt
    assert (explained(flow, new, old, ones)[middle] > 0.99).all()
    assert (explained(-flow, new, old, ones)[middle] == 0).all()  # it makes things worse
    half = explained(0.5 * flow, new, old, ones)[middle]
    assert 0.4 < half.mean() < 0.9
    assert (explained(flow, old, old, ones) == 0).all()  # nothing changed
    seen = ones.copy()
    seen[:, 60:] = 0
    new[:, 60:] = 9  # whatever lies there
    assert (explained(flow, new, old, seen)[45:-45, 45:58] > 0.95).all()


def test_what_flickers_and_what_borders_on_a_hole_is_little_trusted(make_project):
    frames = moving_blobs(steps=9, side=120)
    frames[:, :, :60, 60:] = 50 * np.random.default_rng(6).random((9, 1, 60, 60))
    frames[:, :, 80:, 80:] = np.nan
    _, trust = source_of(make_project, frames)._flow(3)
    assert trust[30:90, 15:40].mean() > 0.8
    assert trust[10:50, 80:110].mean() < 0.4  # noise, of which Lucas-Kanade explains a little
    assert (trust[85:, 85:] == 0).all()
    assert trust[90:115, 77:80].max() < 0.25  # more than half of the window was seen


def test_a_shower_moves_on_into_dry_land(make_project):
    """Nothing moves where it is dry; but that is where a shower comes next."""
    rows, cols = np.mgrid[:96, :96]
    frames = [
        np.exp(-((rows - 30 - 1.5 * k) ** 2 + (cols - 60 + 2 * k) ** 2) / 50) for k in range(9)
    ]
    frames = 10 * np.stack(frames)[:, None].astype(np.float32)
    flow = source_of(make_project, frames).at(3).flow
    ahead = np.s_[40:75, 10:50]
    for part, true in zip(flow, (1.5, -2.0), strict=True):
        assert np.abs(part[ahead] - true).max() < 0.4


def test_constant_fields_do_not_move(make_project):
    times = np.datetime64("2020-01-01T00:00") + 5 * np.arange(9)
    project = make_project(np.zeros((9, 1, 20, 20), np.float32), times=times)
    cube = open_cube(project.cube_path)
    assert make_series(cube, cube.bands).motions.at(5).largest_px == 0


def test_bilinear_equals_scipy():
    rng = np.random.default_rng(4)
    image = rng.random((11, 13))
    rows, cols = rng.uniform(-2, 12, (10, 20)), rng.uniform(-2, 14, (10, 20))
    expected = map_coordinates(image, [rows, cols], order=1, mode="nearest")
    inside = (rows >= 0) & (rows <= 10) & (cols >= 0) & (cols <= 12)
    assert bilinear(image, rows, cols)[inside] == pytest.approx(expected[inside], abs=1e-12)


def test_bilinear_does_not_depend_on_where_the_array_starts():
    rng = np.random.default_rng(5)
    image = rng.random((60, 60)).astype(np.float32)
    rows, cols = rng.uniform(30, 50, (20, 25)), rng.uniform(30, 50, (20, 25))
    part = bilinear(image[25:, 29:], rows, cols, (25, 29))
    np.testing.assert_array_equal(part, bilinear(image, rows, cols))


def swirl(height=20, width=24, factor=1):
    """A motion field that differs from place to place."""
    rng = np.random.default_rng(6)
    shape = (2, -(-height // factor), -(-width // factor))
    return Motion(
        np.stack([gaussian_filter(part, 2) for part in 8 * rng.normal(0, 1, shape)]), factor
    )


def looked_up(image, row, col):
    """A plain bilinear sample, edges repeated."""
    height, width = image.shape
    row0, col0 = int(np.floor(row)), int(np.floor(col))
    total = 0.0
    for r, c in ((0, 0), (0, 1), (1, 0), (1, 1)):
        weight = (row - row0 if r else 1 - row + row0) * (col - col0 if c else 1 - col + col0)
        y, x = np.clip(row0 + r, 0, height - 1), np.clip(col0 + c, 0, width - 1)
        total += weight * image[y, x]
    return total


def plain_path(motion, row, col, steps):
    for _ in range(steps):
        y, x = (row + 0.5) / motion.factor - 0.5, (col + 0.5) / motion.factor - 0.5
        down, right = (looked_up(part, y, x) for part in motion.flow)
        row, col = row - down, col - right
    return row, col


@pytest.mark.parametrize("factor", [1, 3])
def test_a_path_looks_back_step_by_step(factor):
    motion = swirl(factor=factor)
    origin, shape = (4, 7), (5, 6)
    for steps in (3, 1, 2):  # in any order: shorter paths are kept
        rows, cols = motion.path(origin, shape, steps)
        assert rows.shape == shape
        for i, j in np.ndindex(*shape):
            expected = plain_path(motion, origin[0] + i, origin[1] + j, steps)
            assert (rows[i, j], cols[i, j]) == pytest.approx(expected, abs=1e-9)


def test_paths_of_other_rectangles_are_not_mixed_up():
    motion = swirl()
    first = [part.copy() for part in motion.path((0, 0), (20, 24), 2)]
    part = motion.path((3, 5), (6, 7), 2)
    assert len(motion._of_thread.paths) == 1  # one rectangle's are kept, however many ask
    np.testing.assert_array_equal(np.stack(part), np.stack(first)[:, 3:9, 5:12])
    np.testing.assert_array_equal(np.stack(motion.path((0, 0), (20, 24), 2)), np.stack(first))


@pytest.mark.parametrize("first", [1, 3])
def test_carried_equals_plain_lookups(first):
    motion = swirl()
    rng = np.random.default_rng(7)
    field = rng.normal(5, 1, (2, 20, 24)).astype(np.float32)
    field[rng.random(field.shape) < 0.1] = np.nan
    found = carried(field, motion, (0, 0), 3, first=first)
    assert found.shape == (3, 2, 20, 24)
    kept = 0
    for number, band, half, third in np.ndindex(3, 2, 10, 8):
        i, j = 2 * half, 3 * third
        expected = looked_up(field[band], *plain_path(motion, i, j, first + number))
        if np.isnan(expected):  # what is not known there stays as it is
            expected, kept = field[band, i, j], kept + 1
        assert found[number, band, i, j] == pytest.approx(expected, abs=1e-5, nan_ok=True)
    assert kept


def test_a_known_field_moves_by_a_known_flow():
    field = np.random.default_rng(8).random((1, 12, 15), dtype=np.float32)
    flow = np.zeros((2, 12, 15))
    flow[0], flow[1] = 1.0, -2.0
    for number, moved in enumerate(carried(field, Motion(flow, 1), (0, 0), 3), 1):
        inside = (slice(number, None), slice(None, -2 * number))
        expected = np.roll(field[0], (number, -2 * number), (0, 1))
        np.testing.assert_array_equal(moved[0][inside], expected[inside])


def many_steps(make_project):
    times = np.datetime64("2020-01-01T00:00") + 5 * np.arange(9)
    project = make_project(moving_blobs(steps=9, side=90), times=times)
    cube = open_cube(project.cube_path)
    return make_series(cube, cube.bands).motions


def test_frames_are_the_same_read_in_pieces(make_project, monkeypatch):
    monkeypatch.setattr(motion_module, "COARSE_PX", 24)  # a coarse pixel is 4 x 4
    source = many_steps(make_project)
    whole, known = source._frame(2)
    source._frames.clear()
    monkeypatch.setattr(motion_module, "PIECE_PX", 30)  # 28: pieces of whole coarse pixels
    assert whole.shape == known.shape == (23, 23)
    np.testing.assert_allclose(source._frame(2)[0], whole, rtol=1e-6)
    np.testing.assert_array_equal(source._frame(2)[1], known)


def test_threads_at_different_steps_do_not_mix_up_their_motions(make_project):
    source = many_steps(make_project)
    expected = {step: source.at(step).flow for step in (3, 7)}
    meeting = threading.Barrier(2, timeout=20)

    def ask(step):
        for _ in range(20):
            meeting.wait()
            motion = source.at(step)
            np.testing.assert_array_equal(motion.flow, expected[step])
            meeting.wait()
            assert source.at(step) is motion  # and so are the paths that it keeps
            place = (step, step), (4, 5)
            fresh = Motion(motion.flow, motion.factor)
            np.testing.assert_array_equal(motion.path(*place, 2), fresh.path(*place, 2))

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(ask, step) for step in expected]:
            done.result()
