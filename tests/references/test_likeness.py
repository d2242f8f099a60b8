"""Likeness: the size of patches is found again, and pairs are those of neighbours."""

import numpy as np
import pytest

from geoforecast.forecast.sampling import normal_field
from geoforecast.raster.grid import Tile
from geoforecast.references.likeness import DISTANCES, Likeness, fitted, pairs


def test_pairs_by_hand():
    errors = np.float32([[1, 2, np.nan], [3, 9, 1]])
    found = pairs(errors)
    # down: 1*3, 2*5; across: 1*2, 3*5, 5*1 - where 9 counts as 5
    products, squares = [3, 10, 2, 15, 5], [5, 14.5, 2.5, 17, 13]
    np.testing.assert_allclose(found[:, 0], [np.mean(products), np.mean(squares)])
    np.testing.assert_allclose(found[:, 1], [3, 5])  # 3 * 1, two columns apart
    assert not found[:, 2:].any()


@pytest.mark.parametrize(
    "likeness",
    [Likeness(0.0, 0.9, 3.0), Likeness(0.3, 0.5, 6.0), Likeness(0.0, 0.0, 0.5)],
)
def test_what_was_drawn_is_found_again(likeness):
    sums = np.zeros((2, len(DISTANCES)))
    for number in range(60):
        sums += pairs(normal_field(Tile(0, 160, 0, 160), likeness, [number]))
    found = fitted(sums)
    assert found.shared == pytest.approx(likeness.shared, abs=0.12)
    assert found.patches == pytest.approx(likeness.patches, abs=0.12)
    if likeness.patches:
        assert found.width == pytest.approx(likeness.width, rel=0.25)


def test_nothing_known_is_independent():
    assert fitted(np.zeros((2, len(DISTANCES)))).noise == 1
