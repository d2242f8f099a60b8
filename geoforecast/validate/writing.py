"""Everything that a validation writes, as one folder that appears when complete."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from geoforecast.errors import SeriesTooShortError, SettingsError
from geoforecast.figures.words import step_length
from geoforecast.forecast.kinds import warn_unknown
from geoforecast.forecast.outcome import FORECAST
from geoforecast.project import replacing, write_json
from geoforecast.raster.grid import Tile
from geoforecast.settings import ValidateSettings
from geoforecast.system import granted_cpus, keep_heap_small
from geoforecast.validate.class_maps import OutcomeWriter, write_outcomes
from geoforecast.validate.maps import (
    ALWAYS,
    BOUNDED,
    OUTCOME,
    DifferenceWriter,
    MapKey,
    MapWriter,
    Shown,
    file_slugs,
    map_path,
    map_tags,
    write_differences,
    write_hotspots,
)
from geoforecast.validate.records.account import account_of, scored_of
from geoforecast.validate.records.item import write_item
from geoforecast.validate.records.quality import write_quality
from geoforecast.validate.report.animation import write_animation
from geoforecast.validate.report.class_page import (
    ClassEvidence,
    draw_outcomes,
    write_class_report,
)
from geoforecast.validate.report.films import Film, class_films, value_films
from geoforecast.validate.report.map_pictures import draw_pictures, map_scales, write_styles
from geoforecast.validate.report.page import Evidence, write_report
from geoforecast.validate.report.reproduce import Command
from geoforecast.validate.result import ValidateResult
from geoforecast.validate.scoring.accumulate import TileScores, frame_plan, score_raster
from geoforecast.validate.scoring.class_scores import Kept, class_plan, score_classes
from geoforecast.validate.scoring.confusion import confusion_json
from geoforecast.validate.scoring.frames import Frames
from geoforecast.validate.scoring.part_rows import rows_of_parts
from geoforecast.validate.scoring.partings import NO_PARTINGS, Partings, open_partings
from geoforecast.validate.scoring.room import SPARE_BYTES, room_for
from geoforecast.validate.scoring.rows import MetricRow, metric_rows
from geoforecast.validate.scoring.scores import Scores, map_reference
from geoforecast.validate.scoring.shown import expected_steps, shown_steps
from geoforecast.validate.scoring.thresholds import band_events, event_summaries, refuse_events
from geoforecast.validate.scoring.views import Views
from geoforecast.validate.source import Source
from geoforecast.validate.verdict.cautions import cautions
from geoforecast.validate.verdict.standards import (
    judge_run,
)
from geoforecast.validate.verdict.summary import (
    improvement,
    period,
    plain_sentences,
    summarise,
)

Progress = Callable[[int, int], None]


def write_validation(
    target: Path,
    engine: Source,
    settings: ValidateSettings,
    progress: Progress | None = None,
    commands: Sequence[Command] = (),
    jobs: int | None = None,
    known: Partings = NO_PARTINGS,
) -> ValidateResult:
    """Everything that validate_run writes, as one folder that appears when complete.

    Args:
        target: the folder.
        engine, settings, progress, jobs: see validate_run.
        commands: what was run before, for the report.
        known: parts that are told unasked.
    """
    jobs = jobs or granted_cpus()
    keep_heap_small(jobs, SPARE_BYTES)
    if len(engine.split.test_steps) == 0:
        raise SeriesTooShortError(
            "The run has no test steps.", remedy="Add newer scenes, or stack with a larger --test."
        )
    if engine.has_probabilities:
        refuse_events(settings.events, engine.series.target.kind)
        _refuse_ranges(settings, engine.series.target.kind)
        partings = open_partings(settings, engine.cube.grid, known)
        return _write_classes(target, engine, settings, partings, progress, commands, jobs)
    partings = open_partings(settings, engine.cube.grid, known)
    with replacing(target) as folder:
        maps = folder / "maps"
        maps.mkdir(parents=True)
        scores, views, shown, left_out = _score(maps, engine, settings, partings, progress, jobs)
        rows = metric_rows(scores)
        summary = summarise(scores, rows)
        scales, films = map_scales(engine, shown), value_films(engine, views.frames)
        write_styles(maps, engine, scales)
        write_animations(maps, engine.band_names, films)
        evidence = Evidence(
            run=settings.run,
            engine=engine,
            settings=asdict(settings),
            rows=rows,
            parts=rows_of_parts(scores, engine.cube.times, partings.blocks),
            summary=summary,
            sentences=(
                *plain_sentences(summary),
                *improvement(rows, engine.reference),
                *cautions(rows, engine.cube.grid),
            ),
            methods=scores.methods,
            left_out=left_out,
            scores=scores,
            views=views,
            films=films,
            pictures=draw_pictures(maps, engine, scores.methods, shown, scales),
            checks=judge_run(settings.standard, engine, rows, scores.bands),
            commands=commands,
        )
        write_report(folder / "report.html", evidence)
        names = _write_scores(folder, evidence)
    return _result(target, evidence, names)


def _refuse_ranges(settings: ValidateSettings, kind: str) -> None:
    """Ranges are of values only."""
    if settings.ranges:
        raise SettingsError(
            f"--ranges divides by values, but what is forecast is {kind}.",
            remedy="Leave it out; metrics of classes tell each class by itself.",
        )


def _write_classes(
    target: Path,
    engine: Source,
    settings: ValidateSettings,
    partings: Partings,
    progress: Progress | None,
    commands: Sequence[Command],
    jobs: int,
) -> ValidateResult:
    """The same for classes, and yes or no; a reference without values is left out."""
    room = room_for(engine, settings.tile, jobs)
    left_out: dict[str, str] = {}
    expected = expected_steps(engine)
    if engine.series.target.classes:
        band, steps = engine.series.cube_bands[0], engine.split.test_steps
        warn_unknown(engine.cube, band, engine.series.target, steps, "test")
    with replacing(target) as folder:
        maps = folder / "maps"
        maps.mkdir(parents=True)
        while True:
            methods = tuple(method for method in engine.methods if method not in left_out)
            frames = Frames(class_plan(engine), tracks=False)
            with OutcomeWriter(maps, engine, expected) as writer:

                def take(tile: Tile, kept: Kept, writer: OutcomeWriter = writer) -> None:
                    for at, outcome in kept.items():
                        writer.put(at, outcome, tile)

                scores = score_classes(
                    *(engine, methods, room.side, progress, frames, partings, room.jobs),
                    on_tile=take,
                    shown=expected,
                )
            missing = scores.without_values()
            if not missing:
                break
            left_out.update(missing)
        shown, panels = shown_steps(scores), writer.panels
        if shown != expected:  # some method has no value where something was observed
            for at in expected:
                map_path(maps, scores.bands, MapKey(*at, OUTCOME)).unlink(missing_ok=True)
            panels = write_outcomes(maps, engine, methods, shown, room.side)
        rows = metric_rows(scores)
        summary = summarise(scores, rows)
        films = class_films(engine, frames, scores)
        write_animations(maps, scores.bands, films)
        evidence = ClassEvidence(
            run=settings.run,
            engine=engine,
            settings=asdict(settings),
            scores=scores,
            rows=rows,
            parts=rows_of_parts(scores, engine.cube.times),
            summary=summary,
            sentences=plain_sentences(summary),
            left_out=left_out,
            pictures=draw_outcomes(maps, engine, scores, panels),
            checks=judge_run(settings.standard, engine, rows, scores.bands),
            films=films,
            commands=commands,
        )
        write_class_report(folder / "report.html", evidence)
        names = _write_scores(folder, evidence)
    return _result(target, evidence, names)


def _write_scores(folder: Path, evidence: Evidence | ClassEvidence) -> list[str]:
    """Metrics for people and programs; returns the names of all maps."""
    names = sorted(path.name for path in (folder / "maps").iterdir())
    account = account_of(evidence)
    _write_csv(folder / "metrics.csv", evidence.rows + evidence.parts)
    write_json(folder / "metrics.json", _as_json(evidence))
    write_quality(folder / "quality.xml", account)
    write_item(folder / "item.json", account, [name for name in names if name.endswith(".tif")])
    return names


def _result(target: Path, evidence: Evidence | ClassEvidence, names: list[str]) -> ValidateResult:
    return ValidateResult(
        run=evidence.run,
        rows=evidence.rows,
        parts=evidence.parts,
        summary=evidence.summary,
        standard=evidence.checks,
        sentence=" ".join(evidence.sentences),
        units=scored_of(evidence)[2],
        left_out=evidence.left_out,
        folder=target,
        json_path=target / "metrics.json",
        csv_path=target / "metrics.csv",
        report_path=target / "report.html",
        quality_path=target / "quality.xml",
        item_path=target / "item.json",
        maps=tuple(target / "maps" / name for name in names if name.endswith(".tif")),
        pictures=tuple(target / "maps" / name for name in names if name.endswith(".png")),
    )


def write_animations(folder: Path, bands: Sequence[str], films: Sequence[Film]) -> None:
    """Write each band's test steps, one step ahead, as a GIF."""
    for slug, film in zip(file_slugs(bands), films, strict=True):
        write_animation(folder / f"{slug}_lead1.gif", film)


def _score(
    maps: Path,
    engine: Source,
    settings: ValidateSettings,
    partings: Partings,
    progress: Progress | None,
    jobs: int,
) -> tuple[Scores, Views, Shown, dict[str, str]]:
    """Scores and maps; references without values are left out rather than scored as nothing.

    Since only pixels that every method has are scored, one empty reference would leave
    none. That shows after a pass only, which is then repeated without it.
    """
    left_out: dict[str, str] = {}
    room = room_for(engine, settings.tile, jobs)
    events = band_events(settings.events, engine.units)
    references = [method for method in engine.methods if method != FORECAST]
    bounded = settings.interval > 0 and engine.has_intervals
    quantities = ALWAYS + (BOUNDED if bounded else ())
    expected = expected_steps(engine)
    while True:
        methods = (FORECAST, *(m for m in references if m not in left_out))
        views = Views(frame_plan(engine), events)
        with (
            MapWriter(maps, engine, quantities, tags=map_tags(engine, methods)) as writer,
            DifferenceWriter(maps, engine, expected) as differences,
        ):

            def take(
                tile: Tile,
                found: TileScores,
                writer: MapWriter = writer,
                differences: DifferenceWriter = differences,
                views: Views = views,
            ) -> None:
                writer.put_scores(tile, found)
                for at, kept in found.views.kept.items():
                    differences.put(at, kept, tile)
                views.add(tile, found.views)

            scores = score_raster(
                engine,
                methods,
                room.side,
                take,
                progress,
                settings.interval,
                events,
                partings,
                room.jobs,
            )
        missing = scores.without_values()
        if not missing:
            break
        left_out.update(missing)
    spots = write_hotspots(maps, engine)
    steps, shown = shown_steps(scores), differences.shown
    if steps != expected:  # some method has no value where something was observed
        shown = write_differences(maps, engine, methods, steps, room.side)
    means: dict[MapKey, Any] = {key: item.values for key, item in writer.previews.items()}
    everything = Shown({**means, **spots, **shown.maps}, shown.pairs, shown.steps)
    return scores, views, everything, left_out


def _write_csv(path: Path, rows: tuple[MetricRow, ...]) -> None:
    """Tidy rows with full precision; an undefined value is empty, its reason in words."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([field.name for field in fields(MetricRow)])
        for row in rows:
            value = "" if math.isnan(row.value) else repr(row.value)
            cells = asdict(row) | {"value": value}
            writer.writerow(cells.values())


def _as_json(evidence: Evidence | ClassEvidence) -> dict[str, Any]:
    engine = evidence.engine
    methods, bands, units = scored_of(evidence)
    first, last = period(engine)
    told = {
        "run": evidence.run,
        "reference": engine.reference,
        "map_reference": map_reference(engine, methods),
        "fingerprint": engine.fingerprint,
        "split": {
            **engine.split.to_meta(engine.cube.times),
            "first_test_time": first,
            "last_test_time": last,
            "test_steps": len(engine.split.test_steps),
        },
        "step_length": step_length(engine.cube.times),
        "leads": list(range(1, engine.horizon + 1)),
        "methods": list(methods),
        "left_out": evidence.left_out,
        "bands": list(bands),
        "units": list(units),
        "events": {band: _thresholds(evidence.rows, band) for band in bands},
        "sentence": " ".join(evidence.sentences),
        "summary": [item.as_json() for item in evidence.summary],
        "standard": [check.as_json() for check in evidence.checks],
    }
    if isinstance(evidence, ClassEvidence):
        told["confusion"] = confusion_json(evidence.scores)
    return told | {"rows": [asdict(row) for row in evidence.rows + evidence.parts]}


def _thresholds(rows: Sequence[MetricRow], band: str) -> list[float]:
    """The thresholds of a band's events."""
    value = {(row.method, row.lead, row.metric): row.value for row in rows if row.band == band}
    return [float(event.label) for event in event_summaries(value, [])]
