"""Every setting of every verb: its name, type, default and help, written once.

The command line options, the GEOFORECAST_* variables, the keys of
geoforecast.toml and the arguments of the Python API all come from these frozen
dataclasses. Precedence: flag > variable > file > preset > default.

Nothing heavy may be imported here: `geoforecast --help` reads this module.
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from geoforecast.errors import SettingsError, did_you_mean
from geoforecast.settings.field import setting
from geoforecast.settings.forecast import PredictSettings, TrainSettings, ValidateSettings
from geoforecast.settings.presets import preset_values
from geoforecast.settings.stack import InputSettings, SplitSettings, StackSettings, Unsplit
from geoforecast.values import convert

VARIABLE_PREFIX = "GEOFORECAST_"

__all__ = [
    "InputSettings",
    "PredictSettings",
    "SplitSettings",
    "StackSettings",
    "TrainSettings",
    "Unsplit",
    "ValidateSettings",
    "read_settings_file",
    "resolve_settings",
    "setting",
    "toml_key",
]

SECTIONS: dict[str, type] = {
    "stack": StackSettings,
    "split": SplitSettings,
    "train": TrainSettings,
    "predict": PredictSettings,
    "validate": ValidateSettings,
}


def toml_key(name: str) -> str:
    """The name of a setting in geoforecast.toml (``from_`` is ``from``)."""
    return name.rstrip("_")


def read_settings_file(path: Path) -> dict[str, dict[str, Any]]:
    """Read geoforecast.toml and check each section and key.

    Args:
        path: the file; a missing file has no settings.
    Returns:
        Raw values by section and field name.
    Raises:
        SettingsError: not TOML, or an unknown section or key.
    """
    if not path.exists():
        return {}
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{path} is not valid TOML: {error}.", remedy="Correct that line."
        ) from error
    known: dict[str, set[str]] = {
        section: {toml_key(field.name) for field in dataclasses.fields(cls)}
        for section, cls in SECTIONS.items()
    }
    known["stack"] |= {field.name for field in dataclasses.fields(InputSettings)}
    result: dict[str, dict[str, Any]] = {}
    for section, values in document.items():
        if section not in known:
            raise SettingsError(
                f"{path} has an unknown section [{section}].",
                remedy=did_you_mean(section, known),
            )
        if not isinstance(values, dict):
            raise SettingsError(
                f"{path}: '{section}' must be a section.", remedy=f"Write [{section}] above it."
            )
        for key in values:
            if key not in known[section]:
                raise SettingsError(
                    f"{path} has an unknown setting '{key}' in [{section}].",
                    remedy=did_you_mean(key, known[section]),
                )
        result[section] = values
    return result


def resolve_settings(
    section: str,
    given: Mapping[str, Any],
    *,
    file_values: Mapping[str, Mapping[str, Any]],
    environ: Mapping[str, str] | None = None,
    cls: type | None = None,
) -> Any:
    """One section's settings from flags, variables, the file, a preset and defaults.

    Args:
        section: a key of SECTIONS.
        given: field name -> value from flags or Python arguments; None means not given.
        file_values: what read_settings_file returned.
        environ: the environment; default os.environ.
        cls: the dataclass of these settings; default the section's own.
    Returns:
        An instance of that dataclass.
    Raises:
        SettingsError: an unknown name, or a value of the wrong type or range.
    """
    cls = cls or SECTIONS[section]
    environ = os.environ if environ is None else environ
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for name in given:
        if name not in fields:
            raise SettingsError(
                f"'{name}' is not a setting of {section}.", remedy=did_you_mean(name, fields)
            )
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for name, field in fields.items():
        variable = f"{VARIABLE_PREFIX}{section}_{toml_key(name)}".upper()
        if given.get(name) is not None:
            raw, source = given[name], f"{section} --{toml_key(name).replace('_', '-')}"
        elif variable in environ:
            raw, source = environ[variable], variable
        elif toml_key(name) in file_values.get(section, {}):
            raw = file_values[section][toml_key(name)]
            source = f"geoforecast.toml [{section}] {toml_key(name)}"
        else:
            continue
        values[name] = convert(raw, hints[name], field, source)
    return cls(**{**preset_values(section, values.get("preset", "")), **values})
