"""What the scores say: tidy metric rows, skill against each reference, a plain sentence."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from geoforecast.figures.words import (
    four_digits,
    reference_label,
    shown_unit,
    three_decimals,
    time_label,
    without_twins,
)
from geoforecast.forecast.outcome import FORECAST, OURS
from geoforecast.validate.scoring.rows import BOUNDS, AnyScores, MetricRow
from geoforecast.validate.scoring.scores import best_reference
from geoforecast.validate.scoring.thresholds import event_summaries
from geoforecast.validate.source import Source

MAP_METRICS = ("kappa", "figure_of_merit", "csi", "pod", "far")  # told in the table of a terminal
MEASURES = {"rmse": "RMSE", "brier": "Brier score", "disagreement": "share of wrong pixels"}
NOTICEABLE = 0.005  # skills closer to 0 round to 0 % and count as equal
FEW_STEPS = 8
LONGEST_LIST = 3


@dataclass(frozen=True)
class LeadSummary:
    """How the forecast of one band at one lead compares.

    Attributes:
        band, lead: which.
        error: of the forecast, by the metric that leads.
        r2: of the forecast; NaN of probabilities.
        best_reference: the reference of least error, known only in hindsight; "" if none.
        best_error: its error.
        skill: of the forecast, against that reference.
        second_skill: by MAE, against the reference that is best at that; NaN of probabilities.
        better_steps, steps: test steps where the forecast's squared error is below that of
            the best reference, and all that were scored.
        pixels: scored pixels, all steps together.
        scored_share: of the observed pixels.
        metric: that leads: rmse or brier.
        low, high: ends of the 95 % interval of ``skill``; NaN where steps are too few to say.
        p_value: how probable a difference as large is if both are equally good.
    """

    band: str
    lead: int
    error: float
    r2: float
    best_reference: str
    best_error: float
    skill: float
    second_skill: float
    better_steps: int
    steps: int
    pixels: int
    scored_share: float
    metric: str = "rmse"
    low: float = math.nan
    high: float = math.nan
    p_value: float = math.nan

    @property
    def measure(self) -> str:
        """The leading metric in words."""
        return MEASURES[self.metric]

    def as_json(self) -> dict[str, Any]:
        """All of it, under the metric's name."""
        content = asdict(self) | {"verdict": self.verdict}
        lead, second = content.pop("metric"), content.pop("second_skill")
        names = {"error": lead, "best_error": f"best_{lead}", "skill": f"{lead}_skill"}
        names |= {"low": f"{lead}_skill_low", "high": f"{lead}_skill_high"}
        for key, name in names.items():
            content[name] = content.pop(key)
        if lead == "rmse":
            return content | {"mae_skill": second}
        del content["r2"]
        return content

    @property
    def verdict(self) -> str:
        """``better``, ``equal``, ``worse`` or ``unknown`` against the best reference.

        Better needs a gain that shows in whole percent, and at most of the test steps: one
        lucky step can lower the RMSE of all.
        """
        if math.isnan(self.skill):
            return "unknown"
        if self.skill <= -NOTICEABLE:
            return "worse"
        ahead = self.skill >= NOTICEABLE and 2 * self.better_steps > self.steps
        return "better" if ahead else "equal"

    @property
    def may_be_chance(self) -> bool:
        """Whether the interval of the skill holds 0; not where there is none."""
        return self.low <= 0 <= self.high


def summarise(scores: AnyScores, rows: Sequence[MetricRow]) -> tuple[LeadSummary, ...]:
    """One summary for each band and lead, in that order."""
    value = {(row.method, row.band, row.lead, row.metric): row.value for row in rows}
    metric, *second = scores.skills
    result = []
    for number, band in enumerate(scores.bands):
        for lead in scores.leads:
            at = (band, lead)
            best = best_reference({m: value[m, *at, metric] for m in scores.methods})
            ours, _ = scores.step_errors(FORECAST, number, lead)
            theirs, _ = scores.step_errors(best or FORECAST, number, lead)
            count = int(scores.counts[:, lead - 1, number].sum())
            seen = int(scores.seen[lead - 1, number])
            result.append(
                LeadSummary(
                    band=band,
                    lead=lead,
                    error=value[FORECAST, *at, metric],
                    r2=value.get((FORECAST, *at, "r2"), math.nan),
                    best_reference=best,
                    best_error=value[best, *at, metric] if best else math.nan,
                    skill=value[FORECAST, *at, f"{metric}_skill"],
                    second_skill=value[FORECAST, *at, f"{second[0]}_skill"] if second else math.nan,
                    better_steps=int((ours < theirs).sum()),
                    steps=len(ours),
                    pixels=count,
                    scored_share=count / seen if seen else math.nan,
                    metric=metric,
                    low=value[FORECAST, *at, f"{metric}_skill_low"],
                    high=value[FORECAST, *at, f"{metric}_skill_high"],
                    p_value=value[FORECAST, *at, f"{metric}_p_value"],
                )
            )
    return tuple(result)


def plain_sentences(summary: Iterable[LeadSummary]) -> tuple[str, ...]:
    """Where the forecast is worth trusting, in words: one for each band, then a caution."""
    by_band: dict[str, list[LeadSummary]] = {}
    for item in summary:
        by_band.setdefault(item.band, []).append(item)
    sentences = [f"{band}: {_band_sentence(items)}." for band, items in by_band.items()]
    steps = max(item.steps for items in by_band.values() for item in items)
    if 0 < steps < FEW_STEPS:
        sentences.append(f"With only {steps} test steps, small differences may be chance.")
    return tuple(sentences)


def improvement(rows: Sequence[MetricRow], reference: str) -> tuple[str, ...]:
    """One sentence: how far the errors lie below those of the reference that is corrected.

    Args:
        rows: of metric_rows.
        reference: its name; for the mixture, which is no simple forecast, there is no sentence.
    """
    parts = []
    for name in ("rmse", "mae"):
        label = f"{name}_skill_vs_{reference}"
        values = [r.value for r in rows if r.metric == label and not math.isnan(r.value)]
        if values and reference not in OURS:
            mean = 100 * sum(values) / len(values)
            parts.append(f"{name.upper()} {abs(mean):.1f} % {'lower' if mean >= 0 else 'higher'}")
    if not parts:
        return ()
    label = reference_label(reference)
    return (f"Than {label}, which is corrected: {', '.join(parts)}, mean of bands and leads.",)


def render_table(
    rows: Sequence[MetricRow], summary: Sequence[LeadSummary], units: Sequence[str]
) -> str:
    """Error of each method at each lead, and the forecast's skill, as plain text."""
    metric, measure = summary[0].metric, summary[0].measure
    value = {(r.method, r.band, r.lead): r.value for r in rows if r.metric == metric}
    methods = list(dict.fromkeys(method for method, _, _ in value))
    bands = list(dict.fromkeys(item.band for item in summary))
    covered = {(r.band, r.lead): r.value for r in rows if r.metric == BOUNDS[0]}
    blocks = []
    for band, unit in zip(bands, units, strict=True):
        items = [item for item in summary if item.band == band]
        head = [f"{band} {measure}" + (f" [{shown_unit(unit)}]" if shown_unit(unit) else "")]
        table = [head + [f"lead {item.lead}" for item in items]]
        cells = {m: [four_digits(value[m, band, item.lead]) for item in items] for m in methods}
        kept, twins = without_twins({m: c for m, c in cells.items() if m not in OURS})
        table += [[method, *cells[method]] for method in methods if method in (*OURS, *kept)]
        table.append(["skill over the best reference", *(percent(i.skill) for i in items)])
        if any(not math.isnan(item.low) for item in items):
            ends = [
                "-" if math.isnan(i.low) else f"{percent(i.low)} to {percent(i.high)}"
                for i in items
            ]
            table.append(["  its 95 % interval", *ends])
        table.append(["best reference", *(item.best_reference or "-" for item in items)])
        if covered:
            inside = [covered[band, item.lead] for item in items]
            shares = ["-" if share != share else f"{100 * share:.0f} %" for share in inside]
            table.append(["inside the interval", *shares])
        table += _map_lines(rows, band, items)
        table += _event_lines(rows, band, shown_unit(unit), items)
        blocks.append(aligned(table) + (f"\n{twins}" if twins else ""))
    return "\n\n".join(blocks)


def _map_lines(
    rows: Sequence[MetricRow], band: str, items: Sequence[LeadSummary]
) -> list[list[str]]:
    """What is told of the forecast's maps, where it has any."""
    value = {(r.lead, r.metric): r.value for r in rows if (r.method, r.band) == (FORECAST, band)}
    shown = [name for name in MAP_METRICS if any((item.lead, name) in value for item in items)]
    return [
        [name.replace("_", " "), *(four_digits(value[item.lead, name]) for item in items)]
        for name in shown
    ]


def _event_lines(
    rows: Sequence[MetricRow], band: str, unit: str, items: Sequence[LeadSummary]
) -> list[list[str]]:
    """CSI of each event, of the forecast and of the reference that is best at it."""
    value = {(r.method, r.lead, r.metric): r.value for r in rows if r.band == band}
    lines = []
    for event in event_summaries(value, [item.lead for item in items]):
        ours, best = event.csi[FORECAST], event.best_csi
        lines.append([f"CSI at {event.label} {unit}".rstrip(), *map(three_decimals, ours)])
        lines.append(["  the best reference has", *map(three_decimals, best)])
    return lines


def _band_sentence(items: list[LeadSummary]) -> str:
    groups = {
        verdict: [item for item in items if item.verdict == verdict]
        for verdict in ("better", "equal", "worse", "unknown")
    }
    parts = []
    if groups["better"]:
        parts.append(_trust(groups["better"]))
    if groups["equal"]:
        names = _names(groups["equal"])
        parts.append(f"no clear gain over {names} {_at_leads(groups['equal'])}")
    if groups["worse"]:
        excess = _percents([-item.skill for item in groups["worse"]])
        advice = f"use {_names(groups['worse'])} instead {_at_leads(groups['worse'])}"
        parts.append(f"{advice} (the forecast's {items[0].measure} is {excess} higher)")
    if groups["unknown"]:
        parts.append(f"cannot be judged {_at_leads(groups['unknown'])}")
    for items in (groups["better"], groups["worse"]):
        chance = [item for item in items if item.may_be_chance]
        if chance:
            parts.append(
                f"{_at_leads(chance)} that may be chance: the forecast is not distinguishable "
                f"from {_names(chance)} ({_intervals(chance)})"
            )
    if not groups["better"] and not groups["unknown"]:
        parts.insert(0, "not worth preferring to a simple forecast")
    negative = [item for item in groups["better"] if item.r2 < 0]
    if negative:
        parts.append(
            f"{_at_leads(negative)} even so R² is below 0: it says less than the mean of the "
            "observed pixels would"
        )
    return "; ".join(parts)


def _trust(items: list[LeadSummary]) -> str:
    gains = _percents([item.skill for item in items])
    wins = _wins(items)
    ahead = _leads(items)
    step = "step" if ahead == "1" else "steps"
    return (
        f"worth trusting {ahead} {step} ahead ({items[0].measure} {gains} below the best simple "
        f"forecast, {_names(items)}; better at {wins} test steps)"
    )


def _intervals(items: list[LeadSummary]) -> str:
    """The interval of a single skill, or what all of them hold."""
    what = f"95 % interval{'s' if len(items) > 1 else ''} of the gain"
    if len(items) > 1:
        return f"the {what} hold 0"
    return f"{what} {percent(items[0].low)} to {percent(items[0].high)}"


def _percents(values: list[float]) -> str:
    """Whole percentages one by one, or their range where that would be a long list."""
    whole = [round(100 * value) for value in values]
    if len(set(whole)) == 1:
        return f"{whole[0]} %"
    if len(whole) <= LONGEST_LIST:
        return _list([f"{value} %" for value in whole])
    return f"{min(whole)} to {max(whole)} %"


def _wins(items: list[LeadSummary]) -> str:
    """At how many test steps each lead is better, or the range of a long list."""
    if len(items) <= LONGEST_LIST:
        return _list([f"{item.better_steps} of {item.steps}" for item in items])
    counts, steps = [item.better_steps for item in items], max(item.steps for item in items)
    low, high = min(counts), max(counts)
    return f"{low} of {steps}" if low == high else f"{low} to {high} of {steps}"


def _names(items: list[LeadSummary]) -> str:
    return _list(list(dict.fromkeys(item.best_reference for item in items)), "or")


def _at_leads(items: list[LeadSummary]) -> str:
    return at_leads([item.lead for item in items])


def at_leads(leads: list[int]) -> str:
    """Where something is so: ``at lead 1``, ``at leads 1-3``."""
    return f"at lead{'s' if len(leads) > 1 else ''} {_numbers(leads)}"


def _leads(items: list[LeadSummary]) -> str:
    return _numbers([item.lead for item in items])


def _numbers(leads: list[int]) -> str:
    """Lead numbers in short: 1-3, or 1 and 4."""
    if len(leads) > 1 and leads[-1] - leads[0] == len(leads) - 1:
        return f"{leads[0]}-{leads[-1]}"
    return _list([str(lead) for lead in leads])


def _list(words: list[str], last: str = "and") -> str:
    return " ".join([", ".join(words[:-1]), last, words[-1]]) if len(words) > 1 else words[0]


def percent(value: float) -> str:
    """A signed whole percentage such as ``+12 %``, or a dash."""
    if math.isnan(value):
        return "-"
    return f"{value:+.0%}".replace("%", " %") if abs(value) >= NOTICEABLE else "0 %"


def aligned(table: Sequence[Sequence[str]]) -> str:
    """Rows of cells as text, the first column flush left and the others flush right.

    Rows may be of several lengths.
    """
    columns = max(map(len, table))
    widths = [max(len(row[i]) for row in table if i < len(row)) for i in range(columns)]
    lines = []
    for row in table:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=False)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def period(engine: Source) -> tuple[str, str]:
    """First and last valid time of the test block, as short text."""
    steps = engine.split.test_steps
    return time_label(engine.cube.times[steps[0]]), time_label(engine.cube.times[steps[-1]])
