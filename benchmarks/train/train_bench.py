"""Training and forecasting speed of the ConvLSTM layer beside its peers, as ratios.

Contenders take turns, a batch each, so that whatever else the machine does falls on all of them
alike; each lives in its own process. A ratio is the median, over rounds, of the peer's time by
ours in the same round. Memory is what the first rounds of training added to the process.

    python benchmarks/train/train_bench.py [--rounds 12] [--threads 1,2] [--peer-python PYTHON]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from workloads import WORKLOADS, Workload

HERE = Path(__file__).parent
WARM_UP = 2  # rounds that are not counted: compilation, caches, first allocations
WORDS = ("train", "infer")


@dataclass
class Runner:
    """A contender's process and what it said."""

    name: str
    process: subprocess.Popen[str]
    seconds: dict[str, list[float]] = field(default_factory=lambda: {word: [] for word in WORDS})
    added_mib: float = 0.0
    peak_mib: float = 0.0

    def ask(self, word: str, *, counts: bool) -> None:
        """Let it do one thing."""
        assert self.process.stdin
        assert self.process.stdout
        print(word, file=self.process.stdin, flush=True)
        answer = json.loads(self.process.stdout.readline())
        if counts:
            self.seconds[word].append(answer["s"])
        if word == "train":
            self.added_mib, self.peak_mib = answer["added_mib"], answer["peak_mib"]


def start(name: str, workload: Workload, threads: int, python: str) -> Runner:
    """A contender's process, ready."""
    command = [python, str(HERE / "train_worker.py"), name, workload.name, str(threads)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout
    if not process.stdout.readline():
        raise SystemExit(f"{name} did not start: try {' '.join(command)}")
    return Runner(name, process)


def measure(
    workload: Workload, threads: int, names: Sequence[str], peer: str, rounds: int
) -> list[Runner]:
    """All contenders on one workload, in turns."""
    pythons = {name: peer if name == "keras" else sys.executable for name in names}
    runners = [start(name, workload, threads, pythons[name]) for name in names]
    # Training first: what it adds to memory must not be measured over what a forecast left.
    for word in WORDS:
        for number in range(-WARM_UP, rounds):
            for runner in runners:
                runner.ask(word, counts=number >= 0)
    for runner in runners:
        runner.process.communicate()
    return runners


def table(workload: Workload, threads: int, runners: Sequence[Runner]) -> str:
    """Times, ratios to ours, and memory."""
    ours = runners[0]
    lines = [
        f"\n{workload.describe()}, {threads} thread{'s' if threads > 1 else ''}",
        f"{'':12}{'train ms':>10}{'ours is':>9}{'infer ms':>10}{'ours is':>9}"
        f"{'memory MiB':>12}{'ours is':>9}{'GFLOP/s':>9}",
    ]
    for one in runners:
        cells = [f"{one.name:12}"]
        for word in WORDS:
            milliseconds = 1e3 * statistics.median(one.seconds[word])
            pairs = zip(one.seconds[word], ours.seconds[word], strict=True)
            ratio = statistics.median(theirs / mine for theirs, mine in pairs)
            cells.append(f"{milliseconds:10.0f}{ratio:8.2f}x")
        rate = 3 * workload.flops() / statistics.median(one.seconds["train"]) / 1e9
        share = ours.added_mib / one.added_mib
        cells.append(f"{one.added_mib:12.0f}{100 * share:7.0f} %{rate:9.0f}")
        lines.append("".join(cells))
    return "\n".join(lines)


def main() -> None:
    """Run everything and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--threads", default="1,2", help="numbers of threads, comma-separated")
    parser.add_argument("--workloads", default=",".join(WORKLOADS))
    parser.add_argument("--bf16", action="store_true", help="bfloat16 too; slow where emulated")
    parser.add_argument("--peer-python", help="of an environment with Keras and TensorFlow")
    arguments = parser.parse_args()
    names = ["ours", "plain"]
    if arguments.bf16:
        names += ["ours bf16", "plain bf16"]
    if arguments.peer_python:
        names.append("keras")
    for name in arguments.workloads.split(","):
        for threads in map(int, arguments.threads.split(",")):
            peer = arguments.peer_python or ""
            runners = measure(WORKLOADS[name], threads, names, peer, arguments.rounds)
            print(table(WORKLOADS[name], threads, runners), flush=True)


if __name__ == "__main__":
    main()
