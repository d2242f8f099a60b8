"""The time of each file, and its header on the way."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from geoforecast.errors import DateError, SceneError
from geoforecast.raster.geotiff import Header, read_header
from geoforecast.stack.inventory.dateformats import date_from_tags, date_span
from geoforecast.stack.inventory.dates import DateChoice, choose_dates
from geoforecast.stack.inventory.listing import Listed
from geoforecast.stack.inventory.scenes import Problems, SceneFile


def settle_dates(files: list[SceneFile], regex: str, problems: Problems, jobs: int) -> DateChoice:
    """Give each file its time; files without one, among others that have one, are skipped.

    A time that a manifest or STAC item states is taken as it is. Headers of the files with
    a time are read along the way.

    Raises:
        DateError: no file has a time, or which token is the date is unclear.
    """
    for file in files:
        if file.used and file.told and file.told.fault:
            problems.add(file, file.told.fault)
    files = [f for f in files if f.told is None or not (f.told.fault or f.told.skip)]
    given = [f for f in files if f.told and f.told.time is not None]
    for file in given:
        file.time = file.told.time if file.told else None
        file.span = date_span(file.path.stem, file.time) if file.time is not None else None
    others = [f for f in files if f.told is None or f.told.time is None]
    choice = _found_dates(others, regex, problems, jobs) if others else None
    if choice is not None:
        for file, time, span in zip(others, choice.times, choice.spans, strict=True):
            file.time, file.span = time, span
    dated = sum(file.time is not None for file in files)
    if files and dated == 0:
        raise DateError(
            f"No date is found in the names or tags of {len(files)} files.",
            where=[f"such as {file.key}" for file in files[:3]],
            remedy="Dates look like 20180131, 2018-01-31, 2018031, 201801 or 2018, with or "
            "without a time; say where others stand with --date-regex, or which they are in a "
            "manifest.",
        )
    for file in files:
        if file.time is None and file.used:
            file.skip(f"no date, while {dated} of {len(files)} files have one")
    read_headers([file for file in files if file.used and file.header is None], problems, jobs)
    told = f"Dates: given for {len(given)} of {len(files)} files."
    texts = ([told] if given else []) + ([choice.text] if choice else [])
    return DateChoice(" ".join(texts), tuple(f.time for f in files), tuple(f.span for f in files))


def _found_dates(files: list[SceneFile], regex: str, problems: Problems, jobs: int) -> DateChoice:
    """Dates from names, else from tags."""
    names = [file.path.stem for file in files]
    choice = choose_dates(names, [file.folder for file in files], regex=regex)
    if choice is not None:
        return choice
    read_headers([file for file in files if file.used], problems, jobs)
    times = tuple(date_from_tags(f.header.tags) if f.header else None for f in files)
    dated = sum(time is not None for time in times)
    text = f"Dates: from tags inside {dated} of {len(files)} files, as no name holds one."
    return DateChoice(text, times, (None,) * len(files))


def read_headers(files: list[SceneFile], problems: Problems, jobs: int) -> None:
    """Read the headers of files; those that cannot be used become problems."""

    def read(file: SceneFile) -> Header | SceneError:
        try:
            header = read_header(file.path)
            return _as_told(header, file.told) if file.told else header
        except SceneError as error:
            return error
        except (OSError, ValueError, OverflowError) as error:  # gone or changed meanwhile
            return SceneError(
                f"{file.path} cannot be read: {error}.",
                remedy="Fetch the file again, or leave it out with --on-error quarantine.",
            )

    with ThreadPoolExecutor(jobs) as pool:
        for file, result in zip(files, pool.map(read, files), strict=True):
            if isinstance(result, Header) and not result.grid.wkt:
                result = SceneError(
                    f"{file.path} has no coordinate reference system.",
                    remedy="Say what it is: gdal_edit.py -a_srs EPSG:n FILE; or leave it out "
                    "with --on-error quarantine.",
                )
            if isinstance(result, SceneError):
                problems.add(file, result)
            else:
                file.header = result


def _as_told(header: Header, told: Listed) -> Header:
    """A header with the band names and the missing tags that a manifest or item states."""
    if told.names and len(told.names) != header.count:
        raise SceneError(
            f"{header.path} has {header.count} bands; {len(told.names)} names are given for "
            f"them ({', '.join(told.names)}).",
            remedy="Correct the manifest or item, or leave the file out with --on-error "
            "quarantine.",
        )
    tags = told.tags * header.count if len(told.tags) == 1 else told.tags
    if len(tags) != header.count:
        return replace(header, descriptions=told.names or header.descriptions)
    silent = [s == 1 and o == 0 for s, o in zip(header.scales, header.offsets, strict=True)]
    return replace(
        header,
        descriptions=told.names or header.descriptions,
        nodata=tuple(
            tag.nodata if own is None else own for own, tag in zip(header.nodata, tags, strict=True)
        ),
        scales=tuple(
            tag.scale if quiet and tag.scale is not None else own
            for own, tag, quiet in zip(header.scales, tags, silent, strict=True)
        ),
        offsets=tuple(
            tag.offset if quiet and tag.offset is not None else own
            for own, tag, quiet in zip(header.offsets, tags, silent, strict=True)
        ),
    )
