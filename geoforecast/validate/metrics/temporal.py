"""Whether each pixel's course through time was forecast: its swings, trend and peak.

A forecast may have small errors because the map hardly changes, and miss every change of it. Here
each pixel is followed through the test steps, at one lead, and what is found is averaged over
pixels. A lattice of about MOST_PX pixels stands for a large raster.
"""

from __future__ import annotations

import cmath
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoforecast.raster.grid import Tile
from geoforecast.validate.metrics.pooled import UndefinedMetricError, metric
from geoforecast.validate.scoring.sums import lattice

TEMPORAL = "temporal"  # a kind of metrics: of pixels through time
MOST_PX = 250_000
LEAST_STEPS = 5  # fewer say nothing of a pixel's course
CONSTANT = 1e-10  # of the sum of squares: a spread below is rounding
LEAST_COHERENCE = 0.5  # two waves that have less in common are not one wave early or late
# Sums of a pixel: observed and forecast values, the persistence beside them, time, and a wave
# that goes round once in the test block.
_SUMS = (
    *("n", "o", "f", "oo", "ff", "of", "p", "pp", "fp", "t", "tt", "to", "tf", "ee"),
    *("c", "s", "oc", "os", "fc", "fs"),
)
# Sums over pixels: what each metric averages, and over how many.
TEMPORAL_SUMS = (
    *("correlation", "correlations", "ee", "spread", "trend", "trends"),
    *("peak", "peaks", "echo", "echoes"),
    # Of the waves: product of the forecast's with the observed one's conjugate, and their powers.
    *("cross", "quadrature", "wave_f", "wave_o", "cycle"),
)


@dataclass(frozen=True)
class PooledTemporal:
    """Sums over the pixels of one method, band and lead.

    Attributes:
        n: scored pixels, all steps together.
        sums: by the names of TEMPORAL_SUMS.
    """

    n: int
    sums: dict[str, float]


class Courses:
    """The pixels of a tile while its test steps go by.

    Args:
        tile: where they lie.
        shape: of the raster, which decides the lattice.
        shift: a typical value, about which sums are taken.
        cycle: test steps.
    """

    def __init__(self, tile: Tile, shape: tuple[int, int], shift: float, cycle: int) -> None:
        self.kept = lattice(tile, shape, MOST_PX)
        size = tuple(
            len(range(*part.indices(side)))
            for part, side in zip(self.kept, tile.shape, strict=True)
        )
        self.shift, self.cycle = shift, cycle
        self.sums = {name: np.zeros(size) for name in _SUMS}
        self.peaks = {name: (np.full(size, -np.inf), np.zeros(size)) for name in ("o", "f")}

    def add(
        self,
        step: int,
        forecast: NDArray[np.floating],
        observed: NDArray[np.floating],
        scored: NDArray[np.bool_],
        persistence: NDArray[np.floating] | None,
    ) -> None:
        """One test step more, in the order of time.

        Args:
            step: its number.
            forecast, observed: (y, x) of the tile, band units, finite where scored.
            scored: (y, x) bool.
            persistence: (y, x) what was last seen when the forecast was made; None if unknown.
        """
        known = scored[self.kept]
        f, o = (
            np.where(known, values[self.kept], 0).astype(np.float64) - self.shift * known
            for values in (forecast, observed)
        )
        p = np.zeros(known.shape)
        if persistence is not None:
            last = persistence[self.kept]
            np.subtract(last, self.shift, out=p, where=known & np.isfinite(last))
        t = np.where(known, float(step), 0.0)
        angle = 2 * math.pi * step / self.cycle
        c, s = math.cos(angle), math.sin(angle)
        terms = {
            **{"n": known, "o": o, "f": f, "oo": o * o, "ff": f * f, "of": o * f},
            **{"p": p, "pp": p * p, "fp": f * p},
            **{"t": t, "tt": t * t, "to": t * o, "tf": t * f, "ee": (f - o) ** 2},
            **{"c": c * known, "s": s * known, "oc": o * c, "os": o * s, "fc": f * c, "fs": f * s},
        }
        for name, term in terms.items():
            self.sums[name] += term
        for name, values in (("o", o), ("f", f)):
            highest, when = self.peaks[name]
            higher = known & (values > highest)
            highest[higher], when[higher] = values[higher], step

    def found(self) -> NDArray[np.float64]:
        """(TEMPORAL_SUMS,) of all pixels with enough steps; those of tiles add up."""
        s = {name: values[self.sums["n"] >= LEAST_STEPS] for name, values in self.sums.items()}
        n = s["n"]
        spread = {name: _product(s, name, name, n) for name in ("o", "f", "p", "t")}
        result = dict.fromkeys(TEMPORAL_SUMS, 0.0)
        both = (spread["o"] > 0) & (spread["f"] > 0)
        swings = _product(s, "o", "f", n)[both] / np.sqrt(spread["o"] * spread["f"])[both]
        result["correlation"], result["correlations"] = swings.sum(), both.sum()
        result["ee"], result["spread"] = s["ee"].sum(), spread["o"].sum()
        slopes = [_product(s, "t", name, n) for name in ("o", "f")]
        total = np.abs(slopes[0]) + np.abs(slopes[1])
        moving = both & (total > 0)
        result["trend"] = (1 - np.abs(slopes[0] - slopes[1])[moving] / total[moving]).sum()
        result["trends"] = moving.sum()
        enough = self.sums["n"] >= LEAST_STEPS
        apart = np.abs(self.peaks["o"][1] - self.peaks["f"][1])[enough][both]
        result["peak"], result["peaks"] = apart.sum(), both.sum()
        seen = both & (spread["p"] > 0)
        again = _product(s, "f", "p", n)[seen] / np.sqrt(spread["f"] * spread["p"])[seen]
        came = _product(s, "o", "f", n)[seen] / np.sqrt(spread["o"] * spread["f"])[seen]
        result["echo"], result["echoes"] = (again - came).sum(), seen.sum()
        waves = {name: _wave(s, name, n, spread[name])[both] for name in ("o", "f")}
        shared = (waves["f"] * waves["o"].conj()).sum()
        result["cross"], result["quadrature"] = shared.real, shared.imag
        result["cycle"] = self.cycle * both.sum()
        result["wave_f"], result["wave_o"] = (np.square(np.abs(waves[k])).sum() for k in "fo")
        return np.array([float(result[name]) for name in TEMPORAL_SUMS])


def _wave(
    s: dict[str, NDArray[np.float64]],
    name: str,
    n: NDArray[np.float64],
    spread: NDArray[np.float64],
) -> NDArray[np.complex128]:
    """What deviations from a pixel's mean have of the wave that goes round once; 0 for rounding."""
    mean = s[name] / n
    real, imaginary = s[name + "c"] - mean * s["c"], s[name + "s"] - mean * s["s"]
    there = real * real + imaginary * imaginary > CONSTANT * n * spread
    return np.where(there, real - 1j * imaginary, 0)


def _product(
    s: dict[str, NDArray[np.float64]], one: str, other: str, n: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Sum over steps of the product of two deviations from their means; 0 where it is rounding."""
    pair = one + other if one + other in s else other + one
    product = s[pair] - s[one] * s[other] / n
    if one == other:
        product = np.where(product > CONSTANT * s[pair], product, 0)
    return product


def _mean(pooled: PooledTemporal, name: str, count: str) -> float:
    if not pooled.sums[count]:
        raise UndefinedMetricError(
            f"no pixel has {LEAST_STEPS} scored steps in which forecast and observation vary"
        )
    return pooled.sums[name] / pooled.sums[count]


@metric(
    title="temporal correlation",
    better="higher",
    kinds=(TEMPORAL,),
    formula="correlation of forecast and observed through the test steps, mean over pixels with "
    f"{LEAST_STEPS} scored steps",
    source="Wilks (2019), Statistical Methods in the Atmospheric Sciences, ch. 9",
)
def temporal_correlation(pooled: PooledTemporal) -> float:
    """Whether pixels rise and fall when they should."""
    return _mean(pooled, "correlation", "correlations")


@metric(
    title="NSE",
    better="higher",
    kinds=(TEMPORAL,),
    formula="1 − Σ(f − o)² / Σ(o − ō)², ō each pixel's own mean over the test steps; 0 is as good "
    "as knowing that mean",
    source="Nash & Sutcliffe (1970), Journal of Hydrology 10",
)
def nse(pooled: PooledTemporal) -> float:
    """Nash-Sutcliffe efficiency, each pixel about its own mean."""
    if not pooled.sums["spread"] > 0:
        raise UndefinedMetricError(
            f"no pixel has {LEAST_STEPS} scored steps in which the observation varies"
        )
    return 1 - pooled.sums["ee"] / pooled.sums["spread"]


@metric(
    title="trend similarity",
    better="higher",
    kinds=(TEMPORAL,),
    formula="1 − |b − c| / (|b| + |c|), b and c the observed and forecast slopes through the test "
    "steps, mean over pixels; 1 is the same, 0 the opposite",
    source="ours; slopes by least squares",
)
def trend_similarity(pooled: PooledTemporal) -> float:
    """Whether pixels drift as they should."""
    return _mean(pooled, "trend", "trends")


@metric(
    title="peak timing error (steps)",
    better="lower",
    kinds=(TEMPORAL,),
    formula="|step of the highest forecast − step of the highest observation|, mean over pixels",
    source="ours",
)
def peak_timing(pooled: PooledTemporal) -> float:
    """How many steps the highest value is off."""
    return _mean(pooled, "peak", "peaks")


@metric(
    title="temporal phase (steps)",
    better="zero",
    kinds=(TEMPORAL,),
    formula="−arg(Σ F O*) · steps / 2π, F and O the part of a pixel's course that goes round once "
    f"in the test steps; above 0 it comes late. Untold where |Σ F O*| / √(Σ|F|² Σ|O|²) < "
    f"{LEAST_COHERENCE:g}",
    source="von Storch & Zwiers (1999), Statistical Analysis in Climate Research, ch. 11",
)
def temporal_phase(pooled: PooledTemporal) -> float:
    """How many steps the slow rise and fall of pixels comes late."""
    cycle = _mean(pooled, "cycle", "correlations")
    sums = pooled.sums
    power = math.sqrt(sums["wave_f"] * sums["wave_o"])
    shared = complex(sums["cross"], sums["quadrature"])
    if not abs(shared) >= LEAST_COHERENCE * power or power == 0:
        raise UndefinedMetricError("forecast and observation share no slow rise and fall")
    return -cmath.phase(shared) * cycle / (2 * math.pi)


@metric(
    title="echo",
    better="lower",
    kinds=(TEMPORAL,),
    formula="correlation through time with what was last seen, less that with what came, mean over "
    "pixels; above 0 the forecast repeats more than it foretells",
    source="ours",
)
def echo(pooled: PooledTemporal) -> float:
    """Whether the forecast only lags behind."""
    return _mean(pooled, "echo", "echoes")
