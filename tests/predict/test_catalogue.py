"""STAC items of a forecast: valid, relative, and true of the files beside them."""

import json
import shutil

import numpy as np
import pystac
import pytest
import rasterio
from affine import Affine
from pyproj import CRS
from pystac.validation.stac_validator import JsonSchemaSTACValidator

from geoforecast.predict import predict_rasters
from geoforecast.predict.catalogue import FORECAST_EXTENSION, duration
from geoforecast.raster.cube import open_cube
from geoforecast.raster.grid import Grid
from geoforecast.raster.stac import projection
from geoforecast.train import train_model


@pytest.fixture
def project(make_project, wave):
    project = make_project(np.concatenate([wave, 3 * wave], axis=1))
    train_model(project, model="none", lookback=3, horizon=2)
    return project


def validate_core(thing):
    """As pystac's own validator does with the schemas that it carries: no network."""
    JsonSchemaSTACValidator().validate_core(
        stac_dict=thing.to_dict(),
        stac_object_type=thing.STAC_OBJECT_TYPE,
        stac_version=pystac.get_stac_version(),
    )


def test_a_folder_that_was_moved_is_a_valid_catalogue_of_its_files(project, tmp_path):
    result = predict_rasters(project, samples=2)
    moved = tmp_path / "elsewhere" / "kept"
    shutil.copytree(result.catalogue.parent, moved)
    shutil.rmtree(result.catalogue.parent)
    catalogue = pystac.Catalog.from_file(str(moved / "catalog.json"))
    validate_core(catalogue)
    items = sorted(catalogue.get_items(), key=lambda item: item.datetime)
    assert [item.datetime.isoformat() for item in items] == [
        "2021-07-30T00:00:00+00:00",
        "2021-08-15T00:00:00+00:00",
    ]
    seen = set()
    for item in items:
        validate_core(item)
        assert item.get_root().id == catalogue.id
        assert item.get_parent().id == catalogue.id
        assert set(item.assets) == {"forecast", "lower", "upper", "sample1", "sample2"}
        for asset in item.assets.values():
            assert asset.media_type == "image/tiff; application=geotiff; profile=cloud-optimized"
            with rasterio.open(asset.get_absolute_href()) as dataset:
                assert dataset.tags()["valid_time"] == f"{item.datetime:%Y-%m-%dT%H:%M:%SZ}"
                assert [b["name"] for b in asset.extra_fields["bands"]] == list(
                    dataset.descriptions
                )
                assert asset.extra_fields["data_type"] == dataset.dtypes[0]
            seen.add(asset.get_absolute_href())
    assert seen == {str(path) for path in moved.glob("*.tif")}


def test_an_item_says_when_and_where(project):
    result = predict_rasters(project)
    grid = open_cube(project.cube_path).grid
    path = result.catalogue.parent / "forecast_20210815.json"
    item = json.loads(path.read_text())
    told = item["properties"]
    assert told["datetime"] == "2021-08-15T00:00:00Z"
    assert told["forecast:reference_datetime"] == "2021-07-14T00:00:00Z"
    assert told["forecast:horizon"] == "P32D"
    assert FORECAST_EXTENSION in item["stac_extensions"]
    assert told["proj:code"] == "EPSG:32633"
    assert CRS.from_wkt(told["proj:wkt2"]) == CRS.from_epsg(32633)
    assert told["proj:shape"] == [23, 31]
    assert told["proj:transform"] == [10, 0, 500000, 0, -10, 5200000]
    # 15 degrees east is the zone's middle; 310 m east and 230 m south of (500000, 5200000).
    west, south, east, north = item["bbox"]
    assert (west, north) == pytest.approx((15, 46.95), abs=0.01)
    assert east - west == pytest.approx(310 / (111320 * np.cos(np.radians(46.95))), rel=0.01)
    assert north - south == pytest.approx(230 / 111170, rel=0.01)
    assert item["assets"]["forecast"]["nodata"] == "nan"
    links = [link["href"] for link in item["links"]]
    assert links
    assert all(link.startswith("./") for link in links)
    assert item["assets"]["forecast"]["href"] == "./forecast_20210815.tif"
    assert grid.shape == (23, 31)


def test_items_are_the_same_again(project):
    first = predict_rasters(project).catalogue.parent
    texts = {path.name: path.read_bytes() for path in first.glob("*.json")}
    assert len(texts) == 3
    again = predict_rasters(project).catalogue.parent
    assert {path.name: path.read_bytes() for path in again.glob("*.json")} == texts


def test_probabilities_and_class_maps_are_assets_of_their_own_types(make_project):
    rng = np.random.default_rng(0)
    wet = (rng.random((30, 1, 20, 24)) < 0.4).astype(np.float32)
    project = make_project(wet)
    train_model(project, model="none", lookback=3, horizon=1)
    folder = predict_rasters(project).catalogue.parent
    (path,) = folder.glob("forecast_*.json")
    item = pystac.Item.from_file(str(path))
    validate_core(item)
    assert set(item.assets) == {"forecast", "probability"}
    assert item.assets["forecast"].extra_fields["data_type"] == "uint8"
    assert item.assets["forecast"].extra_fields["nodata"] == 255
    assert item.assets["probability"].extra_fields["data_type"] == "float32"


def test_a_grid_without_a_code_is_told_by_its_wkt():
    sphere = CRS.from_user_input("+proj=sinu +R=6371007.181 +units=m").to_wkt("WKT1_GDAL")
    told = projection(Grid(sphere, Affine(10, 0, 0, 0, -10, 0), (3, 4)))
    assert told["code"] is None
    assert "6371007.181" in told["wkt2"]
    assert projection(Grid("", Affine(10, 0, 0, 0, -10, 0), (3, 4)))["wkt2"] is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "PT0S"),
        (300, "PT5M"),
        (5400, "PT1H30M"),
        (86400, "P1D"),
        (16 * 86400 + 6 * 3600 + 5, "P16DT6H5S"),
    ],
)
def test_durations_are_of_iso_8601(seconds, text):
    assert duration(seconds) == text
