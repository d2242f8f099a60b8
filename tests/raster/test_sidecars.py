"""Files beside a GeoTIFF: refused if they change it, passed over if they do not."""

from __future__ import annotations

import dataclasses
import os

import numpy as np
import pytest
import rasterio

from geoforecast.errors import SceneError
from geoforecast.raster.geotiff import open_geotiff, read_dataset_mask, read_header, read_pixels
from geoforecast.raster.layout import stamp_of

PIXELS = np.ones((4, 5), np.float32)


def aux(body: str) -> str:
    return f"<PAMDataset>{body}</PAMDataset>"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("<PAMRasterBand band='1'><NoDataValue>7.0</NoDataValue></PAMRasterBand>", "NoDataValue"),
        ("<PAMRasterBand band='1'><Scale>2</Scale></PAMRasterBand>", "Scale: 2"),
        ("<PAMRasterBand band='1'><Offset>3</Offset></PAMRasterBand>", "Offset: 3"),
        ("<GeoTransform> 1, 1, 0, 1, 0, -1</GeoTransform>", "GeoTransform"),
        ("<SRS>EPSG:32634</SRS>", "SRS"),
    ],
)
def test_what_changes_a_file_from_beside_is_refused(write_tif, tmp_path, body, message):
    path = write_tif(tmp_path / "a.tif", PIXELS, nodata=-1)
    (tmp_path / "a.tif.aux.xml").write_text(aux(body))
    with pytest.raises(SceneError, match=message) as caught:
        read_header(path)
    assert "gdal_translate" in caught.value.remedy


def test_what_says_the_same_again_is_fine(write_tif, tmp_path):
    path = write_tif(tmp_path / "a.tif", PIXELS, nodata=float("nan"), scale=0.5)
    with rasterio.open(path) as dataset:
        wkt = dataset.crs.to_wkt().replace('"', "&quot;")
        numbers = ", ".join(f"{value:.16e}" for value in dataset.transform.to_gdal())
    band = "<NoDataValue>nan</NoDataValue><Scale>0.5</Scale><Offset>0</Offset>"
    statistics = "<Metadata><MDI key='STATISTICS_MEAN'>1</MDI></Metadata>"
    place = f"<SRS dataAxisToSRSAxisMapping='1,2'>{wkt}</SRS><GeoTransform>{numbers}</GeoTransform>"
    (tmp_path / "a.tif.aux.xml").write_text(
        aux(f"{place}<PAMRasterBand band='1'>{band}{statistics}</PAMRasterBand>")
    )
    assert read_header(path).scales == (0.5,)


def test_a_mask_in_another_file_is_refused(write_tif, tmp_path):
    path = write_tif(tmp_path / "a.tif", PIXELS)
    write_tif(tmp_path / "a.tif.msk", PIXELS.astype(np.uint8))
    with pytest.raises(SceneError, match=r"mask in another file, a\.tif\.msk"):
        read_header(path)


def test_no_other_file_is_opened_and_none_is_written(write_tif, tmp_path):
    """Pipes that nobody writes into would hang whoever opened them."""
    path = write_tif(tmp_path / "a.tif", PIXELS)
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=str(tmp_path / "pipe.vrt"))
    for name in ("pipe.vrt", "a.tif.ovr", "a.tfw", "a.tif.aux.xml"):
        os.mkfifo(tmp_path / name)
    before = sorted(tmp_path.iterdir())
    header = read_header(path)
    with open_geotiff(path, header) as dataset:
        assert read_pixels(dataset, [1], header.grid.whole).all()
        assert read_dataset_mask(dataset, header.grid.whole).all()
    assert sorted(tmp_path.iterdir()) == before


def test_a_mask_that_appears_later_is_not_read(write_tif, tmp_path):
    path = write_tif(tmp_path / "a.tif", PIXELS)
    header = read_header(path)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(np.zeros((4, 5), bool))
    assert (tmp_path / "a.tif.msk").exists()
    with rasterio.open(path) as dataset:
        assert not dataset.dataset_mask().any()
    header = dataclasses.replace(header, stamp=stamp_of(path.stat()))
    with open_geotiff(path, header) as dataset:
        assert read_dataset_mask(dataset, header.grid.whole).all()
