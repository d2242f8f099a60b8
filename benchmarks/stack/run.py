"""Benchmark `geoforecast stack` against its peers, in pairs, with the limits of the machine.

    make bench-stack [DATES=24] [EDGE=2500] [REPEATS=3]

The work (see work.py): a folder of Sentinel-2-like scenes in two UTM zones becomes one array
(time, band, y, x) float32 on one grid, bilinear, clouds removed by a nearest classification
and grown, each band's mean and standard deviation, written as Zarr with lz4.

Every contender is a process of its own on the same two processors and, before anything is
measured, has run once on a small folder; all files are in the page cache. In each repeat the
order is turned, and the ratios are those within one repeat; their median is printed. Times
of the whole process count imports. Absolute times belong to this machine, ratios hold.
All figures go to OUT/results.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from make_scenes import make_large, make_scenes
from measure import run_measured
from numpy.typing import NDArray
from peers import CONTENDERS, USUAL
from product import command_line
from shows import (
    PRODUCT,
    Rounds,
    Run,
    Show,
    fastest_peer,
    limit_of,
    limit_table,
    names_of,
    peak,
    ratio,
    speed_table,
)
from work import BANDS, THREADS, Work

HERE = Path(__file__).parent
SMALL_EDGE, SMALL_DATES = 600, 6
LARGE_EDGE = 10980
WHOLE_WORK = (24, 2500)  # dates and edge that the targets are of
LEAST_DATES = 5  # three to train, one to validate, one to test
RADAR = ("--scale", "0.5", "--offset", "-32", "--nodata", "255")
# Pixels may differ by rounding to whole numbers, by GDAL's 0.125 px and next to clouds.
MEAN_DIFFERENCE, VALID_DIFFERENCE = 2.0, 0.012
EVERY_PX = 7


class Bench:
    """Runs contenders and keeps what they left for comparison.

    Attributes:
        out: where scenes, arrays and results go.
        peer_python: interpreter of the peers' environment.
        notes: what went wrong, for the end of the report.
        samples: (dates, contender) -> some pixels of its array.
    """

    def __init__(self, out: Path, peer_python: Path) -> None:
        self.out, self.peer_python = out, peer_python
        self.notes: list[str] = []
        self.samples: dict[tuple[int, str], NDArray[np.float32]] = {}

    def run(self, name: str, work: Work, *, zscored: bool = False) -> Run | None:
        """One contender once; None if it failed, which is noted."""
        array = self.out / "array"
        options = ["--zscored"] if zscored else []
        if name == PRODUCT:
            return self.product(command_line(work, array), options, work)
        command = [str(self.peer_python), str(HERE / "peers.py"), name]
        command += [str(Path(work.folder) / "work.json"), str(array), str(self._report), *options]
        return self._run(name, command, array, work)

    def product(
        self, words: Sequence[str], options: Sequence[str] = (), work: Work | None = None
    ) -> Run | None:
        """The product with a command line of its own."""
        command = [sys.executable, str(HERE / "product.py"), str(self._report), *options]
        return self._run(PRODUCT, [*command, "--", *words], self.array, work)

    def limits(self, work: Work, radar: Path | None) -> dict[str, Any]:
        """Seconds of each part alone."""
        scratch = self.out / "limits"
        shutil.rmtree(scratch, ignore_errors=True)
        command = [sys.executable, str(HERE / "limits.py"), str(Path(work.folder) / "work.json")]
        command += [str(scratch), str(self._report)]
        command += ["--radar", str(radar)] if radar else []
        measured = run_measured(command, self.out / "limits.log")
        if measured.code:
            raise SystemExit(f"limits.py failed:\n{measured.output}")
        result: dict[str, Any] = json.loads(self._report.read_text(encoding="utf-8"))
        return result

    @property
    def array(self) -> Path:
        """Where contenders put their array."""
        return self.out / "array"

    @property
    def _report(self) -> Path:
        return self.out / "report.json"

    def _run(self, name: str, command: list[str], array: Path, work: Work | None) -> Run | None:
        shutil.rmtree(array, ignore_errors=True)
        self._report.unlink(missing_ok=True)
        os.sync()  # so that nobody waits for what the one before him wrote
        measured = run_measured(command, self.out / f"{name.replace('/', '-')}.log")
        if measured.code or not self._report.exists():
            self.notes.append(f"{name} failed (exit code {measured.code}):\n{measured.output}")
            return None
        report = json.loads(self._report.read_text(encoding="utf-8"))
        if work is not None and (len(work.dates), name) not in self.samples:
            self.samples[len(work.dates), name] = _sample(array / report["array"])
        shutil.rmtree(array)
        said = f"{measured.wall_s:6.1f} s {measured.cpu_s:6.1f} CPU s"
        said += f" {measured.peak_mib:6.0f} MiB"
        print(f"  {name:24} {said}", file=sys.stderr)
        return Run(name, measured.wall_s, report["work_s"], measured.peak_mib, measured.cpu_s)

    def rounds(
        self, names: Sequence[str], work: Work, repeats: int, *, zscored: bool = False
    ) -> list[dict[str, Run]]:
        """Every contender in every repeat, in a turned order."""
        result = []
        for number, order in enumerate(_orders(names, repeats)):
            kind = ", z-scored" if zscored else ""
            print(f"{len(work.dates)} dates{kind}, repeat {number + 1}", file=sys.stderr)
            runs = {name: self.run(name, work, zscored=zscored) for name in order}
            result.append({name: run for name, run in runs.items() if run is not None})
        return result

    def differences(self, dates: int) -> dict[str, str]:
        """How each peer's pixels differ from the product's, in words."""
        ours = self.samples.get((dates, PRODUCT))
        result = {}
        for (count, name), theirs in self.samples.items():
            if count != dates or ours is None or name == PRODUCT:
                continue
            apart = float(np.mean(np.isnan(ours) != np.isnan(theirs)))
            mean = float(np.nanmean(np.abs(ours - theirs)))
            result[name] = f"mean difference {mean:.2f} DN, validity {100 * apart:.2f} %"
            if not (mean <= MEAN_DIFFERENCE and apart <= VALID_DIFFERENCE):
                self.notes.append(f"{name} did other work than the product: {result[name]}")
        return result


def _orders(names: Sequence[str], repeats: int) -> Iterator[list[str]]:
    """Turned by one each time, and every other time backwards."""
    for number in range(repeats):
        turn = number % len(names)
        order = [*names[turn:], *names[:turn]]
        yield order[::-1] if number % 2 else order


def _sample(path: Path) -> NDArray[np.float32]:
    """Every seventh pixel of the first date in each zone and of the last."""
    array: Any = zarr.open_array(path, mode="r")
    steps = [array[step][:, ::EVERY_PX, ::EVERY_PX] for step in (0, 1, array.shape[0] - 1)]
    return np.stack(steps).astype(np.float32)


def contenders(every_way: bool, peer_python: Path, notes: list[str]) -> list[str]:
    """The product and its peers, less those that cannot run here."""
    names = [PRODUCT]
    for name in CONTENDERS if every_way else USUAL:
        if not peer_python.exists():
            notes.append(f"{name} left out: there is no {peer_python}.")
        elif name.startswith("gdalwarp") and shutil.which("gdalwarp") is None:
            notes.append(f"{name} left out: there is no gdalwarp (Debian: gdal-bin).")
        else:
            names.append(name)
    return names


def measure(bench: Bench, given: argparse.Namespace) -> tuple[list[str], list[Show], Any]:
    """Everything: tables to print, figures with their targets, and all numbers."""
    work = make_scenes(bench.out, given.dates, given.edge)
    twice = make_scenes(bench.out, 2 * given.dates, given.edge)
    names = contenders(given.every_way, given.peer_python, bench.notes)
    _warm_up(bench, names, twice)
    once = bench.rounds(names, work, given.repeats)
    best = fastest_peer(once)
    pair = [PRODUCT, best] if best else [PRODUCT]
    double = bench.rounds(pair, twice, given.repeats)
    zscored = bench.rounds(pair, work, given.repeats, zscored=True)
    radar = given.data / "radar_fmi_orig"
    limits, radar_runs = [], []
    shares = []
    for _ in range(given.repeats):
        limits.append(bench.limits(work, radar if radar.is_dir() else None))
        beside = bench.run(PRODUCT, work)
        if beside is not None:
            shares.append((limit_of(limits[-1]), beside.work_s))
        if radar.is_dir():
            words = ["-q", "-p", str(bench.array), "stack", str(radar), *RADAR]
            run = bench.product([*words, "--jobs", str(THREADS)])
            if run is not None:
                radar_runs.append((run, limits[-1]["radar_read_twice"]))
    large = _large(bench, given.large)
    shows = [
        *_speed_shows(once, double, zscored, best),
        *_limit_shows(shares, radar_runs, "" if radar.is_dir() else f"there is no {radar}"),
        *_memory_shows(once, double, large, given),
    ]
    tables = [speed_table(once, bench.differences(given.dates))]
    if len(names_of(double)) > 1:
        tables.append(speed_table(double, bench.differences(2 * given.dates)))
    if shares:
        tables.append(limit_table(limits, [seconds for _, seconds in shares]))
    numbers = {
        "given": {k: str(v) for k, v in vars(given).items()},
        "once": _plain(once),
        "double": _plain(double),
        "zscored": _plain(zscored),
        "limits": limits,
        "shares": shares,
        "radar": [{**dataclasses.asdict(run), "read_twice_s": s} for run, s in radar_runs],
        "large": dataclasses.asdict(large) if large else None,
        "shows": [dataclasses.asdict(show) for show in shows],
        "notes": bench.notes,
    }
    return tables, shows, numbers


def _warm_up(bench: Bench, names: Sequence[str], work: Work) -> None:
    """Compile, import and read once what will be compiled, imported and read."""
    small = make_scenes(bench.out, SMALL_DATES, SMALL_EDGE)
    print("Warming up", file=sys.stderr)
    for name in names:
        bench.run(name, small)
    bench.samples.clear()
    for path in work.files():
        path.read_bytes()


def _large(bench: Bench, edge: int) -> Run | None:
    if not edge:
        return None
    work = make_large(bench.out, edge, LEAST_DATES - 1, SMALL_EDGE)
    print(f"One date of {edge} x {edge} pixels, {len(BANDS)} bands", file=sys.stderr)
    return bench.product(command_line(work, bench.array))


def _speed_shows(once: Rounds, double: Rounds, zscored: Rounds, best: str) -> list[Show]:
    kinds = (
        ("common work", once, 3.5),
        ("twice as many dates", double, 5.0),
        ("ending with z-scored pixels written out", zscored, 1.9),
    )
    shows = []
    for text, rounds, target in kinds:
        for imports, how in ((True, "whole process"), (False, "without imports")):
            value = ratio(rounds, best, PRODUCT, imports=imports) if best else None
            shows.append(
                Show(
                    f"{text}: speed against {best or 'the fastest peer'}, {how}",
                    value,
                    target,
                    reason="the product or every peer is missing",
                )
            )
    return shows


def _limit_shows(
    shares: Sequence[tuple[float, float]], radar: Sequence[tuple[Run, float]], absent: str
) -> list[Show]:
    share = float(np.median([100 * limit / seconds for limit, seconds in shares] or [np.nan]))
    ratios = [run.work_s / seconds for run, seconds in radar]
    return [
        Show(
            "share of the measured limit, without imports",
            share if shares else None,
            65,
            unit=" %",
            reason="the product failed",
        ),
        Show(
            "radar_fmi_orig: time against reading all blocks twice, without imports",
            float(np.median(ratios)) if ratios else None,
            1,
            least=False,
            reason=absent or "the product failed",
        ),
        Show(
            "radar_fmi_orig: peak RSS",
            max((run.peak_mib for run, _ in radar), default=None),
            2048,
            least=False,
            unit=" MiB",
            reason=absent or "the product failed",
        ),
    ]


def _memory_shows(
    once: Rounds, double: Rounds, large: Run | None, given: argparse.Namespace
) -> list[Show]:
    first, second = peak(once, PRODUCT), peak(double, PRODUCT)
    failed = "the product failed"
    growth = 100 * (second / first - 1) if first and second else None
    return [
        Show("peak RSS", first, 512, least=False, unit=" MiB", reason=failed),
        Show(
            f"growth of peak RSS from {given.dates} to {2 * given.dates} dates",
            growth,
            5,
            least=False,
            unit=" %",
            reason=failed,
        ),
        Show(
            f"peak RSS of one date of {given.large} x {given.large} x {len(BANDS)}",
            large.peak_mib if large else None,
            1536,
            least=False,
            unit=" MiB",
            reason=failed if given.large else "LARGE=0",
        ),
    ]


def _plain(rounds: Rounds) -> list[dict[str, Any]]:
    return [{name: dataclasses.asdict(run) for name, run in runs.items()} for runs in rounds]


def main() -> None:
    """Run the benchmark and print what it found."""
    parser = argparse.ArgumentParser(description="Benchmark stack against its peers.")
    parser.add_argument("--dates", type=int, default=24)
    parser.add_argument("--edge", type=int, default=2500, help="rows and columns of a scene")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--large",
        type=int,
        help=f"edge of the large date, 0 for none; default {LARGE_EDGE}, or 2 EDGE if that is less",
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out/stack"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--peer-python", type=Path, default=Path(".venv-bench/bin/python"))
    parser.add_argument("--every-way", action="store_true", help="all ways of using each peer")
    given = parser.parse_args()
    if given.edge < 200 or given.edge % 4 or given.repeats < 1:
        parser.error("--edge must be 200 or more and divisible by 4, --repeats 1 or more")
    if given.dates < LEAST_DATES:
        print(f"A series needs {LEAST_DATES} dates; that many are taken.", file=sys.stderr)
        given.dates = LEAST_DATES
    if given.large is None:
        given.large = LARGE_EDGE if given.edge >= WHOLE_WORK[1] else 2 * given.edge
    granted = sorted(os.sched_getaffinity(0))[:THREADS]
    os.sched_setaffinity(0, granted)  # inherited, so that libraries see two processors as well
    given.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(given.out, given.peer_python)
    tables, shows, numbers = measure(bench, given)
    print(f"\n{given.dates} dates of {given.edge} x {given.edge}, {len(granted)} processors\n")
    print("\n\n".join(tables))
    print("\n| figure | measured | target | |\n| --- | --- | --- | --- |")
    print("\n".join(show.line() for show in shows))
    if (given.dates, given.edge) != WHOLE_WORK:
        print("\nThe targets are of DATES={} EDGE={}.".format(*WHOLE_WORK))
    print("\n".join(f"\n{note}" for note in bench.notes))
    (given.out / "results.json").write_text(json.dumps(numbers, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
