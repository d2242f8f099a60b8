"""Two folders of GeoTIFFs: which times meet, on which grid, beside which simple forecasts."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from click.testing import CliRunner

from geoforecast.cli import cli
from geoforecast.cli.folders import stacked_folders
from geoforecast.errors import DateError, GridMismatchError, InputError
from geoforecast.project import Project
from geoforecast.raster.cube import open_cube
from geoforecast.settings import StackSettings, Unsplit, ValidateSettings
from geoforecast.stack import stack_scenes
from geoforecast.validate import validate_cubes
from geoforecast.validate.given import pair_times
from geoforecast.validate.pairing import pair_cubes

SHAPE = (24, 30)
UTM = Affine(10.0, 0.0, 500000.0, 0.0, -10.0, 5200000.0)
DAYS = [f"2021{month:02d}10" for month in range(1, 8)]


def fields(seed: int = 0) -> np.ndarray:
    """(step, y, x) of what came: all days differ everywhere, one corner is never seen."""
    rng = np.random.default_rng(seed)
    made = rng.normal(20, 3, (len(DAYS), *SHAPE)).astype(np.float32)
    made[:, :3, :4] = -9999
    return made


@pytest.fixture
def folders(tmp_path: Path, write_tif: Any) -> tuple[Path, Path]:
    """Seven observed days, and forecasts of the last three that lack the last rows."""
    for number, (day, field) in enumerate(zip(DAYS, fields(), strict=True)):
        write_tif(tmp_path / "obs" / f"scene_{day}.tif", field, nodata=-9999)
        if number >= 4:
            forecast = (field + np.float32(number)).astype(np.float32)[:20]
            write_tif(tmp_path / "fc" / f"made_{day}.tif", forecast, nodata=np.nan)
    return tmp_path / "fc", tmp_path / "obs"


def rows_of(path: Path) -> dict[tuple[str, str], tuple[float, int]]:
    with path.open() as stream:
        return {
            (row["method"], row["metric"]): (float(row["value"] or "nan"), int(row["pixels"]))
            for row in csv.DictReader(stream)
            if not row["part"]
        }


def run(tmp_path: Path, folders: tuple[Path, Path], *more: str) -> Any:
    line = ["-p", str(tmp_path / "p"), "validate", "--forecast", str(folders[0])]
    return CliRunner().invoke(cli, [*line, "--observed", str(folders[1]), *more])


def test_scores_are_those_of_the_arrays(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    result = run(tmp_path, folders)
    assert result.exit_code == 0, result.output
    rows = rows_of(tmp_path / "p" / "validation" / "compared" / "metrics.csv")
    came = fields().astype(np.float64)[:, :20]
    known = came[0] > 0
    # The forecasts are 4, 5 and 6 too high.
    value, pixels = rows["forecast", "rmse"]
    assert value == pytest.approx(np.sqrt((16 + 25 + 36) / 3), rel=1e-6)
    assert pixels == 3 * known.sum()
    assert rows["forecast", "bias"][0] == pytest.approx(5, rel=1e-6)
    # Persistence knows the day before, forecast or not, and nothing later.
    before = np.mean([(came[k - 1] - came[k])[known] ** 2 for k in (4, 5, 6)])
    assert rows["persistence", "rmse"][0] == pytest.approx(np.sqrt(before), rel=1e-6)
    mean = np.mean([(came[:k].mean(axis=0) - came[k])[known] ** 2 for k in (4, 5, 6)])
    assert rows["mean", "rmse"][0] == pytest.approx(np.sqrt(mean), rel=1e-5)
    assert "worth trusting" in result.output or "use" in result.output
    report = (tmp_path / "p" / "validation" / "compared" / "report.html").read_text()
    assert "handed in, held against 3 observed scenes, 2021-05-10 to 2021-07-10." in report
    assert "7 in the cube, about 30.5 d apart: 3 were forecast" in report
    assert "has seen" not in report
    assert "observed range" in report
    quality = (tmp_path / "p" / "validation" / "compared" / "quality.xml").read_text()
    assert "no training" not in quality
    assert "handed in without saying when it was made" in quality


def test_a_comparison_of_other_files_is_made_again(tmp_path: Path, write_tif: Any) -> None:
    plane = np.arange(720, dtype=np.uint8).reshape(SHAPE)
    for name in ("fc", "obs"):
        write_tif(tmp_path / name / "a_20210110.tif", plane)
    project = Project(tmp_path / "p")
    settings = ValidateSettings(forecast=str(tmp_path / "fc"), observed=str(tmp_path / "obs"))
    places = stacked_folders(project, settings, StackSettings(), 1)
    assert [open_cube(place.cube_path).kind for place in places] == ["continuous"] * 2
    made = places[1].cube_path.stat().st_mtime_ns
    assert stacked_folders(project, settings, StackSettings(), 1) == places
    assert places[1].cube_path.stat().st_mtime_ns == made  # what fits stays
    write_tif(tmp_path / "fc" / "a_20210110.tif", plane + 1)
    classes = replace(settings, kind="categorical")
    places = stacked_folders(project, classes, StackSettings(), 1)
    assert [open_cube(place.cube_path).kind for place in places] == ["categorical"] * 2
    np.testing.assert_array_equal(open_cube(places[0].cube_path).read(0, 1)[0][0, 0], plane + 1)


def test_tiles_change_nothing(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    found = []
    for tile in ("16", "512"):
        assert run(tmp_path, folders, "--tile", tile).exit_code == 0
        found.append(rows_of(tmp_path / "p" / "validation" / "compared" / "metrics.csv"))
    for key, (value, pixels) in found[0].items():
        assert (value, pixels) == pytest.approx(found[1][key], rel=1e-9, nan_ok=True), key


def test_the_observed_are_warped_to_the_grid_of_the_forecasts(
    tmp_path: Path, write_tif: Any
) -> None:
    """Forecasts of half the resolution, shifted by a pixel of theirs."""
    coarse = Affine(20.0, 0.0, 500020.0, 0.0, -20.0, 5199980.0)
    for day in DAYS[:4]:
        rows, cols = np.mgrid[0:24, 0:30].astype(np.float32)
        write_tif(tmp_path / "obs" / f"a_{day}.tif", 2 * cols - rows)
        # At the centres of the coarse pixels the plane above has these values.
        r, c = np.mgrid[0:8, 0:10].astype(np.float32)
        plane = (2 * (2 * c + 2.5) - (2 * r + 2.5)).astype(np.float32)
        write_tif(tmp_path / "fc" / f"b_{day}.tif", plane, transform=coarse)
    result = run(tmp_path, (tmp_path / "fc", tmp_path / "obs"), "--run", "mine")
    assert result.exit_code == 0, result.output
    rows = rows_of(tmp_path / "p" / "validation" / "mine" / "metrics.csv")
    assert rows["forecast", "mae"][0] == pytest.approx(0, abs=1e-5)
    assert rows["forecast", "mae"][1] == 3 * 80  # the first day has no simple forecast


def test_a_single_date_is_scored_alone(tmp_path: Path, write_tif: Any) -> None:
    rng = np.random.default_rng(1)
    came = rng.normal(size=(12, 13)).astype(np.float32)
    write_tif(tmp_path / "obs" / "a_20210310.tif", came)
    write_tif(tmp_path / "fc" / "b_20210310.tif", came + np.float32(0.5))
    result = run(tmp_path, (tmp_path / "fc", tmp_path / "obs"))
    assert result.exit_code == 0, result.output
    place = tmp_path / "p" / "validation" / "compared"
    rows = rows_of(place / "metrics.csv")
    assert rows["forecast", "mae"] == (pytest.approx(0.5), 12 * 13)
    assert not any(method == "persistence" for method, _ in rows)
    report = (place / "report.html").read_text()
    assert "held against 1 observed scene, 2021-03-10." in report
    assert "<dd>1 in the cube: 1 was forecast</dd>" in report
    told = json.loads((place / "metrics.json").read_text())
    assert set(told["left_out"]) >= {"persistence", "mean"}
    assert "cannot be judged" in told["sentence"]


def test_one_folder_alone_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["-p", str(tmp_path), "validate", "--forecast", "somewhere"])
    assert result.exit_code == 2
    assert "--forecast and --observed belong together" in result.output


def stacked(place: Path, folder: Path, **settings: Any) -> Project:
    project = Project(place)
    stack_scenes(project, [folder], StackSettings(mask="none", **settings), Unsplit(), jobs=1)
    return project


@pytest.mark.parametrize(
    ("forecast", "error", "words"),
    [
        ({"units": "K"}, InputError, "forecast in 'K' and observed in 'degC'"),
        ({"shape": (20, 30)}, GridMismatchError, "different grids"),
        ({"day": "20250101"}, DateError, "No forecast is of a time that was observed"),
        ({"descriptions": ("red", "nir")}, InputError, "No band of the forecasts"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, write_tif: Any, forecast: dict[str, Any], error: type[Exception], words: str
) -> None:
    plane = np.arange(720, dtype=np.float32).reshape(SHAPE)
    write_tif(tmp_path / "o" / "a_20210110.tif", plane, units="degC")
    write_tif(tmp_path / "o" / "a_20210210.tif", plane, units="degC")
    rows, cols = forecast.get("shape", SHAPE)
    bands = np.stack([plane[:rows, :cols]] * len(forecast.get("descriptions", "1")))
    write_tif(
        tmp_path / "f" / f"b_{forecast.get('day', '20210210')}.tif",
        bands,
        units=forecast.get("units", ""),
        descriptions=forecast.get("descriptions", ()),
    )
    cubes = [open_cube(stacked(tmp_path / f"p{name}", tmp_path / name).cube_path) for name in "fo"]
    with pytest.raises(error, match=words):
        pair_cubes(*cubes)


def test_a_perfect_forecast_has_all_skill(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    observed = stacked(tmp_path / "o", folders[1])
    result = validate_cubes(Project(tmp_path / "p"), ValidateSettings(), observed, observed)
    told = {(row.method, row.metric): row.value for row in result.rows}
    assert told["forecast", "rmse_skill"] == 1
    assert told["forecast", "ssim"] == pytest.approx(1)
    assert told["forecast", "r2"] == 1


def test_the_nearest_of_two_forecasts_counts() -> None:
    observed = np.array(["2021-01-10T10:30", "2021-01-20T10:30"], "datetime64[s]")
    forecasts = np.array(["2021-01-10", "2021-01-11", "2021-01-16", "2021-02-20"], "datetime64[s]")
    # The 16th is 4.4 days from the 20th, less than half of ten; 20 February is of none.
    assert pair_times(forecasts, observed) == {0: 0, 1: 2}


def test_a_single_scene_is_met_within_half_a_day() -> None:
    observed = np.array(["2021-01-10T10:30"], "datetime64[s]")
    assert pair_times(np.array(["2021-01-10"], "datetime64[s]"), observed) == {0: 0}
    assert pair_times(np.array(["2021-01-11"], "datetime64[s]"), observed) == {}
