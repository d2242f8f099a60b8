"""Numbered work, done in shares by the workers of a Dask cluster.

Workers write into the project's folder themselves, on a file system that all of them share;
only counts and errors travel back. What a number stands for is the same bytes whoever makes
it, so a share whose worker died is simply done again by another.

A share runs on after the command that asked for it is gone. Each command therefore leaves a
mark in the folder for as long as it waits, and a share stops at the first moment at which it
does not find that mark.
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
from typing import TYPE_CHECKING, Any, Protocol

from geoforecast import __version__
from geoforecast.cluster.workers import (
    blind,
    check_sight,
    check_versions,
    connected,
    trouble_of,
)
from geoforecast.errors import GeoforecastError, InterruptedRunError, ProjectError
from geoforecast.values import share

if TYPE_CHECKING:
    from distributed import Client, Future

# Small enough that no worker is long alone at the end.
SHARES_PER_THREAD = 4
# More than one unit takes.
IDLE_SECONDS = 120
ASK_SECONDS = 0.05
MARK = "cluster-"

# What this process, being a worker, is doing: folder -> shares.
_at_work: Counter[str] = Counter()
_at_work_lock = threading.Lock()


class Parcel(Protocol):
    """All that a worker must know; it is sent once for all shares.

    Attributes:
        folder: where the work is done, and where marks lie.
    """

    @property
    def folder(self) -> Path:
        """See above."""

    def do(self, numbers: Sequence[int], go_on: Callable[[], None]) -> Any:
        """Do some of the work in one thread; what it returns and raises travels back.

        Args:
            numbers: what to do.
            go_on: to be called now and then; it raises where the work is not wanted any more.
        """


def share_out(
    parcel: Parcel,
    numbers: Sequence[int],
    samples: Sequence[str],
    *,
    address: str,
    progress: Callable[[int, int], None] | None = None,
    interrupted: Callable[[], bool] = lambda: False,
) -> list[Any]:
    """Let the workers of a cluster do some work.

    Args:
        parcel: what it is; what other clusters do in its folder is called off.
        numbers: of the work; neighbours are done by one worker.
        samples: files that every worker must see.
        address: of the Dask scheduler, such as ``tcp://host:8786``.
        progress: called with numbers done and in all.
        interrupted: asked whenever a share ends; True stops.
    Returns:
        What the shares returned, in order.
    Raises:
        InputError: there is no scheduler at the address, or it has no workers.
        InterruptedRunError: interrupted, or the scheduler is gone.
        ProjectError: a worker does not see the project, or is of another version.
        GeoforecastError: the cluster came to an end, or its workers did again and again.
    """
    with connected(address) as client:
        check_versions(client)
        call_off(parcel.folder)
        _await_idle(client, parcel.folder)
        with _marked(parcel.folder) as mark:
            check_sight(client, mark, samples)
            packed = client.submit(_opened, _packed(parcel), key=f"plan-{mark.name}", pure=False)
            count = min(len(numbers), SHARES_PER_THREAD * sum(client.nthreads().values()))
            futures = [
                client.submit(
                    *(_do_share, packed, list(share(numbers, index, count))),
                    *(str(mark), samples, __version__),
                    key=f"units-{mark.name}-{index}",
                    pure=False,
                )
                for index in range(count)
            ]
            try:
                return _gathered(client, futures, len(numbers), progress, interrupted)
            except BaseException:
                with contextlib.suppress(Exception):
                    client.cancel([packed, *futures], reason="the command has stopped")
                    call_off(parcel.folder)
                    _await_idle(client, parcel.folder)
                raise


def call_off(folder: Path) -> None:
    """Let the shares that any cluster still does in a folder stop at their next unit."""
    for mark in folder.glob(f"{MARK}*"):
        mark.unlink(missing_ok=True)


def _gathered(
    client: Client,
    futures: Sequence[Future[Any]],
    total: int,
    progress: Callable[[int, int], None] | None,
    interrupted: Callable[[], bool],
) -> list[Any]:
    """What the shares came to, in their order; the first error is raised."""
    from distributed import as_completed

    results: dict[Any, tuple[int, Any]] = {}
    coming = as_completed(futures, loop=client.loop)
    done = 0
    while len(results) < len(futures):
        if interrupted():
            raise InterruptedRunError(
                f"Stopped with {done} of {total} units done; they are kept.",
                remedy="Run the same command again; it goes on where this one stopped.",
            )
        if not coming.has_ready():
            time.sleep(ASK_SECONDS)
            continue
        for future in coming.next_batch(block=False):
            results[future.key] = _result(future)
            done += results[future.key][0]
            if progress is not None:
                progress(done, total)
    return [results[future.key][1] for future in futures]


def _result(future: Future[Any]) -> tuple[int, Any]:
    from distributed.client import FutureCancelledError
    from distributed.scheduler import KilledWorker

    try:
        result: tuple[int, Any] = future.result()
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
                f"The Dask worker {busy[0]} still does what another command asked for in {folder}.",
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


def _packed(parcel: Parcel) -> bytes:
    """A parcel, on its way."""
    stream = io.BytesIO()
    _Packer(stream, protocol=pickle.HIGHEST_PROTOCOL).dump(parcel)
    return zlib.compress(stream.getvalue(), 1)


def _opened(packed: bytes) -> Parcel:
    """What _packed packed; runs on a worker, from which the others take it."""
    parcel: Parcel = pickle.loads(zlib.decompress(packed))
    return parcel


def _do_share(
    parcel: Parcel, numbers: Sequence[int], mark: str, samples: Sequence[str], version: str
) -> tuple[int, Any]:
    """Do some numbers in one thread; runs on a worker.

    Returns:
        How many, and what doing them returned.
    """
    # Workers may have joined after the others were looked at.
    if version != __version__:
        raise ProjectError(
            f"The Dask worker {_worker()} has geoforecast {__version__}, not {version}.",
            remedy=f"Install the same there: pip install 'geoforecast[dask]=={version}'",
        )
    if trouble := trouble_of(mark, samples):
        raise blind([f"{_worker()} {trouble}"])
    with _noted_at_work(str(parcel.folder)):
        try:
            return len(numbers), parcel.do(numbers, partial(_stop_without, Path(mark)))
        except GeoforecastError as error:
            forget_causes(error)
            raise


def forget_causes(error: GeoforecastError) -> None:
    """Leave out what an error came from: GDAL's errors do not survive the way between machines."""
    error.__cause__ = error.__context__ = None


def _stop_without(mark: Path) -> None:
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
