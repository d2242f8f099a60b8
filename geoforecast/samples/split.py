"""The time split: which steps train, validate and test. Decided once, stored in the cube.

The boundaries are stored as times, not step numbers, so that a cube that grows keeps them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoforecast.errors import SeriesTooShortError, SettingsError
from geoforecast.settings import SplitSettings, Unsplit

MIN_TRAIN = 3
MIN_VALIDATION = 2
MIN_TEST = 3
SMALLEST_SERIES = MIN_TRAIN + MIN_VALIDATION + MIN_TEST


@dataclass(frozen=True)
class Split:
    """Consecutive blocks of steps: train ``[0, validation)``, validation, a gap or none, test.

    Attributes:
        validation: first validation step.
        test: first test step.
        steps: number of steps in the cube; of a fold the first step after its test block.
        gap: steps before the test block that belong to no block; 0 but for folds.
    """

    validation: int
    test: int
    steps: int
    gap: int = 0

    @property
    def seen(self) -> int:
        """First step that training knows nothing of."""
        return self.test - self.gap

    @property
    def train_steps(self) -> range:
        return range(self.validation)

    @property
    def validation_steps(self) -> range:
        return range(self.validation, self.seen)

    @property
    def test_steps(self) -> range:
        return range(self.test, self.steps)

    def to_meta(self, times: NDArray[np.datetime64]) -> dict[str, str]:
        """The boundaries as ISO times, for storage.

        The test block of a fold ends where it ended; any other grows with the cube.
        """
        after = times[-1].astype("datetime64[s]") + np.timedelta64(1, "s")
        starts = [*times.astype("datetime64[s]"), after]  # a block may be empty
        meta = {
            "validation_start": str(starts[self.validation]),
            "test_start": str(starts[self.test]),
        }
        if self.gap:
            end = times[self.steps - 1].astype("datetime64[s]") + np.timedelta64(1, "s")
            meta |= {"gap_start": str(starts[self.seen]), "test_end": str(end)}
        return meta

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any], times: NDArray[np.datetime64]) -> Split:
        """The split that was stored, on the steps that the cube has now."""

        def first(key: str) -> int:
            return int(np.searchsorted(times, np.datetime64(meta[key])))

        test = first("test_start")
        if "gap_start" not in meta:
            return cls(first("validation_start"), test, len(times))
        return cls(first("validation_start"), test, first("test_end"), test - first("gap_start"))


def make_split(steps: int, settings: SplitSettings) -> Split:
    """Share out steps by time: test last, validation before it, training first.

    Args:
        steps: number of steps in the cube.
        settings: sizes as fractions (below 1) or counts; 0 means the default:
            test max(3, ceil 20 %), validation max(2, ceil 20 %) of the rest. Unsplit: all
            steps are one block, however few.
    Raises:
        SeriesTooShortError: a block would be too small.
    """
    if isinstance(settings, Unsplit):
        return Split(steps, steps, steps)
    test = _size(settings.test, steps, MIN_TEST)
    validation = _size(settings.validation, steps - test, MIN_VALIDATION)
    train = steps - test - validation
    if train < MIN_TRAIN:
        raise SeriesTooShortError(
            f"{steps} steps are too few: {test} for testing and {validation} for validation "
            f"leave {max(train, 0)} for training, and {MIN_TRAIN} are the least.",
            remedy=f"Give at least {SMALLEST_SERIES} time steps, or smaller --test and "
            "--validation.",
        )
    return Split(train, train + validation, steps)


def validation_size(steps: int) -> int:
    """How many of the steps before a test block validate where nobody says otherwise."""
    return _size(0, steps, MIN_VALIDATION)


def _size(wanted: float, steps: int, least: int) -> int:
    if wanted == 0:
        return max(least, math.ceil(0.2 * steps))
    size = math.ceil(wanted * steps) if wanted < 1 else int(wanted)
    if size < 1 or (wanted >= 1 and wanted != size):
        raise SettingsError(
            f"A block of {wanted} steps cannot be cut.",
            remedy="Give a fraction below 1 or a whole number of steps.",
        )
    return size
