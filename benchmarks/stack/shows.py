"""What the benchmark promises, each figure with its target, and the tables it prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

PRODUCT = "geoforecast"


@dataclass(frozen=True)
class Run:
    """One contender's run.

    Attributes:
        name: library, or library/way.
        wall_s: whole process, imports included.
        work_s: the same without imports.
        peak_mib: resident memory of the tree of processes at its peak.
        cpu_s: processor time of the tree, imports included.
    """

    name: str
    wall_s: float
    work_s: float
    peak_mib: float
    cpu_s: float


@dataclass(frozen=True)
class Show:
    """One figure and its target.

    Attributes:
        text: what it is.
        value: measured; None if it was not, and then ``reason`` says why.
        target: what is promised.
        least: the value must be at least the target, else at most.
        unit: appended to both.
        reason: why there is no value.
    """

    text: str
    value: float | None
    target: float
    least: bool = True
    unit: str = "x"
    reason: str = ""

    def line(self) -> str:
        """One row of the table of figures."""
        sign = ">=" if self.least else "<="
        wanted = f"{sign} {self.target:g}{self.unit}"
        if self.value is None:
            return f"| {self.text} | - | {wanted} | skipped: {self.reason} |"
        hit = self.value >= self.target if self.least else self.value <= self.target
        return f"| {self.text} | {self.value:.3g}{self.unit} | {wanted} | {_word(hit)} |"


def _word(hit: bool) -> str:
    return "hit" if hit else "MISS"


Rounds = Sequence[Mapping[str, Run]]  # a repeat: contender -> its run


def names_of(rounds: Rounds) -> list[str]:
    """Contenders that ran in every repeat."""
    return [name for name in rounds[0] if all(name in runs for runs in rounds)]


def fastest_peer(rounds: Rounds) -> str:
    """The peer with the least median time of the whole process; "" if there is none."""
    peers = [name for name in names_of(rounds) if name != PRODUCT]
    return min(peers, key=lambda name: median(r[name].wall_s for r in rounds), default="")


def ratio(rounds: Rounds, slow: str, fast: str, *, imports: bool) -> float | None:
    """How many times longer ``slow`` takes: the median of the repeats' own ratios."""
    if not {slow, fast} <= set(names_of(rounds)):
        return None

    def seconds(run: Run) -> float:
        return run.wall_s if imports else run.work_s

    return median(seconds(runs[slow]) / seconds(runs[fast]) for runs in rounds)


def peak(rounds: Rounds, name: str) -> float | None:
    """The largest peak of a contender over the repeats, in MiB."""
    if not rounds or name not in names_of(rounds):
        return None
    return max(runs[name].peak_mib for runs in rounds)


def speed_table(rounds: Rounds, differences: Mapping[str, str]) -> str:
    """Contenders by speed relative to the fastest peer."""
    best = fastest_peer(rounds)
    rows = [
        "| contender | relative speed | without imports | peak MiB | s | CPU s | pixels |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    names = names_of(rounds)
    for name in sorted(names, key=lambda n: median(r[n].wall_s for r in rounds)):
        # Against itself the fastest peer is 1; with no peer there is nothing to compare.
        with_imports = ratio(rounds, best or name, name, imports=True)
        without = ratio(rounds, best or name, name, imports=False)
        wall = median(r[name].wall_s for r in rounds)
        cpu = median(r[name].cpu_s for r in rounds)
        rows.append(
            f"| {name} | {with_imports:.2f} | {without:.2f} | {peak(rounds, name):.0f} "
            f"| {wall:.1f} | {cpu:.1f} | {differences.get(name, '')} |"
        )
    return "\n".join(rows)


def limit_table(limits: Sequence[Mapping[str, float]], work_s: Sequence[float]) -> str:
    """The parts of the limit and their share of the product's time."""
    whole = median(work_s)
    rows = ["| part alone, two threads | s | share of the product's time |", "| --- | --- | --- |"]
    for part in ("decode", "warp", "encode", "write"):
        seconds = median(one[part] for one in limits)
        rows.append(f"| {part} | {seconds:.2f} | {100 * seconds / whole:.0f} % |")
    total = median(limit_of(one) for one in limits)
    rows.append(f"| all four | {total:.2f} | {100 * total / whole:.0f} % |")
    gdal = median(one["warp_gdal"] for one in limits)
    rows.append(f"| GDAL's warp in place of ours | {gdal:.2f} | {100 * gdal / whole:.0f} % |")
    return "\n".join(rows)


def limit_of(limits: Mapping[str, float]) -> float:
    """Seconds of the four parts together."""
    return limits["decode"] + limits["warp"] + limits["encode"] + limits["write"]
