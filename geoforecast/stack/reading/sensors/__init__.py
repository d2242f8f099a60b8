"""What is known of each kind of data: a TOML file here for each sensor.

A sensor is told by file names, tags or band names. It says which numbers are no data, how raw
numbers become physical values, which bands are flags, which mask belongs to them and what
spectral indices call them. Options and the files' own tags come first (see readings).
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from geoforecast.errors import SettingsError, did_you_mean
from geoforecast.settings import StackSettings
from geoforecast.stack.inventory.scenes import SceneFile
from geoforecast.stack.reading.mask_kinds import profiles
from geoforecast.stack.reading.sensors.parsing import sensor_from
from geoforecast.stack.reading.sensors.sensor import ROLE_WORDS, Sensor, SensorBand

__all__ = [
    "ROLE_WORDS",
    "Sensor",
    "SensorBand",
    "SensorChoice",
    "SensorRow",
    "choose_sensor",
    "describe",
    "describe_sensors",
    "load_sensor",
    "role_bands",
    "sensors",
    "with_kind",
]

# Nearly all files: a quick look or a stray file among them does no harm.
NEARLY_ALL = 0.9
# A sensor that recognises less than half of this many files does not recognise nearly all.
LOOKED_AT = 100


@cache
def sensors() -> dict[str, Sensor]:
    """The known sensors by name."""
    found = {}
    for item in (resources.files("geoforecast.stack.reading") / "sensors").iterdir():
        if item.name.endswith(".toml"):
            name = item.name.removesuffix(".toml")
            content = tomllib.loads(item.read_text(encoding="utf-8"))
            found[name] = sensor_from(content, name, item.name)
    return dict(sorted(found.items()))


def load_sensor(text: str) -> Sensor:
    """A sensor by its name, or from a TOML file of the user's own.

    Raises:
        SettingsError: there is no such sensor or file, or the file is wrong.
    """
    if text.casefold() in sensors():
        return sensors()[text.casefold()]
    path = Path(text).expanduser()
    if path.suffix.lower() != ".toml":
        raise SettingsError(
            f"--sensor {text}: there is no such sensor.",
            remedy=f"{did_you_mean(text, sensors())} Or give a TOML file of your own; "
            "`geoforecast sensors` lists them all.",
        )
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"--sensor {path} cannot be read: {error.strerror}.", remedy="Check the path."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is no TOML file: {error}.", remedy="Correct it.") from error
    return sensor_from(content, path.stem, str(path))


@dataclass(frozen=True)
class SensorChoice:
    """The sensor that is used, and how it was settled.

    Attributes:
        sensor: or None.
        text: a sentence for people.
    """

    sensor: Sensor | None
    text: str


def choose_sensor(files: Sequence[SceneFile], settings: StackSettings) -> SensorChoice:
    """The sensor that the user names, or the only one that recognises nearly all files.

    Args:
        files: data and masks, with headers.
        settings: --sensor.
    Raises:
        SettingsError: there is no such sensor.
    """
    if settings.sensor == "none":
        return SensorChoice(None, "Sensor: none.")
    if settings.sensor != "auto":
        sensor = load_sensor(settings.sensor)
        return SensorChoice(sensor, f"Sensor: {sensor.name} ({sensor.title}), as told.")
    total = len(files)
    few = files[:: max(1, total // LOOKED_AT)]
    counts = {
        sensor.name: sum(sensor.recognises(file.key, file.header) for file in files)
        for sensor in sensors().values()
        if sensor.auto and 2 * sum(sensor.recognises(f.key, f.header) for f in few) >= len(few)
    }
    fitting = [name for name, count in counts.items() if count >= NEARLY_ALL * total > 0]
    if len(fitting) > 1:
        names = " and ".join(fitting)
        return SensorChoice(
            None, f"Sensor: none, as the files look like {names}; choose one with --sensor."
        )
    if not fitting:
        given = [
            f"--{name} {value:g}"
            for name, value in (("scale", settings.scale), ("offset", settings.offset))
            if value is not None
        ]
        source = f"as told ({', '.join(given)})" if given else "as the files' tags say"
        return SensorChoice(None, f"Sensor: none recognised; values are {source}.")
    sensor = sensors()[fitting[0]]
    told = f"{counts[sensor.name]} of {total} files"
    return SensorChoice(sensor, f"Sensor: {sensor.name} ({sensor.title}), told by {told}.")


def with_kind(
    settings: StackSettings, sensor: Sensor | None, scenes: Sequence[SceneFile]
) -> StackSettings:
    """The settings, with --kind categorical if the sensor calls every band a class map.

    Args:
        settings: what the user asks for.
        sensor: or None.
        scenes: data files with their bands.
    """
    if sensor is None or settings.kind == "categorical":
        return settings
    known = {sensor.band(band, file.key) for file in scenes for band in file.bands}
    if known and all(band is not None and band.categorical for band in known):
        return dataclasses.replace(settings, kind="categorical")
    return settings


def role_bands(
    sensor: Sensor | None, bands: Sequence[str], scenes: Sequence[SceneFile] = ()
) -> dict[str, str]:
    """What spectral indices call each band.

    Args:
        sensor: or None, which knows none.
        bands: names of the cube's bands.
        scenes: data files, as a name can mean one thing on one platform and another on the next
            (B4 is near infrared on Landsat 7 and red on Landsat 8).
    Returns:
        Role letter -> band; the first band of each role, and none whose meaning differs.
    """
    if sensor is None:
        return {}
    found: dict[str, str] = {}
    for name in bands:
        keys = [file.key for file in scenes if name in file.bands] or [""]
        known = (sensor.band(name, key) for key in keys)
        roles = {"" if band is None else band.role for band in known}
        if len(roles) == 1 and (role := roles.pop()):
            found.setdefault(role, name)
    return found


@dataclass(frozen=True)
class SensorRow:
    """A line of `geoforecast sensors`.

    Attributes:
        name, title, cadence, source: of the sensor.
        bands, masks: their names.
        auto: whether --sensor auto may choose it.
    """

    name: str
    title: str
    cadence: str
    bands: tuple[str, ...]
    masks: tuple[str, ...]
    auto: bool
    source: str


def describe_sensors() -> list[SensorRow]:
    """All known sensors, for a table."""
    return [
        SensorRow(
            name=sensor.name,
            title=sensor.title,
            cadence=sensor.cadence,
            bands=tuple(dict.fromkeys(band.name for band in sensor.bands if not band.flag)),
            masks=tuple(mask.name for mask in sensor.masks),
            auto=sensor.auto,
            source=sensor.source,
        )
        for sensor in sensors().values()
    ]


def describe() -> str:
    """All sensors and mask profiles as a terminal shows them."""
    lines = ["Sensors (--sensor NAME; auto takes the one that file names, tags or bands tell):"]
    for row in describe_sensors():
        lines.append(f"  {row.name:<20} {row.title}{'' if row.auto else '; only by name'}")
        details = [", ".join(row.bands)] if row.bands else []
        details += [f"mask {' or '.join(row.masks)}"] if row.masks else []
        details += [f"every {row.cadence}"] if row.cadence else []
        if details:
            lines.append(f"{'':<23}{'; '.join(details)}")
    lines += ["", "Masks (--mask NAME, or NAME:BAND for a band or file-name part):"]
    lines += [f"  {mask.name:<20} {mask.description}" for mask in profiles().values()]
    return "\n".join(lines)
