"""Moran's I and Geary's C: by hand on 2 x 2, beside esda, and where they are undefined."""

import math

import numpy as np
import pytest

from geoforecast.validate.metrics.autocorrelation import (
    autocorrelation,
    from_sums,
    local_moran,
    neighbour_sums,
)


def field(seed, shape, gaps):
    rng = np.random.default_rng(seed)
    rows = np.cumsum(rng.standard_normal(shape), axis=0)
    return 20 + rows + rng.standard_normal(shape), rng.random(shape) >= gaps


def weights_of(valid, neighbours):
    """Binary weights of libpysal among valid pixels, in the order of their rows."""
    weights = pytest.importorskip("libpysal").weights
    place = {tuple(p): number for number, p in enumerate(np.argwhere(valid).tolist())}
    near = {}
    for (row, col), number in place.items():
        around = [
            (row + i, col + j)
            for i in (-1, 0, 1)
            for j in (-1, 0, 1)
            if (i, j) != (0, 0) and (neighbours == "queen" or 0 in (i, j))
        ]
        near[number] = [place[one] for one in around if one in place]
    return weights.W(near, silence_warnings=True)


@pytest.mark.parametrize("gaps", [0.0, 0.3, 0.85])
@pytest.mark.parametrize("neighbours", ["queen", "rook"])
@pytest.mark.parametrize("standardised", [True, False])
def test_the_numbers_are_those_of_esda(gaps, neighbours, standardised):
    esda = pytest.importorskip("esda")
    values, valid = field(1, (64, 64), gaps)
    weights = weights_of(valid, neighbours)
    rule = "R" if standardised else "B"
    moran = esda.Moran(values[valid], weights, transformation=rule, permutations=0)
    geary = esda.Geary(values[valid], weights, transformation=rule, permutations=0)
    found = autocorrelation(values, valid, neighbours=neighbours, standardised=standardised)
    assert found.pixels == valid.sum()
    assert found.pairs == sum(map(len, weights.neighbors.values())) // 2
    assert found.moran == pytest.approx(moran.I, abs=1e-10)
    assert found.moran_expected == pytest.approx(moran.EI, abs=1e-12)
    assert found.moran_z == pytest.approx(moran.z_norm, rel=1e-8)
    assert found.geary == pytest.approx(geary.C, abs=1e-10)
    assert found.geary_z == pytest.approx(geary.z_norm, rel=1e-8)


def test_local_numbers_are_those_of_esda():
    esda = pytest.importorskip("esda")
    values, valid = field(2, (24, 20), 0.2)
    local = esda.Moran_Local(values[valid], weights_of(valid, "queen"), permutations=0)
    found = local_moran(values, valid)
    np.testing.assert_allclose(found[valid], local.Is, rtol=1e-9, atol=1e-12)
    assert np.isnan(found[~valid]).all()


def test_two_by_two_by_hand():
    values, valid = np.array([[1.0, 2.0], [3.0, 6.0]]), np.ones((2, 2), bool)
    # About the mean of 3: -2, -1, 0, 3; squares add up to 14.
    rook = autocorrelation(values, valid, neighbours="rook", standardised=False)
    # Pairs 2 + 0 - 3 + 0 = -1; differences 1 + 4 + 16 + 9 = 30; each twice, of 8 weights.
    assert rook.pairs == 4
    assert rook.moran == pytest.approx(4 / 8 * -2 / 14)
    assert rook.geary == pytest.approx(3 / 16 * 60 / 14)
    queen = autocorrelation(values, valid, neighbours="queen", standardised=False)
    assert queen.pairs == 6
    assert queen.moran == pytest.approx(4 / 12 * 2 * (-1 - 6 + 0) / 14)


def test_a_chessboard_and_a_slope():
    rows, cols = np.mgrid[:20, :20]
    valid = np.ones((20, 20), bool)
    board = autocorrelation((rows + cols) % 2, valid, neighbours="rook")
    assert board.moran == pytest.approx(-1)
    assert board.moran_z < -10
    slope = autocorrelation(rows + cols, valid)
    assert slope.moran > 0.9
    assert slope.geary < 0.1
    assert slope.geary_z < -10


def test_values_far_from_zero_lose_no_digits():
    values, valid = field(3, (40, 40), 0.1)
    near, far = (autocorrelation(values + shift, valid) for shift in (0, 1e6))
    assert far.moran == pytest.approx(near.moran, abs=1e-8)
    assert far.geary == pytest.approx(near.geary, abs=1e-8)


def test_what_is_no_number_is_a_gap():
    values, valid = field(4, (12, 9), 0.2)
    holes = values.copy()
    holes[3, 4], holes[5, 5] = np.nan, np.inf
    fewer = valid.copy()
    fewer[3, 4] = fewer[5, 5] = False
    assert autocorrelation(holes, valid) == autocorrelation(values, fewer)


@pytest.mark.parametrize(
    ("values", "valid", "reason"),
    [
        (np.zeros((3, 3)), np.zeros((3, 3), bool), "fewer than two pixels"),
        (np.eye(3), np.eye(3, dtype=bool) & (np.arange(3) == 1), "fewer than two pixels"),
        (np.arange(25.0).reshape(5, 5), np.indices((5, 5)).sum(0) % 4 == 0, "no pixel has"),
        (np.full((3, 3), 0.1), np.ones((3, 3), bool), "one value"),
        (np.full((3, 3), 1e9 + 0.1, np.float32), np.ones((3, 3), bool), "one value"),
    ],
)
def test_what_is_undefined_says_why(values, valid, reason):
    found = autocorrelation(values, valid, neighbours="rook")
    assert reason in found.reason
    assert math.isnan(found.moran)
    assert math.isnan(found.geary)
    if reason != "no pixel has":
        assert np.isnan(local_moran(values, valid)).all()


def test_whole_numbers_and_float32_are_taken_as_they_are():
    rng = np.random.default_rng(5)
    whole = rng.integers(0, 200, (30, 30)).astype(np.uint8)
    valid = np.ones(whole.shape, bool)
    assert autocorrelation(whole, valid) == autocorrelation(whole.astype(np.float64), valid)


@pytest.mark.parametrize("side", [5, 16])
@pytest.mark.parametrize("neighbours", ["queen", "rook"])
def test_parts_add_up_to_the_whole(side, neighbours):
    values, valid = field(6, (41, 33), 0.25)
    whole = autocorrelation(values, valid, neighbours=neighbours)
    total = 0
    for row in range(0, 41, side):
        for col in range(0, 33, side):
            top, left = max(0, row - 2), max(0, col - 2)
            outer = (slice(top, row + side + 2), slice(left, col + side + 2))
            rows = slice(row - top, min(row + side, 41) - top)
            cols = slice(col - left, min(col + side, 33) - left)
            total = total + neighbour_sums(
                values[outer], valid[outer], (rows, cols), 19.0, neighbours=neighbours
            )
    found = from_sums(total)
    assert (found.pixels, found.pairs) == (whole.pixels, whole.pairs)
    for name in ("moran", "moran_z", "geary", "geary_z"):
        assert getattr(found, name) == pytest.approx(getattr(whole, name), rel=1e-9)
