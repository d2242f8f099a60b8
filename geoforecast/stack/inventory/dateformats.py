"""Dates as names, tags and lists write them."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

YEARS = range(1900, 2101)

_Y, _M, _D, _J = r"(?P<year>\d{4})", r"(?P<month>\d\d)", r"(?P<day>\d\d)", r"(?P<doy>\d{3})"
_H, _N, _S = r"(?P<hour>\d\d)", r"(?P<minute>\d\d)", r"(?P<second>\d\d)"
_START, _END = r"(?<!\d)", r"(?!\d)"

# Named as users see them; finest first.
FORMATS: dict[str, str] = {
    "YYYYMMDDThhmmss": f"{_Y}{_M}{_D}T?{_H}{_N}{_S}",
    "YYYYMMDD_hhmmss": f"{_Y}{_M}{_D}[_-]{_H}{_N}{_S}",
    "YYYY-MM-DDThh:mm:ss": f"{_Y}[-_./]{_M}[-_./]{_D}[T_ -]{_H}[-:_.]?{_N}[-:_.]?{_S}",
    "YYYYDDDThhmmss": rf"{_Y}{_J}T?{_H}{_N}{_S}\d?",
    "YYYYMMDDThhmm": f"{_Y}{_M}{_D}T?{_H}{_N}",
    "YYYYMMDD_hhmm": f"{_Y}{_M}{_D}[_-]{_H}{_N}",
    "YYYY-MM-DDThh:mm": f"{_Y}[-_./]{_M}[-_./]{_D}[T_ -]{_H}[-:_.]?{_N}",
    "YYYYDDD.hhmm": f"{_Y}{_J}[T.]?{_H}{_N}",
    "YYYYMMDD": f"{_Y}{_M}{_D}",
    "YYYY-MM-DD": f"{_Y}(?P<sep>[-_./]){_M}(?P=sep){_D}",
    "YYYYDDD": f"{_Y}{_J}",
    "YYYY-DDD": f"{_Y}[-_/]{_J}",
    "YYYYMM": f"{_Y}{_M}",
    "YYYY-MM": f"{_Y}[-_/]{_M}",
    "YYYY": _Y,
}
PATTERNS = {name: re.compile(_START + text + _END) for name, text in FORMATS.items()}
# A time that a mere underscore joins to a date may be some other number.
LOOSE = {"YYYYMMDD_hhmmss": "YYYYMMDD", "YYYYMMDD_hhmm": "YYYYMMDD"}

# Products whose names hold several dates, and where the acquisition stands.
CONVENTIONS: dict[str, re.Pattern[str]] = {
    "Landsat product, acquisition date": re.compile(
        rf"L[COETM]\d\d_[A-Z0-9]{{2,4}}_\d{{6}}_{_Y}{_M}{_D}_\d{{8}}_C?\d\d_(?:T1|T2|RT|A1|A2|V\d\d)"
    ),
    "Landsat scene, year and day": re.compile(rf"L[COETM]\d\d{{3}}\d{{3}}{_Y}{_J}[A-Z]{{3}}\d\d"),
    "Sentinel-2 product, sensing time": re.compile(
        rf"S2[A-D]_MSIL\d[AC]_{_Y}{_M}{_D}T{_H}{_N}{_S}_N\d{{4}}_R\d{{3}}_T\w{{5}}_\d{{8}}T\d{{6}}"
    ),
    "Sentinel-1 product, start time": re.compile(
        rf"S1[A-D]_\w{{2}}_\w{{4}}_\w{{4}}_{_Y}{_M}{_D}T{_H}{_N}{_S}_\d{{8}}T\d{{6}}"
    ),
    "MODIS or VIIRS product, acquisition day": re.compile(
        rf"(?:M[OYC]D|VNP|VJ\d)\w*\.A{_Y}{_J}(?:\.{_H}{_N}(?=\.))?"
    ),
}

DATE_TAGS = (
    "ACQUISITIONDATETIME",
    "ACQUISITION_DATETIME",
    "SENSING_TIME",
    "DATE_ACQUIRED",
    "DATETIME",
    "TIME",
    "DATE",
    "TIFFTAG_DATETIME",
)


@dataclass(frozen=True)
class Found:
    """A date in one name: its time and the characters it takes up."""

    time: np.datetime64
    span: tuple[int, int]


def date_from_tags(tags: Mapping[str, str]) -> np.datetime64 | None:
    """The time in a file's tags, or None."""
    upper = {key.upper(): value for key, value in tags.items()}
    for key in DATE_TAGS:
        text = upper.get(key, "").strip().replace(":", "-", 2)
        time = parse_date(text)
        if time is not None:
            return time
    return None


def parse_date(text: str) -> np.datetime64 | None:
    """The time that a whole text states in one of FORMATS, or None."""
    text = re.sub(r"(?:Z|\.\d+Z?|\+00:?00)$", "", text)
    for pattern in PATTERNS.values():
        match = pattern.fullmatch(text)
        time = time_of(match.groupdict()) if match else None
        if time is not None:
            return time
    return None


def parse_time(text: str) -> np.datetime64 | None:
    """The UTC time that a text states in one of FORMATS or in ISO 8601 with an offset."""
    text = text.strip()
    time = parse_date(text)
    if time is not None:
        return time
    try:
        stamp = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    if stamp.tzinfo is not None:
        try:
            stamp = stamp.astimezone(dt.UTC).replace(tzinfo=None)
        except OverflowError:
            return None
    return np.datetime64(stamp, "s") if stamp.year in YEARS else None


def precision(label: str) -> str:
    """The numpy unit of the last part that a format of FORMATS states: s, m, D, M or Y."""
    if label.endswith("ss"):
        return "s"
    if label.endswith("mm"):
        return "m"
    return next(unit for unit, part in (("D", "DD"), ("M", "MM"), ("Y", "Y")) if part in label)


def date_span(name: str, time: np.datetime64) -> tuple[int, int] | None:
    """Where a name states a time that is known already, at whatever precision it does."""
    for label, pattern in PATTERNS.items():
        unit = precision(label)
        for match in pattern.finditer(name):
            found = time_of(match.groupdict())
            if found is not None and found == time.astype(f"datetime64[{unit}]"):
                return match.span()
    return None


def time_of(parts: Mapping[str, str | None]) -> np.datetime64 | None:
    """UTC time from named groups; None if they are no date."""
    number = {k: int(v) for k, v in parts.items() if v and k != "sep"}
    if number.get("year", 0) not in YEARS:
        return None
    try:
        if "doy" in number:
            if not 1 <= number["doy"] <= 366:
                return None
            # Day 366 of a common year occurs in Landsat archives; it is the next 1 January.
            day = dt.date(number["year"], 1, 1) + dt.timedelta(number["doy"] - 1)
        else:
            day = dt.date(number["year"], number.get("month", 1), number.get("day", 1))
        clock = dt.time(number.get("hour", 0), number.get("minute", 0), number.get("second", 0))
    except ValueError:
        return None
    return np.datetime64(dt.datetime.combine(day, clock), "s")
