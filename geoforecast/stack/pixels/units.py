"""Units of work: what one thread, job or kill can neither share nor halve.

A unit is some steps in a rectangle that owns whole files of the cube. It has a key, a hash
of everything that its pixels depend on, so that a unit that was done before, by a process
that was killed or for the cube that is to be replaced, is not done again.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoforecast.project import plain
from geoforecast.raster.cube import CubeWriter
from geoforecast.raster.grid import Tile
from geoforecast.raster.measures import Cells, Part
from geoforecast.settings import StackSettings
from geoforecast.stack.inventory.scenes import SceneFile
from geoforecast.stack.plan import Plan

# Steps times bands times pixels of one unit.
UNIT_VALUES = 2**22
# Steps times bands times columns of one lane: what decoded source rows are kept for.
LANE_VALUES = 2**17
# What a unit's pixels depend on besides its files and how they are read.
PIXEL_SETTINGS = ("resampling", "kind", "merge", "composite", "index", "expression", "min_valid")


@dataclass(frozen=True)
class Unit:
    """Some steps in a rectangle of whole files of the cube.

    Attributes:
        number: its place in the list of all units.
        lane: number of its column, whose units are done row by row from top to bottom.
        cols: columns of the lane.
        steps: of the cube.
        tile: of the cube.
    """

    number: int
    lane: int
    cols: range
    steps: range
    tile: Tile


def units_of(writer: CubeWriter) -> list[Unit]:
    """Units that cover the cube once, lane by lane, from top to bottom."""
    steps, bands, height, width = writer.shape
    deep, _, high, side = writer.block
    values = min(deep, steps) * bands
    wide = side * max(1, UNIT_VALUES // (values * high * side))
    across = -(-width // max(wide, LANE_VALUES // values // wide * wide))
    broad = wide * -(-width // (wide * across))  # lanes of about one width
    result: list[Unit] = []
    lane = 0
    for step in range(0, steps, deep):
        span = range(step, min(step + deep, steps))
        for left in range(0, width, broad):
            cols = range(left, min(left + broad, width))
            for row in range(0, height, high):
                for col in range(left, cols.stop, wide):
                    tile = Tile(row, min(row + high, height), col, min(col + wide, cols.stop))
                    result.append(Unit(len(result), lane, cols, span, tile))
            lane += 1
    return result


def unit_keys(
    plan: Plan, settings: StackSettings, units: Iterable[Unit], hashes: Mapping[str, str]
) -> Iterator[str]:
    """The key of each unit.

    Args:
        plan: what goes where.
        settings: of which PIXEL_SETTINGS count.
        units: of the cube.
        hashes: file key -> hash of its content.
    """
    common = {
        "grid": [plan.grid.wkt, list(plan.grid.transform), list(plan.grid.shape)],
        "bands": plan.bands,
        "derived": [[item.name, item.text] for item in plan.derived],
        "dtype": plan.dtype,
        "settings": {name: plain(getattr(settings, name)) for name in PIXEL_SETTINGS},
    }
    start = hashlib.sha256(json.dumps(common, sort_keys=True).encode()).hexdigest()
    steps: dict[int, Any] = {}
    for unit in units:
        for step in unit.steps:
            if step not in steps:
                steps[step] = [
                    [_content(file, hashes) for file in group] for group in plan.steps[step]
                ]
        tile = unit.tile
        content = [start, unit.steps.start, [tile.row0, tile.row1, tile.col0, tile.col1]]
        content += [steps[step] for step in unit.steps]
        yield hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _content(file: SceneFile, hashes: Mapping[str, str]) -> list[Any]:
    """All that one scene's pixels depend on; its place in name order is that in the list."""
    mask = file.mask
    return [
        hashes[file.key],
        sorted(
            (band, number, plain(asdict(file.readings[band])))
            for band, number in file.bands.items()
        ),
        [hashes[mask.key], mask.band, plain(asdict(mask.rule))] if mask else None,
    ]


class Ledger:
    """Which units of a cube in the making are done, and what was measured of them.

    Args:
        folder: one small file a unit.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def note(self, unit: Unit, key: str, part: Part, size: int) -> None:
        """Note a unit as done, once its files are written.

        Args:
            unit, key, part: what was done.
            size: bytes of its files, to tell files that a power failure emptied.
        """
        shapes = {"cells": part.cells.shape, "overview": part.overview.shape}
        told = json.dumps({"key": key, "size": size, **shapes}).encode()
        content = [told, b"\n", part.cells.tobytes(), part.overview.tobytes()]
        # Not synced: hundreds of syncs took longer than the work, and a note that a power
        # failure spoils only means that its unit is done again.
        path = self._path(unit)
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_bytes(b"".join(content))
        draft.replace(path)

    def key(self, unit: Unit) -> tuple[str, int]:
        """The key that a unit was done under, "" if it was not, and the bytes of its files."""
        try:
            told = self._read(unit)[0]
            return str(told["key"]), int(told["size"])
        except (OSError, ValueError, KeyError, TypeError):
            return "", 0

    def part(self, unit: Unit) -> Part:
        """What was measured of a unit that is done."""
        _, cells, overview = self._read(unit)
        return Part(unit.steps.start, unit.tile.row0, unit.tile.col0, cells, overview)

    def _read(self, unit: Unit) -> tuple[dict[str, Any], Cells, NDArray[np.float32]]:
        """A note: a line of JSON, then the arrays as they lie in memory.

        Raises:
            OSError, ValueError, KeyError, TypeError: there is none, or it is not whole.
        """
        line, _, data = self._path(unit).read_bytes().partition(b"\n")
        told = json.loads(line)
        cut = 8 * math.prod(told["cells"])
        cells = np.frombuffer(data[:cut], np.float64).reshape(told["cells"])
        overview = np.frombuffer(data[cut:], np.float32).reshape(told["overview"])
        return told, cells, overview

    def _path(self, unit: Unit) -> Path:
        return self.folder / f"{unit.number:07d}.unit"


def files_size(store: Path, names: Iterable[Path]) -> int:
    """Bytes of some files of a store; -1 if one is missing."""
    try:
        return sum((store / name).stat().st_size for name in names)
    except OSError:
        return -1


def unit_files(writer: CubeWriter, unit: Unit) -> list[Path]:
    """The files of a unit, relative to the store."""
    tile, bands = unit.tile, writer.shape[1]
    start = (unit.steps.start, 0, tile.row0, tile.col0)
    return list(writer.files(start, (unit.steps.stop, bands, tile.row1, tile.col1)))
