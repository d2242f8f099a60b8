"""Samples: fields belong to the raster, and have the variance and likeness they should."""

import numpy as np
import pytest

from geoforecast.forecast.sampling import chained, normal_field, probabilities
from geoforecast.raster.grid import Tile
from geoforecast.references.likeness import Likeness

PATCHY = Likeness(0.2, 0.6, 5.0)


@pytest.mark.parametrize("tile", [Tile(0, 40, 0, 50), Tile(100, 131, 120, 300), Tile(7, 8, 9, 10)])
def test_a_tile_is_cut_from_the_raster(tile):
    whole = normal_field(Tile(0, 200, 0, 300), PATCHY, [1, 2])
    np.testing.assert_array_equal(normal_field(tile, PATCHY, [1, 2]), whole[tile.slices])


def test_keys_tell_fields_apart():
    tile = Tile(0, 20, 0, 20)
    fields = [normal_field(tile, PATCHY, key) for key in ([1, 2], [2, 1], [1, 3])]
    assert len({field.tobytes() for field in fields}) == 3


def test_fields_are_standard_normal_up_to_the_raster_s_edge():
    fields = np.stack([normal_field(Tile(0, 40, 0, 40), PATCHY, [n]) for n in range(2000)])
    assert fields.mean(axis=0) == pytest.approx(0, abs=0.12)
    assert fields.std(axis=0) == pytest.approx(1, abs=0.08)
    share = (probabilities(fields) < 0.05).mean()
    assert share == pytest.approx(0.05, abs=0.01)


def test_leads_are_alike_as_their_errors_sizes_say():
    rng = np.random.default_rng(0)
    fields = [rng.standard_normal((300, 300)).astype(np.float32) for _ in range(3)]
    first, second, third = chained(fields, [1.0, 2.0, 1.5])
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] == pytest.approx(0.5, abs=0.02)
    np.testing.assert_array_equal(second, third)  # a smaller error is the same one
    assert second.std() == pytest.approx(1, abs=0.02)
