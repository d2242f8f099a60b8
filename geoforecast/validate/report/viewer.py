"""The maps that a reader of the report swipes between: small pictures in the page itself."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from geoforecast.figures.words import four_digits
from geoforecast.validate.report.films import Film
from geoforecast.validate.report.palettes import NOTHING, Scale, hex_colour, png_uri
from geoforecast.validate.scoring.frames import evenly

MOST_BYTES = 12_000_000  # of all maps in a report; more opens slowly on a phone
STOPS = 17  # of a colour bar


@dataclass(frozen=True)
class Viewer:
    """One band's part of the page.

    Attributes:
        name: of the band.
        ratio: height over width of a map.
        layers: titles of the maps of a date.
        leads: how many can be chosen.
        times: of each date that is shown.
        start: which of them is shown first: the one with most of what came, the last of equals.
        dropped: test steps that are not shown.
        legends: (layers' titles, colour bar or key) below the map.
        data: what the script reads.
    """

    name: str
    ratio: float
    layers: tuple[str, ...]
    leads: int
    times: tuple[str, ...]
    start: int
    dropped: int
    legends: tuple[Legend, ...]
    data: dict[str, Any]


@dataclass(frozen=True)
class Legend:
    """What colours mean.

    Attributes:
        layers: the maps that have them.
        gradient: of a colour bar, as CSS; "" where there is a key.
        ends: lowest, middle and highest value told.
        label: what is measured.
        key: (colour, word) each.
    """

    layers: str
    gradient: str
    ends: tuple[str, ...]
    label: str
    key: tuple[tuple[str, str], ...]


def viewers_of(films: tuple[Film, ...], steps: int) -> tuple[Viewer, ...]:
    """The viewer of each band; together their maps have no more than MOST_BYTES.

    Args:
        films: the bands' maps.
        steps: test steps in all.
    """
    return tuple(_viewer(film, steps, MOST_BYTES // len(films)) for film in films)


def _viewer(film: Film, steps: int, most_bytes: int) -> Viewer:
    # The last date tells about how many fit, so that few are encoded in vain.
    last = _maps(film, len(film.times) - 1, 0)
    fit = max(1, most_bytes // sum(map(len, last)))
    dates = evenly(len(film.times), fit)
    first = [_maps(film, date, 0) for date in dates]
    while len(first) > 1 and _size(first) > most_bytes:
        kept = evenly(len(first), max(1, int(len(first) * 0.98 * most_bytes / _size(first))))
        dates, first = tuple(dates[k] for k in kept), [first[k] for k in kept]
    by_lead = [first]
    left = most_bytes - _size(first)
    for lead in range(1, film.leads):
        if left < 0.5 * _size(first):
            break
        # What came is the same at every lead.
        further = [_maps(film, date, lead, skip=1) for date in dates]
        left -= _size(further)
        if left < 0:
            break
        by_lead.append(further)
    layers = [
        {
            "title": title,
            "scale": number,
            "images": [
                [maps[number - (lead > 0)] for maps in of_lead]
                for lead, of_lead in enumerate(by_lead)
                if lead == 0 or number > 0
            ],
        }
        for number, title in enumerate(film.layers)
    ]
    times = tuple(film.times[date] for date in dates)
    return Viewer(
        name=film.name,
        ratio=film.ratio,
        layers=film.layers,
        leads=len(by_lead),
        times=times,
        start=_fullest(film, dates),
        dropped=steps - len(dates),
        legends=_legends(film),
        data={"times": times, "layers": layers, "scales": [_told(s) for s in film.scales]},
    )


def _fullest(film: Film, dates: Sequence[int]) -> int:
    known = [int(np.isfinite(film.look(date, 0, 0)).sum()) for date in dates]
    return max(range(len(known)), key=lambda number: (known[number], number))


def _maps(film: Film, date: int, lead: int, skip: int = 0) -> list[str]:
    """A date's maps as text that stands in the page."""
    found = []
    for layer, scale in list(enumerate(film.scales))[skip:]:
        indices = scale.indices(film.look(date, lead, layer))
        found.append(png_uri(indices, scale.palette(), clear=NOTHING))
    return found


def _size(maps: list[list[str]]) -> int:
    return sum(len(text) for of_date in maps for text in of_date)


def _told(scale: Scale) -> dict[str, Any]:
    """A scale for the script, which looks up values by colour."""
    colours = [hex_colour(colour)[1:] for colour in scale.palette()]
    low, high = scale.limits
    return {"palette": "".join(colours), "low": low, "high": high, "words": scale.words}


def _legends(film: Film) -> tuple[Legend, ...]:
    legends = []
    for scale in dict.fromkeys(film.scales):
        layers = [t for t, s in zip(film.layers, film.scales, strict=True) if s == scale]
        low, high = scale.limits
        ends = (four_digits(low), four_digits((low + high) / 2), four_digits(high))
        stops = ", ".join(hex_colour(colour) for colour in scale.palette(STOPS))
        key = [hex_colour(colour) for colour in scale.palette()] if scale.words else []
        legends.append(
            Legend(
                layers=" and ".join(layers),
                gradient="" if scale.words else f"linear-gradient(to right, {stops})",
                ends=() if scale.words else tuple(end.replace("-", "−") for end in ends),
                label=scale.label,
                key=tuple(zip(key, scale.words, strict=True)),
            )
        )
    return tuple(legends)


@cache
def script() -> str:
    """The program that moves the viewer."""
    return Path(__file__).with_name("viewer.js").read_text(encoding="utf-8")


def policy() -> str:
    """What the page may load: nothing from anywhere, and no script but its own."""
    digest = base64.b64encode(hashlib.sha256(script().encode()).digest()).decode("ascii")
    return (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )


def height_share(ratio: float) -> str:
    """Width over height of a map for the style sheet, which keeps its shape."""
    return f"{1 / ratio:.6g}" if ratio > 0 and math.isfinite(ratio) else "1"
