"""How the C library keeps memory that is free, while pixels are stacked."""

from __future__ import annotations

import contextlib
import ctypes

# Of mallopt() in glibc's malloc.h.
_MMAP_THRESHOLD, _ARENA_MAX = -3, -8
# Decoded rows and units are larger, all that comes and goes by the thousand is smaller.
LARGE_BYTES = 2**23
THREADS_PER_ARENA = 4


def keep_heap_small(jobs: int) -> None:
    """Give large arrays back when they are freed, and let threads share what is free.

    glibc keeps a heap for each thread, and comes to keep arrays of up to 32 MiB in it: two
    threads that read and write held 70 MiB that nobody used. Other C libraries are left alone.

    Args:
        jobs: threads that will allocate; called before they begin.
    """
    with contextlib.suppress(AttributeError, OSError):
        library = ctypes.CDLL("libc.so.6")
        library.mallopt(_MMAP_THRESHOLD, LARGE_BYTES)
        library.mallopt(_ARENA_MAX, -(-jobs // THREADS_PER_ARENA))
