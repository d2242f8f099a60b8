"""How the raw numbers of each file's bands become physical values.

For each number the user's option comes first, then the file's own tags if they say anything,
then the sensor. A sensor's scale, offset and bounds are for integer rasters: floating-point
numbers are physical already, unless the sensor says that it means them too.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from geoforecast.raster.geotiff import Header
from geoforecast.settings import StackSettings
from geoforecast.stack.inventory.scenes import SceneFile
from geoforecast.stack.reading.conversions import CONVERSIONS, Floats, apply_conversion
from geoforecast.stack.reading.sensors import Sensor, SensorBand
from geoforecast.stack.reading.sensors.evidence import (
    NO_OFFSETS,
    Offsets,
    decibel_states,
    settle_offsets,
)
from geoforecast.stack.reading.sensors.sensor import (
    DecibelRule,
    OffsetRule,
    PrivateTags,
    compiled,
    tags_of,
)

log = logging.getLogger(__name__)

__all__ = ["CONVERSIONS", "Reading", "convert", "settle_readings", "unit_of"]


@dataclass(frozen=True)
class Reading:
    """What turns a band's raw numbers into physical values, and which of them are usable.

    physical = convert(raw * scale + offset), in float32.

    Attributes:
        nodata: raw values that mean no data.
        scale, offset: see above.
        low, high: raw numbers below or above are unusable; None for no bound.
        conversion: name of a function of CONVERSIONS, with arguments after ":", or "".
        resampling: overrides --resampling auto for this band, or "".
        unit: of the physical values, or "".
    """

    nodata: tuple[float, ...] = ()
    scale: float = 1.0
    offset: float = 0.0
    low: float | None = None
    high: float | None = None
    conversion: str = ""
    resampling: str = ""
    unit: str = ""


def convert(values: Floats, reading: Reading) -> Floats:
    """Scaled values in the reading's unit.

    Args:
        values: float32, raw * scale + offset.
        reading: of their band.
    Returns:
        float32; NaN or infinite where there is no such value, which is never valid.
    """
    return apply_conversion(values, reading.conversion) if reading.conversion else values


@dataclass(frozen=True)
class _Tags:
    """What a file says of a band itself."""

    nodata: float | None
    scale: float
    offset: float
    unit: str

    @property
    def scaled(self) -> bool:
        return self.scale != 1 or self.offset != 0


@dataclass
class _Known:
    """What a sensor makes known of the scenes, and what is told of it.

    Attributes:
        sensor: or None.
        offsets: what is added to raw numbers of some bands.
        shifted: some band's reading depends on these.
        doubted: files whose tags and pixels contradict each other about it.
        decibels: (file key, band) -> whether backscatter is in decibels.
        unknown: bands that the sensor does not know.
        physical: bands whose sensor scale is not applied, as they are floating point.
        formulas: how values come about -> bands.
    """

    sensor: Sensor | None
    offsets: Offsets = NO_OFFSETS
    shifted: bool = False
    doubted: set[str] = field(default_factory=set)
    decibels: dict[tuple[str, str], bool] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)
    physical: set[str] = field(default_factory=set)
    formulas: dict[str, set[str]] = field(default_factory=dict)


def settle_readings(
    scenes: Sequence[SceneFile], settings: StackSettings, sensor: Sensor | None = None
) -> str:
    """Give each scene the reading of each of its bands: options, then tags, then the sensor.

    Args:
        scenes: data files with headers and bands; changed in place.
        settings: --nodata, --scale, --offset.
        sensor: what is known of such data, or None.
    Returns:
        Sentences for people, or "".
    """
    known = _Known(sensor)
    if sensor is not None:
        known.decibels = decibel_states(scenes, sensor)
        if settings.offset is None:
            known.offsets = settle_offsets(scenes, sensor)
    for file in scenes:
        file.sensor = sensor.name if sensor else ""
        for band, number in file.bands.items():
            reading = _reading(file, band, number, settings, known)
            file.readings[band] = reading
            if sensor is not None:
                known.formulas.setdefault(_formula(reading), set()).add(band)
    _warn(known)
    offsets = known.offsets.text if known.shifted else ""
    return " ".join(filter(None, [_text(known), offsets]))


def _warn(known: _Known) -> None:
    if known.shifted and known.offsets.doubt:
        log.warning("%s", known.offsets.doubt)
    if known.doubted:
        first = min(known.doubted)
        log.warning(
            "The tags of %d files, such as %s, contradict their pixels about an offset (the "
            "pixels show that it is %s); the tags hold. Say how it is with --scale and --offset.",
            len(known.doubted),
            first,
            known.offsets.seen[first],
        )


def unit_of(band: str, scenes: Sequence[SceneFile]) -> str:
    """The unit of a band's physical values, from the first scene that tells it; or ""."""
    units = (file.readings[band].unit for file in scenes if band in file.readings)
    return next(filter(None, units), "")


def _reading(
    file: SceneFile, band: str, number: int, settings: StackSettings, known: _Known
) -> Reading:
    header = file.header
    assert header is not None  # scenes have headers
    private = known.sensor.private if known.sensor else None
    tags = _tags(header, number, private)
    spec = known.sensor.band(band, file.key) if known.sensor else None
    scale, offset = tags.scale, tags.offset
    nodata = () if tags.nodata is None else (tags.nodata,)
    reading = Reading(nodata=nodata, scale=scale, offset=offset, unit=tags.unit)
    if known.sensor is not None and known.sensor.bands and spec is None:
        known.unknown.add(band)
    added = 0.0
    if spec is not None:
        assert known.sensor is not None
        reading = _sensed(reading, tags, spec, header.dtypes[number - 1])
        decibels = known.decibels.get((file.key, band))
        if decibels is not None and known.sensor.decibel_rule is not None:
            reading = _decibels(reading, known.sensor.decibel_rule, decibels)
        floats = np.dtype(header.dtypes[number - 1]).kind == "f" and not spec.floats
        if floats and (spec.scale != 1 or spec.offset != 0):
            known.physical.add(band)
        rule = known.sensor.offset_rule
        if rule is not None and spec.name in rule.bands and not floats:
            if not tags.scaled:
                added = known.offsets.raw.get(file.key, 0.0)
                known.shifted = True
            elif _contradict(tags, rule, known.offsets.seen.get(file.key, "")):
                known.doubted.add(file.key)
    chosen = _optional(reading, settings)
    changed = (chosen.scale, chosen.offset) != (reading.scale, reading.offset)
    if changed and not chosen.conversion:  # the sensor's unit is that of its own scale
        chosen = replace(chosen, unit=tags.unit)
    chosen = replace(chosen, offset=chosen.offset + added * chosen.scale)
    return _shortest(chosen, np.dtype(header.dtypes[number - 1]))


def _contradict(tags: _Tags, rule: OffsetRule, seen: str) -> bool:
    """Whether tags take out an offset that is gone, or leave in one that is held."""
    taken_out = math.isclose(tags.offset, rule.raw * tags.scale, rel_tol=1e-3)
    return (seen == "gone" and taken_out) or (seen == "held" and tags.offset == 0)


def _optional(reading: Reading, settings: StackSettings) -> Reading:
    """The reading with what the user's options say."""
    return replace(
        reading,
        nodata=reading.nodata if settings.nodata is None else (settings.nodata,),
        scale=reading.scale if settings.scale is None else settings.scale,
        offset=reading.offset if settings.offset is None else settings.offset,
    )


def _shortest(reading: Reading, dtype: np.dtype[Any]) -> Reading:
    """The same reading with the fewest comparisons a pixel.

    NaN is never usable anyway, and would make equal readings differ; numbers beyond the bounds
    need no mention; and the largest number of a type is a bound.
    """
    low = -math.inf if reading.low is None else reading.low
    high = math.inf if reading.high is None else reading.high
    numbers = [value for value in reading.nodata if low <= value <= high]
    if len(numbers) > 1 and dtype.kind in "iu" and (top := int(np.iinfo(dtype).max)) in numbers:
        numbers.remove(top)
        return replace(reading, nodata=tuple(numbers), high=float(top - 1))
    return replace(reading, nodata=tuple(numbers))


def _sensed(reading: Reading, tags: _Tags, spec: SensorBand, dtype: str) -> Reading:
    """The reading with what the sensor knows of the band."""
    unit = tags.unit or spec.unit
    conversion = spec.conversion
    if conversion and tags.unit and tags.unit.casefold() == spec.unit.casefold():
        conversion = ""  # somebody has converted it already
    elif conversion:
        unit = spec.unit
    resampling = spec.resampling or ("nearest" if spec.categorical or spec.flag else "")
    reading = replace(reading, unit=unit, conversion=conversion, resampling=resampling)
    if np.dtype(dtype).kind == "f" and not spec.floats:
        numbers = dict.fromkeys((*reading.nodata, *spec.float_nodata))
        return replace(reading, nodata=tuple(numbers))
    alike = math.isclose(tags.scale, spec.scale, rel_tol=1e-5) and math.isclose(
        tags.offset, spec.offset, rel_tol=1e-5
    )
    if tags.scaled and not alike:
        return reading  # the file holds other raw numbers than the sensor's
    return replace(
        reading,
        nodata=tuple(dict.fromkeys((*reading.nodata, *spec.nodata))),
        scale=tags.scale if tags.scaled else spec.scale,
        offset=tags.offset if tags.scaled else spec.offset,
        low=spec.low,
        high=spec.high,
    )


def _decibels(reading: Reading, rule: DecibelRule, decibels: bool) -> Reading:
    """The reading of backscatter, which is decibels or linear power."""
    if decibels:
        return replace(reading, unit="dB")
    return replace(
        reading,
        nodata=tuple(dict.fromkeys((*reading.nodata, *rule.linear_nodata))),
        conversion=rule.conversion,
        unit="dB" if rule.conversion == "power-to-db" else reading.unit or "1",
    )


def _tags(header: Header, number: int, private: PrivateTags | None) -> _Tags:
    told = tags_of(header)
    nodata = header.nodata[number - 1]
    scale, offset = header.scales[number - 1], header.offsets[number - 1]
    text = told.get(private.tag, "") if private else ""
    if private and text:
        nodata = _inside(private.nodata, text, nodata)
        if (scale, offset) == (1, 0):
            scale = _inside(private.scale, text, 1.0) or 1.0
            offset = _inside(private.offset, text, 0.0) or 0.0
    unit = header.units[number - 1] or told.get("units", "") or told.get("unit", "")
    return _Tags(nodata, scale, offset, unit)


def _inside(pattern: str, text: str, default: float | None) -> float | None:
    """The number that a pattern finds inside a tag."""
    found = compiled(pattern).search(text) if pattern else None
    number = found[1].strip() if found else ""
    return float(number) if re.fullmatch(r"[-+]?\d+(\.\d*)?(e[-+]?\d+)?", number, re.I) else default


def _formula(reading: Reading) -> str:
    text = "raw"
    if reading.scale != 1:
        text += f" * {reading.scale:.6g}"
    if reading.offset != 0:
        text += f" {'-' if reading.offset < 0 else '+'} {abs(reading.offset):.6g}"
    if reading.conversion:
        text += f", {reading.conversion}"
    return text + (f" [{reading.unit}]" if reading.unit not in ("", "1") else "")


def _text(known: _Known) -> str:
    if known.sensor is None:
        return ""
    parts = [f"{_listed(bands)} = {formula}" for formula, bands in sorted(known.formulas.items())]
    lines = [f"Values: {'; '.join(parts)}."] if parts else []
    if known.physical:
        lines.append(f"{_listed(known.physical)} are floating point, so physical already.")
    if known.unknown:
        name = known.sensor.name
        lines.append(f"{_listed(known.unknown)} are no bands of {name}; their tags hold.")
    return " ".join(lines)


def _listed(bands: set[str]) -> str:
    names = sorted(bands)
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
