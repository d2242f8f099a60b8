"""Free memory goes back to the system."""

from __future__ import annotations

import subprocess
import sys

import pytest

LARGE = """
import ctypes
from geoforecast.system import keep_heap_small
keep_heap_small(2)
libc = ctypes.CDLL("libc.so.6")
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
class Found(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in names]
libc.mallinfo2.restype = Found
libc.free(libc.malloc(24 * 2**20))  # from here on glibc would take such sizes from its heap
before = libc.mallinfo2().hblkhd
libc.malloc(20 * 2**20)
print(libc.mallinfo2().hblkhd - before >= 20 * 2**20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_large_arrays_do_not_stay_in_the_heap():
    words = [sys.executable, "-c", LARGE]
    found = subprocess.run(words, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "True"


def test_other_systems_are_left_alone(monkeypatch):
    from geoforecast import system as heap

    def none(_: str) -> None:
        raise OSError("no such library")

    monkeypatch.setattr(heap.ctypes, "CDLL", none)
    heap.keep_heap_small(2)
