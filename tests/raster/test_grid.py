"""How a grid is told to people."""

from __future__ import annotations

import pytest
from affine import Affine
from rasterio.crs import CRS

from geoforecast.raster.grid import Grid

SPHERE = "+proj=sinu +R=6371007.181 +units=m"


@pytest.mark.parametrize(
    ("wkt", "name"),
    [
        (CRS.from_epsg(32633).to_wkt(), "EPSG:32633"),
        (CRS.from_proj4(SPHERE).to_wkt(), "Sinusoidal (without an EPSG code)"),
        ('LOCAL_CS["mine"]', "mine"),
        ("", "no CRS"),
    ],
)
def test_a_crs_is_named_by_what_is_known_of_it(wkt: str, name: str) -> None:
    told = Grid(wkt, Affine(30, 0, 0, 0, -30, 0), (4, 5)).describe()
    assert told == f"{name}, 30 x 30, 5 x 4 px"
