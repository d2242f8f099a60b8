"""quality/report.html and quality/quality.json: written together or not at all."""

from __future__ import annotations

import csv
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from geoforecast import __version__
from geoforecast.figures.words import step_length, time_label
from geoforecast.project import Project, plain, replacing
from geoforecast.raster.cube import Cube
from geoforecast.stack.quality import drawing, png
from geoforecast.stack.quality.alignment import STANDARD_PX, UNJUDGED
from geoforecast.stack.quality.checks import piles_up
from geoforecast.stack.quality.look import MAX_STEPS
from geoforecast.stack.quality.measure import GOOD, Quality, Row, StepQuality, judge
from geoforecast.stack.quality.sheet import draw_coverage, draw_sheet, drawn_size
from geoforecast.stack.quality.survey import MAX_THUMBNAILS, Survey, evenly, survey_cube
from geoforecast.stack.quality.words import number, share

FORMAT = 1
REPORT, NUMBERS = "report.html", "quality.json"
PACKAGES = ("numpy", "rasterio", "zarr")
# What keeps the report below 3 MB however long the series is; quality.json has everything.
MAX_ROWS = 1000
MAX_BANDS = 16
MAX_REASONS = 100
MAX_PATHS = 5
LONGEST_TEXT = 300
OPEN_ROWS = 40  # a longer table of all steps is folded up
COVERAGE, WIDE_COVERAGE = 420, 720


@dataclass(frozen=True)
class QualityResult:
    """What came of it: the verdict, what to look at, and where it is written."""

    report_path: Path
    json_path: Path
    quality: Quality

    def describe(self) -> str:
        """One or two lines for the terminal."""
        found = [item.text for item in self.quality.findings if item.attention]
        if found:
            head = "Quality: needs a look. " + " ".join(found[:3])
            if len(found) > 3:
                head += f" And {len(found) - 3} more."
        else:
            alignment = self.quality.alignment
            head = f"Quality: good. Alignment: {alignment.verdict}. {alignment.reason}"
        return f"{head}\nReport: {self.report_path}"


def write_quality(project: Project, cube: Cube) -> QualityResult:
    """Measure a cube and write the report into the project's folder ``quality``.

    The same cube and files make the same bytes.

    Args:
        project: holds scenes.csv, if it has been written.
        cube: complete.
    """
    rows = _read_rows(project.scenes_path)
    survey = survey_cube(cube)
    quality = judge(cube, rows, survey)
    provenance = _provenance(cube, rows)
    with replacing(project.quality_dir) as folder:
        folder.mkdir()
        content = {"format": FORMAT, **plain(quality), "provenance": dict(provenance)}
        text = json.dumps(content, indent=1, allow_nan=False)
        (folder / NUMBERS).write_text(text + "\n", encoding="utf-8")
        page = render(cube, survey, quality, provenance)
        # File names may hold bytes that are no text.
        (folder / REPORT).write_text(page, encoding="utf-8", errors="backslashreplace")
    folder = project.quality_dir
    return QualityResult(folder / REPORT, folder / NUMBERS, quality)


def render(
    cube: Cube, survey: Survey, quality: Quality, provenance: Sequence[tuple[str, str]]
) -> str:
    """The page; every text in it is escaped, every picture embedded."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, share=share, safe_text=_safe_text)
    flagged = [item.step for item in quality.steps if item.flags and item.valid_fraction > 0]
    colours = [png.class_colours(len(band.edges)) for band in quality.bands]
    fraction = np.array([item.valid_fraction for item in quality.steps])
    rows = [quality.steps[step] for step in _rows_shown(quality)]
    width, height = drawn_size(cube.grid, COVERAGE, WIDE_COVERAGE)
    labels = [time_label(time) for time in cube.times]
    return environment.get_template("quality.html.j2").render(
        quality=quality,
        good=quality.verdict == GOOD,
        name=cube.path.parent.name,
        labels=labels,
        step=step_length(cube.times),
        one_share=len({share(band.valid_fraction) for band in quality.bands}) == 1,
        validity=drawing.draw_validity(cube.times, fraction, flagged),
        bands=[
            _band_view(cube, survey, quality, band, colours[band])
            for band in range(min(len(quality.bands), MAX_BANDS))
        ],
        more_bands=max(0, len(quality.bands) - MAX_BANDS),
        shifts=_shift_chart(quality, labels),
        shift_values={shift.step: shift for shift in quality.alignment.shifts},
        standard=STANDARD_PX,
        most_compared=MAX_STEPS,
        most_thumbnails=MAX_THUMBNAILS,
        sheet=draw_sheet(cube, survey, colours),
        coverage=draw_coverage(survey.coverage, cube.grid),
        coverage_size=(width, height),
        ramp=["#" + bytes(c.tolist()).hex() for c in png.viridis()[:: png.LEVELS // 8]],
        rows=rows,
        folded=len(rows) > OPEN_ROWS,
        flagged=[item for item in quality.steps if _needs_look(item)][:MAX_ROWS],
        reasons=quality.set_aside[:MAX_REASONS],
        more_reasons=max(0, len(quality.set_aside) - MAX_REASONS),
        max_paths=MAX_PATHS,
        provenance=provenance,
        draw=drawing,
    )


def _band_view(
    cube: Cube, survey: Survey, quality: Quality, band: int, colours: Sequence[str]
) -> dict[str, Any]:
    """One band's part of the page."""
    item = quality.bands[band]
    outliers = [(found.step, found.text) for found in quality.outliers if found.band == band]
    seen = sum(item.histogram)
    view: dict[str, Any] = {
        "item": item,
        "ranges": None,
        "strip": None,
        "classes": [],
        "piled": False,
    }
    if seen == 0:
        return view
    if quality.kind == "categorical":
        view["strip"] = drawing.draw_classes(cube.times, survey.counts[band], colours)
        view["classes"] = [
            ("all others" if np.isinf(code) else f"{code:g}", colour, count / seen)
            for code, colour, count in zip(item.edges, colours, item.histogram, strict=True)
        ]
        return view
    view["ranges"] = drawing.draw_ranges(cube.times, survey.quantiles[:, band], outliers)
    counts = survey.counts[band]
    piled = view["piled"] = piles_up(survey, band)
    view["strip"] = drawing.draw_strip(cube.times, survey.edges[band], counts, piled=piled)
    return view


def _shift_chart(quality: Quality, labels: Sequence[str]) -> drawing.Scatter | None:
    shifts = [(labels[s.step], s.dy, s.dx) for s in quality.alignment.shifts if s.reliable]
    if not shifts or quality.alignment.verdict == UNJUDGED:
        return None
    return drawing.draw_shifts(shifts, STANDARD_PX, quality.alignment.rms_px)


def _needs_look(item: StepQuality) -> bool:
    """Flagged for more than being empty."""
    return bool(item.flags) and item.valid_fraction > 0


def _rows_shown(quality: Quality) -> list[int]:
    """Steps of the long table: all, or of very many those with flags and an even choice."""
    every = np.arange(len(quality.steps))
    if every.size <= MAX_ROWS:
        return [int(step) for step in every]
    flagged = [item.step for item in quality.steps if _needs_look(item)][: MAX_ROWS // 2]
    chosen = evenly(every, MAX_ROWS - len(flagged))
    return sorted({*flagged, *(int(step) for step in chosen)})


def _provenance(cube: Cube, rows: Sequence[Row]) -> list[tuple[str, str]]:
    """What the cube was made of and with, as far as it says."""
    meta = cube.meta
    versions = [f"geoforecast {__version__}", f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    sensors = sorted({row["sensor"] for row in rows if row.get("sensor")})
    found = [
        ("dates", str(meta.get("date_choice", ""))),
        ("mask", str(meta.get("mask", ""))),
        ("grid", str(meta.get("grid", "")) or cube.grid.describe()),
        ("sensor", ", ".join(sensors)),
        ("cadence", _pairs(meta.get("cadence"))),
        ("split", _pairs(meta.get("split"))),
        ("sources", _pairs(meta.get("sources"))),
        ("fingerprint", str(meta.get("fingerprint", ""))),
        ("settings", _pairs(meta.get("settings"))),
        ("software", ", ".join(versions)),
    ]
    return [(name, text) for name, text in found if text]


def _pairs(content: Any) -> str:
    if not isinstance(content, Mapping):
        return "" if content is None else str(content)
    return ", ".join(f"{str(key).replace('_', ' ')} = {value!r}" for key, value in content.items())


def _read_rows(path: Path) -> list[Row]:
    """The rows of scenes.csv; none if it is not there."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8", errors="backslashreplace") as stream:
        return list(csv.DictReader(stream))


def _safe_text(text: str) -> str:
    """Text of files' names with what does not print written out, and cut if it is very long."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    if len(shown) > LONGEST_TEXT:
        half = LONGEST_TEXT // 2
        shown = f"{shown[:half]} … {shown[-half:]}"
    return shown
