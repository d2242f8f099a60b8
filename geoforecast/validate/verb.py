"""The verb: rolling-origin hindcasts of the test block, scored, mapped and reported."""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from geoforecast.errors import SeriesTooShortError
from geoforecast.figures.words import step_length
from geoforecast.forecast.engine import FORECAST, Engine, open_engine
from geoforecast.forecast.kinds import warn_unknown
from geoforecast.project import Project, recorded, replacing, write_json
from geoforecast.settings import ValidateSettings
from geoforecast.validate.accumulate import Scores, map_reference, score_raster
from geoforecast.validate.class_report import (
    ClassEvidence,
    write_class_report,
    write_outcomes,
)
from geoforecast.validate.class_scores import score_classes
from geoforecast.validate.events import band_events, event_summaries, parse_events, refuse_events
from geoforecast.validate.gates import check_gates, parse_gates
from geoforecast.validate.maps import (
    BIAS,
    SKILL,
    MapKey,
    MapWriter,
    Shown,
    map_tags,
    write_differences,
)
from geoforecast.validate.report import Evidence, draw_pictures, write_report
from geoforecast.validate.summary import (
    LeadSummary,
    MetricRow,
    improvement,
    metric_rows,
    period,
    plain_sentences,
    render_table,
    summarise,
)

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ValidateResult:
    """What one validation found and where it lies.

    Attributes:
        run: the run's name.
        rows: tidy metrics, also in metrics.csv.
        summary: by band and lead, against the best reference in hindsight.
        sentence: where the forecast is worth trusting, in words.
        units: of each band.
        left_out: references that could not be scored, and why.
        folder: validation/NAME.
        json_path, csv_path, report_path: in that folder.
        maps: the GeoTIFFs.
        pictures: the PNGs.
    """

    run: str
    rows: tuple[MetricRow, ...]
    summary: tuple[LeadSummary, ...]
    sentence: str
    units: tuple[str, ...]
    left_out: dict[str, str]
    folder: Path
    json_path: Path
    csv_path: Path
    report_path: Path
    maps: tuple[Path, ...]
    pictures: tuple[Path, ...]

    def describe(self) -> str:
        """The skill table, the sentence and where to look, as a terminal shows them."""
        places = f"report: {self.report_path}\nmetrics: {self.csv_path}"
        return "\n\n".join([skill_table(self), self.sentence, places])


def validate_run(
    project: Project, settings: ValidateSettings, *, progress: Progress | None = None
) -> ValidateResult:
    """Score a run's forecasts of the test steps, and write maps, metrics and a report.

    For every test step and lead the forecast is made from what was known that many steps
    before (rolling origin), and every reference beside it. A pixel is scored where it was
    observed and every method has a value: all methods are judged on the same pixels.

    Args:
        project: where cube and run lie, and validation/NAME will.
        settings: the run, the gates, the tile size and the device.
        progress: called with (frames done, all frames).
    Returns:
        Metrics, sentence and paths.
    Raises:
        SettingsError: a gate or a threshold cannot be read (before any work), or thresholds
            are given although the targets are no values.
        RunError: there is no such run, or it does not fit the cube.
        QualityGateError: a gate failed; everything is written all the same.
    """
    gates = parse_gates(settings.fail_under)
    parse_events(settings.events)
    target = project.validation_dir(settings.run)
    with project.lock(), recorded(project, "validate", settings):
        engine = open_engine(project, settings.run, device=settings.device)
        _say_drivers(engine)
        result = write_validation(target, engine, settings, progress)
        check_gates(gates, result.rows, tuple(dict.fromkeys(row.band for row in result.rows)))
    return result


def _say_drivers(engine: Engine) -> None:
    """Warn of test steps that are scored without drivers, which predict refuses to do without."""
    test = engine.split.test_steps
    late = engine.context.ends_before(test.start - 1, engine.cube.times[test.start : test.stop])
    if late:
        log.warning("the drivers end before %s: later test steps are forecast without them", late)


def skill_table(result: ValidateResult) -> str:
    """RMSE of every method at every lead, and the forecast's skill, as plain text."""
    return render_table(result.rows, result.summary, result.units)


def write_validation(
    target: Path, engine: Engine, settings: ValidateSettings, progress: Progress | None = None
) -> ValidateResult:
    """Everything that validate_run writes, as one folder that appears when complete."""
    if len(engine.split.test_steps) == 0:
        raise SeriesTooShortError(
            "The run has no test steps.", remedy="Add newer scenes, or stack with a larger --test."
        )
    if engine.has_probabilities:
        refuse_events(settings.events, engine.series.target.kind)
        return _write_classes(target, engine, settings, progress)
    with replacing(target) as folder:
        maps = folder / "maps"
        maps.mkdir(parents=True)
        scores, shown, left_out = _score(maps, engine, settings, progress)
        rows = metric_rows(scores)
        summary = summarise(scores, rows)
        evidence = Evidence(
            run=settings.run,
            engine=engine,
            settings=asdict(settings),
            rows=rows,
            summary=summary,
            sentences=plain_sentences(summary) + improvement(rows, engine.reference),
            methods=scores.methods,
            left_out=left_out,
            shown=shown,
            pictures=draw_pictures(maps, engine, scores.methods, shown),
        )
        _write_csv(folder / "metrics.csv", rows)
        write_json(folder / "metrics.json", _as_json(evidence))
        write_report(folder / "report.html", evidence)
        names = sorted(path.name for path in maps.iterdir())
    return _result(target, evidence, names, tuple(engine.units))


def _write_classes(
    target: Path, engine: Engine, settings: ValidateSettings, progress: Progress | None
) -> ValidateResult:
    """The same for probabilities; a reference without values is left out."""
    left_out: dict[str, str] = {}
    if engine.series.target.classes:
        band, steps = engine.series.cube_bands[0], engine.split.test_steps
        warn_unknown(engine.cube, band, engine.series.target, steps, "test")
    with replacing(target) as folder:
        maps = folder / "maps"
        maps.mkdir(parents=True)
        while True:
            methods = tuple(method for method in engine.methods if method not in left_out)
            scores = score_classes(engine, methods, settings.tile, progress)
            missing = scores.without_values()
            if not missing:
                break
            left_out.update(missing)
        rows = metric_rows(scores)
        summary = summarise(scores, rows)
        evidence = ClassEvidence(
            run=settings.run,
            engine=engine,
            settings=asdict(settings),
            scores=scores,
            rows=rows,
            summary=summary,
            sentences=plain_sentences(summary),
            left_out=left_out,
            pictures=write_outcomes(maps, engine, scores, settings.tile),
        )
        _write_csv(folder / "metrics.csv", rows)
        write_json(folder / "metrics.json", _as_json(evidence))
        write_class_report(folder / "report.html", evidence)
        names = sorted(path.name for path in maps.iterdir())
    return _result(target, evidence, names, ("",) * len(scores.bands))


def _result(
    target: Path, evidence: Evidence | ClassEvidence, names: list[str], units: tuple[str, ...]
) -> ValidateResult:
    return ValidateResult(
        run=evidence.run,
        rows=evidence.rows,
        summary=evidence.summary,
        sentence=" ".join(evidence.sentences),
        units=units,
        left_out=evidence.left_out,
        folder=target,
        json_path=target / "metrics.json",
        csv_path=target / "metrics.csv",
        report_path=target / "report.html",
        maps=tuple(target / "maps" / name for name in names if name.endswith(".tif")),
        pictures=tuple(target / "maps" / name for name in names if name.endswith(".png")),
    )


def _score(
    maps: Path, engine: Engine, settings: ValidateSettings, progress: Progress | None
) -> tuple[Scores, Shown, dict[str, str]]:
    """Scores and maps; references without values are left out rather than scored as nothing.

    Since only pixels that every method has are scored, one empty reference would leave
    none. That shows after a pass only, which is then repeated without it.
    """
    left_out: dict[str, str] = {}
    events = band_events(settings.events, engine.units)
    references = [method for method in engine.methods if method != FORECAST]
    while True:
        methods = (FORECAST, *(m for m in references if m not in left_out))
        with MapWriter(maps, engine, [BIAS, SKILL], tags=map_tags(engine, methods)) as writer:
            scores = score_raster(
                engine,
                methods,
                settings.tile,
                writer.put_scores,
                progress,
                settings.interval,
                events,
            )
        missing = scores.without_values()
        if not missing:
            break
        left_out.update(missing)
    shown = write_differences(maps, engine, scores, settings.tile)
    means: dict[MapKey, Any] = {key: item.values for key, item in writer.previews.items()}
    return scores, Shown({**means, **shown.maps}, shown.pairs, shown.steps), left_out


def _write_csv(path: Path, rows: tuple[MetricRow, ...]) -> None:
    """Tidy rows with full precision; an undefined value is empty, its reason in words."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([field.name for field in fields(MetricRow)])
        for row in rows:
            value = "" if math.isnan(row.value) else repr(row.value)
            writer.writerow(
                [row.method, row.band, row.lead, row.metric, value, row.pixels, row.reason]
            )


def _as_json(evidence: Evidence | ClassEvidence) -> dict[str, Any]:
    engine = evidence.engine
    if isinstance(evidence, ClassEvidence):
        scores = evidence.scores
        methods, bands, units = scores.methods, scores.bands, ("",) * len(scores.bands)
    else:
        methods, bands, units = evidence.methods, engine.band_names, engine.units
    first, last = period(engine)
    return {
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
        "rows": [asdict(row) for row in evidence.rows],
    }


def _thresholds(rows: Sequence[MetricRow], band: str) -> list[float]:
    """The thresholds of a band's events."""
    value = {(row.method, row.lead, row.metric): row.value for row in rows if row.band == band}
    return [float(event.label) for event in event_summaries(value, [])]
