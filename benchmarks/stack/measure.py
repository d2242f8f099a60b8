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
            env={**_usual(), **(environment or {})},
        )
        sampler = threading.Thread(target=_sample, args=(process.pid, ended, peak))
        sampler.start()
        # wait4 reaps the process and tells its processor time. Its ru_maxrss is of no use: it
        # begins at the size of this process.
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        ended.set()
        sampler.join()
    said = log.read_text(encoding="utf-8", errors="replace")[-1500:]
    cpu = usage.ru_utime + usage.ru_stime
    return Measured(process.returncode, wall, peak[0] / 2**20, cpu, said)


def _usual() -> dict[str, str]:
    # Installed packages have their bytecode; a checkout makes its own on the first run.
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def _sample(pid: int, ended: threading.Event, peak: list[int]) -> None:
    while not ended.is_set():
        members = [memory(member) for member in tree(pid)]
        together = sum(now for now, _ in members)
        peak[0] = max(peak[0], together, *(highest for _, highest in members))
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


def memory(pid: int) -> tuple[int, int]:
    """Bytes of resident memory of a process, now and at its peak; 0 if it has ended."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0, 0
    lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    now, highest = (int(lines.get(key, "0").split()[0]) * 1024 for key in ("VmRSS", "VmHWM"))
    return now, highest
