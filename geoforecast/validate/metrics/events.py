"""Metrics of events: values that reach a threshold, such as rain of 1 mm/h or more.

What was forecast as an event and what came as one are yes and no, so the metrics of binary
targets are those of events as well; only what is told of events alone is added here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoforecast.validate.metrics.classes import EVENT, share
from geoforecast.validate.metrics.pooled import metric

# What is summed for one threshold, in this order.
EVENT_SUMS = ("hits", "misses", "false_alarms")


@dataclass(frozen=True)
class PooledEvents:
    """Counts over all scored pixels of one method, band, lead and threshold.

    Attributes:
        n: scored pixels, events or not.
        hits: forecast and observed.
        misses: observed only.
        false_alarms: forecast only.
    """

    n: int
    hits: int
    misses: int
    false_alarms: int

    @property
    def table(self) -> NDArray[np.int64]:
        """(observed, forecast) pixels, no before yes."""
        neither = self.n - self.hits - self.misses - self.false_alarms
        return np.array([[neither, self.false_alarms], [self.misses, self.hits]])


def event_counts(
    forecast: NDArray[np.floating], observed: NDArray[np.floating], thresholds: Sequence[float]
) -> NDArray[np.int64]:
    """Hits, misses and false alarms; an event is a value at or above its threshold.

    Args:
        forecast, observed: (pixel,) scored pixels only, all finite, band units.
        thresholds: band units. They are rounded as the pixels were, to float32: a pixel of
            0.7 reaches 0.7, although the float32 lies below.
    Returns:
        (threshold, 3) in the order of EVENT_SUMS.
    """
    counts = np.zeros((len(thresholds), len(EVENT_SUMS)), dtype=np.int64)
    for number, threshold in enumerate(np.asarray(thresholds, dtype=np.float32)):
        said, came = forecast >= threshold, observed >= threshold
        hits = np.count_nonzero(said & came)
        counts[number] = hits, np.count_nonzero(came) - hits, np.count_nonzero(said) - hits
    return counts


@metric(
    title="frequency bias",
    better="one",
    kinds=(EVENT,),
    formula="(h + f) / (h + m): forecast over observed events; below 1 they are forecast too "
    "seldom, wherever they are",
    source="Wilks (2019), Statistical Methods in the Atmospheric Sciences, ch. 9",
)
def frequency_bias(pooled: PooledEvents) -> float:
    """How often events were forecast for each one that came."""
    return share(
        pooled.hits + pooled.false_alarms,
        pooled.hits + pooled.misses,
        "no event was observed",
    )
