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
import math
import os
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import zarr

CHAIN = ("train", "predict", "validate")
Cells = dict[str, str]
Key = tuple[str, int, str, str]  # band, lead, method, metric
# Series with at least so many frames before the test block count as long.
LONG = 28
LEAD_SCORES = ("rmse", "rmse_skill", "interval_coverage")


@dataclass(frozen=True)
class Series:
    """A folder of the data, and what `stack` must be told about it.

    Attributes:
        name: the folder.
        options: of `geoforecast stack`.
        why: what its README says that makes them necessary.
        forecast: False to stack only.
        far: steps ahead that a second run goes; 0 for none.
    """

    name: str
    options: tuple[str, ...] = ()
    why: str = ""
    forecast: bool = True
    far: int = 0


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


@dataclass
class Outcome:
    """What became of one series.

    Attributes:
        series: which one.
        command: the command line as a user would write it.
        code: its exit code.
        seconds, cpu_s: wall and processor time.
        peak_mib: largest resident memory of the process.
        grid: steps, bands, rows x columns, valid share; by column of the tables.
        scores: (band, lead, method, metric) -> value.
        again: the same from further seeds.
        far: the same of the run that goes farther ahead.
    """

    series: Series
    command: str
    code: int
    seconds: float
    peak_mib: float
    grid: Cells = field(default_factory=dict)
    cpu_s: float = 0.0
    scores: dict[Key, float] = field(default_factory=dict)
    again: list[dict[Key, float]] = field(default_factory=list)
    far: dict[Key, float] = field(default_factory=dict)


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


def cost(outcome: Outcome) -> Cells:
    """The columns that say what a series cost."""
    return {
        "CPU min": f"{outcome.cpu_s / 60:.1f}",
        "wall s": f"{outcome.seconds:.0f}",
        "peak MiB": f"{outcome.peak_mib:.0f}",
    }


def forecast_rows(
    outcomes: list[Outcome], yardsticks: dict[str, tuple[str, float]]
) -> tuple[list[Cells], dict[str, list[float]]]:
    """One row a series and band for lead 1, and the ratios to the yardstick by kind of series."""
    rows: list[Cells] = []
    ratios: dict[str, list[float]] = {}
    for outcome in outcomes:
        rmse = {
            (b, m): v
            for (b, lead, m, name), v in outcome.scores.items()
            if lead == 1 and name == "rmse"
        }
        for band in dict.fromkeys(band for band, _ in rmse):
            scores = {method: value for (b, method), value in rmse.items() if b == band}
            ours, mixture = scores.pop("forecast"), scores.pop("mixture")
            best = min(scores, key=lambda method: scores[method])
            name = outcome.series.name
            row = {"series": name, "band": band, "steps": outcome.grid["steps"]}
            row |= {"forecast": f"{ours:.4g}", "mixture alone": f"{mixture:.4g}"}
            if outcome.again:
                row |= {"all seeds": seeds_text(ours, outcome.again, band)}
            row |= {"best reference": f"{best} {scores[best]:.4g}"}
            if name in yardsticks:
                method, error = yardsticks[name]
                steps = int(outcome.grid["steps"])
                frames = steps - max(3, math.ceil(0.2 * steps))
                ratios.setdefault("long" if frames >= LONG else "short", []).append(ours / error)
                ratios.setdefault(
                    "mixture, long" if frames >= LONG else "mixture, short", []
                ).append(mixture / error)
                row |= {"yardstick": f"{method} {error:.4g}", "ratio": f"{ours / error:.3f}"}
            inside = outcome.scores.get((band, 1, "forecast", "interval_coverage"))
            row |= {"in 90 %": f"{100 * inside:.0f} %" if inside is not None else "–"}
            rows.append(row | cost(outcome))
    return rows, ratios


def seeds_text(first: float, again: list[dict[Key, float]], band: str) -> str:
    """Mean and standard deviation of the forecast's RMSE one step ahead over seeds."""
    values = [first, *(scores[(band, 1, "forecast", "rmse")] for scores in again)]
    return f"{np.mean(values):.4g} ± {np.std(values, ddof=1):.2g}"


def lead_rows(outcomes: list[Outcome]) -> list[Cells]:
    """One row a series and band: forecast, skill and coverage at each lead."""
    rows = []
    for outcome in outcomes:
        for band in dict.fromkeys(band for band, *_ in outcome.scores):
            row = {"series": outcome.series.name, "band": band}
            for lead in sorted({lead for _, lead, *_ in outcome.scores}):
                at = {
                    name: outcome.scores.get((band, lead, "forecast", name)) for name in LEAD_SCORES
                }
                if at["rmse"] is None:
                    continue
                row[f"RMSE {lead}"] = f"{at['rmse']:.4g}"
                skill, inside = at["rmse_skill"], at["interval_coverage"]
                row[f"skill {lead}"] = "–" if skill is None else f"{skill:+.3f}"
                row[f"in 90 % {lead}"] = "–" if inside is None else f"{100 * inside:.0f} %"
            rows.append(row)
    return [row for row in rows if len(row) > 2]


def event_rows(outcomes: list[Outcome]) -> list[Cells]:
    """One row a lead of bands with events: RMSE and CSI of the forecast and of advection."""
    rows = []
    for outcome in outcomes:
        scores = outcome.far or outcome.scores
        named = [name for _, _, _, name in scores if name.startswith("csi_")]
        for band, lead in dict.fromkeys((band, lead) for band, lead, *_ in scores if named):
            row = {"series": outcome.series.name, "band": band, "lead": str(lead)}
            for method in ("forecast", "mixture", "advection"):
                for metric in ("rmse", *dict.fromkeys(named)):
                    value = scores.get((band, lead, method, metric))
                    row[f"{metric} {method}"] = "–" if value is None else f"{value:.3f}"
            rows.append(row)
    return rows


def class_rows(outcomes: list[Outcome]) -> list[Cells]:
    """One row a series and lead of classes: kappa and figure of merit, and the best reference's."""
    rows = []
    for outcome in outcomes:
        kappas = {key[:3]: value for key, value in outcome.scores.items() if key[3] == "kappa"}
        for band, lead in dict.fromkeys((band, lead) for band, lead, _ in kappas):
            row = {"series": outcome.series.name, "band": band, "lead": str(lead)}
            for metric in ("kappa", "figure_of_merit", "brier"):
                at = {
                    m: v
                    for (b, n, m, name), v in outcome.scores.items()
                    if name == metric and (b, n) == (band, lead)
                }
                ours = at.pop("forecast", math.nan)
                at.pop("mixture", None)
                best = (min if metric == "brier" else max)(at, key=lambda name: at[name])
                row[metric] = f"{ours:.4f}"
                row[f"best reference in {metric}"] = f"{best} {at[best]:.4f}"
            rows.append(row | cost(outcome))
    return rows


def stack_rows(outcomes: list[Outcome]) -> list[Cells]:
    """One row a series that was only stacked."""
    return [
        {"series": outcome.series.name} | outcome.grid | cost(outcome)
        for outcome in outcomes
        if outcome.grid and not outcome.scores
    ]


def markdown_table(rows: list[Cells]) -> str:
    """A Markdown table; what it cost comes last, and what a row lacks is a dash."""
    if not rows:
        return ""
    last = tuple(c for c in ("CPU min", "wall s", "peak MiB") if any(c in row for row in rows))
    columns = [c for c in dict.fromkeys(c for row in rows for c in row) if c not in last]
    columns += last
    lines = [columns, ["---"] * len(columns)]
    lines += [[row.get(column, "–") for column in columns] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def report(outcomes: list[Outcome], yardsticks: dict[str, tuple[str, float]]) -> str:
    """The commands and the tables, as Markdown."""
    commands = "".join(
        (f"    # {why}\n" if (why := outcome.series.why) else "") + f"    {outcome.command}\n"
        for outcome in outcomes
    )
    parts = [f"Commands:\n\n{commands}"]
    rows, ratios = forecast_rows(outcomes, yardsticks)
    if rows:
        parts.append(f"RMSE one step ahead on the test steps:\n\n{markdown_table(rows)}")
        parts += [
            f"Geometric mean of the ratios, {kind} series: {geometric_mean(values):.3f}\n"
            for kind, values in sorted(ratios.items())
        ]
        heading = "By lead; skill = 1 - RMSE / RMSE of the best reference in hindsight:"
        parts.append(f"{heading}\n\n{markdown_table(lead_rows(outcomes))}")
    if rows := event_rows(outcomes):
        parts.append(f"Events, at or above 0.1, 1 and 5 mm/h:\n\n{markdown_table(rows)}")
    if rows := class_rows(outcomes):
        parts.append(f"Classes:\n\n{markdown_table(rows)}")
    if rows := stack_rows(outcomes):
        parts.append(f"Stacked only:\n\n{markdown_table(rows)}")
    if failed := [outcome.series.name for outcome in outcomes if outcome.code]:
        parts.append(f"Failed: {', '.join(failed)}\n")
    return "\n".join(parts)


def geometric_mean(values: list[float]) -> float:
    """Of positive numbers."""
    return math.exp(sum(map(math.log, values)) / len(values))


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
