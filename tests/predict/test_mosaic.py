"""One VRT a layer: all valid times as bands, named, in a folder that can be moved."""

import shutil

import numpy as np
import pytest
import rasterio
from affine import Affine

from geoforecast.predict import predict_rasters
from geoforecast.raster.cog import CogWriter
from geoforecast.raster.grid import Grid
from geoforecast.train import train_model


@pytest.fixture
def project(make_project, wave):
    project = make_project(wave)
    train_model(project, model="none", lookback=3, horizon=2)
    return project


def test_a_vrt_holds_all_valid_times_as_bands(project, tmp_path):
    result = predict_rasters(project, steps=3, vrt=True, samples=1)
    assert [p.name for p in result.vrts] == [
        "forecast.vrt",
        "lower.vrt",
        "upper.vrt",
        "sample1.vrt",
    ]
    pixels = []
    for path in result.files:
        with rasterio.open(path) as dataset:
            pixels.append(dataset.read(1))
            crs, transform, units = dataset.crs, dataset.transform, dataset.units
    moved = tmp_path / "elsewhere" / "kept"
    shutil.copytree(result.vrts[0].parent, moved)
    shutil.rmtree(result.vrts[0].parent)
    with rasterio.open(moved / "forecast.vrt") as dataset:
        np.testing.assert_array_equal(dataset.read(), pixels)
        assert dataset.descriptions == ("2021-07-30", "2021-08-15", "2021-08-31")
        assert (dataset.crs, dataset.transform) == (crs, transform)
        assert dataset.units == units * 3
        assert np.isnan(dataset.nodatavals).all()
        assert dataset.dtypes == ("float32",) * 3
        assert dataset.tags()["init_time"] == "2021-07-14T00:00:00Z"
        assert "valid_time" not in dataset.tags()
        assert [dataset.tags(b)["valid_time"] for b in (1, 2, 3)] == [
            "2021-07-30T00:00:00Z",
            "2021-08-15T00:00:00Z",
            "2021-08-31T00:00:00Z",
        ]
        assert [dataset.tags(b)["lead"] for b in (1, 2, 3)] == ["1", "2", "3"]
    text = (moved / "forecast.vrt").read_text()
    assert str(tmp_path) not in text


def test_bands_are_named_where_there_are_several(make_project, wave):
    project = make_project(np.concatenate([wave, 3 * wave], axis=1))
    train_model(project, model="none", lookback=3, horizon=2)
    result = predict_rasters(project, vrt=True, interval=0)
    with rasterio.open(result.vrts[0]) as dataset:
        assert dataset.descriptions == (
            "2021-07-30 b0",
            "2021-07-30 b1",
            "2021-08-15 b0",
            "2021-08-15 b1",
        )
        with rasterio.open(result.files[1]) as file:
            np.testing.assert_array_equal(dataset.read([3, 4]), file.read())


def test_coarse_looks_come_from_the_overviews_of_the_files(make_project):
    rng = np.random.default_rng(0)
    wide = rng.random((8, 1, 300, 600)).astype(np.float32)
    project = make_project(wide)
    train_model(project, model="none", lookback=2, horizon=1)
    result = predict_rasters(project, vrt=True, interval=0)
    with rasterio.open(result.vrts[0]) as dataset, rasterio.open(result.files[0]) as file:
        assert file.overviews(1) == [2]
        assert dataset.overviews(1) == [2]


def test_none_is_written_unasked(project):
    result = predict_rasters(project)
    assert result.vrts == ()
    assert not list(result.files[0].parent.glob("*.vrt"))
    assert not list(result.files[0].parent.glob(".*"))


def test_overviews_of_classes_hold_the_commonest(tmp_path):
    """One pixel of each four is another class, whichever of them a coarse look would pick."""
    for row, col in np.ndindex(2, 2):
        codes = np.ones((1, 600, 600), dtype=np.uint8)
        codes[0, row::2, col::2] = 7
        grid = Grid("", Affine(10, 0, 0, 0, -10, 0), (600, 600))
        path = tmp_path / f"codes{row}{col}.tif"
        with CogWriter(path, grid, ["class"], nodata=255, dtype="uint8") as writer:
            writer.write(codes, grid.whole)
        with rasterio.open(path, overview_level=0) as dataset:
            assert dataset.shape == (300, 300)
            assert (dataset.read(1) == 1).all()
