"""The run's folder: whose training it holds, and whether it can be written to."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from geoforecast import __version__
from geoforecast.errors import RunError
from geoforecast.models.checkpoint import FINAL, META
from geoforecast.project import write_json
from geoforecast.raster.cube import Cube
from geoforecast.train.last import has_begun
from geoforecast.train.protocol import Seen

IDENTITY = "settings.json"
# Settings that do not change the result, so that a run may go on with others.
FREE_SETTINGS = {
    *("time_limit", "device", "overwrite", "refit", "preset"),
    *("cache", "tensorboard", "profile"),
    *("folds", "holdout_region", "holdout_blocks", "holdout_halo"),  # the pixels decide
}


def prepare_folder(folder: Path, seen: Seen) -> str:
    """Create the run's folder, or check that the one there is of the same training.

    Args:
        folder: the run's.
        seen: what is trained on, with settings as given.
    Returns:
        The identity of everything that decides the result.
    Raises:
        RunError: another training is there, or the folder cannot be written to.
    """
    settings, cube = seen.settings, seen.cube
    decisive = {k: v for k, v in asdict(settings).items() if k not in FREE_SETTINGS}
    decisive["holdout"] = seen.digest
    content = json.dumps(
        {"settings": decisive, "cube": cube.meta["fingerprint"], "geoforecast": __version__},
        sort_keys=True,
    )
    identity = hashlib.sha256(content.encode()).hexdigest()
    path = folder / IDENTITY
    old = _read_identity(path)
    # A run that was never saved is new: its settings may have been what was wrong.
    complete = (folder / META).exists()
    begun = complete or has_begun(folder)
    refitting = has_begun(folder / FINAL) and not (folder / FINAL / META).exists()
    if old is None and begun and not settings.overwrite:
        raise RunError(
            f"The run '{settings.run}' is there, but its {IDENTITY} cannot be read.",
            where=str(path),
            remedy="Give another name with --run, or --overwrite to replace it.",
        )
    same = old is not None and old["identity"] == identity
    # A command with --overwrite that was stopped goes on when it is given again, as any other.
    if begun and same and not (complete and settings.overwrite and not refitting):
        _ensure_writable(folder)
        return identity
    if old is not None and begun and not settings.overwrite:
        raise RunError(
            f"The run '{settings.run}' was made with other settings or another cube.",
            where=_differences(old, decisive, cube),
            remedy="Give another name with --run, or --overwrite to replace it.",
        )
    if folder.exists():
        (folder / META).unlink(missing_ok=True)  # first: it means a complete run
        shutil.rmtree(folder)
    write_json(
        path,
        {"identity": identity, "settings": decisive, "cube": cube.meta["fingerprint"]},
    )
    return identity


def _ensure_writable(folder: Path) -> None:
    """Find out before hours of work whether what comes of it can be saved."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".settings-writing-"):
            pass
    except OSError as error:
        raise RunError(
            f"The run's folder cannot be written to ({error.strerror}).",
            where=str(folder),
            remedy="Change its permissions, or give another name with --run.",
        ) from error


def _read_identity(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return content if isinstance(content, dict) and "identity" in content else None
    except (OSError, ValueError):
        return None


def _differences(old: dict[str, Any], decisive: dict[str, object], cube: Cube) -> list[str]:
    before = old["settings"]
    lines = []
    if isinstance(before, dict):
        lines = [
            f"{key}: was {before.get(key)}, is now {value}"
            for key, value in decisive.items()
            if before.get(key) != value
        ]
    if old["cube"] != cube.meta["fingerprint"]:
        lines.append("the cube has changed")
    return lines or ["it was made by another version of geoforecast"]
