"""What a validation found, as plots: through time, value against value, scale by scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoforecast.figures.words import four_digits, shown_unit, time_label
from geoforecast.forecast.outcome import FORECAST, OURS
from geoforecast.validate.metrics.came import BINS
from geoforecast.validate.metrics.ensemble import EXPECTED, RANKS, SIZE
from geoforecast.validate.report.charts import DASHES, line_styles
from geoforecast.validate.report.palettes import ERROR_COLOURS, LEVELS, Bytes, png_uri, ramp
from geoforecast.validate.report.plots import (
    OURS_COLOUR,
    Axis,
    Plot,
    between,
    dates,
    linear,
)
from geoforecast.validate.report.scale_plots import spectra_plot, variogram_plot
from geoforecast.validate.scoring.class_scores import ClassScores
from geoforecast.validate.scoring.scores import STATS, Scores, map_reference
from geoforecast.validate.scoring.views import CELLS, Views, cell_edges
from geoforecast.validate.source import Source
from geoforecast.validate.verdict.summary import MEASURES

DAY_S = 86400
DATE_LETTERS = 10  # of 2024-06-09
CLOSEST = 2  # references beside the forecast in a plot by date
SHOWN_BINS = 64  # of the histogram of values


def days_of(engine: Source) -> list[tuple[float, str]]:
    """Each test step in days since 1970, and as text: its date, its time of day, or both."""
    times = [engine.cube.times[step] for step in engine.split.test_steps]
    seconds = [int(time.astype("datetime64[s]").astype(np.int64)) for time in times]
    dates_seen = len({second // DAY_S for second in seconds})
    labels = [time_label(time).removesuffix(" UTC") for time in times]
    if dates_seen == len(labels):
        texts = [label[:DATE_LETTERS] for label in labels]
    elif dates_seen == 1:
        texts = [label[-5:] if len(label) > DATE_LETTERS else "00:00" for label in labels]
    else:
        texts = [label[5:] for label in labels]
    return [(second / DAY_S, text) for second, text in zip(seconds, texts, strict=True)]


def plots_of(engine: Source, scores: Scores, views: Views, band: int) -> list[Plot]:
    """All plots of a band, but for those of pixels and of events."""
    against = map_reference(engine, scores.methods)
    found = [
        rmse_by_date(engine, scores, band),
        bias_by_date(engine, scores, band),
        *(density(engine, views, band, lead) for lead in dict.fromkeys((1, engine.horizon))),
        values_plot(engine, scores, band),
        spectra_plot(engine, scores, against, band),
        variogram_plot(engine, scores, against, band),
    ]
    if scores.interval and scores.ranks[0, band].any():
        found += [rank_histogram(scores, band), quantiles(scores, band)]
    return [plot for plot in found if plot is not None]


def rmse_by_date(engine: Source, scores: Scores, band: int) -> Plot | None:
    """RMSE of each test step at lead 1: the forecast, and the references that come closest."""
    n, squares = (scores.sums[:, 0, :, band, STATS.index(name)] for name in ("n", "ee"))
    label = _with_unit("RMSE", engine, band)
    return _by_date(engine, scores.methods, "RMSE", label, np.sqrt(_over(squares, n)), squares)


def class_errors_by_date(engine: Source, scores: ClassScores, band: int) -> Plot | None:
    """Brier score, or share of wrong pixels, of each test step at lead 1; else as rmse_by_date."""
    sums = scores.step_sums[:, 0, :, band]
    values = _over(sums, scores.n[:, 0, band, None])
    measure = MEASURES[scores.skills[0]]
    return _by_date(engine, scores.methods, measure.capitalize(), measure, values, sums)


def _over(sums: NDArray[Any], counts: NDArray[Any]) -> NDArray[np.float64]:
    """Means, NaN of nothing."""
    found = np.full(sums.shape, np.nan)
    np.divide(sums, counts, out=found, where=np.broadcast_to(counts > 0, sums.shape))
    return found


def _by_date(
    engine: Source,
    methods: Sequence[str],
    measure: str,
    label: str,
    by_step: NDArray[np.float64],
    sums: NDArray[Any],
) -> Plot | None:
    """A measure of each (step, method), of the forecast and the methods with the least sums."""
    if not np.isfinite(by_step).any():
        return None
    total = {method: float(sums[:, number].sum()) for number, method in enumerate(methods)}
    simple = sorted((m for m in total if m not in OURS), key=lambda m: total[m])
    drawn = [FORECAST, *simple[:CLOSEST]]
    values = {method: by_step[:, methods.index(method)].tolist() for method in drawn}
    days = days_of(engine)
    flat = [value for each in values.values() for value in each]
    plot = Plot(
        f"{measure} of each test step, one step ahead",
        dates("valid time", days),
        linear(label, flat, zero=True),
        note="The forecast and the references that come closest to what came.",
    )
    styles = line_styles(drawn)
    for method in reversed(drawn):
        texts = [
            f"{method}, {day}: {four_digits(v)}"
            for (_, day), v in zip(days, values[method], strict=True)
        ]
        colour, dash = styles[method]
        width = 2.6 if method == FORECAST else 1.5
        xs = [day for day, _ in days]
        plot = plot.with_curve(
            method, xs, values[method], colour, texts=texts, dash=dash, width=width
        )
    return plot


def bias_by_date(engine: Source, scores: Scores, band: int) -> Plot | None:
    """Mean error of the forecast at each test step, at the first and the last lead."""
    leads = list(dict.fromkeys((1, engine.horizon)))
    days, curves = days_of(engine), []
    for lead in leads:
        cell = scores.sums[:, lead - 1, scores.methods.index(FORECAST), band]
        curves.append(_over(cell[:, STATS.index("e")], cell[:, STATS.index("n")]).tolist())
    if not np.isfinite(curves).any():
        return None
    plot = Plot(
        "Mean error of each test step",
        dates("valid time", days),
        linear(_with_unit("bias", engine, band), [v for c in curves for v in c], zero=True),
        note="Above 0 the forecast was too high on that date, below it too low.",
    )
    plot = plot.with_rule((plot.x.low, 0.0), (plot.x.high, 0.0), "")
    styles = list(line_styles([str(lead) for lead in leads]).values())
    for lead, values, (colour, _) in zip(leads, curves, styles, strict=True):
        texts = [
            f"lead {lead}, {day}: {four_digits(v)}"
            for (_, day), v in zip(days, values, strict=True)
        ]
        dash = DASHES[0] if lead == 1 else DASHES[1]
        plot = plot.with_curve(
            f"lead {lead}", [day for day, _ in days], values, colour, texts=texts, dash=dash
        )
    return plot


def density(engine: Source, views: Views, band: int, lead: int) -> Plot | None:
    """Forecast against observed values of all scored pixels of a lead, as a field of counts."""
    counts = views.cells[lead - 1, band]
    if not counts.any():
        return None
    low, high = cell_edges(engine.statistics[band])
    # Only the square that holds pixels is drawn.
    used = np.flatnonzero(counts.any(axis=0) | counts.any(axis=1))
    first, last = int(used[0]), int(used[-1]) + 1
    step = (high - low) / CELLS
    low, high = low + first * step, low + last * step
    part = counts[first:last, first:last]
    strength = np.log1p(part) / math.log1p(int(part.max()))
    indices = np.where(part > 0, np.rint(strength * (LEVELS - 1)), LEVELS).astype(np.uint8)
    name = _with_unit("", engine, band)
    plot = Plot(
        f"Forecast against observed, lead {lead}",
        between(f"observed {name}".strip(), low, high),
        between(f"forecast {name}".strip(), low, high),
        image=png_uri(_first_row_below(indices), ramp(ERROR_COLOURS), clear=LEVELS),
        note=f"Brighter is more pixels, by the logarithm, up to {int(part.max())} in a cell. "
        "On the line the forecast was right.",
    )
    return plot.with_rule((low, low), (high, high), "")


def _first_row_below(indices: Bytes) -> Bytes:
    """Low values at the bottom, as on an axis."""
    return np.ascontiguousarray(indices[::-1])


def values_plot(engine: Source, scores: Scores, band: int) -> Plot | None:
    """How often which value was observed, and forecast one step ahead."""
    counts = scores.fields(FORECAST, band, 1).counts
    if not counts.any():
        return None
    low, high = cell_edges(engine.statistics[band])
    wide = counts.reshape(2, SHOWN_BINS, BINS // SHOWN_BINS).sum(axis=2)
    shares = 100 * wide / wide.sum(axis=1, keepdims=True)
    used = np.flatnonzero(wide.any(axis=0))
    first, last = int(used[0]), int(used[-1]) + 1
    edges = np.linspace(low, high, SHOWN_BINS + 1)[first : last + 1].tolist()
    observed, forecast = (row[first:last].tolist() for row in shares)
    below = np.cumsum(counts, axis=1) / counts.sum(axis=1, keepdims=True)
    distance = float(np.abs(below[0] - below[1]).max())
    texts = [
        f"{four_digits(a)} to {four_digits(b)}: observed {o:.2f} %, forecast {f:.2f} %"
        for a, b, o, f in zip(edges, edges[1:], observed, forecast, strict=False)
    ]
    plot = Plot(
        "Which values occur, lead 1",
        between(_with_unit(engine.band_names[band], engine, band), edges[0], edges[-1]),
        linear("share of pixels (%)", [*observed, *forecast], zero=True),
        note=f"Kolmogorov-Smirnov distance {distance:.3f}: the largest gap between the shares "
        "below any value. A forecast of least error has fewer extremes than what comes.",
    ).with_bars(edges, observed, "observed", texts)
    xs = [edge for edge in edges for _ in (0, 1)][1:-1]
    ys = [share for share in forecast for _ in (0, 1)]
    plot = plot.with_curve("forecast", xs, ys, OURS_COLOUR, width=2.2)
    return _with_key(plot, ("observed", "observed", "area"))


def rank_histogram(scores: Scores, band: int) -> Plot:
    """How often what came lay between which of the equally likely values, one step ahead."""
    ranks = scores.ranks[0, band]
    shares = (100 * ranks / ranks.sum()).tolist()
    # The parts beyond the first and the last value are half as probable, and half as wide.
    edges = np.concatenate([[0.0], np.cumsum(EXPECTED)]) * SIZE
    heights = (np.asarray(shares) / (EXPECTED * SIZE)).tolist()
    texts = [f"rank {rank}: {share:.2f} %" for rank, share in enumerate(shares)]
    flat = 100 / SIZE
    plot = Plot(
        "Rank histogram, lead 1",
        Axis(
            "values that lay below what came",
            0.0,
            float(SIZE),
            ticks=tuple((str(n), float(n)) for n in range(0, SIZE + 1, 5)),
        ),
        linear("share of pixels (%)", [*heights, flat], zero=True),
        note="Flat, at the dashed line, is right. High at both ends: the forecast is too sure of "
        "itself; high in the middle: not sure enough; a slope: too high or too low. "
        f"{RANKS} ranks of {SIZE} equally likely values.",
    ).with_bars(edges.tolist(), heights, OURS_COLOUR, texts)
    return plot.with_rule((0.0, flat), (float(SIZE), flat), "")


def quantiles(scores: Scores, band: int) -> Plot:
    """How often what came lay below each of the equally likely values, one step ahead."""
    ranks = scores.ranks[0, band]
    came = np.cumsum(ranks[:-1]) / ranks.sum()
    said = (np.arange(SIZE) + 0.5) / SIZE
    texts = [f"said {s:.3f}, came {c:.3f}" for s, c in zip(said, came, strict=True)]
    return _diagonal(
        "Reliability of quantiles, lead 1",
        "share that should lie below",
        "share that lay below",
        "On the line each quantile is what it says.",
    ).with_curve("forecast", said.tolist(), came.tolist(), OURS_COLOUR, texts=texts)


def reliability(
    title: str, said: Sequence[float], came: Sequence[float], n: Sequence[int]
) -> Plot | None:
    """How often an event came where it was given which probability.

    Args:
        title: above it.
        said: mean probability of each part.
        came: share of pixels in which it came.
        n: pixels of each part; parts without any are left out.
    """
    kept = [number for number, count in enumerate(n) if count]
    if not kept:
        return None
    total = sum(n)
    texts = [f"said {said[k]:.2f}, came {came[k]:.3f}, {n[k]} pixels" for k in kept]
    plot = _diagonal(
        title,
        "forecast probability",
        "observed share",
        "On the line probabilities are what they say. Larger dots hold more pixels.",
    )
    base = sum(came[k] * n[k] for k in kept) / total
    plot = plot.with_rule((0.0, base), (1.0, base), f"came in {100 * base:.3g} %")
    xs, ys = [said[k] for k in kept], [came[k] for k in kept]
    plot = plot.with_curve("forecast", xs, ys, OURS_COLOUR, texts=texts)
    for k, x, y, text in zip(kept, xs, ys, texts, strict=True):
        size = 2 + 7 * math.sqrt(n[k] / total)
        plot = plot.with_curve("", [x], [y], OURS_COLOUR, texts=[text], dash="dots", width=size)
    return plot


def event_reliability(views: Views, band: int, lead: int, number: int, name: str) -> Plot | None:
    """The same of an event whose probability is the share of equally likely values that have it."""
    counts = views.chances[lead - 1, band, number]
    n = counts.sum(axis=0)
    came = np.divide(counts[1], n, out=np.zeros(len(n)), where=n > 0)
    said = np.arange(SIZE + 1) / SIZE
    title = f"Reliability of the probability of {name} or more, lead {lead}"
    return reliability(title, said.tolist(), came.tolist(), n.tolist())


def _diagonal(title: str, x: str, y: str, note: str) -> Plot:
    plot = Plot(title, between(x, 0.0, 1.0), between(y, 0.0, 1.0), note=note)
    return plot.with_rule((0.0, 0.0), (1.0, 1.0), "")


def _with_key(plot: Plot, key: tuple[str, str, str]) -> Plot:
    return replace(plot, keys=(key, *plot.keys))


def _with_unit(name: str, engine: Source, band: int) -> str:
    unit = shown_unit(engine.units[band])
    return f"{name} ({unit})".strip() if unit else name
