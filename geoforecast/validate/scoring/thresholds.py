"""Which events are scored: `--events X,X,...`, and the names of their scores."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from geoforecast.errors import SettingsError
from geoforecast.validate.metrics.classes import EVENT
from geoforecast.validate.metrics.fractions import SCALES_PX, useful_scale
from geoforecast.validate.metrics.pooled import evaluate, metric_names
from geoforecast.validate.scoring.scores import Scores, best_reference

NONE = "none"
# Rain or none, rain, heavy rain: what verification of radar forecasts is wont to ask.
RAIN_EVENTS = (0.1, 1.0, 5.0)
RAIN_RATE = re.compile(r"mm\s*(/\s*(h|hr|hour)|[ .]\s*(h|hr|hour)\s*\^?-1)", re.IGNORECASE)
LARGEST = float(np.finfo(np.float32).max)  # a pixel can hold no more
LEADING = "csi"  # the score that is told first


def parse_events(entries: Sequence[float | str]) -> tuple[float, ...] | None:
    """Thresholds in band units, ascending; () for ``none``, and None if the user leaves it to us.

    Raises:
        SettingsError: not numbers that a pixel can hold, or not ascending.
    """
    if not entries:
        return None
    if tuple(entries) == (NONE,):
        return ()
    thresholds: list[float] = []
    for entry in entries:
        if isinstance(entry, str) or not abs(entry) <= LARGEST:  # NaN compares false
            raise SettingsError(
                f"--events {_list(entries)}: {entry} is not a number that a pixel can hold.",
                remedy="Give thresholds in band units, such as 0.1,1,5, or `none` alone.",
            )
        if thresholds and entry <= thresholds[-1]:
            raise SettingsError(
                f"--events {_list(entries)}: {_text(entry)} is not above {_text(thresholds[-1])}.",
                remedy="Give each threshold once, in ascending order.",
            )
        thresholds.append(float(entry) + 0.0)  # no -0
    return tuple(thresholds)


def band_events(
    entries: Sequence[float | str], units: Iterable[str]
) -> tuple[tuple[float, ...], ...]:
    """The thresholds of each band.

    Args:
        entries: as --events gives them. If they are empty, bands in mm/h have RAIN_EVENTS, and
            others none.
        units: of each band.
    """
    asked = parse_events(entries)
    if asked is not None:
        return tuple(asked for _ in units)
    return tuple(RAIN_EVENTS if RAIN_RATE.fullmatch(unit.strip()) else () for unit in units)


def refuse_events(entries: Sequence[float | str], kind: str) -> None:
    """Refuse thresholds where forecasts are probabilities, which have no size to reach.

    Raises:
        SettingsError: thresholds are given.
    """
    if parse_events(entries):
        raise SettingsError(
            f"--events {_list(entries)} asks for thresholds of values, but the run's targets "
            f"are {kind}.",
            remedy="Leave it out, or give --events none; classes and yes or no need no thresholds.",
        )


def event_values(scores: Scores, method: str, band: int, lead: int) -> list[tuple[str, float, str]]:
    """(name such as csi_0.1, value, reason) of every event and metric.

    Args:
        scores: of the raster.
        method, band, lead: name, index, and from 1.
    """
    return [
        (f"{name}_{_text(threshold)}", *evaluate(name, scores.event(method, band, lead, number)))
        for number, threshold in enumerate(scores.events[band])
        for name in metric_names(EVENT)
    ]


def fraction_values(
    scores: Scores, method: str, band: int, lead: int
) -> list[tuple[str, float, str]]:
    """(name such as fss_0.1_5px, value, reason) of every event and scale.

    And the smallest scale that is useful, as useful_scale_0.1. Of the methods that are drawn.
    """
    told: list[tuple[str, float, str]] = []
    for number, threshold in enumerate(scores.events[band]):
        by_scale = scores.fraction(method, band, lead, number)
        values = {scale: evaluate("fss", pooled) for scale, pooled in by_scale.items()}
        told += [
            (f"fss_{_text(threshold)}_{scale}px", value, reason)
            for scale, (value, reason) in values.items()
        ]
        event = scores.event(method, band, lead, number)
        share = (event.hits + event.misses) / event.n if event.n else math.nan
        least = useful_scale({scale: value for scale, (value, _) in values.items()}, share)
        reason = "" if least == least else "no scale has a score halfway from chance to perfect"
        told.append((f"useful_scale_{_text(threshold)}", least, reason))
    return told


def fraction_rows(
    value: Mapping[tuple[str, int, str], float], label: str, leads: Sequence[int]
) -> list[tuple[str, int, list[float], float]]:
    """Method, lead, FSS by scale and the smallest useful scale, at the first and last lead.

    Args:
        value: (method, lead, metric) -> value, of one band.
        label: the threshold, as in the names of its metrics.
        leads: to tell of, from 1; () of none.
    """
    useful = f"useful_scale_{label}"
    methods = dict.fromkeys(method for method, _, name in value if name == useful)
    return [
        (
            method,
            lead,
            [value[method, lead, f"fss_{label}_{scale}px"] for scale in SCALES_PX],
            value[method, lead, useful],
        )
        for lead in dict.fromkeys([*leads[:1], *leads[-1:]])
        for method in methods
    ]


@dataclass(frozen=True)
class EventSummary:
    """CSI of one band's event at every lead.

    Attributes:
        label: the threshold as text, as in the names of its metrics.
        csi: method -> values by lead, NaN where undefined.
        best: by lead the reference of the highest CSI, known in hindsight; "" if none has one.
    """

    label: str
    csi: dict[str, list[float]]
    best: tuple[str, ...]

    @property
    def best_csi(self) -> list[float]:
        """Of that reference, by lead."""
        return [self.csi[name][at] if name else math.nan for at, name in enumerate(self.best)]


def event_summaries(
    value: Mapping[tuple[str, int, str], float], leads: Sequence[int]
) -> tuple[EventSummary, ...]:
    """Each event of a band, in the order of thresholds.

    Args:
        value: (method, lead, metric) -> value, of one band.
        leads: to tell of, from 1.
    """
    names = dict.fromkeys(name for _, _, name in value if name.startswith(f"{LEADING}_"))
    methods = dict.fromkeys(method for method, _, name in value if name in names)
    result = []
    for name in names:
        csi = {method: [value[method, lead, name] for lead in leads] for method in methods}
        best = [
            best_reference({method: csi[method][at] for method in csi}, highest=True)
            for at in range(len(leads))
        ]
        result.append(EventSummary(name.removeprefix(f"{LEADING}_"), csi, tuple(best)))
    return tuple(result)


def _list(entries: Iterable[float | str]) -> str:
    return ",".join(entry if isinstance(entry, str) else _text(entry) for entry in entries)


def _text(threshold: float) -> str:
    """The shortest text that is this number: 0.1, 5."""
    return repr(threshold).removesuffix(".0")
