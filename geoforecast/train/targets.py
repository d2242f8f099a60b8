"""What losses of some kinds must know of a pixel besides its residual, stacked beside it.

Residuals alone do not tell a probability or a count: three layers do, on a new axis after the
lead. Losses take them apart again.
"""

from __future__ import annotations

import numpy as np
import torch

from geoforecast.raster.grid import Tile
from geoforecast.samples.features import Array
from geoforecast.train.cache import Site


def with_odds(site: Site, init: int, crop: Tile, residual: Array) -> Array:
    """What came, how likely the reference held it, and what was seen last.

    Args:
        site, init, crop: as of Site.sample.
        residual: (lead, band, y, x) what came minus the reference; 0 where not known.
    Returns:
        (lead, 3, band, y, x) of 0 to 1. Last seen is 0 in every band where nothing was.
    """
    area = (slice(None), *crop.slices)
    reference = np.nan_to_num(site.reference_ILBHW[(init, slice(None), *area)])
    last = np.broadcast_to(site.lookback.values_TBHW[(init, *area)], reference.shape)
    return np.stack([residual + reference, reference, last], axis=1)


def with_level(
    site: Site, init: int, crop: Tile, target: Array, unit: Array, centre: Array, scale: Array
) -> Array:
    """The residual, and what it takes to make log(1 + count) of it.

    Args:
        site, init, crop: as of Site.sample.
        target: (lead, band, y, x) residual in units of the reference's error.
        unit: (lead, band, 1, 1) that error, model units.
        centre, scale: (band, 1, 1) of the model units, log(1 + count).
    Returns:
        (lead, 3, band, y, x): target, level, gain: log(1 + count) = level + gain x target.
    """
    area = (slice(None), *crop.slices)
    reference = np.nan_to_num(site.reference_ILBHW[(init, slice(None), *area)])
    gain = np.broadcast_to(scale * unit, target.shape)
    stacked = np.stack([target, centre + scale * reference, gain], axis=1)
    return stacked.astype(np.float32, copy=False)


def first_layer(target: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """What came, of a batch's targets: all there is of values, the first of three layers else."""
    return target[:, :, 0] if target.dim() > known.dim() else target
