"""--fail-under: read strictly, checked strictly, after everything is written."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from geoforecast.errors import QualityGateError, SettingsError
from geoforecast.project import Project, read_history
from geoforecast.settings import ValidateSettings
from geoforecast.validate import validate_run
from geoforecast.validate.gates import Gate, check_gates, gate_names, parse_gates
from geoforecast.validate.summary import MetricRow


def rows(*values: float, band: str = "NDVI", metric: str = "rmse_skill") -> list[MetricRow]:
    return [
        MetricRow("forecast", band, lead, metric, value, 9) for lead, value in enumerate(values, 1)
    ]


def test_parse() -> None:
    assert parse_gates(["rmse-skill=0", " MAE_skill = 0.05", "r2=.5", "ssim=1e-1"]) == (
        Gate("rmse_skill", 0.0),
        Gate("mae_skill", 0.05),
        Gate("r2", 0.5),
        Gate("ssim", 0.1),
    )
    assert parse_gates(()) == ()
    assert "psnr" in gate_names()


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("rmse-skill", "not METRIC=NUMBER"),
        ("rmse-skill=", "not METRIC=NUMBER"),
        ("rmse-skill=high", "not METRIC=NUMBER"),
        ("rmse-skill=nan", "not METRIC=NUMBER"),
        ("rmsee-skill=0", "Did you mean 'rmse-skill'"),
        ("rmse=0.1", "Use rmse-skill=0.1"),
        ("bias=0", "a good bias is near 0"),
    ],
)
def test_malformed(entry: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        parse_gates([entry])


def test_the_mean_over_leads_must_exceed_the_threshold() -> None:
    gates = parse_gates(["rmse-skill=0"])
    check_gates(gates, rows(0.4, -0.2), ["NDVI"])  # mean 0.1
    for failing in ((0.2, -0.4), (0.0, 0.0), (0.5, math.nan)):  # -0.1, exactly 0, undefined
        with pytest.raises(QualityGateError):
            check_gates(gates, rows(*failing), ["NDVI"])


def test_every_band_counts_and_is_named() -> None:
    both = rows(0.5) + rows(-0.25, band="LST")
    with pytest.raises(QualityGateError) as caught:
        check_gates(parse_gates(["rmse-skill=0.1"]), both, ["NDVI", "LST"])
    assert "LST: rmse-skill is -0.25, needs > 0.1" in str(caught.value)
    assert "NDVI:" not in str(caught.value)
    assert caught.value.exit_code == 1


def test_references_do_not_count() -> None:
    other = MetricRow("persistence", "NDVI", 1, "r2", -5.0, 9)
    check_gates(parse_gates(["r2=0"]), [*rows(0.5, metric="r2"), other], ["NDVI"])


@pytest.mark.usefixtures("no_pictures")
def test_a_failed_gate_leaves_everything_written(
    engine: Any, use_engine: Any, tmp_path: Path
) -> None:
    use_engine(engine)
    project = Project(tmp_path)
    with pytest.raises(QualityGateError, match=r"NDVI: r2 is .*, needs > 0.99"):
        validate_run(project, ValidateSettings(fail_under=("r2=0.99",)))
    folder = project.validation_dir("default")
    assert {"metrics.json", "metrics.csv", "report.html", "maps"} <= {
        path.name for path in folder.iterdir()
    }
    assert read_history(project)[-1]["outcome"].startswith("QualityGateError")


def test_a_malformed_gate_stops_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(SettingsError):
        validate_run(Project(tmp_path / "new"), ValidateSettings(fail_under=("oops",)))
    assert not (tmp_path / "new").exists()
