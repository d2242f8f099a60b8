"""Pairs of forecasts and what came: valid pixels only, thinned on a lattice of the raster."""

import numpy as np

from geoforecast.forecast import bias
from geoforecast.forecast.outcome import FORECAST, Hindcast, compared
from geoforecast.raster.grid import Tile


def hindcast(tile, step=7, lead=2):
    rows, cols = np.mgrid[tile.row0 : tile.row1, tile.col0 : tile.col1].astype(np.float32)
    made = (100 * rows + cols)[None]
    return Hindcast(step, lead, {FORECAST: made}, made + 0.5, np.ones(made.shape, dtype=bool))


def test_only_pixels_that_were_seen_and_forecast_are_paired():
    one = hindcast(Tile(0, 2, 0, 3))
    one.valid[0, 0, 1] = False
    one.forecasts[FORECAST][0, 1, 2] = np.nan
    ((step, lead, band, made, came),) = compared(
        lambda _: iter([one]), [Tile(0, 2, 0, 3)], range(1)
    )
    assert (step, lead, band) == (7, 1, 0)
    assert made.tolist() == [0, 2, 100, 101]
    assert came.tolist() == [0.5, 2.5, 100.5, 101.5]


def test_the_lattice_is_fixed_to_the_raster(monkeypatch):
    # 48 pixels of one step, of which at most 6 are kept: every third row and column.
    monkeypatch.setattr(bias, "MOST_PAIRS", 6)
    tiles = [Tile(0, 4, 0, 6), Tile(4, 8, 0, 6)]
    found = compared(lambda tile: iter([hindcast(tile)]), tiles, range(1))
    kept = [value for *_, made, _ in found for value in made.tolist()]
    assert kept == [0, 3, 300, 303, 600, 603]
