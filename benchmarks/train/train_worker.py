"""One contender in its own process: waits for a word, does it once, says how long it took.

    python train_worker.py CONTENDER WORKLOAD THREADS

Reads lines ``train`` or ``infer``, answers each with a line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

# Before anything that starts threads.
os.environ.setdefault("OMP_NUM_THREADS", sys.argv[3])

from contenders import CONTENDERS
from workloads import WORKLOADS

STATUS = Path("/proc/self/status")


def memory_mib(what: str) -> float:
    """Resident memory now (VmRSS) or at its peak since the last reset (VmHWM)."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(what))
    return int(line.split()[1]) / 1024


def main() -> None:
    """Serve until the input ends."""
    contender = CONTENDERS[sys.argv[1]](WORKLOADS[sys.argv[2]], int(sys.argv[3]))
    answers = sys.stdout
    sys.stdout = sys.stderr  # whatever a library prints is no answer
    held = memory_mib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        value = getattr(contender, line.strip())()
        answer = {
            "s": time.perf_counter() - started,
            "value": value,
            "peak_mib": memory_mib("VmHWM"),
            "added_mib": memory_mib("VmHWM") - held,
        }
        print(json.dumps(answer), file=answers, flush=True)


main()
