"""A sensor's TOML file, read strictly."""

from __future__ import annotations

import math
import re
from typing import Any

from geoforecast.errors import SettingsError
from geoforecast.stack.reading.conversions import parse_conversion
from geoforecast.stack.reading.mask_kinds import MaskProfile, profile_from, profiles
from geoforecast.stack.reading.sensors.sensor import (
    DecibelRule,
    Example,
    OffsetRule,
    PrivateTags,
    Sensor,
    SensorBand,
)
from geoforecast.stack.reading.tables import Table

RESAMPLINGS = ("", "nearest", "bilinear", "cubic", "average", "mode")


def sensor_from(content: dict[str, Any], name: str, place: str) -> Sensor:
    """A sensor from its parsed TOML file.

    Raises:
        SettingsError: an unknown key, a missing one or a wrong value, with file and key.
    """
    table = Table(content, place)
    recognise = table.table("recognise")
    bands = _bands(table)
    sensor = Sensor(
        name=name,
        title=table.text("title"),
        description=table.text("description", ""),
        source=table.text("source", ""),
        cadence=table.text("cadence", ""),
        auto=table.flag("auto", True),
        files=recognise.patterns("files", ()),
        unless=recognise.patterns("unless", ()),
        tags=_tag_patterns(recognise),
        band_names=recognise.patterns("bands", ()),
        masks=_masks(table, name),
        bands=bands,
        offset_rule=_offset_rule(table, bands),
        decibel_rule=_decibel_rule(table, bands),
        private=_private(table),
        examples=tuple(_example(item) for item in table.tables("example")),
    )
    recognise.finish()
    table.finish()
    return sensor


def _tag_patterns(table: Table) -> dict[str, str]:
    tags = table.table("tags")
    return {key.lower(): tags.patterns(key)[0] for key in tags.content}


def _bands(table: Table) -> tuple[SensorBand, ...]:
    usual = table.table("defaults")
    _band_from(Table(usual.content, usual.place), "defaults")  # refuses unknown keys
    found = tuple(
        _band_from(Table({**usual.content, **item.content}, item.place))
        for item in table.tables("band")
    )
    names = [(band.name, band.files) for band in found]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice:
        raise table.error("band", f"has two named '{twice[0]}'", "Name each once.")
    return found


def _band_from(table: Table, name: str = "") -> SensorBand:
    name = name or table.text("name")
    resampling = table.text("resampling", "")
    if resampling not in RESAMPLINGS:
        raise table.error("resampling", f"is '{resampling}'", f"Use {', '.join(RESAMPLINGS[1:])}.")
    scale = table.number("scale", 1.0)
    if not scale:
        raise table.error("scale", "is 0", "Give another number.")
    band = SensorBand(
        name=name,
        patterns=table.patterns("patterns", (re.escape(name),)),
        role=table.text("role", ""),
        unit=table.text("unit", ""),
        scale=scale,
        offset=table.number("offset", 0.0) or 0.0,
        nodata=table.numbers("nodata", ()),
        float_nodata=table.numbers("float_nodata", ()),
        low=_bound(table, "low"),
        high=_bound(table, "high"),
        floats=table.flag("floats", False),
        conversion=_conversion(table),
        resampling=resampling,
        categorical=table.flag("categorical", False),
        flag=table.flag("flag", False),
        files="".join(table.patterns("files", ())),
    )
    table.finish()
    return band


def _bound(table: Table, key: str) -> float | None:
    """A bound; infinity, which takes back a default, is none."""
    number = table.number(key, None)
    return None if number is None or math.isinf(number) else number


def _conversion(table: Table) -> str:
    text = table.text("conversion", "")
    try:
        if text:
            parse_conversion(text)
    except SettingsError as error:
        raise table.error("conversion", f"is '{text}'", f"{error.what} {error.remedy}") from error
    return text


def _masks(table: Table, name: str) -> tuple[MaskProfile, ...]:
    if isinstance(table.content.get("mask"), dict):
        return (profile_from(table.table("mask"), name),)
    names = table.texts("mask", ())
    for item in names:
        if item not in profiles():
            known = ", ".join(profiles())
            raise table.error("mask", f"names no mask profile: '{item}'", f"Known: {known}.")
    return tuple(profiles()[item] for item in names)


def _named(table: Table, bands: tuple[SensorBand, ...]) -> tuple[str, ...]:
    names = table.texts("bands")
    missing = next((n for n in names if n not in {band.name for band in bands}), None)
    if missing is not None:
        raise table.error("bands", f"names '{missing}', which is no band here", "Correct it.")
    return names


def _offset_rule(table: Table, bands: tuple[SensorBand, ...]) -> OffsetRule | None:
    if "offset_rule" not in table:
        return None
    rule = table.table("offset_rule")
    result = OffsetRule(
        raw=rule.number("raw") or 0.0,
        bands=_named(rule, bands),
        minimum=rule.integer("minimum"),
        version_names=rule.patterns("version_names", ()),
        version_tags=tuple(tag.lower() for tag in rule.texts("version_tags", ())),
    )
    rule.finish()
    return result


def _decibel_rule(table: Table, bands: tuple[SensorBand, ...]) -> DecibelRule | None:
    if "decibel_rule" not in table:
        return None
    rule = table.table("decibel_rule")
    result = DecibelRule(
        bands=_named(rule, bands),
        linear_nodata=rule.numbers("linear_nodata", ()),
        conversion=_conversion(rule),
    )
    rule.finish()
    return result


def _private(table: Table) -> PrivateTags | None:
    if "private" not in table:
        return None
    private = table.table("private")
    parts = {key: private.patterns(key, "")[0] for key in ("scale", "offset", "nodata")}
    result = PrivateTags(private.text("tag").lower(), **parts)
    private.finish()
    return result


def _example(table: Table) -> Example:
    tags = table.table("tags")
    result = Example(
        file=table.text("file"),
        dtype=table.text("dtype"),
        band=table.text("band"),
        bands=table.texts("bands", ()),
        tags={key: tags.text(key) for key in tags.content},
        raw=table.number("raw") or 0.0,
        value=table.number("value", None),
    )
    table.finish()
    return result
