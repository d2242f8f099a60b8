"""Alignment: known shifts come out, and what cannot be told is not told."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from geoforecast.raster.cube import Cube
from geoforecast.raster.grid import Tile
from geoforecast.stack.quality.alignment import (
    FAIL,
    PASS,
    UNJUDGED,
    Alignment,
    _median_of_others,
    _read_band,
    measure_alignment,
)
from geoforecast.stack.quality.look import MAX_STEPS, choose_band, choose_steps, choose_windows
from geoforecast.stack.quality.measure import measure_quality
from geoforecast.stack.quality.survey import survey_cube

Land = Callable[..., NDArray[np.float32]]
MakeCube = Callable[..., Cube]
STILL = (0.0, 0.0)


def whole(cube: Cube) -> Alignment:
    return measure_alignment(cube, 0, [cube.grid.whole], range(cube.shape[0]))


def clouded(values: NDArray[np.float32], seed: int = 5) -> NDArray[np.bool_]:
    """Validity with round clouds over about a quarter of each scene."""
    rng = np.random.default_rng(seed)
    height, width = values.shape[2:]
    y, x = np.mgrid[:height, :width]
    valid = np.ones(values.shape, bool)
    for scene in valid:
        for _ in range(5):
            row, col = rng.integers(height), rng.integers(width)
            scene[0] &= np.hypot(y - row, x - col) > 20
    return valid


def test_known_shifts_come_out_below_a_tenth_of_a_pixel(land: Land, make_cube: MakeCube) -> None:
    shifts = [(0.3, -0.7), (-1.25, 0.4), (2.0, 0.0), (0.0, -0.5), (-3.6, 4.2), *[STILL] * 9]
    values = land(shifts)
    found = whole(make_cube(values, valid=clouded(values)))
    assert all(shift.reliable for shift in found.shifts)
    places = np.array([(shift.dy, shift.dx) for shift in found.shifts])
    assert np.abs(places - shifts).max() < 0.1


def test_two_steps_are_enough(land: Land, make_cube: MakeCube) -> None:
    first, second = whole(make_cube(land([STILL, (0.6, -1.4)]))).shifts
    assert (second.dy, second.dx) == pytest.approx((0.6, -1.4), abs=0.1)
    assert (first.dy, first.dx) == pytest.approx((-0.6, 1.4), abs=0.1)


def test_shift_agrees_with_skimage(land: Land, make_cube: MakeCube) -> None:
    from skimage.registration import phase_cross_correlation

    values = land([STILL, (1.3, -2.45)], noise=0.0)
    found = whole(make_cube(values)).shifts[1]
    expected, *_ = phase_cross_correlation(
        values[0, 0], values[1, 0], upsample_factor=50, normalization=None
    )
    # skimage says how to bring the second back, hence the sign; it wraps at the edges.
    assert (found.dy, found.dx) == pytest.approx(tuple(-expected), abs=0.15)


def test_one_scene_off_by_two_pixels_is_named(land: Land, make_cube: MakeCube) -> None:
    cube = make_cube(land([STILL] * 4 + [(0.0, 2.0)] + [STILL] * 7))
    quality = measure_quality(cube, [])
    assert quality.alignment.moved == (4,)
    assert quality.steps[4].flags == ("shifted by 2.0 px",)
    assert not any(item.flags for item in quality.steps if item.step != 4)
    assert quality.verdict == "attention"
    named = [item for item in quality.findings if item.steps == (4,)]
    assert named[0].attention
    assert "2020-02-10" in named[0].text
    # sqrt(2^2 / 12) = 0.577: one scene of twelve spoils the standard too
    assert quality.alignment.rms_px == pytest.approx(0.577, abs=0.06)
    assert quality.alignment.verdict == FAIL


def test_still_scenes_pass(land: Land, make_cube: MakeCube) -> None:
    found = whole(make_cube(land([STILL] * 6)))
    assert found.verdict == PASS
    assert found.rms_px < 0.05
    assert found.reliable == 6
    assert found.moved == ()


def test_jitter_of_most_scenes_fails(land: Land, make_cube: MakeCube) -> None:
    rng = np.random.default_rng(3)
    shifts = [tuple(rng.normal(0, 0.7, 2)) for _ in range(14)]
    found = whole(make_cube(land(shifts)))
    assert found.verdict == FAIL
    assert found.rms_px == pytest.approx(0.7 * np.sqrt(2), abs=0.3)


def test_moving_fields_cannot_be_judged(land: Land, make_cube: MakeCube) -> None:
    found = whole(make_cube(land([(3.0 * t, 2.0 * t) for t in range(-6, 7)], noise=0.0)))
    assert found.verdict == UNJUDGED


def test_changing_fields_cannot_be_judged(land: Land, make_cube: MakeCube) -> None:
    scenes = np.concatenate([land([STILL], seed=seed) for seed in range(10)])
    found = whole(make_cube(scenes))
    assert found.verdict == UNJUDGED
    assert "too little texture stays" in found.reason
    assert found.moved == ()


def test_smooth_fields_cannot_be_judged(make_cube: MakeCube) -> None:
    y, x = np.mgrid[:120, :140]
    season = np.sin(2 * np.pi * np.arange(12) / 12)[:, None, None]
    values = 280 + 10 * np.sin(y / 25) * np.cos(x / 30) + season * np.cos(y / 40)
    found = whole(make_cube(values[:, None].astype(np.float32)))
    assert found.verdict == UNJUDGED
    assert "too smooth" in found.reason


def test_too_few_steps_or_pixels_cannot_be_judged(land: Land, make_cube: MakeCube) -> None:
    one = whole(make_cube(land([STILL]), name="one"))
    small = whole(make_cube(land([STILL] * 5, (5, 5)), name="small"))
    assert one.verdict == small.verdict == UNJUDGED
    assert "Fewer than two steps" in one.reason
    assert "too small" in small.reason


@pytest.mark.filterwarnings("error")
def test_constant_and_empty_steps_do_no_harm(land: Land, make_cube: MakeCube) -> None:
    values = land([STILL] * 6)
    values[2] = 1.0
    values[3] = np.nan
    found = whole(make_cube(values))
    assert [shift.reliable for shift in found.shifts] == [True, True, False, False, True, True]
    assert found.verdict == PASS


def test_classes_are_compared_by_their_boundaries(land: Land, make_cube: MakeCube) -> None:
    scenes = land([STILL] * 3 + [(2.0, -1.0)] + [STILL] * 4, noise=0.02)
    relative = (scenes - scenes.mean((2, 3), keepdims=True)) / scenes.std((2, 3), keepdims=True)
    classes = np.digitize(relative, (-0.8, 0.0, 0.8)).astype(np.uint8)
    found = whole(make_cube(classes))
    place = found.shifts[3]
    assert (place.dy, place.dx) == pytest.approx((2.0, -1.0), abs=0.15)
    assert found.moved == (3,)
    assert found.reliable == 8


def test_median_of_others_is_the_median_without_the_scene() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 5, (7, 9, 11)).astype(np.float32)  # many ties
    values[rng.random(values.shape) < 0.4] = np.nan
    values[:, 0, 0] = np.nan
    values[1:, 0, 1] = np.nan
    ordered, count = np.sort(values, axis=0), np.isfinite(values).sum(axis=0)
    for step in range(len(values)):
        others = np.delete(values, step, axis=0)
        known = np.isfinite(others).any(axis=0)
        expected = np.full(known.shape, np.nan)
        expected[known] = np.nanmedian(others[:, known], axis=0)
        found = _median_of_others(ordered, count, values[step])
        np.testing.assert_array_equal(found, expected.astype(np.float32))


def test_scattered_steps_are_read_from_their_places(make_cube: MakeCube) -> None:
    rng = np.random.default_rng(1)
    values = rng.random((30, 2, 20, 24)).astype(np.float32)
    values[values < 0.2] = np.nan
    window = Tile(3, 17, 4, 20)
    steps = [0, 3, 7, 8, 15, 29]
    found = _read_band(make_cube(values), 1, window, steps)
    np.testing.assert_array_equal(found, values[steps, 1, 3:17, 4:20])


def test_steps_are_spread_over_those_with_enough_valid_pixels() -> None:
    fraction = np.ones(500)
    fraction[::2] = 0.01
    steps = choose_steps(fraction)
    assert len(steps) == MAX_STEPS
    assert steps[0] == 1
    assert steps[-1] == 499
    assert all(step % 2 for step in steps)
    assert np.ptp(np.diff(steps)) <= 2
    assert choose_steps(np.array([1.0, 0.0, 0.5])) == [0, 2]


def test_windows_are_where_texture_is_and_valid(land: Land, make_cube: MakeCube) -> None:
    values = np.zeros((4, 1, 700, 600), np.float32)
    values[:, :, 256:512, 0:256] = land([STILL] * 4, (256, 256))
    values[:, :, 0:256, 256:512] = 3 * land([STILL] * 4, (256, 256))
    valid = np.ones(values.shape, bool)
    valid[1:, :, 0:256, 256:512] = False  # the strongest texture, once
    survey = survey_cube(make_cube(values, valid=valid))
    windows = choose_windows(survey, 0, (700, 600))
    assert windows[0] == Tile(256, 512, 0, 256)
    assert all(window.shape == (256, 256) for window in windows)
    edge = choose_windows(survey_cube(make_cube(values[..., :300, :40], name="b")), 0, (300, 40))
    assert all(window.row1 <= 300 and window.shape == (256, 40) for window in edge)


def test_the_band_that_stays_is_compared(land: Land, make_cube: MakeCube) -> None:
    rng = np.random.default_rng(2)
    noise = rng.standard_normal((5, 1, 150, 170)).astype(np.float32) * 5
    values = np.concatenate([noise, land([STILL] * 5)], axis=1)
    cube = make_cube(values)
    assert choose_band(survey_cube(cube)) == 1
    assert measure_quality(cube, []).alignment.band == "b1"
