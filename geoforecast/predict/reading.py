"""Reading ahead: the next steps of a tile are decoded while the last ones are worked on."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoforecast.errors import InterruptedRunError
from geoforecast.raster.cube import CHUNK_STEPS, Cube
from geoforecast.raster.grid import Tile

Pixels = tuple[NDArray[Any], NDArray[np.bool_]]
Request = tuple[int, int, Tile]


class StoppedError(InterruptedRunError):
    """The work of a thread is not wanted any more."""


class Reader:
    """Reads for one thread that forecasts, in another of its own.

    A tile is streamed from its first step on, some steps at a time. Whoever asks for what was
    expected finds it decoded, and the steps after it are begun; at most one such request is
    under way, so that memory holds twice the steps of one.

    Args:
        last_step: what lies after it is not expected to be asked for.
        stop: set once the work is not wanted any more.
    """

    def __init__(self, last_step: int, stop: threading.Event) -> None:
        self._last, self._stop = last_step, stop
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="read")
        self._expected: tuple[Request, Future[Pixels]] | None = None
        self.tile: Tile | None = None  # what is streamed
        self.following: Tile | None = None  # what is streamed after it

    def read(self, cube: Cube, request: Request) -> Pixels:
        """Some steps of a tile.

        Raises:
            StoppedError: nobody wants them any more.
        """
        if self._stop.is_set():
            raise StoppedError("The work was called off.")
        start, stop, tile = request
        if self._expected is not None and self._expected[0] == request:
            pixels = self._expected[1].result()
        elif start == 0 and tile == self.tile:
            pixels = Cube.read(cube, *request)
        else:  # no part of the stream: layers beside it, motion fields
            return Cube.read(cube, *request)
        self._expected = None
        following: Request | None = None
        if stop <= self._last:
            following = (stop, min(stop + CHUNK_STEPS, len(cube.times)), tile)
        elif self.following is not None:
            following = (0, min(CHUNK_STEPS, len(cube.times)), self.following)
        if following is not None:
            self._expected = following, self._pool.submit(Cube.read, cube, *following)
        return pixels

    def close(self) -> None:
        """Wait for what is being read, and forget it."""
        self._pool.shutdown(cancel_futures=True)


_of_thread = threading.local()


@contextmanager
def reading_ahead(reader: Reader) -> Iterator[None]:
    """Let this thread's reads of an AheadCube go through a reader."""
    _of_thread.reader = reader
    try:
        yield
    finally:
        del _of_thread.reader


@dataclasses.dataclass(frozen=True)
class AheadCube(Cube):
    """A cube whose reads go through the thread's reader, if it has one."""

    def read(
        self, start: int, stop: int, tile: Tile | None = None, *, filled: bool = False
    ) -> Pixels:
        """See Cube.read."""
        reader: Reader | None = getattr(_of_thread, "reader", None)
        if reader is None or tile is None or filled:
            return super().read(start, stop, tile, filled=filled)
        return reader.read(self, (start, stop, tile))


def ahead(cube: Cube) -> AheadCube:
    """The same cube, with reads that can go through a reader."""
    names = [field.name for field in dataclasses.fields(Cube)]
    return AheadCube(**{name: getattr(cube, name) for name in names})
