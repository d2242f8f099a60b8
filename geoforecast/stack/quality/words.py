"""Numbers as the report writes them."""

from __future__ import annotations

import numpy as np

from geoforecast.figures.words import four_digits


def number(value: float) -> str:
    """Four significant digits, or all before the point, with a true minus; or a dash."""
    if np.isnan(value):
        return "–"
    whole = 1e4 <= abs(value) < 1e9
    return (f"{value:.0f}" if whole else four_digits(value)).replace("-", "−")


def share(value: float) -> str:
    """A whole percentage that is 0 or 100 only if nothing or all is meant."""
    if 0 < value < 0.005:
        return "<1 %"
    return ">99 %" if 0.995 <= value < 1 else f"{100 * value:.0f} %"
