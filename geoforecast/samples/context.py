"""What a correction sees besides the bands that it forecasts: one noun, and its channels.

Static layers, drivers that are known ahead, and further bands of the series. Every channel is
computed pixel by pixel, so a tile's channels are the whole raster's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoforecast.samples.normaliser import Normaliser

Array = NDArray[np.float32]

PER_NAME = 2  # value, valid
NO_NORMALISER = Normaliser("none", (), ())


@dataclass(frozen=True)
class Group:
    """Layers, drivers or bands that are seen, in the order of their channels.

    Attributes:
        names, units: of each.
        normaliser: how models see them, in that order.
    """

    names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    normaliser: Normaliser = NO_NORMALISER


NOTHING = Group()


@dataclass(frozen=True)
class Context:
    """All that a correction sees besides the forecast bands; the checkpoint keeps it.

    Attributes:
        static: layers that do not change with time.
        drivers: what is known ahead, up to the valid time.
        bands: further bands of the series, known up to the init time.
    """

    static: Group = NOTHING
    drivers: Group = NOTHING
    bands: Group = NOTHING

    @property
    def channels(self) -> int:
        """Input channels a step."""
        groups = (self.static, self.drivers, self.bands)
        return PER_NAME * sum(len(group.names) for group in groups)

    def bytes_px(self, steps: int) -> int:
        """Bytes a pixel of it held for a number of steps."""
        moving = len(self.drivers.names) + len(self.bands.names)
        return 4 * (len(self.static.names) + steps * moving)

    def describe(self) -> str:
        """What is seen, in words; empty if it is nothing."""
        parts = {"static": self.static, "drivers": self.drivers, "bands": self.bands}
        said = [f"{word} {', '.join(group.names)}" for word, group in parts.items() if group.names]
        return "; ".join(said)

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any]) -> Context:
        """What dataclasses.asdict made of a context, as JSON returns it."""
        return cls(**{name: _group(content) for name, content in meta.items()})


NO_CONTEXT = Context()


def _group(meta: Mapping[str, Any]) -> Group:
    fitted = meta["normaliser"]
    normaliser = Normaliser(fitted["method"], tuple(fitted["centre"]), tuple(fitted["scale"]))
    return Group(tuple(meta["names"]), tuple(meta["units"]), normaliser)


@dataclass(frozen=True)
class Surroundings:
    """The context of a rectangle, model units, NaN where nothing is known.

    Attributes:
        static_CHW: (layer, y, x).
        drivers_TCHW: (step, driver, y, x), of as many steps as are known, leads included.
        bands_TCHW: (step, band, y, x), of the same steps up to the init step.
    """

    static_CHW: Array
    drivers_TCHW: Array
    bands_TCHW: Array

    def part(self, rows: slice, cols: slice) -> Surroundings:
        """A rectangle of it."""
        area = (..., rows, cols)
        return Surroundings(self.static_CHW[area], self.drivers_TCHW[area], self.bands_TCHW[area])

    def window(self, init: int, lookback: int, leads: int) -> Surroundings:
        """What a forecast sees that is made at a step: no band after it, no later driver."""
        first = init - lookback + 1
        drivers = self.drivers_TCHW[first : init + 1 + leads]
        return Surroundings(self.static_CHW, drivers, self.bands_TCHW[first : init + 1])

    def channels(self, steps: int) -> Array:
        """The channels of a sequence; what it does not reach to counts as not known.

        Args:
            steps: of the sequence, lookback and leads.
        Returns:
            (step, channel, y, x) float32, finite everywhere: of each group the values, 0 where
            not known, then for each of them 1 where it is known.
        """
        static_TCHW = np.broadcast_to(self.static_CHW, (steps, *self.static_CHW.shape))
        groups = (static_TCHW, self.drivers_TCHW, self.bands_TCHW)
        count = PER_NAME * sum(group.shape[1] for group in groups)
        x = np.zeros((steps, count, *self.static_CHW.shape[-2:]), dtype=np.float32)
        start = 0
        for group in groups:
            long, wide = group.shape[:2]
            known = np.isfinite(group)
            np.copyto(x[:long, start : start + wide], group, where=known)
            x[:long, start + wide : start + 2 * wide] = known
            start += PER_NAME * wide
        return x
