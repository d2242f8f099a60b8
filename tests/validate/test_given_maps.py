"""Folders of class maps and of masks: scored as they are, beside the map before."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn import metrics as oracle

from geoforecast.cli import cli
from geoforecast.errors import InputError
from geoforecast.project import Project
from geoforecast.raster.cube import open_cube
from geoforecast.settings import StackSettings, Unsplit
from geoforecast.stack import stack_scenes
from geoforecast.validate.pairing import pair_cubes

SHAPE = (20, 26)
YEARS = [f"{year}0701" for year in range(2015, 2020)]
CODES = np.array([3, 12, 41], np.uint8)
CLASSES = ("--kind", "categorical")


def maps(seed: int = 0) -> np.ndarray:
    """(year, y, x) numbers of classes; a fifth of the pixels changes from year to year."""
    rng = np.random.default_rng(seed)
    made = [rng.integers(0, 3, SHAPE)]
    for _ in YEARS[1:]:
        made.append(np.where(rng.random(SHAPE) < 0.2, rng.integers(0, 3, SHAPE), made[-1]))
    return np.stack(made)


def forecasts() -> np.ndarray:
    """What was forecast of the last two years: half right of the rest."""
    rng = np.random.default_rng(9)
    came = maps()[3:]
    return np.where(rng.random(came.shape) < 0.7, came, rng.integers(0, 3, came.shape))


def write_folders(tmp_path: Path, write_tif: Any, codes: np.ndarray) -> tuple[Path, Path]:
    """Five observed maps, of which a corner is unknown, and two forecasts."""
    for year, numbers in zip(YEARS, maps(), strict=True):
        values = codes[numbers].copy()
        values[:2, :3] = 255
        write_tif(tmp_path / "obs" / f"cover_{year}.tif", values, nodata=255)
    for year, numbers in zip(YEARS[3:], forecasts(), strict=True):
        write_tif(tmp_path / "fc" / f"made_{year}.tif", codes[numbers])
    return tmp_path / "fc", tmp_path / "obs"


def run(tmp_path: Path, folders: tuple[Path, Path], *more: str) -> Path:
    line = ["-p", str(tmp_path / "p"), "validate", "--forecast", str(folders[0])]
    result = CliRunner().invoke(cli, [*line, "--observed", str(folders[1]), *more])
    assert result.exit_code == 0, result.output
    return tmp_path / "p" / "validation" / "compared"


def rows_of(folder: Path) -> dict[tuple[str, str], dict[str, str]]:
    with (folder / "metrics.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if not row["part"]]
    return {(row["method"], row["metric"]): row for row in rows}


def test_class_maps_are_scored_as_they_are(tmp_path: Path, write_tif: Any) -> None:
    folder = run(tmp_path, write_folders(tmp_path, write_tif, CODES), *CLASSES)
    rows = rows_of(folder)
    known = np.ones(SHAPE, bool)
    known[:2, :3] = False
    came, said = maps()[3:][:, known].ravel(), forecasts()[:, known].ravel()
    last = maps()[2:4][:, known].ravel()

    def value(name: str, method: str = "forecast") -> float:
        return float(rows[method, name]["value"])

    assert value("accuracy") == pytest.approx(oracle.accuracy_score(came, said))
    assert value("kappa") == pytest.approx(oracle.cohen_kappa_score(came, said))
    for number, f1 in enumerate(oracle.f1_score(came, said, average=None)):
        assert value(f"f1_class_{CODES[number]}") == pytest.approx(f1)
    # Persistence is the map of the year before, forecast or not.
    wrong = {"forecast": np.mean(came != said), "persistence": np.mean(came != last)}
    for method, share in wrong.items():
        assert value("disagreement", method) == pytest.approx(share)
    assert value("disagreement_skill") == pytest.approx(
        1 - wrong["forecast"] / wrong["persistence"]
    )
    changed, moved = came != last, said != last
    hits = np.sum(changed & moved & (came == said))
    assert value("figure_of_merit") == pytest.approx(hits / np.sum(changed | moved))
    assert value("figure_of_merit", "persistence") == 0
    for name in ("brier", "probability_r2"):
        assert rows["forecast", name]["value"] == ""
        assert rows["forecast", name]["reason"] == "the forecasts are maps, without probabilities"
    told = json.loads((folder / "metrics.json").read_text())
    table = oracle.confusion_matrix(came, said)
    assert told["confusion"][0]["pixels"] == table.tolist()
    assert told["confusion"][0]["observed"] == CODES.tolist()
    report = (folder / "report.html").read_text()
    assert "handed in, held against 2 observed scenes" in report
    assert "Share of wrong pixels of each test step" in report
    assert "<dt>Map</dt><dd>as it was handed in</dd>" in report


def test_masks_have_scores_of_yes_and_no(tmp_path: Path, write_tif: Any) -> None:
    """Unasked: 0 and 1 alone are found; as classes they are the same."""
    codes = np.array([0, 1, 1], np.uint8)
    folders = write_folders(tmp_path, write_tif, codes)
    known = np.ones(SHAPE, bool)
    known[:2, :3] = False
    came, said = (codes[numbers][:, known].ravel() for numbers in (maps()[3:], forecasts()))
    expected = {
        "csi": oracle.jaccard_score(came, said),
        "pod": oracle.recall_score(came, said),
        "far": 1 - oracle.precision_score(came, said),
        "f1": oracle.f1_score(came, said),
        "hss": oracle.cohen_kappa_score(came, said),
        "disagreement": np.mean(came != said),
    }
    for place, more in (("a", ()), ("b", CLASSES)):
        rows = rows_of(run(tmp_path / place, folders, *more))
        for name, value in expected.items():
            assert float(rows["forecast", name]["value"]) == pytest.approx(value), (name, more)
        for name in ("brier", "roc_auc", "brier_reliability", "brier_resolution"):
            assert "without probabilities" in rows["forecast", name]["reason"]
        assert float(rows["forecast", "csi"]["pixels"]) == came.size


def test_a_map_without_one_before_it_has_no_figure_of_merit(tmp_path: Path, write_tif: Any) -> None:
    write_tif(tmp_path / "obs" / "a_20200701.tif", CODES[maps()[3]])
    write_tif(tmp_path / "fc" / "b_20200701.tif", CODES[forecasts()[0]])
    folder = run(tmp_path, (tmp_path / "fc", tmp_path / "obs"), *CLASSES)
    rows = rows_of(folder)
    accuracy = oracle.accuracy_score(maps()[3].ravel(), forecasts()[0].ravel())
    assert float(rows["forecast", "accuracy"]["value"]) == pytest.approx(accuracy)
    assert "where an earlier map is known" in rows["forecast", "figure_of_merit"]["reason"]
    assert ("persistence", "accuracy") not in rows


def cube(tmp_path: Path, name: str, write_tif: Any, values: np.ndarray, **settings: Any) -> Any:
    for year in YEARS[:2]:
        write_tif(tmp_path / name / f"a_{year}.tif", values)
    project = Project(tmp_path / f"p_{name}")
    stack_scenes(
        project, [tmp_path / name], StackSettings(mask="none", **settings), Unsplit(), jobs=1
    )
    return open_cube(project.cube_path)


def test_what_is_no_pair_of_maps_is_refused(tmp_path: Path, write_tif: Any) -> None:
    codes = CODES[maps()[0]]
    classes = cube(tmp_path, "classes", write_tif, codes, kind="categorical")
    values = cube(tmp_path, "values", write_tif, codes)
    with pytest.raises(InputError, match="read as continuous, the observed scenes as categorical"):
        pair_cubes(values, classes)
    many = np.arange(520, dtype=np.uint16).reshape(SHAPE)
    many = cube(tmp_path, "many", write_tif, many, kind="categorical")
    with pytest.raises(InputError, match="520 classes, more than 64"):
        pair_cubes(many, many)
    both = cube(tmp_path, "both", write_tif, np.stack([codes, codes]), kind="categorical")
    with pytest.raises(InputError, match="classes in 2 bands"):
        pair_cubes(both, both)
    # Values stay values, and a mask that is 0 throughout is one beside a mask of both.
    assert not pair_cubes(values, values).has_probabilities
    zero = cube(tmp_path, "zero", write_tif, np.zeros(SHAPE, np.uint8))
    mask = cube(tmp_path, "mask", write_tif, (maps()[0] > 0).astype(np.uint8))
    assert pair_cubes(zero, mask).series.target.kind == "binary"
    assert not pair_cubes(zero, zero).has_probabilities
    assert not pair_cubes(values, mask).has_probabilities


def test_kind_is_of_folders_alone(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["-p", str(tmp_path), "validate", *CLASSES])
    assert result.exit_code == 2
    assert "a run knows its own" in result.output
