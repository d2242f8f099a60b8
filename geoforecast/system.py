"""What this process may use, as the scheduler or the container grants it, and when to stop."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

from geoforecast.errors import InterruptedRunError

CGROUP = Path("/sys/fs/cgroup")
GDAL_CACHE_SHARE = 0.05


def granted_cpus() -> int:
    """CPUs this process may use: SLURM's grant, else the cgroup's quota, else affinity."""
    slurm = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if slurm.isdigit() and int(slurm) > 0:
        return int(slurm)
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    cpus = affinity or os.cpu_count() or 1
    quota = _words(CGROUP / "cpu.max")
    if len(quota) == 2 and quota[0].isdigit():
        cpus = min(cpus, max(1, int(quota[0]) // int(quota[1])))
    return cpus


def granted_memory_bytes() -> int:
    """Memory this process may use: the cgroup's limit, or what the machine has."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        limit = _words(CGROUP / name)
        if limit and limit[0].isdigit():
            total = min(total, int(limit[0]))
    return total


def gdal_cache_mib() -> int:
    """GDAL's block cache for this process; its own default counts the whole machine."""
    return max(64, int(granted_memory_bytes() * GDAL_CACHE_SHARE / 2**20))


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError):
        return []


class Signals:
    """Turns SIGTERM and SIGUSR1 into InterruptedRunError, at once or when asked.

    At once suits work that only ever replaces whole files; inside ``later`` the work asks,
    and saves before it stops.
    """

    def __init__(self) -> None:
        self.at_once = True
        self.seen = ""  # the signal's name, once it came

    def __enter__(self) -> Signals:
        names = [name for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name)]
        # Only the main thread may set handlers; a library user's thread goes without.
        with contextlib.suppress(ValueError):
            self._old = {n: signal.signal(getattr(signal, n), self._note) for n in names}
        return self

    def __exit__(self, *_: object) -> None:
        for name, handler in getattr(self, "_old", {}).items():
            signal.signal(getattr(signal, name), handler)

    @contextlib.contextmanager
    def later(self) -> Iterator[Callable[[], bool]]:
        """Inside, signals are only noted; the callable tells whether one was."""
        self.at_once = False
        try:
            self.check()  # one that came just before
            yield lambda: bool(self.seen)
        finally:
            self.at_once = True
        self.check()

    def check(self) -> None:
        """Stop here if a signal came, even one that something in between swallowed.

        Raises:
            InterruptedRunError: it did.
        """
        if self.seen:
            raise InterruptedRunError(
                f"Stopped by {self.seen}; what was complete is kept.",
                remedy="Run the same command again.",
            )

    def _note(self, number: int, _frame: object) -> None:
        self.seen = signal.Signals(number).name
        if self.at_once:
            self.check()
