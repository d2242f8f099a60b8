"""Lock files: held by one command alone, or shared by several of a kind.

The system frees them when a process ends, however it ends.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from geoforecast.errors import ProjectError

SHARING_WAIT_S = 5.0


@contextlib.contextmanager
def alone(path: Path, held: ProjectError) -> Iterator[None]:
    """Hold a lock file alone.

    Args:
        path: the file; it stays.
        held: the error if somebody else holds it.
    Raises:
        ProjectError: ``held``.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise held from error
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def sharing(path: Path, held: ProjectError, tidy: Callable[[], None]) -> Iterator[None]:
    """Share a lock file with others that do, against whoever locks it alone.

    Args:
        path: the file that FileLock locks.
        held: the error if somebody holds it alone.
        tidy: done first by whoever is alone: all others found the place tidy.
    Raises:
        ProjectError: ``held``.
    """
    import fcntl  # Unix only, as this is

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            pass
        else:
            tidy()
        until = time.monotonic() + SHARING_WAIT_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                break
            except (BlockingIOError, PermissionError) as error:
                # Jobs of an array begin at once: one of them may still be tidying.
                if time.monotonic() > until:
                    raise held from error
                time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)  # which frees it
