"""The benchmark of validate: its pairs are what they say, and its figures are counted right."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import rasterio

VALIDATE = Path(__file__).parents[1] / "benchmarks" / "validate"


@pytest.fixture
def part(monkeypatch):
    """A function that imports a file of the benchmark by name."""
    monkeypatch.syspath_prepend(str(VALIDATE))
    before, path = set(sys.modules), list(sys.path)

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    yield load
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if "benchmarks" in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_one_scene_more_is_observed_and_the_same_seed_gives_the_same(part, tmp_path) -> None:
    made = part("pairs").make_pairs(tmp_path / "a", 2, 128)
    again = part("pairs").make_pairs(tmp_path / "b", 2, 128)
    folders = made.forecast, made.observed
    names = [sorted(path.name for path in folder.iterdir()) for folder in folders]
    assert names[0] == names[1][1:] == ["ndvi_20220113.tif", "ndvi_20220121.tif"]
    for name in names[0]:
        with (
            rasterio.open(made.observed / name) as one,
            rasterio.open(again.observed / name) as two,
        ):
            came, same = one.read(1, masked=True), two.read(1, masked=True)
        np.testing.assert_array_equal(came.filled(-1), same.filled(-1))
        assert 0.1 < came.mask.mean() < 0.25
        with rasterio.open(made.forecast / name) as file:
            forecast = file.read(1, masked=True)
        assert forecast.mask.mean() == 2 / 128
        assert np.ma.corrcoef(forecast.ravel(), came.ravel())[0, 1] > 0.8


@pytest.mark.slow
def test_single_fields_are_those_of_the_peers(part) -> None:
    fields = part("field_metrics")
    found = fields.similarity(80, 1, 2)
    assert found["largest_difference"] < 1e-8
    assert found["ways"]["scikit-image"]["wall_ratio"] == 1
    for one in fields.neighbours(80, 1)["ways"].values():
        assert one["from_esda"] is None or one["from_esda"] < 1e-10
        assert 0 < one["moran"] < 1


def test_ratios_are_taken_within_a_repeat(part) -> None:
    bench = part("bench_validate")

    def round_(ours: float, theirs: float) -> dict[str, object]:
        parts = {"parts": {"wall_s": {"scores": theirs - 2, "maps": 1}}, "wall_s": theirs}
        return {bench.COMMAND: {"wall_s": ours}, bench.PASS: {"wall_s": ours}, bench.PEERS: parts}

    rounds = [round_(2, 10), round_(20, 60), round_(1, 9)]
    assert bench.ratio(rounds, bench.COMMAND, "wall_s") == 5  # of 5, 3, 9
    assert bench.ratio(rounds, bench.PASS, "wall_s") == 4.5  # without a second of imports
    far = {"scores": {"forecast_rmse": 1.0}}
    assert bench.apart({bench.PASS: far, bench.PEERS: {"scores": {"forecast_rmse": 1.04}}}) == []
    assert bench.apart({bench.PASS: far, bench.PEERS: {"scores": {"forecast_rmse": 1.2}}})
