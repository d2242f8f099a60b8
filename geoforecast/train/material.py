"""What a run learns from: sites, the references' pooled numbers, errors, windows.

The honest run gathers it up to its test block; `--refit` gathers it again from every step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoforecast.forecast.mixing import member_references
from geoforecast.forecast.series import Series
from geoforecast.forecast.trust import as_rows
from geoforecast.raster.grid import Tile
from geoforecast.references.mixture import Tally
from geoforecast.samples.split import Split
from geoforecast.train.cache import (
    Scored,
    choose_sites,
    choose_watched,
    fit_references,
    load_sites,
    residual_scale,
)
from geoforecast.train.space import MEMORY, Space
from geoforecast.train.stop import Stop
from geoforecast.train.windows import Windows


@dataclass(frozen=True)
class Material:
    """Everything that training starts from.

    Attributes:
        series: with the references' pooled numbers.
        tiles: the sites.
        tally: all errors before the test block.
        scored: errors of every member on the validation block.
        windows: what the correction learns from.
    """

    series: Series
    tiles: list[Tile]
    tally: Tally
    scored: Scored
    windows: Windows

    @property
    def watched(self) -> tuple[tuple[int, int, int, int], ...]:
        """(row0, row1, col0, col1) of the sites whose errors are looked at later."""
        tiles = choose_watched(self.tiles, len(self.series.bands))
        return tuple((tile.row0, tile.row1, tile.col0, tile.col1) for tile in tiles)

    @property
    def parameters(self) -> dict[str, dict[str, float]]:
        """The references' pooled numbers, for storage."""
        return {name: dict(numbers) for name, numbers in self.series.parameters.items()}

    @property
    def residual_scale(self) -> tuple[tuple[float, ...], ...]:
        """(lead, band) training error of the corrected forecast, for storage."""
        return as_rows(self.windows.scale_LB.astype(np.float64))


def gather(
    series: Series,
    split: Split,
    base: str,
    steps: tuple[int, int],
    seed: int,
    stop: Stop,
    space: Space = MEMORY,
    tiles: list[Tile] | None = None,
) -> Material:
    """Decode sites, fit the references, and note how far off they and the mixture were.

    Args:
        series: what to read.
        split: numbers are fitted on its training steps, and nothing of its test block is read.
        base: name of the forecast to correct: a reference, or the mixture.
        steps: lookback and horizon.
        seed: of the choice of sites.
        stop: asked at every step.
        space: where the decoded sites are kept.
        tiles: the sites; None chooses them.
    Raises:
        InputError: there is no room for the sites.
        InterruptedRunError: stopped early.
    """
    lookback, horizon = steps
    tiles = tiles or choose_sites(series, split.test, horizon, seed)
    names = member_references(series)
    numbers = fit_references(series, tiles, names, split.validation, stop)
    series = series.with_parameters(numbers)
    sites, tally, scored = load_sites(series, tiles, base, split, horizon, stop, space)
    scale = residual_scale(sites, split.validation)
    if series.target.is_probability:
        scale = np.ones_like(scale)  # corrections are differences of log-odds
    windows = Windows(
        sites,
        split,
        lookback,
        horizon,
        series.step_days,
        scale,
        kind=series.target.kind,
        shares=tuple(band.mean for band in series.statistics),
        log_units=(series.normaliser.centre, series.normaliser.scale),
    )
    return Material(series, tiles, tally, scored, windows)
