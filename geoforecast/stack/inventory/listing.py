"""One file among the inputs: where it lies, and what is known of it besides its name."""

from __future__ import annotations

import errno
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geoforecast.errors import InputError, SceneError
from geoforecast.raster.layout import printable

SUFFIXES = (".tif", ".tiff", ".gtif", ".gtiff")
QUARANTINE = "leave it out with --on-error quarantine."
MAX_LIST_MIB = 256  # no list of paths is longer; a raster named by mistake is
_REMOTE = re.compile(r"(?i)(?!file:)[a-z][a-z0-9+.-]+:/|/vsi|(?:s3|gs|az|abfss?|https?):")


@dataclass(frozen=True)
class BandTags:
    """Scale, offset and nodata of a band as a STAC item states them; None where it does not."""

    scale: float | None = None
    offset: float | None = None
    nodata: float | None = None


@dataclass(frozen=True)
class Listed:
    """A file that is meant, and what is known of it besides its name.

    Attributes:
        path: where it lies.
        base: the folder whose own name begins the file's key.
        time: UTC, as a manifest or a STAC item gives it; overrides the name.
        band: the variable, as they give it; overrides the name.
        names: of the file's bands, if it has several; overrides their descriptions.
        tags: of the file's bands; used where the file's own tags say nothing.
        fault: why it cannot be used.
        skip: why it is left out, which is no fault.
    """

    path: Path
    base: Path
    time: np.datetime64 | None = None
    band: str = ""
    names: tuple[str, ...] = ()
    tags: tuple[BandTags, ...] = ()
    fault: SceneError | None = None
    skip: str = ""

    @property
    def told(self) -> bool:
        """Whether more is known of it than its name."""
        return self.time is not None or bool(self.band or self.names or self.tags)


def checked_file(path: Path, base: Path) -> Listed:
    """A file that something names; with a fault if there is none, or it is no plain file."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        return Listed(path, base, fault=_absent(path, error))
    if stat.S_ISREG(mode):
        return Listed(path, base)
    what = f"{printable(path)} is {_kind(mode)}, not a file."
    return Listed(path, base, fault=SceneError(what, remedy=f"Remove it, or {QUARANTINE}"))


def is_remote(text: str) -> bool:
    """Whether a path is an address that would have to be downloaded."""
    return _REMOTE.match(text) is not None


def remote_error(text: str) -> SceneError:
    """The error for an address."""
    return SceneError(
        f"{clipped(text)} is not a file on this machine.",
        remedy="Download it first, then name the local copy.",
    )


def read_text(path: Path, kind: str) -> str:
    """The text of a list, manifest or item; names in it that are not UTF-8 survive.

    Args:
        path: the file.
        kind: what it should be, for messages, such as "a CSV manifest".
    Raises:
        InputError: it cannot be read, or is no text.
    """
    if not path.is_file():
        raise InputError(f"{clipped(str(path))} is not a file.", remedy=f"Name {kind}.")
    try:
        if path.stat().st_size > MAX_LIST_MIB * 2**20:
            raise InputError(
                f"{printable(path)} is larger than {MAX_LIST_MIB} MiB, too large for {kind}.",
                remedy="Check the path.",
            )
        text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise InputError(
            f"{printable(path)} cannot be read: {error.strerror}.", remedy="Check the path."
        ) from error
    if "\0" in text:
        raise InputError(f"{printable(path)} is no text.", remedy=f"Give {kind} as UTF-8 text.")
    return text


def absolute(path: Path) -> Path:
    """An absolute path in which links keep their own names."""
    return Path(os.path.abspath(path))  # noqa: PTH100  Path.resolve would follow links


def clipped(text: str) -> str:
    """A text for a message: printable, and cut in the middle if it is absurdly long."""
    shown = printable(text)
    return shown if len(shown) <= 300 else f"{shown[:150]}...{shown[-100:]}"


def _absent(path: Path, error: OSError | ValueError) -> SceneError:
    number = error.errno if isinstance(error, OSError) else None
    if os.path.islink(path):  # noqa: PTH114  Path's own raises for names too long
        reason = "is a link that leads nowhere"
        remedy = f"Restore what it led to, or {QUARANTINE}"
    elif number in (errno.EACCES, errno.EPERM):
        reason, remedy = "may not be read", f"Change its permissions, or {QUARANTINE}"
    elif number == errno.ENAMETOOLONG:
        reason = f"is a name or path too long for this system ({len(str(path))} characters)"
        remedy = f"Move it to a folder with a shorter path, or {QUARANTINE}"
    else:
        reason, remedy = "does not exist", f"Check the path, or {QUARANTINE}"
    return SceneError(f"{clipped(str(path))} {reason}.", remedy=remedy)


def _kind(mode: int) -> str:
    kinds = {
        stat.S_ISDIR: "a folder",
        stat.S_ISFIFO: "a pipe",
        stat.S_ISSOCK: "a socket",
        stat.S_ISCHR: "a device",
        stat.S_ISBLK: "a device",
    }
    return next((name for test, name in kinds.items() if test(mode)), "something else")
