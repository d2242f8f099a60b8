"""From files to an inventory: what each is, when it was taken, and what becomes of it."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from affine import Affine

from geoforecast.errors import DateError, InputError, SceneError
from geoforecast.project import Project, replacing
from geoforecast.raster.geotiff import Header, read_header
from geoforecast.raster.grid import Grid
from geoforecast.stack.dates import DateChoice, choose_dates, date_from_tags
from geoforecast.stack.masks import MaskProfile
from geoforecast.stack.names import NameParts

if TYPE_CHECKING:
    from geoforecast.stack.readings import Reading

SUFFIXES = (".tif", ".tiff", ".gtif", ".gtiff")
COLUMNS = (
    "path",
    "status",
    "reason",
    "time",
    "band",
    "role",
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
    """One input file and what becomes of it.

    Attributes:
        path: where it lies.
        key: its path from the input folder's own name down, with "/".
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
    """The mask of a scene: a band of a file (often another one) and what it means."""

    key: str
    header: Header
    band: int
    profile: MaskProfile


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
    """GeoTIFFs in folders, recursively, and those named one by one; each file once.

    Args:
        inputs: folders and files.
        project: its forecasts and validation maps are no scenes, should they lie inside.
    Raises:
        InputError: a path is missing, or no GeoTIFF is found.
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
    found: dict[Path, SceneFile] = {}
    for item in inputs:
        root = Path(item).expanduser()
        if not root.exists():
            raise InputError(f"{root} does not exist.", remedy="Check the path.")
        base = Path(os.path.abspath(root)).parent  # noqa: PTH100  keeps symlinks' own names
        for path in sorted(_geotiffs(root)):
            real = path.resolve()
            if any(real.is_relative_to(place) for place in own):
                continue
            absolute = Path(os.path.abspath(path))  # noqa: PTH100
            key = absolute.relative_to(base).as_posix()
            if root.is_file():
                key = f"{base.name}/{key}"
            found.setdefault(real, SceneFile(path, key))
    if not found:
        raise InputError(
            f"There is no GeoTIFF in {', '.join(str(item) for item in inputs)}.",
            remedy=f"Scenes are looked for in all subfolders, by suffix: {', '.join(SUFFIXES)} "
            "in upper or lower case.",
        )
    return sorted(found.values(), key=lambda file: file.key)


def settle_dates(files: list[SceneFile], regex: str, problems: Problems, jobs: int) -> DateChoice:
    """Give each file its time; files without one, among others that have one, are skipped.

    Headers of the files with a time are read along the way.

    Raises:
        DateError: no file has a time, or which token is the date is unclear.
    """
    names = [file.path.stem for file in files]
    choice = choose_dates(names, [file.folder for file in files], regex=regex)
    if choice is None:
        read_headers(files, problems, jobs)
        times = tuple(date_from_tags(f.header.tags) if f.header else None for f in files)
        dated = sum(time is not None for time in times)
        choice = DateChoice(
            f"Dates: from tags inside {dated} of {len(files)} files, as no name holds one.",
            times,
            (None,) * len(files),
        )
    dated = 0
    for file, time, span in zip(files, choice.times, choice.spans, strict=True):
        file.time, file.span = time, span
        dated += time is not None
    if dated == 0:
        raise DateError(
            f"No date is found in the names or tags of {len(files)} files.",
            where=[f"such as {file.key}" for file in files[:3]],
            remedy="Dates look like 20180131, 2018-01-31, 2018031, 201801 or 2018, with or "
            "without a time; say where others stand with --date-regex.",
        )
    for file in files:
        if file.time is None and file.used:
            file.skip(f"no date, while {dated} of {len(files)} files have one")
    read_headers([file for file in files if file.used and file.header is None], problems, jobs)
    return choice


def read_headers(files: list[SceneFile], problems: Problems, jobs: int) -> None:
    """Read the headers of files; those that cannot be used become problems."""

    def read(file: SceneFile) -> Header | SceneError:
        try:
            header = read_header(file.path)
        except SceneError as error:
            return error
        if not header.grid.wkt:
            return SceneError(
                f"{file.path} has no coordinate reference system.",
                remedy="Say what it is: gdal_edit.py -a_srs EPSG:n FILE; or leave it out with "
                "--on-error quarantine.",
            )
        return header

    with ThreadPoolExecutor(jobs) as pool:
        for file, result in zip(files, pool.map(read, files), strict=True):
            if isinstance(result, SceneError):
                problems.add(file, result)
            else:
                file.header = result


def content_hashes(files: Iterable[SceneFile], jobs: int) -> dict[str, str]:
    """SHA-256 of each file's content, by key; each is read once."""

    def digest(file: SceneFile) -> str:
        try:
            with file.path.open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError:
            return "unreadable"

    chosen = list(files)
    with ThreadPoolExecutor(jobs) as pool:
        return dict(zip((f.key for f in chosen), pool.map(digest, chosen), strict=True))


def write_scenes_csv(path: Path, files: Sequence[SceneFile], hashes: Mapping[str, str]) -> None:
    """List every input file and what became of it, in one atomic step."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, COLUMNS)
        writer.writeheader()
        for file in files:
            writer.writerow(_row(file, hashes.get(file.key, "")))


def _row(file: SceneFile, sha256: str) -> dict[str, object]:
    stat = file.path.stat()
    header = file.header
    grid = header.grid if header else None
    return {
        "path": file.path,
        "status": file.status,
        "reason": file.reason,
        "time": "" if file.time is None else f"{file.time}Z",
        "band": ";".join(file.bands),
        "role": file.role,
        "size": stat.st_size,
        "mtime": f"{np.datetime64(int(stat.st_mtime), 's')}Z",
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


def _geotiffs(root: Path) -> Iterable[Path]:
    if root.is_file():
        return [root]
    return [
        path
        for path in root.rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]
