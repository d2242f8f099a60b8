"""Where decoded samples are kept: in memory, or in files that memory only looks into.

Which of the two never changes a bit of the result, so it may follow from the machine.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoforecast.errors import InputError, SettingsError

AUTO, IN_MEMORY = "auto", "memory"
SCRATCH = "SLURM_TMPDIR"  # a folder on the node's own disk, for as long as the job lasts


@dataclass(frozen=True)
class Space:
    """Where arrays lie.

    Attributes:
        folder: of the files; None is memory.
    """

    folder: Path | None = None

    def empty(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """A new array of anything.

        Raises:
            InputError: the folder takes no more.
        """
        if self.folder is None:
            return np.empty(shape, dtype)
        try:
            # Without a name: however this process ends, nothing is left behind.
            with tempfile.TemporaryFile(dir=self.folder, prefix="geoforecast-") as stream:
                size = int(np.prod(shape)) * np.dtype(dtype).itemsize
                if hasattr(os, "posix_fallocate"):
                    # Now: what fills a hole of a file later, on a full disk, ends the process.
                    os.posix_fallocate(stream.fileno(), 0, max(1, size))
                else:
                    stream.truncate(max(1, size))
                return np.asarray(np.memmap(stream, dtype, mode="r+", shape=shape))
        except OSError as error:
            raise InputError(
                f"Decoded samples cannot be kept in this folder ({error.strerror}).",
                where=str(self.folder),
                remedy="Name another one with --cache, or --cache memory.",
            ) from error


MEMORY = Space()


def find_space(cache: str, crowded: bool) -> Space:
    """Where samples shall lie.

    Args:
        cache: the setting.
        crowded: whether memory is too small for them.
    Raises:
        SettingsError: there is no such folder.
    """
    if cache == IN_MEMORY:
        return MEMORY
    if cache == AUTO:
        scratch = os.environ.get(SCRATCH, "")
        return Space(Path(scratch)) if crowded and scratch and Path(scratch).is_dir() else MEMORY
    if not Path(cache).is_dir():
        raise SettingsError(
            f"--cache {cache}: there is no such folder.",
            remedy="Name one on a disk of this machine, or memory, or auto.",
        )
    return Space(Path(cache))
