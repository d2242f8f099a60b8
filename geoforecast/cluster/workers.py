"""The workers of a Dask cluster: found, and looked at before they get work."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pkgutil
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from geoforecast import __version__
from geoforecast.errors import InputError, ProjectError

if TYPE_CHECKING:
    from distributed import Client

CONNECT_SECONDS = 10
WORKER_SECONDS = 30
# How long a network file system may take to show one machine what another wrote.
VISIBLE_SECONDS = 5


@contextlib.contextmanager
def connected(address: str) -> Iterator[Client]:
    """A client of the scheduler at an address, with one worker at least.

    Raises:
        InputError: there is no such package, scheduler or worker.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise InputError(
            "--scheduler needs the package distributed, which is not installed.",
            remedy="Install it, here and where the workers run: pip install 'geoforecast[dask]'",
        ) from error
    _check_scheduler(address)
    # What the client meets comes back as an error of ours; it would log tracebacks as well.
    its_log = logging.getLogger("distributed.client")
    its_log.addFilter(_silence)
    client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False, name="geoforecast")
    try:
        try:
            client.wait_for_workers(1, timeout=WORKER_SECONDS)
        except TimeoutError as error:
            raise InputError(
                f"The Dask scheduler at {address} has no workers after {WORKER_SECONDS} s.",
                remedy=f"Start some: dask worker {address}",
            ) from error
        yield client
    finally:
        client.close()
        its_log.removeFilter(_silence)


def _silence(_: logging.LogRecord) -> bool:
    return False


def _check_scheduler(address: str) -> None:
    """Refuse an address at which no scheduler answers, before a client waits for it.

    Raises:
        InputError: there is none.
    """
    from distributed.core import rpc
    from distributed.security import Security

    async def ask() -> str:
        arguments = Security().get_connection_args("client")
        async with rpc(address, timeout=CONNECT_SECONDS, connection_args=arguments) as remote:
            found = await asyncio.wait_for(remote.identity(), CONNECT_SECONDS)
            return str(found["type"])

    remedy = (
        "Check the address, such as tcp://host:8786: the scheduler prints it when it starts "
        "(dask scheduler)."
    )
    try:
        # In a thread of its own, since a notebook has a running event loop in this one.
        with ThreadPoolExecutor(1) as pool:
            kind = pool.submit(asyncio.run, ask()).result()
    except (OSError, ValueError, TypeError, TimeoutError) as error:
        raise InputError(
            f"No Dask scheduler answers at --scheduler {address}.",
            where=str(error).splitlines()[:1],
            remedy=remedy,
        ) from error
    if kind != "Scheduler":
        raise InputError(
            f"What answers at --scheduler {address} is no Dask scheduler, but a {kind}.",
            remedy=remedy,
        )


def check_versions(client: Client) -> None:
    """Refuse workers whose geoforecast might make other pixels.

    Raises:
        ProjectError: naming both versions.
    """
    # A function of the standard library: workers without geoforecast know it, too.
    found = client.run(pkgutil.resolve_name, "geoforecast:__version__", on_error="return")
    wrong = {name: told for name, told in sorted(found.items()) if told != __version__}
    if not wrong:
        return
    texts = [f"{name}: {_version_text(told)}" for name, told in wrong.items()]
    raise ProjectError(
        f"{len(wrong)} of {len(found)} Dask workers have another geoforecast than this one, "
        f"{__version__}.",
        where=texts[:3],
        remedy=f"Install the same on all of them: pip install 'geoforecast[dask]=={__version__}'",
    )


def _version_text(told: object) -> str:
    if isinstance(told, ImportError):
        return "none is installed"
    return f"geoforecast {told}" if isinstance(told, str) else f"none that works ({told})"


def check_sight(client: Client, mark: Path, samples: Sequence[str]) -> None:
    """Refuse workers that do not see, under the same paths, what this process sees.

    Raises:
        ProjectError: naming the worker and the path.
    """
    end = time.monotonic() + VISIBLE_SECONDS
    while True:
        found = client.run(trouble_of, str(mark), samples)
        wrong = [f"{name} {told}" for name, told in sorted(found.items()) if told]
        if not wrong:
            return
        if time.monotonic() > end:
            break
        time.sleep(0.5)
    raise blind(wrong)


def blind(wrong: Sequence[str]) -> ProjectError:
    """The error for workers, each with what it does not see or may not do."""
    return ProjectError(
        f"The Dask worker {wrong[0]}.",
        where=[f"{len(wrong) - 1} more, such as {wrong[1]}"] if len(wrong) > 1 else (),
        remedy="Start the workers where the project and its inputs lie under the same paths, "
        "on a file system that all machines share.",
    )


def trouble_of(mark: str, samples: Sequence[str]) -> str:
    """What a worker does not see or may not do, or ""; runs there."""
    place = Path(mark)
    if not place.is_file():
        return f"does not see the folder {place.parent}"
    probe = place.with_name(f".write-{uuid.uuid4().hex}")
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        return f"cannot write into {place.parent} ({error.strerror})"
    for sample in samples:
        if not Path(sample).is_file():
            return f"does not see the file {sample}"
    return ""
