"""--standard and --strict: every criterion, what it is made of, and what follows."""

from __future__ import annotations

import json
import math
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from geoforecast.cli import cli
from geoforecast.errors import QualityGateError, SettingsError
from geoforecast.project import Project
from geoforecast.settings import ValidateSettings
from geoforecast.settings.standards import STANDARDS, Criterion
from geoforecast.train import train_model
from geoforecast.validate import validate_run
from geoforecast.validate.scoring.rows import MetricRow
from geoforecast.validate.verdict.standards import (
    FAIL,
    MEASURES,
    NOT_APPLICABLE,
    PASS,
    Check,
    Judged,
    check_standard,
    judge_standard,
    render_standard,
)

NAN = math.nan


def rows(metric: str, *values: float, method: str = "forecast", **changes: Any) -> list[MetricRow]:
    band = changes.pop("band", "NDVI")
    return [
        MetricRow(
            method, band, lead, metric, value, 9, "no variance" if value != value else "", **changes
        )
        for lead, value in enumerate(values, 1)
    ]


def judged(*told: list[MetricRow], **changes: Any) -> Judged:
    base: dict[str, Any] = {"kind": "continuous", "units": [""], "ranges": [2.0]}
    return Judged([row for part in told for row in part], **base | {"bands": ["NDVI"]} | changes)


def verdicts(name: str, found: Judged) -> dict[str, str]:
    return {check.title: check.verdict for check in judge_standard(name, found)}


def test_the_seed_table() -> None:
    shown = {name: [(c.measure, c.wanted) for c in STANDARDS[name]] for name in STANDARDS}
    assert shown == {
        "general": [
            ("rmse", "< 0.15"),
            ("ssim", "> 0.85"),
            ("r2", "> 0.8"),
            ("moran", "0.4 to 0.9"),
            ("alignment", "< 0.5"),
        ],
        "ndvi": [("mae", "<= 0.05"), ("ssim", ">= 0.88")],
        "flood": [("iou", ">= 0.8"), ("ssim", ">= 0.9")],
        "lulc": [("rmse", "<= 0.1"), ("r2", ">= 0.85")],
        "urban": [("f1", ">= 0.9"), ("r2", ">= 0.9")],
        "drought": [("rmse", "<= 0.08")],
    }
    assert {c.measure for standard in STANDARDS.values() for c in standard} == set(MEASURES)


@pytest.mark.parametrize(
    ("criterion", "at", "inside", "outside"),
    [
        (Criterion("rmse", "<", 0.5), False, 0.49, 0.51),
        (Criterion("rmse", "<=", 0.5), True, 0.49, 0.51),
        (Criterion("rmse", ">", 0.5), False, 0.51, 0.49),
        (Criterion("rmse", ">=", 0.5), True, 0.51, 0.49),
        (Criterion("rmse", "in", 0.5, 0.9), True, 0.9, 0.91),
    ],
)
def test_relations(criterion: Criterion, at: bool, inside: float, outside: float) -> None:
    assert criterion.holds(0.5) is at
    assert criterion.holds(inside)
    assert not criterion.holds(outside)
    assert not criterion.holds(NAN)


def test_means_over_leads_with_persistence_and_skill_beside() -> None:
    found = judged(
        rows("rmse", 0.1, 0.3),
        rows("rmse", 0.2, 0.4, method="persistence"),
        rows("rmse_skill_vs_persistence", 0.5, 0.25),
        # Of a part, which counts for nothing.
        rows("rmse", 9.0, part="region 1"),
    )
    (check,) = judge_standard("drought", found)
    # 0.2 over a training range of 2, and 0.3 over 2.
    assert (check.value, check.persistence) == pytest.approx((0.1, 0.15))
    assert check.skill == pytest.approx(0.375)
    assert (check.verdict, check.metric, check.reason) == (FAIL, "rmse", "")
    assert judge_standard("lulc", found)[0].verdict == PASS  # 0.1 at most
    assert judge_standard("none", found) == ()


def test_general() -> None:
    good = judged(
        rows("rmse", 0.29),
        rows("ssim", 0.86),
        rows("r2", 0.81),
        rows("moran", 0.9),
        rows("alignment", 0.49),
    )
    assert set(verdicts("general", good).values()) == {PASS}
    assert len(verdicts("general", good)) == 5
    bad = judged(
        rows("rmse", 0.31),
        rows("ssim", 0.85),
        rows("r2", 0.8),
        rows("moran", 0.39),
        rows("alignment", 0.5),
    )
    assert set(verdicts("general", bad).values()) == {FAIL}


def test_what_cannot_be_told_says_why() -> None:
    found = judged(rows("r2", 0.9, NAN), rows("rmse", 0.1), ranges=[0.0])
    checks = {check.title: check for check in judge_standard("general", found)}
    assert checks["R²"].reason == "no value at lead 2: no variance"
    assert checks["SSIM"].reason == "it was not scored"
    assert "no range" in checks["RMSE / training range"].reason
    assert {check.verdict for check in checks.values()} == {NOT_APPLICABLE}
    # 0.05 K is no criterion of an index.
    (mae, _) = judge_standard("ndvi", judged(rows("mae", 0.01), units=["K"]))
    assert (mae.verdict, mae.reason[-4:]) == (NOT_APPLICABLE, "in K")
    assert judge_standard("ndvi", judged(rows("mae", 0.01), units=["1"]))[0].verdict == PASS


def test_probabilities() -> None:
    flood = judged(rows("csi", 0.85), rows("brier", 0.04), kind="binary")
    assert verdicts("flood", flood) == {"IoU": PASS, "SSIM": NOT_APPLICABLE}
    # The root of 0.04.
    assert judge_standard("drought", flood)[0].value == pytest.approx(0.2)
    cover = judged(
        rows("brier", 0.03, 0.12),
        rows("probability_r2", 0.9, 0.8),
        rows("macro_f1", 0.95),
        kind="categorical",
        classes=3,
    )
    rmse, r2 = judge_standard("lulc", cover)
    # The mean of the roots of 0.01 and 0.04.
    assert (rmse.value, rmse.verdict) == (pytest.approx(0.15), FAIL)
    assert (r2.title, r2.verdict) == ("R² of probabilities", PASS)
    assert verdicts("urban", cover)["F1, mean over classes"] == PASS
    assert verdicts("flood", cover)["IoU"] == NOT_APPLICABLE
    assert "categorical" in judge_standard("ndvi", cover)[0].reason
    assert judge_standard("lulc", cover)[0].skill_metric == "Brier score"


def test_events_are_judged_one_by_one() -> None:
    found = judged(
        rows("csi_0.1", 0.9), rows("csi_5", 0.5), rows("csi_1", 0.9, band="LST"), units=["mm/h"]
    )
    told = verdicts("flood", found)
    assert told["IoU at 0.1 mm/h"] == PASS
    assert told["IoU at 5 mm/h"] == FAIL
    assert "IoU at 1 mm/h" not in told
    (iou, _) = judge_standard("flood", judged(rows("r2", 0.9)))
    assert (iou.verdict, iou.metric) == (NOT_APPLICABLE, "csi")
    assert "--events" in iou.reason


def test_strict() -> None:
    found = judged(rows("ssim", 0.95), rows("mae", 0.06))
    with pytest.raises(QualityGateError) as caught:
        check_standard("ndvi", judge_standard("ndvi", found))
    assert "fails 1 of 2 criteria of the standard 'ndvi'" in str(caught.value)
    assert "NDVI: MAE is 0.06000, needs <= 0.05" in str(caught.value)
    assert "SSIM" not in str(caught.value)
    assert caught.value.exit_code == 1
    # What is not applicable does not fail, unless nothing is left.
    check_standard("flood", judge_standard("flood", found))
    with pytest.raises(QualityGateError, match="No criterion of the standard 'lulc'"):
        check_standard("lulc", judge_standard("lulc", found))


def test_the_table_says_all_of_it() -> None:
    found = judged(
        rows("mae", 0.03),
        rows("mae", 0.04, method="persistence"),
        rows("rmse_skill_vs_persistence", 0.25),
    )
    lines = render_standard(judge_standard("ndvi", found)).splitlines()
    assert lines[0].split() == [
        *("NDVI,", "standard", "ndvi,", "mean", "over", "leads"),
        *("forecast", "asked", "persistence", "RMSE", "skill", "over", "it"),
    ]
    expected = ["MAE", "0.03000", "<=", "0.05", "pass", "0.04000", "+25", "%"]
    assert lines[1].split() == expected
    assert lines[2].split() == ["SSIM", "-", ">=", "0.88", "not", "applicable", "-", "+25", "%"]
    assert lines[3] == "SSIM: it was not scored."
    assert render_standard(()) == ""


@pytest.mark.usefixtures("no_pictures")
def test_strict_leaves_everything_written(engine: Any, use_engine: Any, tmp_path: Path) -> None:
    use_engine(engine)
    project = Project(tmp_path)
    with pytest.raises(QualityGateError, match="criteria of the standard 'general'"):
        validate_run(project, ValidateSettings(standard="general", strict=True))
    folder = project.validation_dir("default")
    content = json.loads((folder / "metrics.json").read_text())["standard"]
    assert len(content) == 10  # five criteria of two bands
    assert content[0]["title"] == "RMSE / training range"
    text = (folder / "report.html").read_text()
    assert "Standard: general" in text
    assert '<td class="worse">fail</td>' in text
    # Without --strict the same figures are no error, and stand below the skill table.
    shown = validate_run(project, ValidateSettings(standard="general")).describe()
    places = [shown.index(words) for words in ("best reference", "standard general", "report:")]
    assert places == sorted(places)
    rmse = {c["band"]: c["value"] for c in content if c["metric"] == "rmse"}
    for band, statistics in zip(engine.band_names, engine.statistics, strict=True):
        size = statistics.maximum - statistics.minimum
        with (folder / "metrics.csv").open() as stream:
            told = [
                float(line.split(",")[4])
                for line in stream
                if line.startswith(f"forecast,{band},") and ",rmse," in line
            ]
        assert rmse[band] == pytest.approx(np.mean(told) / size)


def test_without_a_standard_there_is_none(result: Any) -> None:
    assert result.standard == ()
    assert json.loads(result.json_path.read_text())["standard"] == []
    assert "Standard:" not in result.report_path.read_text()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["--strict"], "--strict needs a standard"),
        (["--standard", "ndvy"], "Did you mean 'ndvi'?"),
    ],
)
def test_slips_show_before_the_verbs_before(line: list[str], words: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["-p", str(tmp_path / "new"), "train", "validate", *line])
    assert done.exit_code == 2
    assert words in done.output
    with pytest.raises(SettingsError, match="--strict needs a standard"):
        validate_run(Project(tmp_path / "new"), ValidateSettings(strict=True))
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_exit_codes_of_a_shell(make_project: Any, wave: Any) -> None:
    """0 where all is met, 1 where a gate or a criterion fails, 2 where it cannot be asked."""
    project = make_project(wave)
    train_model(project, model="none", lookback=3, horizon=1)
    codes = {}
    folder = project.validation_dir("default")
    for line in (
        "--fail-under rmse=1 --standard lulc",
        "--fail-under rmse=0.0001",
        "--standard flood --strict",
        "--fail-under csi=0.5",
    ):
        shutil.rmtree(folder, ignore_errors=True)
        command = [sys.executable, "-m", "geoforecast", "-p", str(project.root), "validate"]
        chain = f"{shlex.join([*command, *line.split()])} && echo deployed"
        done = subprocess.run(chain, shell=True, capture_output=True, text=True, check=False)
        codes[line] = (done.returncode, done.stdout + done.stderr)
        # What follows runs where all is met; what is told is there in any case.
        assert ("deployed" in done.stdout) == (done.returncode == 0)
        assert {path.name for path in folder.iterdir()} == {
            *("item.json", "maps", "metrics.csv", "metrics.json", "quality.xml", "report.html")
        }
    first, second, third, last = codes.values()
    assert first[0] == 0
    assert "RMSE / training range" in first[1]
    assert second[0] == 1
    assert "rmse is" in second[1]
    assert third[0] == 1
    assert "criteria of the standard 'flood'" in third[1]
    assert last[0] == 2
    assert "told are:" in last[1]


def test_as_json() -> None:
    check = Check("ndvi", "NDVI", "MAE", "mae", "<= 0.05", PASS, "", 0.01, 0.02, 0.5, "RMSE")
    assert check.as_json()["persistence"] == 0.02
