"""Files whose bands are dates: each band becomes a scene at its own time."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from geoforecast.errors import DateError, InputError, SceneError, SettingsError
from geoforecast.raster.geotiff import Header
from geoforecast.raster.layout import printable
from geoforecast.stack.cadence import Cadence, parse_cadence
from geoforecast.stack.inventory.dateformats import date_span, parse_time
from geoforecast.stack.inventory.dates import DateChoice, choose_dates
from geoforecast.stack.inventory.listing import clipped, read_text
from geoforecast.stack.inventory.names import OneBand
from geoforecast.stack.inventory.scenes import Problems, SceneFile
from geoforecast.stack.inventory.times import read_headers, settle_dates

_FORMS = (
    "Give START/STEP such as 2001-01-01/1M, name/STEP, dates parted by commas, @FILE, or "
    "descriptions."
)


def settle_times(
    files: list[SceneFile],
    bands_are_times: str,
    regex: str,
    problems: Problems,
    jobs: int,
) -> tuple[list[SceneFile], DateChoice]:
    """Give each scene its time, and make a scene of each band if bands are dates.

    The dates of bands are one of:

    * ``START/STEP``: the first band is at START, each next one a step later; all files begin
      at START and have as many bands as most.
    * ``name/STEP``: the first band is at the date that the file's name holds.
    * ``DATE,DATE,...`` or ``@FILE`` with one date a line: the same for every file, one date
      for each band.
    * ``descriptions``: the bands' descriptions hold the dates.

    Args:
        files: from find_files; changed in place.
        bands_are_times: as above, or "" for files that have one time each.
        regex: --date-regex, for dates in names and in descriptions.
        problems: gathers files that do not fit.
        jobs: threads.
    Returns:
        The files, or their bands as SceneFiles of their own with keys such as ``a.tif#3``;
        and how the dates were found.
    Raises:
        DateError: no dates are found, or a list does not fit the first file.
        SettingsError: bands_are_times is of no known form.
    """
    if not bands_are_times:
        return files, settle_dates(files, regex, problems, jobs)
    start, slash, step = bands_are_times.partition("/")
    by_name = slash == "/" and start.strip().lower() == "name"
    if by_name:
        settle_dates(files, regex, problems, jobs)
    else:
        _note_faults(files, problems)
        read_headers([file for file in files if file.used], problems, jobs)
    live = [(file, file.header) for file in files if file.used and file.header is not None]
    if not live:
        return files, DateChoice("Dates: no file is left.", (), ())
    if bands_are_times.strip().lower() == "descriptions":
        dates = _described(live, regex, problems)
    elif slash and not bands_are_times.startswith("@"):
        dates = _stepped(live, start.strip(), step.strip(), by_name, problems)
    else:
        dates = _listed(live, bands_are_times, problems)
    scenes = [file for file in files if not file.used]
    for file, header in live:
        if file.used:
            scenes += _bands(file, header, dates[file.key])
    made = [scene for scene in scenes if scene.used]
    distinct = len({scene.time for scene in made})
    text = (
        f"Dates: each band has its own ({printable(bands_are_times)}), {len(made)} bands of "
        f"{len({scene.path for scene in made})} files, {distinct} distinct times."
    )
    times, spans = tuple(f.time for f in made), tuple(f.span for f in made)
    return sorted(scenes, key=_order), DateChoice(text, times, spans)


def _order(file: SceneFile) -> tuple[str, int]:
    key, _, number = file.key.rpartition("#")
    return (key, int(number)) if number.isdigit() else (file.key, 0)


def _note_faults(files: Sequence[SceneFile], problems: Problems) -> None:
    for file in files:
        if file.used and file.told and file.told.fault:
            problems.add(file, file.told.fault)


def _numbers(header: Header) -> list[int]:
    return [number for number in range(1, header.count + 1) if number != header.alpha]


def _bands(file: SceneFile, header: Header, dates: Sequence[np.datetime64]) -> list[SceneFile]:
    """A scene for each band of a file."""
    values = {field.name: getattr(header, field.name) for field in dataclasses.fields(header)}
    return [
        SceneFile(
            path=file.path,
            key=f"{file.key}#{number}",
            time=date,
            span=file.span or date_span(file.path.stem, dates[0]),
            header=OneBand(**values, only=number),
            told=file.told,
        )
        for number, date in zip(_numbers(header), dates, strict=True)
    ]


def _stepped(
    live: Sequence[tuple[SceneFile, Header]],
    start: str,
    step: str,
    by_name: bool,
    problems: Problems,
) -> dict[str, list[np.datetime64]]:
    first = None if by_name else parse_time(start)
    if first is None and not by_name:
        raise SettingsError(
            f"--bands-are-times: '{clipped(start)}' is no date, such as 2001-01-01.",
            remedy=_FORMS,
        )
    try:
        cadence = parse_cadence(step)
    except SettingsError:
        cadence = None
    if cadence is None:
        raise SettingsError(
            f"--bands-are-times: '{clipped(step)}' is no step.",
            remedy="Give a number and a unit: 5min, 3h, 16D, 1W, 1M (month) or 1Y.",
        )
    if not by_name:
        counts = Counter(len(_numbers(header)) for _, header in live)
        usual = max(counts, key=lambda count: (counts[count], count))
        _refuse_counts(live, usual, "most files have", problems)
    dates = {}
    for file, header in live:
        begin = file.time if first is None else first
        if begin is not None:
            dates[file.key] = _series(begin, cadence, len(_numbers(header)))
    return dates


def _series(first: np.datetime64, cadence: Cadence, count: int) -> list[np.datetime64]:
    """Times a step apart; the 31st of a month without one is its last day."""
    steps = np.arange(count) * cadence.count
    if cadence.unit not in "MY":
        return list(first + steps.astype(f"timedelta64[{cadence.unit}]"))
    months = first.astype("datetime64[M]")
    days = first - months.astype("datetime64[s]")
    begins = months + steps * (12 if cadence.unit == "Y" else 1)
    ends = (begins + 1).astype("datetime64[D]") - 1
    clock = days % np.timedelta64(1, "D")
    return list(
        np.minimum(begins.astype("datetime64[s]") + days, ends.astype("datetime64[s]") + clock)
    )


def _listed(
    live: Sequence[tuple[SceneFile, Header]], text: str, problems: Problems
) -> dict[str, list[np.datetime64]]:
    if text.startswith("@"):
        path = Path(text[1:]).expanduser()
        lines = read_text(path, "a list of dates").split("\n")
        items = [(f"line {n} of {printable(path)}", line) for n, line in enumerate(lines, 1)]
    else:
        items = [(f"date {n}", item) for n, item in enumerate(text.split(","), 1)]
    dates = []
    for place, item in items:
        stated = item.partition("#")[0].strip()
        if not stated:
            continue
        time = parse_time(stated)
        if time is None:
            raise InputError(
                f"--bands-are-times: '{clipped(stated)}' is no date.", where=place, remedy=_FORMS
            )
        dates.append(time)
    _refuse_counts(live, len(dates), "--bands-are-times gives", problems)
    return {file.key: dates for file, _ in live}


def _refuse_counts(
    live: Sequence[tuple[SceneFile, Header]], wanted: int, who: str, problems: Problems
) -> None:
    """Files that do not have a band for each date, or a date for each band.

    Raises:
        DateError: none has.
    """
    wrong = [(file, len(_numbers(h))) for file, h in live if len(_numbers(h)) != wanted]
    if len(wrong) == len(live):
        file, count = wrong[0]
        raise DateError(
            f"{file.key} has {count} bands; {who} {wanted} dates.",
            where=f"{len(wrong)} of {len(live)} files do not fit",
            remedy="Give one date for each band.",
        )
    for file, count in wrong:
        problems.add(
            file,
            SceneError(
                f"{file.path} has {count} bands; {who} {wanted}.",
                remedy="Give one date for each band, or leave the file out with --on-error "
                "quarantine.",
            ),
        )


def _described(
    live: Sequence[tuple[SceneFile, Header]], regex: str, problems: Problems
) -> dict[str, list[np.datetime64]]:
    """Dates from the descriptions of bands, read as those in file names are."""
    texts = [(file, header.descriptions[n - 1]) for file, header in live for n in _numbers(header)]
    names = [text for _, text in texts]
    choice = choose_dates(names, [""] * len(names), regex=regex)
    if choice is None:
        raise DateError(
            "No description of a band holds a date.",
            where=[f"{file.key}: {printable(text) or 'empty'}" for file, text in texts[:3]],
            remedy=_FORMS,
        )
    dates: dict[str, list[np.datetime64]] = {file.key: [] for file, _ in live}
    for (file, text), time in zip(texts, choice.times, strict=True):
        if time is not None:
            dates[file.key].append(time)
        elif file.used:
            problems.add(
                file,
                SceneError(
                    f"{file.path}: the band description '{printable(text)}' holds no date.",
                    remedy="Give the dates as a list, or leave the file out with --on-error "
                    "quarantine.",
                ),
            )
    return dates
