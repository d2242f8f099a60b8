"""Drivers: a cube inside the cube, on its grid, with their own times."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from affine import Affine

from geoforecast.errors import InputError
from geoforecast.project import Project
from geoforecast.raster.cube import open_cube
from geoforecast.settings import StackSettings
from geoforecast.stack.derived.drivers import GROUP, driver_files, driver_settings, plan_drivers
from geoforecast.stack.derived.static import check_layers, write_layers

SHAPE = (40, 50)
COARSE = Affine(100.0, 0.0, 499800.0, 0.0, -100.0, 5200200.0)


@pytest.fixture
def cube(make_project):
    """Eight steps from 2020-01-01, every 16 days, 40 x 50 pixels of 10 m."""
    return open_cube(make_project(np.zeros((8, 1, *SHAPE), np.float32)).cube_path)


def weather(write_tif, folder, start="2020-01-01", days=30, every=5):
    """Rasters of 100 m; each is a plane that rises by 2 a pixel to the east, and with time."""
    x = np.arange(12, dtype="f4")
    for number in range(days):
        day = str(np.datetime64(start) + every * number).replace("-", "")
        write_tif(
            folder / f"t2m_{day}.tif",
            np.broadcast_to(2 * x + 100 * number, (10, 12)).astype("f4"),
            transform=COARSE,
            units="K",
        )
    return folder


def test_drivers_lie_on_the_cubes_grid_with_their_own_times(tmp_path, write_tif, cube) -> None:
    folder = weather(write_tif, tmp_path / "weather")
    chosen = StackSettings(drivers=(str(folder),))
    (text,) = write_layers(cube.path, cube.grid, chosen, 2)
    drivers = open_cube(cube.path / GROUP)
    assert drivers.grid == cube.grid
    assert drivers.bands == ("t2m",)
    assert drivers.units == ("K",)
    days = np.datetime64("2020-01-01") + 5 * np.arange(30)
    np.testing.assert_array_equal(drivers.times, days.astype("datetime64[s]"))
    assert text.startswith("Drivers: 30 steps, 2020-01-01T00:00:00 to 2020-05-25T00:00:00, of t2m")
    values, valid = drivers.read(7, 8)
    assert valid.all()
    # Column 0 of the cube is centred 205 m east of the drivers' edge, at 1.55 of their pixels.
    expected = 700 + 2 * (1.55 + np.arange(50) / 10)
    np.testing.assert_allclose(values[0, 0], np.broadcast_to(expected, SHAPE), rtol=1e-6)
    assert open_cube(cube.path).bands == cube.bands  # the series is as before


def test_statistics_come_from_the_time_that_trains(tmp_path, write_tif, cube) -> None:
    """Training ends before step 3, 2020-02-18: drivers 0 to 9 count, of mean 450 + plane."""
    folder = weather(write_tif, tmp_path / "weather")
    write_layers(cube.path, cube.grid, StackSettings(drivers=(str(folder),)), 2)
    meta = open_cube(cube.path / GROUP).meta
    assert meta["split"]["validation_start"] == "2020-02-18T00:00:00"
    plane = 2 * (1.55 + np.arange(50) / 10).mean()
    assert meta["normaliser"]["centre"] == pytest.approx([450 + plane], rel=1e-5)


def test_drivers_that_end_too_soon_are_told(tmp_path, write_tif, cube, caplog) -> None:
    """The series ends at 2020-01-01 + 7 x 16 days, which is 2020-04-22."""
    chosen = [
        StackSettings(drivers=(str(weather(write_tif, tmp_path / name, days=days)),))
        for name, days in (("long", 24), ("short", 22))
    ]
    with caplog.at_level(logging.WARNING):
        write_layers(cube.path, cube.grid, chosen[0], 1)
    assert caplog.text == ""
    with caplog.at_level(logging.WARNING):
        write_layers(cube.path, cube.grid, chosen[1], 1)  # and replaces those that were there
    assert "end at 2020-04-15T00:00:00" in caplog.text
    assert "at 2020-04-22T00:00:00" in caplog.text
    assert len(open_cube(cube.path / GROUP).times) == 22


def test_drivers_that_cannot_serve_are_refused(tmp_path, write_tif, cube) -> None:
    late = weather(write_tif, tmp_path / "late", start="2020-03-01")
    with pytest.raises(InputError, match="begin at 2020-03-01"):
        write_layers(cube.path, cube.grid, StackSettings(drivers=(str(late),)), 1)
    gone = StackSettings(drivers=(str(tmp_path / "gone"),))
    with pytest.raises(InputError, match="does not exist"):
        check_layers(gone, cube.grid, Project(tmp_path), 1)
    with pytest.raises(InputError, match="does not exist"):
        driver_files(gone)


def test_a_file_that_cannot_be_decoded_is_left_out(tmp_path, write_tif, cube, caplog) -> None:
    folder = weather(write_tif, tmp_path / "weather")
    bad = folder / "t2m_20200131.tif"
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(10, 12)).astype("f4")
    write_tif(bad, noise, transform=COARSE, compress="deflate", units="K")
    content = bytearray(bad.read_bytes())
    place = content.index(b"\x78")  # where the only block's zlib stream begins
    content[place : place + 40] = bytes(40)
    bad.write_bytes(content)
    chosen = StackSettings(drivers=(str(folder),), on_error="quarantine")
    write_layers(cube.path, cube.grid, chosen, 1)
    assert "t2m_20200131.tif" in caplog.text
    assert len(open_cube(cube.path / GROUP).times) == 29


def test_how_scenes_are_read_is_not_about_drivers() -> None:
    chosen = StackSettings(
        drivers=("weather",), bands=("NDVI",), index=("NDVI",), scale=1e-4, nodata=0.0,
        mask="scl", cadence="16D", kind="categorical", crs="EPSG:4326", chunk=64,
        on_error="quarantine", normalise="robust",
    )  # fmt: skip
    assert driver_settings(chosen) == StackSettings(
        chunk=64, on_error="quarantine", normalise="robust"
    )


def test_a_plan_needs_no_long_series(tmp_path, write_tif, cube) -> None:
    folder = weather(write_tif, tmp_path / "weather", days=5, every=40)
    plan = plan_drivers(StackSettings(drivers=(str(folder),)), cube.grid, Project(tmp_path), 1)
    assert plan is not None
    assert plan.grid == cube.grid
    assert plan_drivers(StackSettings(), cube.grid, Project(tmp_path), 1) is None
