"""The whole verb: the folder, the files, and what a kill leaves."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geoforecast.errors import SeriesTooShortError
from geoforecast.project import Project, read_history
from geoforecast.samples.split import Split
from geoforecast.settings import ValidateSettings
from geoforecast.validate import ValidateResult, validate_run, writing
from geoforecast.validate.writing import write_validation


def test_every_promised_file_is_there(result: ValidateResult) -> None:
    names = sorted(path.name for path in result.folder.iterdir())
    assert names == [
        *("item.json", "maps", "metrics.csv", "metrics.json", "quality.xml", "report.html")
    ]
    quantities = (
        *("bias", "difference", "rmse_skill", "abs_error", "local_ssim"),
        *("moran", "hotspots"),
    )
    expected = {f"{b}_lead{k}_{q}" for b in ("NDVI", "LST") for k in (1, 2, 3) for q in quantities}
    assert {path.stem for path in result.maps} == expected
    assert {path.stem for path in result.pictures} == expected | {
        "NDVI_lead1_triptych",
        "LST_lead1_triptych",
    }
    files = {path.name for path in (result.folder / "maps").iterdir()}
    assert {name for name in files if name.endswith(".qml")} == {f"{stem}.qml" for stem in expected}
    assert {name for name in files if name.endswith(".gif")} == {"NDVI_lead1.gif", "LST_lead1.gif"}
    assert all(path.is_file() for path in (*result.maps, *result.pictures, result.report_path))


def test_csv_and_json_hold_the_rows(engine: Any, result: ValidateResult) -> None:
    with result.csv_path.open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    content = json.loads(result.json_path.read_text())
    assert len(lines) == len(content["rows"]) == len(result.rows)
    for line, entry, row in zip(lines, content["rows"], result.rows, strict=True):
        if row.reason:
            assert (line["value"], entry["value"]) == ("", None)
        else:
            assert float(line["value"]) == row.value == entry["value"]
        assert (line["method"], int(line["lead"])) == (row.method, row.lead)
        assert int(line["pixels"]) == row.pixels
    assert content["split"]["test_start"] == "2024-06-09T00:00:00"
    assert content["split"]["test_steps"] == 4
    assert content["leads"] == [1, 2, 3]
    assert content["reference"] == "persistence"
    assert content["fingerprint"] == engine.fingerprint


@pytest.mark.usefixtures("no_pictures")
def test_undefined_values_are_null_and_empty_with_a_reason(engine: Any, tmp_path: Path) -> None:
    constant = [dataclasses.replace(s, minimum=1.0, maximum=1.0) for s in engine.statistics]
    flat = dataclasses.replace(engine, statistics=constant, horizon=1)
    result = write_validation(tmp_path / "flat", flat, ValidateSettings())
    with result.csv_path.open(newline="") as stream:
        line = next(row for row in csv.DictReader(stream) if row["metric"] == "psnr")
    assert line["value"] == ""
    assert "no range" in line["reason"]
    entry = next(
        r for r in json.loads(result.json_path.read_text())["rows"] if r["metric"] == "psnr"
    )
    assert entry["value"] is None
    assert "the training pixels have no range of values" in result.report_path.read_text()


@pytest.mark.usefixtures("no_pictures")
def test_a_reference_without_values_is_left_out_and_named(engine: Any, tmp_path: Path) -> None:
    lacking = dataclasses.replace(engine, gone="climatology")
    result = write_validation(tmp_path / "run", lacking, ValidateSettings())
    assert set(result.left_out) == {"climatology"}
    assert {row.method for row in result.rows} == {"forecast", "persistence"}
    assert not any(math.isnan(row.value) for row in result.rows if row.metric == "rmse")
    assert "Left out: climatology" in result.report_path.read_text()


def test_nothing_valid_is_said_and_survived(engine: Any, tmp_path: Path) -> None:
    class Blind:
        def __getattr__(self, name: str) -> Any:
            return getattr(engine, name)

        def hindcasts(self, tile: Any, steps: range, level: float = 0.0, likely: int = 0) -> Any:
            for hindcast in engine.hindcasts(tile, steps, level, likely):
                yield dataclasses.replace(hindcast, valid=np.zeros_like(hindcast.valid))

    result = write_validation(tmp_path / "run", Blind(), ValidateSettings())
    assert all(math.isnan(row.value) and row.reason for row in result.rows)
    assert "cannot be judged" in result.sentence
    assert len(result.maps) == 42


@pytest.mark.usefixtures("no_pictures")
def test_without_references_there_is_no_skill(engine: Any, tmp_path: Path) -> None:
    alone = dataclasses.replace(engine, methods=("forecast",))
    result = write_validation(tmp_path / "run", alone, ValidateSettings())
    skills = [row for row in result.rows if row.metric == "rmse_skill"]
    assert len(skills) == 6
    assert all(math.isnan(row.value) and "no reference" in row.reason for row in skills)


def test_no_test_steps(engine: Any, tmp_path: Path) -> None:
    none = dataclasses.replace(engine, split=Split(8, 14, 14))
    with pytest.raises(SeriesTooShortError):
        write_validation(tmp_path / "run", none, ValidateSettings())


@pytest.mark.usefixtures("no_pictures")
def test_a_killed_writing_leaves_the_old_folder(
    engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "run"
    target.mkdir()
    (target / "report.html").write_text("old")

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "write_report", killed)
    with pytest.raises(KeyboardInterrupt):
        write_validation(target, engine, ValidateSettings())
    assert (target / "report.html").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.usefixtures("no_pictures")
def test_validate_run_is_recorded_and_replaces(
    engine: Any, use_engine: Any, tmp_path: Path
) -> None:
    use_engine(engine)
    project = Project(tmp_path)
    old = project.validation_dir("default")
    old.mkdir(parents=True)
    (old / "stale.txt").write_text("old")
    seen: list[tuple[int, int]] = []
    result = validate_run(
        project, ValidateSettings(fail_under=("r2=-9",)), progress=lambda *n: seen.append(n)
    )
    assert result.folder == old
    assert not (old / "stale.txt").exists()
    assert seen[-1] == (12, 12)
    entry = read_history(project)[-1]
    assert entry["command"] == "validate"
    assert entry["outcome"] == "done"


@pytest.mark.usefixtures("no_pictures")
def test_a_swap_cut_short_is_put_right_first(
    engine: Any, use_engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between its two renames, the last validation lies under the old name."""
    use_engine(engine)
    project = Project(tmp_path)
    target = project.validation_dir("default")
    aside = target.with_name(".default-old-12345678")
    aside.mkdir(parents=True)
    (aside / "report.html").write_text("old")
    monkeypatch.setattr(writing, "write_report", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        validate_run(project, ValidateSettings())
    assert (target / "report.html").read_text() == "old"


def test_importing_validate_is_light() -> None:
    code = (
        "import sys, geoforecast.validate; "
        "print([m for m in ('numpy', 'rasterio', 'torch', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
