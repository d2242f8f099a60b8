"""Whether the cube that is there is the one that would be made."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from geoforecast.errors import CubeError, OtherCubeError
from geoforecast.project import Project, plain
from geoforecast.raster.cube import FORMAT, Cube, open_cube
from geoforecast.raster.grid import Tile
from geoforecast.settings import SplitSettings, StackSettings
from geoforecast.stack.derived.static import layer_files
from geoforecast.stack.inventory.scenes import SceneFile
from geoforecast.stack.plan import Plan

log = logging.getLogger(__name__)

# Settings that do not change what a complete cube holds.
_NO_CONTENT = ("overwrite", "on_error", "resplit")
PROBE_PX = 256  # side of the tile that is read to see whether a cube can be


@dataclass(frozen=True)
class Existing:
    """A complete cube that is there.

    Attributes:
        cube: the cube.
        same: it is what would be made; else the folder has grown since, and nothing else has
            changed.
    """

    cube: Cube
    same: bool


def content_of(
    plan: Plan, settings: StackSettings, split: SplitSettings, hashes: Mapping[str, str]
) -> dict[str, Any]:
    """All that a cube depends on: settings, and the content of files, not their age.

    Args:
        plan: with every input file.
        settings, split: as given.
        hashes: file key -> hash of its content.
    """
    chosen = dataclasses.asdict(settings) | dataclasses.asdict(split)
    for name in ("like", "sensor"):  # which may be files
        with contextlib.suppress(OSError), Path(chosen[name] or " ").open("rb") as stream:
            chosen[name] += " " + hashlib.file_digest(stream, "sha256").hexdigest()[:16]
    return {
        "format": FORMAT,
        # "nan" is a choice of --nodata, None is not.
        "settings": {
            k: "nan" if v != v else plain(v) for k, v in chosen.items() if k not in _NO_CONTENT
        },
        "files": file_digests(plan, hashes),
        "layers": [[path.name, _hash(path)] for path in layer_files(settings)],
    }


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_digests(plan: Plan, hashes: Mapping[str, str]) -> list[str]:
    """A hash of each input file: its name, its content, and what is made of it."""
    return [
        digest_of(
            [
                *(
                    file.key,
                    hashes[file.key],
                    str(file.time),
                    file.role,
                    sorted(file.bands.items()),
                ),
                plain(dict(file.readings)),
            ]
        )
        for file in plan.files
    ]


def digest_of(content: Any) -> str:
    """SHA-256 of anything made of JSON types."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def check_place(project: Project) -> None:
    """Refuse to stack over something that is not a cube.

    Raises:
        CubeError: a file has the cube's name.
    """
    if project.cube_path.exists() and not project.cube_path.is_dir():
        raise CubeError(
            f"{project.cube_path} is a file, not a cube.",
            remedy="Move it away, or use another project with -p.",
        )


def existing_cube(
    project: Project,
    content: Mapping[str, Any],
    settings: StackSettings,
    files: Sequence[SceneFile],
    hashes: Mapping[str, str],
) -> Existing | None:
    """The cube that is there, if it is what would be made or grow; None if one must be made.

    Raises:
        CubeError: it is complete but from other files or settings, or from a newer version.
    """
    if settings.overwrite or not project.cube_path.exists():
        return None
    try:
        cube = open_cube(project.cube_path)
        height, width = cube.grid.shape
        cube.read(0, 1, Tile(0, min(PROBE_PX, height), 0, min(PROBE_PX, width)))
    except CubeError as error:
        if "newer" in error.what:
            raise
        log.warning("The cube at %s is not complete; it is made again.", project.cube_path)
        return None
    if cube.meta.get("fingerprint") == digest_of(content):
        return Existing(cube, True)
    if _has_grown(cube, content):
        return Existing(cube, False)
    raise OtherCubeError(
        f"{project.cube_path} was made from other files or settings.",
        where=_differences(project, cube, content, files, hashes),
        remedy="Replace it with --overwrite, or use another project with -p.",
    )


def _has_grown(cube: Cube, content: Mapping[str, Any]) -> bool:
    """Whether all that the cube was made from is there, unchanged, and more."""
    if cube.meta.get("settings") != content["settings"]:
        return False
    if cube.meta.get("layers") != digest_of(content["layers"]):
        return False
    with contextlib.suppress(KeyError, ValueError, OSError, zarr.errors.BaseZarrError):
        group: Any = zarr.open_group(cube.path / "measures", mode="r")
        before = {bytes(row).hex() for row in np.asarray(group["files"][:])}
        return before < set(content["files"])
    return False


def _differences(
    project: Project,
    cube: Cube,
    content: Mapping[str, Any],
    files: Sequence[SceneFile],
    hashes: Mapping[str, str],
) -> list[str]:
    old, new = cube.meta.get("settings", {}), content["settings"]
    lines = [
        f"--{name.replace('_', '-')}: {_shown(old.get(name))} then, {_shown(value)} now"
        for name, value in new.items()
        if old.get(name) != value
    ]
    if cube.meta.get("layers") != digest_of(content["layers"]):
        lines.append("--static or --drivers: other files or other contents")
    if cube.meta.get("sources", {}).get("digest") != digest_of(content["files"]):
        before: dict[str, str] = {}
        with contextlib.suppress(OSError), project.scenes_path.open(encoding="utf-8") as stream:
            before = {row["path"]: row["sha256"] for row in csv.DictReader(stream)}
        now = {str(file.path): hashes[file.key] for file in files}
        changed = sum(before[path] != now[path] for path in before.keys() & now.keys())
        lines.append(
            f"files: {len(now.keys() - before.keys())} new, "
            f"{len(before.keys() - now.keys())} gone, {changed} changed"
        )
    return lines or ["it was made by another version of geoforecast"]


def _shown(value: Any) -> str:
    return "none" if value in (None, "", [], ()) else str(value)
