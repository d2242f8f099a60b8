"""The store of static layers."""

from __future__ import annotations

import numpy as np
import pytest
import zarr

from geoforecast.errors import CubeError
from geoforecast.raster.cube import open_cube
from geoforecast.raster.grid import Grid, Tile
from geoforecast.raster.layers import CHUNK_PX, StaticWriter, read_static


@pytest.fixture
def project(make_project, wave):
    return make_project(wave)


def written(cube_path, shape=(300, 520)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(2, *shape)).astype(np.float32)
    valid = rng.uniform(size=values.shape) > 0.2
    writer = StaticWriter(
        cube_path, names=("dem", "soil"), units=("m", ""), shape=shape, sources=[{"file": "dem"}]
    )
    for tile in Grid("", None, shape).tiles(CHUNK_PX):
        here = (slice(None), *tile.slices)
        writer.write(tile, values[here], valid[here])
    writer.finish()
    return np.where(valid, values, np.nan).astype(np.float32), valid


def test_layers_come_back_whole_and_in_tiles(project) -> None:
    values, valid = written(project.cube_path)
    names, found, usable = read_static(project.cube_path)
    assert names == ("dem", "soil")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, values)
    np.testing.assert_array_equal(usable, valid)
    tile = Tile(250, 270, 3, 519)
    _, found, usable = read_static(project.cube_path, tile)
    np.testing.assert_array_equal(found, values[:, 250:270, 3:519])
    np.testing.assert_array_equal(usable, valid[:, 250:270, 3:519])
    attributes = zarr.open_group(project.cube_path, mode="r")["static"].attrs["geoforecast"]
    assert attributes["units"] == ["m", ""]
    assert attributes["sources"] == [{"file": "dem"}]


def test_a_cube_without_layers_has_none(project) -> None:
    assert read_static(project.cube_path) is None


def test_the_cube_itself_is_as_before(project) -> None:
    before = open_cube(project.cube_path)
    values, _ = before.read(0, 3)
    written(project.cube_path)
    after = open_cube(project.cube_path)
    assert after.meta == before.meta
    np.testing.assert_array_equal(after.read(0, 3)[0], values)
    assert {"static", "values", "valid"} <= set(zarr.open_group(project.cube_path, mode="r"))
    assert set(after.to_xarray().data_vars) == set(before.to_xarray().data_vars)


def test_written_again_they_are_replaced(project) -> None:
    written(project.cube_path)
    values, _ = written(project.cube_path, (40, 50))
    np.testing.assert_array_equal(read_static(project.cube_path)[1], values)


def test_unfinished_or_damaged_layers_are_an_error(project) -> None:
    StaticWriter(project.cube_path, names=("a",), units=("",), shape=(9, 9), sources=[])
    with pytest.raises(CubeError, match="static layers"):
        read_static(project.cube_path)


@pytest.mark.parametrize("array", ["values", "valid"])
def test_a_lost_chunk_is_noticed(project, array: str) -> None:
    written(project.cube_path)
    folder = project.cube_path / "static" / array / "c"
    next(item for item in sorted(folder.rglob("*")) if item.is_file()).unlink()
    with pytest.raises(CubeError, match="a chunk is missing"):
        read_static(project.cube_path)
