"""Draw one forecast of a run beside what was observed, and where the two differ.

    python benchmarks/skill_pictures.py PROJECT FILE.png [--run NAME] [--band BAND] [--lead N]
                                         [--date DATE] [--name TEXT]

The forecast is a hindcast of a test step, which no part of the run has seen. Nothing is picked
by hand: of the test steps that are well covered (a quarter of the pixels of the one covered
best), the one is shown whose error is the median (of two, the smaller): RMSE over valid pixels,
or the Brier score of probabilities. What is printed says which step that is and how good the
others were. --date shows another test step. The picture is drawn as the reports are: forecast
and observed on one scale, the difference on one that is centred on 0, grey where nothing is
known. Classes are shown beside what became of each pixel since it was last seen.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from PIL import Image

from geoforecast.errors import DateError, GeoforecastError, SettingsError
from geoforecast.figures.axes import COLOURS
from geoforecast.figures.words import four_digits, shown_unit, step_length, time_label
from geoforecast.forecast.engine import Engine, open_engine
from geoforecast.forecast.kinds import BINARY, CATEGORICAL
from geoforecast.forecast.outcome import FORECAST, Hindcast
from geoforecast.project import Project
from geoforecast.validate.report.class_pictures import OTHERS_COLOUR, OUTCOME_COLOURS, class_panels
from geoforecast.validate.report.palettes import DIVERGING, NOT_SCORED, SEQUENTIAL
from geoforecast.validate.report.pictures import (
    Panel,
    diverging_limit,
    draw,
    is_wide,
    shared_limits,
)
from geoforecast.validate.scoring.class_scores import judge

PANEL_IN, DPI = 3.0, 100  # three panels make a picture of about 900 pixels
PANEL_IN_WIDE = 4.5
LEVELS = 49  # colours of each scale in the file; odd, so that 0 has one
LEAST_COVERED = 0.25  # of the pixels of the step that is covered best
Layer = NDArray[np.float32]


@dataclass(frozen=True)
class Frame:
    """One test step as it is shown.

    Attributes:
        step: of the cube.
        error: RMSE in band units, or the Brier score of probabilities.
        pixels: that the error is over.
        observed, forecast: (y, x) values, probabilities or numbers of classes; NaN where unknown.
        compared: (y, x) forecast minus observed, or the outcome of classes; NaN where unknown.
    """

    step: int
    error: float
    pixels: int
    observed: Layer
    forecast: Layer
    compared: Layer


def frames(engine: Engine, band: int, lead: int) -> list[Frame]:
    """Every test step that was forecast from ``lead`` steps before and has a valid pixel."""
    grid, found = engine.cube.grid, []
    for hindcast in engine.hindcasts(grid.whole, engine.split.test_steps):
        if hindcast.lead == lead:
            classes = engine.series.target.kind == CATEGORICAL
            found.append((frame_of_classes if classes else frame_of_values)(engine, hindcast, band))
    return [frame for frame in found if frame.pixels]


def frame_of_values(engine: Engine, hindcast: Hindcast, band: int) -> Frame:
    """Values, or probabilities of a 1: both err by a difference."""
    forecast, observed = hindcast.forecasts[FORECAST][band], hindcast.observed[band]
    scored = hindcast.valid[band] & np.isfinite(observed) & np.isfinite(forecast)
    difference = np.full(scored.shape, np.nan, dtype=np.float32)
    difference[scored] = forecast[scored] - observed[scored]
    shown = np.where(hindcast.valid[band], observed, np.float32(np.nan))
    error = mean(np.square(difference[scored]))
    if not engine.has_probabilities:
        error = math.sqrt(error)
    return Frame(hindcast.step, error, int(scored.sum()), shown, forecast, difference)


def frame_of_classes(engine: Engine, hindcast: Hindcast, band: int) -> Frame:
    """Classes: maps, and what became of each pixel since it was last seen."""
    judged = judge(engine, hindcast, [FORECAST])
    scored, chosen = judged.scored[band], judged.chosen[FORECAST][band]
    maps = (judged.observed[band], chosen, judged.outcome(FORECAST)[band])
    known = (judged.seen[band], chosen >= 0, scored & (judged.last[band] >= 0))
    layers = [
        np.where(where, values, np.nan).astype(np.float32)
        for values, where in zip(maps, known, strict=True)
    ]
    error = mean(judged.brier[FORECAST][band][scored])
    return Frame(hindcast.step, error, int(scored.sum()), *layers)


def mean(values: Layer) -> float:
    """Of some values in float64; NaN of none."""
    return float(values.mean(dtype=np.float64)) if values.size else math.nan


def ranked(found: Sequence[Frame]) -> list[Frame]:
    """The frames that are well covered, from the least error to the largest."""
    least = LEAST_COVERED * max(frame.pixels for frame in found)
    covered = [frame for frame in found if frame.pixels >= least]
    return sorted(covered, key=lambda frame: (frame.error, frame.step))


def panels_of(engine: Engine, frame: Frame, band: int, lead: int) -> list[Panel]:
    """Observed, forecast, and where they differ."""
    made = f"forecast from {time_label(engine.cube.times[frame.step - lead])}"
    target, error = engine.series.target, four_digits(frame.error)
    layers = (frame.observed, frame.forecast, frame.compared)
    if target.kind == CATEGORICAL:
        titles = ("observed", made, f"outcome (Brier {error})")
        panels = class_panels(*layers, target.classes)
        return [replace(panel, title=said) for panel, said in zip(panels, titles, strict=True)]
    unit = shown_unit(engine.units[band])
    if target.kind == BINARY:
        limits, limit, unit = (0.0, 1.0), 1.0, "probability"
        said = f"forecast − observed (Brier {error})"
    else:
        limits = shared_limits((frame.observed, frame.forecast))
        limit, said = diverging_limit([frame.compared]), f"forecast − observed (RMSE {error})"
    return [
        Panel(frame.observed, "observed", SEQUENTIAL, limits, unit),
        Panel(frame.forecast, made, SEQUENTIAL, limits, unit),
        Panel(frame.compared, said, DIVERGING, (-limit, limit), unit),
    ]


def chosen(engine: Engine, found: Sequence[Frame], date: str) -> tuple[Frame, str]:
    """The frame of a date, or the one of median error; and words on how it ranks.

    Raises:
        DateError: no test step of that date can be shown.
    """
    times = engine.cube.times
    order = ranked(found)
    if not date:
        frame = order[(len(order) - 1) // 2]
        return frame, f"the median of {len(order)} well covered test steps"
    for frame in found:
        if str(times[frame.step]).startswith(date):
            better = sum(one.error < frame.error for one in order)
            return frame, f"better than it: {better} of {len(order)} well covered test steps"
    raise DateError(
        f"--date is {date}, when no test step was forecast and observed.",
        where=f"there are {', '.join(str(times[frame.step]) for frame in found)}",
        remedy="Give one of these, or the start of one; or leave --date out.",
    )


def picture(project: Project, arguments: argparse.Namespace) -> str:
    """Draw it, and tell what it shows.

    Raises:
        GeoforecastError: no such run, band, lead or date.
    """
    engine = open_engine(project, arguments.run)
    names = engine.series.cube_bands  # classes are indicators, but of one band
    if (arguments.band or names[0]) not in names:
        raise SettingsError(
            f"--band is {arguments.band}, which the run does not forecast.",
            where=f"bands: {', '.join(names)}",
            remedy="Give one of these.",
        )
    band, lead = names.index(arguments.band or names[0]), arguments.lead
    found = frames(engine, band, lead)
    if not found:
        raise SettingsError(
            f"--lead is {lead}, at which no test step was forecast and observed.",
            remedy=f"Give 1 to {engine.horizon}.",
        )
    frame, rank = chosen(engine, found, arguments.date)
    name = arguments.name or project.root.resolve().name
    time = time_label(engine.cube.times[frame.step])
    steps = f"{lead} step{'s' if lead > 1 else ''} of {step_length(engine.cube.times)} ahead"
    grid = engine.cube.grid
    arguments.file.parent.mkdir(parents=True, exist_ok=True)
    draw(
        arguments.file,
        panels_of(engine, frame, band, lead),
        grid,
        f"{name}: {names[band]}, {time}, {steps}",
        panel_in=PANEL_IN_WIDE if is_wide(grid) else PANEL_IN,
        dpi=DPI,
    )
    shrink(arguments.file)
    score = "Brier score" if engine.has_probabilities else "RMSE"
    errors = [four_digits(one.error) for one in ranked(found)]
    size = arguments.file.stat().st_size / 1000
    return (
        f"{arguments.file}, {size:.0f} kB: {name}, {names[band]}, {time}, {steps}\n"
        f"  {score} {four_digits(frame.error)}, {rank} ({errors[0]} to {errors[-1]})"
    )


def shrink(path: Path) -> None:
    """Write a PNG again with the colours of a fixed palette, which takes a third of the bytes."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    colours, places = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)
    palette = fixed_palette()
    apart = np.square(colours[:, None].astype(int) - palette).sum(axis=-1)
    numbers = apart.argmin(axis=1).astype(np.uint8)[places]
    few = Image.fromarray(numbers.reshape(pixels.shape[:2]))
    few.putpalette(palette.astype(np.uint8).tobytes())
    few.save(path, optimize=True)


def fixed_palette() -> NDArray[np.int64]:
    """(colour, 3) 0 to 255: both scales in steps that the eye hardly sees, greys, classes."""
    scales = [colormaps[name](np.linspace(0, 1, LEVELS)) for name in (SEQUENTIAL, DIVERGING)]
    greys = [(level / (LEVELS - 1),) * 3 for level in range(LEVELS)]
    single = [to_rgb(one) for one in (*COLOURS, *OUTCOME_COLOURS, OTHERS_COLOUR, NOT_SCORED)]
    shares: NDArray[np.float64] = np.concatenate([*(one[:, :3] for one in scales), greys, single])
    return np.rint(255 * shares).astype(np.int64)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("project", type=Path, help="a project with a trained run")
    parser.add_argument("file", type=Path, help="the PNG to write")
    parser.add_argument("--run", default="default", metavar="NAME", help="of the project")
    parser.add_argument("--band", default="", help="band to show; default: the first")
    parser.add_argument("--lead", type=int, default=1, metavar="STEPS", help="steps ahead")
    parser.add_argument("--date", default="", help="test step to show, such as 2017-10-02")
    parser.add_argument("--name", default="", metavar="TEXT", help="default: the project's folder")
    return parser.parse_args()


def main() -> int:
    """Draw one picture; 2 if it cannot be drawn."""
    arguments = parse_arguments()
    try:
        print(picture(Project(arguments.project), arguments))
    except GeoforecastError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
