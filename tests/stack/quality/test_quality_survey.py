"""The survey: exact where it says so, the same for any block size."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from geoforecast.raster.cube import Cube
from geoforecast.stack.quality import survey as module
from geoforecast.stack.quality.survey import BINS, MAX_CLASSES, evenly, survey_cube

MakeCube = Callable[..., Cube]


@pytest.fixture
def values() -> np.ndarray:
    rng = np.random.default_rng(0)
    result = rng.normal(3, 2, (21, 2, 40, 52)).astype(np.float32)
    result[rng.random(result.shape) < 0.3] = np.nan
    result[4] = np.nan
    result[5, 1] = np.nan
    return result


def test_quantiles_are_numpys(values: np.ndarray, make_cube: MakeCube) -> None:
    found = survey_cube(make_cube(values)).quantiles
    assert np.isnan(found[4]).all()
    assert np.isnan(found[5, 1]).all()
    for step, band in ((0, 0), (5, 0), (20, 1)):
        expected = np.nanquantile(
            values[step, band].astype(np.float64), [0.05, 0.25, 0.5, 0.75, 0.95]
        )
        np.testing.assert_allclose(found[step, band], expected, rtol=1e-12)


def test_histograms_count_each_pixel_once(values: np.ndarray, make_cube: MakeCube) -> None:
    values[3, 0, 0, 0] = 1e6  # a stray value neither stretches the axis nor is lost
    survey = survey_cube(make_cube(values))
    assert survey.edges[0][-1] < 20
    for band in (0, 1):
        edges = survey.edges[band].astype(np.float32)
        for step in (0, 3, 4, 5, 20):
            known = values[step, band][np.isfinite(values[step, band])]
            inside = np.clip(np.searchsorted(edges, known, side="right") - 1, 0, BINS - 1)
            expected = np.bincount(inside, minlength=BINS)
            # Values on an edge may fall either way; none does here.
            np.testing.assert_array_equal(survey.counts[band][step], expected)


def test_extremes_are_counted(make_cube: MakeCube) -> None:
    values = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 1, 3, 4) % 12
    values[1, 0, 0] = 11
    survey = survey_cube(make_cube(values))
    assert (survey.low[0], survey.high[0]) == (0, 11)
    assert survey.at_lowest[:, 0].tolist() == [1, 0]
    assert survey.at_highest[:, 0].tolist() == [1, 5]


def test_coverage_asks_for_all_bands(values: np.ndarray, make_cube: MakeCube) -> None:
    survey = survey_cube(make_cube(values))
    np.testing.assert_allclose(survey.coverage, np.isfinite(values).all(axis=1).mean(axis=0))
    assert survey.valid[:, 1].tolist() == np.isfinite(values[:, 1]).sum(axis=(1, 2)).tolist()


def test_blocks_do_not_matter(
    values: np.ndarray, make_cube: MakeCube, monkeypatch: pytest.MonkeyPatch
) -> None:
    cube = make_cube(values)
    whole = survey_cube(cube)
    monkeypatch.setattr(module, "BLOCK_VALUES", 3 * values[0].size)
    parts = survey_cube(cube)
    for name in ("quantiles", "coverage", "sample", "best", "at_lowest", "at_highest"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name), err_msg=name)
    assert whole.digests == parts.digests
    assert whole.thumbnails.keys() == parts.thumbnails.keys()
    np.testing.assert_array_equal(whole.counts, parts.counts)


def test_digest_tells_values_and_validity(make_cube: MakeCube) -> None:
    values = np.ones((5, 1, 6, 7), np.float32)
    values[1, 0, 2, 2] = 1.5
    values[2, 0, 0, 0] = np.nan
    values[4] = np.nan
    digests = survey_cube(make_cube(values)).digests
    assert digests[0] == digests[3]
    assert len({*digests[:3]}) == 3
    assert digests[4] == ""


def test_classes_are_counted_by_code(make_cube: MakeCube) -> None:
    codes = np.array([[[[3, 3], [7, 200]]], [[[7, 7], [7, 0]]]], np.uint8)
    valid = np.ones(codes.shape, bool)
    valid[1, 0, 1, 1] = False
    survey = survey_cube(make_cube(codes, valid=valid))
    assert survey.edges[0].tolist() == [3, 7, 200]
    assert survey.counts[0].tolist() == [[2, 1, 1], [0, 3, 0]]


def test_many_classes_end_in_one(make_cube: MakeCube) -> None:
    codes = np.arange(100, dtype=np.int16).reshape(1, 1, 10, 10).repeat(2, axis=0)
    survey = survey_cube(make_cube(codes))
    assert len(survey.edges[0]) == MAX_CLASSES + 1
    assert np.isinf(survey.edges[0][-1])
    assert survey.counts[0].sum(axis=1).tolist() == [100, 100]


def test_the_best_steps_have_most_valid_pixels(values: np.ndarray, make_cube: MakeCube) -> None:
    values[[2, 9, 11, 17]] = 1.0
    survey = survey_cube(make_cube(values))
    np.testing.assert_array_equal(survey.best, values[[2, 9, 11, 17]])


def test_evenly_keeps_both_ends() -> None:
    assert evenly(np.arange(5), 9).tolist() == [0, 1, 2, 3, 4]
    assert evenly(np.arange(9), 5).tolist() == [0, 2, 4, 6, 8]


def test_thumbnails_and_sample_stay_small(make_cube: MakeCube) -> None:
    values = np.broadcast_to(np.arange(250, dtype=np.float32), (130, 1, 8, 250)).copy()
    survey = survey_cube(make_cube(values))
    assert len(survey.thumbnails) == 120
    assert {0, 129} <= survey.thumbnails.keys()
    # 480 000 pixels for 120 pictures: 63 a side; rows stay, columns are thinned to every 4th
    assert survey.thumbnails[0].shape == (1, 8, 63)
    assert survey.thumbnails[0][0, 0, :3].tolist() == [0, 4, 8]
    assert survey.sample.shape == (130, 1, 8, 63)
