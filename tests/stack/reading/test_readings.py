"""Readings: whose number counts, what is told, and conversions of unit."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from geoforecast.errors import SettingsError
from geoforecast.raster.geotiff import read_header
from geoforecast.settings import StackSettings
from geoforecast.stack.inventory.scenes import SceneFile
from geoforecast.stack.reading.conversions import apply_conversion, parse_conversion
from geoforecast.stack.reading.readings import (
    CONVERSIONS,
    Reading,
    convert,
    settle_readings,
    unit_of,
)
from geoforecast.stack.reading.sensors import Sensor, load_sensor, sensors

Make = Callable[..., SceneFile]
TOML = """
title = "Test"
[defaults]
unit = "K"
scale = 0.5
offset = 10
nodata = [7]
low = 1
high = 99
[[band]]
name = "t"
"""


@pytest.fixture
def sensor(tmp_path: Path) -> Sensor:
    (tmp_path / "test.toml").write_text(TOML)
    return load_sensor(str(tmp_path / "test.toml"))


@pytest.fixture
def scene(tmp_path: Path, write_tif: Callable[..., Path]) -> Make:
    """A function that writes a raster and makes a scene of it."""
    numbers = itertools.count()

    def make(pixels: object = None, band: str = "t", dtype: str = "int16", **given: object):
        array = np.ones((20, 20), dtype) if pixels is None else np.asarray(pixels)
        key = f"in/x_{next(numbers)}.tif"
        path = write_tif(tmp_path / key, array, **given)
        return SceneFile(path, key, header=read_header(path), bands={band: 1})

    return make


def read(file: SceneFile, sensor: Sensor | None, **options: object) -> Reading:
    settle_readings([file], StackSettings(**options), sensor)
    return next(iter(file.readings.values()))


def test_without_a_sensor_tags_and_options_are_all(scene):
    assert read(scene(), None) == Reading()
    file = scene(scale=0.1, offset=3, nodata=-1, units="mm")
    assert read(file, None) == Reading(nodata=(-1,), scale=0.1, offset=3, unit="mm")
    assert read(file, None, scale=2.0, nodata=5.0).nodata == (5,)
    assert read(file, None, scale=2.0) == Reading(nodata=(-1,), scale=2, offset=3, unit="mm")
    assert read(file, None, nodata=float("nan")).nodata == ()


def test_the_sensor_fills_what_the_tags_leave_open(scene, sensor):
    assert read(scene(), sensor) == Reading((7,), 0.5, 10, 1, 99, unit="K")
    assert read(scene(nodata=50), sensor).nodata == (50, 7)


def test_tags_come_before_the_sensor(scene, sensor):
    # Other raw numbers than the sensor's: none of its numbers hold for them.
    assert read(scene(scale=0.01), sensor) == Reading(scale=0.01, unit="K")
    assert read(scene(offset=1), sensor) == Reading(offset=1, unit="K")
    # The same raw numbers, told twice.
    told = read(scene(scale=0.5, offset=10), sensor)
    assert told == Reading((7,), 0.5, 10, 1, 99, unit="K")
    assert read(scene(units="degC"), sensor).unit == "degC"


def test_options_come_before_all(scene, sensor):
    file = scene(scale=0.01, offset=1, nodata=3)
    told = read(file, sensor, scale=4.0, offset=5.0, nodata=6.0)
    assert (told.nodata, told.scale, told.offset) == ((6,), 4, 5)
    # Each number by itself; and a unit that the sensor gives is that of its own numbers.
    told = read(scene(), sensor, scale=4.0)
    assert (told.nodata, told.scale, told.offset, told.unit) == ((7,), 4, 10, "")
    assert read(scene(units="m"), sensor, scale=4.0).unit == "m"
    assert read(scene(), sensor, scale=0.5).unit == "K"


def test_floating_point_is_physical_already(scene, sensor):
    file = scene(dtype="float32")
    assert read(file, sensor) == Reading(unit="K")
    text = settle_readings([file], StackSettings(), sensor)
    assert "t are floating point, so physical already." in text


def test_bands_that_the_sensor_does_not_know_keep_their_tags(scene, sensor):
    file = scene(band="other", scale=0.1)
    assert read(file, sensor) == Reading(scale=0.1)
    assert "other are no bands of test" in settle_readings([file], StackSettings(), sensor)


def test_a_sensors_offset_is_in_raw_numbers_whatever_the_scale(tmp_path, write_tif):
    key = "S2A_MSIL2A_20230614T100031_N0509_R122_T33UWP_20230614T160003.SAFE/B04.tif"
    pixels = np.full((20, 20), 3000, np.uint16)
    path = write_tif(tmp_path / key, pixels)
    file = SceneFile(path, key, header=read_header(path), bands={"B04": 1})
    s2 = sensors()["sentinel2-l2a"]
    assert read(file, s2).offset == pytest.approx(-0.1)
    assert read(file, s2, scale=1.0).offset == pytest.approx(-1000)
    assert read(file, s2, offset=0.0).offset == 0
    tagged = write_tif(tmp_path / f"tagged_{key}", pixels, scale=1e-4)
    file = SceneFile(tagged, f"tagged_{key}", header=read_header(tagged), bands={"B04": 1})
    assert read(file, s2).offset == 0  # the file says itself how it is scaled


def test_a_reading_makes_the_fewest_comparisons(scene, tmp_path):
    (tmp_path / "n.toml").write_text(TOML.replace("[7]", "[7, -9, 400, 65535]"))
    sensor = load_sensor(str(tmp_path / "n.toml"))
    assert read(scene(dtype="uint16"), sensor) == Reading((7,), 0.5, 10, 1, 99, unit="K")
    (tmp_path / "o.toml").write_text(TOML.replace("[7]", "[7, 65535]").replace("high = 99", ""))
    sensor = load_sensor(str(tmp_path / "o.toml"))
    assert read(scene(dtype="uint16"), sensor) == Reading((7,), 0.5, 10, 1, 65534, unit="K")
    assert read(scene(dtype="int16"), sensor).nodata == (7, 65535)
    assert read(scene(dtype="uint16"), sensor, nodata=5.0).high is None


def test_the_text_says_how_values_come_about(scene, sensor):
    text = settle_readings([scene(), scene(scale=0.5, offset=10)], StackSettings(), sensor)
    assert text == "Values: t = raw * 0.5 + 10 [K]."
    assert settle_readings([scene()], StackSettings(), None) == ""


def test_the_unit_of_a_band_is_that_of_the_first_scene_that_has_one(scene):
    files = [scene(), scene(units="mm"), scene(units="cm")]
    settle_readings(files, StackSettings(), None)
    assert unit_of("t", files) == "mm"
    assert unit_of("none", files) == ""


def test_private_tags(scene):
    tag = '<Item name="Gain">0.5</Item><Item name="Offset">-32</Item><Item name="Nodata">255</Item>'
    file = scene(band="dbz", dtype="uint8", tags={"GDAL_METADATA": f"<GDALMetadata>{tag}"})
    radar = sensors()["radar-dbz"]
    assert read(file, radar) == Reading((255,), 0.5, -32, unit="dBZ")
    assert read(file, radar, scale=0.1, nodata=0.0).scale == 0.1
    broken = scene(band="dbz", tags={"GDAL_METADATA": tag.replace("0.5", "a lot")})
    assert read(broken, radar).scale == 1


def test_what_is_converted_already_is_not_converted_again(scene):
    rain = sensors()["radar-rain"]
    dbz = read(scene(band="x", dtype="float32", units="dBZ"), rain)
    assert (dbz.conversion, dbz.unit) == ("dbz-to-rain:200,1.6,0", "mm/h")
    rate = read(scene(band="x", dtype="float32", units="mm/h"), rain)
    assert (rate.conversion, rate.unit) == ("", "mm/h")


def test_backscatter_is_decibels_or_power_by_its_pixels(scene):
    rng = np.random.default_rng(1)
    power = rng.gamma(4, 0.03, (64, 64)).astype(np.float32)
    power[:8] = 0  # the border
    linear = scene(power, band="VV")
    db = scene(np.where(power > 0, 10 * np.log10(np.maximum(power, 1e-6)), 0), band="VV")
    keep, change = sensors()["sentinel1-grd"], sensors()["sentinel1-grd-db"]
    assert read(linear, keep) == Reading((0,), unit="1")
    assert read(db, keep) == Reading(unit="dB")
    assert read(linear, change) == Reading((0,), conversion="power-to-db", unit="dB")
    assert read(db, change) == Reading(unit="dB")
    border = np.where(np.arange(64)[:, None] < 50, 0, 10 * np.log10(np.maximum(power, 1e-6)))
    assert read(scene(border.astype(np.float32), band="VV"), keep).unit == "dB"
    # A unit in the file settles it; whole numbers are neither.
    assert read(scene(power, band="VV", units="dB"), change).conversion == ""
    assert read(scene(band="VV", dtype="uint16"), change).conversion == ""


def test_decibels_and_power():
    power = np.array([1, 10, 0.001, 0, -1], np.float32)
    db = apply_conversion(power, "power-to-db")
    assert db.dtype == np.float32
    np.testing.assert_allclose(db, [0, 10, -30, np.nan, np.nan], atol=1e-5)
    back = apply_conversion(db[:3], "db-to-power")
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, power[:3], rtol=1e-5)


def test_rain_of_reflectivity():
    # Z = 200 * 1^1.6 = 200 is 23.0103 dBZ: 1 mm/h; 200 * 10^1.6 is 39.0103 dBZ: 10 mm/h.
    dbz = np.array([23.0103, 39.0103, -32, np.nan], np.float32)
    rain = apply_conversion(dbz, "dbz-to-rain")
    assert rain.dtype == np.float32
    np.testing.assert_allclose(rain[:2], [1, 10], rtol=1e-4)
    assert 0 < rain[2] < 0.001
    assert np.isnan(rain[3])
    assert apply_conversion(dbz, "dbz-to-rain:200,1.6,0")[2] == 0
    # Z = 300 R^1.4: 10 log10(300) = 24.7712 dBZ is 1 mm/h.
    other = apply_conversion(np.array([24.771212], np.float32), "dbz-to-rain:300,1.4")
    np.testing.assert_allclose(other, [1], rtol=1e-4)


@pytest.mark.parametrize("name", sorted(CONVERSIONS))
def test_every_conversion_keeps_shape_and_type(name):
    values = np.linspace(-20, 40, 12, dtype=np.float32).reshape(3, 4)
    before = values.copy()
    result = convert(values, Reading(conversion=name))
    assert (result.shape, result.dtype) == ((3, 4), np.float32)
    np.testing.assert_array_equal(values, before)


def test_no_conversion_is_no_change():
    values = np.ones(3, np.float32)
    assert convert(values, Reading()) is values


def test_a_conversion_that_is_not_there():
    with pytest.raises(SettingsError, match="no conversion 'power-to-dB'") as caught:
        parse_conversion("power-to-dB")
    assert "power-to-db" in str(caught.value)
    with pytest.raises(SettingsError, match="other numbers than a, b, dry"):
        parse_conversion("dbz-to-rain:x")
    with pytest.raises(SettingsError, match="other numbers than none"):
        parse_conversion("db-to-power:1")
