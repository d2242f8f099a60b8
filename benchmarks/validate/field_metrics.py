"""SSIM beside scikit-image's, and Moran's I and Geary's C, of whole fields, in this process."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pairs import smooth
from skimage.metrics import structural_similarity

from geoforecast.validate.metrics.autocorrelation import autocorrelation
from geoforecast.validate.metrics.neighbours import NEIGHBOURS
from geoforecast.validate.metrics.ssim import WINDOW_PX, ssim_map, ssim_sum

ESDA_EDGE = 64  # its matrix of neighbours grows with the pixels
GAPS = 0.15


def seconds(work: Callable[[], Any]) -> tuple[float, float]:
    """By the clock, and of the processor."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def similarity(edge: int, repeats: int, jobs: int) -> dict[str, Any]:
    """SSIM of two float32 fields without gaps: times, ratios in a round, largest difference.

    scikit-image computes in float64, with the same window and constants, and gives the same map.
    """
    rng = np.random.default_rng(1)
    observed = 290 + 8 * smooth(rng, edge)
    forecast = observed + rng.standard_normal((edge, edge), dtype=np.float32)
    span = float(observed.max() - observed.min())
    everywhere = np.ones(observed.shape, bool)
    ours = (forecast, observed, everywhere, 290.0, span, WINDOW_PX)

    def theirs() -> NDArray[np.float64]:
        pair = (forecast.astype(np.float64), observed.astype(np.float64))
        made = structural_similarity(*pair, data_range=span, win_size=WINDOW_PX, full=True)[1]
        return np.asarray(made)

    apart = float(np.abs(ssim_map(*ours) - theirs()).max())  # compiled by now
    ways: dict[str, Callable[[], Any]] = {
        "scikit-image": theirs,
        "ssim_map, 1 thread": lambda: ssim_map(*ours),
        "ssim_sum, 1 thread": lambda: ssim_sum(*ours),
        f"ssim_map, {jobs} threads": lambda: ssim_map(*ours, jobs=jobs),
        f"ssim_sum, {jobs} threads": lambda: ssim_sum(*ours, jobs=jobs),
    }
    rounds = [{name: seconds(way) for name, way in ways.items()} for _ in range(repeats)]
    table = {}
    for name in ways:
        wall, cpu = (median(one[name][k] for one in rounds) for k in (0, 1))
        gains = [median(one["scikit-image"][k] / one[name][k] for one in rounds) for k in (0, 1)]
        table[name] = {"wall_s": wall, "cpu_s": cpu, "wall_ratio": gains[0], "cpu_ratio": gains[1]}
    return {"edge": edge, "largest_difference": apart, "ways": table}


def neighbours(edge: int, repeats: int) -> dict[str, Any]:
    """Moran's I and Geary's C of a field with gaps, and how far from esda a small one is."""
    rng = np.random.default_rng(2)
    field = smooth(rng, edge) + np.float32(0.3) * rng.standard_normal(
        (edge, edge), dtype=np.float32
    )
    known = np.greater(rng.random(field.shape, dtype=np.float32), GAPS)
    told: dict[str, Any] = {"edge": edge, "ways": {}}
    for name in NEIGHBOURS:
        autocorrelation(field[:8, :8], known[:8, :8], neighbours=name)  # compiled

        def work(name: str = name) -> Any:
            return autocorrelation(field, known, neighbours=name)

        found = [seconds(work) for _ in range(repeats)]
        value = work()
        told["ways"][name] = {
            "wall_s": median(wall for wall, _ in found),
            "cpu_s": median(cpu for _, cpu in found),
            "moran": value.moran,
            "geary": value.geary,
            "from_esda": from_esda(field, known, name),
        }
    return told


def from_esda(field: NDArray[Any], known: NDArray[np.bool_], name: str) -> float | None:
    """Largest difference from esda on a corner of a field; None where esda is not installed."""
    try:
        import esda
        import libpysal
    except ImportError:
        return None
    corner = slice(0, min(ESDA_EDGE, field.shape[0]))
    part, there = field[corner, corner].astype(np.float64), known[corner, corner]
    grid = libpysal.weights.lat2W(*part.shape, rook=name == "rook", id_type="int")
    kept = np.flatnonzero(there.ravel()).tolist()
    weights = libpysal.weights.w_subset(grid, kept, silence_warnings=True)
    weights.transform = "r"
    values = part.ravel()[kept]
    ours = autocorrelation(part, there, neighbours=name)
    moran = esda.Moran(values, weights, permutations=0).I
    geary = esda.Geary(values, weights, permutations=0).C
    return float(max(abs(ours.moran - moran), abs(ours.geary - geary)))
