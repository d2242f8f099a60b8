"""Moments: which step to forecast from, which times are forecast, and what files call them."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from geoforecast.errors import DateError
from geoforecast.forecast.engine import Engine
from geoforecast.forecast.series import future_times

# The day may be left out only where a dash tells months from days.
MOMENT = re.compile(r"(\d{4})-?(\d\d)(?:(?<=-\d\d)|-?(\d\d)(?:[T ](\d\d):?(\d\d)(?::?(\d\d))?)?)Z?")


def find_init(engine: Engine, text: str) -> int:
    """The step to forecast from: the cube's last, or the last one up to a date.

    Raises:
        DateError: not a date, before the cube, or too early for the lookback.
    """
    times = engine.cube.times
    step = len(times) - 1
    if text:
        first, last = parse_moment(text)
        if first > times[-1]:
            raise DateError(
                f"--from {text} lies after the cube's last step, {times[-1]}.",
                remedy="Leave --from out to forecast from there.",
            )
        step = int(np.searchsorted(times, last, side="right")) - 1
    least = engine.checkpoint.lookback - 1
    if step < least:
        raise DateError(
            f"Forecasting from {text or times[step]} needs {engine.checkpoint.lookback} steps "
            f"up to it; the cube has {step + 1}.",
            where=f"the cube runs from {times[0]} to {times[-1]}",
            remedy=f"Give a date from {times[min(least, len(times) - 1)]} on.",
        )
    return step


def parse_moment(text: str) -> tuple[np.datetime64, np.datetime64]:
    """The first and last second of a month, day, minute or second.

    Raises:
        DateError: not a date of the forms 2023-06, 2023-06-15, 20230615, 2023-06-15T12:05.
    """
    match = MOMENT.fullmatch(text.strip())
    try:
        if match is None:
            raise ValueError(text)
        year, month, day, hour, minute, second = match.groups()
        if day is None:
            start = np.datetime64(f"{year}-{month}", "M")
            return start.astype("datetime64[s]"), (start + 1).astype("datetime64[s]") - 1
        if hour is None:
            date = np.datetime64(f"{year}-{month}-{day}", "D")
            return date.astype("datetime64[s]"), (date + 1).astype("datetime64[s]") - 1
        moment = np.datetime64(f"{year}-{month}-{day}T{hour}:{minute}:{second or '00'}", "s")
        return moment, moment if second else moment + np.timedelta64(59, "s")
    except ValueError as error:
        raise DateError(
            f"--from is {text!r}.", remedy="Give a date such as 2023-06-15 or 2023-06-15T12:05."
        ) from error


def valid_times(
    times: NDArray[np.datetime64], init_step: int, leads: int
) -> NDArray[np.datetime64]:
    """The times after a step: the cube's own as far as it goes, then its rhythm carried on."""
    known = times[init_step + 1 : init_step + 1 + leads]
    if len(known) == leads:
        return known
    return np.concatenate([known, future_times(times, leads - len(known))])


def time_name(time: np.datetime64, among: list[np.datetime64]) -> str:
    """A time as a file-name part: 20230615, or 20230615T1205 where hours matter."""
    seconds = np.asarray(among).astype("datetime64[s]").astype(np.int64)
    text = str(time.astype("datetime64[s]")).replace("-", "").replace(":", "")
    if (seconds % 86400 == 0).all():
        return text[:8]
    return text[:13] if (seconds % 60 == 0).all() else text
