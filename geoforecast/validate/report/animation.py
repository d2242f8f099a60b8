"""The test steps as an animation: observed, forecast and what lies between them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from geoforecast.validate.report.films import Film
from geoforecast.validate.report.paint import Shot, paint
from geoforecast.validate.report.palettes import picture
from geoforecast.validate.scoring.frames import evenly

SIDE_PX = 300  # longest side of a map
MOST_SHOTS = 60
MOST_BYTES = 4_000_000
SHOWN_MS = 700  # each date


def write_animation(path: Path, film: Film) -> int:
    """Write a GIF of a band's forecasts one step ahead beside what came.

    Dates are dropped evenly until it has no more than MOST_BYTES.

    Args:
        path: the file to create.
        film: the band's maps.
    Returns:
        How many dates it shows.
    """
    dates = evenly(len(film.times), MOST_SHOTS)
    while True:
        content = _encoded(film, dates)
        if len(content) <= MOST_BYTES or len(dates) == 1:
            path.write_bytes(content)
            return len(dates)
        # A little fewer than would do, for no date is as large as another.
        fewer = max(1, int(len(dates) * 0.95 * MOST_BYTES / len(content)))
        dates = tuple(dates[number] for number in evenly(len(dates), fewer))


def _encoded(film: Film, dates: Sequence[int]) -> bytes:
    shots = []
    for date in dates:
        maps = [
            Shot(film.look(date, 0, layer), film.scales[layer], title)
            for layer, title in enumerate(film.layers)
        ]
        title = f"{film.name}, one step ahead of {film.times[date]}"
        shots.append(picture(*paint(maps, title, film.ratio, SIDE_PX)))
    stream = io.BytesIO()
    first, *others = shots
    first.save(
        stream, "GIF", save_all=True, append_images=others, duration=SHOWN_MS, loop=0, disposal=1
    )
    return stream.getvalue()
