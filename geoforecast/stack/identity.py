"""Whether the cube that is there is the one that would be made."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from geoforecast.errors import CubeError
from geoforecast.project import Project, plain
from geoforecast.raster.cube import FORMAT, Cube, open_cube
from geoforecast.raster.grid import Tile
from geoforecast.settings import SplitSettings, StackSettings
from geoforecast.stack.scenes import SceneFile

log = logging.getLogger(__name__)

# Settings that do not change what a complete cube holds.
_NO_CONTENT = ("overwrite", "on_error")
PROBE_PX = 256  # side of the tile that is read to see whether a cube can be


def content_of(
    settings: StackSettings,
    split: SplitSettings,
    files: Sequence[SceneFile],
    hashes: Mapping[str, str],
) -> dict[str, Any]:
    """All that a cube depends on: settings, and the content of files, not their times."""
    chosen = dataclasses.asdict(settings) | dataclasses.asdict(split)
    if settings.like:
        with contextlib.suppress(OSError), Path(settings.like).open("rb") as stream:
            chosen["like"] += " " + hashlib.file_digest(stream, "sha256").hexdigest()[:16]
    return {
        "format": FORMAT,
        # "nan" is a choice of --nodata, None is not.
        "settings": {
            k: "nan" if v != v else plain(v) for k, v in chosen.items() if k not in _NO_CONTENT
        },
        "files": [[f.key, f.path.stat().st_size, hashes[f.key]] for f in files],
    }


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
) -> Cube | None:
    """The cube that is there, if it is what would be made; None if one must be made.

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
        return cube
    raise CubeError(
        f"{project.cube_path} was made from other files or settings.",
        where=_differences(project, cube, content, files, hashes),
        remedy="Replace it with --overwrite, or use another project with -p.",
    )


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
