"""The tables of real_series.py: what became of each series, as Markdown."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

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
