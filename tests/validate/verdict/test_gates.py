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
from geoforecast.validate.scoring.rows import MetricRow
from geoforecast.validate.verdict.gates import Gate, check_gates, gate_names, parse_gates


def rows(*values: float, band: str = "NDVI", metric: str = "rmse_skill") -> list[MetricRow]:
    return [
        MetricRow("forecast", band, lead, metric, value, 9) for lead, value in enumerate(values, 1)
    ]


def test_parse() -> None:
    assert parse_gates(["rmse-skill=0", " MAE_skill = 0.05", "r2=.5", "ssim=1e-1"]) == (
        Gate("rmse-skill", 0.0),
        Gate("mae-skill", 0.05),
        Gate("r2", 0.5),
        Gate("ssim", 0.1),
    )
    assert parse_gates(()) == ()
    assert {"psnr", "brier", "nse", "alignment", "crps", "csi", "fss"} <= set(gate_names())


@pytest.mark.parametrize(
    ("entry", "better"),
    [
        ("rmse=0.1", "lower"),
        ("bias=0.2", "zero"),
        ("variance-ratio=0.1", "one"),
        ("nse=0", "higher"),  # of pixels through time
        ("effective_resolution=6", "lower"),  # of frames
        ("crps=1", "lower"),  # of likely values
        ("brier=0.1", "lower"),
        ("csi=0.4", "higher"),
        ("csi-0.1=0.4", "higher"),
        ("CSI_5=0.4", "higher"),
        ("csi_-0.5=0.4", "higher"),  # a threshold below 0
        ("far-1e-05=0.4", "lower"),
        ("frequency-bias-0.1=0.3", "one"),
        ("fss-1-5px=0.5", "higher"),
        ("rmse-skill-vs-persistence=0", "higher"),
        ("rmse-skill-vs-damped_anomaly=0", "higher"),
    ],
)
def test_what_is_good_of_each_metric(entry: str, better: str) -> None:
    (gate,) = parse_gates([entry])
    assert gate.better == better


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("rmse-skill", "not METRIC=NUMBER"),
        ("rmse-skill=", "not METRIC=NUMBER"),
        ("rmse-skill=high", "not METRIC=NUMBER"),
        ("rmse-skill=nan", "not METRIC=NUMBER"),
        ("rmsee-skill=0", "Did you mean 'rmse-skill'"),
        ("r3-skill=0", "does not know 'r3-skill'"),
        ("rmse-0.1=0", "Did you mean"),  # rmse is of no event
        ("fss-1=0.5", "does not know"),  # without the side of a window
        ("fss-1-4px=0.5", "does not know"),  # of which there is no such one
        ("moran=0.5", "no value of it is the best one"),
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


def test_errors_must_not_exceed_the_threshold() -> None:
    gates = parse_gates(["rmse=0.1"])
    check_gates(gates, rows(0.05, 0.15, metric="rmse"), ["NDVI"])  # mean 0.1, which is allowed
    for failing in ((0.05, 0.16), (math.nan, 0.0)):
        with pytest.raises(QualityGateError, match=r"NDVI: rmse is .*, needs <= 0.1"):
            check_gates(gates, rows(*failing, metric="rmse"), ["NDVI"])


def test_distances_from_the_best_value_are_averaged_not_values() -> None:
    """A bias of -1 at one lead does not make up for one of 1 at another."""
    check_gates(parse_gates(["bias=1"]), rows(1.0, -1.0, metric="bias"), ["NDVI"])
    with pytest.raises(QualityGateError, match=r"NDVI: \|bias\| is 1, needs <= 0.5"):
        check_gates(parse_gates(["bias=0.5"]), rows(1.0, -1.0, metric="bias"), ["NDVI"])
    ratios = rows(0.8, 1.3, metric="variance_ratio")  # 0.2 and 0.3 from 1
    check_gates(parse_gates(["variance-ratio=0.26"]), ratios, ["NDVI"])
    with pytest.raises(QualityGateError, match=r"\|variance-ratio - 1\| is 0.25, needs <= 0.24"):
        check_gates(parse_gates(["variance-ratio=0.24"]), ratios, ["NDVI"])


def test_events_are_asked_by_their_names() -> None:
    told = [
        *rows(0.6, metric="csi_0.1"),
        *rows(0.2, metric="csi_-5"),
        *rows(0.9, metric="fss_0.1_5px"),
        *rows(0.1, band="LST"),
    ]
    check_gates(parse_gates(["csi-0.1=0.5", "fss-0.1-5px=0.8"]), told, ["NDVI", "LST"])
    with pytest.raises(QualityGateError, match=r"1 of 1 quality checks.*\n.*csi--5 is 0.2"):
        check_gates(parse_gates(["csi_-5=0.5"]), told, ["NDVI", "LST"])


def test_a_metric_that_is_not_told_is_an_error_that_lists_what_is() -> None:
    told = [*rows(0.6, metric="csi_0.1"), *rows(0.3, metric="moran"), *rows(0.1)]
    with pytest.raises(SettingsError) as caught:
        check_gates(parse_gates(["csi=0.5"]), told, ["NDVI"])
    assert "asks for csi, which is not told of this run" in str(caught.value)
    assert "told are: csi-0.1, rmse-skill" in str(caught.value)
    assert "moran" not in str(caught.value)  # it can be no gate


def test_parts_of_the_raster_or_of_time_do_not_count() -> None:
    part = MetricRow("forecast", "NDVI", 1, "r2", -5.0, 9, part="season summer")
    check_gates(parse_gates(["r2=0"]), [*rows(0.5, metric="r2"), part], ["NDVI"])


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
