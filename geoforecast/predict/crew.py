"""The units of a forecast, made by threads: reading, forecasting and writing overlap.

Each thread that forecasts has one that reads ahead for it; one thread writes for all. What waits
to be written is bounded, so memory does not grow with the raster.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geoforecast.errors import InterruptedRunError
from geoforecast.forecast.engine import Engine
from geoforecast.forecast.settled import Settled, with_settled
from geoforecast.predict.layers import LAYERS, PROBABILITY, layer_pixels
from geoforecast.predict.making import Making
from geoforecast.predict.reading import Reader, StoppedError, ahead, reading_ahead
from geoforecast.predict.units import Unit, UnitWriter
from geoforecast.raster.grid import Tile

Progress = Callable[[int, int], None]
Pixels = NDArray[Any]

# Layers of a tile that may wait for the thread that writes.
WAITING = 2
ASK_SECONDS = 0.2


def fill(
    making: Making,
    units: Sequence[Unit],
    settled: Settled,
    *,
    jobs: int,
    side: int,
    interrupted: Callable[[], bool] = lambda: False,
    progress: Progress | None = None,
) -> None:
    """Forecast some units; each is done once its file is there.

    Args:
        making: what they are units of.
        units: those that are wanted.
        settled: what is known of earlier errors.
        jobs: threads that forecast.
        side: of the tiles that they do at once, pixels; changes nothing but memory and time.
        interrupted: asked all the while; True stops soon, and the units under way are lost.
        progress: called with units done and in all.
    Raises:
        InterruptedRunError: it was interrupted.
    """
    if not units:
        return
    engine = plan_engine(making, settled)
    crew = _Crew(making, engine, side, units)
    with _one_thread_each(engine):
        pool = ThreadPoolExecutor(jobs, thread_name_prefix="forecast")
        pen = ThreadPoolExecutor(1, thread_name_prefix="write")
        try:
            for _ in range(min(jobs, len(units))):
                pool.submit(crew.work, pen)
            _attend(crew, len(units), interrupted, progress)
        finally:
            crew.stop.set()
            pool.shutdown()
            pen.shutdown()


def plan_engine(making: Making, settled: Settled) -> Engine:
    """The plan's engine, which learns nothing by itself and can read ahead."""
    engine = making.plan.engine
    series = dataclasses.replace(engine.series, cube=ahead(engine.cube))
    return with_settled(engine, settled, series=series)


def _attend(
    crew: _Crew, total: int, interrupted: Callable[[], bool], progress: Progress | None
) -> None:
    """Wait for all units, and tell how many are done; the first error is raised."""
    done = 0
    while done < total:
        with contextlib.suppress(Empty):
            error = crew.ended.get(timeout=ASK_SECONDS)
            if error is not None:
                raise error
            done += 1
            if progress is not None:
                progress(done, total)
        if interrupted():
            raise InterruptedRunError(
                f"StoppedError with {done} of {total} units done; they are kept.",
                remedy="Run the same command again; it goes on where this one stopped.",
            )


class _Crew:
    """What the threads share.

    Attributes:
        ended: an item for each unit that is done: None, or the error that ends it all.
        stop: set once the work is not wanted any more.
    """

    def __init__(self, making: Making, engine: Engine, side: int, units: Sequence[Unit]) -> None:
        self.making, self.engine, self.side = making, engine, side
        self.ended: SimpleQueue[BaseException | None] = SimpleQueue()
        self.stop = threading.Event()
        self._left = deque(units)
        self._room = threading.Semaphore(WAITING)

    def work(self, pen: ThreadPoolExecutor) -> None:
        """Make units until none are left; runs in several threads.

        Args:
            pen: the thread that writes.
        """
        plan = self.making.plan
        reader = Reader(plan.init_step, self.stop)
        try:
            with reading_ahead(reader):
                unit = self._next()
                while unit is not None:
                    following = self._next()
                    self._make(unit, following, reader, pen)
                    unit = following
        except StoppedError:
            pass
        except BaseException as error:
            self.ended.put(error)
            self.stop.set()
        finally:
            reader.close()

    def _next(self) -> Unit | None:
        try:
            return self._left.popleft()
        except IndexError:
            return None

    def _make(
        self, unit: Unit, following: Unit | None, reader: Reader, pen: ThreadPoolExecutor
    ) -> None:
        """Forecast a unit tile by tile, and hand each layer over to be written."""
        writer = UnitWriter(self.making.folder, unit)
        filled = 0
        tiles = list(tiles_of(unit.tile, self.side))
        after = tiles_of(following.tile, self.side) if following else iter(())
        coming = itertools.chain(tiles[1:], itertools.islice(after, 1), [None])
        try:
            for tile, later in zip(tiles, coming, strict=False):
                reader.tile = self._read_for(tile)
                reader.following = None if later is None else self._read_for(later)
                for layer, pixels in layer_pixels(self.making.plan, self.engine, tile):
                    if layer == (PROBABILITY if self.engine.has_probabilities else LAYERS[0]):
                        filled += int(np.isfinite(pixels).sum())
                    self._room.acquire()
                    pen.submit(self._write, writer, layer, tile, pixels)
            pen.submit(self._close, writer, filled)
        except BaseException:
            pen.submit(writer.discard)
            raise

    def _read_for(self, tile: Tile) -> Tile:
        """What the engine reads to forecast a tile."""
        plan = self.making.plan
        return self.engine.outer(tile, [plan.init_step], len(plan.times), [self.engine.reference])

    def _write(self, writer: UnitWriter, layer: str, tile: Tile, pixels: Pixels) -> None:
        try:
            if not self.stop.is_set():
                writer.add(layer, tile, pixels)
        except BaseException as error:
            self.ended.put(error)
            self.stop.set()
        finally:
            self._room.release()

    def _close(self, writer: UnitWriter, filled: int) -> None:
        if self.stop.is_set():  # some of its layers may not have been written
            writer.discard()
            return
        try:
            writer.close(filled)
            self.ended.put(None)
        except BaseException as error:
            self.ended.put(error)
            self.stop.set()


def tiles_of(area: Tile, side: int) -> Iterator[Tile]:
    """Tiles of at most ``side`` pixels a side that cover an area once."""
    for row in range(area.row0, area.row1, side):
        for col in range(area.col0, area.col1, side):
            yield Tile(row, min(row + side, area.row1), col, min(col + side, area.col1))


@contextlib.contextmanager
def _one_thread_each(engine: Engine) -> Iterator[None]:
    """Let torch use one thread for each of ours: its sums hang on how many it has."""
    before = torch.get_num_threads()
    if engine.device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
