"""Warping: where pixels coincide they are copied, which is what every method would give."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine

from geoforecast.project import Project
from geoforecast.raster.cube import open_cube
from geoforecast.raster.kernels import copied
from geoforecast.raster.resample import CoordinateMap
from geoforecast.settings import SplitSettings, StackSettings
from geoforecast.stack import stack_scenes
from geoforecast.stack.pixels.warp import _five, _looked_at
from geoforecast.stack.reading.readings import Reading

# Scenes of one zone, some pixels apart, on a cube that they cover in part.
ORIGINS = [(343200, 5194300), (343500, 5194100), (342700, 5194450)]
BOUNDS = (343000.0, 5193500.0, 343900.0, 5194400.0)


def stacked(tmp_path, write_tif, name, **options):
    rng = np.random.default_rng(0)
    folder = tmp_path / "in"
    if not folder.exists():
        for step in range(8):
            left, top = ORIGINS[step % len(ORIGINS)]
            data = rng.integers(0, 50, (2, 60, 70)).astype(np.uint16)
            write_tif(
                folder / f"{np.datetime64('2020-01-01') + step}.tif", data, nodata=0, scale=0.01,
                descriptions=("red", "nir"), crs="EPSG:32633",
                transform=Affine(10, 0, left, 0, -10, top),
            )  # fmt: skip
    settings = StackSettings(sensor="none", mask="none", bounds=BOUNDS, **options)
    project = Project(tmp_path / name)
    stack_scenes(project, [folder], settings, SplitSettings())
    return open_cube(project.cube_path).read(0, 8)


@pytest.mark.parametrize("method", ["nearest", "bilinear", "cubic", "average", "mode"])
def test_pixels_that_coincide_are_copied(tmp_path, write_tif, monkeypatch, method):
    values, valid = stacked(tmp_path, write_tif, "copied", resampling=method)
    assert 0.2 < valid.mean() < 0.6
    # Cube row 10 is row 0 of the first scene, column 20 its column 0.
    assert valid[0, :, 10:70, 20:90].mean() > 0.95
    assert not valid[0, :, :10].any()
    with monkeypatch.context() as patch:
        patch.setattr(CoordinateMap, "shift", None)
        other, seen = stacked(tmp_path, write_tif, "warped", resampling=method)
    assert (valid == seen).all()
    assert (values[valid] == other[valid]).all()
    assert np.isnan(values[~valid]).all()


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
@pytest.mark.parametrize("bounds", [(0.1, None), (None, 0.3), (3, 40.7)])
def test_kernels_keep_the_bounds_of_a_reading(dtype, bounds):
    """As numpy does, in whose float32 the bound 0.1 is that of the file's 0.1."""
    steps = 0.1 if dtype is np.float32 else 1
    raw = (np.arange(60) * steps).astype(dtype).reshape(1, 6, 10)
    reading = Reading(nodata=(5.0,), low=bounds[0], high=bounds[1])
    _, expected = _looked_at(raw[0], np.ones((6, 10), bool), reading, physical=False)
    numbers = np.array([_five(reading, raw.dtype, codes=False)])
    values, valid = np.empty((1, 6, 10), np.float32), np.empty((1, 6, 10), bool)
    copied(raw, np.ones((1, 6, 10), bool), numbers, 0, 0, values, valid)
    assert (valid[0] == expected).all()
    assert 0 < expected.sum() < 60
