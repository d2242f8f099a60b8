"""Which token of a name is the date, settled from what varies over a folder."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoforecast.errors import DateError, SettingsError
from geoforecast.stack.inventory.dateformats import (
    FORMATS,
    date_from_tags,
    date_span,
    parse_date,
    parse_time,
    precision,
)
from geoforecast.stack.inventory.dates import choose_dates


def times_of(names, folders=None, regex=""):
    choice = choose_dates(names, folders or ["scenes"] * len(names), regex=regex)
    return [None if time is None else str(time) for time in choice.times]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20180131", "2018-01-31T00:00:00"),
        ("2018-01-31", "2018-01-31T00:00:00"),
        ("2018_01_31", "2018-01-31T00:00:00"),
        ("20180131T104559", "2018-01-31T10:45:59"),
        ("20180131T104559Z", "2018-01-31T10:45:59"),
        ("20180131104559", "2018-01-31T10:45:59"),
        ("20180131T1045", "2018-01-31T10:45:00"),
        ("201801311045", "2018-01-31T10:45:00"),
        ("20180131-1045", "2018-01-31T10:45:00"),
        ("2018-01-31T10:45:59", "2018-01-31T10:45:59"),
        ("2018-01-31T10-45", "2018-01-31T10:45:00"),
        ("2018031", "2018-01-31T00:00:00"),
        ("2018031T104559", "2018-01-31T10:45:59"),
        ("1999366", "2000-01-01T00:00:00"),  # Landsat has such names
        ("201801", "2018-01-01T00:00:00"),
        ("2018-01", "2018-01-01T00:00:00"),
        ("2018", "2018-01-01T00:00:00"),
        ("20181331", None),  # no such month, nor hour 33
        ("20180230", None),
        ("2018000", None),
        ("1899", None),
        ("2101", None),
        ("012010", None),  # the tile of a MODIS series
    ],
)
def test_parse_date(text, expected):
    time = parse_date(text)
    assert (None if time is None else str(time)) == expected


@given(
    time=st.datetimes(
        min_value=np.datetime64("1900-01-01", "s").item(),
        max_value=np.datetime64("2100-12-31", "s").item(),
    ),
    pattern=st.sampled_from(
        ["%Y%m%d", "%Y-%m-%d", "%Y%j", "%Y%m%dT%H%M%S", "%Y%m%d_%H%M", "%Y-%m-%dT%H:%M:%S"]
    ),
)
def test_parse_date_inverts_strftime(time, pattern):
    text = time.strftime(pattern)
    assert parse_date(text).item().strftime(pattern) == text


@pytest.mark.parametrize(
    ("first", "second"),
    [
        # the tile looks like a date but does not vary
        ("MODIS_201001_NDVI_2013-09-14", "MODIS_201001_NDVI_2013-10-16"),
        # a production date that does not vary
        ("NDVI_20130914_20200101", "NDVI_20131016_20200101"),
        # sensing before processing
        (
            "S2A_MSIL2A_20130914T100031_N0205_R122_T33UVP_20130915T101010",
            "S2A_MSIL2A_20131016T100031_N0205_R122_T33UVP_20131018T121212",
        ),
        (
            "LC08_L1TP_013032_20130914_20180207_01_T1_B4",
            "LC08_L1TP_013032_20131016_20180417_01_T1_B4",
        ),
        (
            "MOD13Q1.A2013257.h12v10.006.2015261150813",
            "MOD13Q1.A2013289.h12v10.006.2015262150910",
        ),
        ("LE70350322013257EDC00_stack", "LE70350322013289EDC01_stack"),
        ("HLS.S30.T33UVP.2013257.v2.0.B04", "HLS.S30.T33UVP.2013289.v2.0.B04"),
    ],
)
def test_the_acquisition_date_is_found(first, second):
    days = [time[:10] for time in times_of([first, second])]
    assert days == ["2013-09-14", "2013-10-16"]


def test_a_number_that_only_looks_like_a_time_is_none():
    # 013032 is a Landsat path and row, and also half past one.
    assert times_of(["x_20130914_013032", "x_20131016_013032"])[0] == "2013-09-14T00:00:00"
    assert times_of(["x_20130914_013032", "x_20131016_023032"])[0] == "2013-09-14T01:30:32"


def test_a_constant_date_in_names_does_not_hide_those_of_folders():
    names, folders = ["v2001_B4"] * 2, ["d/20180131", "d/20180205"]
    assert times_of(names, folders)[1] == "2018-02-05T00:00:00"


def test_names_come_before_folders_and_folders_serve_if_need_be():
    folders = ["d/20200101", "d/20200102"]
    assert times_of(["a_20180131", "a_20180205"], folders)[0] == "2018-01-31T00:00:00"
    assert times_of(["B4", "B4"], folders)[1] == "2020-01-02T00:00:00"
    assert times_of(["B4", "B4"], ["d/2018/01/31", "d/2018/02/05"])[1] == "2018-02-05T00:00:00"


def test_the_finest_reading_of_a_token_is_taken():
    times = times_of(["r_20180131-1045", "r_20180131-1050", "r_20180201-0010"])
    assert times[1] == "2018-01-31T10:50:00"


def test_undated_files_among_dated_ones_stay_undated():
    names = [f"a_201801{day:02}" for day in range(1, 10)]
    assert times_of([*names, "DEM"])[-1] is None
    # A year in the name of one static file does not make years the dates of all.
    assert times_of([*[f"a_2018-01-{day:02}" for day in range(1, 10)], "LULC_2015"])[-1] is None


def test_no_date_anywhere_is_none():
    assert choose_dates(["a", "b12"], ["x", "x"]) is None


def test_two_dates_that_both_vary_are_an_error_with_both_shown():
    names = ["p_20180101_20180203", "p_20180105_20180301", "p_20180109_20180302"]
    with pytest.raises(DateError) as caught:
        times_of(names)
    text = str(caught.value)
    assert "'20180101' (2018-01-01T00:00:00)" in text
    assert "'20180203' (2018-02-03T00:00:00)" in text
    assert "--date-regex" in text
    assert times_of(names, regex=r"_\d+_(\d+)")[0] == "2018-02-03T00:00:00"


def test_a_token_with_far_more_dates_wins():
    names = [f"p_201801{day:02}_2020010{1 + day // 9}" for day in range(1, 17)]
    assert times_of(names)[0] == "2018-01-01T00:00:00"


def test_the_choice_is_told():
    choice = choose_dates(["a_20180131", "a_20180205"], ["x", "x"])
    assert choice.text == (
        "Dates: YYYYMMDD in the file name (as '20180131' -> 2018-01-31T00:00:00), "
        "2 of 2 files, 2 distinct times."
    )
    assert choice.spans == ((2, 10), (2, 10))


def test_regex_with_named_groups_and_in_folders():
    pattern = r"d(?P<doy>\d+)_y(?P<year>\d+)"
    assert times_of(["d031_y2018"], regex=pattern) == ["2018-01-31T00:00:00"]
    assert times_of(["B4"], ["in/orbit7_2018-01-31"], regex=r"_(\d{4}-\d\d-\d\d)/") == [
        "2018-01-31T00:00:00"
    ]


def test_regex_errors_name_the_pattern_and_the_text():
    with pytest.raises(SettingsError, match="is not a regular expression"):
        times_of(["a"], regex="(")
    with pytest.raises(DateError, match="matches none of 1 files"):
        times_of(["a"], regex=r"(\d+)")
    with pytest.raises(DateError, match="finds '77' in a77, which is no date"):
        times_of(["a77"], regex=r"(\d+)")


def test_tags_hold_dates_too():
    assert str(date_from_tags({"TIFFTAG_DATETIME": "2018:01:31 10:45:59"})) == "2018-01-31T10:45:59"
    assert str(date_from_tags({"acquisitiondatetime": "2018-01-31T10:45:59.024Z"})) == (
        "2018-01-31T10:45:59"
    )
    assert date_from_tags({"AREA_OR_POINT": "Area"}) is None


def test_formats_are_all_reachable():
    assert all("year" in pattern for pattern in FORMATS.values())


def test_mixed_formats_each_keep_their_own_precision():
    names = [*[f"a_2018-01-{day:02}" for day in (3, 9, 20)], *[f"a_2018-{m:02}" for m in (3, 4, 5)]]
    assert [time[:10] for time in times_of(names)] == [
        "2018-01-03",
        "2018-01-09",
        "2018-01-20",
        "2018-03-01",
        "2018-04-01",
        "2018-05-01",
    ]
    # Half with, half without a time; before, all got the day only.
    assert times_of(["r_20180131T1045", "r_20180201T1045", "r_20180203", "r_20180204"])[:2] == [
        "2018-01-31T10:45:00",
        "2018-02-01T10:45:00",
    ]
    # One format for most files: the others are not lost.
    names = [*[f"r_20180101T{hour:02}00" for hour in range(9)], "r_20180102"]
    assert times_of(names)[-1] == "2018-01-02T00:00:00"


def test_formats_of_equally_many_files_do_not_compete():
    names = ["a_2018-01-03", "a_2018-01-09", "a_20180203", "a_20180209"]
    assert [time[:10] for time in times_of(names)] == [
        "2018-01-03",
        "2018-01-09",
        "2018-02-03",
        "2018-02-09",
    ]
    choice = choose_dates(names, ["x"] * 4)
    assert "4 of 4 files (2 in other formats), 4 distinct times" in choice.text
    # Names that differ otherwise could be anything.
    with pytest.raises(DateError, match="several dates that vary"):
        times_of(["a_2018-01-03", "a_2018-01-09", "b_20180203", "b_20180209"])


def test_a_finer_date_never_parts_a_mask_from_its_scene():
    names = ["20180131T1045_NDVI", "20180205T1050_NDVI", "20180131_CLM", "20180205_CLM"]
    assert times_of(names) == ["2018-01-31T00:00:00", "2018-02-05T00:00:00"] * 2


def test_a_number_after_the_date_that_is_no_day_changes_nothing():
    names = [f"p_2018-{period:02}" for period in (1, 5, 23)] + ["p_2019-12-31"]
    assert [time[:4] for time in times_of(names)] == ["2018", "2018", "2018", "2019"]
    assert times_of(names)[2] == "2018-01-01T00:00:00"


def test_products_of_several_sensors_in_one_folder():
    names = [
        "S2A_MSIL2A_20130914T100031_N0205_R122_T33UVP_20130915T101010",
        "LC08_L1TP_013032_20131016_20180417_01_T1_B4",
        "MOD13Q1.A2013289.h12v10.006.2015262150910",
    ]
    assert [time[:10] for time in times_of(names)] == ["2013-09-14", "2013-10-16", "2013-10-16"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2018-01-31T10:45:00+02:00", "2018-01-31T08:45:00"),
        ("2018-01-01T00:30:00+01:00", "2017-12-31T23:30:00"),
        (" 2018-01-31T10:45:00.999999Z ", "2018-01-31T10:45:00"),
        ("2018-01-31T10:45-0300", "2018-01-31T13:45:00"),
        ("2018031", "2018-01-31T00:00:00"),
        ("0001-01-01T00:00:00+14:00", None),
        ("1899-01-01T00:00:00+02:00", None),
        ("soon", None),
    ],
)
def test_times_with_an_offset_become_utc(text, expected):
    time = parse_time(text)
    assert (None if time is None else str(time)) == expected


def test_a_known_date_is_found_in_a_name_at_the_precision_that_it_has_there():
    time = np.datetime64("2018-01-31T10:45:59")
    assert date_span("a_20180131T104559_x", time) == (2, 17)
    assert date_span("a_20180131_x", time) == (2, 10)
    assert date_span("a_2018_x", time) == (2, 6)
    assert date_span("a_20180201_x", time) is None


@pytest.mark.parametrize("label", FORMATS)
def test_the_precision_of_a_format_is_that_of_its_last_part(label):
    expected = {"s": "s", "m": "m", "D": "D", "M": "M", "Y": "Y"}[label[-1]]
    assert precision(label) == expected
