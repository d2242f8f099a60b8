"""Two folders brought together: which bands, times and kinds meet."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geoforecast.errors import DateError, GridMismatchError, InputError
from geoforecast.figures.words import time_label
from geoforecast.forecast.series import make_series
from geoforecast.raster.cube import Cube
from geoforecast.validate.given import Given, band_numbers, pair_times
from geoforecast.validate.given_maps import pair_maps

log = logging.getLogger(__name__)

MOST_NAMED = 5


def pair_cubes(forecasts: Cube, observed: Cube) -> Given:
    """Bring forecasts and what came together.

    Args:
        forecasts: one or more steps.
        observed: the same grid; scenes that were not forecast as well, from which simple
            forecasts are made.
    Raises:
        GridMismatchError: the grids differ.
        InputError: no band has the same name, or units differ.
        DateError: no time of one is one of the other.
    """
    if forecasts.grid != observed.grid:
        raise GridMismatchError(
            "The forecasts and the observed scenes lie on different grids.",
            where=[forecasts.grid.describe(), observed.grid.describe()],
            remedy="Stack the observed scenes on the grid of the forecasts.",
        )
    if forecasts.kind != observed.kind:
        raise InputError(
            f"The forecasts were read as {forecasts.kind}, the observed scenes as {observed.kind}.",
            remedy="Say what both are: validate --kind categorical keeps class codes as they are.",
        )
    bands = _common_bands(forecasts, observed)
    _check_units(forecasts, observed, bands)
    pairs = pair_times(forecasts.times, observed.times)
    if not pairs:
        raise DateError(
            "No forecast is of a time that was observed.",
            where=[
                f"forecasts: {_times(forecasts.times)}",
                f"observed: {_times(observed.times)}",
            ],
            remedy="Give folders of the same dates; --date-regex in [stack] says how names tell.",
        )
    left = sorted(set(range(len(forecasts.times))) - set(pairs.values()))
    if left:
        log.warning("%d forecasts were not observed: %s", len(left), _times(forecasts.times[left]))
    if 0 in pairs and len(pairs) > 1:
        log.warning(
            "no scene was observed before %s, so it has no simple forecast and is not scored",
            time_label(observed.times[0]),
        )
    maps = pair_maps(forecasts, observed, bands, band_numbers(forecasts, bands), pairs)
    return maps or Given(make_series(observed, bands), forecasts, pairs)


def _common_bands(forecasts: Cube, observed: Cube) -> tuple[str, ...]:
    """Bands of the observed that were forecast; a single one of both needs no common name."""
    common = tuple(band for band in observed.bands if band in forecasts.bands)
    if common:
        return common
    if len(forecasts.bands) == len(observed.bands) == 1:
        return observed.bands
    raise InputError(
        "No band of the forecasts is one of the observed scenes.",
        where=[
            f"forecasts: {', '.join(forecasts.bands)}",
            f"observed: {', '.join(observed.bands)}",
        ],
        remedy="Name bands alike (band descriptions or file names), or derive them: --index and "
        "--expression in [stack] apply to the observed scenes.",
    )


def _check_units(forecasts: Cube, observed: Cube, bands: Sequence[str]) -> None:
    """Refuse bands in two units; one that is not told may be the other."""
    units = dict(zip(observed.bands, observed.units, strict=True))
    numbers = band_numbers(forecasts, bands)
    for band, number in zip(bands, numbers, strict=True):
        said, came = forecasts.units[number], units[band]
        if said and came and said != came:
            raise InputError(
                f"{band} is forecast in '{said}' and observed in '{came}'.",
                remedy="Bring both to one unit, and say so in the files' unit tags.",
            )


def _times(times: NDArray[np.datetime64]) -> str:
    named = [time_label(time) for time in times[:MOST_NAMED]]
    more = f" and {len(times) - MOST_NAMED} more" if len(times) > MOST_NAMED else ""
    return ", ".join(named) + more
