"""Run the whole chain on real series with default settings, and print how it did.

    python benchmarks/real_series.py [--data DIR] [--only NAME] [--seeds N] [--stack-only]
                                      [--out FILE]

Each series is stacked, trained, forecast and validated by one command line in a process of
its own, with no option but what the series' README demands. What is printed is Markdown:
every command line, then tables for the forecasts and one for the series that can only be
stacked. A yardstick beside the forecasts is the best of the simple methods in baselines.json of
the data, known in hindsight. With --seeds N training is repeated from other seeds, and the
spread of their scores is shown. Rain is forecast further ahead as well, by a run of its own. The
data are not part of this project; without them nothing is run.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import zarr
from real_tables import Cells, Key, Outcome, Series, report

CHAIN = ("train", "predict", "validate")


SERIES = (
    Series("s2_ndvi_slovenia"),
    Series(
        "s2_earthnet_29SND",
        ("--expression", "NDVI = (B8A - B04) / (B8A + B04)", "--bands", "NDVI"),
        "forecast as the index that its yardstick is about",
    ),
    Series("modis_evi_matogrosso"),
    Series(
        "modis_ndvi_sinop",
        ("--scale", "1e-4"),
        "int16 x10000; no nodata, no scale tag, and names that tell no sensor",
    ),
    Series(
        "landsat_p035r032",
        ("--scale", "1e-4", "--index", "NDVI", "--bands", "NDVI"),
        "int16 x10000 without a scale tag; forecast as the index that its yardstick is about",
    ),
    Series("era5_t2m_uk"),
    Series("ostia_sst_monthly"),
    Series("radar_fmi_1km", far=6),
    Series("radolan_rw_hourly"),
    Series("radar_fmi_orig", forecast=False),
    Series("landsat8_ny_mixed", forecast=False),
    Series(
        "lulc_itanhanga",
        ("--kind", "categorical"),
        "categorical - must not be averaged or bilinearly resampled",
    ),
)


def run_series(series: Series, data: Path, work: Path, stack_only: bool, seeds: int = 1) -> Outcome:
    """Run one series in processes of its own and read what they left."""
    verbs = () if stack_only or not series.forecast else CHAIN
    project = work / series.name
    arguments = ["-p", str(project), "stack", str(data / series.name), *series.options, *verbs]
    place = ["-p", f"real/{series.name}", "stack", str(data / series.name)]
    shown = shlex.join(["geoforecast", *place, *series.options, *verbs])
    print(shown, file=sys.stderr)
    outcome = run_logged(arguments, work / f"{series.name}.log", series, shown)
    if outcome.code:
        return outcome
    outcome.grid = describe_cube(project / "cube.zarr")
    if verbs:
        outcome.scores = read_scores(project / "validation" / "default" / "metrics.csv")
        further = {f"seed{seed}": ["--seed", str(seed)] for seed in range(1, seeds)}
        if series.far:
            further["far"] = ["--horizon", str(series.far)]
        for run, options in further.items():
            arguments = ["-p", str(project), "train", "--run", run, *options]
            log = work / f"{series.name}.{run}.log"
            arguments += ["validate", "--run", run]
            outcome.code = run_logged(arguments, log, series, "").code
            if outcome.code:
                break
            scores = read_scores(project / "validation" / run / "metrics.csv")
            if run == "far":
                outcome.far = scores
            else:
                outcome.again.append(scores)
    return outcome


def run_logged(arguments: list[str], log_path: Path, series: Series, shown: str) -> Outcome:
    """Run a command line of the tool to its end, and tell what it took."""
    started = time.perf_counter()
    with log_path.open("w", encoding="utf-8") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "geoforecast", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB here
    seconds = time.perf_counter() - started
    outcome = Outcome(series, shown, child.returncode, seconds, usage.ru_maxrss / unit)
    outcome.cpu_s = usage.ru_utime + usage.ru_stime
    if outcome.code:
        tail = log_path.read_text(encoding="utf-8", errors="replace").splitlines()[-12:]
        print(f"Exit code {outcome.code}:", *tail, sep="\n  ", file=sys.stderr)
    return outcome


def describe_cube(path: Path) -> Cells:
    """Steps, bands, grid and valid share of a cube."""
    valid = zarr.open_group(path, mode="r")["valid"]
    if not isinstance(valid, zarr.Array):
        raise TypeError(f"{path}/valid is no array")
    steps, bands, rows, columns = valid.shape
    # A chunk of steps at a time: the largest cube would not fit into memory.
    stride = valid.chunks[0]
    usable = sum(np.count_nonzero(valid[i : i + stride]) for i in range(0, steps, stride))
    return {
        "steps": str(steps),
        "bands": str(bands),
        "grid": f"{rows} x {columns}",
        "valid": f"{usable / (steps * bands * rows * columns):.2f}",
    }


def read_scores(path: Path) -> dict[Key, float]:
    """All scores of metrics.csv that have a value."""
    with path.open(encoding="utf-8", newline="") as stream:
        return {
            (row["band"], int(row["lead"]), row["method"], row["metric"]): float(row["value"])
            for row in csv.DictReader(stream)
            if row["value"]
        }


def read_yardsticks(data: Path) -> dict[str, tuple[str, float]]:
    """Series -> the simple method of least RMSE one step ahead, and that RMSE."""
    path = data / "baselines.json"
    if not path.is_file():
        return {}
    found = {}
    for name, content in json.loads(path.read_text(encoding="utf-8")).items():
        methods = content.get("methods", {}) if isinstance(content, dict) else {}
        errors = {m: one["rmse"] for m, one in methods.items() if "rmse" in one}
        if errors:
            best = min(errors, key=lambda method: errors[method])
            found[name] = best, float(errors[best])
    return found


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the folder")
    parser.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        choices=[series.name for series in SERIES],
        help="run this series only; may be repeated",
    )
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="train from N seeds")
    parser.add_argument("--stack-only", action="store_true", help="stack, and stop there")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep projects and logs here")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the tables here")
    return parser.parse_args()


def main() -> int:
    """Run what is there, print the tables; 1 if a series failed."""
    arguments = parse_arguments()
    wanted = [series for series in SERIES if not arguments.only or series.name in arguments.only]
    there = [series for series in wanted if (arguments.data / series.name).is_dir()]
    if missing := [series.name for series in wanted if series not in there]:
        print(f"Not in {arguments.data}, left out: {', '.join(missing)}", file=sys.stderr)
    if not there:
        return 0
    with tempfile.TemporaryDirectory(prefix="real-series-") as scratch:
        work = arguments.keep or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        outcomes = [
            run_series(series, arguments.data, work, arguments.stack_only, arguments.seeds)
            for series in there
        ]
    text = report(outcomes, read_yardsticks(arguments.data))
    print(text, end="")
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")
    return int(any(outcome.code for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
