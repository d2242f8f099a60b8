"""What a file name says besides the date: its variable or band, its tile, its sensor."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from geoforecast.raster.geotiff import Header
from geoforecast.raster.layout import printable

# Parts that name a tile, a platform or a number of the product, never a variable.
_NO_VARIABLE = re.compile(
    r"T?\d{2}[C-HJ-NP-X][A-Z]{2}|h\d{2}v\d{2}|\d{6,}|\d{8}T\d{4,6}Z?"
    r"|S[12][A-D]?|L[COETM]0?[4-9]|LND0[4-9]|SEN2[A-D]",
    re.IGNORECASE,
)
_RESOLUTION = re.compile(r"\d+k?m", re.IGNORECASE)
_GENERIC = re.compile(r"stack|image|img|scene|data|cog|tif|geotiff|v?\d+|[a-z]", re.IGNORECASE)


@dataclass(frozen=True)
class OneBand(Header):
    """A file that is seen as one of its bands; its other bands are other scenes.

    Attributes:
        only: the 1-based number of that band.
    """

    only: int = 1


@dataclass(frozen=True)
class NameParts:
    """What is left of a file name without its date.

    Attributes:
        label: the parts that tell apart files of one time, joined by "_"; "" if none.
        rest: the other parts, for pairing a mask with its scene.
    """

    label: str
    rest: frozenset[str]


def wanted_tokens(names: Sequence[str], spans: Sequence[tuple[int, int] | None]) -> list[list[str]]:
    """The parts of each name that may be a variable: all but date, known tiles, platforms."""
    return [
        [token for token in _tokens(name, span) if not _NO_VARIABLE.fullmatch(token)]
        for name, span in zip(names, spans, strict=True)
    ]


def telling_tokens(members: Sequence[Sequence[str]]) -> set[str]:
    """Parts that some of the files have and others have not."""
    counts = Counter(token for parts in members for token in set(parts))
    return {token for token, count in counts.items() if count < len(members)}


def split_names(
    names: Sequence[str],
    spans: Sequence[tuple[int, int] | None],
    telling: set[str],
) -> tuple[list[NameParts], str]:
    """The label of each file, and a name for the variable if there is only one.

    Args:
        names: file names without suffix.
        spans: where the date stands in each.
        telling: the parts that tell variables apart.
    Returns:
        The parts of each name; the last telling part that all names share, or "".
    """
    tokens = [_tokens(name, span) for name, span in zip(names, spans, strict=True)]
    wanted = wanted_tokens(names, spans)
    full = ["_".join(t for t in parts if t in telling) for parts in wanted]
    short = ["_".join(_without_resolution(t.split("_"))) for t in full]
    # B04_10m is B04, unless there is a B04_20m as well.
    longer: dict[str, set[str]] = defaultdict(set)
    for f, s in zip(full, short, strict=True):
        longer[s].add(f)
    labels = [f if not s or len(longer[s]) > 1 else s for f, s in zip(full, short, strict=True)]
    parts = [
        NameParts(label, frozenset(t) - telling) for label, t in zip(labels, tokens, strict=True)
    ]
    return parts, _common_name(wanted)


def file_bands(header: Header) -> tuple[dict[int, str], bool]:
    """Names of a file's bands by 1-based number, its alpha band left out.

    Returns:
        The names, from descriptions, else tags Band_1.., else band_1..; and whether the
        file itself gave them.
    """
    if isinstance(header, OneBand):
        return {header.only: f"band_{header.only}"}, False
    tags = {key.lower(): value for key, value in header.tags.items()}
    names, given = {}, True
    for number, description in enumerate(header.descriptions, 1):
        if number == header.alpha:
            continue
        text = clean_name(description) or clean_name(tags.get(f"band_{number}", ""))
        given = given and bool(text)
        names[number] = text or f"band_{number}"
    if len(set(names.values())) < len(names):  # twins cannot be told apart by name
        names = {number: f"{name}_{number}" for number, name in names.items()}
    return names, given


def listed(names: Sequence[str], most: int = 12) -> str:
    """Names one after the other, for a message; a file may have thousands."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def natural(text: str) -> tuple[tuple[int, int | str], ...]:
    """A sort key under which B2 comes before B10."""
    return tuple(
        (0, int(part)) if part.isdigit() else (1, part.lower())
        for part in re.split(r"(\d+)", text)
        if part
    )


def _tokens(name: str, span: tuple[int, int] | None) -> list[str]:
    if span:
        name = f"{name[: span[0]]} {name[span[1] :]}"
    return [token for token in re.split(r"[^0-9A-Za-z]+", name) if token]


def _without_resolution(parts: list[str]) -> list[str]:
    return [part for part in parts if not _RESOLUTION.fullmatch(part)]


def _common_name(wanted: list[list[str]]) -> str:
    common = set(wanted[0]).intersection(*wanted) if wanted else set()
    telling = [
        t
        for t in (wanted[0] if wanted else [])
        if t in common and not _GENERIC.fullmatch(t) and not _RESOLUTION.fullmatch(t)
    ]
    return telling[-1] if telling else ""


def clean_name(text: str) -> str:
    """A description as a name: no multiplier such as "x 10,000", no spaces or commas."""
    text = re.sub(r"\s*[x*×]\s*[\d.,]+\s*$", "", printable(text.strip()))
    return re.sub(r"[\s,;/]+", "_", text).strip("_")
