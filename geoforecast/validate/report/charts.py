"""Per-lead curves as numbers that the report's template draws as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from geoforecast.figures.axes import COLOURS, nice_ticks, tick_digits
from geoforecast.forecast.outcome import FORECAST

WIDTH, HEIGHT = 560, 290
LEFT, RIGHT, TOP, BOTTOM = 56, 150, 14, 40  # margins; labels stand in the right one
LABEL_GAP = 13
OTHERS = "#8a8a8a"
# The forecast is always the first.
DASHES = ("", "6 3", "2 3", "8 3 2 3", "4 2", "1 2", "10 4")


@dataclass(frozen=True)
class Point:
    """A value's place in the drawing, and the text shown on hovering over it."""

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Line:
    """One method's curve; ``runs`` are its unbroken pieces, ``label_y`` where its name goes."""

    name: str
    colour: str
    dash: str
    width: float
    runs: tuple[tuple[Point, ...], ...]
    label_y: float

    @property
    def end(self) -> Point:
        return self.runs[-1][-1]


@dataclass(frozen=True)
class Chart:
    """A drawing of WIDTH x HEIGHT units: lines, ticks (text, place) and a zero line."""

    title: str
    axis: str
    lines: tuple[Line, ...]
    x_ticks: tuple[tuple[str, float], ...]
    y_ticks: tuple[tuple[str, float], ...]
    zero: float | None
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def draw_chart(
    title: str,
    axis: str,
    curves: Mapping[str, Sequence[float]],
    colours: Mapping[str, tuple[str, str]],
    *,
    lead_label: str,
    include_zero: bool,
) -> Chart | None:
    """Lay out curves over the leads; None if no curve has a value.

    Args:
        title, axis: words above and beside it.
        curves: method -> value at leads 1, 2, ...; NaN leaves a gap.
        colours: method -> (colour, dash), from line_styles.
        lead_label: time between leads, for the hovering text.
        include_zero: the axis reaches 0, which is marked.
    """
    known = [v for values in curves.values() for v in values if not math.isnan(v)]
    if not known:
        return None
    leads = max(len(values) for values in curves.values())
    low, high = min(known), max(known)
    if include_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    ticks = nice_ticks(low, high)
    low, high = min(low, ticks[0]), max(high, ticks[-1])

    def x(lead: int) -> float:
        span = WIDTH - RIGHT - LEFT
        return LEFT + span * ((lead - 1) / (leads - 1) if leads > 1 else 0.5)

    def y(value: float) -> float:
        return round(TOP + (HEIGHT - BOTTOM - TOP) * (high - value) / (high - low), 1)

    drawn: list[tuple[str, tuple[tuple[Point, ...], ...]]] = []
    for name, values in curves.items():
        points = [
            None
            if math.isnan(value)
            else Point(
                round(x(lead), 1), y(value), f"{name}, lead {lead} ({lead_label}): {value:.4g}"
            )
            for lead, value in enumerate(values, 1)
        ]
        runs = _runs(points)
        if runs:
            drawn.append((name, runs))
    labels = spread_labels([runs[-1][-1].y for _, runs in drawn])
    lines = tuple(
        Line(name, *colours[name], 3.0 if name == FORECAST else 1.6, runs, labels[number])
        for number, (name, runs) in enumerate(drawn)
    )
    digits = tick_digits(ticks)
    return Chart(
        title=title,
        axis=axis,
        lines=lines,
        x_ticks=tuple((str(lead), round(x(lead), 1)) for lead in _lead_ticks(leads)),
        y_ticks=tuple((f"{tick:.{digits}f}", y(tick)) for tick in ticks),
        zero=y(0.0) if low <= 0 <= high else None,
    )


def line_styles(methods: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Colour and dash of each method, the same in every chart; the first ones get colours."""
    return {
        method: (COLOURS[i], DASHES[i]) if i < len(COLOURS) else (OTHERS, "2 2")
        for i, method in enumerate(methods)
    }


def spread_labels(wanted: Sequence[float]) -> list[float]:
    """Label heights in the order given, near those wanted and LABEL_GAP apart."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    placed = [0.0] * len(wanted)
    last = -math.inf
    for index in order:
        placed[index] = last = max(wanted[index], last + LABEL_GAP)
    # What was pushed below the bottom goes up again.
    limit = float(HEIGHT - 6)
    for index in reversed(order):
        placed[index] = min(placed[index], limit)
        limit = placed[index] - LABEL_GAP
    return [round(value, 1) for value in placed]


def _runs(points: Sequence[Point | None]) -> tuple[tuple[Point, ...], ...]:
    runs: list[list[Point]] = [[]]
    for point in points:
        if point is not None:
            runs[-1].append(point)
        elif runs[-1]:
            runs.append([])
    return tuple(tuple(run) for run in runs if run)


def _lead_ticks(leads: int) -> range:
    return range(1, leads + 1, math.ceil(leads / 12))
