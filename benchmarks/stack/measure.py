"""Run a command and say how long it took and how much memory its processes held together."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

EVERY_S = 0.05
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Measured:
    """What one process did.

    Attributes:
        code: exit code.
        wall_s: from start to end of the process, imports included.
        peak_mib: largest sum of resident memory (RSS) of the process and its descendants,
            sampled every 50 ms, or the largest single process as the kernel counts it,
            whichever is more. Pages that two of them share count twice.
        cpu_s: processor time of all of them, which other work on the machine lengthens less.
        output: the end of what it said, for an error message.
    """

    code: int
    wall_s: float
    peak_mib: float
    cpu_s: float
    output: str


def run_measured(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> Measured:
    """Run a command to its end.

    Args:
        command: program and arguments.
        log: where its output goes.
        environment: variables to add.
    """
    ended = threading.Event()
    peak = [0]
    with log.open("w", encoding="utf-8") as file:
        started = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
        )
        sampler = threading.Thread(target=_sample, args=(process.pid, ended, peak))
        sampler.start()
        # wait4 reaps the process and tells its own peak, which samples may miss.
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        ended.set()
        sampler.join()
    said = log.read_text(encoding="utf-8", errors="replace")[-1500:]
    cpu = usage.ru_utime + usage.ru_stime
    peak_kib = max(peak[0] // 1024, usage.ru_maxrss)
    return Measured(process.returncode, wall, peak_kib / 1024, cpu, said)


def _sample(pid: int, ended: threading.Event, peak: list[int]) -> None:
    while not ended.is_set():
        peak[0] = max(peak[0], sum(resident(member) for member in tree(pid)))
        ended.wait(EVERY_S)


def tree(pid: int) -> list[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            parent = _parent(int(entry))
            if parent is not None:
                children.setdefault(parent, []).append(int(entry))
    found, todo = [], [pid]
    while todo:
        member = todo.pop()
        found.append(member)
        todo += children.get(member, [])
    return found


def _parent(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None  # it has just ended
    return int(text.rpartition(")")[2].split()[1])


def resident(pid: int) -> int:
    """Bytes of resident memory of a process; 0 if it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * PAGE_BYTES
    except (OSError, IndexError):
        return 0
