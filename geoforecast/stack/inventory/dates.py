"""When each file was acquired, settled from what varies over the whole folder.

A *reading* is one way to find a date: a format, whether it is looked for in the file name
or the folder path, and which occurrence is meant. Well-known product names come first;
otherwise the readings that most files allow compete, and constant ones, and ones that lie
inside a longer reading, drop out. If two are left that differ, the user must choose.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from geoforecast.errors import DateError, SettingsError
from geoforecast.raster.layout import printable
from geoforecast.stack.inventory.dateformats import (
    CONVENTIONS,
    LOOSE,
    PATTERNS,
    Found,
    parse_date,
    precision,
    time_of,
)

MOST = 0.8  # share of the best reading's files that a competing reading must cover


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
    added: frozenset[int] = frozenset()  # files whose names state their date otherwise

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
        reading = _product_names(texts, in_name)
        if len(reading.found) >= MOST * len(names) and reading.distinct > 1:
            return _choice(reading, names, folders)
    readings = [r for s, t in ((True, names), (False, folders)) for r in _readings(t, s)]
    if not readings:
        return None
    return _choice(_settle(readings, names, folders), names, folders)


def _matches(pattern: re.Pattern[str], texts: Sequence[str], which: int) -> dict[int, Found]:
    found = {}
    for index, text in enumerate(texts):
        hits = [
            Found(time, match.span())
            for match in pattern.finditer(text)
            if (time := time_of(match.groupdict())) is not None
        ]
        if -len(hits) <= which < len(hits):
            found[index] = hits[which]
    return found


def _product_names(texts: Sequence[str], in_name: bool) -> _Reading:
    """What the conventions of products say; a folder may hold those of several sensors."""
    found: dict[int, Found] = {}
    labels = []
    for label, pattern in CONVENTIONS.items():
        new = {i: f for i, f in _matches(pattern, texts, 0).items() if i not in found}
        labels += [label] if new else []
        found |= new
    return _Reading("; ".join(labels), in_name, found)


def _readings(texts: Sequence[str], in_name: bool) -> list[_Reading]:
    result = []
    place = "file name" if in_name else "folder name"
    for label, pattern in PATTERNS.items():
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
        return _completed(eligible[0], names)
    if any(r.in_name for r in varying):
        varying = [r for r in varying if r.in_name]
    varying = [r for r in varying if not _needless_time(r, varying)]
    varying = [r for r in varying if not any(_inside(r, other) for other in varying)]
    kept: list[_Reading] = []
    for reading in varying:
        if not any(_same_times(reading, other) for other in kept):
            kept.append(reading)
    kept.sort(key=lambda r: -r.distinct)
    settled = _completed(kept[0], names)
    # Readings of files that are merely named otherwise do not compete.
    kept = [kept[0], *(r for r in kept[1:] if not r.found.keys() <= settled.added)]
    if len(kept) == 1 or kept[0].distinct >= 2 * kept[1].distinct:
        return settled
    raise _ambiguous(kept, names, folders)


def _completed(reading: _Reading, names: Sequence[str]) -> _Reading:
    """The same dates, at the finest precision that each file's name states.

    Files whose names are alike get a finer date if all of them hold one where the reading
    stands, and no other file shares a date with them. Files that the reading does not fit
    get theirs if the rest of their name is that of a file that it fits, so that undated
    files with some number in them stay undated.
    """
    if not reading.in_name:
        return reading
    found = dict(reading.found)
    alike: dict[str, list[int]] = defaultdict(list)
    for index in found:
        shape = re.sub(r"\d", "0", re.sub(r"[^\W\d_]+", "a", names[index]))
        alike[shape].append(index)
    finer: dict[int, Found] = {}
    for members in alike.values():
        finer |= _finer(members, found, names)
    # A mask that states the day belongs to a scene that states the hour as well.
    coarse = {found[index].time for index in found.keys() - finer.keys()}
    if coarse.isdisjoint(found[index].time for index in finer):
        found |= finer
    rests = {_rest(names[index], item.span) for index, item in found.items()}
    units = "smDMY"[: 1 + max(2, "smDMY".index(precision(reading.label.split(" ")[0])))]
    patterns = [pattern for label, pattern in PATTERNS.items() if precision(label) in units]
    added: dict[int, Found] = {}
    for index in set(range(len(names))) - found.keys():
        fits = (
            Found(time, match.span())
            for pattern in patterns
            for match in pattern.finditer(names[index])
            if (time := time_of(match.groupdict())) is not None
            and _rest(names[index], match.span()) in rests
        )
        if item := next(fits, None):
            added[index] = item
    return _Reading(reading.label, True, found | added, frozenset(added))


def _finer(
    members: Sequence[int], found: Mapping[int, Found], names: Sequence[str]
) -> dict[int, Found]:
    """Longer dates around those found, if all of some files hold one of the same format."""
    for label, pattern in PATTERNS.items():
        finer = {}
        for index in members:
            start, end = found[index].span
            for match in pattern.finditer(names[index]):
                time, (left, right) = time_of(match.groupdict()), match.span()
                if (
                    time is not None
                    and left <= start < end <= right
                    and (left, right) != (start, end)
                ):
                    finer[index] = Found(time, (left, right))
        clocks = {f.time - f.time.astype("datetime64[D]") for f in finer.values()}
        if len(finer) == len(members) and (label not in LOOSE or len(clocks) > 1):
            return finer
    return {}


def _rest(name: str, span: tuple[int, int]) -> tuple[str, ...]:
    """The parts of a name without its date."""
    return tuple(re.findall(r"[^\W_]+", f"{name[: span[0]]} {name[span[1] :]}".casefold()))


def _needless_time(reading: _Reading, others: list[_Reading]) -> bool:
    """A loosely joined "time" that is the same in all files is no time."""
    base = LOOSE.get(reading.label.split(" ")[0])
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
            f"'{text[slice(*found.span)]}' ({found.time}) in {printable(text)}"
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


def _choice(reading: _Reading, names: Sequence[str], folders: Sequence[str]) -> DateChoice:
    total = len(names)
    index = min(reading.found.keys() - reading.added)
    text = names[index] if reading.in_name else folders[index]
    found = reading.found[index]
    otherwise = f" ({len(reading.added)} in other formats)" if reading.added else ""
    note = (
        f"Dates: {reading.label} (as '{text[slice(*found.span)]}' -> {found.time}), "
        f"{len(reading.found)} of {total} files{otherwise}, {reading.distinct} distinct times."
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
            where=f"first: {printable(names[0])}" if names else (),
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
        time = time_of(parts) if numeric else None
    else:
        stated = match.group(1 if match.re.groups else 0) or ""
        time = parse_date(stated)
    if time is None:
        raise DateError(
            f"--date-regex finds '{printable(stated)}' in {printable(text)}, which is no date of "
            "1900-2100.",
            remedy="Let its first group match a date such as 20180131, 2018-01-31, 2018031, "
            "201801 or 2018, or name groups year, month, day, doy, hour, minute, second.",
        )
    return time
