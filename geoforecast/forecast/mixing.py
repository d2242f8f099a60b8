"""The mixture in one tile: what its members forecast, and what becomes of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoforecast.forecast.kinds import CATEGORICAL
from geoforecast.forecast.series import LIMIT_MARGIN, Series
from geoforecast.references import Setting, likeness, reference_classes, spread
from geoforecast.references.autoregression import (
    RULES,
    Features,
    coefficient_count,
    feature_names,
)
from geoforecast.references.mixture import Knowledge, Sums, Tally, prior_weights
from geoforecast.references.motion import Motion
from geoforecast.references.recent import Recent
from geoforecast.references.varying import Season, applied, level_of, widened
from geoforecast.samples.features import Array

ADVECTION, PERSISTENCE = "advection", "persistence"
# Pixels of a tile whose errors are summed, on a lattice of the raster: neighbours err alike.
SAMPLED_PX = 60_000


@dataclass(frozen=True)
class Members:
    """Everything that is mixed at one lead.

    Attributes:
        lead: steps ahead, 1 or more.
        stack: (member, band, y, x) band units, within limits; NaN where nothing is known.
        features: (feature, band, y, x) of the autoregression, the plain ones.
        base: (band, y, x) what it corrects.
        level: (band, y, x) how high that is.
        season: of the time that is forecast.
        places: of the features that vary.
    """

    lead: int
    stack: Array
    features: Array
    base: Array
    level: Array
    season: Season
    places: tuple[int, ...]

    def sums(
        self,
        observed: Array,
        valid: NDArray[np.bool_],
        origin: tuple[int, int],
        knowledge: Knowledge,
    ) -> list[Sums]:
        """Sums of products of each band's errors, and how far off their mixture was.

        Args:
            observed, valid: (band, y, x) what came.
            origin: row and column of the tile in the raster.
            knowledge: as of the init step.
        """
        stride = 1
        while observed[0].size > SAMPLED_PX * stride * stride:
            stride += 1
        rows, cols = (slice(-start % stride, None, stride) for start in origin)
        result = []
        for band in range(len(observed)):
            stack = self.stack[:, band, rows, cols]
            seen = observed[band, rows, cols]
            known = valid[band, rows, cols] & np.isfinite(stack).all(axis=0) & np.isfinite(seen)
            truth = seen[known]
            plain = self.features[:, band, rows, cols][:, known]
            level = self.level[band, rows, cols][known]
            features = widened(plain, level, self.season, self.places)
            rest = truth - self.base[band, rows, cols][known]
            errors = stack[:, known] - truth
            typical = float(knowledge.typical[self.lead - 1, band])
            scores = pairs = None
            if typical > 0:
                weights = knowledge.weights[self.lead - 1, band].astype(np.float32)
                mean, disagreement = _weighed(errors, weights)
                scores = spread.counted(-mean, *spread.unit_of(disagreement, typical))
                pairs = self._pairs(band, observed[band], valid[band], weights, typical)
            result.append(Sums.of(errors, features, rest, scores, pairs))
        return result

    def _pairs(
        self,
        band: int,
        observed: Array,
        valid: NDArray[np.bool_],
        weights: NDArray[np.float32],
        typical: float,
    ) -> NDArray[np.float64]:
        """How alike the mixture's errors are, in the middle of the tile; see likeness.pairs."""
        starts = (max(0, (side - likeness.CROP_PX) // 2) for side in observed.shape)
        rows, cols = (slice(start, start + likeness.CROP_PX) for start in starts)
        mean, disagreement = _weighed(self.stack[:, band, rows, cols], weights)
        unit, _ = spread.unit_of(disagreement, typical)
        error = (observed[rows, cols] - mean) / unit
        return likeness.pairs(np.where(valid[rows, cols], error, np.float32(np.nan)))


class Mixer:
    """Mixes the references of one tile.

    Args:
        series: with fitted parameters.
        setting: the tile's, whose states the features share.
    """

    def __init__(self, series: Series, setting: Setting) -> None:
        self.series = series
        self.names = member_references(series)
        self._features = Features(setting, self.names, is_moving(series))
        self._recent = setting.state(Recent)
        self._bases = [_base(series, band) for band in range(len(series.bands))]
        usual = series.statistics
        self._usual = [band.mean for band in usual], [band.std for band in usual]

    def members(
        self,
        forecasts: Mapping[str, Array],
        days: Sequence[float],
        motion: Motion | None,
        knowledge: Knowledge,
    ) -> Iterator[Members]:
        """The members' forecasts, lead by lead.

        Args:
            forecasts: (lead, band, y, x) of every reference.
            days: valid times, one a lead.
            motion: the motion field, if fields move.
            knowledge: as of the init step; leads beyond its own take the last one's.
        """
        count = len(self.names)
        low, high = self._limits()
        for index, day in enumerate(days):
            at_lead = {name: forecasts[name][index] for name in self.names}
            base = np.stack([at_lead[name][band] for band, name in enumerate(self._bases)])
            features = self._features.at(index + 1, day, at_lead, base, motion)
            stack = np.empty((count + len(RULES), *base.shape), dtype=np.float32)
            for slot, name in enumerate(self.names):
                stack[slot] = at_lead[name]
            lead = min(index, knowledge.weights.shape[0] - 1)
            level, season = level_of(base, *self._usual), self._features.season(day)
            varying = level, season, self._features.places
            for band in range(len(base)):
                numbers = knowledge.coefficients[:, lead, band]
                part = level[band], season, self._features.places, numbers
                stack[count:, band] = applied(base[band], features[:, band], *part)
            np.clip(stack, low, high, out=stack)
            yield Members(index + 1, stack, features, base, *varying)

    def _limits(self) -> tuple[Array, Array]:
        """(band, y, x) lowest and highest value that a member may forecast.

        The series' limits, and farther where a pixel's last values were beyond: a level that
        has left the range of the training steps must not be held back.
        """
        low, high = self.series.limits
        span = [band.maximum - band.minimum for band in self.series.statistics]
        margin = (LIMIT_MARGIN * np.asarray(span)).astype(np.float32)[:, None, None]
        recent = self._recent.values
        lowest = np.maximum(np.fmin.reduce(recent) - margin, self.series.floor)
        highest = np.minimum(np.fmax.reduce(recent) + margin, self.series.ceiling)
        return np.fmin(low, lowest), np.fmax(high, highest)

    def mixed(self, members: Members, knowledge: Knowledge) -> tuple[Array, Array]:
        """The mixture, and how much its members disagree.

        Returns:
            (band, y, x) weighted mean of the members; their standard deviation about it.
        """
        lead = min(members.lead, knowledge.weights.shape[0]) - 1
        mean, deviation = np.empty_like(members.base), np.empty_like(members.base)
        for band in range(len(mean)):
            weights = knowledge.weights[lead, band].astype(np.float32)
            mean[band], deviation[band] = _weighed(members.stack[:, band], weights)
        return mean, deviation


def _weighed(stack: Array, weights: NDArray[np.float32]) -> tuple[Array, Array]:
    """Weighted mean and standard deviation over the first axis, one member after the other."""
    mean, square = np.zeros(stack.shape[1:], np.float32), np.zeros(stack.shape[1:], np.float32)
    used = np.flatnonzero(weights > 0)
    for slot in used:
        mean += weights[slot] * stack[slot]
    for slot in used:
        square += weights[slot] * np.square(stack[slot] - mean)
    return mean, np.sqrt(square)


def is_moving(series: Series) -> bool:
    """Whether the series is one of fields that move."""
    return ADVECTION in reference_classes(series.step_days, series.target.kind)


def member_references(series: Series) -> tuple[str, ...]:
    """The references that are mixed: all that apply."""
    return tuple(reference_classes(series.step_days, series.target.kind))


def empty_tally(series: Series, leads: int) -> Tally:
    """A tally of the series that knows nothing yet."""
    names = member_references(series)
    moving = is_moving(series)
    plain, features = len(feature_names(names, moving)), coefficient_count(names, moving)
    return Tally.empty(names, leads, len(series.bands), features, plain)


def known_at(series: Series, tally: Tally, step: int) -> Knowledge:
    """What a tally of all errors up to a step says."""
    spanned = bool(series.days[step] - series.days[0] >= series.period_days)
    classes = reference_classes(series.step_days, series.target.kind)
    priors = [prior_weights(classes, moving=zero, spanned=spanned) for zero in series.zero_based]
    if series.target.kind == CATEGORICAL:
        tally = tally.over_bands()
    early = () if spanned else [name for name, cls in classes.items() if cls.needs_cycle]
    return tally.knowledge(priors, without=early)


def _base(series: Series, band: int) -> str:
    moving = series.zero_based[band] and is_moving(series)
    return ADVECTION if moving else PERSISTENCE
