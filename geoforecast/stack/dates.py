"""When each file was acquired, settled from what varies over the whole folder.

A *reading* is one way to find a date: a format, whether it is looked for in the file name
or the folder path, and which occurrence is meant. Well-known product names come first;
otherwise the readings that most files allow compete, and constant ones, and ones that lie
inside a longer reading, drop out. If two are left that differ, the user must choose.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from geoforecast.errors import DateError, SettingsError

MOST = 0.8  # share of the best reading's files that a competing reading must cover
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
_PATTERNS = {name: re.compile(_START + text + _END) for name, text in FORMATS.items()}
# A time that a mere underscore joins to a date may be some other number.
_LOOSE = {"YYYYMMDD_hhmmss": "YYYYMMDD", "YYYYMMDD_hhmm": "YYYYMMDD"}

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


@dataclass(frozen=True)
class DateChoice:
    """The times of a folder's files and how they were found.

    Attributes:
        text: one sentence for people.
        times: of each file, None where it has no date.
        spans: of the date in the file name, None where it stands elsewhere.
    """

    text: str
    times: tuple[np.datetime64 | None, ...]
    spans: tuple[tuple[int, int] | None, ...]


@dataclass(frozen=True)
class _Reading:
    label: str
    in_name: bool
    found: Mapping[int, Found]

    @property
    def distinct(self) -> int:
        return len({item.time for item in self.found.values()})


def choose_dates(
    names: Sequence[str], folders: Sequence[str], *, regex: str = ""
) -> DateChoice | None:
    """Settle which token is the date, from what varies over the folder.

    Args:
        names: of each file, without folder and suffix.
        folders: of each file, with "/", from the input folder's own name down.
        regex: the user's pattern, matched in the name first, then in folder/name.
    Returns:
        The choice; None if no name holds a date.
    Raises:
        DateError: several readings are equally likely, or the pattern fits nothing.
        SettingsError: the pattern is not a regular expression.
    """
    if regex:
        return _by_regex(names, folders, regex)
    for in_name, texts in ((True, names), (False, folders)):
        for label, pattern in CONVENTIONS.items():
            reading = _Reading(label, in_name, _matches(pattern, texts, 0))
            if len(reading.found) >= MOST * len(names) and reading.distinct > 1:
                return _choice(reading, len(names), names, folders)
    readings = [r for s, t in ((True, names), (False, folders)) for r in _readings(t, s)]
    if not readings:
        return None
    return _choice(_settle(readings, names, folders), len(names), names, folders)


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
    for pattern in _PATTERNS.values():
        match = pattern.fullmatch(text)
        time = _time(match.groupdict()) if match else None
        if time is not None:
            return time
    return None


def _time(parts: Mapping[str, str | None]) -> np.datetime64 | None:
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


def _matches(pattern: re.Pattern[str], texts: Sequence[str], which: int) -> dict[int, Found]:
    found = {}
    for index, text in enumerate(texts):
        hits = [
            Found(time, match.span())
            for match in pattern.finditer(text)
            if (time := _time(match.groupdict())) is not None
        ]
        if -len(hits) <= which < len(hits):
            found[index] = hits[which]
    return found


def _readings(texts: Sequence[str], in_name: bool) -> list[_Reading]:
    result = []
    place = "file name" if in_name else "folder name"
    for label, pattern in _PATTERNS.items():
        for number in range(8):
            # Names are counted from the left, folders from the file upwards.
            found = _matches(pattern, texts, number if in_name else -1 - number)
            if not found:
                break
            order = "" if number == 0 else f", no. {number + 1}"
            result.append(_Reading(f"{label} in the {place}{order}", in_name, found))
    return result


def _settle(readings: list[_Reading], names: Sequence[str], folders: Sequence[str]) -> _Reading:
    best = max(len(r.found) for r in readings)
    eligible = [r for r in readings if len(r.found) >= MOST * best]
    varying = [r for r in eligible if r.distinct > 1]
    if not varying:
        return eligible[0]
    if any(r.in_name for r in varying):
        varying = [r for r in varying if r.in_name]
    varying = [r for r in varying if not _needless_time(r, varying)]
    varying = [r for r in varying if not any(_inside(r, other) for other in varying)]
    kept: list[_Reading] = []
    for reading in varying:
        if not any(_same_times(reading, other) for other in kept):
            kept.append(reading)
    kept.sort(key=lambda r: -r.distinct)
    if len(kept) == 1 or kept[0].distinct >= 2 * kept[1].distinct:
        return kept[0]
    raise _ambiguous(kept, names, folders)


def _needless_time(reading: _Reading, others: list[_Reading]) -> bool:
    """A loosely joined "time" that is the same in all files is no time."""
    base = _LOOSE.get(reading.label.split(" ")[0])
    if base is None:
        return False
    day = np.timedelta64(1, "D")
    clocks = {(f.time - f.time.astype("datetime64[D]")) % day for f in reading.found.values()}
    return len(clocks) == 1 and any(r.label.split(" ")[0] == base for r in others)


def _inside(reading: _Reading, other: _Reading) -> bool:
    """Every date of one reading is a part of a longer date of the other."""
    shared = reading.found.keys() & other.found.keys()
    if reading is other or reading.in_name != other.in_name or not shared:
        return False
    pairs = [(reading.found[i].span, other.found[i].span) for i in shared]
    return all(b[0] <= a[0] and a[1] <= b[1] and a != b for a, b in pairs)


def _same_times(reading: _Reading, other: _Reading) -> bool:
    shared = reading.found.keys() & other.found.keys()
    return bool(shared) and all(reading.found[i].time == other.found[i].time for i in shared)


def _ambiguous(kept: list[_Reading], names: Sequence[str], folders: Sequence[str]) -> DateError:
    where = []
    for reading in kept:
        index = min(reading.found)
        text = names[index] if reading.in_name else folders[index]
        found = reading.found[index]
        where.append(
            f"{reading.label}: {reading.distinct} dates, such as "
            f"'{text[slice(*found.span)]}' ({found.time}) in {text}"
        )
    text = names[min(kept[0].found)]
    start = kept[0].found[min(kept[0].found)].span[0] if kept[0].in_name else 0
    prefix = re.sub(r"\d+", r"\\d+", re.escape(text[:start]))
    return DateError(
        "The names hold several dates that vary, and which one is the acquisition is unclear.",
        where=where,
        remedy="Say which with --date-regex, whose first group is the date, such as "
        f"--date-regex '^{prefix}(\\d+)'.",
    )


def _choice(
    reading: _Reading, total: int, names: Sequence[str], folders: Sequence[str]
) -> DateChoice:
    index = min(reading.found)
    text = names[index] if reading.in_name else folders[index]
    found = reading.found[index]
    note = (
        f"Dates: {reading.label} (as '{text[slice(*found.span)]}' -> {found.time}), "
        f"{len(reading.found)} of {total} files, {reading.distinct} distinct times."
    )
    return DateChoice(
        text=note,
        times=tuple(reading.found[i].time if i in reading.found else None for i in range(total)),
        spans=tuple(
            reading.found[i].span if i in reading.found and reading.in_name else None
            for i in range(total)
        ),
    )


def _by_regex(names: Sequence[str], folders: Sequence[str], regex: str) -> DateChoice:
    try:
        pattern = re.compile(regex)
    except re.error as error:
        raise SettingsError(
            f"--date-regex {regex!r} is not a regular expression: {error}.",
            remedy="Correct it; it is matched anywhere in the file name, then in the path.",
        ) from error
    found: dict[int, Found] = {}
    in_name: set[int] = set()
    for index, (name, folder) in enumerate(zip(names, folders, strict=True)):
        for text in (name, f"{folder}/{name}"):
            match = pattern.search(text)
            if match is None:
                continue
            found[index] = Found(_regex_time(match, text), match.span(1 if pattern.groups else 0))
            if text == name:
                in_name.add(index)
            break
    if not found:
        raise DateError(
            f"--date-regex {regex!r} matches none of {len(names)} files.",
            where=f"first: {names[0]}" if names else (),
            remedy="Correct it; it is matched anywhere in the file name, then in the path.",
        )
    distinct = len({item.time for item in found.values()})
    total = len(names)
    return DateChoice(
        f"Dates: --date-regex, {len(found)} of {total} files, {distinct} distinct times.",
        tuple(found[i].time if i in found else None for i in range(total)),
        tuple(found[i].span if i in in_name else None for i in range(total)),
    )


def _regex_time(match: re.Match[str], text: str) -> np.datetime64:
    groups = match.groupdict()
    known = {"year", "month", "day", "doy", "hour", "minute", "second"}
    if groups.keys() & known:
        parts = {key: value for key, value in groups.items() if key in known}
        stated = " ".join(f"{key}={value}" for key, value in parts.items())
        numeric = all(value is None or value.isdigit() for value in parts.values())
        time = _time(parts) if numeric else None
    else:
        stated = match.group(1 if match.re.groups else 0) or ""
        time = parse_date(stated)
    if time is None:
        raise DateError(
            f"--date-regex finds '{stated}' in {text}, which is no date of 1900-2100.",
            remedy="Let its first group match a date such as 20180131, 2018-01-31, 2018031, "
            "201801 or 2018, or name groups year, month, day, doy, hour, minute, second.",
        )
    return time
