"""Small pictures painted straight from palette indices: maps beside each other, words and bars.

A drawing library takes a third of a second for each map; here it takes a few milliseconds, the
files are a fraction as large, and each pixel has exactly the colour of its value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoforecast.figures.words import four_digits
from geoforecast.validate.report.palettes import NOTHING, Bytes, Scale, picture

GREYS = 54  # from white to the ink of words, the last indices before NOTHING
INK = 28
FONT_PX, LINE_PX = 13, 18
PAD_PX, BAR_PX = 10, 12
SWATCH_PX = 11


@dataclass(frozen=True)
class Shot:
    """One map of a picture.

    Attributes:
        values: (y, x), north up, NaN where there is nothing.
        scale: its colours.
        title: above it.
    """

    values: NDArray[np.floating]
    scale: Scale
    title: str


@dataclass(frozen=True)
class Text:
    """Words: their place in pixels from the upper left, and which side of them lies there."""

    x: float
    y: float
    words: str
    side: str = "l"


def paint(shots: Sequence[Shot], title: str, ratio: float, side_px: int) -> tuple[Bytes, Bytes]:
    """Paint maps beside each other, or below each other if they are wide.

    Args:
        shots: the maps; they share the colours of at most two scales, which are told below each.
        title: above all.
        ratio: height over width of a map.
        side_px: longest side of a map.
    Returns:
        Palette indices (y, x) and the palette (256, 3), for palettes.picture.
    """
    scales = list(dict.fromkeys(shot.scale for shot in shots))
    levels = (NOTHING - GREYS) // len(scales)
    palette = np.zeros((NOTHING, 3), np.uint8)
    starts: dict[Scale, int] = {}
    for number, scale in enumerate(scales):
        starts[scale] = number * levels
        colours = scale.palette(levels)
        palette[number * levels : number * levels + len(colours)] = colours
    palette[-GREYS:] = np.linspace(255, INK, GREYS).round().astype(np.uint8)[:, None]
    width, height = _fitted(ratio, side_px)
    below = max(_legend_rows(shot.scale, width) for shot in shots) * LINE_PX + BAR_PX
    cell = (LINE_PX + height + below + PAD_PX, width + PAD_PX)
    rows, cols = (len(shots), 1) if ratio < 0.5 else (1, len(shots))
    size = rows * cell[0] + LINE_PX + PAD_PX, max(cols * cell[1], 200) + PAD_PX
    canvas = np.full(size, NOTHING - GREYS, np.uint8)
    texts = [Text(PAD_PX, PAD_PX / 2, title)]
    for number, shot in enumerate(shots):
        row, col = (number, 0) if cols == 1 else (0, number)
        top = LINE_PX + PAD_PX + row * cell[0]
        left = PAD_PX + col * cell[1]
        texts.append(Text(left, top, shot.title))
        top += LINE_PX
        canvas[top : top + height, left : left + width] = _placed(
            shot, starts[shot.scale], levels, (height, width)
        )
        bar = top + height + 5
        texts += _legend(canvas, shot.scale, starts[shot.scale], levels, (bar, left, width))
    words = _written(size, texts)
    inked = words > 0
    canvas[inked] = NOTHING - GREYS + words[inked]
    return canvas, palette


def paint_file(path: Path, shots: Sequence[Shot], title: str, ratio: float, side_px: int) -> None:
    """Paint maps as a PNG; see paint. The same maps make the same bytes."""
    picture(*paint(shots, title, ratio, side_px)).save(path, "PNG", optimize=True)


def _fitted(ratio: float, side_px: int) -> tuple[int, int]:
    """(width, height) of a map in pixels."""
    if ratio > 1:
        return max(8, round(side_px / ratio)), side_px
    return side_px, max(8, round(side_px * ratio))


def _placed(shot: Shot, start: int, levels: int, size: tuple[int, int]) -> Bytes:
    """A map's palette indices, each pixel repeated or left out to fill its place."""
    indices = shot.scale.indices(shot.values, levels)
    rows, cols = (
        np.arange(wanted) * there // wanted
        for wanted, there in zip(size, indices.shape, strict=True)
    )
    spread = indices[rows][:, cols]
    placed: Bytes = np.where(spread == NOTHING, spread, spread + start).astype(np.uint8)
    return placed


def _legend_rows(scale: Scale, width: int) -> int:
    """Lines below a map: a bar's numbers and label, or a key in as many columns as fit."""
    if not scale.words:
        return 2
    return math.ceil(len(scale.words) / _key_columns(scale, width))


def _key_columns(scale: Scale, width: int) -> int:
    widest = max(map(len, scale.words)) * FONT_PX * 0.55 + SWATCH_PX + 14
    return max(1, int(width / widest))


def _legend(
    canvas: Bytes, scale: Scale, start: int, levels: int, place: tuple[int, int, int]
) -> list[Text]:
    """Paint a bar or a key at (top, left, width), and tell its words."""
    top, left, width = place
    if not scale.words:
        bar = start + np.arange(width) * levels // width
        canvas[top : top + BAR_PX - 2, left : left + width] = bar
        low, high = scale.limits
        below = top + BAR_PX - 2
        return [
            Text(left, below, four_digits(low)),
            Text(left + width / 2, below, four_digits((low + high) / 2), "m"),
            Text(left + width, below, four_digits(high), "r"),
            Text(left, below + LINE_PX - 3, scale.label),
        ]
    columns, texts = _key_columns(scale, width), []
    for number, word in enumerate(scale.words):
        x = left + number % columns * (width // columns)
        y = top + number // columns * LINE_PX
        # A thin frame, or white on white would be nothing.
        canvas[y + 3 : y + 3 + SWATCH_PX, x : x + SWATCH_PX] = NOTHING - GREYS // 2
        canvas[y + 4 : y + 2 + SWATCH_PX, x + 1 : x + SWATCH_PX - 1] = start + number
        texts.append(Text(x + SWATCH_PX + 5, y, word))
    return texts


def _written(size: tuple[int, int], texts: Sequence[Text]) -> Bytes:
    """(y, x) how dark words are: 0 for none to GREYS - 1."""
    from PIL import Image, ImageDraw, ImageFont

    sheet = Image.new("L", (size[1], size[0]), 0)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_PX)
    for text in texts:
        pen.text((text.x, text.y), text.words, fill=255, font=font, anchor=f"{text.side}a")
    dark = np.asarray(sheet).astype(np.int64) * (GREYS - 1) // 255
    return dark.astype(np.uint8)
