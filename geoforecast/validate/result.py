"""What one validation found, and where it lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from geoforecast.validate.scoring.part_rows import parts_table
from geoforecast.validate.scoring.rows import MetricRow
from geoforecast.validate.verdict.standards import (
    Check,
    render_standard,
)
from geoforecast.validate.verdict.summary import (
    LeadSummary,
    aligned,
    render_table,
)


@dataclass(frozen=True)
class ValidateResult:
    """What one validation found and where it lies.

    Attributes:
        run: the run's name.
        rows: tidy metrics, also in metrics.csv.
        parts: the same of regions, classes, ranges and seasons.
        summary: by band and lead, against the best reference in hindsight.
        standard: criteria of the standard that was asked for.
        sentence: where the forecast is worth trusting, in words.
        units: of each band.
        left_out: references that could not be scored, and why.
        folder: validation/NAME.
        json_path, csv_path, report_path, quality_path, item_path: in that folder.
        maps: the GeoTIFFs, each with its QGIS style beside it.
        pictures: the PNGs.
    """

    run: str
    rows: tuple[MetricRow, ...]
    parts: tuple[MetricRow, ...]
    summary: tuple[LeadSummary, ...]
    standard: tuple[Check, ...]
    sentence: str
    units: tuple[str, ...]
    left_out: dict[str, str]
    folder: Path
    json_path: Path
    csv_path: Path
    report_path: Path
    quality_path: Path
    item_path: Path
    maps: tuple[Path, ...]
    pictures: tuple[Path, ...]

    def describe(self) -> str:
        """The tables, the sentence and where to look, as a terminal shows them."""
        places = f"report: {self.report_path}\nmetrics: {self.csv_path}"
        lines = parts_table(self.parts, self.summary[0].metric)
        tables = [skill_table(self), aligned(lines) if lines else ""]
        texts = [*tables, render_standard(self.standard), self.sentence, places]
        return "\n\n".join(text for text in texts if text)


def skill_table(result: ValidateResult) -> str:
    """RMSE of every method at every lead, and the forecast's skill, as plain text."""
    return render_table(result.rows, result.summary, result.units)
