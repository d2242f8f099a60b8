"""Charts of the report as places and paths that its template writes as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoforecast.figures.axes import nice_ticks, tick_digits
from geoforecast.figures.words import time_label
from geoforecast.stack.quality import png
from geoforecast.stack.quality.survey import evenly

WIDTH = 760
LEFT, RIGHT = 58, 604  # of the time axis; histograms stand right of it
SIDE_LEFT, SIDE_RIGHT = 616, 748
TOP, HEIGHT = 10, 150  # of one panel
MOST_MARKS = 1500  # steps drawn one by one
MOST_TICKS = 8
SCATTER = 300  # side of the alignment chart
SCATTER_PAD = 34

# Finest first: numpy unit, how many of it, and how long about (days).
_STEPS = (
    *(("m", n, n / 1440) for n in (1, 5, 10, 15, 30)),
    *(("h", n, n / 24) for n in (1, 3, 6, 12)),
    *(("D", n, float(n)) for n in (1, 2, 5, 10)),
    *(("M", n, 30.4 * n) for n in (1, 3, 6)),
    *(("Y", n, 365.2 * n) for n in (1, 2, 5, 10, 20, 50, 100)),
)
_SHOWN = {"m": slice(11, 16), "h": slice(11, 16), "D": slice(5, 10), "M": slice(7), "Y": slice(4)}

Times = NDArray[np.datetime64]
Double = NDArray[np.float64]
Tick = tuple[str, float]


@dataclass(frozen=True)
class Mark:
    """A point with the text shown on hovering; ``strong`` ones are drawn to be seen."""

    x: float
    y: float
    text: str
    strong: bool = False


@dataclass(frozen=True)
class Bars:
    """A bar a step: one path, and marks for steps to look at; ``half`` the bars' width."""

    path: str
    stroke: float
    marks: tuple[Mark, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


@dataclass(frozen=True)
class Ranges:
    """Quantiles over time: areas of 5-95 % and 25-75 %, a median line, marks of outliers."""

    outer: str
    inner: str
    middle: str
    marks: tuple[Mark, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


@dataclass(frozen=True)
class Strip:
    """Histograms over time as a picture, and of all steps together as a path beside it."""

    picture: str
    side: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


@dataclass(frozen=True)
class Scatter:
    """Shifts (dx, dy) around 0; ``standard`` and ``rms`` are radii in drawing units."""

    marks: tuple[Mark, ...]
    ticks: tuple[Tick, ...]
    standard: float
    rms: float
    centre: float = SCATTER / 2


class TimeAxis:
    """Where times stand between LEFT and RIGHT.

    Args:
        times: (time,) datetime64, ascending.
    """

    def __init__(self, times: Times) -> None:
        self.seconds = times.astype("datetime64[s]").astype(np.int64).astype(np.float64)
        gaps = np.diff(self.seconds)
        self.gap = float(np.median(gaps)) if gaps.size else 86400.0
        # Half a step of air at both ends, so that the first and last bar are whole.
        self.start = self.seconds[0] - self.gap / 2
        self.end = self.seconds[-1] + self.gap / 2

    def places(self, seconds: Double) -> Double:
        share = (seconds - self.start) / (self.end - self.start)
        return np.asarray(np.round(LEFT + (RIGHT - LEFT) * share, 1))

    @property
    def x(self) -> Double:
        return self.places(self.seconds)

    @property
    def bar(self) -> float:
        """Width of a bar that leaves air between steps that follow each other closely."""
        wide = (RIGHT - LEFT) * self.gap / (self.end - self.start)
        return float(round(min(14.0, max(0.8, 0.8 * wide)), 2))

    def ticks(self) -> tuple[Tick, ...]:
        """Round times, about MOST_TICKS at most, and no finer than the steps."""
        days, gap = (self.end - self.start) / 86400, self.gap / 86400
        unit, count, _ = next(
            (s for s in _STEPS if s[2] >= 0.9 * gap and days / s[2] <= MOST_TICKS), _STEPS[-1]
        )
        first, last = (
            np.datetime64(int(edge), "s").astype(f"datetime64[{unit}]").astype(int)
            for edge in (self.start, self.end)
        )
        origin = 1970 if unit == "Y" else 0
        numbers = [n for n in range(first, last + 1) if (n + origin) % count == 0]
        found = []
        for number in numbers:
            time = np.array(number).astype(f"datetime64[{unit}]").astype("datetime64[s]")
            x = float(self.places(np.array(time.astype(np.int64), np.float64)))
            if LEFT <= x <= RIGHT:
                midnight = unit in "mh" and time == time.astype("datetime64[D]")
                found.append((str(time)[_SHOWN["D" if midnight else unit]], x))
        return tuple(found)

    def columns(self) -> NDArray[np.int64]:
        """For each drawing unit between LEFT and RIGHT the step shown there, or -1.

        A step reaches half-way to its neighbours, and no further than three quarters of the
        usual gap, so that missing steps stay open.
        """
        at = self.start + (np.arange(RIGHT - LEFT) + 0.5) / (RIGHT - LEFT) * (self.end - self.start)
        after = np.clip(np.searchsorted(self.seconds, at), 1, max(1, len(self.seconds) - 1))
        before = after - 1
        after = np.minimum(after, len(self.seconds) - 1)
        nearer = np.abs(self.seconds[after] - at) < np.abs(self.seconds[before] - at)
        step = np.where(nearer, after, before)
        # A step always gets at least one unit, however short it is against the whole.
        unit = (self.end - self.start) / (RIGHT - LEFT)
        reach = max(0.75 * self.gap, unit)
        return np.where(np.abs(self.seconds[step] - at) <= reach, step, -1)


def draw_validity(times: Times, fraction: Double, flagged: Sequence[int]) -> Bars:
    """A bar a step as high as its valid fraction.

    Args:
        times: (time,) datetime64.
        fraction: (time,) 0 to 1.
        flagged: steps to mark.
    """
    axis = TimeAxis(times)
    x = axis.x
    y = _heights(fraction, 0.0, 1.0)
    steps = evenly(np.arange(len(times)), MOST_MARKS)
    path = "".join(
        f"M{x[t]:g} {TOP + HEIGHT}V{min(y[t], TOP + HEIGHT - 0.8):g}"
        for t in steps
        if fraction[t] > 0
    )
    marks = tuple(
        Mark(float(x[t]), float(y[t]), f"{time_label(times[t])}: {fraction[t]:.0%} valid", True)
        for t in flagged
    )
    ticks = tuple(
        (f"{share:.0%}", float(_heights(np.array(share), 0.0, 1.0))) for share in (0, 0.5, 1)
    )
    return Bars(path, axis.bar, marks, axis.ticks(), ticks)


def draw_ranges(
    times: Times, quantiles: Double, outliers: Sequence[tuple[int, str]]
) -> Ranges | None:
    """Quantiles of a band over time; None if there are none.

    Args:
        times: (time,) datetime64.
        quantiles: (time, 5), ascending; NaN where a step is empty.
        outliers: (step, text) to mark; they may lie beyond the axis and then stand at its end.
    """
    known = np.isfinite(quantiles[:, 0])
    if not known.any():
        return None
    usual = known.copy()
    usual[[step for step, _ in outliers]] = False
    shown = quantiles[usual if usual.any() else known]
    ticks = nice_ticks(float(shown[:, 0].min()), float(shown[:, -1].max()))
    low, high = ticks[0], ticks[-1]
    axis = TimeAxis(times)
    x, y = axis.x, _heights(quantiles, low, high)
    runs = _runs(evenly(np.arange(len(times)), MOST_MARKS), known)
    return Ranges(
        outer="".join(_area(x[run], y[run, 0], y[run, 4], axis.bar) for run in runs),
        inner="".join(_area(x[run], y[run, 1], y[run, 3], axis.bar) for run in runs),
        middle="".join(_line(x[run], y[run, 2]) for run in runs),
        marks=tuple(
            Mark(float(x[t]), float(y[t, 2]), f"{time_label(times[t])}: {text}", True)
            for t, text in outliers
            if known[t]
        ),
        x_ticks=axis.ticks(),
        y_ticks=_value_ticks(ticks, low, high),
    )


def draw_strip(
    times: Times, edges: Double, counts: NDArray[np.int64], *, piled: bool = False
) -> Strip:
    """How the values of a band spread, over time and altogether.

    Args:
        times: (time,) datetime64.
        edges: (bin + 1,) ascending.
        counts: (time, bin).
        piled: most values are in the lowest bin; it may exceed the scale, so that the others
            are seen.
    """
    axis = TimeAxis(times)
    totals = counts.sum(axis=1, keepdims=True)
    # The root of the share: rare values stay visible beside common ones.
    shade = np.sqrt(counts / np.maximum(totals, 1))
    shade = np.where(counts > 0, shade, np.nan)
    scaled = slice(1 if piled and counts[:, 1:].any() else 0, None)
    judged = shade[:, scaled]
    top = float(np.nanpercentile(judged, 99.5)) if np.isfinite(judged).any() else 1.0
    columns = axis.columns()
    picture = np.where(columns[:, None] >= 0, png.levels(shade, 0.0, top)[columns], 0)
    low, high = float(edges[0]), float(edges[-1])
    ticks = [tick for tick in nice_ticks(low, high) if low <= tick <= high]
    ticks = ticks if len(ticks) > 1 else [low, high]
    return Strip(
        picture=png.indexed_uri(np.ascontiguousarray(picture.T[::-1]), png.viridis()),
        side=_side_bars(counts.sum(axis=0), scaled),
        x_ticks=axis.ticks(),
        y_ticks=_value_ticks(ticks, low, high),
    )


def draw_classes(times: Times, counts: NDArray[np.int64], colours: Sequence[str]) -> Strip:
    """Shares of classes over time, stacked from the bottom in the order of the classes.

    Args:
        times: (time,) datetime64.
        counts: (time, class).
        colours: of the classes, ``#rrggbb``.
    """
    axis = TimeAxis(times)
    totals = counts.sum(axis=1)
    upper = np.cumsum(counts, axis=1) / np.maximum(totals, 1)[:, None]
    at = (np.arange(HEIGHT) + 0.5) / HEIGHT
    place = (at[None, :, None] >= upper[:, None, :]).sum(axis=2)
    picture = np.where(totals[:, None] > 0, np.minimum(place, counts.shape[1] - 1) + 1, 0)
    columns = axis.columns()
    shown = np.where(columns[:, None] >= 0, picture[columns], 0).astype(np.uint8)
    palette = np.array([list(bytes.fromhex(colour[1:])) for colour in colours], np.uint8)
    ticks = tuple((f"{share:.0%}", TOP + HEIGHT * (1 - share)) for share in (0, 0.5, 1))
    uri = png.indexed_uri(np.ascontiguousarray(shown.T[::-1]), palette.reshape(-1, 3))
    return Strip(uri, "", axis.ticks(), ticks)


def draw_shifts(shifts: Sequence[tuple[str, float, float]], standard: float, rms: float) -> Scatter:
    """Shifts of scenes around 0.

    Args:
        shifts: (words, dy, dx) of each, pixels; rows run down and so does the drawing.
        standard, rms: pixels.
    """
    farthest = max((max(abs(dy), abs(dx)) for _, dy, dx in shifts), default=0.0)
    limit = max(1.0, math.ceil(farthest * 2) / 2)
    unit = (SCATTER / 2 - SCATTER_PAD) / limit
    middle = SCATTER / 2

    def place(value: float) -> float:
        return round(middle + unit * value, 1)

    marks = tuple(
        Mark(
            place(dx),
            place(dy),
            f"{words}: {dy:+.2f} px down, {dx:+.2f} px right",
            bool(np.hypot(dy, dx) > 2 * standard),
        )
        for words, dy, dx in shifts
    )
    step = 0.5 if limit <= 1.5 else limit / 2
    values = [step * n for n in range(-int(limit / step), int(limit / step) + 1)]
    ticks = tuple((f"{value:g}", place(value)) for value in values)
    return Scatter(marks, ticks, round(unit * standard, 1), round(unit * rms, 1))


def _heights(values: Double, low: float, high: float) -> Double:
    """Drawing heights of values; those beyond the axis stand at its end."""
    span = high - low if high > low else 1.0
    share = np.clip((values - low) / span, 0, 1)
    return np.asarray(np.round(TOP + HEIGHT * (1 - share), 1))


def _value_ticks(ticks: Sequence[float], low: float, high: float) -> tuple[Tick, ...]:
    digits = tick_digits(ticks)
    large = max(abs(tick) for tick in ticks) >= 1e6
    return tuple(
        (
            f"{tick:.4g}" if large else f"{tick:.{digits}f}",
            float(_heights(np.array(tick), low, high)),
        )
        for tick in ticks
    )


def _runs(steps: NDArray[np.int64], known: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """Unbroken runs of known steps."""
    breaks = np.flatnonzero(np.diff(known[steps].astype(int))) + 1
    return [run for run in np.split(steps, breaks) if run.size and known[run[0]]]


def _area(x: Double, lower: Double, upper: Double, bar: float) -> str:
    """A closed path between two curves; a single step becomes a bar."""
    if len(x) == 1:
        half = max(0.8, bar / 2)
        left, right = x[0] - half, x[0] + half
        return f"M{left:g} {lower[0]:g}H{right:g}V{upper[0]:g}H{left:g}Z"
    there = "L".join(f"{a:g} {b:g}" for a, b in zip(x, upper, strict=True))
    back = "L".join(f"{a:g} {b:g}" for a, b in zip(x[::-1], lower[::-1], strict=True))
    return f"M{there}L{back}Z"


def _line(x: Double, y: Double) -> str:
    if len(x) == 1:  # round ends make it a dot
        return f"M{x[0]:g} {y[0]:g}h0.01"
    return "M" + "L".join(f"{a:g} {b:g}" for a, b in zip(x, y, strict=True))


def _side_bars(counts: NDArray[np.int64], scaled: slice) -> str:
    """Bars from the left, lowest bin at the bottom; the longest of the scaled ones fills."""
    most = max(1, int(counts[scaled].max(initial=0)))
    high = HEIGHT / len(counts)
    path = []
    for number, count in enumerate(counts):
        if count:
            y = TOP + HEIGHT - (number + 1) * high
            long = max(0.6, (SIDE_RIGHT - SIDE_LEFT) * min(1.0, count / most))
            path.append(f"M{SIDE_LEFT} {y:.2f}h{long:.1f}v{high * 0.86:.2f}h{-long:.1f}Z")
    return "".join(path)
