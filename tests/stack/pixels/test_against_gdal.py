"""A small Sentinel-2-like folder in two UTM zones, stacked, against GDAL's exact warp.

The oracle is GDAL's warp without approximation and without its hidden low-pass (tolerance
1e-9, XSCALE = YSCALE = 1), file by file, in float32 from physical values.
"""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from scipy.ndimage import binary_dilation

from geoforecast.project import Project
from geoforecast.raster.cube import open_cube
from geoforecast.settings import SplitSettings, StackSettings
from geoforecast.stack import stack_scenes

SHAPE = (200, 220)
ZONES = {  # one place: their rows and columns are turned by 3 degrees
    "T32TQS": ("EPSG:32632", Affine(10, 0, 800000, 0, -10, 5200000)),
    "T33UVP": ("EPSG:32633", Affine(10, 0, 344190, 0, -10, 5194830)),
}
TILED = {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}
BANDS = ("B04", "B08")
CLOUDS = (3, 8, 9, 10)
TARGET = {"crs": "EPSG:32633", "bounds": (343305.0, 5193006.0, 346005.0, 5195406.0)}
FILL = -9.0


def refl(seed, shape=SHAPE):
    """uint16 numbers of two smooth bands with texture; some are 0, which is nodata."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    smooth = 3000 + 1500 * np.sin(x / 9 + seed) * np.cos(y / 13)
    data = (smooth + rng.integers(0, 400, (2, *shape))).astype(np.uint16)
    data[:, 40:60, 100:130] = 0
    return data


def classes(seed):
    """Scene classes of 20 m: mostly vegetation, some clouds of several kinds."""
    rng = np.random.default_rng(100 + seed)
    scl = np.full((SHAPE[0] // 2, SHAPE[1] // 2), 4, np.uint8)
    for cloud in CLOUDS:
        row, col = rng.integers(5, 80, 2)
        scl[row : row + 9, col : col + 12] = cloud
    return scl


def write_folder(write_tif, place, together):
    """Eight dates of both zones; bands in files of their own, or ``together`` in one."""
    for number, (tile, (crs, transform)) in enumerate(ZONES.items()):
        for step in range(8):
            name = f"S_{tile}_{np.datetime64('2020-01-01') + 5 * step}"
            how = {"crs": crs, "transform": transform, "nodata": 0, "scale": 1e-4, **TILED}
            data = refl(10 * step + number)
            if together:
                write_tif(place / f"{name}_x.tif", data, descriptions=BANDS, **how)
            else:
                for band, pixels in zip(BANDS, data, strict=True):
                    write_tif(place / f"{name}_{band}.tif", pixels, **how)
            write_tif(
                place / f"{name}_SCL.tif",
                classes(10 * step + number),
                crs=crs,
                transform=transform @ Affine.scale(2),
                **TILED,
            )
    return place


def usable_source(seed, dilate):
    """(y, x) of a tile: neither nodata nor cloud."""
    clouds = np.isin(classes(seed), CLOUDS)
    if dilate:
        clouds = binary_dilation(clouds, np.ones((2 * dilate + 1,) * 2))
    return (refl(seed)[0] != 0) & ~clouds.repeat(2, 0).repeat(2, 1)


def gdal(path, grid, method):
    with (
        rasterio.open(path) as dataset,
        WarpedVRT(
            dataset, crs=grid.crs, transform=grid.transform, height=grid.shape[0],
            width=grid.shape[1], resampling=method, tolerance=1e-9, XSCALE=1, YSCALE=1,
        ) as vrt,
    ):  # fmt: skip
        return vrt.read()


def oracle(tmp_path, write_tif, grid, step, method, dilate, shift=0.0):
    """Of one step: values (band, y, x); what GDAL finds valid; what is far from any edge."""
    values = np.full((2, *grid.shape), np.nan)
    valid, far = np.zeros(grid.shape, bool), np.ones(grid.shape, bool)
    for number, (tile, (crs, transform)) in enumerate(ZONES.items()):
        seed = 10 * step + number
        usable = usable_source(seed, dilate)
        near = binary_dilation(~usable, np.ones((9, 9)))
        near[:4] = near[-4:] = True
        near[:, :4] = near[:, -4:] = True
        how = {"crs": crs, "transform": transform @ Affine.translation(shift, shift)}
        data = np.where(usable, refl(seed) * np.float32(1e-4), np.float32(FILL))
        path = write_tif(tmp_path / f"{tile}.tif", data, nodata=FILL, **how)
        looks = gdal(path, grid, method)
        told = np.where(usable, 2 - near, 0) + 1
        path = write_tif(tmp_path / f"{tile}_m.tif", told.astype(np.uint8), nodata=0, **how)
        told = gdal(path, grid, Resampling.nearest)[0]
        first = (told >= 2) & ~valid
        values[:, first] = looks[:, first]
        valid |= told >= 2
        far &= (told == 0) | (told == 3)
    return values, valid, far & valid


def stacked(project, folder, **options):
    chosen = {"sensor": "none", "mask": "scl", "merge": "first", **TARGET, **options}
    stack_scenes(project, [folder], StackSettings(**chosen), SplitSettings())
    return open_cube(project.cube_path)


@pytest.mark.parametrize(
    ("together", "resampling", "res", "dilate"),
    [
        (False, "bilinear", 10.0, 2),
        (True, "bilinear", 10.0, 0),
        (True, "nearest", 10.0, 0),
        (True, "cubic", 12.0, 1),
    ],
)
def test_stack_is_the_exact_warp(tmp_path, write_tif, together, resampling, res, dilate):
    folder = write_folder(write_tif, tmp_path / "in", together)
    cube = stacked(
        Project(tmp_path / "p"), folder, resampling=resampling, res=(res,), dilate=dilate
    )
    assert cube.bands == BANDS
    method = Resampling[resampling]
    for step in (0, 5):
        values, valid = (array[0] for array in cube.read(step, step + 1))
        expected, there, far = oracle(tmp_path, write_tif, cube.grid, step, method, dilate)
        assert 0.5 < there.mean() < 0.95
        assert far.mean() > 0.25
        assert (valid != there).mean() <= 1e-4
        both = far & valid[0]
        difference = np.abs(values - expected)[:, both]
        if resampling == "nearest":  # a point between two pixels may fall to either
            assert (difference > 1e-6).mean() <= 1e-4
        else:
            assert difference.max() <= 1e-5
        # Half a pixel would be seen at once.
        shifted, _, _ = oracle(tmp_path, write_tif, cube.grid, step, method, dilate, shift=0.5)
        assert np.nanmean(np.abs(values - shifted)[:, both]) > 1e-3


@pytest.mark.parametrize("together", [False, True])
def test_a_coarse_target_is_the_exact_average(tmp_path, write_tif, together):
    """GDAL's footprints are other ones where the zones are turned, so one zone is looked at."""
    folder = write_folder(write_tif, tmp_path / "in", together)
    cube = stacked(Project(tmp_path / "p"), folder, res=(30.0,), mask="none")  # auto is average
    other = stacked(Project(tmp_path / "q"), folder, res=(30.0,), mask="none", resampling="average")
    np.testing.assert_array_equal(cube.read(0, 8)[0], other.read(0, 8)[0])
    values, valid = (array[3] for array in cube.read(0, 8))
    crs, transform = ZONES["T33UVP"]
    data = refl(31) * np.float32(1e-4)
    path = write_tif(tmp_path / "a.tif", data, crs=crs, transform=transform, nodata=0)
    expected = gdal(path, cube.grid, Resampling.average)
    first = refl(30) * np.float32(1e-4)  # which lies on top
    zone = ZONES["T32TQS"]
    path = write_tif(tmp_path / "b.tif", first, crs=zone[0], transform=zone[1], nodata=0)
    covered = gdal(path, cube.grid, Resampling.average)[0] != 0
    # Along the image's edge GDAL weighs pixels that are half outside in another way.
    free = ~binary_dilation(covered | (expected[0] == 0), np.ones((3, 3)))
    assert free.sum() > 500
    assert valid[:, free].all()
    assert np.abs(values - expected)[:, free].max() <= 1e-5
    # Beyond both there is nothing.
    nothing = ~binary_dilation(covered | (expected[0] != 0), np.ones((3, 3)))
    assert nothing.sum() > 100
    assert not valid[:, nothing].any()
