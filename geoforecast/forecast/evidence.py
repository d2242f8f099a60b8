"""What is learned from errors while time goes on: the knowledge that mixtures are made with.

Errors of a forecast count from the step on that it was made for, so that knowledge at a step
depends on nothing later. They are pooled over some tiles of the raster, the same for every
forecast, so that any tile is forecast with the same numbers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from geoforecast.forecast.mixing import Members, known_at
from geoforecast.forecast.series import Series
from geoforecast.forecast.stream import TileStream
from geoforecast.raster.grid import Tile
from geoforecast.references.mixture import MIXTURE, Knowledge, Sums, Tally


class Learner:
    """Takes in sums of errors, and says what is known at each step.

    Args:
        series: whose errors.
        tally: what is known already; it is changed.
        end: first step that the tally knows nothing of.
    """

    def __init__(self, series: Series, tally: Tally, end: int) -> None:
        self.series, self.tally, self.end = series, tally, end
        self._pending: dict[int, dict[tuple[int, int], Sums]] = defaultdict(dict)
        self._known: dict[int, Knowledge] = {}

    def note(self, init: int, members: Members, sums: Sequence[Sums]) -> None:
        """Note the errors of forecasts from a step, of one tile and all bands."""
        pending = self._pending[init + members.lead]
        for band, one in enumerate(sums):
            at = (members.lead - 1, band)
            pending[at] = pending[at] + one if at in pending else one

    def noted(self, step: int) -> list[tuple[tuple[int, int], Sums]]:
        """((lead, band), sums) of errors at a step, as far as they are noted but not known."""
        return sorted(self._pending[step].items()) if step in self._pending else []

    def forget(self, step: int) -> None:
        """Drop what was known before a step: nobody will ask again."""
        for old in [one for one in self._known if one < step]:
            del self._known[old]

    def knowledge(self, step: int) -> Knowledge:
        """What is known at a step; before ``end`` it is what the tally knew at first.

        All errors of forecasts made for that step and earlier ones must have been noted.
        """
        if not self._known:
            self._known[self.end - 1] = self._now(max(0, self.end - 1))
        while self.end <= step:
            for (lead, band), sums in sorted(self._pending.pop(self.end, {}).items()):
                self.tally.add(lead, band, self.end + 1, sums)
            self._known[self.end] = self._now(self.end)
            self.end += 1
        return self._known[max(step, min(self._known))]

    def _now(self, step: int) -> Knowledge:
        return known_at(self.series, self.tally, step)


class Watch:
    """Goes on learning after the steps that a run was trained on.

    Args:
        series: with the run's parameters.
        tally: the run's; it is copied.
        end: first step that the tally knows nothing of.
        tiles: where errors are looked at.
        leads: of the run.
    """

    def __init__(
        self, series: Series, tally: Tally, end: int, tiles: Sequence[Tile], leads: int
    ) -> None:
        self.series, self.leads, self.tiles = series, leads, tiles
        self._learner = Learner(series, tally.copy(), end)
        self._first = end
        self._learned = False

    def knowledge(self, step: int) -> Knowledge:
        """What is known at a step; see Learner.knowledge."""
        if step >= self._first and not self._learned:
            self._learn()
            self._learned = True
        return self._learner.knowledge(step)

    def _learn(self) -> None:
        """Go through the record once, and keep what is known at each step.

        All of it, whatever step is asked for, so that the tiles' memory is free again before
        a forecast needs some. What is known at a step depends on earlier ones all the same.
        """
        streams = [watched(self.series, tile, self._learner.knowledge) for tile in self.tiles]
        last = len(self.series.days) - 1
        for _ in range(last):
            for stream in streams:
                stream.advance()
                note_errors(self._learner, stream, self.leads, self._first, last + 1)
        self._learner.knowledge(last)


def watched(series: Series, tile: Tile, knowledge: Callable[[int], Knowledge]) -> TileStream:
    """A stream of a tile whose errors are looked at."""
    never = len(series.days)
    return TileStream(series, tile, MIXTURE, lookback=1, expect_from=never, knowledge=knowledge)


def note_errors(learner: Learner, stream: TileStream, leads: int, first: int, end: int) -> None:
    """Note the errors of the forecasts that a tile makes at its step.

    Args:
        learner: takes them.
        stream: the tile.
        leads: how far ahead.
        first, end: steps whose errors count.
    """
    init = stream.step
    days = [float(day) for day in stream.series.days[init + 1 : min(init + 1 + leads, end)]]
    if not days or init + len(days) < first:
        return
    for members in stream.members(days):
        if init + members.lead >= first:
            note_members(learner, stream, members)


def note_members(learner: Learner, stream: TileStream, members: Members) -> None:
    """Note the errors of what a tile's members forecast for one lead at the stream's step."""
    observed, valid = stream.observed(stream.step + members.lead)
    origin = (stream.tile.row0, stream.tile.col0)
    known = learner.knowledge(stream.step)
    learner.note(stream.step, members, members.sums(observed, valid, origin, known))
