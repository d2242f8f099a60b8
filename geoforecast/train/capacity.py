"""Whether a correction is learned, how large it is, and how long it is trained.

Where the settings leave it open: a ConvLSTM from LEAST_STEPS steps before the test block on. On
shorter records what helps on the few validation steps has harmed on later ones.

One layer of 16 channels; 8 channels where fewer than 20 training steps tell it little. As
many epochs as BUDGET multiply-adds of its recurrent layers allow, 8 to 40: about a minute on
one core for each member, and as much again for the second training. So it follows from the
raster's size, bands and steps, and from whatever size was given, and never from scores.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from geoforecast.settings import TrainSettings

log = logging.getLogger(__name__)

AUTO, NONE, USUAL = "auto", "none", "convlstm"
LEAST_STEPS = 28  # before the test block
HIDDEN, HIDDEN_SHORT = 16, 8
SHORT_STEPS = 20  # training steps
LAYERS = 1
BUDGET = 4.5e11  # multiply-adds forwards, all epochs together
EPOCHS = (8, 40)  # least and most
STEPS_AN_EPOCH = (6, 16)  # least and most
GATES = 4


def steps_an_epoch(pixels: int, inits: int, settings: TrainSettings) -> int:
    """Steps that show each training pixel about once, within bounds.

    Args:
        pixels: of all sites.
        inits: steps that forecasts to learn from are made at.
        settings: batch_size and patch.
    """
    crops = max(1.0, pixels / settings.patch**2) * inits
    low, high = STEPS_AN_EPOCH
    return int(min(high, max(low, math.ceil(crops / settings.batch_size))))


def sized(
    settings: TrainSettings, shape: tuple[int, int], train_steps: int, steps: int, channels: int
) -> TrainSettings:
    """Settings in which hidden, layers and epochs are no longer 0.

    Args:
        settings: as given.
        shape: rows and columns of the raster.
        train_steps: training steps of the series.
        steps: of one sample, lookback and horizon.
        channels: input channels a step.
    """
    hidden = settings.hidden or (HIDDEN if train_steps >= SHORT_STEPS else HIDDEN_SHORT)
    layers = settings.layers or LAYERS
    weights = GATES * hidden * (channels + (2 * layers - 1) * hidden) * settings.kernel**2
    crop = min(settings.patch, shape[0]) * min(settings.patch, shape[1])
    passes = steps_an_epoch(shape[0] * shape[1], train_steps, settings)
    work = passes * settings.batch_size * crop * steps * weights
    low, high = EPOCHS
    epochs = settings.epochs or int(min(high, max(low, BUDGET // work)))
    return replace(settings, hidden=hidden, layers=layers, epochs=epochs)


def chosen_model(settings: TrainSettings, steps: int) -> TrainSettings:
    """Settings in which the model is no longer auto.

    Args:
        settings: as given.
        steps: of the series before its test block.
    """
    if settings.model != AUTO:
        return settings
    if steps >= LEAST_STEPS:
        return replace(settings, model=USUAL)
    log.warning(
        "%d steps before the test block are too few to learn a correction from (%d are needed): "
        "the mixture alone; --model %s learns one all the same",
        steps,
        LEAST_STEPS,
        USUAL,
    )
    return replace(settings, model=NONE)


def without_need(
    settings: TrainSettings, statistics: Sequence[Mapping[str, float]]
) -> TrainSettings:
    """No model where every band is one number in all training steps: nothing is left to correct.

    Args:
        settings: resolved settings.
        statistics: of each band's valid training pixels, as the cube stores them.
    """
    if settings.model == NONE or any(band["std"] > 0 for band in statistics):
        return settings
    values = ", ".join(f"{band['mean']:g}" for band in statistics)
    log.warning("all training steps are constant (%s): no correction is trained", values)
    return replace(settings, model=NONE)
