"""What this process may use, as the scheduler or the container grants it, and when to stop."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from geoforecast.errors import InterruptedRunError

CGROUP = Path("/sys/fs/cgroup")
GDAL_CACHE_SHARE = 0.05

# Of mallopt() in glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
USUAL_TRIM_BYTES = 2**17
MOST_MMAP_BYTES = 2**25  # glibc refuses more
# Decoded rows and units are larger, all that comes and goes by the thousand is smaller.
LARGE_BYTES = 2**23
THREADS_PER_ARENA = 4


@dataclass(frozen=True)
class Launch:
    """This process among those that were started together to train one model.

    Attributes:
        rank: its number, from 0.
        size: how many there are on all machines.
        local_rank, local_size: the same on this machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1


def launched() -> Launch:
    """What torchrun, or whoever sets the same variables, says; one process without it."""
    wanted = [os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE")]
    if not all(word.isdigit() for word in wanted) or "MASTER_ADDR" not in os.environ:
        return Launch()
    rank, size = (int(word) for word in wanted)
    local = [os.environ.get(name, "") for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE")]
    local_rank, local_size = (
        int(word) if word.isdigit() else other
        for word, other in zip(local, (rank, size), strict=True)
    )
    return Launch(rank, size, local_rank, local_size) if rank < size else Launch()


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


def keep_heap_small(jobs: int, spare_bytes: int = USUAL_TRIM_BYTES) -> None:
    """Give large arrays back when they are freed, and let threads share what is free.

    glibc keeps a heap for each thread, and comes to keep arrays of up to 32 MiB in it: two
    threads that read and write held 70 MiB that nobody used. Other C libraries are left alone.

    Args:
        jobs: threads that will allocate; called before they begin.
        spare_bytes: what may stay free at the end of a heap, for work that often asks for it anew.
    """
    with contextlib.suppress(AttributeError, OSError):
        library = ctypes.CDLL("libc.so.6")
        library.mallopt(_MMAP_THRESHOLD, LARGE_BYTES)
        library.mallopt(_TRIM_THRESHOLD, spare_bytes)
        library.mallopt(_ARENA_MAX, -(-jobs // THREADS_PER_ARENA))
        library.malloc_trim(0)  # what keep_heap() kept


def keep_heap() -> None:
    """Keep what is freed, for work that asks for arrays of the same sizes over and over.

    The kernel clears each page that it hands out anew: 3 to 4 % of a training's time. Other C
    libraries are left alone.
    """
    with contextlib.suppress(AttributeError, OSError):
        library = ctypes.CDLL("libc.so.6")
        library.mallopt(_MMAP_THRESHOLD, MOST_MMAP_BYTES)
        library.mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError):
        return []


class Signals:
    """Turns SIGTERM and SIGUSR1 into InterruptedRunError, at once or when asked.

    At once suits work that only ever replaces whole files; inside ``later`` the work asks,
    and saves before it stops. One that is leaving, for whatever reason, need not be told: a
    signal then would only cut its last words short, or change its exit code.

    Args:
        to_the_end: of the process; one that is leaving then ignores signals until it is gone.

    Attributes:
        at_once: whether to raise as soon as a signal comes.
        seen: the signal's name, once it came.
        leaving: whether this process is about to end.
    """

    def __init__(self, to_the_end: bool = False) -> None:
        self.at_once = True
        self.seen = ""
        self.leaving = False
        self._to_the_end = to_the_end

    def __enter__(self) -> Signals:
        names = [name for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name)]
        # Only the main thread may set handlers; a library user's thread goes without.
        with contextlib.suppress(ValueError):
            self._old = {n: signal.signal(getattr(signal, n), self._note) for n in names}
        return self

    def __exit__(self, *_: object) -> None:
        for name, handler in getattr(self, "_old", {}).items():
            ignored = self._to_the_end and self.leaving
            signal.signal(getattr(signal, name), signal.SIG_IGN if ignored else handler)

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
        if self.leaving:
            return
        self.seen = signal.Signals(number).name
        if self.at_once:
            self.check()
