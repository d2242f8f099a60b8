"""Sensors: a contract that each TOML file keeps, how one is chosen, and what only pixels tell."""

from __future__ import annotations

import dataclasses
import logging
import textwrap
import tomllib
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

from geoforecast.errors import SettingsError
from geoforecast.project import Project
from geoforecast.raster.cube import open_cube
from geoforecast.raster.geotiff import read_header
from geoforecast.raster.grid import Tile
from geoforecast.settings import SplitSettings, StackSettings
from geoforecast.stack.inventory.scenes import SceneFile
from geoforecast.stack.reading.conversions import apply_conversion, parse_conversion
from geoforecast.stack.reading.readings import settle_readings
from geoforecast.stack.reading.sensors import (
    choose_sensor,
    describe,
    describe_sensors,
    load_sensor,
    role_bands,
    sensors,
    with_kind,
)
from geoforecast.stack.reading.sensors.evidence import offset_state
from geoforecast.stack.reading.sensors.sensor import Example, Sensor
from geoforecast.stack.verb import stack_scenes

Pixels = NDArray[np.uint16]
MakeScene = Callable[..., SceneFile]
EXAMPLES = [
    pytest.param(sensor, example, id=f"{sensor.name}-{number}")
    for sensor in sensors().values()
    for number, example in enumerate(sensor.examples, 1)
]


@pytest.fixture
def scene(tmp_path: Path, write_tif: Callable[..., Path]) -> MakeScene:
    """A function that writes a raster under tmp_path and makes a scene of it."""

    def make(
        key: str,
        pixels: NDArray[np.generic],
        band: str = "b",
        day: str = "2023-06-14",
        **given: object,
    ) -> SceneFile:
        path = write_tif(tmp_path / key, pixels, **given)
        time = np.datetime64(day, "s")
        bands = {band: 1}
        return SceneFile(path, key, time=time, header=read_header(path), bands=bands)

    return make


def example_scene(make: MakeScene, example: Example) -> SceneFile:
    names = example.bands or (example.band,)
    shape = (len(names), 20, 20) if len(names) > 1 else (20, 20)
    pixels = np.full(shape, example.raw, example.dtype)
    return make(example.file, pixels, example.band, descriptions=names, tags=example.tags)


def physical(raw: float, file: SceneFile, band: str) -> float:
    """What a raw number means by a scene's reading; NaN if no data."""
    reading = file.readings[band]
    low = -np.inf if reading.low is None else reading.low
    high = np.inf if reading.high is None else reading.high
    if raw in reading.nodata or not low <= raw <= high:
        return float("nan")
    value = np.array([raw], np.float32) * np.float32(reading.scale) + np.float32(reading.offset)
    return float(apply_conversion(value, reading.conversion)[0] if reading.conversion else value[0])


# The contract


def test_each_file_is_a_sensor():
    folder = resources.files("geoforecast.stack.reading") / "sensors"
    files = {item.name for item in folder.iterdir() if item.name.endswith(".toml")}
    assert {f"{name}.toml" for name in sensors()} == files
    assert len(files) > 10


@pytest.mark.parametrize("sensor", sensors().values(), ids=lambda sensor: sensor.name)
def test_a_sensor_is_complete(sensor: Sensor):
    assert sensor.title
    assert sensor.description
    assert sensor.examples, "a sensor without an example is not tested"
    assert sensor.name == "generic" or "http" in sensor.source or "LSDS" in sensor.source
    named = {(band.name, band.files) for band in sensor.bands}
    assert len(named) == len(sensor.bands)
    for band in sensor.bands:
        if band.conversion:
            parse_conversion(band.conversion)
        assert all(np.isfinite(bound) for bound in (band.low, band.high) if bound is not None)
    # A file in which --sensor auto sees nothing can only be chosen by name.
    told = sensor.files or sensor.tags or sensor.band_names
    assert bool(told) or not sensor.auto


@pytest.mark.parametrize(("sensor", "example"), EXAMPLES)
def test_an_example_is_recognised_by_its_own_sensor_alone(sensor, example, scene):
    file = example_scene(scene, example)
    by_auto = [s.name for s in sensors().values() if s.auto and s.recognises(file.key, file.header)]
    if sensor.auto:
        assert by_auto == [sensor.name]
        assert choose_sensor([file], StackSettings()).sensor is sensor
    else:
        assert sensor.name not in by_auto
    assert choose_sensor([file], StackSettings(sensor=sensor.name)).sensor is sensor


@pytest.mark.parametrize(("sensor", "example"), EXAMPLES)
def test_an_example_means_what_it_says(sensor, example, scene):
    file = example_scene(scene, example)
    settle_readings([file], StackSettings(), sensor)
    value = physical(example.raw, file, example.band)
    expected = np.nan if example.value is None else example.value
    np.testing.assert_allclose(value, expected, rtol=1e-4, equal_nan=True)


@pytest.mark.parametrize("sensor", sensors().values(), ids=lambda sensor: sensor.name)
def test_what_is_categorical_or_a_flag_is_never_averaged(sensor: Sensor, scene):
    flags = [band for band in sensor.bands if band.categorical or band.flag]
    for number, band in enumerate(flags):
        only = dataclasses.replace(sensor, bands=(band,), offset_rule=None, decibel_rule=None)
        key = f"{band.files.replace('[', '').replace('?', '') or 'x'}_{number}.tif"
        file = scene(key, np.ones((4, 4), np.uint8), "x")
        only = dataclasses.replace(only, bands=(dataclasses.replace(band, patterns=(".*",)),))
        settle_readings([file], StackSettings(), only)
        assert file.readings["x"].resampling == "nearest"


# Choosing


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("S2B_MSIL2A_20200614T100029_R122_T33UWP_20200614T130003/B04.tif", "sentinel2-l2a"),
        ("cog/S2A_33UWP_20230614_0_L2A/B04.tif", "sentinel2-l2a"),
        ("flat/T33UWP_20230614T100031_SCL_20m.tif", "sentinel2-l2a"),
        ("flat/T33UWP_20230614T100031_B8A.tif", "sentinel2-l1c"),
        (
            "asf/s1a-iw-grd-vv-20230614t052500-20230614t052525-001.tiff",
            "sentinel1-grd",
        ),
        ("m/LT05_L2SP_044034_20080614_20200829_02_T1_ST_B6.TIF", "landsat-c2-l2"),
        ("m/LE07_L1TP_044034_20030614_20200915_02_T1_B61.TIF", "landsat-c2-l1"),
        ("m/LC08_L1TP_044034_20180614_20180622_01_T1_pixel_qa.tif", "landsat-c1-sr"),
        ("m/LC08_L1TP_044034_20180614_20180622_01_T1_BQA.TIF", "landsat-c1"),
        ("m/HLS.S30.T33UWP.2018165.v1.4.B04.tif", "hls"),
        ("m/MYD09Q1.A2023161.h18v04.061.2023170035000_sur_refl_b01.tif", "modis-09"),
        ("m/MOD11A2.061_QC_Day_doy2023161_aid0001.tif", "modis-11"),
        ("m/MYD13C2_NDVI_2023_161.tif", "modis-13"),
        ("m/VJ113A1.A2023161.h18v04_EVI.tif", "viirs-ndvi"),
        (
            "m/VNL_v21_npp_2014_global_vcmslcfg_c2022.median_masked.tif",
            "viirs-nightlights",
        ),
        ("m/reanalysis-era5-single-levels_t2m_2023061406.tif", "era5"),
        ("m/spi_03_202306.tif", "monthly-grid"),
        ("m/PRISM_ppt_stable_4kmM3_202306_bil.tif", "monthly-grid"),
        ("m/mapbiomas-brazil-collection-90-2020.tif", "landcover"),
        ("m/NLCD_2019_Land_Cover_L48.tif", "landcover"),
        # not these
        ("m/S2_T33TVL_20150711T100008_NDVI.tif", None),
        ("m/S1A_IW_SLC__1SDV_20230614T052500.tif", None),
        ("m/TERRA_MODIS_012010_NDVI_2013-09-14.tif", None),
        ("m/MOD13Q1X_2013.tif", None),
        ("m/species_2013.tif", None),
        ("m/rate_1km_20170509.tif", None),
    ],
)
def test_names_as_archives_give_them(key, name):
    found = [s.name for s in sensors().values() if s.auto and s.recognises(key, None)]
    assert found == ([name] if name else [])


def test_a_few_strangers_do_no_harm_but_many_do(scene):
    ones = np.ones((4, 4), np.int16)
    own = [scene(f"in/MOD13Q1.A2023{n:03}.h18v04.061_NDVI.tif", ones) for n in range(1, 20)]
    stranger = scene("in/quicklook_20230101.tif", ones)
    choice = choose_sensor([*own, stranger], StackSettings())
    assert choice.sensor is sensors()["modis-13"]
    assert "19 of 20 files" in choice.text
    assert choose_sensor([*own[:5], stranger], StackSettings()).sensor is None


def test_no_sensor_is_chosen_for_names_that_tell_nothing(scene):
    files = [
        scene(f"in/{name}", np.ones((4, 4), np.float32))
        for name in ("S2_T33TVL_20150711T100008_NDVI.tif", "ndvi_20200101.tif", "RW_20221018.tif")
    ]
    for file in files:
        assert choose_sensor([file], StackSettings()).sensor is None
    assert choose_sensor(files, StackSettings(sensor="none")).text == "Sensor: none."
    text = choose_sensor(files, StackSettings()).text
    assert text == "Sensor: none recognised; values are as the files' tags say."
    text = choose_sensor(files, StackSettings(scale=1e-4)).text
    assert text == "Sensor: none recognised; values are as told (--scale 0.0001)."


def test_two_sensors_that_fit_alike_are_none(scene):
    key = "L/LC08_L1TP_044034_20180614_20180622_01_T1/MOD13Q1.A2018165_NDVI.tif"
    choice = choose_sensor([scene(key, np.ones((4, 4), np.int16))], StackSettings())
    assert choice.sensor is None
    assert "landsat-c1 and modis-13" in choice.text


def test_bands_tell_a_sensor_where_names_do_not(scene):
    pixels = np.full((2, 20, 20), 4, np.uint16)
    file = scene("gee/20230614.tif", pixels, "B4", descriptions=["B4", "SCL"])
    assert choose_sensor([file], StackSettings()).sensor is sensors()["sentinel2-l2a"]


def test_an_unknown_sensor_is_answered_with_the_nearest():
    with pytest.raises(SettingsError, match="no such sensor") as caught:
        load_sensor("sentinel2-l2b")
    assert "Did you mean 'sentinel2-l2a'?" in str(caught.value)
    with pytest.raises(SettingsError, match=r"mine\.toml cannot be read"):
        load_sensor("mine.toml")


# A user's own file

OWN = """
title = "Mine"

[recognise]
files = ["mine_"]

[mask]
description = "3 is cloud"
names = ["flag"]
unusable = [3]

[defaults]
scale = 0.5

[[band]]
name = "a"
role = "R"

[[band]]
name = "b"
offset = 1
"""


def test_a_file_of_the_users_own(tmp_path, scene):
    path = tmp_path / "mine.toml"
    path.write_text(OWN)
    sensor = load_sensor(str(path))
    assert sensor.name == "mine"
    assert sensor.masks[0].unusable == (3,)
    file = scene("in/mine_20230101.tif", np.ones((4, 4), np.int16), "b")
    settle_readings([file], StackSettings(), sensor)
    assert (file.readings["b"].scale, file.readings["b"].offset) == (0.5, 1.0)
    assert file.sensor == "mine"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("title =", "titel =", r"'title' is missing.\nIs it meant by 'titel'\?"),
        ('title = "Mine"', "", "'title' is missing"),
        ("offset = 1", "ofset = 1", r"\[\[band\]\] 2: 'ofset' is not known here"),
        ("offset = 1", 'offset = "1"', "'offset' is '1'"),
        ("offset = 1", "offset = true", "'offset' is True"),
        ("scale = 0.5", "scal = 0.5", r"\[defaults\]: 'scal' is not known here"),
        ("scale = 0.5", "scale = 0", "'scale' is 0"),
        ('"mine_"', '"mine_["', "is no regular expression"),
        ('"mine_"', "7", "'files' holds 7"),
        ('name = "b"', 'name = "a"', "two named 'a'"),
        ("unusable = [3]", "unusable = []", "of no value what it means"),
        ("unusable = [3]", 'unusable = ["three"]', "'unusable' holds 'three'"),
        ("unusable = [3]", "unusable = [3]\nusabel = [1]", "'usabel' is not known here"),
        ("offset = 1", 'conversion = "db-to-powr"', "no conversion 'db-to-powr'"),
        ("offset = 1", 'conversion = "dbz-to-rain:1,2,3,4"', "other numbers than a, b, dry"),
        ("offset = 1", 'resampling = "linear"', "'resampling' is 'linear'"),
        ("title", "= title", "is no TOML file"),
    ],
)
def test_a_wrong_file_is_refused_with_its_key(tmp_path, old, new, message):
    path = tmp_path / "mine.toml"
    path.write_text(OWN.replace(old, new, 1))
    with pytest.raises(SettingsError, match=message) as caught:
        load_sensor(str(path))
    assert str(path) in str(caught.value)


def test_the_documented_file_is_accepted(tmp_path):
    text = (Path(__file__).parents[3] / "docs" / "sensors.md").read_text(encoding="utf-8")
    block = text.partition("## A file of your own")[2].partition("| key of a band")[0]
    lines = [line for line in block.splitlines() if line.startswith("    ")]
    path = tmp_path / "soil.toml"
    path.write_text(textwrap.dedent("\n".join(lines)))
    sensor = load_sensor(str(path))
    assert [band.name for band in sensor.bands] == ["sm", "quality"]
    assert sensor.recognises("in/soil_20230614.tif", None)


def test_a_mask_profile_that_is_not_there(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('title = "Mine"\nmask = "sclx"\n')
    with pytest.raises(SettingsError, match="names no mask profile: 'sclx'"):
        load_sensor(str(path))
    path.write_text('title = "Mine"\nmask = ["scl", "cloud"]\n')
    assert [mask.name for mask in load_sensor(str(path)).masks] == ["scl", "cloud"]


def test_a_suggestion_for_a_misspelt_key(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(OWN.replace("offset", "ofset"))
    with pytest.raises(SettingsError) as caught:
        load_sensor(str(path))
    assert "Did you mean 'offset'?" in str(caught.value)


def test_every_shipped_file_fails_on_a_key_that_is_not_known(tmp_path):
    """Whatever table of a file gets a stray key, somebody notices."""
    folder = resources.files("geoforecast.stack.reading") / "sensors"
    for name in sensors():
        text = (folder / f"{name}.toml").read_text(encoding="utf-8")
        for table in {line for line in text.splitlines() if line.startswith("[")}:
            if "tags" in table:
                continue
            path = tmp_path / f"{name}.toml"
            path.write_text(text.replace(table, f"{table}\nstray_key = 1", 1))
            assert "stray_key" in tomllib.loads(path.read_text()).__repr__()
            with pytest.raises(SettingsError, match="stray_key"):
                load_sensor(str(path))


# Roles, kind, list


def test_roles_of_bands():
    sensor = sensors()["sentinel2-l2a"]
    found = role_bands(sensor, ["B02", "B04", "B8A", "B08", "SCL", "x"])
    assert found == {"B": "B02", "R": "B04", "N2": "B8A", "N": "B08"}
    assert role_bands(None, ["B02"]) == {}


def test_roles_that_differ_between_platforms_need_the_files(scene):
    sensor = sensors()["landsat-c2-l2"]
    ones = np.ones((4, 4), np.uint16)
    new = scene("LC09_L2SP_044034_20230614_20230622_02_T1_SR_B4.TIF", ones, "SR_B4")
    old = scene("LE07_L2SP_044034_20030614_20200915_02_T1_SR_B4.TIF", ones, "SR_B4")
    assert role_bands(sensor, ["SR_B4"]) == {}
    assert role_bands(sensor, ["SR_B4"], [new]) == {"R": "SR_B4"}
    assert role_bands(sensor, ["SR_B4"], [old]) == {"N": "SR_B4"}
    assert role_bands(sensor, ["SR_B4"], [old, new]) == {}
    # A role on one platform and none on the other is no role.
    thermal = scene("HLS.L30.T33UWP.2023165T100831.v2.0.B10.tif", ones, "B10")
    cirrus = scene("HLS.S30.T33UWP.2023165T100601.v2.0.B10.tif", ones, "B10")
    assert role_bands(sensors()["hls"], ["B10"], [thermal]) == {"T1": "B10"}
    assert role_bands(sensors()["hls"], ["B10"], [thermal, cirrus]) == {}


def test_class_maps_make_the_cube_categorical(scene):
    classes = scene("in/ESA_WorldCover_10m_2021_v200_Map.tif", np.ones((4, 4), np.uint8), "Map")
    sensor = sensors()["landcover"]
    assert with_kind(StackSettings(), sensor, [classes]).kind == "categorical"
    assert with_kind(StackSettings(), None, [classes]).kind == "continuous"
    ndvi = scene("in/MOD13Q1.A2023161_NDVI.tif", np.ones((4, 4), np.int16), "NDVI")
    assert with_kind(StackSettings(), sensors()["modis-13"], [ndvi]).kind == "continuous"


def test_the_list_names_every_sensor_and_mask():
    text = describe()
    assert {row.name for row in describe_sensors()} == set(sensors())
    for name in (*sensors(), "scl", "modis-state"):
        assert f"  {name} " in text


# What only pixels tell


def surface(
    rng: np.random.Generator, darkest: float, width: float, added: int
) -> NDArray[np.uint16]:
    """DN of a band whose reflectances start at ``darkest`` and spread over ``width``."""
    rho = darkest + width * rng.beta(2, 5, 10000)
    return np.clip(np.rint(rho * 10000 + added), 1, 65534).astype(np.uint16)


@pytest.mark.parametrize(
    ("grounds", "state"),
    [
        # (darkest, width) of red and blue; the same ground with the offset and without.
        ([(0.01, 0.3), (0.01, 0.2)], ("gone", "held")),  # fields and woods
        ([(0.0, 0.02), (0.01, 0.03)], ("gone", "held")),  # open water
        ([(-0.005, 0.02), (0.0, 0.03)], ("gone", "held")),  # water, corrected a little too far
        ([(0.2, 0.3), (0.09, 0.1)], ("unclear", "unclear")),  # sand: bright in all bands
        ([(0.5, 0.4), (0.5, 0.4)], ("unclear", "unclear")),  # full of cloud
    ],
)
def test_whether_an_offset_is_in_the_pixels(grounds, state):
    rng = np.random.default_rng(3)
    without = [surface(rng, dark, width, 0) for dark, width in grounds]
    within = [surface(rng, dark, width, 1000) for dark, width in grounds]
    assert (offset_state(without, -1000), offset_state(within, -1000)) == state


def test_real_reflectances_are_never_misjudged(real_data):
    """Raw numbers made of real reflectances, with the offset and without."""
    told = []
    for path in sorted(real_data("s2_earthnet_29SND").glob("*_refl.tif")):
        with rasterio.open(path) as dataset:
            rho = dataset.read([3, 1, 2])  # red, blue, green
        raw = np.where(np.isfinite(rho), np.rint(10000 * rho), 0)
        held = np.where(np.isfinite(rho), np.clip(raw + 1000, 1, 65534), 0)
        told.append([offset_state(x.astype(np.uint16), -1000) for x in (np.maximum(raw, 0), held)])
    without, within = zip(*told, strict=True)
    assert "held" not in without
    assert "gone" not in within
    assert (without.count("gone"), within.count("held"), len(told)) == (24, 17, 26)


def test_one_band_or_a_few_pixels_never_prove_that_an_offset_is_there():
    rng = np.random.default_rng(3)
    band = surface(rng, 0.01, 0.3, 1000)
    assert offset_state([band], -1000) == "unclear"
    assert offset_state([band[:50], band[50:99]], -1000) == "unclear"
    assert offset_state([np.zeros(500, np.uint16)], -1000) == "unclear"
    # nodata and saturated pixels are no evidence
    frame = np.concatenate([band, np.zeros(20000, np.uint16), np.full(9000, 65535, np.uint16)])
    assert offset_state([frame, frame], -1000) == "held"
    few = np.concatenate([band[:1000] - 900, np.full(90000, 65535, np.uint16)])
    assert offset_state([few], -1000) == "gone"


@pytest.fixture
def sentinel2(scene: MakeScene) -> Callable[..., list[SceneFile]]:
    """A function that writes red and blue of one day, with a baseline in the name or none."""

    def make(day: str, *, baseline: str, added: int, darkest: float = 0.01) -> list[SceneFile]:
        rng = np.random.default_rng(int(day[-2:]))
        stamp = day.replace("-", "")
        folder = f"S2A_MSIL2A_{stamp}T100031_{baseline}R122_T33UWP_{stamp}T120000.SAFE"
        return [
            scene(
                f"{folder}/T33UWP_{stamp}T100031_{band}_10m.tif",
                surface(rng, darkest, 0.3, added).reshape(100, 100),
                band,
                day,
            )
            for band in ("B04", "B02")
        ]

    return make


def offsets(files: list[SceneFile]) -> list[float]:
    text = settle_readings(files, StackSettings(), sensors()["sentinel2-l2a"])
    scaled = files[0].header is not None and files[0].header.scales[0] != 1
    assert ("Offset: " in text) != scaled  # where tags hold, nothing is added
    return [round(file.readings[band].offset, 6) for file in files for band in file.bands]


def test_mixed_baselines_come_out_alike(sentinel2):
    old = sentinel2("2020-06-14", baseline="N0301_", added=0)
    new = sentinel2("2023-06-14", baseline="N0509_", added=1000)
    again = sentinel2("2019-06-14", baseline="N0500_", added=1000)  # processed again
    assert offsets([*old, *new, *again]) == [0, 0, -0.1, -0.1, -0.1, -0.1]
    # the same ground gives the same reflectance
    raw = [float(np.median(surface(np.random.default_rng(14), 0.01, 0.3, a))) for a in (0, 1000)]
    assert physical(raw[0], old[0], "B04") == pytest.approx(physical(raw[1], new[0], "B04"))


def test_an_offset_that_somebody_took_out_is_not_taken_out_twice(sentinel2):
    files = sentinel2("2023-06-14", baseline="N0509_", added=0)
    cloudy = sentinel2("2023-06-24", baseline="N0509_", added=0, darkest=0.5)
    assert offsets([*files, *cloudy]) == [0, 0, 0, 0]


def test_one_harmonised_day_among_many_is_found(sentinel2):
    days = [sentinel2(f"2023-06-{day}", baseline="N0509_", added=1000) for day in range(10, 28)]
    odd = sentinel2("2023-06-28", baseline="N0509_", added=0)
    result = offsets([file for day in [*days, odd] for file in day])
    assert result == [-0.1] * 36 + [0, 0]


def test_an_unknown_baseline_is_told_by_pixels_or_said_aloud(sentinel2, caplog):
    held = sentinel2("2023-06-14", baseline="", added=1000)
    gone = sentinel2("2020-06-14", baseline="", added=0)
    assert offsets([*held, *gone]) == [-0.1, -0.1, 0, 0]
    bright = sentinel2("2021-06-14", baseline="", added=0, darkest=0.5)
    with caplog.at_level(logging.WARNING):
        assert offsets([*held, *gone, *bright]) == [-0.1, -0.1, 0, 0, 0, 0]
    assert "At 1 of 3 times the processing baseline is unknown" in caplog.text
    assert "--offset" in caplog.text
    caplog.clear()
    # Where all that can be told is told alike, one hand prepared them all.
    assert offsets([*held, *bright]) == [-0.1] * 4
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("added", "told", "doubt"), [(0, -0.1, True), (1000, 0, True), (0, 0, False)]
)
def test_tags_that_contradict_the_pixels_hold_and_are_said(scene, caplog, added, told, doubt):
    """Some archives took the offset out and left it in the metadata."""
    rng = np.random.default_rng(2)
    name = "S2A_MSIL2A_20230614T100031_N0509_R122_T33UWP_20230614T120000"
    files = [
        scene(
            f"{name}/{band}.tif",
            surface(rng, 0.01, 0.3, added).reshape(100, 100),
            band,
            scale=1e-4,
            offset=told,
        )
        for band in ("B04", "B02")
    ]
    with caplog.at_level(logging.WARNING):
        assert offsets(files) == [told, told]
    assert ("contradict their pixels" in caplog.text) == doubt


def test_floating_point_raises_no_doubt_about_an_offset(scene, caplog):
    file = scene("S2A_33UWP_20230614_0_L2A/B04.tif", np.full((20, 20), 0.2, np.float32), "B04")
    with caplog.at_level(logging.WARNING):
        text = settle_readings([file], StackSettings(), sensors()["sentinel2-l2a"])
    assert "Offset" not in text
    assert caplog.text == ""


def test_the_offset_is_never_told_by_date(sentinel2):
    early = sentinel2("2017-06-14", baseline="N0500_", added=1000)
    late = sentinel2("2024-06-14", baseline="N0301_", added=0)
    assert offsets([*early, *late]) == [-0.1, -0.1, 0, 0]


# Through the stack


def two_landsats(folder: Path, write_tif: Callable[..., Path]) -> None:
    """Bands 3 to 5 of Landsat 7 and 8, eight days; each holds 10000 times its role's number."""
    numbers = {"LE07": {3: 1, 4: 2, 5: 3}, "LC08": {4: 1, 5: 2, 6: 3}}  # red, nir, swir1
    for month in range(1, 9):
        platform = ("LE07", "LC08")[month % 2]
        name = f"{platform}_L2SP_044034_2020{month:02}10_20201101_02_T1"
        for band, number in numbers[platform].items():
            pixels = np.full((20, 20), 10000 * number, np.uint16)
            write_tif(folder / name / f"{name}_SR_B{band}.TIF", pixels)


def test_bands_that_platforms_number_differently_are_named_by_meaning(tmp_path, write_tif, caplog):
    two_landsats(tmp_path / "in", write_tif)
    project = Project(tmp_path / "project")
    with caplog.at_level(logging.WARNING):
        stack_scenes(project, [tmp_path / "in"], StackSettings(), SplitSettings(), jobs=1)
    assert "B4 is not the same band in all files (nir, red)" in caplog.text
    cube = open_cube(project.cube_path)
    assert sorted(cube.bands) == ["nir", "red", "swir1"]
    values, valid = cube.read(0, 8, Tile(0, 20, 0, 20))
    assert valid.all()
    for place, name in enumerate(cube.bands):
        number = {"red": 1, "nir": 2, "swir1": 3}[name]
        np.testing.assert_allclose(values[:, place], 2.75e-5 * 10000 * number - 0.2, atol=1e-6)


def test_a_name_that_tells_several_bands_is_none_of_them():
    sensor = sensors()["sentinel2-l2a"]
    assert sensor.band("L30_B04", "x.tif").name == "B04"
    assert sensor.band("B04_B08_ratio", "x.tif") is None
    assert sensor.band("aid0001", "in/S2_B04_2020.tif").name == "B04"
    assert sensor.band("aid0001", "in/S2_B04_B08_2020.tif") is None
    assert sensor.band("red", "x.tif").name == "B04"
    assert sensors()["landsat-c1"].band("nir", "LE07_L1TP_x.tif").patterns == ("B?4",)


def test_a_folder_of_mixed_baselines_becomes_one_cube(tmp_path, write_tif):
    """Eight days before and after 04.00: the same ground has the same value."""
    rng = np.random.default_rng(5)
    rho = 0.02 + 0.3 * rng.random((40, 40))
    folder = tmp_path / "in"
    days = [f"20{year}0{month}10" for year in (20, 23) for month in (5, 6, 7, 8)]
    baselines = ["N0214", "N0500", "N0301", "N0500", "N0400", "N0509", "N0510", "N0511"]
    for day, baseline in zip(days, baselines, strict=True):
        added = 1000 if baseline >= "N0400" else 0
        name = f"S2A_MSIL2A_{day}T100031_{baseline}_R122_T33UWP_{day}T120000.SAFE"
        raw = np.rint(10000 * rho + added).astype(np.uint16)
        raw[0, :3] = (0, 65535, added + 100)
        classes = np.full((40, 40), 4, np.uint8)
        classes[5, 5] = 9
        for band, pixels in (("B04", raw), ("B02", raw), ("SCL", classes), ("AOT", raw)):
            write_tif(folder / name / f"T33UWP_{day}T100031_{band}_10m.tif", pixels)
    project = Project(tmp_path / "project")
    stack_scenes(project, [folder], StackSettings(), SplitSettings(), jobs=1)
    cube = open_cube(project.cube_path)
    assert list(cube.bands) == ["B02", "B04"]  # classes and aerosol are no data
    values, valid = cube.read(0, 8, Tile(0, 40, 0, 40))
    assert not valid[:, :, 0, :2].any()  # no data and saturated, before the offset
    assert not valid[:, :, 5, 5].any()  # cloud
    assert valid[:, :, 0, 2].all()
    np.testing.assert_allclose(values[:, :, 0, 2], 0.01, atol=1e-6)
    expected = np.broadcast_to(np.rint(10000 * rho) / 10000, values.shape)
    inside = valid.copy()
    inside[:, :, 0] = False
    assert inside.sum() == 8 * 2 * (39 * 40 - 1)
    np.testing.assert_allclose(values[inside], expected[inside], atol=1e-6)
