"""The layers of a forecast: what is written for each valid time, and its pixels in a tile.

``forecast`` holds the values, or a map where the run forecasts probabilities; ``lower`` and
``upper`` the ends of the interval; ``probability`` how likely each class is; ``sample1`` and so
on draws of what may come.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from geoforecast.errors import SettingsError
from geoforecast.forecast.engine import Engine
from geoforecast.forecast.kinds import Target
from geoforecast.forecast.outcome import Forecast
from geoforecast.raster.grid import Tile
from geoforecast.settings import PredictSettings

if TYPE_CHECKING:
    from geoforecast.predict.plan import Plan

log = logging.getLogger(__name__)

LAYERS = ("forecast", "lower", "upper")
PROBABILITY = "probability"
SAMPLE = "sample"


def layer_names(engine: Engine, settings: PredictSettings) -> tuple[str, ...]:
    """The layers that settings ask for and a run can give.

    Raises:
        SettingsError: samples are asked of a run that does not know how forecasts err.
    """
    layers = LAYERS if settings.interval and engine.has_intervals else LAYERS[:1]
    if engine.series.target.is_probability:
        layers = (*layers, PROBABILITY)
        if settings.interval:
            log.info("no intervals: a probability says by itself how sure it is")
    elif settings.interval and not engine.has_intervals:
        log.info("no intervals: the run corrects %s, not the mixture", engine.reference)
    return (*layers, *sample_names(settings, engine))


def sample_names(settings: PredictSettings, engine: Engine) -> tuple[str, ...]:
    """The layers that samples are written as.

    Raises:
        SettingsError: the run does not know how forecasts err.
    """
    if settings.samples and engine.has_probabilities:
        raise SettingsError(
            f"--samples is {settings.samples}, but the run '{settings.run}' forecasts "
            "probabilities, and samples are drawn of values only.",
            remedy=f"Leave --samples out: {PROBABILITY}_… says how likely each class is.",
        )
    if settings.samples and not engine.has_intervals:
        raise SettingsError(
            f"--samples is {settings.samples}, but the run '{settings.run}' does not say how sure "
            "it is.",
            remedy="Use a run that corrects the mixture of a continuous or count series.",
        )
    wide = len(str(settings.samples))
    return tuple(f"{SAMPLE}{number:0{wide}}" for number in range(1, settings.samples + 1))


def layer_pixels(plan: Plan, engine: Engine, tile: Tile) -> Iterator[tuple[str, NDArray[Any]]]:
    """Forecast one tile: (lead, band, y, x) of every layer of a plan, one after the other.

    Args:
        plan: what is wanted.
        engine: the plan's, or one that knows the same.
        tile: where.
    """
    forecast = engine.forecast(tile, plan.init_step, plan.days, plan.level)
    made: dict[str, NDArray[Any] | None] = {
        "forecast": forecast.values,
        "lower": forecast.lower,
        "upper": forecast.upper,
    }
    if forecast.chosen is not None:
        codes = class_map(engine.series.target, forecast.chosen)
        made = {"forecast": codes, PROBABILITY: forecast.values}
    for layer in plan.layers:
        pixels = made[layer] if layer in made else _drawn(plan, forecast, tile, layer)
        assert pixels is not None  # there are layers for what was asked for only
        yield layer, pixels


def _drawn(plan: Plan, forecast: Forecast, tile: Tile, layer: str) -> NDArray[np.float32]:
    """(lead, band, y, x) one sample; another init time, seed or number draws another."""
    assert forecast.uncertainty is not None  # or there would be no such layer
    init = int(plan.init_time.astype("datetime64[s]").astype(np.int64))
    # Times before 1970 are negative, which no seed may be.
    key = [plan.settings.seed, init % 2**32, init < 0, int(layer.removeprefix(SAMPLE))]
    return forecast.uncertainty.sample(forecast.made, tile, key)


def is_class_map(plan: Plan, layer: str) -> bool:
    """Whether a layer holds codes, not values."""
    return layer == LAYERS[0] and plan.engine.series.target.is_probability


def layer_bands(plan: Plan, layer: str) -> tuple[str, ...]:
    """The bands of a layer's files."""
    return plan.engine.series.cube_bands if is_class_map(plan, layer) else plan.engine.band_names


def layer_type(plan: Plan, layer: str) -> tuple[str, float]:
    """The dtype of a layer's pixels, and its value for no data."""
    if is_class_map(plan, layer):
        return code_type(plan.engine.series.target)
    return "float32", float("nan")


def code_type(target: Target) -> tuple[str, int]:
    """The smallest dtype that holds a target's codes, and a nodata value that is none of them."""
    codes = target.classes or (0, 1)
    for dtype in ("uint8", "int16", "uint16"):
        info = np.iinfo(dtype)
        nodata = int(info.min if info.min else info.max)
        if all(info.min <= code <= info.max and code != nodata for code in codes):
            return dtype, nodata
    return "int32", int(np.iinfo("int32").min)


def class_map(target: Target, chosen: NDArray[np.int16]) -> NDArray[Any]:
    """Numbers of classes as their codes; nodata where there is none."""
    dtype, nodata = code_type(target)
    codes = np.array([*(target.classes or (0, 1)), nodata], dtype=dtype)
    return codes[chosen]  # -1 takes the last one
