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
from geoforecast.forecast.engine import FORECAST, OURS, Engine
from geoforecast.validate.accumulate import Scores, best_reference
from geoforecast.validate.class_scores import ClassScores
from geoforecast.validate.events import event_summaries, event_values
from geoforecast.validate.metrics import Pooled, evaluate, metric_names, skill, skill_metrics

AnyScores = Scores | ClassScores
MAP_METRICS = ("kappa", "figure_of_merit", "csi", "pod", "far")  # told in the table of a terminal
MEASURES = {"rmse": "RMSE", "brier": "Brier score"}
BOUNDS = ("interval_coverage", "interval_width")
NOTICEABLE = 0.005  # skills closer to 0 round to 0 % and count as equal
FEW_STEPS = 8
LONGEST_LIST = 3


@dataclass(frozen=True)
class MetricRow:
    """One line of metrics.csv; ``value`` is NaN, with a ``reason``, where undefined."""

    method: str
    band: str
    lead: int
    metric: str
    value: float
    pixels: int
    reason: str = ""


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

    @property
    def measure(self) -> str:
        """The leading metric in words."""
        return MEASURES[self.metric]

    def as_json(self) -> dict[str, Any]:
        """All of it, under the metric's name."""
        content = asdict(self) | {"verdict": self.verdict}
        lead, second = content.pop("metric"), content.pop("second_skill")
        for key in ("error", "best_error", "skill"):
            name = {"error": lead, "best_error": f"best_{lead}", "skill": f"{lead}_skill"}[key]
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


def metric_rows(scores: AnyScores) -> tuple[MetricRow, ...]:
    """Every metric of every method, then the forecast's skills, by band and lead."""
    rows: list[MetricRow] = []
    for number, band in enumerate(scores.bands):
        for lead in scores.leads:
            errors: dict[tuple[str, str], float] = {}
            pixels = 0
            for method in scores.methods:
                pooled = scores.pooled(method, number, lead)
                pixels = pooled.n
                for name in metric_names(scores.kind):
                    value, reason = evaluate(name, pooled)
                    used = pooled.n
                    if isinstance(pooled, Pooled) and name == "ssim":
                        used = pooled.ssim_pixels
                    rows.append(MetricRow(method, band, lead, name, value, used, reason))
                    errors[method, name] = value
                if isinstance(scores, Scores):
                    for label, value, reason in event_values(scores, method, number, lead):
                        rows.append(MetricRow(method, band, lead, label, value, pixels, reason))
            for name in skill_metrics(scores.kind):
                by_method = {method: errors[method, name] for method in scores.methods}
                for label, value, reason in _skills(name, by_method):
                    rows.append(MetricRow(FORECAST, band, lead, label, value, pixels, reason))
            if isinstance(scores, Scores) and scores.interval:
                for label, value in zip(BOUNDS, scores.coverage(number, lead), strict=True):
                    reason = "no pixel could be scored" if math.isnan(value) else ""
                    rows.append(MetricRow(FORECAST, band, lead, label, value, pixels, reason))
    return tuple(rows)


def summarise(scores: AnyScores, rows: Sequence[MetricRow]) -> tuple[LeadSummary, ...]:
    """One summary for each band and lead, in that order."""
    value = {(row.method, row.band, row.lead, row.metric): row.value for row in rows}
    metric, *second = skill_metrics(scores.kind)
    result = []
    for number, band in enumerate(scores.bands):
        for lead in scores.leads:
            at = (band, lead)
            best = best_reference({m: value[m, *at, metric] for m in scores.methods})
            ahead, steps = scores.better_steps(best or FORECAST, number, lead)
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
                    better_steps=ahead,
                    steps=steps,
                    pixels=count,
                    scored_share=count / seen if seen else math.nan,
                    metric=metric,
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
        table.append(["best reference", *(item.best_reference or "-" for item in items)])
        if covered:
            inside = [covered[band, item.lead] for item in items]
            shares = ["-" if share != share else f"{100 * share:.0f} %" for share in inside]
            table.append(["inside the interval", *shares])
        table += _map_lines(rows, band, items)
        table += _event_lines(rows, band, shown_unit(unit), items)
        blocks.append(_aligned(table) + (f"\n{twins}" if twins else ""))
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


def _skills(name: str, errors: dict[str, float]) -> list[tuple[str, float, str]]:
    """(metric name, value, reason) of the forecast against each reference and the best."""
    result = [
        (f"{name}_skill_vs_{method}", *skill(errors[FORECAST], value))
        for method, value in errors.items()
        if method != FORECAST
    ]
    best = best_reference(errors)
    if best:
        result.append((f"{name}_skill", *skill(errors[FORECAST], errors[best])))
    else:
        reason = "no reference has a value to compare with"
        result.append((f"{name}_skill", math.nan, reason))
    return result


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
    return f"at lead{'s' if len(items) > 1 else ''} {_leads(items)}"


def _leads(items: list[LeadSummary]) -> str:
    """Lead numbers in short: 1-3, or 1 and 4."""
    leads = [item.lead for item in items]
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


def _aligned(table: list[list[str]]) -> str:
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = []
    for row in table:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def period(engine: Engine) -> tuple[str, str]:
    """First and last valid time of the test block, as short text."""
    steps = engine.split.test_steps
    return time_label(engine.cube.times[steps[0]]), time_label(engine.cube.times[steps[-1]])
