"""How a run's correction did at later steps, where its errors are looked at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from geoforecast.forecast.opening import steps_until
from geoforecast.forecast.trust import Sums, looked_at

if TYPE_CHECKING:
    from geoforecast.forecast.engine import Engine


def followed(engine: Engine) -> Iterator[Sums]:
    """How the correction did at each step that the run does not know yet."""
    end = steps_until(engine.cube, engine.checkpoint)
    first = max(engine.checkpoint.lookback - 1, end - engine.horizon)
    inits = range(first, len(engine.series.days) - 1)
    for tile in looked_at(engine.checkpoint.watched, len(engine.band_names)) if inits else ():
        outer = engine.outer(tile, inits, engine.horizon, [engine.reference])
        inner = (..., *tile.within(outer))
        stream = engine.stream(outer, (), first)
        context = engine.context.tile(outer)
        for init in inits:
            stream.advance_to(init)
            days = [float(day) for day in engine.series.days[init + 1 : init + 1 + engine.horizon]]
            made = stream.forecasts(days, [engine.reference])[engine.reference]
            output = engine.corrector.output(stream, context, made, days, tile)[inner]
            came = [stream.observed(init + 1 + lead) for lead in range(len(days))]
            observed = np.stack([values[inner] for values, _ in came])
            missed, added = engine.corrector.errors(made[inner], output, observed)
            for lead in range(max(0, end - init - 1), len(days)):
                known = came[lead][1][inner] & np.isfinite(missed[lead])
                r, c = (one[lead][known].astype(np.float64) for one in (missed, added))
                yield init + 1 + lead, lead, float(r @ c), float(c @ c), int(known.sum())
