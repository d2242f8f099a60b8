"""Forecasts that predict wrote, scored when their scenes come."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner, Result

from geoforecast.cli import cli
from geoforecast.raster.cube import open_cube

START, GAP = np.datetime64("2022-01-01"), 16
TRAIN = ["train", "--model", "none", "--horizon", "2"]


def write_scenes(folder: Path, write_tif: Any, first: int, last: int, late_days: int = 0) -> None:
    for index in range(first, last):
        rng = np.random.default_rng(index)
        values = 0.5 + 0.2 * np.sin(index / 3) + 0.05 * rng.standard_normal((20, 24))
        values[:2, :3] = -9
        day = START + GAP * index + late_days
        write_tif(folder / f"ndvi_{day}.tif", values.astype(np.float32), nodata=-9)


def invoke(project: Path, *line: object) -> Result:
    return CliRunner().invoke(cli, ["-p", str(project), *map(str, line)])


def done(result: Result) -> Result:
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture
def project(tmp_path: Path, write_tif: Any) -> Path:
    """Sixteen scenes, forecasts from the last two of them."""
    write_scenes(tmp_path / "in", write_tif, 0, 16)
    done(invoke(tmp_path / "p", "stack", tmp_path / "in", *TRAIN, "predict"))
    done(invoke(tmp_path / "p", "predict", "--from", str(START + GAP * 14)))
    return tmp_path / "p"


def told(project: Path) -> dict[tuple[str, int, str], tuple[float, int]]:
    with (project / "validation" / "default.issued" / "metrics.csv").open() as stream:
        return {
            (row["method"], int(row["lead"]), row["metric"]): (
                float(row["value"] or "nan"),
                int(row["pixels"]),
            )
            for row in csv.DictReader(stream)
            if not row["part"]
        }


def test_what_was_issued_is_scored_as_its_scenes_come(
    project: Path, tmp_path: Path, write_tif: Any
) -> None:
    """Scenes of 15 have come: of the forecasts from 14, lead 1; of those from 15, none."""
    result = done(invoke(project, "validate", "--when-observed"))
    first = told(project)
    assert first["forecast", 1, "rmse"][1] == 20 * 24 - 6
    assert ("forecast", 2, "rmse") not in first
    assert "forecast_" not in result.stdout
    report = (project / "validation" / "default.issued" / "report.html").read_text()
    words = "Forecasts of run default as they were issued, verified on 1 scene that came later"
    assert words in report
    assert "any choice" not in report
    # Two scenes more, a day late: the forecasts stay as they were.
    before = {path: path.read_bytes() for path in (project / "forecasts").rglob("*.tif")}
    write_scenes(tmp_path / "in", write_tif, 16, 18, late_days=1)
    done(invoke(project, "stack", tmp_path / "in"))
    done(invoke(project, "validate", "--when-observed", "--tile", "16"))
    assert {path: path.read_bytes() for path in before} == before
    rows = told(project)
    cube = open_cube(project / "cube.zarr")
    values, valid = cube.read(0, 18)
    errors: dict[int, list[np.ndarray]] = {1: [], 2: []}
    inside: dict[int, list[np.ndarray]] = {1: [], 2: []}
    simple: dict[int, list[np.ndarray]] = {1: [], 2: []}
    for init, lead in ((14, 1), (14, 2), (15, 1), (15, 2)):
        day = str(START + GAP * (init + lead)).replace("-", "")
        folder = project / "forecasts" / "default" / str(START + GAP * init).replace("-", "")
        made, lower, upper = (
            rasterio.open(folder / f"{layer}_{day}.tif").read(1)
            for layer in ("forecast", "lower", "upper")
        )
        known = valid[init + lead, 0]
        came = values[init + lead, 0][known]
        errors[lead].append((made[known] - came) ** 2)
        inside[lead].append((lower[known] <= came) & (came <= upper[known]))
        simple[lead].append((values[init, 0][known] - came) ** 2)
    for lead in (1, 2):
        value, pixels = rows["forecast", lead, "rmse"]
        assert pixels == 2 * (20 * 24 - 6)
        assert value == pytest.approx(np.sqrt(np.mean(errors[lead])), rel=1e-6)
        assert rows["forecast", lead, "interval_coverage"][0] == pytest.approx(
            np.mean(inside[lead])
        )
        # Persistence knows what was known when the forecast was issued.
        persistence = rows["persistence", lead, "rmse"][0]
        assert persistence == pytest.approx(np.sqrt(np.mean(simple[lead])), rel=1e-6)
        # Nothing is told of how likely values were: the files do not say.
        assert np.isnan(rows["forecast", lead, "crps"][0])


def test_nothing_to_score_is_said(project: Path) -> None:
    for path in (project / "forecasts" / "default").glob(f"*{START + GAP * 14}*".replace("-", "")):
        for file in path.iterdir():
            file.unlink()
    result = invoke(project, "validate", "--when-observed")
    assert result.exit_code == 2
    assert "2 wait for their scene" in result.output


def test_forecasts_of_weights_that_had_seen_the_scene_are_left_out(
    project: Path,
) -> None:
    for path in (project / "forecasts").rglob("forecast_*.tif"):
        with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as dataset:
            dataset.update_tags(weights_seen_until="2023-01-01T00:00:00")
    result = invoke(project, "validate", "--when-observed")
    assert result.exit_code == 2
    assert "4 do not fit" in result.output
    assert "had seen scenes up to 2023" in result.output


def test_folders_and_issued_forecasts_exclude_each_other(tmp_path: Path) -> None:
    line = ("validate", "--when-observed", "--forecast", "a", "--observed", "b")
    result = invoke(tmp_path, *line)
    assert result.exit_code == 2
    assert "Give one of them" in result.output


def test_classes_are_scored_by_their_probabilities(tmp_path: Path, write_tif: Any) -> None:
    for index in range(16):
        rng = np.random.default_rng(index)
        codes = np.where(rng.random((20, 24)) < 0.2 + 0.02 * index, 1, 0).astype(np.uint8)
        write_tif(tmp_path / "in" / f"water_{START + GAP * index}.tif", codes)
    project = tmp_path / "p"
    done(invoke(project, "stack", tmp_path / "in", *TRAIN))
    done(invoke(project, "predict", "--from", str(START + GAP * 13)))
    done(invoke(project, "validate", "--when-observed"))
    rows = told(project)
    cube = open_cube(project / "cube.zarr")
    for lead in (1, 2):
        day = str(START + GAP * (13 + lead)).replace("-", "")
        found = list((project / "forecasts").rglob(f"probability_{day}.tif"))
        made = rasterio.open(found[0]).read(1)
        came = cube.read(13 + lead, 14 + lead)[0][0, 0]
        brier = float(np.mean((made - came) ** 2))
        assert rows["forecast", lead, "brier"][0] == pytest.approx(brier, rel=1e-5)
    report = json.loads((project / "validation" / "default.issued" / "metrics.json").read_text())
    assert report["leads"] == [1, 2]
