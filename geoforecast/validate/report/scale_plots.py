"""What a forecast has of each scale, as plots: power by wavelength, differences by distance."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from geoforecast.figures.words import shown_unit
from geoforecast.forecast.outcome import FORECAST
from geoforecast.validate.metrics.variogram import LAGS_PX
from geoforecast.validate.report.plots import (
    CAME_COLOUR,
    OURS_COLOUR,
    REFERENCE_COLOUR,
    Axis,
    Plot,
    decades,
    linear,
)
from geoforecast.validate.scoring.scores import Scores
from geoforecast.validate.source import Source


def spectra_plot(engine: Source, scores: Scores, against: str, band: int) -> Plot | None:
    """Power at each wavelength one step ahead: what came, the forecast, and a reference."""
    ours = scores.fields(FORECAST, band, 1).spectra
    if not ours.blocks:
        return None
    lines = [
        ("observed", ours.observed, CAME_COLOUR, ""),
        (FORECAST, ours.forecast, OURS_COLOUR, ""),
    ]
    if against:
        theirs = scores.fields(against, band, 1).spectra
        lines.append((against, theirs.forecast, REFERENCE_COLOUR, "6 3"))
    scaled = [(name, power / ours.blocks, colour, dash) for name, power, colour, dash in lines]
    lengths = ours.wavelengths
    # Long waves on the left, as everybody draws them.
    wave = _turned(lengths)
    power_label = f"power{_squared(engine, band)}"
    plot = Plot(
        "Power by wavelength, lead 1",
        wave,
        decades(power_label, np.concatenate([power for _, power, _, _ in scaled]).tolist()),
        note="Where the forecast's line falls below the observed one, the map is smoother.",
    )
    for name, power, colour, dash in scaled:
        texts = [
            f"{name}, {length:.3g} px: {p:.3g}" for length, p in zip(lengths, power, strict=True)
        ]
        plot = plot.with_curve(
            name, (1 / lengths).tolist(), power.tolist(), colour, texts=texts, dash=dash
        )
    finest = ours.effective_resolution()
    if math.isfinite(finest):
        at = 1 / finest
        plot = plot.with_rule(
            (at, plot.y.low), (at, plot.y.high), f"effective resolution {finest:.3g} px"
        )
    return plot


def _turned(lengths: NDArray[np.float64]) -> Axis:
    """Wavelengths as an axis of waves a pixel, which are told as pixels a wave."""
    longest, shortest = float(lengths[0]), float(lengths[-1])
    told = [2.0**power for power in range(1, 12) if shortest <= 2.0**power <= longest]
    ticks = tuple((f"{length:g}", 1 / length) for length in told)
    return Axis("wavelength (px)", 1 / longest, 1 / shortest, log=True, ticks=ticks)


def variogram_plot(engine: Source, scores: Scores, against: str, band: int) -> Plot | None:
    """Half the mean squared difference of pixels so far apart, one step ahead."""
    ours = scores.fields(FORECAST, band, 1).variogram
    lines = [
        ("observed", ours.semivariance("observed"), CAME_COLOUR, ""),
        (FORECAST, ours.semivariance("forecast"), OURS_COLOUR, ""),
        ("error of the forecast", ours.semivariance("error"), OURS_COLOUR, "2 3"),
    ]
    if against:
        theirs = scores.fields(against, band, 1).variogram
        lines.append((against, theirs.semivariance("forecast"), REFERENCE_COLOUR, "6 3"))
    known = [lag for lag, value in zip(LAGS_PX, lines[0][1], strict=True) if math.isfinite(value)]
    if len(known) < 2:
        return None
    ticks = tuple((f"{lag}", float(lag)) for lag in known)
    plot = Plot(
        "Semivariogram, lead 1",
        Axis("distance (px)", known[0], known[-1], log=True, ticks=ticks),
        linear(
            f"semivariance{_squared(engine, band)}",
            [value for _, values, _, _ in lines for value in values.tolist()],
            zero=True,
        ),
        note="Half the mean squared difference of pixels so far apart. Below the observed line a "
        "map varies too little at that distance; an error that is flat has no structure left.",
    )
    for name, values, colour, dash in lines:
        texts = [f"{name}, {lag} px: {v:.3g}" for lag, v in zip(LAGS_PX, values, strict=True)]
        plot = plot.with_curve(name, list(LAGS_PX), values.tolist(), colour, texts=texts, dash=dash)
    return plot


def _squared(engine: Source, band: int) -> str:
    unit = shown_unit(engine.units[band])
    return f" (({unit})²)" if unit else ""
