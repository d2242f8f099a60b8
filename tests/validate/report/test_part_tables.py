"""Parts as tables of the report: what is in which cell."""

from __future__ import annotations

import math
from typing import Any

import jinja2

from geoforecast.validate.report.page import environment
from geoforecast.validate.report.part_tables import part_tables
from geoforecast.validate.scoring.rows import MetricRow
from geoforecast.validate.scoring.thresholds import fraction_rows

COLUMNS = (("rmse_skill", "skill"), ("bias", "bias"))


def row(part: str, lead: int, metric: str, value: float, **more: Any) -> MetricRow:
    return MetricRow(
        more.get("method", "forecast"), more.get("band", "b"), lead, metric, value, 7, part=part
    )


def made() -> list[MetricRow]:
    values = {
        ("region A & B", 1): (0.25, -0.5),
        ("region A & B", 2): (-0.3, 2.0),
        ("season DJF", 1): (0.004, 1e-3),
        ("season DJF", 2): (math.nan, math.nan),
    }
    rows = [row("region A & B", 1, "rmse_skill", 9.0, band="other")]
    for (part, lead), (skill, bias) in values.items():
        rows += [row(part, lead, "rmse_skill", skill), row(part, lead, "bias", bias)]
    rows.append(row("season DJF", 1, "bias", 99.0, method="persistence"))
    return rows


def test_each_kind_of_parts_has_a_table_of_its_own() -> None:
    regions, seasons = part_tables(made(), "b", COLUMNS)
    assert regions.heading == "By region"
    assert regions.groups == ("skill", "bias")
    assert regions.leads == (1, 2)
    ((name, pixels, cells),) = regions.rows
    assert (name, pixels) == ("A & B", 7)
    assert [(cell.text, cell.verdict) for cell in cells] == [
        *(("+25 %", "better"), ("−30 %", "worse")),
        *(("−0.5000", ""), ("2.000", "")),
    ]
    # A skill that rounds to nothing is none, and no value is a dash.
    assert [cell.text for cell in seasons.rows[0][2]] == ["0 %", "–", "0.001000", "–"]
    assert seasons.rows[0][2][0].verdict == ""
    assert part_tables([], "b", COLUMNS) == []


def test_folds_and_what_training_saw_come_first() -> None:
    """Names of one word are told without it, what training saw with it."""
    titles = ("season DJF", "held out", "fold 1/2", "seen in training", "fold 2/2")
    rows = [row(title, 1, name, 0.5) for title in titles for name in ("rmse_skill", "bias")]
    seen, folds, seasons = part_tables(rows, "b", COLUMNS)
    assert [name for name, _, _ in seen.rows] == ["held out", "seen in training"]
    assert [name for name, _, _ in folds.rows] == ["1/2", "2/2"]
    assert (seen.heading, folds.heading) == ("By what training saw", "By fold")
    assert [name for name, _, _ in seasons.rows] == ["DJF"]


def test_names_are_escaped_and_ranges_have_a_word_of_warning() -> None:
    template = environment().from_string(
        '{% from "parts.html.j2" import parts %}{{ parts(found) }}'
    )
    assert isinstance(template, jinja2.Template)
    text = template.render(found=part_tables(made(), "b", COLUMNS))
    assert "<td>A &amp; B</td>" in text
    assert "Nobody knows beforehand" not in text
    assert template.render(found=[]).strip() == ""
    ranged = [row("range below 1", 1, name, 0.5) for name in ("rmse_skill", "bias")]
    assert "Nobody knows beforehand" in template.render(found=part_tables(ranged, "b", COLUMNS))


def test_fractions_are_told_at_the_first_and_the_last_lead() -> None:
    value = {}
    for lead in (1, 2, 3):
        for method, base in (("forecast", 0.5), ("persistence", 0.25)):
            for number, scale in enumerate((1, 3, 5, 9, 17, 33, 65)):
                value[method, lead, f"fss_0.5_{scale}px"] = base + number / 100 + lead
            value[method, lead, "useful_scale_0.5"] = 3.0
    value["trend", 1, "csi_0.5"] = 0.1
    rows = fraction_rows(value, "0.5", [1, 2, 3])
    assert [(method, lead) for method, lead, _, _ in rows] == [
        *(("forecast", 1), ("persistence", 1)),
        *(("forecast", 3), ("persistence", 3)),
    ]
    assert rows[3][2] == [0.25 + number / 100 + 3 for number in range(7)]
    assert rows[3][3] == 3.0
