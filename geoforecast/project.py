"""The project directory: every path in it, its lock, its history, safe writing.

All verbs meet here and nowhere else. Whatever is written goes beside its target,
is fsynced and renamed, so a process killed at any moment leaves a project that the
next command can read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import json
import os
import re
import shutil
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from geoforecast import __version__
from geoforecast.errors import ProjectError, SettingsError
from geoforecast.locking import alone, sharing
from geoforecast.settings import InputSettings, read_settings_file, resolve_settings

SETTINGS_FILE = "geoforecast.toml"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
OLD_NAME = re.compile(r"\.(?P<stem>.+)-old-[0-9a-f]{8}(?P<suffix>\.[^.]*)?")
WRITING_NAME = re.compile(r"\..+-writing-[0-9a-f]{8}(\.[^.]*)?")
PLACES = ("runs", "forecasts", "validation", "quality")


@dataclasses.dataclass(frozen=True)
class Project:
    """A project directory and the places in it.

    Attributes:
        root: the directory; it need not exist before the first verb writes.
    """

    root: Path

    @property
    def settings_path(self) -> Path:
        return self.root / SETTINGS_FILE

    @property
    def cube_path(self) -> Path:
        return self.root / "cube.zarr"

    @property
    def stacking_dir(self) -> Path:
        """Where the next cube grows."""
        return self.root / ".stacking"

    @property
    def scenes_path(self) -> Path:
        return self.root / "scenes.csv"

    @property
    def quality_dir(self) -> Path:
        return self.root / "quality"

    @property
    def history_path(self) -> Path:
        return self.root / "history.jsonl"

    def run_dir(self, run: str) -> Path:
        return self.root / "runs" / checked_name(run)

    def forecast_dir(self, run: str, init: str) -> Path:
        return self.root / "forecasts" / checked_name(run) / checked_name(init)

    def validation_dir(self, run: str) -> Path:
        return self.root / "validation" / checked_name(run)

    def comparison(self, name: str, role: str) -> Project:
        """Where scenes that are only compared are stacked: a project of its own.

        Args:
            name: of the validation.
            role: ``forecast`` or ``observed``.
        """
        return Project(self.root / "comparisons" / checked_name(name) / role)

    def settings(self, section: str, **given: Any) -> Any:
        """The settings of one section; see settings.resolve_settings."""
        values = read_settings_file(self.settings_path)
        settings = resolve_settings(section, given, file_values=values)
        if hasattr(settings, "run"):
            checked_name(settings.run)
        return settings

    def inputs(self) -> tuple[str, ...]:
        """`inputs` of [stack] in geoforecast.toml, relative to the project directory."""
        values = read_settings_file(self.settings_path)
        found = resolve_settings("stack", {}, file_values=values, cls=InputSettings)
        return tuple(str(self.root / os.path.expanduser(item)) for item in found.inputs)  # noqa: PTH111  leaves ~nobody as it is

    def ensure_writable(self) -> None:
        """Create the directory if needed and prove that it can be written to.

        Raises:
            ProjectError: it cannot be created or written.
        """
        probe = self.root / f".write-{uuid.uuid4().hex}"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise ProjectError(
                f"The project {self.root} cannot be written to ({error.strerror}).",
                remedy="Change its permissions, or choose another place with -p.",
            ) from error

    @contextlib.contextmanager
    def lock(self, *, create: bool = False) -> Iterator[None]:
        """Hold the project alone while something in it changes.

        Directory swaps that a killed command left half done are ended first, and what it had
        half written is removed: whoever holds the lock knows that nobody is writing.

        Args:
            create: make the directory if it is not there.
        Raises:
            ProjectError: another command holds it, it is not there, is read-only, or holds a
                file in a folder's place.
        """
        if not create:
            self._ensure_there()
        self.ensure_writable()
        with alone(self.root / ".lock", self._held()):
            self._tidy()
            yield

    @contextlib.contextmanager
    def lock_run(self, run: str) -> Iterator[None]:
        """Hold one run alone, beside commands that hold other runs in the same way.

        Until all of them have ended, nobody gets `lock`, so the cube stays as it is.

        Args:
            run: its name.
        Raises:
            ProjectError: see lock; or another command holds the run.
        """
        self._ensure_there()
        self.ensure_writable()
        held = ProjectError(
            f"Another geoforecast command is working on the run '{run}' of {self.root}.",
            remedy="Wait for it to end, or give another name with --run.",
        )
        mine = self.root / f".run-{checked_name(run)}.lock"
        with sharing(self.root / ".lock", self._held(), self._tidy), alone(mine, held):
            for leftover in sorted(self.run_dir(run).rglob(".*-writing-*")):
                if WRITING_NAME.fullmatch(leftover.name):
                    _remove(leftover)
            yield

    def _ensure_there(self) -> None:
        if not self.root.is_dir():
            raise ProjectError(
                f"There is no project at {self.root}.",
                remedy="Check -p. Make one first: geoforecast stack FOLDER.",
            )

    def _held(self) -> ProjectError:
        return ProjectError(
            f"Another geoforecast command is working on {self.root}.",
            remedy="Wait for it to end, or use another project with -p.",
        )

    def _tidy(self) -> None:
        """End half-done swaps and remove half-written files, with the lock held."""
        for name in PLACES:
            place = self.root / name
            if place.exists() and not place.is_dir():
                raise ProjectError(
                    f"{place} is a file where geoforecast keeps a folder.",
                    remedy="Move it away, or use another project with -p.",
                )
        for folder in (".", *PLACES, *(f"{name}/*" for name in PLACES)):
            for old in sorted(self.root.glob(f"{folder}/.*-old-*")):
                recover(old)
            for leftover in sorted(self.root.glob(f"{folder}/.*-writing-*")):
                if WRITING_NAME.fullmatch(leftover.name):
                    _remove(leftover)


def open_project(path: str | os.PathLike[str] | None = None) -> Project:
    """The project at a path, or the nearest one above the current folder.

    Args:
        path: the project directory; None looks for geoforecast.toml in the current
            folder and its parents, and falls back on the current folder.
    """
    if path is not None:
        root = Path(path).expanduser()
        if root.exists() and not root.is_dir():
            raise ProjectError(f"{root} is a file, not a project directory.", remedy="Check -p.")
        return Project(root)
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / SETTINGS_FILE).is_file():
            return Project(folder)
    return Project(here)


def checked_name(name: str) -> str:
    """A run or init name that is safe as a folder name.

    Raises:
        SettingsError: it holds anything but letters, digits, dot, dash, underscore.
    """
    if not NAME.fullmatch(name):
        raise SettingsError(
            f"'{name}' cannot be a name.",
            remedy="Use letters, digits, '.', '_' and '-', beginning with a letter or digit.",
        )
    return name


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A temporary path beside ``target`` that takes its place when the block ends well.

    Works for a file or a directory. On an error the temporary path is removed and
    ``target`` stays as it was. Leftovers of killed processes are removed first.

    Args:
        target: the path to create or replace.
    Yields:
        The path to write; its suffix equals that of ``target``.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{target.stem}-writing-"
    for leftover in target.parent.glob(f"{prefix}*{target.suffix}"):
        _remove(leftover)
    temporary = target.parent / f"{prefix}{uuid.uuid4().hex[:8]}{target.suffix}"
    try:
        yield temporary
        _sync(temporary)
        put_in_place(temporary, target)
    except BaseException as error:
        _remove(temporary)
        if isinstance(error, OSError) and error.errno and error.filename is None:
            error.filename = str(target)  # writing to a full disk does not say where
        raise


def put_in_place(made: Path, target: Path) -> None:
    """Let a file or directory take the place of another, in the same file system.

    Args:
        made: what takes the place; whoever needs it to outlast a power failure syncs it.
        target: the place; `recover` ends what a kill cuts short here.
    """
    if target.is_dir() and made.is_dir():
        # A directory cannot be renamed over a full one: step aside, then remove.
        old = target.parent / f".{target.stem}-old-{uuid.uuid4().hex[:8]}{target.suffix}"
        target.rename(old)
        made.rename(target)
        _remove(old)
    else:
        made.replace(target)
    _sync_entry(target.parent)


def recover(old: Path) -> None:
    """End a directory's replacement that was cut short about its two renames.

    Args:
        old: the previous directory, set aside by `replacing`. It goes back to its place if
            that is empty, else it is removed.
    """
    match = OLD_NAME.fullmatch(old.name)
    if match is None or not old.exists():
        return
    target = old.with_name(match["stem"] + (match["suffix"] or ""))
    if target.exists():
        _remove(old)
    else:
        old.rename(target)


def write_json(path: Path, content: Any) -> None:
    """Write JSON in one atomic step; NaN becomes null."""
    with replacing(path) as temporary:
        text = json.dumps(plain(content), indent=2, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def plain(value: Any) -> Any:
    """A value made of JSON types: dataclasses, paths, numpy scalars and NaN resolved."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # a numpy array or scalar, without importing numpy here
        return plain(value.tolist())
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    return str(value)


@contextlib.contextmanager
def recorded(project: Project, command: str, settings: Any) -> Iterator[dict[str, Any]]:
    """Note one command in history.jsonl, with its outcome, whatever happens.

    Args:
        project: where the history lies.
        command: the verb.
        settings: its resolved settings.
    Yields:
        A dict for what else is worth noting (seeds, counts).
    """
    entry: dict[str, Any] = {
        "command": command,
        "argv": sys.argv[1:],
        "settings": plain(settings),
        "version": __version__,
        "python": sys.version.split()[0],
        "start": _now(),
    }
    notes: dict[str, Any] = {}
    failed = False
    try:
        yield notes
        entry["outcome"] = "done"
    except BaseException as error:
        failed = True
        entry["outcome"] = f"{type(error).__name__}: {error}".splitlines()[0]
        raise
    finally:
        entry.update(plain(notes), end=_now())
        with contextlib.suppress(OSError) if failed else contextlib.nullcontext():
            # What went wrong first is what must be told, on a full disk too.
            _append_line(project.history_path, json.dumps(entry))


def read_history(project: Project) -> list[dict[str, Any]]:
    """The entries of history.jsonl, oldest first; lines that are damaged are left out."""
    if not project.history_path.is_file():
        return []
    entries = []
    text = project.history_path.read_text(encoding="utf-8", errors="replace")
    for line in text.splitlines():
        with contextlib.suppress(json.JSONDecodeError, RecursionError):
            entry = json.loads(line)
            if isinstance(entry, dict):
                entries.append(entry)
    return entries


def _append_line(path: Path, line: str) -> None:
    # One short write in append mode: a reader never sees half an entry but the last, and
    # an entry that a kill cut short keeps its damage to its own line.
    with path.open("ab+") as stream:
        cut_short = False
        if stream.seek(0, os.SEEK_END):
            stream.seek(-1, os.SEEK_END)
            cut_short = stream.read(1) != b"\n"
        stream.write(("\n" * cut_short + line + "\n").encode())


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def _sync(path: Path) -> None:
    paths = [path, *path.rglob("*")] if path.is_dir() else [path]
    for item in paths:
        _sync_entry(item)


def _sync_entry(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
