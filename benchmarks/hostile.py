"""Stack hostile files, alone and among good ones, and print what became of each.

    python benchmarks/hostile.py [--data DIR] [--only TEXT] [--seconds S] [--mib M]

Every stack runs in a process of its own. The rules: exit code 0 or 2, never a traceback, a
hang, or more memory than allowed; a refusal names the file and a remedy; what is used alone
has the pixels that GDAL reads; among good scenes under --on-error quarantine the stack is
made, and the good scenes' pixels are the same to the bit; no input changes, and no file
appears. Ends with 1 if a rule was broken.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import os
import resource
import shutil
import signal
import stat
import sys
import tempfile
import time
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import hostile_files
import numpy as np
from hostile_files import Case

from geoforecast.cli import cli
from geoforecast.project import Project
from geoforecast.raster.cube import open_cube
from geoforecast.settings import SplitSettings, StackSettings
from geoforecast.stack import stack_scenes

ALONE = tuple(f"202001{day:02}" for day in range(1, 9))  # the fewest steps a split takes
AMONG = "20200310"  # between two good scenes


@dataclass
class Run:
    """One stack of one folder: how it ended.

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


@dataclass
class Fate:
    """What became of a case: its runs by name, and the rules that were broken."""

    case: Case
    runs: dict[str, Run] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)


def run_stack(arguments: list[str], *, seconds: float) -> Run:
    """Run the command line in a forked process, so that nothing is imported again."""
    with tempfile.TemporaryFile() as out:
        started = time.perf_counter()
        child = os.fork()
        if child == 0:
            _child(arguments, out.fileno())
        ended = _waited(child, started + seconds)
        killed = ended is None
        if ended is None:
            os.kill(child, signal.SIGKILL)
            ended = os.wait4(child, 0)
        _, status, usage = ended
        took = time.perf_counter() - started
        out.seek(0)
        text = out.read().decode("utf-8", "backslashreplace")
    unit = 2**20 if sys.platform == "darwin" else 2**10
    code = None if killed else os.waitstatus_to_exitcode(status)
    return Run(code, text, took, usage.ru_maxrss / unit)


def _child(arguments: list[str], out: int) -> None:
    code = 70
    try:
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.stdout = open(1, "w", errors="backslashreplace", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", errors="backslashreplace", closefd=False)  # noqa: SIM115
        cli.main(args=arguments, prog_name="geoforecast", standalone_mode=True)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _waited(child: int, until: float) -> tuple[int, int, resource.struct_rusage] | None:
    while time.perf_counter() < until:
        result = os.wait4(child, os.WNOHANG)
        if result[0]:
            return result
        time.sleep(0.005)
    return None


def listing(folder: Path) -> dict[str, str]:
    """Name -> kind and content of everything in a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        info = path.lstat()
        digest = ""
        if stat.S_ISREG(info.st_mode):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        found[os.fsencode(path.relative_to(folder)).hex()] = f"{info.st_mode} {digest}"
    return found


class Bench:
    """Runs cases in a scratch folder and holds them to the rules."""

    def __init__(self, work: Path, *, seconds: float, mib: float) -> None:
        self.work = work
        self.seconds = seconds
        self.mib = mib
        self.good = work / "good"
        self.dates = hostile_files.good_series(self.good)
        # Once in this process, so that its children need not import anything again.
        stack_scenes(Project(work / "first"), [self.good], StackSettings(), SplitSettings(), jobs=1)
        self.pin = ("--like", str(self.good / f"ndvi_{self.dates[0]}.tif"))
        baseline = self._stack(self.good, "baseline", ())
        if baseline.code != 0:
            raise RuntimeError(f"The good series does not stack:\n{baseline.output}")
        cube = open_cube(work / "baseline" / "cube.zarr")
        self.values, self.valid = cube.read(0, len(cube.times))

    def judge(self, case: Case) -> Fate:
        """Run a case alone and among good scenes."""
        fate = Fate(case)
        self._alone(fate)
        self._among(fate)
        for name, run in fate.runs.items():
            self._hold(fate, name, run)
        return fate

    def _alone(self, fate: Fate) -> None:
        folder = self._folder("alone")
        for date in ALONE:
            fate.case.make(folder / fate.case.pattern.format(date))
        before = listing(folder)
        run = fate.runs["alone"] = self._stack(folder, "alone project", ("--mask", "none"))
        if run.code == 0:
            self._compare_with_gdal(fate, folder / fate.case.pattern.format(ALONE[0]))
        quarantine = ("--mask", "none", "--on-error", "quarantine")
        fate.runs["alone, quarantine"] = self._stack(folder, "alone project", quarantine)
        if listing(folder) != before:
            fate.broken.append("alone: the input folder changed")

    def _compare_with_gdal(self, fate: Fate, path: Path) -> None:
        cube = open_cube(self.work / "alone project" / "cube.zarr")
        found, valid = cube.read(0, 1)
        if not os.path.isfile(path):  # noqa: PTH113  names of 255 bytes
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected, usable = hostile_files.reference(path)
        if found[0].shape != expected.shape:
            fate.broken.append(f"alone: shape {found[0].shape}, GDAL has {expected.shape}")
        elif not np.array_equal(valid[0], usable):
            fate.broken.append("alone: another validity than GDAL's")
        elif not np.array_equal(found[0][usable], expected[usable]):
            fate.broken.append("alone: other pixels than GDAL's")

    def _among(self, fate: Fate) -> None:
        folder = self._folder("mixed")
        for date in self.dates:
            os.link(self.good / f"ndvi_{date}.tif", folder / f"ndvi_{date}.tif")
        fate.case.make(folder / fate.case.pattern.format(AMONG))
        before = listing(folder)
        for name, options in (
            ("mixed", ("--on-error", "quarantine")),
            ("mixed, --like", (*self.pin, "--on-error", "quarantine")),
            ("mixed, fail", self.pin),
        ):
            run = fate.runs[name] = self._stack(folder, "mixed project", options)
            if run.code == 0:
                self._compare_with_good(fate, name)
                self._look_up(fate.case, run)
        if listing(folder) != before:
            fate.broken.append("mixed: the input folder changed")

    def _compare_with_good(self, fate: Fate, name: str) -> None:
        """The good scenes lie somewhere in the cube, at their own dates."""
        cube = open_cube(self.work / "mixed project" / "cube.zarr")
        stamps = [f"{str(time)[:10].replace('-', '')}" for time in cube.times]
        offset = ~cube.grid.transform @ (
            hostile_files.TRANSFORM.c,
            hostile_files.TRANSFORM.f,
        )
        col, row = (round(value) for value in offset)
        high, wide = self.values.shape[2:]
        for number, date in enumerate(self.dates):
            if date not in stamps:
                fate.broken.append(f"{name}: {date} is missing")
                return
            step = stamps.index(date)
            found, valid = cube.read(step, step + 1)
            here = (0, 0, slice(row, row + high), slice(col, col + wide))
            if not np.array_equal(valid[here], self.valid[number, 0]) or not np.array_equal(
                found[here], self.values[number, 0], equal_nan=True
            ):
                fate.broken.append(f"{name}: the good scene of {date} has other pixels")
                return

    def _look_up(self, case: Case, run: Run) -> None:
        name = Path(case.pattern.format(AMONG)).name
        table = self.work / "mixed project" / "scenes.csv"
        with table.open(newline="", encoding="utf-8", errors="backslashreplace") as stream:
            for row in csv.DictReader(stream):
                if Path(row["path"]).name == name:
                    run.status, run.reason = row["status"], row["reason"]

    def _hold(self, fate: Fate, name: str, run: Run) -> None:
        if run.code is None:
            fate.broken.append(f"{name}: over {self.seconds:g} s")
        elif run.code not in (0, 2):
            fate.broken.append(f"{name}: exit code {run.code}")
        if "Traceback" in run.output or "Exception ignored" in run.output:
            fate.broken.append(f"{name}: a traceback")
        if run.code == 2 and name in ("mixed", "mixed, --like"):
            fate.broken.append(f"{name}: the job ended: {first_error(run.output)}")
        if run.code == 2 and len(run.output.split("Error: ")[-1].splitlines()) < 2:
            fate.broken.append(f"{name}: no remedy: {first_error(run.output)}")
        if run.mib > self.mib:
            fate.broken.append(f"{name}: {run.mib:.0f} MiB")

    def _folder(self, name: str) -> Path:
        folder = self.work / name
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir()
        return folder

    def _stack(self, folder: Path, project: str, options: tuple[str, ...]) -> Run:
        place = self.work / project
        if place.exists():
            shutil.rmtree(place)
        arguments = ["-p", str(place), "-q", "stack", str(folder), "--jobs", "2", *options]
        return run_stack(arguments, seconds=self.seconds)


def first_error(output: str) -> str:
    """The first line of an error message."""
    lines = [line.strip() for line in output.splitlines()]
    firsts = [
        line.removeprefix("first: ")
        for line in lines
        if line.startswith("first: ") and ".tif" in line
    ]
    errors = [line.removeprefix("Error: ") for line in lines if line.startswith("Error: ")]
    return next(iter(firsts + errors), output.strip()[-200:])


def short(text: str, work: Path) -> str:
    """A reason without the scratch folder's name, fit for a table."""
    text = text.replace(str(work), "").replace("|", "/").replace("\n", " ")
    for folder in ("/alone/", "/mixed/"):
        text = text.replace(folder, "")
    return text if len(text) <= 110 else f"{text[:107]}..."


def row(fate: Fate, work: Path) -> str:
    """One line of the table."""
    alone, mixed = fate.runs["alone"], fate.runs["mixed"]
    fate_alone = "used" if alone.code == 0 else f"refused: {first_error(alone.output)}"
    among = mixed.status or ("not listed" if mixed.code == 0 else first_error(mixed.output))
    cells = [
        fate.case.name,
        fate.case.what,
        short(fate_alone, work),
        short(among, work),
        f"{max(run.seconds for run in fate.runs.values()):.1f}",
        f"{max(run.mib for run in fate.runs.values()):.0f}",
        short("; ".join(fate.broken), work) if fate.broken else "kept",
    ]
    return f"| {' | '.join(cells)} |"


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the folder")
    parser.add_argument("--only", default="", metavar="TEXT", help="cases whose name holds this")
    parser.add_argument("--seconds", type=float, default=60, help="most for one stack")
    parser.add_argument("--mib", type=float, default=1024, help="most memory of one stack")
    return parser.parse_args()


def main() -> int:
    """Judge every case, print the table; 1 if a rule was broken."""
    arguments = parse_arguments()
    collected = arguments.data / "_hostile"
    cases = hostile_files.generated()
    if collected.is_dir():
        cases = [*hostile_files.copies(collected), *cases]
    else:
        print(f"{collected} is not there; the files made here are run alone.", file=sys.stderr)
    cases = [case for case in cases if arguments.only in case.name]
    csv.field_size_limit(2**24)  # a reason may name very many bands
    broken = 0
    fates: Counter[str] = Counter()
    print("| file | what it is | alone | among good scenes | s | MiB | rules |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="hostile-") as scratch:
        work = Path(scratch)
        bench = Bench(work, seconds=arguments.seconds, mib=arguments.mib)
        for case in cases:
            fate = bench.judge(case)
            broken += bool(fate.broken)
            fates["used" if fate.runs["alone"].code == 0 else "refused"] += 1
            print(row(fate, work), flush=True)
    print(f"\n{len(cases)} files: {fates['used']} used, {fates['refused']} refused alone; "
          f"{broken} broke a rule.")  # fmt: skip
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
