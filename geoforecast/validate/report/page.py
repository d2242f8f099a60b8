"""The report: one HTML file that needs no other, to read on a screen or to print."""

from __future__ import annotations

import base64
import math
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jinja2

from geoforecast import __version__
from geoforecast.figures.words import (
    four_digits,
    shown_unit,
    step_length,
    three_decimals,
)
from geoforecast.forecast.outcome import FORECAST, OURS
from geoforecast.validate.metrics.classes import EVENT
from geoforecast.validate.metrics.ensemble import ENSEMBLE
from geoforecast.validate.metrics.fields import FIELD
from geoforecast.validate.metrics.fractions import FRACTION, SCALES_PX
from geoforecast.validate.metrics.pooled import metrics
from geoforecast.validate.metrics.temporal import TEMPORAL
from geoforecast.validate.metrics.variogram import VARIOGRAM
from geoforecast.validate.origin import origin_of
from geoforecast.validate.report.charts import Chart, draw_chart, line_styles
from geoforecast.validate.report.films import Film
from geoforecast.validate.report.map_pictures import TRIPTYCH, Picture
from geoforecast.validate.report.part_tables import part_tables
from geoforecast.validate.report.pictures import is_wide
from geoforecast.validate.report.plot_views import event_reliability, plots_of
from geoforecast.validate.report.reproduce import Command, recipe
from geoforecast.validate.report.tracks import track_plots
from geoforecast.validate.report.viewer import height_share, policy, script, viewers_of
from geoforecast.validate.scoring.rows import BOUNDS, MetricRow, look_table
from geoforecast.validate.scoring.scores import Scores, map_reference
from geoforecast.validate.scoring.thresholds import LEADING, event_summaries, fraction_rows
from geoforecast.validate.scoring.views import Views
from geoforecast.validate.source import Source
from geoforecast.validate.verdict.standards import Check
from geoforecast.validate.verdict.summary import LeadSummary, percent

MAX_PICTURES = 40  # embedded; further ones are in maps/ only, or the file would not open
ALWAYS_DRAWN = ("persistence", "climatology")
MOST_DRAWN = 4  # references beside those: charts of more lines cannot be read
PART_COLUMNS = (("rmse_skill", "RMSE skill"), ("rmse", "RMSE"), ("bias", "bias"))
FURTHER = (FIELD, VARIOGRAM, TEMPORAL, ENSEMBLE)  # kinds of metrics that are explained
PACKAGES = ("numpy", "torch", "rasterio", "zarr")


@dataclass(frozen=True)
class Evidence:
    """All that the report and metrics.json tell.

    Attributes:
        run, settings: the run's name and the resolved settings of this validation.
        engine: for data, grid and provenance.
        rows, summary, sentences: see summary.py.
        parts: rows of parts of the pixels and steps.
        methods: what was scored.
        left_out: references that could not be scored, and why.
        scores, views: what was summed.
        films: the maps of the test steps.
        pictures: the PNGs.
        checks: criteria of the standard that was asked for.
        commands: what was run before.
    """

    run: str
    engine: Source
    settings: dict[str, Any]
    rows: tuple[MetricRow, ...]
    parts: tuple[MetricRow, ...]
    summary: tuple[LeadSummary, ...]
    sentences: tuple[str, ...]
    methods: tuple[str, ...]
    left_out: dict[str, str]
    scores: Scores
    views: Views
    films: tuple[Film, ...]
    pictures: tuple[Picture, ...]
    checks: tuple[Check, ...] = ()
    commands: Sequence[Command] = ()


def environment() -> jinja2.Environment:
    """Templates beside this file, which escape all text and refuse unknown names."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        number=_number, percent=percent, share=_share, paint=_paint, shape=height_share
    )
    made.globals.update(policy=policy(), script=script())
    return made


def write_report(path: Path, evidence: Evidence) -> None:
    """Fill the template; every text in it is escaped, every image embedded."""
    engine = evidence.engine
    embedded = sorted(evidence.pictures, key=lambda p: (p.quantity != TRIPTYCH, p.lead))
    embedded = embedded[:MAX_PICTURES]
    text = (
        environment()
        .get_template("report.html.j2")
        .render(
            evidence=evidence,
            checks=evidence.checks,
            interval=float(evidence.settings.get("interval", 0)),
            engine=engine,
            grid=engine.cube.grid.describe(),
            origin=origin_of(engine, evidence.run),
            wide=is_wide(engine.cube.grid),
            step=step_length(engine.cube.times),
            metrics=metrics(),
            event_metrics=metrics(EVENT) + metrics(FRACTION),
            scales=SCALES_PX,
            ensemble_metrics=metrics(ENSEMBLE),
            further_metrics=[one for kind in FURTHER for one in metrics(kind)],
            bands=[_band_view(evidence, band) for band in range(len(engine.band_names))],
            images={p: data_uri(p.path) for p in embedded},
            omitted=len(evidence.pictures) - len(embedded),
            map_reference=map_reference(engine, evidence.methods),
            undefined=undefined(evidence.rows),
            viewers=viewers_of(evidence.films, len(engine.split.test_steps)),
            provenance=provenance(evidence.run, engine, evidence.settings),
            recipe=recipe(evidence.commands, evidence.settings),
        )
    )
    path.write_text(text, encoding="utf-8")


def _band_view(evidence: Evidence, band: int) -> dict[str, Any]:
    """One band's part of the report: tables and charts, ready to print."""
    engine, name = evidence.engine, evidence.engine.band_names[band]
    rows = [row for row in evidence.rows if row.band == name]
    value = {(row.method, row.lead, row.metric): row.value for row in rows}
    summary = [item for item in evidence.summary if item.band == name]
    leads = [item.lead for item in summary]
    rmse = {m: [value[m, lead, "rmse"] for lead in leads] for m in evidence.methods}
    drawn = _drawn(rmse)
    covered, width = (
        [value[FORECAST, lead, name] for lead in leads] if (FORECAST, 1, name) in value else []
        for name in BOUNDS
    )
    events = _events(engine, band, list(drawn), value, leads)
    shares = [item.scored_share for item in summary if not math.isnan(item.scored_share)]
    return {
        "name": name,
        "index": band,
        "unit": shown_unit(engine.units[band]),
        "pixels": list(dict.fromkeys(f"{item.pixels:,}".replace(",", " ") for item in summary)),
        "summary": summary,
        "rmse": rmse,
        "share": math.floor(100 * min(shares)) if shares else None,
        "value": value,
        "least": [
            min((v[i] for v in rmse.values() if not math.isnan(v[i])), default=None)
            for i in range(len(leads))
        ],
        "charts": _charts(engine, band, drawn, value, leads),
        "plots": plots_of(engine, evidence.scores, evidence.views, band),
        "tracks": track_plots(
            engine, evidence.views.frames, map_reference(engine, evidence.methods), band
        ),
        "events": events,
        "reliability": [
            event_reliability(evidence.views, band, 1, number, event["name"])
            for number, event in enumerate(events)
        ],
        "parts": part_tables(evidence.parts, name, PART_COLUMNS),
        "looks": look_table(value, leads),
        "coverage": [] if any(map(math.isnan, covered)) else covered,
        "width": width,
        "statistics": engine.statistics[band],
        "pictures": [p for p in evidence.pictures if p.band == band],
    }


def _drawn(rmse: dict[str, list[float]]) -> dict[str, list[float]]:
    """Of many methods those that a chart can show: ours, the plain ones, the closest ones."""
    simple = [method for method in rmse if method not in OURS]
    known = {m: [v for v in rmse[m] if not math.isnan(v)] for m in simple}
    ranked = sorted(simple, key=lambda m: sum(known[m]) / len(known[m]) if known[m] else math.inf)
    kept = {*OURS, *ALWAYS_DRAWN, *ranked[:MOST_DRAWN]}
    return {method: values for method, values in rmse.items() if method in kept}


def _charts(
    engine: Source,
    band: int,
    rmse: dict[str, list[float]],
    value: dict[tuple[str, int, str], float],
    leads: list[int],
) -> list[Chart]:
    styles = line_styles(list(rmse))
    skills = {
        m: [value[FORECAST, lead, f"rmse_skill_vs_{m}"] for lead in leads]
        for m in rmse
        if m != FORECAST
    }
    lead_label = f"steps of {step_length(engine.cube.times)}"
    unit = shown_unit(engine.units[band])
    charts = [
        draw_chart(
            "RMSE by lead",
            f"RMSE ({unit})" if unit else "RMSE",
            rmse,
            styles,
            lead_label=lead_label,
            include_zero=False,
        ),
        draw_chart(
            "Skill of the forecast over each reference",
            "1 − RMSE / RMSE of the reference",
            skills,
            styles,
            lead_label=lead_label,
            include_zero=True,
        ),
    ]
    return [chart for chart in charts if chart is not None]


def _events(
    engine: Source,
    band: int,
    drawn: Sequence[str],
    value: dict[tuple[str, int, str], float],
    leads: list[int],
) -> list[dict[str, Any]]:
    """Each event of a band: CSI in a table and as curves, and the forecast's other scores."""
    unit = shown_unit(engine.units[band])
    views = []
    for event in event_summaries(value, leads):
        name = f"{event.label} {unit}".rstrip()
        csi = {method: event.csi[method] for method in OURS if method in event.csi}
        cells = {**csi, "best reference": event.best_csi}
        highest = [
            max((v[at] for v in cells.values() if v[at] > 0), default=None)
            for at in range(len(leads))
        ]
        others = {
            one.title: [value[FORECAST, lead, f"{one.name}_{event.label}"] for lead in leads]
            for one in metrics(EVENT)
            if one.name != LEADING
        }
        chart = draw_chart(
            f"CSI of {name} or more, by lead",
            "CSI",
            {method: event.csi[method] for method in drawn},
            line_styles(drawn),
            lead_label=f"steps of {step_length(engine.cube.times)}",
            include_zero=True,
        )
        views.append(
            {
                "name": name,
                "csi": cells,
                "highest": highest,
                # Where nobody has a hit, none is best.
                "best": [
                    name if csi > 0 else ""
                    for name, csi in zip(event.best, event.best_csi, strict=True)
                ],
                "others": others,
                "near": fraction_rows(value, event.label, leads),
                "chart": chart,
            }
        )
    return views


def undefined(rows: Sequence[MetricRow]) -> list[tuple[str, str]]:
    """Which metrics have no value, and why, without repeating a reason."""
    grouped: dict[str, list[str]] = {}
    for row in rows:
        if math.isnan(row.value):
            place = f"{row.metric} ({row.method}, {row.band}, lead {row.lead})"
            grouped.setdefault(row.reason, []).append(place)
    return [
        (reason, ", ".join(places[:6]) + (f" and {len(places) - 6} more" if places[6:] else ""))
        for reason, places in grouped.items()
    ]


def provenance(run: str, engine: Source, settings: dict[str, Any]) -> list[tuple[str, str]]:
    """Where the figures come from: names and words."""
    versions = [f"geoforecast {__version__}", f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    weights = ", ".join(f"{weight:.3g}" for weight in engine.blend)
    told = [
        ("run", run),
        ("cube fingerprint", engine.fingerprint),
        ("reference under the forecast", engine.reference),
        ("weight of the learned correction at first, by lead", weights),
        (
            "split",
            ", ".join(
                f"{k.replace('_', ' ')} {v}"
                for k, v in engine.split.to_meta(engine.cube.times).items()
            ),
        ),
        ("settings", ", ".join(f"{k} = {v!r}" for k, v in settings.items())),
        ("software", ", ".join(versions)),
    ]
    return [(name, text) for name, text in told if text]


def _number(value: float) -> str:
    """Four significant digits with a true minus, or a dash."""
    return "–" if math.isnan(value) else four_digits(value).replace("-", "−")


def _share(value: float) -> str:
    """A score with three decimals, or a dash."""
    return "–" if math.isnan(value) else three_decimals(value)


def data_uri(path: Path) -> str:
    """A picture as text that stands in the page itself."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")


def _paint(colour: str) -> str:
    """A colour as the style sheet knows it, which has brighter ones for dark pages."""
    variable = "-" * 2  # written so: two dashes and a word would look like an option
    if colour.startswith("#"):
        return f"var({variable}s{colour[1:]}, {colour})"
    return f"var({variable}{colour})"
