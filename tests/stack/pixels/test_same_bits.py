"""One folder, many ways to cut the work: the cube is the same to the bit."""

from __future__ import annotations

import json
import types

import numpy as np
import pytest
from affine import Affine

from geoforecast.project import Project
from geoforecast.raster import cube_writer, measures
from geoforecast.raster.cube import open_cube
from geoforecast.settings import SplitSettings, StackSettings
from geoforecast.stack import stack_scenes
from geoforecast.stack.pixels import making as making_module
from geoforecast.stack.pixels import sources, units
from geoforecast.stack.pixels import unit_pixels as pass_module
from geoforecast.stack.pixels import warp as warp_module

ZONES = {
    "T33UVP": ("EPSG:32633", Affine(10, 0, 343200, 0, -10, 5194300)),
    "T32TQS": ("EPSG:32632", Affine(10, 0, 800100, 0, -10, 5200000)),
}
SHAPE = (60, 140)
# Everything as small as it goes: one chunk a unit, one unit a lane's row, nothing kept.
TINY = {
    (units, "UNIT_VALUES"): 1,
    (cube_writer, "SHARD_VALUES"): 1,
    (units, "LANE_VALUES"): 1,
    (sources, "KEPT_BYTES"): 1,
    (sources, "MOST_OPEN"): 1,
    (warp_module, "WINDOW_PIXELS"): 2000,
    (pass_module, "HELD_PIXELS"): 3000,
}
WAYS = [
    (256, 1, {}),
    (32, 9, TINY),  # more threads than a unit has steps
    (64, 3, {(units, "UNIT_VALUES"): 1, (cube_writer, "SHARD_VALUES"): 1}),
    (32, 2, {(sources, "KEPT_BYTES"): 20_000, (units, "LANE_VALUES"): 4 * 2 * 64}),
]


def write_folder(write_tif, folder, *, codes=False, steps):
    rng = np.random.default_rng(0)
    for step in range(steps):
        day = str(np.datetime64("2020-01-01") + 5 * step).replace("-", "")
        for tile, (crs, transform) in ZONES.items():
            data = rng.integers(1, 9 if codes else 1000, (2, *SHAPE)).astype(np.uint16)
            data[:, rng.random(SHAPE) < 0.1 + 0.4 * (step % 3 == 1)] = 0
            write_tif(
                folder / f"S_{tile}_{day}_x.tif", data, nodata=0, scale=1e-3,
                descriptions=("red", "nir"), crs=crs, transform=transform, tiled=True,
                blockxsize=32, blockysize=16, compress="deflate",
            )  # fmt: skip
            clouds = rng.random((SHAPE[0] // 2, SHAPE[1] // 2)) < 0.1
            write_tif(
                folder / f"S_{tile}_{day}_CLM.tif", clouds.astype(np.uint8), crs=crs,
                transform=transform @ Affine.scale(2),
            )  # fmt: skip
    return folder


RECIPES = {
    "derived, best, fewest pixels, filled": {
        "index": ("NDVI",), "expression": "sum = red + nir", "cadence": "10D",
        "composite": "best", "min_valid": 0.3, "fill": "linear", "dilate": 1,
    },
    "cubic, median, mean of twins": {
        "resampling": "cubic", "cadence": "10D", "merge": "mean", "res": (9.0,),
    },
    "average": {"res": (33.0,), "dilate": 1},
    "categorical": {"kind": "categorical"},
    "mode": {"kind": "categorical", "resampling": "mode", "res": (33.0,)},
    "nearest": {"resampling": "nearest", "index": ("NDVI",), "bands": ("NDVI",)},
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_report(monkeypatch):
    """The quality report takes longer than these small stacks."""
    told = types.SimpleNamespace(describe=lambda: "")
    monkeypatch.setattr("geoforecast.stack.verb.write_quality", lambda *_: told)


def content(project):
    cube = open_cube(project.cube_path)
    arrays = [*cube.read(0, len(cube.times)), *cube.read(0, len(cube.times), filled=True)]
    arrays += [cube.step_statistics(), cube.overview().read(0, len(cube.times))]
    told = {name: cube.meta.get(name) for name in ("normaliser", "valid_pixels", "left_out")}
    return [array.tobytes() for array in arrays], json.dumps(told)


@pytest.mark.parametrize("recipe", RECIPES)
def test_any_way_to_cut_the_work_gives_the_same_bits(tmp_path, write_tif, monkeypatch, recipe):
    options = {"mask": "cloud:CLM", "sensor": "none", **RECIPES[recipe]}
    steps = 16 if "cadence" in options else 8
    folder = write_folder(write_tif, tmp_path / "in", codes="kind" in options, steps=steps)
    for module in (measures, cube_writer, making_module):
        monkeypatch.setattr(module, "CELL_PX", 32)
    lanes = []
    cut = making_module.units_of

    def seen(writer):
        found = cut(writer)
        lanes.append((len(found), len({unit.lane for unit in found})))
        return found

    monkeypatch.setattr(making_module, "units_of", seen)
    results = []
    for number, (chunk, jobs, tuning) in enumerate(WAYS if "fill" in options else WAYS[:3]):
        project = Project(tmp_path / f"p{number}")
        with monkeypatch.context() as patch:
            for (module, name), value in tuning.items():
                patch.setattr(module, name, value)
            settings = StackSettings(chunk=chunk, **options)
            stack_scenes(project, [folder], settings, SplitSettings(), jobs=jobs)
        results.append(content(project))
    cube = open_cube(project.cube_path)
    valid = cube.read(0, len(cube.times))[1]
    assert 0.1 < valid.mean() < 0.98
    if "min_valid" in options:
        assert cube.meta["left_out"]
    assert lanes[0] == (-(-len(cube.times) // 4),) * 2
    assert lanes[1][1] > lanes[0][1]
    assert lanes[1][0] >= 2 * lanes[0][0]
    assert all(result == results[0] for result in results)


def test_zeros_keep_their_sign_in_any_chunk(tmp_path, write_tif):
    """A chunk of nothing but zeros is written in short, but not if one is -0.0."""
    frame = np.ones((70, 80), np.float32)
    frame[40, 40] = -1
    for step in range(8):
        day = str(np.datetime64("2020-01-01") + step).replace("-", "")
        write_tif(tmp_path / "in" / f"{day}.tif", frame, descriptions=("a",))
    for chunk in (32, 64, 256):
        project = Project(tmp_path / str(chunk))
        settings = StackSettings(chunk=chunk, expression="zero = a * 0", bands=("zero",))
        stack_scenes(project, [tmp_path / "in"], settings, SplitSettings())
        values = open_cube(project.cube_path).read(0, 8)[0]
        assert np.signbit(values).sum() == 8
        assert np.signbit(values[:, 0, 40, 40]).all()
