"""The units of a forecast, made by the workers of a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from geoforecast.cluster.shares import share_out
from geoforecast.errors import ProjectError
from geoforecast.predict.crew import Progress, fill
from geoforecast.predict.making import Making, begin
from geoforecast.predict.plan import make_plan
from geoforecast.predict.room import room_for
from geoforecast.predict.units import Unit
from geoforecast.project import Project
from geoforecast.settings import PredictSettings


@dataclass(frozen=True)
class Parcel:
    """What a worker must know.

    Attributes:
        root: of the project.
        settings: section [predict].
        folder: where the units are kept.
    """

    root: Path
    settings: PredictSettings
    folder: Path

    def do(self, numbers: Sequence[int], go_on: Callable[[], None]) -> int:
        """Forecast some units; see cluster.shares.Parcel."""
        making = begin(make_plan(Project(self.root), self.settings), alone=False)
        if making.folder != self.folder:
            raise ProjectError(
                f"A Dask worker would make another forecast than this process in {self.root}.",
                remedy="Wait for other commands in that project to end; and let the workers use "
                "the same --device, which cpu is everywhere.",
            )
        units = [making.units[number] for number in numbers]
        missing = making.missing(units)  # a worker that died may have done some
        side = room_for(making.plan, 1).side

        def called_off() -> bool:
            go_on()
            return False

        fill(making, missing, making.settled(), jobs=1, side=side, interrupted=called_off)
        return len(missing)


def fill_on_cluster(
    making: Making,
    units: Sequence[Unit],
    *,
    project: Project,
    address: str,
    interrupted: Callable[[], bool],
    progress: Progress | None,
) -> None:
    """Forecast some units on a Dask cluster.

    Args:
        making: what they are units of.
        units: those that are wanted.
        project: where all of it lies.
        address: of the Dask scheduler, such as ``tcp://host:8786``.
        interrupted: asked all the while; True stops.
        progress: called with units done and in all.
    Raises:
        GeoforecastError: as cluster.shares.share_out.
    """
    if not units:
        return
    parcel = Parcel(project.root.absolute(), making.plan.settings, making.folder.absolute())
    share_out(
        parcel,
        [unit.number for unit in units],
        [str((project.cube_path / "zarr.json").absolute())],
        address=address,
        progress=progress,
        interrupted=interrupted,
    )
