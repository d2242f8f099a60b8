"""What a model sees of a pixel: one function, used alike in training and forecasting.

Every channel is computed pixel by pixel, so a tile's channels are the whole raster's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

YEAR_DAYS = 365.2425
PER_BAND = 4  # value, valid, age, residual
PER_STEP = 6  # future flag, step length, annual and daily sine and cosine


def channel_count(bands: int, context: int = 0) -> int:
    """Number of input channels for a number of bands, and channels of samples/context.py."""
    return PER_BAND * bands + PER_STEP + context


@dataclass(frozen=True)
class Lookback:
    """The last steps of a tile before init time, in model units.

    Attributes:
        values_TBHW: normalised, the last valid value where invalid, 0 where there is none.
        valid_TBHW: bool, True = observed at that step.
        age_TBHW: steps since the last valid value, 0 where valid.
        residual_TBHW: value minus the reference's forecast of it one step before;
            0 where either is missing.
        days: time of each step in days since 1970.
    """

    values_TBHW: Array
    valid_TBHW: NDArray[np.bool_]
    age_TBHW: Array
    residual_TBHW: Array
    days: Sequence[float]


def assemble(
    lookback: Lookback,
    reference_LBHW: Array,
    days: Sequence[float],
    step_days: float,
    context_TCHW: Array | None = None,
) -> Array:
    """The input sequence: the lookback steps, then one step a lead that holds the reference.

    Args:
        lookback: what was seen.
        reference_LBHW: the reference forecast of each lead, model units; NaN where none.
        days: time of each lead in days since 1970.
        step_days: the nominal step.
        context_TCHW: (lookback + leads, channel, y, x) what else is seen, finite; it comes last.
    Returns:
        (lookback + leads, channel, y, x) float32, finite everywhere.
    """
    past, bands, height, width = lookback.values_TBHW.shape
    leads = reference_LBHW.shape[0]
    further = 0 if context_TCHW is None else context_TCHW.shape[1]
    own = channel_count(bands)
    x = np.empty((past + leads, own + further, height, width), dtype=np.float32)
    if context_TCHW is not None:
        x[:, own:] = context_TCHW
    x[:past, :bands] = lookback.values_TBHW
    x[:past, bands : 2 * bands] = lookback.valid_TBHW
    x[:past, 2 * bands : 3 * bands] = _age(lookback.age_TBHW)
    x[:past, 3 * bands : 4 * bands] = lookback.residual_TBHW
    known = np.isfinite(reference_LBHW)
    filled = np.where(known, reference_LBHW, np.float32(0))
    x[past:, :bands] = filled
    x[past:, bands : 2 * bands] = known
    age = lookback.age_TBHW[-1] + np.arange(1, leads + 1, dtype=np.float32)[:, None, None, None]
    x[past:, 2 * bands : 3 * bands] = _age(age)
    # What the reference expects to change tells the model where it disagrees with today.
    x[past:, 3 * bands : 4 * bands] = np.where(
        known, reference_LBHW - lookback.values_TBHW[-1], np.float32(0)
    )
    times = [*lookback.days, *days]
    for index, day in enumerate(times):
        gap = day - times[index - 1] if index else step_days
        x[index, PER_BAND * bands : own] = np.asarray(
            _step_channels(day, gap, step_days, future=index >= past), dtype=np.float32
        )[:, None, None]
    return x


def _age(steps: Array) -> Array:
    return np.log1p(steps) * np.float32(0.5)


def _step_channels(day: float, gap: float, step_days: float, *, future: bool) -> list[float]:
    annual = 2 * math.pi * day / YEAR_DAYS
    daily = 2 * math.pi * (day % 1.0)
    # A daily cycle means nothing to steps of a day or more.
    strength = 1.0 if step_days < 1.0 else 0.0
    return [
        float(future),
        math.log(max(gap, 1e-9) / step_days),
        math.sin(annual),
        math.cos(annual),
        strength * math.sin(daily),
        strength * math.cos(daily),
    ]
