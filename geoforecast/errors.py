"""Every error a user can meet, and the exit code that goes with it.

::

    GeoforecastError            exit 2: usage or input
    ├── SettingsError           an unknown or impossible setting
    ├── ProjectError            the project directory: missing, read-only, newer, half-written
    │   └── CubeError           the cube inside it
    │       └── OtherCubeError  the cube of other files or settings
    ├── InputError              files given by the user
    │   ├── SceneError          one file that cannot be used (quarantined or fatal)
    │   ├── DateError           times that are absent, ambiguous or collide
    │   └── GridMismatchError   rasters that do not lie on one grid
    ├── SeriesTooShortError     not enough steps for what was asked
    ├── RunError                a run that is missing or does not fit the cube
    ├── QualityGateError        exit 1: `validate --fail-under` or `--strict` was not met
    └── InterruptedRunError     exit 75: stopped early, the same command goes on

A message says what is wrong, where (with values), and what to do about it.
A traceback means a bug in geoforecast.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from difflib import get_close_matches


class GeoforecastError(Exception):
    """Base of all errors that geoforecast raises on purpose.

    Args:
        what: one sentence that names the problem and the value that caused it.
        where: the file, scene or setting concerned, one item a line.
        remedy: what to do, as an imperative sentence.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str | Iterable[str] = (), remedy: str = "") -> None:
        self.what = what
        self.where = (where,) if isinstance(where, str) else tuple(where)
        self.remedy = remedy
        super().__init__(self.render())

    def render(self) -> str:
        """The message as a terminal shows it: what, indented where, remedy."""
        lines = [self.what, *(f"  {line}" for line in self.where)]
        if self.remedy:
            lines.append(self.remedy)
        return "\n".join(lines)


class SettingsError(GeoforecastError):
    """A setting is unknown or has a value that cannot work."""


class ProjectError(GeoforecastError):
    """The project directory cannot be used as it is."""


class CubeError(ProjectError):
    """The cube is missing, half-written, or from a newer geoforecast."""


class OtherCubeError(CubeError):
    """A cube is complete, but of other files or settings than are given."""


class InputError(GeoforecastError):
    """What the user gave cannot be used."""


class SceneError(InputError):
    """One input file cannot be used; `--on-error` decides what follows."""


class DateError(InputError):
    """Times are absent, ambiguous, or collide."""


class GridMismatchError(InputError):
    """Rasters that must share a grid do not."""


class SeriesTooShortError(GeoforecastError):
    """The series has too few steps for the request."""


class RunError(GeoforecastError):
    """A run is missing, or does not fit the cube it is used with."""


class QualityGateError(GeoforecastError):
    """The forecast did not reach what `--fail-under` or `--strict` demands."""

    exit_code = 1


class InterruptedRunError(GeoforecastError):
    """Work stopped early on a signal or time limit; running again goes on."""

    exit_code = 75


def from_system(error: OSError) -> GeoforecastError:
    """The message of a file that the system would not read or write."""
    file = [str(name) for name in (error.filename, error.filename2) if name is not None]
    remedies = {
        errno.ENOSPC: "Free some space, then run the same command again.",
        errno.EDQUOT: "Free some space, then run the same command again.",
        errno.EACCES: "Change its permissions, or choose another place with -p.",
        errno.EPERM: "Change its permissions, or choose another place with -p.",
        errno.EROFS: "Choose another place with -p.",
    }
    remedy = remedies.get(error.errno or 0, "Check that file, then run the same command again.")
    return GeoforecastError(f"{error.strerror or error}.", where=file, remedy=remedy)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A sentence that offers the nearest known word, or lists all of them.

    Args:
        word: what the user wrote.
        known: what would have been accepted.
    Returns:
        ``Did you mean 'x'?`` or ``Known: a, b, c.``.
    """
    candidates = sorted(known)
    close = get_close_matches(word, candidates, n=1, cutoff=0.6)
    if close:
        return f"Did you mean '{close[0]}'?"
    return f"Known: {', '.join(candidates)}."
