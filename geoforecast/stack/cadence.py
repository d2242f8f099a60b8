"""A regular cadence: which slot each time falls into."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoforecast.errors import SettingsError

Times = NDArray[np.datetime64]
MAX_SLOTS = 1_000_000
_SECONDS = {"m": 60, "h": 3600, "D": 86400, "W": 7 * 86400}
_UNITS = {"min": "m", "h": "h", "d": "D", "w": "W", "mon": "M", "y": "Y"}


@dataclass(frozen=True)
class Cadence:
    """A regular step: ``count`` times a numpy unit (m, h, D, W, M or Y)."""

    count: int
    unit: str

    def slots(self, times: Times) -> tuple[Times, NDArray[np.int64]]:
        """The slots that cover some times, and the slot of each.

        Slots follow each other without a gap. The first starts at midnight of the first
        day (D, W), at the first of its month (M), on 1 January (Y), or at the first time
        (min, h). A slot is named after its start.

        Args:
            times: (n,) datetime64[s], ascending.
        Returns:
            (slots,) datetime64[s]; (n,) slot numbers.
        Raises:
            SettingsError: the step cuts the period into absurdly many slots.
        """
        if self.unit in "MY":  # months and years have no fixed length: count them whole
            ticks = times.astype(f"datetime64[{self.unit}]").astype(np.int64)
            start, step = ticks[0], self.count
        else:
            ticks = times.astype("datetime64[s]").astype(np.int64)
            start = ticks[0] - ticks[0] % _SECONDS["D"] if self.unit in "DW" else ticks[0]
            step = self.count * _SECONDS[self.unit]
        index = (ticks - start) // step
        if index[-1] >= MAX_SLOTS:
            raise SettingsError(
                f"--cadence cuts {times[0]} to {times[-1]} into {index[-1] + 1} steps.",
                remedy="Choose a longer step.",
            )
        slots = start + np.arange(index[-1] + 1) * step
        unit = self.unit if self.unit in "MY" else "s"
        return slots.astype(f"datetime64[{unit}]").astype("datetime64[s]"), index


def parse_cadence(text: str) -> Cadence | None:
    """The step that --cadence names; None for ``none``.

    Raises:
        SettingsError: it names no step.
    """
    if text in ("none", ""):
        return None
    # Only M and min are told apart by case: 5M is five months, never minutes.
    match = re.fullmatch(r"(\d*)\s*(min|[hHdDwWMyY])", text)
    if match is None or match[1] == "0" * len(match[1]) != "":
        raise SettingsError(
            f"--cadence {text} is no step.",
            remedy="Give a number and a unit: 5min, 3h, 16D, 1W, 1M (month) or 1Y.",
        )
    unit = "mon" if match[2] == "M" else match[2].lower()
    return Cadence(int(match[1] or 1), _UNITS[unit])
