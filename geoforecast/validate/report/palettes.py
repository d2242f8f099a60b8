"""Colours of maps: ramps that colour-blind readers can follow, and pictures of few colours."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

LEVELS = 255  # colours of a ramp; one more index is left for what has no value
NOTHING = 255
DIVERGING = "RdBu_r"  # red: too high, blue: too low
SKILL_COLOURS = "BrBG"  # green: better than the reference, brown: worse
MORAN_COLOURS = "PuOr_r"  # orange: alike neighbours, purple: unlike
SEQUENTIAL = "viridis"
ERROR_COLOURS = "cividis"  # for sizes: the larger the brighter
NOT_SCORED = "#d4d4d4"

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Scale:
    """How numbers become colours.

    Attributes:
        colours: name of a colour map, or a colour for each number from 0 on.
        limits: the values at the ends of the colour map.
        label: what it measures, with the unit.
        words: what each number stands for, where there is a colour for each.
    """

    colours: str | tuple[str, ...]
    limits: tuple[float, float] = (0.0, 1.0)
    label: str = ""
    words: tuple[str, ...] = ()

    def palette(self, levels: int = LEVELS) -> Bytes:
        """(levels, 3) colours from the lower limit to the upper, or (words, 3)."""
        if isinstance(self.colours, str):
            return ramp(self.colours, levels)
        return np.array([list(bytes.fromhex(colour[1:])) for colour in self.colours], np.uint8)

    def indices(self, values: NDArray[np.floating], levels: int = LEVELS) -> Bytes:
        """Which colour of ``palette`` each value has; NOTHING where there is none.

        Args:
            values: (y, x), NaN where there is none; beyond the limits they have the end's colour.
            levels: of the ramp.
        """
        known = np.isfinite(values)
        if self.words:
            return np.where(known, np.where(known, values, 0), NOTHING).astype(np.uint8)
        low, high = self.limits
        inside = np.clip(np.where(known, values, low).astype(np.float64), low, high)
        places = np.rint((inside - low) * ((levels - 1) / (high - low)))
        return np.where(known, places, NOTHING).astype(np.uint8)


@lru_cache
def ramp(name: str, levels: int = LEVELS) -> Bytes:
    """(levels, 3) colours of a colour map, evenly from its first to its last."""
    import matplotlib as mpl

    colours = mpl.colormaps[name](np.linspace(0, 1, levels))[:, :3]
    made: Bytes = np.rint(255 * colours).astype(np.uint8)
    return made


def hex_colour(colour: NDArray[np.uint8]) -> str:
    """``#rrggbb`` of three numbers."""
    return "#" + bytes(colour.tolist()).hex()


def picture(indices: Bytes, palette: Bytes) -> Image:
    """A paletted picture; NOTHING has the colour of what was not scored."""
    from PIL import Image

    whole = np.zeros((256, 3), np.uint8)
    whole[: len(palette)] = palette
    whole[NOTHING] = list(bytes.fromhex(NOT_SCORED[1:]))
    made = Image.fromarray(np.ascontiguousarray(indices))
    made.putpalette(whole.tobytes())
    return made


def png_uri(indices: Bytes, palette: Bytes, *, clear: int = NOTHING) -> str:
    """A picture of palette indices (y, x) as text that stands in the page; ``clear`` is clear.

    The same pixels make the same text.
    """
    stream = io.BytesIO()
    picture(indices, palette).save(stream, "PNG", optimize=True, transparency=clear)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
