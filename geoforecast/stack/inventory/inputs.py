"""What a user may name as input: folders, files, globs, lists, manifests, STAC items.

Nothing is opened here but lists, manifests and JSON; rasters are read later.
"""

from __future__ import annotations

import dataclasses
import errno
import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from geoforecast.errors import InputError, SceneError
from geoforecast.raster.layout import printable
from geoforecast.stack.inventory.listing import (
    QUARANTINE,
    SUFFIXES,
    Listed,
    absolute,
    checked_file,
    clipped,
    is_remote,
    read_text,
    remote_error,
)
from geoforecast.stack.inventory.manifests import read_manifest
from geoforecast.stack.inventory.stac import read_items

log = logging.getLogger(__name__)

ITEMS = (".json", ".geojson")
_MAGIC = re.compile(r"[*?[]")


def list_inputs(inputs: Sequence[str | Path]) -> list[Listed]:
    """All files that are meant, in the order they are named; one may come several times.

    Args:
        inputs: folders, files, globs, ``@lists``, CSV manifests, STAC item JSON files.
    Raises:
        InputError: something does not exist, a glob matches nothing, or a list is wrong.
    """
    return [listed for item in inputs for listed in _listed(str(item), Path())]


def _listed(text: str, beside: Path, *, nested: bool = False) -> Iterable[Listed]:
    """What one input means.

    Args:
        text: as the user wrote it.
        beside: the folder that relative paths start from.
        nested: it stands in a list, so it cannot be a list itself.
    """
    if is_remote(text):
        error = remote_error(text)
        if nested:  # one file of many, which --on-error decides on
            return [Listed(Path(text), beside, fault=error)]
        raise InputError(error.what, remedy=error.remedy)
    if text.startswith("@"):
        if nested:
            raise InputError(
                f"A list names another list: {clipped(text)}.", remedy="Name its files instead."
            )
        return _from_list(_home(text[1:]))
    path = beside / _home(text)
    if os.path.lexists(path):
        return _from_path(path)
    if _MAGIC.search(text):
        return _from_glob(path, text)
    if nested:
        return [checked_file(path, absolute(path).parent)]
    raise InputError(f"{clipped(text)} does not exist.", remedy="Check the path.")


def _home(text: str) -> Path:
    return Path(os.path.expanduser(text))  # noqa: PTH111  Path's own raises for ~nobody


def _from_path(path: Path) -> Iterable[Listed]:
    if path.is_dir():
        return _from_folder(path)
    if path.suffix.lower() == ".csv":
        return read_manifest(path)
    if path.suffix.lower() in ITEMS:
        return read_items(path)
    return [checked_file(path, absolute(path).parent)]


def _from_list(path: Path) -> Iterator[Listed]:
    base = absolute(path).parent
    empty = True
    for number, line in enumerate(read_text(path, "a list of files").split("\n"), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        empty = False
        line = f"line {number} of {printable(path)}"
        try:
            for listed in _beneath(base, _listed(text, base, nested=True)):
                yield _with_line(listed, line)
        except InputError as error:
            where = (line, *error.where)
            raise InputError(error.what, where=where, remedy=error.remedy) from error
    if empty:
        raise InputError(
            f"{printable(path)} names no file.", remedy="Give one path or glob a line."
        )


def _with_line(listed: Listed, line: str) -> Listed:
    """The same file; a fault of it tells where the list names it."""
    if listed.fault is None:
        return listed
    error = listed.fault
    fault = SceneError(error.what, where=(line, *error.where), remedy=error.remedy)
    return dataclasses.replace(listed, fault=fault)


def _from_glob(pattern: Path, text: str) -> Iterator[Listed]:
    """Files and folders that a pattern matches; ``**`` is any number of folders."""
    parts = pattern.parts
    first = next(number for number, part in enumerate(parts) if _MAGIC.search(part))
    root = Path(*parts[:first])
    wanted = SUFFIXES + (ITEMS if parts[-1].lower().endswith(ITEMS) else ())
    matches = list(dict.fromkeys(_expand(root, parts[first:])))
    chosen = [path for path in matches if path.is_dir() or path.suffix.lower() in wanted]
    found = [listed for path in chosen for listed in _beneath(absolute(root), _from_path(path))]
    if not found:
        other = f", but {len(matches)} other files or folders" if matches else ""
        raise InputError(
            f"{clipped(text)} matches no GeoTIFF{other}.",
            remedy="Check the pattern: * and ? stand for characters of a name, ** for folders.",
        )
    yield from found


def _beneath(base: Path, found: Iterable[Listed]) -> Iterator[Listed]:
    """The same files, with keys that begin at a folder that holds them."""
    for listed in found:
        inside = absolute(listed.path).is_relative_to(base)
        yield dataclasses.replace(listed, base=base) if inside else listed


def _expand(place: Path, parts: Sequence[str]) -> Iterator[Path]:
    """Paths below a folder that match the parts of a pattern, in name order."""
    if not parts:
        yield place
        return
    head, rest = parts[0], parts[1:]
    if head == "**":
        for folder in _folders(place) if rest else [place]:
            yield from _expand(folder, rest)
    elif _MAGIC.search(head):
        for entry in _entries(place):
            hidden = entry.name.startswith(".") and not head.startswith(".")
            if not hidden and fnmatchcase(entry.name, head) and (not rest or _is_dir(entry)):
                yield from _expand(place / entry.name, rest)
    elif os.path.lexists(place / head):
        yield from _expand(place / head, rest)


def _from_folder(root: Path) -> Iterator[Listed]:
    """GeoTIFFs in a folder and those below it; hidden ones are left out."""
    base = absolute(root)
    for folder in _folders(root):
        try:
            entries = _scan(folder)
        except OSError as error:
            what = f"The folder {clipped(str(folder))} cannot be listed: {error.strerror}."
            denied = isinstance(error, PermissionError)
            remedy = "Change its permissions" if denied else "Check whether it is still there"
            if error.errno == errno.ENAMETOOLONG:
                remedy = "Move it to a folder with a shorter path"
            remedy += f", or {QUARANTINE}"
            yield Listed(folder, base, fault=SceneError(what, remedy=remedy))
            continue
        for entry in entries:
            path = folder / entry.name
            if entry.name.startswith(".") or path.suffix.lower() not in SUFFIXES:
                continue
            if _is_dir(entry):
                continue
            listed = checked_file(path, base)
            if listed.fault and not entry.is_symlink() and os.path.lexists(path):
                # A pipe or a socket holds no scene, and opening it would wait for ever.
                listed = Listed(path, base, skip=listed.fault.what.rstrip("."))
            yield listed


def _folders(root: Path) -> Iterator[Path]:
    """A folder and all below it, each once, linked ones last; hidden ones are left out.

    A link to a folder that holds the root is not followed: it leads to what nobody named.
    """
    real = Path(os.path.realpath(root))
    above = {_identity(folder) for folder in real.parents}
    seen: set[tuple[int, int]] = set()
    ahead, linked = [root], list[Path]()
    while ahead or linked:
        folder = ahead.pop() if ahead else linked.pop(0)
        identity = _identity(folder)
        if identity is None:  # gone, or too deep for any path: told where it is listed
            yield folder
            continue
        if identity in seen or identity in above:
            log.debug("%s leads to a folder that is listed already.", printable(folder))
            continue
        seen.add(identity)
        yield folder
        below = [e for e in _entries(folder) if _is_dir(e) and not e.name.startswith(".")]
        linked += [folder / e.name for e in below if e.is_symlink()]
        ahead += [folder / e.name for e in reversed(below) if not e.is_symlink()]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        return _scan(folder)
    except OSError:  # told where the folder's own files are listed
        return []


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links
        return False


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
