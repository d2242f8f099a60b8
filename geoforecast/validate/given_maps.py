"""Maps of classes, or of yes and no, that were handed in, beside what came."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoforecast.errors import InputError
from geoforecast.forecast.kinds import (
    BINARY,
    CATEGORICAL,
    MOST_CLASSES,
    VALUES,
    Target,
    class_counts,
    indicator_statistics,
    indicators,
    is_binary,
)
from geoforecast.forecast.outcome import Hindcast
from geoforecast.forecast.series import Series, make_series
from geoforecast.raster.cube import Cube
from geoforecast.raster.grid import Tile
from geoforecast.samples.normaliser import BandStatistics, fit_normaliser, from_meta, to_meta
from geoforecast.validate.given import PLAIN, Given

YES_AND_NO = {0, 1}


@dataclass(frozen=True)
class GivenMaps(Given):
    """Maps as they are, as probabilities of 0 and 1; see Given.

    They are compared with the map before, for a mean of maps is none.
    """

    has_probabilities = True

    @cached_property
    def references(self) -> tuple[str, ...]:
        return PLAIN[:1]

    def hindcasts(
        self, tile: Tile, steps: range, level: float = 0.0, *, likely: int = 0
    ) -> Iterator[Hindcast]:
        """See Given; the map before is what was seen last, NaN where nothing was."""
        for one in super().hindcasts(tile, steps, level, likely=likely):
            yield replace(one, last=one.forecasts[PLAIN[0]])

    def _handed_in(self, values: NDArray[Any], known: NDArray[np.bool_]) -> NDArray[np.float32]:
        values = super()._handed_in(values, known)
        target = self.series.target
        if target.kind == BINARY:
            return values
        made, seen = indicators(values, np.isfinite(values), target.classes)
        return np.where(seen, made[0], np.float32(np.nan))


def pair_maps(
    forecasts: Cube,
    observed: Cube,
    bands: Sequence[str],
    numbers: Sequence[int],
    steps: dict[int, int],
) -> GivenMaps | None:
    """The pair, if both are maps; None of values.

    Args:
        forecasts, observed: on one grid, both of classes or neither.
        bands: of the observed.
        numbers: the same bands of the forecasts.
        steps: step of the forecasts by that of the observed.
    Raises:
        InputError: classes in several bands, too many of them, or none.
    """
    target = target_of(forecasts, observed, bands, numbers, steps)
    if not target.is_probability:
        return None
    stored = None
    if observed.kind == CATEGORICAL and target.kind == BINARY:
        found = [_statistics(class_counts(observed, band, _all(observed))) for band in bands]
        stored = to_meta(fit_normaliser("none", found), found)
    series: Series = make_series(observed, bands, normaliser=stored, target=target)
    return GivenMaps(series, forecasts, steps)


def target_of(
    forecasts: Cube,
    observed: Cube,
    bands: Sequence[str],
    numbers: Sequence[int],
    steps: dict[int, int],
) -> Target:
    """What both hold: classes, yes and no, or values; see pair_maps.

    Yes and no are maps of 0 and 1 alone, in both folders, in one of which both occur.
    """
    if observed.kind != CATEGORICAL:
        told = [
            *_picked(observed, bands),
            *_picked(forecasts, [forecasts.bands[n] for n in numbers]),
        ]
        either = [is_binary(one) for one in told]
        return Target(BINARY) if any(either) and all(map(_zero_or_one, told)) else VALUES
    codes: set[int] = set()
    for band, number in zip(bands, numbers, strict=True):
        came = class_counts(observed, band, _all(observed))
        if not came:
            raise InputError(
                f"Never valid in the observed scenes: {band}.",
                remedy="Check the mask (mask in [stack]).",
            )
        codes |= set(came)
        for at in steps.values():
            codes |= set(class_counts(forecasts, forecasts.bands[number], range(at, at + 1)))
    if codes <= YES_AND_NO:
        return Target(BINARY)
    if len(bands) > 1:
        raise InputError(
            f"The folders hold classes in {len(bands)} bands, and one can be scored at a time.",
            where=f"bands: {', '.join(bands)}",
            remedy="Give files of one band.",
        )
    if len(codes) > MOST_CLASSES:
        raise InputError(
            f"{bands[0]} has {len(codes)} classes, more than {MOST_CLASSES}: perhaps these are "
            "values.",
            where=f"codes {min(codes)} to {max(codes)}",
            remedy="Score them as values: --kind continuous.",
        )
    return Target(CATEGORICAL, tuple(sorted(codes)))


def _picked(cube: Cube, bands: Sequence[str]) -> list[BandStatistics]:
    _, statistics = from_meta(cube.meta["normaliser"])
    return [statistics[cube.bands.index(band)] for band in bands]


def _zero_or_one(band: BandStatistics) -> bool:
    return is_binary(band) or band.minimum == band.maximum in (0.0, 1.0)


def _statistics(counts: dict[int, int]) -> BandStatistics:
    return indicator_statistics(counts.get(1, 0), sum(counts.values()))


def _all(cube: Cube) -> range:
    return range(len(cube.times))
