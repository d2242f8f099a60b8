"""Maps and report of forecasts of classes, or of yes and no."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoforecast.figures.words import time_label
from geoforecast.forecast.kinds import BINARY, CATEGORICAL
from geoforecast.forecast.outcome import FORECAST
from geoforecast.validate.class_maps import Panels
from geoforecast.validate.folds import Folded
from geoforecast.validate.maps import OUTCOME, MapKey, map_path
from geoforecast.validate.metrics.classes import reliability_parts
from geoforecast.validate.metrics.one_class import ONE_CLASS
from geoforecast.validate.metrics.pooled import metrics
from geoforecast.validate.origin import origin_of
from geoforecast.validate.report.class_pictures import OUTCOME_COLOURS, class_panels
from geoforecast.validate.report.films import Film
from geoforecast.validate.report.map_pictures import Picture
from geoforecast.validate.report.page import data_uri, environment, provenance, undefined
from geoforecast.validate.report.palettes import Scale
from geoforecast.validate.report.part_tables import part_tables
from geoforecast.validate.report.pictures import draw
from geoforecast.validate.report.plot_views import class_errors_by_date, reliability
from geoforecast.validate.report.plots import Plot
from geoforecast.validate.report.qgis import write_style
from geoforecast.validate.report.reproduce import Command, recipe
from geoforecast.validate.report.viewer import viewers_of
from geoforecast.validate.scoring.class_parts import OUTCOMES
from geoforecast.validate.scoring.class_scores import ClassScores
from geoforecast.validate.scoring.confusion import confusion_rows
from geoforecast.validate.scoring.rows import MetricRow
from geoforecast.validate.scoring.shown import shown_steps
from geoforecast.validate.source import Source
from geoforecast.validate.verdict.standards import Check
from geoforecast.validate.verdict.summary import LeadSummary

# Of parts of the raster and of time, beside the skill.
PART_COLUMNS = {
    BINARY: (("csi", "CSI"), ("pod", "POD"), ("far", "FAR")),
    CATEGORICAL: (("kappa", "kappa"), ("macro_f1", "macro F1")),
}


@dataclass(frozen=True)
class ClassEvidence:
    """All that the report tells; see report.Evidence."""

    run: str
    engine: Source
    settings: dict[str, Any]
    scores: ClassScores
    rows: tuple[MetricRow, ...]
    summary: tuple[LeadSummary, ...]
    sentences: tuple[str, ...]
    left_out: dict[str, str]
    pictures: tuple[Picture, ...]
    films: tuple[Film, ...]
    commands: Sequence[Command] = ()
    parts: tuple[MetricRow, ...] = ()
    checks: tuple[Check, ...] = ()


def draw_outcomes(
    folder: Path, engine: Source, scores: ClassScores, panels: Panels
) -> tuple[Picture, ...]:
    """Draw what OutcomeWriter wrote: a PNG and a QGIS style beside every GeoTIFF.

    Args:
        folder: where those lie.
        engine: for grid and times.
        scores: tell which steps are shown.
        panels: small copies of the maps.
    """
    pictures = []
    for (band, lead), step in shown_steps(scores).items():
        layers = panels[band, lead]
        path = map_path(folder, scores.bands, MapKey(band, lead, OUTCOME))
        write_style(path, Scale(OUTCOME_COLOURS, words=OUTCOMES))
        title = f"{scores.bands[band]}, {time_label(engine.cube.times[step])}, {lead + 1} ahead"
        drawn = class_panels(layers["observed"], layers[FORECAST], layers[OUTCOME], scores.classes)
        draw(path.with_suffix(".png"), drawn, engine.cube.grid, title)
        caption = f"{title}: observed, forecast and outcome"
        pictures.append(Picture(path.with_suffix(".png"), band, lead + 1, OUTCOME, caption))
    return tuple(pictures)


def write_class_report(path: Path, evidence: ClassEvidence) -> None:
    """Fill the template; every text in it is escaped, every image embedded."""
    engine, scores = evidence.engine, evidence.scores
    text = (
        environment()
        .get_template("report_classes.html.j2")
        .render(
            run=evidence.run,
            engine=engine,
            scores=scores,
            sentences=evidence.sentences,
            checks=evidence.checks,
            left_out=evidence.left_out,
            grid=engine.cube.grid.describe(),
            origin=origin_of(engine, evidence.run),
            rule=_rule_text(engine),
            metrics=metrics(scores.kind),
            leading=next(one for one in metrics(scores.kind) if one.name == scores.skills[0]),
            class_metrics=metrics(ONE_CLASS) if scores.kind == CATEGORICAL else (),
            bands=[_band_view(evidence, band) for band in range(len(scores.bands))],
            images={picture: data_uri(picture.path) for picture in evidence.pictures},
            undefined=undefined(evidence.rows),
            viewers=viewers_of(evidence.films, len(engine.split.test_steps)),
            provenance=provenance(evidence.run, engine, evidence.settings),
            recipe=recipe(evidence.commands, evidence.settings),
        )
    )
    path.write_text(text, encoding="utf-8")


def _rule_text(engine: Source) -> str:
    """How probabilities become the map, in words."""
    rules = engine.decision
    if isinstance(engine, Folded):
        return "by the rule that each fold fitted on its own validation block"
    if not rules:
        return "as it was handed in"
    if engine.series.target.kind == BINARY:
        levels = ", ".join(f"{rule[0]:g}" for rule in rules)
        return f"1 where the probability reaches {levels} (by lead; best CSI on validation)"
    pairs = ", ".join(f"{stay:g} and {pull:g}" for stay, pull in rules)
    return (
        "the likeliest class, after the probability of the last class seen is multiplied by, and "
        f"of each class' share in training is taken off, {pairs} (by lead; best sum of kappa and a "
        "quarter of the figure of merit on validation)"
    )


def _band_view(evidence: ClassEvidence, band: int) -> dict[str, Any]:
    """One band's part of the report."""
    scores, name = evidence.scores, evidence.scores.bands[band]
    value = {(r.method, r.lead, r.metric): r.value for r in evidence.rows if r.band == name}
    summary = [item for item in evidence.summary if item.band == name]
    leading = scores.skills[0]
    errors = [[value[method, item.lead, leading] for method in scores.methods] for item in summary]
    columns = ((f"{leading}_skill", "skill"), *PART_COLUMNS[scores.kind])
    return {
        "name": name,
        "summary": summary,
        "value": value,
        "least": [min((v for v in row if v == v), default=None) for row in errors],
        "tables": [
            (lead, confusion_rows(scores, band, lead))
            for lead in dict.fromkeys((1, scores.leads[-1]))
        ],
        "parts": part_tables(evidence.parts, name, columns),
        "plots": _plots(evidence, band),
        "pictures": [p for p in evidence.pictures if p.band == band],
    }


def _plots(evidence: ClassEvidence, band: int) -> list[Plot]:
    """The metric that leads by date, and of yes or no how reliable probabilities are by lead."""
    engine, scores = evidence.engine, evidence.scores
    found = [class_errors_by_date(engine, scores, band)]
    if scores.kind == BINARY and scores.probable:
        for lead in dict.fromkeys((1, engine.horizon)):
            parts = reliability_parts(scores.pooled(FORECAST, band, lead).chances)
            found.append(reliability(f"Reliability of probabilities, lead {lead}", *parts))
    return [plot for plot in found if plot is not None]
