"""The units of a cube in the making, done by the workers of a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geoforecast.cluster.shares import forget_causes, share_out
from geoforecast.stack.pixels.crew import Outcome
from geoforecast.stack.pixels.making import Making
from geoforecast.stack.pixels.units import Unit
from geoforecast.stack.plan import Plan

MOST_SAMPLES = 100


@dataclass(frozen=True)
class Parcel:
    """What a worker must know.

    Attributes:
        making: what the units are of.
        keys: of the units that are wanted, by number.
    """

    making: Making
    keys: Mapping[int, str]

    @property
    def folder(self) -> Path:
        """Where the cube grows."""
        return self.making.folder

    def do(self, numbers: Sequence[int], go_on: Callable[[], None]) -> Outcome:
        """Fill some units; see cluster.shares.Parcel."""
        units = [self.making.units[number] for number in numbers]
        keys = [self.keys[number] for number in numbers]
        outcome = self.making.fill(units, keys, jobs=1, progress=lambda _done, _total: go_on())
        for failure in outcome.failed.values():
            forget_causes(failure)
        return outcome


def fill_on_cluster(
    making: Making,
    units: Sequence[Unit],
    keys: Sequence[str],
    *,
    address: str,
    progress: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Do some units on a Dask cluster, and note each when its files are written.

    Args:
        making: what they are units of; what other clusters do in its folder is called off.
        units, keys: those that are wanted.
        address: of the Dask scheduler, such as ``tcp://host:8786``.
        progress: called with units done and in all.
    Returns:
        As Making.fill.
    Raises:
        SceneError: pixels cannot be decoded, with --on-error fail.
        InputError: there is no scheduler at the address, or it has no workers.
        ProjectError: a worker does not see the project, or is of another version.
        GeoforecastError: the cluster came to an end, or its workers did again and again.
    """
    if not units:
        return Outcome(np.zeros(making.writer.shape[0], np.int64))
    parcel = Parcel(making, {unit.number: key for unit, key in zip(units, keys, strict=True)})
    numbers = [unit.number for unit in units]
    outcomes = share_out(
        parcel, numbers, samples_of(making.plan), address=address, progress=progress
    )
    return _together(making, outcomes)


def _together(making: Making, outcomes: Sequence[Outcome]) -> Outcome:
    """Outcomes of all shares as one; of a file's errors the first share's counts."""
    total = Outcome(np.zeros(making.writer.shape[0], np.int64))
    for outcome in outcomes:
        total.valid += outcome.valid
        total.failed = {**outcome.failed, **total.failed}
    return total


def samples_of(plan: Plan) -> list[str]:
    """One file of each folder of scenes and masks, which every worker must see."""
    scenes = plan.scenes()
    paths = [file.path for file in scenes]
    paths += [file.mask.header.path for file in scenes if file.mask]
    folders = {path.parent: path for path in reversed(paths)}
    return [str(path.absolute()) for path in folders.values()][:MOST_SAMPLES]
