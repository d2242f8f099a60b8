"""Stack hostile files, alone and among good ones, and print what became of each.

    python benchmarks/hostile.py [--data DIR] [--only TEXT] [--at-once N]

Every stack runs in a process of its own. The rules: exit code 0 or 2, never a traceback, a
hang, or more memory than allowed; a refusal names the file and a remedy; used pixels, their
validity and their place are those that GDAL reads; among good scenes under --on-error
quarantine the stack is made, scenes.csv says what became of the file, and the good scenes'
pixels are the same to the bit; nothing outside the project changes. Ends with 1 if a rule was
broken.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import shutil
import sys
import tempfile
import textwrap
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import hostile_places
from hostile_bench import ALONE, AMONG, Bench, Fate
from hostile_files import Case
from hostile_run import Run

CASES: list[Case] = []
WIDE = 54
HEAD = (
    f"{'file':<{WIDE}} {'GDAL':<8} {'alone':<8} {'among good':<12} {'on their grid':<14}"
    f"{'s':>5} {'MiB':>4}"
)
SAID = {None: "-", True: "reads", False: "refuses"}


@cache
def bench(scratch: str, seconds: float, mib: float) -> Bench:
    """One bench for each process, in a folder of its own."""
    return Bench(Path(scratch) / str(os.getpid()), seconds=seconds, mib=mib)


def judge(number: int, scratch: str, seconds: float, mib: float) -> Fate:
    """Judge the case of a number, in a worker."""
    csv.field_size_limit(2**24)  # a reason may name very many bands
    return bench(scratch, seconds, mib).judge(CASES[number])


def reasons(fate: Fate, case: Case, scratch: str) -> list[str]:
    """Why the file was not used, alone and among good ones; once if that is the same."""
    alone = "" if fate.used else plain(error_of(fate.runs["alone"]), case, scratch)
    said = [run.reason for name, run in fate.runs.items() if name.startswith("mixed")]
    mixed = [plain(reason, case, scratch) for reason in dict.fromkeys(said) if reason]
    if mixed == [alone]:
        return mixed
    return [f"alone: {alone}"] * bool(alone) + [f"among: {text}" for text in mixed]


def error_of(run: Run) -> str:
    """The sentence of an error message that speaks of the first file, without the remedy."""
    lines = [line.strip() for line in run.output.rpartition("Error: ")[2].splitlines()]
    firsts = [
        line.removeprefix("first: ")
        for line in lines
        if line.startswith("first: ") and any(date in line for date in ALONE)
    ]
    if not firsts and len(lines) > 2 and lines[0].startswith("None of"):
        firsts = [lines[1].partition(": ")[2] + "."]
    return next(iter(firsts + lines), "")


def plain(text: str, case: Case, scratch: str) -> str:
    """A reason on one line, with FILE for the hostile file."""
    if not text:
        return ""
    for word in text.split():
        if scratch in word and ("/alone" in word or "/mixed" in word):
            text = text.replace(word.rstrip(".,:"), "FILE" if ".tif" in word else "FOLDER")
    for date in (ALONE[0], AMONG):
        text = text.replace(case.pattern.format(date), "FILE")
    text = re.sub(re.escape(scratch) + r"/\d+/", "", text)
    text = " ".join(text.split()).rstrip(".")
    return text if len(text) <= 400 else f"{text[:300]}...{text[-80:]}"


def ends(fate: Fate) -> list[str]:
    """What scenes.csv says of the file among good ones; several where it changes meanwhile."""
    asked = {"mixed, --like", "mixed, fail"}
    runs = [fate.runs[name] for name in fate.runs if name.startswith("mixed") and name not in asked]
    return sorted({run.status or "not listed" for run in runs}, reverse=True)


def lines_of(case: Case, fate: Fate, scratch: str, columns: int) -> list[str]:
    """A case in the table: a line of facts, then reasons and broken rules."""
    among = "/".join(ends(fate))
    name = f"{case.name}, {case.what}" if case.what != "as it is" else case.name
    facts = (
        f"{name:<{WIDE}} {SAID[fate.gdal]:<8} {'used' if fate.used else 'refused':<8} {among:<12} "
        f"{fate.runs['mixed, --like'].status or 'not listed':<14}"
        f"{max(run.seconds for run in fate.runs.values()):5.1f} "
        f"{max(run.mib for run in fate.runs.values()):4.0f}"
    )
    below = [*reasons(fate, case, scratch), *(f"BROKEN {text}" for text in fate.broken)]
    wrapped = (
        textwrap.wrap(text, columns, initial_indent="    ", subsequent_indent="      ")
        for text in below
    )
    return [facts, *(line for lines in wrapped for line in lines)]


def counts(fates: list[tuple[Case, Fate]]) -> list[str]:
    """How many of each group ended in which way."""
    ways = ("used", "refused", "used among", "quarantined", "skipped", "not listed", "broken")
    rows: dict[str, Counter[str]] = {}
    for case, fate in fates:
        row = rows.setdefault(case.group, Counter())
        status = ends(fate)[0]
        row.update(
            ["used" if fate.used else "refused", "used among" if status == "used" else status]
        )
        row["broken"] += bool(fate.broken)
        row["all"] += 1
    rows["Together"] = sum(rows.values(), Counter())
    head = f"{'':<26}{'files':>6} | {'alone: used':>11}{'refused':>9} | {'among: used':>11}"
    lines = [f"{head}{'quarantined':>13}{'skipped':>9}{'not listed':>12} | {'broken':>6}"]
    for name, row in rows.items():
        used, refused, among, quarantined, skipped, absent, broken = (row[way] for way in ways)
        lines.append(
            f"{name:<26}{row['all']:>6} | {used:>11}{refused:>9} | {among:>11}{quarantined:>13}"
            f"{skipped:>9}{absent:>12} | {broken:>6}"
        )
    return lines


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the folder")
    parser.add_argument("--only", default="", metavar="TEXT", help="cases or groups that hold this")
    parser.add_argument("--seconds", type=float, default=60, help="most for one stack")
    parser.add_argument("--mib", type=float, default=1024, help="most memory of one stack")
    parser.add_argument("--at-once", type=int, default=2, help="cases at a time")
    return parser.parse_args()


def main() -> int:
    """Judge every case, print the table; 1 if a rule was broken."""
    arguments = parse_arguments()
    started = time.perf_counter()
    folder = arguments.data / "_hostile"
    cases = hostile_places.generated()
    if folder.is_dir():
        cases = [*hostile_places.collected(folder), *cases]
    else:
        print(f"{folder} is not there; the files made here are run alone.", file=sys.stderr)
    CASES[:] = [case for case in cases if arguments.only in f"{case.group}: {case.name}"]
    columns = max(100, shutil.get_terminal_size().columns)
    fates: list[tuple[Case, Fate]] = []
    with tempfile.TemporaryDirectory(prefix="hostile-") as scratch:
        rest = ([text] * len(CASES) for text in (scratch, arguments.seconds, arguments.mib))
        with ProcessPoolExecutor(arguments.at_once, get_context("fork")) as pool:
            for case, fate in zip(CASES, pool.map(judge, range(len(CASES)), *rest), strict=True):
                if not fates or fates[-1][0].group != case.group:
                    print(f"\n{case.group}\n{HEAD}\n{'-' * len(HEAD)}")
                fates.append((case, fate))
                print("\n".join(lines_of(case, fate, scratch, columns)), flush=True)
        for place in Path(scratch).iterdir():
            for name in ("alone", "mixed"):
                hostile_places.remove(place / name)
    broken = sum(bool(fate.broken) for _, fate in fates)
    print("", *counts(fates), "", sep="\n")
    most = max((run.mib for _, fate in fates for run in fate.runs.values()), default=0)
    print(
        f"{sum(len(fate.runs) for _, fate in fates)} stacks of {len(fates)} files in "
        f"{time.perf_counter() - started:.0f} s, at most {most:.0f} MiB; {broken} broke a rule."
    )
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
