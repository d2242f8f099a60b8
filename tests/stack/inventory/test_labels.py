"""Tiles are told from variables by where files lie, whatever their names look like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS

from geoforecast.raster.geotiff import Header
from geoforecast.raster.grid import Grid
from geoforecast.stack.inventory.dateformats import date_span
from geoforecast.stack.inventory.labels import label_scenes
from geoforecast.stack.inventory.listing import Listed
from geoforecast.stack.inventory.scenes import SceneFile

UTM33, UTM34 = (CRS.from_epsg(code).to_wkt() for code in (32633, 32634))


def header(grid):
    one = {"path": Path("x"), "grid": grid, "dtypes": ("float32",), "nodata": (None,)}
    one |= {"scales": (1.0,), "offsets": (0.0,), "descriptions": ("",), "units": ("",)}
    return Header(**one, tags={}, alpha=0, own_mask=False, block=(8, 8))


def scene(name, place=0, *, day="2018-01-01", res=10.0, wkt=UTM33, shift=0.0):
    """A file of 1 km a side whose place is its number of kilometres (x) or a pair (x, y)."""
    x, y = place if isinstance(place, tuple) else (place, 0)
    size = round(1000 / res)
    transform = Affine(res, 0, 400_000 + 1000 * x + shift, 0, -res, 5e6 - 1000 * y)
    time = np.datetime64(day, "s")
    return SceneFile(
        Path(f"{name}.tif"),
        f"in/{name}.tif",
        time=time,
        span=date_span(name, time),
        header=header(Grid(wkt, transform, (size, size))),
    )


def labels(*scenes):
    return [part.label for part in label_scenes(scenes)[0]]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("tile1", "tile2"),
        ("x03_y07", "x04_y07"),
        ("x03_y07", "x04_y08"),
        ("h18v04", "h18v05"),
        ("T33UUP", "T33UVP"),
        ("r1c2", "r1c3"),
        ("r1_c2", "r1_c3"),
        ("0000000000-0000000000", "0000000000-0000012544"),
        ("1", "2"),
        ("01", "02"),
        ("block_2_3", "block_2_4"),
        ("part-a1", "part-c7"),
        ("north", "south"),
        ("NW", "SE"),
        ("upperleft", "upperright"),
        ("e10n50", "e11n50"),
        ("N050E010", "N050E011"),
        ("013031", "013032"),
    ],
)
@pytest.mark.parametrize("bands", [("",), ("B04_", "B08_"), ("vv_", "vh_")])
def test_names_of_tiles_are_no_bands(first, second, bands):
    scenes = [
        scene(f"20180101_{band}{tile}", place)
        for place, tile in ((0, first), (1, second))
        for band in bands
    ]
    assert labels(*scenes) == [band.strip("_") for band in bands] * 2


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("B1", "B2"),
        ("B01", "B8A"),
        ("1", "2"),
        ("ndvi", "evi"),
        ("vv", "vh"),
        ("band1", "band2"),
        ("tile1", "tile2"),  # on one place it is no tile, whatever it is called
        ("r1c1", "r1c2"),
        ("north", "south"),
        ("u10", "v10"),
        ("2t", "2d"),
    ],
)
@pytest.mark.parametrize("shift", [0.0, 5.0, 200.0])
def test_names_of_bands_on_one_place_are_bands(first, second, shift):
    """A pan band or another grid is off by half a pixel, or by part of the footprint."""
    assert labels(scene(f"{first}_20180101"), scene(f"{second}_20180101", shift=shift)) == [
        first,
        second,
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [("B1", "B2"), ("ndvi", "evi"), ("temp", "precip"), ("u10", "v10"), ("swir1", "swir2")],
)
def test_names_of_bands_stay_bands_even_on_other_places(first, second):
    """To merge two variables into one would be silent; two bands are seen at once."""
    assert labels(scene(f"{first}_20180101", 0), scene(f"{second}_20180101", 5)) == [first, second]


def test_resolutions_of_one_place_tell_bands_apart_and_tiles_do_not():
    scenes = [
        scene(f"x{tile}_20180101_{band}_{res}m", tile, res=res)
        for tile in (1, 2)
        for band, res in (("B04", 10), ("SCL", 20), ("B04", 20))
    ]
    assert labels(*scenes) == ["B04_10m", "SCL", "B04_20m"] * 2


def test_a_tile_that_lacks_a_band_or_a_date_changes_nothing():
    scenes = [
        scene("t1_B04_20180101", 0),
        scene("t1_B08_20180101", 0),
        scene("t2_B04_20180101", 1),
        scene("t1_B04_20180109", 0, day="2018-01-09"),
        scene("t2_B08_20180109", 1, day="2018-01-09"),
    ]
    assert labels(*scenes) == ["B04", "B08", "B04", "B04", "B08"]


def test_a_tile_is_what_masks_are_paired_by():
    parts = label_scenes(
        [scene(f"p{tile}_20180101_{name}", tile) for tile in (1, 2) for name in ("B4", "SCL")]
    )[0]
    assert [part.rest for part in parts] == [{"p1"}, {"p1"}, {"p2"}, {"p2"}]


def test_tiles_in_two_zones_are_compared_on_the_globe():
    # 400 km east of zone 33's west and 12 degrees of it: nothing is shared, though numbers are.
    assert labels(scene("a1_20180101"), scene("a2_20180101", wkt=UTM34)) == ["", ""]
    # One place in both zones: x is 500 km west of zone 34's centre, at the rim of zone 33.
    here = scene("a1_20180101", (330, 0))
    left, bottom, right, top = here.header.grid.bounds
    from rasterio.warp import transform_bounds

    box = transform_bounds(UTM33, UTM34, left, bottom, right, top)
    transform = Affine((box[2] - box[0]) / 100, 0, box[0], 0, -(box[3] - box[1]) / 100, box[3])
    there = scene("a2_20180101", wkt=UTM34)
    there.header = header(Grid(UTM34, transform, (100, 100)))
    assert labels(here, there) == ["a1", "a2"]


def test_a_given_band_is_the_label():
    scenes = [scene("x_20180101", 0), scene("y_20180101", 0)]
    scenes[0].told = Listed(Path("x"), Path("/"), band="red")
    assert labels(*scenes) == ["red", "y"]


@given(
    tiles=st.lists(
        st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=2, max_size=6, unique=True
    ),
    bands=st.lists(
        st.sampled_from(["B2", "B03", "B8A", "ndvi", "evi", "vv", "vh", "lst", "red"]),
        min_size=1,
        max_size=4,
        unique=True,
    ),
    days=st.lists(st.dates(), min_size=1, max_size=3, unique=True),
    pattern=st.sampled_from(
        [
            "{day}_{band}_x{x:02}_y{y:02}",
            "x{x}y{y}_{band}_{day}",
            "{band}.{day}.{x:03}-{y:03}",
            "S2_{day}_tile{x}_{y}_{band}",
        ]
    ),
    order=st.randoms(use_true_random=False),
)
def test_a_mosaic_has_its_bands_and_no_more(tiles, bands, days, pattern, order):
    days = [day.replace(year=2000 + day.year % 50) if day.day < 29 else None for day in days]
    days = sorted({day for day in days if day}) or [np.datetime64("2018-01-01").item()]
    scenes = [
        (
            scene(pattern.format(day=f"{day:%Y%m%d}", band=band, x=x, y=y), (x, y), day=str(day)),
            band,
        )
        for day in days
        for x, y in tiles
        for band in bands
    ]
    order.shuffle(scenes)
    found = labels(*(file for file, _ in scenes))
    assert found == [band if len(bands) > 1 else "" for _, band in scenes]
