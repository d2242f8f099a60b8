"""Folders of class maps and of masks: scored as they are, beside the map before."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from click.testing import CliRunner
from rasterio.crs import CRS
from sklearn import metrics as oracle

from geoforecast.cli import cli
from geoforecast.errors import InputError
from geoforecast.raster.cube import Cube, CubeWriter, open_cube, update_meta
from geoforecast.raster.grid import Grid
from geoforecast.samples.normaliser import fit_normaliser, fit_statistics, to_meta
from geoforecast.samples.split import make_split
from geoforecast.settings import Unsplit
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


@pytest.mark.parametrize("more", [(), pytest.param(CLASSES, marks=pytest.mark.slow)])
def test_masks_have_scores_of_yes_and_no(
    tmp_path: Path, write_tif: Any, more: tuple[str, ...]
) -> None:
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
    rows = rows_of(run(tmp_path, folders, *more))
    for name, value in expected.items():
        assert float(rows["forecast", name]["value"]) == pytest.approx(value), name
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


def cube(path: Path, values: np.ndarray, kind: str = "continuous") -> Cube:
    """Two years of the same (band, y, x) or (y, x), as a cube."""
    bands = [f"b{number}" for number in range(values.size // (SHAPE[0] * SHAPE[1]))]
    times = np.array(["2015-07-01", "2016-07-01"], "datetime64[s]")
    writer = CubeWriter(
        path,
        times=times,
        bands=bands,
        grid=Grid(CRS.from_epsg(32633).to_wkt(), Affine(10, 0, 5e5, 0, -10, 5.2e6), SHAPE),
        dtype="float32" if kind == "continuous" else values.dtype.name,
        observed=np.ones(2, bool),
    )
    steps = np.stack([values.reshape(len(bands), *SHAPE)] * 2)
    writer.write(0, 0, steps.astype(writer.dtype), np.ones(steps.shape, bool))
    split = make_split(2, Unsplit())
    meta = {
        "kind": kind,
        "units": [""] * len(bands),
        "cadence": {"step": "none", "median_seconds": 366 * 86400.0},
        "split": split.to_meta(times),
        "fingerprint": path.name,
        "normaliser": None,
    }
    writer.finish(meta)
    if kind == "continuous":
        told = fit_statistics(open_cube(path), range(2))
        update_meta(path, normaliser=to_meta(fit_normaliser("none", told), told))
    return open_cube(path)


def test_what_is_no_pair_of_maps_is_refused(tmp_path: Path) -> None:
    codes = CODES[maps()[0]]
    classes = cube(tmp_path / "classes", codes, "categorical")
    values = cube(tmp_path / "values", codes)
    with pytest.raises(InputError, match="read as continuous, the observed scenes as categorical"):
        pair_cubes(values, classes)
    many = cube(tmp_path / "many", np.arange(520, dtype=np.uint16).reshape(SHAPE), "categorical")
    with pytest.raises(InputError, match="520 classes, more than 64"):
        pair_cubes(many, many)
    both = cube(tmp_path / "both", np.stack([codes, codes]), "categorical")
    with pytest.raises(InputError, match="classes in 2 bands"):
        pair_cubes(both, both)


def test_masks_are_told_from_values(tmp_path: Path) -> None:
    """A mask that is 0 throughout is one beside a mask of both."""
    values = cube(tmp_path / "values", CODES[maps()[0]])
    zero = cube(tmp_path / "zero", np.zeros(SHAPE, np.uint8))
    mask = cube(tmp_path / "mask", (maps()[0] > 0).astype(np.uint8))
    assert pair_cubes(zero, mask).series.target.kind == "binary"
    assert pair_cubes(mask, zero).series.target.kind == "binary"
    for pair in ((values, values), (zero, zero), (values, mask), (mask, values)):
        assert not pair_cubes(*pair).has_probabilities


def test_kind_is_of_folders_alone(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["-p", str(tmp_path), "validate", *CLASSES])
    assert result.exit_code == 2
    assert "a run knows its own" in result.output
