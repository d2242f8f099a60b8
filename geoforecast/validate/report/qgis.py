"""QGIS styles beside GeoTIFFs: QGIS opens a raster with the style file of its name.

The structure is that of files which QGIS 3 writes, less what it fills in by itself.
"""

from __future__ import annotations

import math
from pathlib import Path
from xml.sax.saxutils import quoteattr

from geoforecast.validate.report.palettes import Scale, hex_colour

STOPS = 33  # of a ramp: QGIS goes linearly from one to the next
DOCTYPE = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>"
VERSION = "3.28.0"


def write_style(path: Path, scale: Scale) -> None:
    """Write how QGIS shall draw a raster: the colours and limits of its picture.

    Args:
        path: of the GeoTIFF; the style has its name, and ends in .qml.
        scale: what its numbers look like.
    """
    lines = _palette(scale) if scale.words else _ramp(scale)
    text = "\n".join(
        [
            DOCTYPE,
            f'<qgis version="{VERSION}" styleCategories="Symbology">',
            "  <pipe>",
            "    <provider>",
            '      <resampling enabled="false" maxOversampling="2"'
            ' zoomedInResamplingMethod="nearestNeighbour"'
            ' zoomedOutResamplingMethod="nearestNeighbour"/>',
            "    </provider>",
            *lines,
            '    <brightnesscontrast brightness="0" contrast="0" gamma="1"/>',
            '    <huesaturation saturation="0" grayscaleMode="0" colorizeOn="0"/>',
            '    <rasterresampler maxOversampling="2"/>',
            "  </pipe>",
            "  <blendMode>0</blendMode>",
            "</qgis>",
            "",
        ]
    )
    path.with_suffix(".qml").write_text(text, encoding="utf-8")


def _ramp(scale: Scale) -> list[str]:
    low, high = scale.limits
    ends = f'"{_number(low)}"', f'"{_number(high)}"'
    digits = max(0, 2 - math.floor(math.log10(high - low)))
    items = []
    for number, colour in enumerate(scale.palette(STOPS)):
        value = low + (high - low) * number / (STOPS - 1)
        label = f"{value:.{digits}f}"
        items.append(
            f'          <item value="{_number(value)}" label="{label}"'
            f' color="{hex_colour(colour)}" alpha="255"/>'
        )
    return [
        '    <rasterrenderer type="singlebandpseudocolor" band="1" opacity="1" alphaBand="-1"'
        f' nodataColor="" classificationMin={ends[0]} classificationMax={ends[1]}>',
        "      <rasterTransparency/>",
        *_ORIGIN,
        "      <rastershader>",
        '        <colorrampshader colorRampType="INTERPOLATED" classificationMode="1" clip="0"'
        f' minimumValue={ends[0]} maximumValue={ends[1]} labelPrecision="{digits}">',
        *items,
        "        </colorrampshader>",
        "      </rastershader>",
        "    </rasterrenderer>",
    ]


def _palette(scale: Scale) -> list[str]:
    entries = [
        f'        <paletteEntry value="{code}" label={quoteattr(word)}'
        f' color="{hex_colour(colour)}" alpha="255"/>'
        for code, (word, colour) in enumerate(zip(scale.words, scale.palette(), strict=True))
    ]
    return [
        '    <rasterrenderer type="paletted" band="1" opacity="1" alphaBand="-1" nodataColor="">',
        "      <rasterTransparency/>",
        *_ORIGIN,
        "      <colorPalette>",
        *entries,
        "      </colorPalette>",
        "    </rasterrenderer>",
    ]


# The limits are given: QGIS shall not look for others in the pixels.
_ORIGIN = (
    "      <minMaxOrigin>",
    "        <limits>None</limits>",
    "        <extent>WholeRaster</extent>",
    "        <statAccuracy>Estimated</statAccuracy>",
    "      </minMaxOrigin>",
)


def _number(value: float) -> str:
    return repr(float(value))
