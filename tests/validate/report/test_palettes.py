"""Numbers become the colours that they stand for, on maps, in pictures and in QGIS."""

from __future__ import annotations

import base64
import io
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from geoforecast.validate.report.palettes import (
    LEVELS,
    NOTHING,
    Scale,
    hex_colour,
    png_uri,
    ramp,
)
from geoforecast.validate.report.qgis import write_style

CLASSES = Scale(("#000000", "#ff0000", "#00ff00"), words=("water", "fire & ash", "wood"))


def test_ends_and_middle_of_a_scale() -> None:
    scale = Scale("viridis", (-2.0, 2.0))
    values = np.array([[-9.0, -2.0, 0.0, 2.0, 9.0, np.nan, np.inf]])
    # 255 levels: 0 to 254, the middle 127; beyond the ends they stay.
    assert scale.indices(values).tolist() == [[0, 0, 127, 254, 254, NOTHING, NOTHING]]


@given(st.floats(-1, 1), st.floats(-1, 1))
def test_larger_values_never_get_earlier_colours(one: float, other: float) -> None:
    low, high = sorted((one, other))
    found = Scale("viridis", (-0.5, 0.5)).indices(np.array([[low, high]]))[0]
    assert found[0] <= found[1]


def test_a_class_has_the_colour_of_its_number() -> None:
    assert CLASSES.indices(np.array([[0.0, 2.0, np.nan]])).tolist() == [[0, 2, NOTHING]]
    assert [hex_colour(colour) for colour in CLASSES.palette()] == list(CLASSES.colours)


def test_a_picture_in_the_page_has_the_pixels_and_is_clear_where_nothing_is() -> None:
    scale = Scale("cividis", (0.0, 1.0))
    uri = png_uri(scale.indices(np.array([[0.0, 1.0, np.nan]])), scale.palette())
    head, _, data = uri.partition(",")
    assert head == "data:image/png;base64"
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA"))
    colours = ramp("cividis")
    assert pixels[0, 0].tolist() == [*colours[0].tolist(), 255]
    assert pixels[0, 1].tolist() == [*colours[LEVELS - 1].tolist(), 255]
    assert pixels[0, 2, 3] == 0


def test_ramps_grow_brighter_for_readers_who_see_no_colour() -> None:
    """Sequential ramps rise in lightness all along; diverging ones are brightest in the middle."""

    def lightness(name: str) -> np.ndarray:
        return ramp(name).astype(float) @ [0.2126, 0.7152, 0.0722]

    for name in ("viridis", "cividis"):
        assert (np.diff(lightness(name)) >= -1).all()  # rounded to bytes
    for name in ("RdBu_r", "BrBG", "PuOr_r"):
        assert 110 < int(np.argmax(lightness(name))) < 144


@pytest.mark.parametrize("limits", [(-3.0, 3.0), (0.0, 1e-6), (270.0, 310.5)])
def test_qgis_gets_the_same_ramp_and_limits(tmp_path: Path, limits: tuple[float, float]) -> None:
    scale = Scale("RdBu_r", limits)
    write_style(tmp_path / "map.tif", scale)
    root = ET.parse(tmp_path / "map.qml").getroot()
    items = root.findall(".//colorrampshader/item")
    values = [float(item.attrib["value"]) for item in items]
    assert (values[0], values[-1]) == limits
    np.testing.assert_allclose(np.diff(values), (limits[1] - limits[0]) / (len(values) - 1))
    ends = [hex_colour(ramp("RdBu_r")[at]) for at in (0, -1)]
    assert [items[0].attrib["color"], items[-1].attrib["color"]] == ends
    renderer = root.find(".//rasterrenderer")
    assert renderer is not None
    assert float(renderer.attrib["classificationMin"]) == limits[0]
    assert float(renderer.attrib["classificationMax"]) == limits[1]


def test_qgis_gets_the_classes_and_their_words(tmp_path: Path) -> None:
    write_style(tmp_path / "map.tif", CLASSES)
    entries = ET.parse(tmp_path / "map.qml").getroot().findall(".//paletteEntry")
    told = [(e.attrib["value"], e.attrib["label"], e.attrib["color"]) for e in entries]
    assert told == [
        ("0", "water", "#000000"),
        ("1", "fire & ash", "#ff0000"),
        ("2", "wood", "#00ff00"),
    ]
