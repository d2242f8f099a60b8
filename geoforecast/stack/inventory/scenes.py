"""From files to an inventory: what each is, when it was taken, and what becomes of it."""

from __future__ import annotations

import csv
import hashlib
import os
import stat
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from affine import Affine

from geoforecast.errors import InputError, SceneError
from geoforecast.project import Project, replacing
from geoforecast.raster.geotiff import Header
from geoforecast.raster.grid import Grid
from geoforecast.raster.layout import printable
from geoforecast.stack.inventory.inputs import list_inputs
from geoforecast.stack.inventory.listing import SUFFIXES, Listed, absolute
from geoforecast.stack.inventory.names import NameParts
from geoforecast.stack.reading.mask_kinds import MaskProfile
from geoforecast.stack.reading.masks import MaskRule

if TYPE_CHECKING:
    from geoforecast.stack.reading.readings import Reading

COLUMNS = (
    "path",
    "status",
    "reason",
    "time",
    "band",
    "role",
    "sensor",
    "size",
    "mtime",
    "sha256",
    "crs",
    "width",
    "height",
    "res",
)


@dataclass
class SceneFile:
    """One input file, or one band of it that is a scene of its own; and what becomes of it.

    Attributes:
        path: where it lies.
        key: its path from the input folder's own name down, with "/"; of printable
            characters only, and unlike that of any other.
        time: UTC, None until it is known.
        span: characters of the date in the file name.
        header: None until read, or if it cannot be.
        parts: label and rest of the name.
        role: data or mask.
        status: used, skipped or quarantined.
        reason: why it is not used.
        bands: cube band -> band number in the file.
        readings: cube band -> how its raw numbers become physical values.
        mask: what masks it, if anything does.
        sensor: name of the sensor profile that its readings come from, or "".
        told: what a manifest or a STAC item says about it, and any fault of the file.
    """

    path: Path
    key: str
    time: np.datetime64 | None = None
    span: tuple[int, int] | None = None
    header: Header | None = None
    parts: NameParts = field(default_factory=lambda: NameParts("", frozenset()))
    role: str = "data"
    status: str = "used"
    reason: str = ""
    bands: dict[str, int] = field(default_factory=dict)
    readings: dict[str, Reading] = field(default_factory=dict)
    mask: MaskSource | None = None
    sensor: str = ""
    told: Listed | None = None

    @property
    def size(self) -> int:
        """Bytes of the file; -1 if it is not there, or no plain file."""
        try:
            found = self.path.stat()
        except (OSError, ValueError):
            return -1
        return found.st_size if stat.S_ISREG(found.st_mode) else -1

    @property
    def folder(self) -> str:
        return self.key.rpartition("/")[0]

    @property
    def used(self) -> bool:
        return self.status == "used"

    def skip(self, reason: str) -> None:
        self.status, self.reason = "skipped", reason


@dataclass(frozen=True)
class MaskSource:
    """The mask of a scene: a band of a file (often another one) and what it means.

    Attributes:
        key: of the file.
        header: of the file.
        band: its number, from 1.
        profile: the kind of mask.
        rule: what makes one of its pixels usable.
    """

    key: str
    header: Header
    band: int
    profile: MaskProfile
    rule: MaskRule


@dataclass
class Problems:
    """Files that cannot be used, gathered so that the first of N can be named.

    Attributes:
        quarantine: set such files aside instead of stopping.
        found: (file, error) in the order found.
    """

    quarantine: bool
    found: list[tuple[SceneFile, SceneError]] = field(default_factory=list)

    def add(self, file: SceneFile, error: SceneError) -> None:
        """Note what is wrong with a file, with its name as a terminal can show it."""
        raw, shown = str(file.path), printable(file.path)
        if raw != shown:
            error = SceneError(
                error.what.replace(raw, shown),
                where=[line.replace(raw, shown) for line in error.where],
                remedy=error.remedy.replace(raw, shown),
            )
        file.status, file.reason = "quarantined", error.what
        self.found.append((file, error))

    def settle(self, total: int) -> None:
        """Stop here if files are bad and are not to be set aside.

        Raises:
            SceneError: naming the first bad file.
        """
        if not self.found or self.quarantine:
            return
        first = min(self.found, key=lambda item: item[0].key)[1]
        if len(self.found) == 1:
            raise first
        raise SceneError(
            f"{len(self.found)} of {total} files cannot be used.",
            where=(f"first: {first.what}", *first.where),
            remedy=first.remedy,
        )


def find_files(inputs: Sequence[str | Path], project: Project | None = None) -> list[SceneFile]:
    """The files that are meant, each once, in the order of their keys.

    Args:
        inputs: folders, files, globs, ``@lists``, CSV manifests, STAC item JSON files.
        project: its forecasts and validation maps are no scenes, should they lie inside.
    Raises:
        InputError: a path is missing, a list is wrong, or no GeoTIFF is found.
    """
    if not inputs:
        raise InputError(
            "No folder of scenes is given.",
            remedy="Name one: geoforecast stack FOLDER, or set inputs in [stack].",
        )
    own = []
    if project is not None:
        names = ("runs", "forecasts", "validation", "cube.zarr")
        own = [(project.root / name).resolve() for name in names]
    found: dict[Path, Listed] = {}
    for listed in list_inputs(inputs):
        real = Path(os.path.realpath(listed.path))
        if any(real.is_relative_to(place) for place in own):
            continue
        if real not in found or _knows_more(listed, found[real]):
            found[real] = listed
    if not found:
        raise InputError(
            f"There is no GeoTIFF in {', '.join(printable(str(item)) for item in inputs)}.",
            remedy=f"Scenes are looked for in all subfolders, by suffix: {', '.join(SUFFIXES)} "
            "in upper or lower case.",
        )
    files = []
    for key, listed in zip(_keys(list(found.values())), found.values(), strict=True):
        file = SceneFile(listed.path, key, told=listed)
        if listed.skip:
            file.skip(listed.skip)
        files.append(file)
    return sorted(files, key=lambda file: file.key)


def _knows_more(listed: Listed, other: Listed) -> bool:
    """Which of two names of a file counts: what a manifest says, then its own name, not a link."""
    ranks = [(item.told, not item.path.is_symlink()) for item in (listed, other)]
    return ranks[0] > ranks[1]


def _keys(found: Sequence[Listed]) -> list[str]:
    """A key for each file; those that would be alike get more of their folders."""
    paths = [absolute(listed.path) for listed in found]
    lengths = [
        len(path.relative_to(listed.base).parts) + 1 if path.is_relative_to(listed.base) else 2
        for path, listed in zip(paths, found, strict=True)
    ]
    for _ in range(max(len(path.parts) for path in paths)):
        keys = [
            "/".join(path.parts[1:][-length:]) for path, length in zip(paths, lengths, strict=True)
        ]
        counts = Counter(keys)
        lengths = [length + (counts[key] > 1) for key, length in zip(keys, lengths, strict=True)]
    seen: Counter[str] = Counter()
    for index, key in enumerate(map(printable, keys)):  # a line break and its escape look alike
        seen[key] += 1
        keys[index] = key if seen[key] == 1 else f"{key}~{seen[key]}"
    return keys


def content_hashes(files: Iterable[SceneFile], jobs: int) -> dict[str, str]:
    """SHA-256 of each file's content, by key; each is read once, however many scenes it holds."""

    def digest(path: Path) -> str:
        try:
            if not path.is_file():  # opening a pipe would wait for ever
                return "unreadable"
            with path.open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest()
        except (OSError, ValueError):
            return "unreadable"

    chosen = list(files)
    paths = list(dict.fromkeys(file.path for file in chosen))
    with ThreadPoolExecutor(jobs) as pool:
        digests = dict(zip(paths, pool.map(digest, paths), strict=True))
    return {file.key: digests[file.path] for file in chosen}


def write_scenes_csv(path: Path, files: Sequence[SceneFile], hashes: Mapping[str, str]) -> None:
    """List every input file and what became of it, in one atomic step.

    Bytes in names that are no UTF-8 are written as escapes.
    """
    with (
        replacing(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as out,
    ):
        writer = csv.DictWriter(out, COLUMNS)
        writer.writeheader()
        for file in files:
            writer.writerow(_row(file, hashes.get(file.key, "")))


def _row(file: SceneFile, sha256: str) -> dict[str, object]:
    header = file.header
    grid = header.grid if header else None
    return {
        "path": file.path,
        "status": file.status,
        "reason": file.reason,
        "time": "" if file.time is None else f"{file.time}Z",
        "band": ";".join(file.bands),
        "role": file.role,
        "sensor": file.sensor,
        "size": "" if file.size < 0 else file.size,
        "mtime": _modified(file.path),
        "sha256": sha256,
        "crs": _crs_name(grid.wkt) if grid else "",
        "width": grid.shape[1] if grid else "",
        "height": grid.shape[0] if grid else "",
        "res": f"{grid.res[0]:.10g} {grid.res[1]:.10g}" if grid else "",
    }


@lru_cache(maxsize=256)
def _crs_name(wkt: str) -> str:
    """EPSG code or name; looking up a CRS that has no code takes PROJ tens of milliseconds."""
    return Grid(wkt, Affine.identity(), (1, 1)).describe().split(",")[0]


def _modified(path: Path) -> str:
    try:
        return f"{np.datetime64(int(path.stat().st_mtime), 's')}Z"
    except (OSError, ValueError):
        return ""
