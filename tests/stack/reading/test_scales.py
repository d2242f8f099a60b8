"""Units that change within a folder: found, refused or corrected; nature is left alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoforecast.errors import SceneError
from geoforecast.settings import StackSettings
from geoforecast.stack.inventory.bandtimes import settle_times
from geoforecast.stack.inventory.roles import assign_roles
from geoforecast.stack.inventory.scenes import Problems, SceneFile, find_files
from geoforecast.stack.reading.readings import Reading
from geoforecast.stack.reading.scales import _looks, find_odd, look_at, settle_scales


def given_readings(scenes, settings):
    """The files' own tags and the options, without any sensor."""
    for file in scenes:
        for band, number in file.bands.items():
            nodata = file.header.nodata[number - 1] if settings.nodata is None else settings.nodata
            scale = file.header.scales[number - 1] if settings.scale is None else settings.scale
            offset = file.header.offsets[number - 1] if settings.offset is None else settings.offset
            file.readings[band] = Reading(() if nodata is None else (nodata,), scale, offset)


def judged(folder, **options):
    """Scenes after the check, the problems, and the sentence."""
    settings = StackSettings(mask="none", **options)
    problems = Problems(settings.on_error == "quarantine")
    files, _ = settle_times(find_files([folder]), "", "", problems, 2)
    problems.settle(len(files))
    assign_roles([file for file in files if file.used], settings, problems)
    scenes = [file for file in files if file.used and file.role == "data"]
    given_readings(scenes, settings)
    return scenes, problems, settle_scales(scenes, settings, problems, 2)


def season(step, rng):
    """Reflectance, (20, 24): a season, bare and dense pixels, noise."""
    x = np.linspace(0.2, 1, 24)
    level = 0.25 + 0.12 * np.sin(2 * np.pi * step / 12)
    return (level * x + 0.01 * rng.random((20, 24))).astype(np.float32)


@pytest.fixture
def mixed(write_tif, tmp_path):
    """A function that writes 14 scenes, some of which another function changes."""

    def write(change, odd=range(8, 14)):
        rng = np.random.default_rng(5)
        for step in range(14):
            values = season(step, rng)
            options = {}
            if step in odd:
                values = change(values)
                if isinstance(values, tuple):
                    values, options = values
            write_tif(
                tmp_path / "in" / f"refl_2018{step // 2 + 1:02}{step % 2 * 9 + 1:02}.tif",
                values,
                **options,
            )
        return tmp_path / "in"

    return write


def integers(factor):
    return lambda values: np.round(values * factor).astype(np.uint16)


@pytest.mark.parametrize("factor", [100, 1000, 10_000])
def test_integers_among_reflectances_are_found_and_named(mixed, factor):
    folder = mixed(integers(factor), odd=(3, 4, 9, 12))
    with pytest.raises(SceneError) as caught:
        judged(folder)
    text = str(caught.value)
    assert f"4 of 14 files hold refl as numbers {factor} times larger than most." in text
    assert "in/refl_20180210.tif: typically" in text
    assert "1 more" in text
    assert "(type float32 against uint16 in these files)" in text
    assert "--per-file-scale" in text


def test_a_factor_of_ten_needs_a_hint(mixed):
    odd = (3, 4, 9, 12)
    with pytest.raises(SceneError, match="4 of 14 files hold refl as numbers 10 times larger"):
        judged(mixed(lambda values: (10 * values).astype(np.float64), odd=odd))
    assert judged(mixed(lambda values: (10 * values).astype(np.float32), odd=odd))[2] == ""


@pytest.mark.parametrize("factor", [1e-3, 1e3, 1e-4, 1e4, 1e6])
@pytest.mark.parametrize("odd", [(13,), range(8, 14)])
def test_a_far_unit_is_found_without_any_hint(mixed, factor, odd):
    folder = mixed(lambda values: (values * factor).astype(np.float32), odd=odd)
    with pytest.raises(SceneError, match=f"{len(odd)} of 14 files"):
        judged(folder)


def test_the_larger_group_is_the_unit_and_of_equal_ones_the_first(mixed):
    with pytest.raises(SceneError, match="5 of 14 files hold refl as numbers 10000 times smaller"):
        judged(mixed(integers(10_000), odd=range(5, 14)))
    with pytest.raises(SceneError, match="7 of 14 files hold refl as numbers 10000 times larger"):
        judged(mixed(integers(10_000), odd=range(7, 14)))
    with pytest.raises(SceneError, match="7 of 14 files hold refl as numbers 10000 times smaller"):
        judged(mixed(integers(10_000), odd=range(7)))


def test_per_file_scale_brings_all_to_one_unit(mixed):
    odd = (3, 4, 9, 12)
    scenes, problems, text = judged(mixed(integers(10_000), odd=odd), per_file_scale=True)
    assert [number for number, file in enumerate(scenes) if file.readings["refl"].scale != 1] == [
        *odd
    ]
    assert scenes[3].readings["refl"].scale == pytest.approx(1e-4)
    assert problems.found == []
    assert "4 of 14 files hold refl as numbers 10000 times larger" in text
    assert "multiplied by 0.0001 (--per-file-scale), such as in/refl_20180210.tif" in text


def test_a_scale_of_its_own_is_kept_under_the_correction(mixed):
    def percent(values):
        return np.round(values * 1e4 - 50).astype(np.int16), {"scale": 0.01, "offset": 0.5}

    scenes, _, text = judged(mixed(percent), per_file_scale=True)
    assert "multiplied by 0.01" in text
    reading = scenes[-1].readings["refl"]
    assert (reading.scale, reading.offset) == pytest.approx((1e-4, 0.005))


def test_scale_tags_that_make_up_for_it_are_fine(mixed):
    folder = mixed(lambda values: (np.round(values * 1e4).astype(np.uint16), {"scale": 1e-4}))
    assert judged(folder)[2] == ""
    # unless --scale overrides them
    with pytest.raises(SceneError, match="times larger"):
        judged(folder, scale=1.0)


def test_quarantine_sets_the_odd_files_aside(mixed):
    scenes, _, text = judged(mixed(integers(10_000), odd=(3, 12)), on_error="quarantine")
    assert [file.status for file in scenes].count("quarantined") == 2
    assert scenes[3].reason == (
        "in/refl_20180210.tif holds refl as numbers 10000 times larger than most files."
    )
    assert text == ""


def test_nodata_is_no_magnitude(mixed):
    def with_nodata(values):
        values = values.copy()
        values[:15] = -9999
        return values, {"nodata": -9999}

    assert judged(mixed(with_nodata))[2] == ""


def test_a_look_leaves_out_what_is_not_usable(write_tif, tmp_path):
    for name in ("2018-01-01.tif", "2018-02-01.tif"):
        values = np.full((40, 40), 250, np.int16)
        values[:, :14], values[:, 14:27] = -9999, 9999  # 13 columns each are left
        write_tif(tmp_path / "in" / name, values, scale=0.01, nodata=-9999)
    scenes, _, _ = judged(tmp_path / "in")
    for low, high, typical in (
        (None, 300, 2.5),
        (300, None, 99.99),
        (None, None, 99.99 / 2 + 1.25),
    ):
        for file in scenes:
            file.readings = {
                band: replace(reading, low=low, high=high)
                for band, reading in file.readings.items()
            }
        assert [look.typical for _, look in _looks(scenes, 1)] == pytest.approx([typical] * 2)


def test_where_the_middle_is_empty_other_blocks_are_looked_at(write_tif, tmp_path):
    values = np.zeros((300, 300), np.int16)  # 5 x 5 blocks, of which no. 6, 12 and 18 are read
    values[192:256, 192:256] = 7
    options = {"tiled": True, "blockxsize": 64, "blockysize": 64}
    for name in ("2018-01-01.tif", "2018-02-01.tif"):
        write_tif(tmp_path / "in" / name, values, **options)
    scenes, _, _ = judged(tmp_path / "in")
    assert [look.levels[1] for _, look in _looks(scenes, 1)] == [np.log10(7)] * 2


def test_kelvins_among_degrees_celsius(write_tif, tmp_path):
    def write(count):
        rng = np.random.default_rng(1)
        for step in range(14):
            degrees = season(step, rng) * 100 - 10 + (273.15 if step < count else 0)
            name = f"t2m_201801{step + 1:02}.tif"
            write_tif(tmp_path / "in" / name, degrees.astype(np.float32))
        return tmp_path / "in"

    folder = write(4)
    with pytest.raises(SceneError, match=r"4 of 14 files hold t2m in kelvins\."):
        judged(folder)
    scenes, _, text = judged(folder, per_file_scale=True)
    assert [file.readings["t2m"].offset for file in scenes[:5]] == [-273.15] * 4 + [0.0]
    assert "-273.15 added" in text
    write(10)
    with pytest.raises(SceneError, match=r"4 of 14 files hold t2m in degrees Celsius\."):
        judged(folder)


def looks_of(fields, kind=("float32", 1.0, 0.0)):
    made = []
    for number, field in enumerate(fields):
        file = SceneFile(Path(f"{number}.tif"), f"{number}.tif")
        made.append(look_at(file, np.asarray(field, np.float64).ravel(), kind))
    return [look for look in made if look is not None]


def test_only_temperatures_are_taken_for_kelvins():
    rng = np.random.default_rng(2)
    degrees = [rng.normal(10, 3, 400) for _ in range(8)]
    kelvins = [rng.normal(283, 3, 400) for _ in range(3)]
    assert [odd.shift for odd in find_odd(looks_of([*degrees, *kelvins]))] == [-273.15]
    # Numbers that happen to lie so but vary far less within a file are another unit's.
    assert [
        odd.shift for odd in find_odd(looks_of([*kelvins * 3, *(f / 1000 for f in kelvins)]))
    ] == [0]
    # Days of the year, as plain integers.
    days = ("int16", 1.0, 0.0)
    assert find_odd(looks_of([*np.round(degrees), *np.round(kelvins)], days)) == []


def test_classes_have_no_unit(mixed):
    folder = mixed(integers(10_000))
    assert judged(folder, kind="categorical")[2] == ""


def test_rain_storms_and_dry_hours_are_nature():
    rng = np.random.default_rng(3)
    for _ in range(40):
        fields = []
        for strength in 10 ** rng.uniform(-1.5, 1.5, 24):
            rain = np.round(rng.gamma(0.6, 3 * strength, 900), 1)
            rain[rng.random(900) < 0.6] = 0
            fields.append(rain)
        assert find_odd(looks_of(fields)) == []


def test_clouds_snow_and_bare_days_are_nature():
    rng = np.random.default_rng(4)
    for _ in range(40):
        fields = []
        for step in range(20):
            field = season(step, rng)
            if rng.random() < 0.3:
                field = np.clip(field + rng.uniform(0.2, 0.8), 0, 1)
            if rng.random() < 0.2:
                field = field * rng.uniform(0.2, 0.5)
            fields.append(field)
        assert find_odd(looks_of(fields)) == []


def test_steps_that_grow_are_no_units():
    columns = np.arange(24) + np.zeros((20, 1))
    assert find_odd(looks_of([100 * step + columns for step in range(12)])) == []
    assert find_odd(looks_of([np.full(400, step) for step in range(1, 15)])) == []
    assert find_odd(looks_of([np.full(400, 2.0**step) for step in range(14)])) == []


def test_a_uniform_day_among_uneven_ones_is_no_unit():
    # Each quantile would be like those of other files at 10000 times, but not all at once.
    fields = [np.full(400, level) for level in np.geomspace(1, 30, 12)]
    fields.append(np.geomspace(1e-4, 30e-4, 400))
    assert find_odd(looks_of(fields)) == []
    fields[-1] = np.full(400, 5e-4)
    assert [odd.power for odd in find_odd(looks_of(fields))] == [4]


def test_magnitudes_without_a_gap_are_one_unit_whatever_the_type():
    fields = [np.full(400, 10.0**level) for level in np.arange(0, 2, 0.2)]
    low, high = looks_of(fields[:5]), looks_of(fields[5:], ("int16", 1.0, 0.0))
    assert find_odd([*low, *high]) == []
    far = looks_of([field * 10**0.5 for field in fields[5:]], ("int16", 1.0, 0.0))
    assert [odd.power for odd in find_odd([*low, *far])] in ([1], [-1], [2], [-2])


def test_three_units_in_one_folder():
    rng = np.random.default_rng(6)
    fields = [
        season(step, rng) * (1e4 if step < 8 else 1e-4 if step > 11 else 1) for step in range(14)
    ]
    found = find_odd(looks_of(fields))
    assert sorted((odd.power, len(odd.looks)) for odd in found) == [(4, 4), (8, 2)]


def test_too_few_numbers_are_not_judged():
    assert looks_of([np.zeros(1000), [0.0] * 100 + [5.0] * 19, [np.inf] * 30]) == []
    assert find_odd([]) == []
    assert find_odd(looks_of([np.ones(30)])) == []


@given(
    power=st.sampled_from([-6, -4, -3, 3, 4, 6]),
    count=st.integers(1, 20),
    seed=st.integers(0, 999),
)
def test_a_power_of_ten_is_found_whichever_files_hold_it(power, count, seed):
    rng = np.random.default_rng(seed)
    fields = [season(step, rng) for step in range(21)]
    odd = set(rng.choice(21, count, replace=False).tolist())
    looks = looks_of([f * 10.0**power if n in odd else f for n, f in enumerate(fields)])
    found = find_odd(looks)
    minority = odd if len(odd) <= 10 else set(range(21)) - odd
    assert len(found) == 1
    assert {int(look.file.path.stem) for look in found[0].looks} == minority
    assert found[0].power == (-power if minority is odd else power)


SERIES = [
    ("s2_ndvi_slovenia", {}),
    ("s2_earthnet_29SND", {}),
    ("modis_evi_matogrosso", {}),
    ("modis_ndvi_sinop", {}),
    ("landsat_p035r032", {}),
    ("era5_t2m_uk", {}),
    ("ostia_sst_monthly", {}),
    ("radar_fmi_1km", {}),
    ("radar_fmi_orig", {"scale": 0.5, "offset": -32.0, "nodata": 255.0}),
    ("radolan_rw_hourly", {}),
    ("landsat8_ny_mixed", {"nodata": 0.0}),
    ("lulc_itanhanga", {}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), SERIES, ids=[name for name, _ in SERIES])
def test_no_real_series_is_taken_for_a_mix_of_units(real_data, name, options):
    scenes, problems, text = judged(real_data(name), **options)
    assert len(scenes) >= 12
    assert (problems.found, text) == ([], "")
