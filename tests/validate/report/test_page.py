"""The report: self-contained, escaped, complete; and the curves in it."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from geoforecast.settings import ValidateSettings
from geoforecast.validate.report import map_pictures, page
from geoforecast.validate.report.charts import (
    BOTTOM,
    HEIGHT,
    LABEL_GAP,
    TOP,
    draw_chart,
    line_styles,
    spread_labels,
)
from geoforecast.validate.report.pictures import Panel
from geoforecast.validate.report.reproduce import Command
from geoforecast.validate.result import ValidateResult
from geoforecast.validate.writing import write_validation


class Tags(HTMLParser):
    """Collects tags with their attributes, and checks that they nest."""

    VOID = ("meta", "img", "link", "br", "hr", "line", "polyline", "input")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parse(path: Path) -> tuple[str, Tags]:
    text = path.read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    return text, tags


def test_no_external_reference(result: ValidateResult) -> None:
    text, tags = parse(result.report_path)
    assert not re.search(r"https?:|@import|url\(|//[a-z]", re.sub(r"base64,[^\"]*", "", text))
    assert len(re.findall(r"<script", text)) == 3  # two bands' data, and the program
    for tag, attributes in tags.found:
        assert tag not in ("link", "iframe", "object")
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href"):
            if name in attributes:
                assert str(attributes[name]).startswith("data:image/png;base64,")


def test_every_picture_is_embedded_with_words(result: ValidateResult) -> None:
    _, tags = parse(result.report_path)
    images = [a for tag, a in tags.found if tag == "img" and "data-side" not in a]
    assert len(images) == page.MAX_PICTURES
    assert len(result.pictures) == 44  # seven kinds at three leads, and a triptych, of two bands
    assert all(attributes["alt"] for attributes in images)


def test_the_numbers_and_words_are_there(result: ValidateResult) -> None:
    text, _ = parse(result.report_path)
    assert "worth trusting 1 step ahead" in text
    assert "2024-06-09 to 2024-07-27" in text
    assert "EPSG:32633" in text
    rmse = next(
        r for r in result.rows if (r.method, r.band, r.metric) == ("forecast", "LST", "rmse")
    )
    assert f"{rmse.value:.4g}" in text
    # RMSE and skill by lead of two bands; no spectra, for too many pixels are invalid.
    assert text.count('<figure><p class="chart-title">') == 4
    titles = re.findall(r'<figure class="plot"><p class="chart-title">([^<]*)', text)
    assert [title.split(",")[0] for title in titles[: len(titles) // 2]] == [
        "RMSE of each test step",
        "Mean error of each test step",
        "Forecast against observed",
        "Forecast against observed",
        "Which values occur",
        "Semivariogram",
        *titles[6:9],
    ]
    assert [title[:10] for title in titles[6:9]] == ["The best p", "The median", "The worst "]
    for title in ("MAE", "RMSE", "bias", "R²", "SSIM", "PSNR"):
        assert f"<td>{title}" in text


def test_names_are_escaped(engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nasty = dataclasses.replace(engine, fingerprint="<script>alert(1)</script>", horizon=1)
    monkeypatch.setattr(map_pictures, "draw", lambda path, *_: path.write_bytes(b""))
    commands = [Command("geoforecast stack '</pre><script>alert(2)</script>'", {})]
    settings = ValidateSettings()
    result = write_validation(tmp_path / "run", nasty, settings, commands=commands)
    text, tags = parse(result.report_path)
    assert "&lt;script&gt;alert(1)" in text
    assert "&lt;script&gt;alert(2)" in text
    assert [a for tag, a in tags.found if tag == "script"][-1] == {}
    assert sum(tag == "script" for tag, _ in tags.found) == 3


def test_scales_are_centred_on_zero_and_shared_over_leads(
    engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, list[Panel]] = {}

    def keep(path: Path, panels: list[Panel], *_: Any) -> None:
        path.write_bytes(b"")
        drawn[path.stem] = panels

    monkeypatch.setattr(map_pictures, "draw", keep)
    write_validation(tmp_path / "run", engine, ValidateSettings())
    for band in ("NDVI", "LST"):
        observed, forecast, difference = drawn.pop(f"{band}_lead1_triptych")
        assert observed.limits == forecast.limits
        assert difference.limits[0] == -difference.limits[1]
        assert difference.colours == "RdBu_r"
        for quantity in ("difference", "bias", "rmse_skill"):
            panels = [drawn.pop(f"{band}_lead{lead}_{quantity}")[0] for lead in (1, 2, 3)]
            assert len({panel.limits for panel in panels}) == 1
            assert panels[0].limits[0] == -panels[0].limits[1] < 0
    assert drawn == {}


def test_too_many_pictures_stay_outside(
    engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(map_pictures, "draw", lambda path, *_: path.write_bytes(b""))
    monkeypatch.setattr(page, "MAX_PICTURES", 5)
    result = write_validation(tmp_path / "run", engine, ValidateSettings())
    text, tags = parse(result.report_path)
    assert sum(tag == "img" and "data-side" not in a for tag, a in tags.found) == 5
    assert "39 further maps are in the folder maps/" in text


def test_labels_keep_apart_and_inside() -> None:
    placed = spread_labels([270.0, 275.0, 100.0, 101.0, 279.0])
    ordered = sorted(placed)
    assert all(b - a >= LABEL_GAP - 0.11 for a, b in itertools.pairwise(ordered))
    assert max(placed) <= HEIGHT
    assert placed[2] == 100.0


def test_chart_geometry() -> None:
    curves = {"forecast": [1.0, math.nan, 3.0], "persistence": [4.0, 4.0, 4.0]}
    chart = draw_chart(
        "t", "a", curves, line_styles(list(curves)), lead_label="steps", include_zero=True
    )
    assert chart is not None
    ours, other = chart.lines
    assert [len(run) for run in ours.runs] == [1, 1]  # a gap, not a bridge
    assert chart.zero == HEIGHT - BOTTOM
    assert other.runs[0][0].y == TOP  # 4 is the top tick
    assert ours.runs[0][0].y == pytest.approx(TOP + 0.75 * (HEIGHT - BOTTOM - TOP), abs=0.1)
    assert ours.width > other.width
    assert "lead 3" in ours.end.text
    nothing = {"forecast": [math.nan]}
    assert draw_chart("t", "a", nothing, {}, lead_label="", include_zero=True) is None
