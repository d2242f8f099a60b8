"""The report: complete, self-contained, escaped; JSON and page agree; odd cubes work."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geoforecast.project import Project
from geoforecast.raster.cube import Cube
from geoforecast.stack.quality import QualityResult, report, write_quality
from geoforecast.stack.quality.measure import measure_quality
from geoforecast.stack.quality.words import number as number_text
from geoforecast.stack.quality.words import share

MakeCube = Callable[..., Cube]
COLUMNS = ("path", "status", "reason", "time", "band", "role")


class Page(HTMLParser):
    """Collects tags and text, and checks that tags nest."""

    VOID = ("meta", "img", "br")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def parse(result: QualityResult) -> tuple[str, Page, dict[str, Any]]:
    """The page's source, the page and the numbers, each found to be well-formed."""
    text = result.report_path.read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert page.open == []
    plain = re.sub(r"base64,[^\")]*", "", text)
    assert not re.search(r"https?:|@import|url\(|src=\"(?!data:)", plain)
    for tag, attributes in page.found:
        assert tag not in ("link", "script", "iframe", "object", "embed", "form", "base")
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "xlink:href"):
            if name in attributes:
                assert str(attributes[name]).startswith("data:image/png;base64,")
    return text, page, json.loads(result.json_path.read_text(encoding="utf-8"))


def write_rows(folder: Path, rows: list[dict[str, str]]) -> None:
    with (folder / "scenes.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def row(path: str, status: str = "used", reason: str = "", time: str = "") -> dict[str, str]:
    cells = (path, status, reason, time, "b0", "data")
    return dict(zip(COLUMNS, cells, strict=True))


@pytest.fixture
def values() -> np.ndarray:
    """Nine steps, two bands; step 3 empty, step 6 equal to step 1, step 8 partly valid."""
    rng = np.random.default_rng(0)
    result = rng.normal(0.5, 0.1, (9, 2, 60, 70)).astype(np.float32)
    result[3] = np.nan
    result[6] = result[1]
    result[8, :, :30] = np.nan
    return result


def quality_of(cube: Cube) -> QualityResult:
    return write_quality(Project(cube.path.parent), cube)


def test_page_and_numbers_agree(values: np.ndarray, make_cube: MakeCube) -> None:
    cube = make_cube(values, bands=("NDVI", "LST"))
    times = [f"{time}T00:00:00Z" for time in cube.times.astype("datetime64[D]")]
    rows = [row(f"/in/s{n}.tif", time=time) for n, time in enumerate(times) if n != 3]
    rows += [row("/in/bad.tif", "quarantined", "it is truncated"), row("/in/x.tif", "skipped", "y")]
    write_rows(cube.path.parent, rows)
    _, page, numbers = parse(quality_of(cube))
    assert numbers["verdict"] == "attention"
    assert "Attention: some things should be looked at." in page.words
    for finding in numbers["findings"]:
        assert finding["text"] in page.words
    assert "8 scene files used, 1 quarantined, 1 skipped" in page.words
    assert "it is truncated /in/bad.tif" in page.words
    assert numbers["alignment"]["verdict"] == "cannot be judged"
    assert "cannot be judged (standard: below 0.5 px RMS)" in page.words
    # step 8: half of both bands
    assert numbers["steps"][8]["valid_fraction"] == 0.5
    assert numbers["steps"][8]["files"] == 1
    assert numbers["steps"][3]["flags"] == ["no valid pixel"]
    assert numbers["duplicates"] == [[1, 6]]
    assert numbers["steps"][6]["flags"] == ["same values as 2020-01-11"]
    assert "2020-03-01 6 1 100 %" in page.words
    median = numbers["steps"][8]["quantiles"][1][2]
    assert median == pytest.approx(float(np.nanmedian(values[8, 1])))
    assert f"2020-03-21 8 1 50 % {numbers['steps'][8]['quantiles'][0][2]:.4f}" in page.words
    for number, band in enumerate(numbers["bands"]):
        known = values[:, number][np.isfinite(values[:, number])].astype(float)
        assert (band["minimum"], band["maximum"]) == (known.min(), known.max())
        assert band["mean"] == pytest.approx(known.mean())
        assert sum(band["histogram"]) == known.size
        assert f"mean {band['mean']:.4f}; {100 * band['valid_fraction']:.0f} % valid" in page.words
    assert numbers["provenance"]["fingerprint"] == "f0"
    images = [attributes for tag, attributes in page.found if tag == "img"]
    assert len(images) == 1 + 8  # the coverage and the steps with valid pixels
    assert all(attributes["alt"] for attributes in images)


def test_the_same_cube_makes_the_same_bytes(values: np.ndarray, make_cube: MakeCube) -> None:
    cube = make_cube(values)
    result = quality_of(cube)
    before = result.report_path.read_bytes(), result.json_path.read_bytes()
    again = quality_of(cube)
    assert (again.report_path.read_bytes(), again.json_path.read_bytes()) == before
    assert sorted(p.name for p in cube.path.parent.iterdir()) == ["cube.zarr", "quality"]


def test_a_failed_report_leaves_the_old_one(
    values: np.ndarray, make_cube: MakeCube, monkeypatch: pytest.MonkeyPatch
) -> None:
    cube = make_cube(values)
    before = quality_of(cube).report_path.read_bytes()

    def fail(*_: Any) -> str:
        raise OSError("disk full")

    monkeypatch.setattr(report, "render", fail)
    with pytest.raises(OSError, match="disk full"):
        quality_of(cube)
    folder = cube.path.parent / "quality"
    assert (folder / "report.html").read_bytes() == before
    assert sorted(p.name for p in folder.iterdir()) == ["quality.json", "report.html"]


def test_hostile_names_are_shown_and_do_nothing(values: np.ndarray, make_cube: MakeCube) -> None:
    names = [
        '"><script>alert(1)</script>.tif',
        "two\nlines\x1b[31m‮.tif",
        "x" * 10_000 + ".tif",
        "../../etc/passwd.tif",
        "{{ 7 * 7 }}.tif",
        "http://example.org/a.tif",
    ]
    cube = make_cube(values, bands=("<b>x</b>", "b&c"), date_choice="<script>")
    write_rows(cube.path.parent, [row(n, "quarantined", f"{n} is bad <i>") for n in names])
    text = quality_of(cube).report_path.read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert page.open == []
    assert not {"script", "b", "i"} & {tag for tag, _ in page.found}
    assert "&lt;script&gt;alert(1)" in text
    assert "two\\nlines\\x1b[31m\\u202e.tif" in page.words
    assert "\x1b" not in text
    assert "{{ 7 * 7 }}.tif" in page.words
    assert "x" * 1000 not in text
    assert "6 files were quarantined" in page.words


def test_undecodable_names_do_no_harm(values: np.ndarray, make_cube: MakeCube) -> None:
    cube = make_cube(values)
    with (cube.path.parent / "scenes.csv").open("wb") as stream:
        stream.write((",".join(COLUMNS) + "\r\n").encode())
        stream.write(b"/in/\xff\xfe.tif,quarantined,bad,,b0,data\r\n")
    _, page, numbers = parse(quality_of(cube))
    assert "/in/\\xff\\xfe.tif" in page.words
    assert numbers["set_aside"][0]["paths"] == ["/in/\\xff\\xfe.tif"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 1), (1, 1, 30, 30), (2, 3, 1, 40), (3, 1, 40, 1), (5, 1, 2, 2)]
)
@pytest.mark.parametrize("content", ["values", "empty", "constant", "classes"])
def test_odd_cubes_work(shape: tuple[int, ...], content: str, make_cube: MakeCube) -> None:
    rng = np.random.default_rng(0)
    values: np.ndarray = rng.random(shape).astype(np.float32)
    if content == "empty":
        values[:] = np.nan
    elif content == "constant":
        values[:] = 7.0
    elif content == "classes":
        values = rng.integers(0, 4, shape).astype(np.int16)
    _, page, numbers = parse(quality_of(make_cube(values)))
    assert len(numbers["steps"]) == shape[0]
    wanted = {"empty": "no valid pixel in any step", "constant": "is 7.000 everywhere and always"}
    assert wanted.get(content, "") in page.words
    assert numbers["verdict"] == ("attention" if content in wanted else numbers["verdict"])
    empty_classes = np.zeros(shape, np.uint8)
    cube = make_cube(empty_classes, valid=np.zeros(shape, bool), name="void")
    assert "no valid pixel in any step" in parse(quality_of(cube))[1].words


def test_a_long_series_stays_small(make_cube: MakeCube) -> None:
    rng = np.random.default_rng(1)
    values = rng.random((744, 3, 64, 64)).astype(np.float32)
    times = np.datetime64("2019-03-01T00", "s") + 3600 * np.arange(744)
    cube = make_cube(values, times=times, bands=("red", "green", "blue"))
    rows = [row(f"/in/{'d' * 80}/f{n}.tif", "quarantined", f"f{n} is bad") for n in range(750)]
    write_rows(cube.path.parent, rows)
    result = quality_of(cube)
    _, page, numbers = parse(result)
    assert result.report_path.stat().st_size < 3_000_000
    assert len(numbers["steps"]) == 744
    assert len(numbers["set_aside"]) == 750
    assert "650 further reasons are in quality.json" in page.words
    assert "120 of 744 steps, evenly spread over those with valid pixels" in page.words
    assert "red, green, blue: red, green, blue" in page.words
    assert "60 of 744 steps were compared" in page.words


def test_very_long_tables_are_thinned(
    values: np.ndarray, make_cube: MakeCube, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "MAX_ROWS", 6)
    text, page, _ = parse(quality_of(make_cube(values)))
    assert "6 of 9 steps; all are in quality.json" in page.words
    table = text.partition("</summary>")[2].partition("</table>")[0]
    assert "2020-01-11" in table  # flagged: a duplicate
    assert "2020-03-01" in table
    assert table.count("<tr") == 1 + 6


def test_files_are_counted_by_slot(values: np.ndarray, make_cube: MakeCube) -> None:
    cube = make_cube(values, cadence={"step": "10D"})
    rows = [row("a", time="2020-01-01T00:00:00Z"), row("b", time="2020-01-09T10:00:00Z")]
    rows += [row("c", time="2020-01-11T00:00:00Z"), row("d", time=""), row("e", time="nonsense")]
    rows += [{**row("m", time="2020-01-11T00:00:00Z"), "role": "mask"}]
    steps = measure_quality(cube, rows).steps
    assert [item.files for item in steps[:3]] == [2, 1, 0]
    irregular = measure_quality(make_cube(values, name="none"), rows).steps
    assert [item.files for item in irregular[:3]] == [1, 1, 0]
    assert {item.files for item in measure_quality(cube, []).steps} == {None}


def test_describe_is_short(values: np.ndarray, make_cube: MakeCube) -> None:
    result = quality_of(make_cube(values))
    head, place = result.describe().splitlines()
    assert head.startswith("Quality: needs a look. These steps hold the same values: 2020-01-11,")
    assert place == f"Report: {result.report_path}"
    values[6] += 0.01
    good = quality_of(make_cube(values, name="good")).describe()
    assert good.startswith("Quality: good. Alignment: cannot be judged.")


def test_missing_scenes_are_told_from_masked_ones(values: np.ndarray, make_cube: MakeCube) -> None:
    values[[4, 5]] = np.nan
    observed = np.ones(9, bool)
    observed[[4, 5]] = False
    quality = measure_quality(make_cube(values, observed=observed), [])
    assert quality.steps[3].flags == ("no valid pixel",)
    assert quality.steps[4].flags == ("no scene",)
    texts = [item.text for item in quality.findings]
    assert "1 of 7 steps with scenes have no valid pixel." in texts
    assert "2 of 9 steps have no scene." in texts


def test_numbers_are_written_for_people() -> None:
    shown = [number_text(value) for value in (-0.25, 12345.6, -43210.0, 1e12, float("nan"))]
    assert shown == ["−0.2500", "12346", "−43210", "1.000e+12", "–"]
    assert [share(v) for v in (0, 0.001, 0.5, 0.999, 1)] == [
        *("0 %", "<1 %", "50 %", ">99 %", "100 %")
    ]


def test_piles_are_told_beside_their_picture(values: np.ndarray, make_cube: MakeCube) -> None:
    values[:, 1] = np.maximum(values[:, 1], 0.5) - 32  # about half of it is -31.5
    _, page, numbers = parse(quality_of(make_cube(values)))
    (text,) = (item["text"] for item in numbers["findings"] if "lowest value" in item["text"])
    assert text.endswith("of b1 is at its lowest value, −31.50.")
    assert page.words.count("The lowest values are more than colour and bar can show.") == 1


def test_one_share_of_valid_pixels_is_told_once(values: np.ndarray, make_cube: MakeCube) -> None:
    cube = make_cube(values, bands=("NDVI", "LST"))
    _, page, _ = parse(quality_of(cube))
    assert re.search(r"Valid \d+ % of all pixels of all steps", page.words)
    values[0, 0, :5] = np.nan
    _, page, _ = parse(quality_of(make_cube(values, bands=("NDVI", "LST"))))
    assert re.search(r"Valid NDVI \d+ %, LST \d+ % of all pixels of all steps", page.words)


def test_clipping_and_piles_are_named(values: np.ndarray, make_cube: MakeCube) -> None:
    values = np.minimum(values, 0.6)
    values[:, 1] = np.maximum(values[:, 1], 0.5)
    findings = measure_quality(make_cube(values), []).findings
    clipped = [item for item in findings if "greatest value, 0.6000" in item.text]
    assert len(clipped) == 2
    assert all(item.attention for item in clipped)
    piled = [item for item in findings if "of b1 is at its lowest value, 0.5000" in item.text]
    assert [item.attention for item in piled] == [False]


def test_thinned_pictures_keep_the_rasters_shape(make_cube: MakeCube) -> None:
    """A thinned picture's own ratio is another, and a style sheet goes by that one."""
    values = np.random.default_rng(0).random((3, 1, 40, 900)).astype(np.float32)
    values[1, :, :, :30] = np.nan
    _, page, _ = parse(quality_of(make_cube(values)))
    pictures = [found for tag, found in page.found if tag == "img" and "style" in found]
    assert len(pictures) == 4  # the coverage and a thumbnail a step
    for found in pictures:
        ratio = f"aspect-ratio: {found['width']} / {found['height']}"
        assert found["style"] == ratio
        assert int(found["width"]) > 5 * int(found["height"])
