"""CSV manifests: files with their times and bands, when names do not say them."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from geoforecast.errors import InputError
from geoforecast.raster.layout import printable
from geoforecast.stack.inventory.dateformats import parse_time
from geoforecast.stack.inventory.listing import (
    Listed,
    absolute,
    checked_file,
    clipped,
    is_remote,
    read_text,
    remote_error,
)
from geoforecast.stack.inventory.names import clean_name

log = logging.getLogger(__name__)

COLUMNS = ("path", "time", "band")


@dataclass(frozen=True)
class _Row:
    line: int
    path: str
    time: np.datetime64 | None
    bands: tuple[str, ...]


def read_manifest(path: Path) -> list[Listed]:
    """The files of a CSV manifest, in its order.

    Its first line names the columns: ``path`` (relative to the manifest), and if wanted
    ``time`` (UTC) and ``band`` (several bands of one file are parted by ``;``). What they
    leave empty is told from the file's name as usual.

    Raises:
        InputError: there is no path column, or rows are wrong; the first are named.
    """
    rows, wrong = [], list[str]()
    seen: dict[Path, int] = {}
    base = absolute(path).parent
    for line, values in _lines(path):
        row = _row(line, values)
        if isinstance(row, _Row):
            place = absolute(base / row.path)
            if place in seen:
                row = f"line {line}: {clipped(row.path)} stands in line {seen[place]} too"
            else:
                seen[place] = line
        if isinstance(row, str):
            wrong.append(row)
        else:
            rows.append(row)
    if wrong:
        raise InputError(
            f"{len(wrong)} of {len(wrong) + len(rows)} rows of {printable(path)} are wrong.",
            where=wrong[:5],
            remedy="Correct these lines.",
        )
    if not rows:
        raise InputError(
            f"{printable(path)} names no file.", remedy="Give one file a line below the header."
        )
    return [_file(base, row) for row in rows]


def _lines(path: Path) -> Iterator[tuple[int, dict[str, str] | str]]:
    """Number and values of each row that is not empty; or what is wrong with it."""
    text = read_text(path, "a CSV manifest")
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        names = [name.strip().casefold() for name in next(reader, [])]
        if "path" not in names:
            raise InputError(
                f"{printable(path)} has no column 'path'.",
                where=f"its first line: {clipped(header.strip())}",
                remedy="A manifest begins with the line path,time,band.",
            )
        unknown = sorted(set(names) - set(COLUMNS) - {""})
        if unknown:
            log.debug("%s: columns that mean nothing here: %s", printable(path), unknown)
        for values in reader:
            line = reader.line_num
            if not any(value.strip() for value in values):
                continue
            if len(values) > len(names):
                yield line, f"line {line}: {len(values)} values for {len(names)} columns"
            else:
                yield line, dict(zip(names, values, strict=False))
    except csv.Error as error:
        raise InputError(
            f"{printable(path)} is no CSV: {error}, line {reader.line_num}.",
            remedy="Save it as comma-separated UTF-8 text.",
        ) from error


def _row(line: int, values: dict[str, str] | str) -> _Row | str:
    if isinstance(values, str):
        return values
    path, stated = values.get("path", ""), values.get("time", "").strip()
    if not path.strip():
        return f"line {line}: no path"
    time = parse_time(stated) if stated else None
    if stated and time is None:
        return f"line {line}: '{clipped(stated)}' is no time such as 2018-01-31T10:45:00Z"
    names = tuple(clean_name(name) for name in values.get("band", "").split(";"))
    if any(names) and not all(names):
        return f"line {line}: '{clipped(values['band'])}' leaves a band without a name"
    return _Row(line, path, time, tuple(name for name in names if name))


def _file(base: Path, row: _Row) -> Listed:
    place = base / row.path
    inside = absolute(place).is_relative_to(base)
    if is_remote(row.path):
        listed = Listed(Path(row.path), base, fault=remote_error(row.path))
    else:
        listed = checked_file(place, base if inside else absolute(place).parent)
    several = len(row.bands) > 1
    return replace(
        listed,
        time=row.time,
        band="" if several or not row.bands else row.bands[0],
        names=row.bands if several else (),
    )
