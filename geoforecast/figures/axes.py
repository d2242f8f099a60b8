"""Axes of charts: round ticks, and colours that colour-blind readers tell apart."""

from __future__ import annotations

import math
from collections.abc import Sequence

TICKS = 5
SMALLEST = 1e-290  # below, numbers lose digits
# Okabe & Ito (2008).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8c6d1f")


def nice_ticks(low: float, high: float) -> list[float]:
    """About TICKS round numbers that enclose ``[low, high]``."""
    size = max(abs(low), abs(high))
    if high - low <= max(1e-12 * size, SMALLEST):  # one number, as far as ticks can tell
        pad = size * 0.1 if size > SMALLEST else 1.0
        low, high = low - pad, high + pad
    raw = (high - low) / (TICKS - 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def tick_digits(ticks: Sequence[float]) -> int:
    """Decimals that tell the ticks apart."""
    step = ticks[1] - ticks[0]
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    # A step such as 0.25 needs one digit more than its power of ten.
    return digits if abs(step * 10**digits - round(step * 10**digits)) < 1e-6 else digits + 1
