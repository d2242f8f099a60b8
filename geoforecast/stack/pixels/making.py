"""A cube in the making: what is done survives a kill, and what another cube has is taken over.

The store grows in `.stacking` beside the cube, with a ledger of its units, and takes the
cube's place when all are done. Several processes may fill it at once: no two units share a
file, and each is noted in a file of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from filelock import FileLock

from geoforecast.errors import CubeError, ProjectError
from geoforecast.project import Project, put_in_place, write_json
from geoforecast.raster.cube import Cube, CubeWriter, open_cube
from geoforecast.raster.measures import CELL_PX, Part
from geoforecast.settings import StackSettings
from geoforecast.stack.pixels.crew import Outcome, write_pixels
from geoforecast.stack.pixels.gaps import fill_cube
from geoforecast.stack.pixels.units import (
    Ledger,
    Unit,
    files_size,
    unit_files,
    unit_keys,
    units_of,
)
from geoforecast.stack.plan import Plan
from geoforecast.system import granted_cpus
from geoforecast.values import share

log = logging.getLogger(__name__)

LOCK_SECONDS = 60


@dataclass(frozen=True)
class Making:
    """A cube in the making.

    Attributes:
        folder: where it grows.
        plan, settings: what it will be.
        writer: of its store.
        units: all of them.
        ledger: which are done.
    """

    folder: Path
    plan: Plan
    settings: StackSettings
    writer: CubeWriter
    units: list[Unit]
    ledger: Ledger

    def keys(self, units: Sequence[Unit], hashes: Mapping[str, str]) -> list[str]:
        """The keys that units must have been done under; see units.unit_keys."""
        return list(unit_keys(self.plan, self.settings, units, hashes))

    def missing(self, units: Sequence[Unit], keys: Sequence[str]) -> list[Unit]:
        """Those of some units that are not done, or whose files are not whole."""
        return [
            unit
            for unit, key in zip(units, keys, strict=True)
            if self.ledger.key(unit) != (key, files_size(self.writer.path, self._files(unit)))
        ]

    def take_over(self, cube: Cube, units: Sequence[Unit], keys: Sequence[str]) -> None:
        """Take units that another cube has, without copying a pixel where links can be made.

        Args:
            cube: complete; it keeps its files.
            units, keys: those that are wanted.
        """
        done = _units_in(cube, self.writer)
        for unit, key in zip(units, keys, strict=True):
            if key not in done:
                continue
            names = self._files(unit)
            for name in names:
                _link(cube.path / name, self.writer.path / name)
            size = files_size(self.writer.path, names)
            self.ledger.note(unit, key, _part_of(cube, unit, self.writer.stride), size)

    def fill(
        self,
        units: Sequence[Unit],
        keys: Sequence[str],
        *,
        jobs: int,
        progress: Callable[[int, int], None] | None = None,
    ) -> Outcome:
        """Do some units, and note each when its files are written."""
        by_number = {unit.number: key for unit, key in zip(units, keys, strict=True)}

        def done(unit: Unit, part: Part) -> None:
            size = files_size(self.writer.path, self._files(unit))
            self.ledger.note(unit, by_number[unit.number], part, size)
            self.writer.forget()

        return write_pixels(
            self.plan,
            self.settings,
            self.writer,
            jobs=jobs,
            progress=progress,
            units=units,
            done=done,
        )

    def finish(self, meta: Mapping[str, Any], records: Mapping[str, Sequence[str]]) -> Cube:
        """Make a complete cube of the units, still beside its place.

        Args:
            meta: of the cube.
            records: name -> hexadecimal hashes to keep with it.
        """
        self.writer.finish(meta, self._parts())
        writer = self.writer
        if self.settings.fill != "none":
            # Filled values never enter the units' own files: those are what was observed.
            target = self.folder / "filled.zarr"
            shutil.rmtree(target, ignore_errors=True)
            cube, px = open_cube(self.writer.path), self.settings.chunk
            writer = fill_cube(cube, target, self.settings.fill, px, granted_cpus())
            writer.finish(meta, self._parts())
        group = zarr.open_group(writer.path / "measures", mode="r+")
        for name, hashes in records.items():
            if name == "keys" and writer.filled:
                continue  # its files are no units
            array = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(-1, 32)
            group.create_array(name, data=array, overwrite=True)
        return open_cube(writer.path)

    def put_in_place(self, project: Project, cube: Cube) -> None:
        """Let a finished cube take its place."""
        put_in_place(cube.path, project.cube_path)
        self.discard()

    def _parts(self) -> Iterator[Part]:
        return (self.ledger.part(unit) for unit in self.units)

    def discard(self) -> None:
        """Remove what was made."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _files(self, unit: Unit) -> list[Path]:
        return unit_files(self.writer, unit)


def begin(project: Project, plan: Plan, settings: StackSettings) -> Making:
    """Begin a cube, or go on with the one in the making if it is to be the same.

    Args:
        project: whose cube.
        plan, settings: what it will be.
    """
    folder = project.stacking_dir
    layout = _layout(plan, settings)
    with _alone(project):
        noted = ""
        with contextlib.suppress(OSError, ValueError, TypeError):
            noted = json.loads((folder / "layout.json").read_text())["layout"]
        if noted != layout and folder.exists():
            log.info("What was made with other files or settings in %s is removed.", folder)
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        writer = CubeWriter(
            folder / "cube.zarr",
            times=plan.times,
            bands=plan.bands,
            grid=plan.grid,
            dtype=plan.dtype,
            observed=plan.observed,
            chunk_px=settings.chunk,
        )
        write_json(folder / "layout.json", {"layout": layout})
    return Making(folder, plan, settings, writer, units_of(writer), Ledger(folder / "units"))


def shard_of(making: Making, shard: tuple[int, int]) -> list[Unit]:
    """The units that one of several processes does."""
    return list(share(making.units, *shard))


def refuse_unfinished(making: Making, missing: Sequence[Unit]) -> None:
    """Stop --finalise while units are missing.

    Raises:
        CubeError: naming how many.
    """
    if missing:
        raise CubeError(
            f"{len(missing)} of {len(making.units)} units of the cube are not done.",
            where=f"the first: steps {missing[0].steps.start} to {missing[0].steps.stop - 1}, "
            f"rows {missing[0].tile.row0} to {missing[0].tile.row1 - 1}",
            remedy="Run the shards that did not end well again, with the same folder and "
            "options; each goes on where it stopped. Or leave --shard out to do the rest here.",
        )


def _layout(plan: Plan, settings: StackSettings) -> str:
    """A hash of all that the empty store says."""
    content = [
        *(plan.grid.wkt, list(plan.grid.transform), list(plan.grid.shape), plan.bands),
        *(plan.dtype, plan.times.astype("datetime64[s]").astype(int).tolist()),
        *(plan.observed.tolist(), settings.chunk),
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


@contextlib.contextmanager
def _alone(project: Project) -> Iterator[None]:
    """Hold the moment in which the store is begun: shards of one array start together."""
    project.ensure_writable()
    lock = FileLock(project.root / ".stacking.lock")
    try:
        with lock.acquire(timeout=LOCK_SECONDS):
            yield
    except TimeoutError as error:
        raise ProjectError(
            f"Another process has been beginning the cube in {project.root} for a minute.",
            remedy=f"If none does, remove {project.root / '.stacking.lock'}.",
        ) from error


def _units_in(cube: Cube, writer: CubeWriter) -> set[str]:
    """Keys of the units of a complete cube, if its files are cut as the writer's are."""
    with contextlib.suppress(KeyError, ValueError, OSError, zarr.errors.BaseZarrError):
        root: Any = zarr.open_group(cube.path, mode="r")
        values = root["values"]
        cut = (values.chunks, values.shards or values.chunks)
        if cut == (writer.chunk, writer.shard) and values.dtype == writer.dtype:
            return {bytes(row).hex() for row in np.asarray(root["measures/keys"][:])}
    return set()


def _part_of(cube: Cube, unit: Unit, stride: int) -> Part:
    """What was measured of a unit, from the cube that has it."""
    tile = unit.tile
    group: Any = zarr.open_group(cube.path / "measures", mode="r")
    steps = slice(unit.steps.start, unit.steps.stop)

    def span(first: int, last: int, side: int) -> slice:
        return slice(first // side, -(-last // side))

    cells = group["cells"][
        steps, :, span(tile.row0, tile.row1, CELL_PX), span(tile.col0, tile.col1, CELL_PX)
    ]
    overview = group["overview"][
        steps, :, span(tile.row0, tile.row1, stride), span(tile.col0, tile.col1, stride)
    ]
    return Part(unit.steps.start, tile.row0, tile.col0, np.asarray(cells), np.asarray(overview))


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # the file system knows no hard links
        shutil.copyfile(source, target)
