"""Files whose bands are dates: which date each band gets, and files that do not fit."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoforecast.errors import DateError, InputError, SceneError, SettingsError
from geoforecast.raster.geotiff import read_header
from geoforecast.settings import StackSettings
from geoforecast.stack.cadence import parse_cadence
from geoforecast.stack.inventory.bandtimes import _series, settle_times
from geoforecast.stack.inventory.names import OneBand, file_bands
from geoforecast.stack.inventory.roles import assign_roles
from geoforecast.stack.inventory.scenes import Problems, content_hashes, find_files


def deep(bands=3, dtype=np.float32):
    return np.ones((bands, 3, 4), dtype)


def settled(folder, text, *, quarantine=False, regex=""):
    problems = Problems(quarantine)
    files = find_files([folder])
    files, choice = settle_times(files, text, regex, problems, 2)
    problems.settle(len(files))
    return files, choice


def days(files):
    return [str(file.time)[:10] for file in files if file.used]


@pytest.mark.parametrize(
    ("start", "step", "expected"),
    [
        ("2001-01-31", "1M", ["2001-01-31", "2001-02-28", "2001-03-31"]),
        ("2000-02-29", "1Y", ["2000-02-29", "2001-02-28", "2002-02-28"]),
        ("2001-12-15", "M", ["2001-12-15", "2002-01-15", "2002-02-15"]),
        ("2001-12-31", "16D", ["2001-12-31", "2002-01-16", "2002-02-01"]),
        ("20011231T2350", "5min", ["2001-12-31T23:50", "2001-12-31T23:55", "2002-01-01T00:00"]),
        ("2001-12-31", "2W", ["2001-12-31", "2002-01-14", "2002-01-28"]),
    ],
)
def test_bands_follow_each_other_by_a_step(write_tif, tmp_path, start, step, expected):
    write_tif(tmp_path / "in" / "ndvi.tif", deep())
    files, choice = settled(tmp_path / "in", f"{start}/{step}")
    assert [str(f.time)[: len(e)] for f, e in zip(files, expected, strict=True)] == expected
    assert [file.key for file in files] == [f"in/ndvi.tif#{n}" for n in (1, 2, 3)]
    assert f"each band has its own ({start}/{step}), 3 bands of 1 files, 3 dist" in choice.text


@given(
    start=st.dates(dt.date(1950, 1, 1), dt.date(2050, 1, 1)),
    months=st.integers(1, 30),
    count=st.integers(1, 40),
)
def test_months_keep_their_day_where_there_is_one(start, months, count):
    found = _series(np.datetime64(start, "s"), parse_cadence(f"{months}M"), count)
    for number, time in enumerate(found):
        index = start.year * 12 + start.month - 1 + number * months
        day = time.item().date()
        assert (day.year, day.month) == (index // 12, index % 12 + 1)
        following = day + dt.timedelta(1)
        assert day.day == start.day or (day.day < start.day and following.day == 1)


def test_variables_and_tiles_stay_what_their_names_say(write_tif, tmp_path):
    from affine import Affine

    for tile, left in (("x1", 0.0), ("x2", 40.0)):
        for name in ("ndvi", "evi"):
            place = Affine(10, 0, 5e5 + left, 0, -10, 5e6)
            write_tif(tmp_path / "in" / f"{name}_{tile}.tif", deep(), transform=place)
    files, _ = settled(tmp_path / "in", "2001-01-01/1M")
    bands = assign_roles(files, StackSettings(), Problems(False))[0].kept
    assert bands == ("evi", "ndvi")
    assert [dict(file.bands) for file in files[:3]] == [{"evi": 1}, {"evi": 2}, {"evi": 3}]
    assert len({file.time for file in files}) == 3


def test_each_file_is_read_once_for_its_hash(write_tif, tmp_path, monkeypatch):
    write_tif(tmp_path / "in" / "ndvi.tif", deep(5))
    files, _ = settled(tmp_path / "in", "2001-01-01/1M")
    opened = []
    import hashlib

    real = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *a: opened.append(1) or real(*a))
    hashes = content_hashes(files, 2)
    assert (len(hashes), len(set(hashes.values())), len(opened)) == (5, 1, 1)


def test_a_file_a_year_starts_at_the_date_in_its_name(write_tif, tmp_path):
    write_tif(tmp_path / "in" / "ndvi_2001.tif", deep(12))
    write_tif(tmp_path / "in" / "ndvi_2002.tif", deep(5))
    files, _ = settled(tmp_path / "in", "name/1M")
    assert days(files)[:2] + days(files)[-2:] == [
        "2001-01-01",
        "2001-02-01",
        "2002-04-01",
        "2002-05-01",
    ]
    assert assign_roles(files, StackSettings(), Problems(False))[0].kept == ("ndvi",)


def test_dates_are_listed_on_the_line_or_in_a_file(write_tif, tmp_path):
    write_tif(tmp_path / "in" / "ndvi.tif", deep())
    assert days(settled(tmp_path / "in", "2001-01-05, 2001035,200103")[0]) == [
        "2001-01-05",
        "2001-02-04",
        "2001-03-01",
    ]
    listing = tmp_path / "dates.txt"
    listing.write_text("# dates\n2001-01-05\n\n2001-02-04T00:00:00Z # winter\n2001-03-01\n")
    assert days(settled(tmp_path / "in", f"@{listing}")[0])[1] == "2001-02-04"
    listing.write_text("2001-01-05\nsoon\n")
    with pytest.raises(InputError, match="'soon' is no date") as caught:
        settled(tmp_path / "in", f"@{listing}")
    assert "line 2 of" in str(caught.value)


def test_counts_must_agree_and_both_are_named(write_tif, tmp_path):
    write_tif(tmp_path / "in" / "ndvi.tif", deep())
    with pytest.raises(DateError, match=r"in/ndvi\.tif has 3 bands; --bands-are-times gives 2 dat"):
        settled(tmp_path / "in", "2001-01-05,2001-02-05")
    write_tif(tmp_path / "in" / "evi.tif", deep(2))
    with pytest.raises(SceneError, match=r"ndvi\.tif has 3 bands; --bands-are-times gives 2"):
        settled(tmp_path / "in", "2001-01-05,2001-02-05")
    files, _ = settled(tmp_path / "in", "2001-01-05,2001-02-05", quarantine=True)
    assert [(f.key, f.status) for f in files] == [
        ("in/evi.tif#1", "used"),
        ("in/evi.tif#2", "used"),
        ("in/ndvi.tif", "quarantined"),
    ]
    write_tif(tmp_path / "in" / "lai.tif", deep(2))
    with pytest.raises(SceneError, match=r"ndvi\.tif has 3 bands; most files have 2\."):
        settled(tmp_path / "in", "2001-01-01/1M")


def test_descriptions_that_are_dates(write_tif, tmp_path):
    names = ("ndvi_2001-01", "ndvi_2001-02", "ndvi_2001-03")
    write_tif(tmp_path / "in" / "a.tif", deep(), descriptions=names)
    assert days(settled(tmp_path / "in", "descriptions")[0]) == [
        "2001-01-01",
        "2001-02-01",
        "2001-03-01",
    ]
    write_tif(tmp_path / "in" / "b.tif", deep(1), descriptions=("mean",))
    with pytest.raises(SceneError, match=r"b\.tif: the band description 'mean' holds no date"):
        settled(tmp_path / "in", "descriptions")
    (tmp_path / "in" / "a.tif").unlink()
    with pytest.raises(DateError, match="No description of a band holds a date"):
        settled(tmp_path / "in", "descriptions")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("soon/1M", "'soon' is no date"),
        ("2001-01-01/fortnight", "'fortnight' is no step"),
        ("2001-01-01/none", "'none' is no step"),
        ("2001-01-01/0M", "'0M' is no step"),
    ],
)
def test_forms_that_mean_nothing(write_tif, tmp_path, text, message):
    write_tif(tmp_path / "in" / "ndvi.tif", deep())
    with pytest.raises(SettingsError, match=message):
        settled(tmp_path / "in", text)


def test_an_alpha_band_is_no_date(write_tif, tmp_path):
    extra = {"photometric": "minisblack", "alpha": "yes"}
    write_tif(tmp_path / "in" / "ndvi.tif", deep(3, np.uint8), **extra)
    files, _ = settled(tmp_path / "in", "2001-01-01,2001-02-01")
    header = read_header(files[0].path)
    assert header.alpha not in [file.header.only for file in files]
    assert len(files) == 2


def test_a_band_seen_alone_keeps_the_tags_of_its_file(write_tif, tmp_path):
    write_tif(tmp_path / "in" / "n.tif", deep(), nodata=-1, descriptions=("a", "b", "c"), scale=2.0)
    files, _ = settled(tmp_path / "in", "2001-01-01/1M")
    assert isinstance(files[2].header, OneBand)
    assert file_bands(files[2].header) == ({3: "band_3"}, False)
    assert files[2].header.scales[2] == 2.0
    assert assign_roles(files, StackSettings(), Problems(False))[0].kept == ("band_1",)
    assert files[2].bands == {"band_1": 3}


def test_without_the_option_nothing_changes(tiny_folder):
    files, choice = settled(tiny_folder, "")
    assert len(files) == 12
    assert choice.text.startswith("Dates: YYYYMMDD in the file name")


def test_masks_whose_bands_are_dates_go_with_the_band_of_their_date(write_tif, tmp_path):
    write_tif(tmp_path / "in" / "x_ndvi.tif", deep())
    write_tif(tmp_path / "in" / "x_CLM.tif", deep(3, np.uint8))
    files, _ = settled(tmp_path / "in", "2001-01-01/1M")
    assign_roles(files, StackSettings(), Problems(False))
    data = [file for file in files if file.role == "data"]
    assert [(file.bands, file.mask.key, file.mask.band) for file in data] == [
        ({"ndvi": number}, f"in/x_CLM.tif#{number}", number) for number in (1, 2, 3)
    ]


def test_the_date_in_a_name_is_no_variable(write_tif, tmp_path):
    write_tif(tmp_path / "in" / "ndvi_2001-01.tif", deep())
    write_tif(tmp_path / "in" / "evi_2001-01.tif", deep())
    for text in ("2001-01-01/1M", "name/1M", "2001-01-01,2001-02-01,2001-03-01"):
        files, _ = settled(tmp_path / "in", text)
        assert {file.span for file in files} == {(5, 12), (4, 11)}
