"""What a run forecasts, and what else its correction sees: chosen from settings and the cube."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from geoforecast.errors import InputError, SettingsError, did_you_mean
from geoforecast.forecast.context import open_drivers
from geoforecast.forecast.drivers import Drivers
from geoforecast.forecast.series import pick_bands, to_days
from geoforecast.raster.cube import Cube
from geoforecast.raster.grid import Tile
from geoforecast.raster.layers import read_static, static_units
from geoforecast.raster.measures import CELL_PX, COUNT, HIGH, LOW, M2, MEAN, joined, measure
from geoforecast.raster.view import shown
from geoforecast.samples.context import NO_CONTEXT, NOTHING, Context, Group
from geoforecast.samples.normaliser import Normaliser, fit_normaliser, fit_statistics, from_meta
from geoforecast.samples.split import Split
from geoforecast.settings import TrainSettings
from geoforecast.train.capacity import NONE

log = logging.getLogger(__name__)

STATIC_TILE_PX = 8 * CELL_PX


def forecast_bands(cube: Cube, settings: TrainSettings) -> tuple[str, ...]:
    """The bands that --bands names, in its order; all of the cube's by default.

    Raises:
        SettingsError: the cube has no such band.
    """
    return _known_bands(cube, settings.bands, "--bands") or cube.bands


def choose_context(
    cube: Cube, bands: Sequence[str], settings: TrainSettings, split: Split, step_days: float
) -> Context:
    """What the correction sees besides the forecast bands, normalised on training steps.

    Args:
        cube: with its static layers and drivers.
        bands: that are forecast.
        settings: with model, inputs, static and drivers; the model is resolved.
        split: of the cube's steps.
        step_days: the nominal step.
    Returns:
        Nothing if there is no correction; then a warning tells those who named inputs.
    Raises:
        SettingsError: --inputs names what is no further band.
        InputError: a driver or a named band is never valid at a training step.
    """
    named = _named_inputs(cube, bands, settings)
    if settings.model == NONE:
        if named:
            log.warning(
                "--inputs %s: not seen, for no correction is trained, and only a correction sees "
                "further bands",
                ", ".join(named),
            )
        return NO_CONTEXT
    context = Context(
        static=_static(cube) if settings.static else NOTHING,
        drivers=_drivers(cube, split, step_days) if settings.drivers else NOTHING,
        bands=_further_bands(cube, bands, settings, named),
    )
    if context.channels:
        log.info("the correction also sees: %s", context.describe())
    return context


def _known_bands(cube: Cube, names: Sequence[str], flag: str) -> tuple[str, ...]:
    for name in names:
        if name not in cube.bands:
            raise SettingsError(
                f"{flag} names '{name}', which is no band of the cube.",
                where=f"bands: {', '.join(cube.bands)}",
                remedy=did_you_mean(name, cube.bands),
            )
    return tuple(dict.fromkeys(names))


def _named_inputs(cube: Cube, bands: Sequence[str], settings: TrainSettings) -> tuple[str, ...]:
    """The further bands that --inputs names, whether or not a correction will see them."""
    if settings.inputs == (NONE,):
        return ()
    named = _known_bands(cube, settings.inputs, "--inputs")
    twice = [name for name in named if name in bands]
    if twice:
        raise SettingsError(
            f"--inputs names {', '.join(twice)}, which the run forecasts.",
            remedy="Leave it out of --inputs: the past of what is forecast is always seen.",
        )
    if named and cube.meta["normaliser"] is None:
        raise SettingsError(
            f"--inputs names {', '.join(named)}, but classes cannot be seen as numbers.",
            remedy="Leave --inputs out.",
        )
    return named


def _further_bands(
    cube: Cube, bands: Sequence[str], settings: TrainSettings, named: Sequence[str]
) -> Group:
    """The bands that are seen and not forecast: those named, else all that can be."""
    if settings.inputs == (NONE,):
        return NOTHING
    wanted = tuple(named) or tuple(name for name in cube.bands if name not in bands)
    if not wanted:
        return NOTHING
    meta = cube.meta["normaliser"]
    if meta is None:
        log.info("further bands hold classes and are not seen: %s", ", ".join(wanted))
        return NOTHING
    cut = pick_bands(meta, cube.bands, wanted)
    seen = [name for name, one in zip(wanted, cut["statistics"], strict=True) if one["count"]]
    never = [name for name in wanted if name not in seen]
    if never and named:
        raise InputError(
            f"Never valid in the training steps: {', '.join(never)}.",
            remedy="Leave it out of --inputs, or check the mask (stack --mask).",
        )
    if never:
        log.info("never valid in the training steps, so not seen: %s", ", ".join(never))
    fitted, _ = from_meta(pick_bands(meta, cube.bands, seen))
    unit_of = dict(zip(cube.bands, cube.units, strict=True))
    return Group(tuple(seen), tuple(unit_of[name] for name in seen), fitted) if seen else NOTHING


def _static(cube: Cube) -> Group:
    """The static layers, by mean and standard deviation of their valid pixels.

    They are measured in tiles that are fixed to the raster, and joined in one order. A layer
    that is the same everywhere is seen as 0; one that is valid nowhere is left out.
    """
    units = static_units(cube.path)
    if not units:
        return NOTHING
    tiles = cube.grid.tiles(STATIC_TILE_PX)
    cells = np.concatenate([_measured(cube, tile) for tile in tiles], axis=1)
    names: list[str] = []
    centre: list[float] = []
    scale: list[float] = []
    for name, layer in zip(units, joined(cells), strict=True):
        if not layer[COUNT]:
            log.warning("static layer %s is valid nowhere and not seen", name)
            continue
        same = layer[LOW] == layer[HIGH]
        if same:
            log.info("static layer %s is the same everywhere and tells nothing", name)
        names.append(name)
        centre.append(float(layer[MEAN]))
        scale.append(1.0 if same else math.sqrt(layer[M2] / layer[COUNT]))
    normaliser = Normaliser("zscore", tuple(centre), tuple(scale))
    return Group(tuple(names), tuple(units[name] for name in names), normaliser)


def _measured(cube: Cube, tile: Tile) -> NDArray[np.float64]:
    """(layer, cell, 5) measures of the static layers of a tile."""
    found = read_static(cube.path, tile)
    assert found is not None  # whoever asks has seen their units
    _, values, valid = found
    valid = shown(cube, valid & np.isfinite(values), tile)
    part = measure(values[None], valid[None], CELL_PX, step=0, row=0, col=0)
    return part.cells.reshape(len(values), -1, part.cells.shape[-1])


def _drivers(cube: Cube, split: Split, step_days: float) -> Group:
    """The drivers, normalised on their values before the validation block."""
    found = open_drivers(cube)
    if found is None:
        return NOTHING
    blank = Group(found.bands, found.units)
    known = _known_at(Drivers(found, blank, step_days), to_days(cube.times[: split.validation]))
    never = [name for number, name in enumerate(found.bands) if not known[:, number].any()]
    if never:
        first, last = cube.times[0], cube.times[split.validation - 1]
        raise InputError(
            f"No value of the drivers {', '.join(never)} is known at a training step.",
            where=f"training: {first} to {last}; drivers: {found.times[0]} to {found.times[-1]}",
            remedy="Stack drivers of that time, or train with --no-drivers.",
        )
    least = int(known.sum(axis=0).min())
    if least < len(known):
        log.warning("the drivers are known at %d of %d training steps", least, len(known))
    # Not the statistics stored beside the drivers: a split made anew since would leak into them.
    count = int(np.searchsorted(found.times, cube.times[split.validation]))
    method = str(found.meta["normaliser"]["method"])
    return replace(blank, normaliser=fit_normaliser(method, fit_statistics(found, range(count))))


def _known_at(drivers: Drivers, days: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(step, driver) whether any pixel has a value at a step."""
    some = drivers.cube.step_statistics()[..., COUNT] > 0
    moments = [float(days[0] - drivers.step_days), *days.tolist()]
    known = []
    for previous, day in pairwise(moments):
        inside, before = drivers.spans(previous, day)
        known.append(some[before.start : inside.stop].any(axis=0))
    return np.stack(known)
