"""A forecast in the making: its units survive a kill, and several processes make them.

Units are kept in a hidden folder beside the forecast, under the hash of all that their pixels
depend on. Nobody but the one who puts the forecast in place removes them, and no two units
share a file, so several processes need no lock.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from geoforecast import __version__
from geoforecast.errors import InputError, ProjectError
from geoforecast.forecast.correction import BLOCK_PX
from geoforecast.forecast.settled import Settled, read_settled, settle
from geoforecast.models.checkpoint import FINAL, META, WEIGHTS
from geoforecast.predict.plan import Plan
from geoforecast.predict.units import UNIT_PX, Unit, filled_in, is_done, units_of
from geoforecast.project import plain
from geoforecast.values import share

log = logging.getLogger(__name__)

FORMAT = 1
# Settings that change no pixel of a layer, or are told by what they led to.
NOT_IN_PIXELS = ("run", "steps", "from_", "tile", "device", "vrt")
LEARNED = "learned.safetensors"
SHARD = re.compile(r"shard-(\d+)-of-(\d+)")


@dataclass(frozen=True)
class Making:
    """The units of a forecast in the making.

    Attributes:
        folder: where they are kept.
        plan: what is made.
        units: all of them.
    """

    folder: Path
    plan: Plan
    units: list[Unit]

    def missing(self, units: Sequence[Unit]) -> list[Unit]:
        """Those of some units that are not done."""
        return [unit for unit in units if not is_done(self.folder, unit)]

    def settled(self) -> Settled:
        """What all processes must know alike: the first one learns it."""
        path = self.folder / LEARNED
        if not path.exists():
            learned = settle(self.plan.engine, self.plan.init_step)
            draft = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
            learned.save(draft)
            try:
                # A link is refused where there is a file: whoever comes later takes that one.
                path.hardlink_to(draft)
            except FileExistsError:
                pass
            except OSError:  # the file system knows no hard links
                draft.replace(path)
            draft.unlink(missing_ok=True)
        return read_settled(path, self.plan.engine.checkpoint.members)

    def note_shard(self, index: int, count: int) -> None:
        """Note that a share of the units has been begun, so that its absence can be told."""
        (self.folder / f"shard-{index}-of-{count}").touch()

    def begun(self) -> list[tuple[int, int]]:
        """(index, count) of the shares that have been begun."""
        found = (SHARD.fullmatch(path.name) for path in self.folder.glob("shard-*"))
        return sorted((int(match[1]), int(match[2])) for match in found if match)

    def valid_fraction(self) -> float:
        """Share of the pixels that have a forecast."""
        engine = self.plan.engine
        height, width = engine.cube.grid.shape
        total = len(self.plan.times) * len(engine.band_names) * height * width
        return sum(filled_in(self.folder, unit) for unit in self.units) / total

    def discard(self) -> None:
        """Remove what was made, that of other settings included."""
        shutil.rmtree(self.folder.parent, ignore_errors=True)


def begin(plan: Plan, *, alone: bool) -> Making:
    """Begin a forecast, or go on with the one in the making if it is the same.

    Args:
        plan: what will be made.
        alone: nobody else makes any: what was begun with other settings is removed.
    Raises:
        ProjectError: the folder cannot be written to.
    """
    place = making_dir(plan)
    folder = place / _identity(plan)[:16]
    if alone and place.exists():
        for other in sorted(set(place.iterdir()) - {folder}):
            log.info(
                "What was forecast by another run, cube, settings or version in %s is removed.",
                other,
            )
            shutil.rmtree(other, ignore_errors=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".write-{uuid.uuid4().hex}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ProjectError(
            f"Forecasts cannot be written to {plan.folder.parent} ({error.strerror}).",
            remedy="Change its permissions, or choose another place with -p.",
        ) from error
    return Making(folder, plan, units_of(plan.engine.cube.grid))


def making_dir(plan: Plan) -> Path:
    """Where the units of a forecast are kept, under the hash of what they depend on."""
    return plan.folder.with_name(f".{plan.folder.name}-making")


def refuse_unfinished(making: Making, missing: Sequence[Unit]) -> None:
    """Stop --finalise while units are missing.

    Raises:
        InputError: naming the shards that have not done theirs.
    """
    if not missing:
        return
    numbers = {unit.number for unit in missing}
    lines = []
    for count in sorted({count for _, count in making.begun()}):
        late = [
            str(index)
            for index in range(count)
            if any(unit.number in numbers for unit in share(making.units, index, count))
        ]
        lines.append(f"of {count} shards these are missing: {_listed(late)}")
    others = [path for path in making.folder.parent.iterdir() if path != making.folder]
    if not lines and others:
        lines.append("shards were run by another run, cube, settings or version")
    if not making.begun():
        with contextlib.suppress(OSError):
            making.folder.rmdir()  # nothing was there; nothing is left
            making.folder.parent.rmdir()
    raise InputError(
        f"{len(missing)} of {len(making.units)} units of the forecast are not done.",
        where=lines or "no shard of this forecast has been run",
        remedy="Run the shards that did not end well again, with the same options; each goes on "
        "where it stopped. Or leave --finalise out to do the rest here.",
    )


def _listed(words: Sequence[str]) -> str:
    shown = ", ".join(words[:20])
    return shown if len(words) <= 20 else f"{shown} and {len(words) - 20} more"


def _identity(plan: Plan) -> str:
    """A hash of all that the units' pixels depend on."""
    engine, settings = plan.engine, asdict(plan.settings)
    content: dict[str, Any] = {
        "format": [FORMAT, __version__, UNIT_PX, BLOCK_PX],
        "cube": engine.fingerprint,
        "ranges": engine.cube.meta.get("ranges"),
        "grid": [engine.cube.grid.wkt, list(engine.cube.grid.transform), engine.cube.grid.shape],
        "steps": [str(time) for time in engine.cube.times],
        "init": plan.init_step,
        "times": [str(time) for time in plan.times],
        "layers": plan.layers,
        "device": engine.device.type,
        "settings": {name: settings[name] for name in sorted(set(settings) - set(NOT_IN_PIXELS))},
    }
    told = hashlib.sha256(json.dumps(plain(content), sort_keys=True).encode())
    run = plan.run_dir / FINAL if engine.seen_until >= 0 else plan.run_dir
    for name in (META, WEIGHTS):
        told.update((run / name).read_bytes())
    return told.hexdigest()
