"""Curves, bars and fields over numbers or dates, laid out for the report's inline SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from geoforecast.figures.axes import COLOURS, nice_ticks, tick_digits

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 12, 44  # margins
OURS_COLOUR, CAME_COLOUR, REFERENCE_COLOUR = COLOURS[0], "ink", COLOURS[1]
MOST_TITLES = 60  # points of a curve that are told on hovering


@dataclass(frozen=True)
class Axis:
    """From numbers to places.

    Attributes:
        label: what it measures.
        low, high: its ends.
        log: whether distances are ratios.
        ticks: (text, number) each; none follows from the ends.
    """

    label: str
    low: float
    high: float
    log: bool = False
    ticks: tuple[tuple[str, float], ...] = ()

    def share(self, value: float) -> float:
        """How far along the axis a number lies, 0 to 1."""
        if self.log:
            low, high = math.log(self.low), math.log(self.high)
            return (math.log(max(value, self.low * 1e-6)) - low) / (high - low)
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Curve:
    """A line, unbroken pieces of (x, y, text); or dots alone where ``dash`` is "dots"."""

    name: str
    colour: str
    dash: str
    width: float
    runs: tuple[tuple[tuple[float, float, str], ...], ...]


@dataclass(frozen=True)
class Bar:
    """A filled rectangle with the text shown on hovering over it."""

    x: float
    y: float
    width: float
    height: float
    colour: str
    text: str


@dataclass(frozen=True)
class Plot:
    """A drawing of WIDTH x ``height`` units.

    Attributes:
        title: above it.
        x, y: axes.
        curves: lines and dots.
        areas: (points, colour) filled.
        bars: rectangles.
        image: a picture that fills the frame, or "".
        rules: (x0, y0, x1, y1, words) thin dashed lines.
        note: what to look for.
    """

    title: str
    x: Axis
    y: Axis
    curves: tuple[Curve, ...] = ()
    areas: tuple[tuple[str, str], ...] = ()
    bars: tuple[Bar, ...] = ()
    image: str = ""
    rules: tuple[tuple[float, float, float, float, str], ...] = ()
    note: str = ""
    height: int = HEIGHT
    width: int = WIDTH
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    keys: tuple[tuple[str, str, str], ...] = field(default=())  # (name, colour, dash)

    @property
    def bottom(self) -> int:
        return self.height - BOTTOM

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a pair of numbers is drawn."""
        across, up = self.x.share(x), self.y.share(y)
        return (
            round(self.left + (self.right - self.left) * across, 1),
            round(self.bottom - (self.bottom - self.top) * up, 1),
        )

    @property
    def x_ticks(self) -> list[tuple[str, float]]:
        """Text and place."""
        return [(text, self.place(at, self.y.low)[0]) for text, at in self.x.ticks]

    @property
    def y_ticks(self) -> list[tuple[str, float]]:
        """Text and place."""
        return [(text, self.place(self.x.low, at)[1]) for text, at in self.y.ticks]

    def with_curve(
        self,
        name: str,
        xs: Sequence[float],
        ys: Sequence[float],
        colour: str,
        *,
        texts: Sequence[str] = (),
        dash: str = "",
        width: float = 1.8,
    ) -> Plot:
        """This plot with a line more; numbers that are not finite leave a gap.

        Args:
            name: in the key; "" for none.
            xs, ys: numbers.
            colour: ``#rrggbb``, or a name of the style sheet.
            texts: shown on hovering, of each pair; those of long lines are left out.
            dash: of the line; "dots" draws its points alone.
            width: of the line.
        """
        told = texts if len(texts) <= MOST_TITLES else ()
        runs: list[list[tuple[float, float, str]]] = [[]]
        for number, (x, y) in enumerate(zip(xs, ys, strict=True)):
            if math.isfinite(x) and math.isfinite(y) and not (self.y.log and y <= 0):
                runs[-1].append((*self.place(x, y), told[number] if told else ""))
            elif runs[-1]:
                runs.append([])
        curve = Curve(name, colour, dash, width, tuple(tuple(run) for run in runs if run))
        keys = (*self.keys, (name, colour, dash)) if name else self.keys
        return replace(self, curves=(*self.curves, curve), keys=keys)

    def with_area(
        self, name: str, xs: Sequence[float], lows: Sequence[float], highs: Sequence[float]
    ) -> Plot:
        """This plot with the space between two lines filled, broken where either has no value."""
        areas, piece = [], []
        for x, low, high in [*zip(xs, lows, highs, strict=True), (0.0, math.nan, math.nan)]:
            if math.isfinite(low) and math.isfinite(high):
                piece.append((self.place(x, low), self.place(x, high)))
                continue
            if piece:
                corners = [low for low, _ in piece] + [high for _, high in reversed(piece)]
                areas.append((" ".join(f"{a},{b}" for a, b in corners), OURS_COLOUR))
            piece = []
        keys = (*self.keys, (name, OURS_COLOUR, "area"))
        return replace(self, areas=(*self.areas, *areas), keys=keys) if areas else self

    def with_bars(
        self, edges: Sequence[float], values: Sequence[float], colour: str, texts: Sequence[str]
    ) -> Plot:
        """This plot with a bar from the bottom up between each two edges."""
        bars = []
        for low, high, value, text in zip(edges, edges[1:], values, texts, strict=False):
            (x0, y0), (x1, y1) = self.place(low, self.y.low), self.place(high, value)
            size = round(max(x1 - x0 - 1, 0.5), 1), round(max(y0 - y1, 0), 1)
            bars.append(Bar(x0, y1, *size, colour, text))
        return replace(self, bars=(*self.bars, *bars))

    def with_rule(self, start: tuple[float, float], end: tuple[float, float], words: str) -> Plot:
        """This plot with a thin dashed line between two pairs of numbers, and its name."""
        rule = (*self.place(*start), *self.place(*end), words)
        return replace(self, rules=(*self.rules, rule))


def linear(label: str, values: Sequence[float], *, zero: bool = False) -> Axis:
    """An axis with round ticks around finite numbers."""
    known = [value for value in values if math.isfinite(value)] + ([0.0] if zero else [])
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    ticks = nice_ticks(low, high)
    digits = tick_digits(ticks)
    told = tuple((f"{tick:.{digits}f}", tick) for tick in ticks)
    return Axis(label, min(low, ticks[0]), max(high, ticks[-1]), ticks=told)


def between(label: str, low: float, high: float) -> Axis:
    """An axis with these very ends, and the round ticks that lie between them."""
    ticks = nice_ticks(low, high)
    digits = tick_digits(ticks)
    told = tuple((f"{tick:.{digits}f}", tick) for tick in ticks if low <= tick <= high)
    return Axis(label, low, high, ticks=told)


def decades(label: str, values: Sequence[float]) -> Axis:
    """An axis of ratios around numbers above 0, with a tick at powers of ten."""
    known = [value for value in values if value > 0 and math.isfinite(value)] or [1.0]
    low, high = math.floor(math.log10(min(known))), math.ceil(math.log10(max(known)))
    high = max(high, low + 1)
    each = max(1, math.ceil((high - low) / 6))
    ticks = tuple((f"1e{power}", 10.0**power) for power in range(low, high + 1, each))
    return Axis(label, 10.0**low, 10.0**high, log=True, ticks=ticks)


def dates(label: str, times: Mapping[float, str] | Sequence[tuple[float, str]]) -> Axis:
    """An axis of days with up to five dates told.

    Args:
        label: what it measures.
        times: (days, text) each, ascending.
    """
    pairs = list(times.items()) if isinstance(times, Mapping) else list(times)
    days = [day for day, _ in pairs]
    low, high = days[0], days[-1]
    if high <= low:
        return Axis(label, low - 0.5, low + 0.5, ticks=((pairs[0][1], low),))
    margin = 0.02 * (high - low)
    wanted = [low + (high - low) * (number + 0.5) / 4 for number in range(4)]
    chosen = sorted({min(range(len(days)), key=lambda n, w=w: abs(days[n] - w)) for w in wanted})  # type: ignore[misc]
    ticks = tuple((pairs[number][1], days[number]) for number in chosen)
    return Axis(label, low - margin, high + margin, ticks=ticks)
