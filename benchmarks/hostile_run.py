"""One stack in a process of its own, as an ordinary user, watched while it runs.

The child gives up root's rights over other people's files, works in a folder of its own, and
tells of every file that Python writes, renames or removes outside its project.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from geoforecast.cli import cli

# What changes the file system or reaches out of the process: which arguments are paths, and
# which the folders that they are relative to.
CHANGES: dict[str, tuple[tuple[int, int | None], ...]] = {
    "os.remove": ((0, 1),), "os.rename": ((0, 2), (1, 3)), "os.mkdir": ((0, 2),),
    "os.rmdir": ((0, 1),), "os.link": ((1, 3),), "os.symlink": ((1, 2),),
    "os.truncate": ((0, None),), "os.chmod": ((0, 2),), "os.utime": ((0, 3),),
    "subprocess.Popen": (), "socket.connect": (), "os.system": (), "os.exec": (),
}  # fmt: skip
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
TOUCHED = "Touched outside the project: "


@dataclass
class Run:
    """How a run ended.

    Attributes:
        code: exit code; negative for a signal, None if it was killed for its time.
        output: stdout and stderr.
        seconds: wall time.
        mib: largest resident memory.
        status, reason: of the hostile file in scenes.csv, or "".
    """

    code: int | None
    output: str
    seconds: float
    mib: float
    status: str = ""
    reason: str = ""


def run_stack(
    arguments: list[str], project: Path, home: Path, *, seconds: float,
    meanwhile: Callable[[int], object] | None = None,
) -> Run:  # fmt: skip
    """Run ``geoforecast stack``.

    Args:
        arguments: what follows ``geoforecast -p PROJECT -q stack``.
        project: the only place that may change.
        home: the child's working, home and temporary folder.
        seconds: it is killed after so many.
        meanwhile: called every 5 ms with a number that goes up.
    """

    def work() -> int:
        os.chdir(home)
        os.environ |= {"HOME": str(home), "TMPDIR": str(home), "XDG_CACHE_HOME": str(home)}
        sys.addaudithook(_watcher(project))
        words = ["-p", str(project), "-q", "stack", *arguments]
        try:
            cli.main(args=words, prog_name="geoforecast", standalone_mode=True)
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else 0

    return forked(work, seconds=seconds, meanwhile=meanwhile)


def forked(
    work: Callable[[], int], *, seconds: float,
    meanwhile: Callable[[int], object] | None = None,
) -> Run:  # fmt: skip
    """Run a function in a forked process, so that nothing is imported again."""
    with tempfile.TemporaryFile() as out:
        started = time.perf_counter()
        child = os.fork()
        if child == 0:
            _child(work, out.fileno())
        ended = _waited(child, started + seconds, meanwhile)
        killed = ended is None
        if ended is None:
            os.killpg(child, signal.SIGKILL)
            ended = os.wait4(child, 0)
        _, status, usage = ended
        took = time.perf_counter() - started
        out.seek(0)
        text = out.read().decode("utf-8", "backslashreplace")
    unit = 2**20 if sys.platform == "darwin" else 2**10
    code = None if killed else os.waitstatus_to_exitcode(status)
    return Run(code, text, took, usage.ru_maxrss / unit)


def _child(work: Callable[[], int], out: int) -> None:
    code = 70
    try:
        os.setsid()
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.stdout = open(1, "w", errors="backslashreplace", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", errors="backslashreplace", closefd=False)  # noqa: SIM115
        _become_ordinary()
        code = work()
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _become_ordinary() -> None:
    """Give up Linux capabilities, so that even root may not read a file of mode 000."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3 of the call, this process
    if ctypes.CDLL(None, use_errno=True).capset(header, (ctypes.c_uint32 * 6)()) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def _watcher(project: Path) -> Callable[[str, tuple[object, ...]], None]:
    own = f"{project}{os.sep}"

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open":
            flags = arguments[2]
            places = [_real(arguments[0])] if isinstance(flags, int) and flags & WRITES else []
        elif event in CHANGES:
            places = [_real(*_pair(arguments, *pair)) for pair in CHANGES[event]] or ["/"]
        else:
            return
        for place in places:
            # Compiled kernels lie beside the code, as compiled modules do.
            if place and place != os.devnull and "__pycache__" not in place:
                if f"{place}{os.sep}".startswith(own):
                    continue
                os.write(2, f"{TOUCHED}{event} {place!a}\n".encode())

    return watch


def _pair(arguments: tuple[object, ...], path: int, folder: int | None) -> tuple[object, object]:
    return arguments[path], -1 if folder is None else arguments[folder]


def _real(path: object, folder: object = -1) -> str:
    """An absolute path; "" for a number of an open file."""
    if not isinstance(path, (str, bytes, os.PathLike)):
        return ""
    base = os.getcwd()  # noqa: PTH109
    if isinstance(folder, int) and folder >= 0:
        base = os.readlink(f"/proc/self/fd/{folder}")  # noqa: PTH115
    return os.path.normpath(os.path.join(base, os.fsdecode(path)))  # noqa: PTH118


def _waited(
    child: int, until: float, meanwhile: Callable[[int], object] | None
) -> tuple[int, int, resource.struct_rusage] | None:
    tick = 0
    while time.perf_counter() < until:
        result = os.wait4(child, os.WNOHANG)
        if result[0]:
            return result
        if meanwhile is not None:
            meanwhile(tick)
            tick += 1
        time.sleep(0.005)
    return None
