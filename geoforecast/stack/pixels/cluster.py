"""The units of a cube in the making, done by the workers of a Dask cluster.

Workers write into the project's folder themselves, on a file system that all of them share;
only counts and errors travel back. A unit's files are the same bytes whoever writes them, so a
share whose worker died is simply done again by another.

A share runs on after the command that asked for it is gone. Each command therefore leaves a
mark beside the units for as long as it waits for them, and a share stops at the first unit
after which it does not find that mark.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import threading
import time
import uuid
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geoforecast import __version__
from geoforecast.errors import (
    GeoforecastError,
    InterruptedRunError,
    ProjectError,
)
from geoforecast.stack.pixels.crew import Outcome
from geoforecast.stack.pixels.making import Making
from geoforecast.stack.pixels.units import Unit
from geoforecast.stack.pixels.workers import (
    blind,
    check_sight,
    check_versions,
    connected,
    samples_of,
    trouble_of,
)

if TYPE_CHECKING:
    from distributed import Client, Future

# Small enough that no worker is long alone at the end, large enough to keep source rows.
SHARES_PER_THREAD = 4
# More than one unit takes.
IDLE_SECONDS = 120
MARK = "cluster-"

# What this process, being a worker, is doing: folder -> shares.
_at_work: Counter[str] = Counter()
_at_work_lock = threading.Lock()


def fill_on_cluster(
    making: Making,
    units: Sequence[Unit],
    keys: Sequence[str],
    *,
    address: str,
    progress: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Do some units on a Dask cluster, and note each when its files are written.

    Args:
        making: what they are units of; what other clusters do in its folder is called off.
        units, keys: those that are wanted.
        address: of the Dask scheduler, such as ``tcp://host:8786``.
        progress: called with units done and in all.
    Returns:
        As Making.fill.
    Raises:
        SceneError: pixels cannot be decoded, with --on-error fail.
        InputError: there is no scheduler at the address, or it has no workers.
        ProjectError: a worker does not see the project, or is of another version.
        GeoforecastError: the cluster came to an end, or its workers did again and again.
    """
    if not units:
        return Outcome(np.zeros(making.writer.shape[0], np.int64))
    with connected(address) as client:
        check_versions(client)
        call_off(making.folder)
        _await_idle(client, making.folder)
        with _marked(making.folder) as mark:
            samples = samples_of(making.plan)
            check_sight(client, mark, samples)
            parcel = client.submit(_opened, _packed(making), key=f"plan-{mark.name}", pure=False)
            count = min(len(units), SHARES_PER_THREAD * sum(client.nthreads().values()))
            futures = []
            for index in range(count):
                # Neighbours, so that a worker decodes few source rows that another needs too.
                some = slice(len(units) * index // count, len(units) * (index + 1) // count)
                numbers = [unit.number for unit in units[some]]
                futures.append(
                    client.submit(
                        *(_do_share, parcel, numbers, list(keys[some])),
                        *(str(mark), samples, __version__),
                        key=f"units-{mark.name}-{index}",
                        pure=False,
                    )
                )
            try:
                outcomes = _gathered(client, futures, len(units), progress)
            except BaseException:
                with contextlib.suppress(Exception):
                    client.cancel([parcel, *futures], reason="the command has stopped")
                    call_off(making.folder)
                    _await_idle(client, making.folder)
                raise
    return _together(making, outcomes)


def call_off(folder: Path) -> None:
    """Let the shares that any cluster still does in a folder stop at their next unit."""
    for mark in folder.glob(f"{MARK}*"):
        mark.unlink(missing_ok=True)


def _gathered(
    client: Client,
    futures: Sequence[Future[Any]],
    total: int,
    progress: Callable[[int, int], None] | None,
) -> list[tuple[int, Outcome]]:
    """What the shares came to, in their order; the first error is raised."""
    from distributed import as_completed

    results: dict[Any, tuple[int, Outcome]] = {}
    done = 0
    for future in as_completed(futures, loop=client.loop):
        results[future.key] = _result(future)
        done += results[future.key][0]
        if progress is not None:
            progress(done, total)
    return [results[future.key] for future in futures]


def _result(future: Future[Any]) -> tuple[int, Outcome]:
    from distributed.client import FutureCancelledError
    from distributed.scheduler import KilledWorker

    try:
        result: tuple[int, Outcome] = future.result()
    except KilledWorker as error:
        raise GeoforecastError(
            "Workers of the Dask cluster died again and again over the same units.",
            where=f"the last: {error.last_worker.address}",
            remedy="Look into their logs; often they need more memory. The same command again goes "
            "on where this one stopped.",
        ) from error
    except (FutureCancelledError, CancelledError) as error:
        raise InterruptedRunError(
            "The Dask scheduler is gone, or has dropped the work.",
            remedy="Start it again, then run the same command again; it goes on where this "
            "one stopped.",
        ) from error
    return result


def _together(making: Making, outcomes: Sequence[tuple[int, Outcome]]) -> Outcome:
    """Outcomes of all shares as one; of a file's errors the first share's counts."""
    total = Outcome(np.zeros(making.writer.shape[0], np.int64))
    for _, outcome in outcomes:
        total.valid += outcome.valid
        total.failed = {**outcome.failed, **total.failed}
    return total


@contextlib.contextmanager
def _marked(folder: Path) -> Iterator[Path]:
    """A mark in a folder, by which shares know that they are still wanted."""
    mark = folder.absolute() / f"{MARK}{uuid.uuid4().hex}"
    mark.touch()
    try:
        yield mark
    finally:
        mark.unlink(missing_ok=True)


def _await_idle(client: Client, folder: Path) -> None:
    """Wait until no worker is doing a share that was called off.

    Raises:
        ProjectError: one goes on for longer than a unit takes.
    """
    end = time.monotonic() + IDLE_SECONDS
    while True:
        found = client.run(_is_at_work, str(folder.absolute()), on_error="ignore")
        busy = [name for name, told in sorted(found.items()) if told]
        if not busy:
            return
        if time.monotonic() > end:
            raise ProjectError(
                f"The Dask worker {busy[0]} still does what another command asked for in "
                f"{folder.parent}.",
                remedy="Wait for it, or start it again; then run the same command again.",
            )
        time.sleep(0.2)


def _is_at_work(folder: str) -> bool:
    """Whether this worker is doing a share of a folder; runs there."""
    return _at_work[folder] > 0


class _Packer(pickle.Pickler):
    """Makes relative paths absolute: a worker runs in another folder than this process."""

    def reducer_override(self, item: Any) -> Any:
        if isinstance(item, Path) and not item.is_absolute():
            return type(item), (str(item.absolute()),)
        return NotImplemented


def _packed(making: Making) -> bytes:
    """All that a worker must know, once for all shares."""
    stream = io.BytesIO()
    _Packer(stream, protocol=pickle.HIGHEST_PROTOCOL).dump(making)
    return zlib.compress(stream.getvalue(), 1)


def _opened(packed: bytes) -> Making:
    """What _packed packed; runs on a worker, from which the others take it."""
    making: Making = pickle.loads(zlib.decompress(packed))
    return making


def _do_share(
    making: Making,
    numbers: Sequence[int],
    keys: Sequence[str],
    mark: str,
    samples: Sequence[str],
    version: str,
) -> tuple[int, Outcome]:
    """Do some units in one thread; runs on a worker.

    Returns:
        How many units, and their outcome.
    """
    # Workers may have joined after the others were looked at.
    if version != __version__:
        raise ProjectError(
            f"The Dask worker {_worker()} has geoforecast {__version__}, not {version}.",
            remedy=f"Install the same there: pip install 'geoforecast[dask]=={version}'",
        )
    if trouble := trouble_of(mark, samples):
        raise blind([f"{_worker()} {trouble}"])
    with _noted_at_work(str(making.folder)):
        units = [making.units[number] for number in numbers]
        go_on = partial(_stop_without, Path(mark))
        try:
            outcome = making.fill(units, keys, jobs=1, progress=go_on)
        except GeoforecastError as error:
            _forget_causes(error)
            raise
        for failure in outcome.failed.values():
            _forget_causes(failure)
        return len(units), outcome


def _forget_causes(error: GeoforecastError) -> None:
    """Leave out what an error came from: GDAL's errors do not survive the way between machines."""
    error.__cause__ = error.__context__ = None


def _stop_without(mark: Path, _done: int, _total: int) -> None:
    if not mark.is_file():
        raise InterruptedRunError(
            f"The work in {mark.parent} was called off.", remedy="Run the same command again."
        )


@contextlib.contextmanager
def _noted_at_work(folder: str) -> Iterator[None]:
    with _at_work_lock:
        _at_work[folder] += 1
    try:
        yield
    finally:
        with _at_work_lock:
            _at_work[folder] -= 1


def _worker() -> str:
    from distributed import get_worker

    return str(get_worker().address)
