"""Every setting of every verb: its name, type, default and help, written once.

The command line options, the GEOFORECAST_* variables, the keys of
geoforecast.toml and the arguments of the Python API all come from these frozen
dataclasses. Precedence: flag > variable > file > default.

Nothing heavy may be imported here: `geoforecast --help` reads this module.
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from geoforecast.errors import SettingsError, did_you_mean
from geoforecast.values import convert

VARIABLE_PREFIX = "GEOFORECAST_"


def setting(
    default: Any,
    help: str,
    *,
    choices: Iterable[str] | None = None,
    flags: tuple[str, ...] = (),
    metavar: str | None = None,
    minimum: float | None = None,
    above: float | None = None,
    finite: bool = True,
) -> Any:
    """A dataclass field that also describes its command-line option.

    Args:
        default: the value when nobody says otherwise.
        help: one line for `--help`, without a final full stop.
        choices: the only accepted values, if they are a closed list.
        flags: further spellings of the option, such as ``("-r",)``.
        metavar: how the value is named in `--help`.
        minimum: the smallest accepted number.
        above: what a number must exceed.
        finite: whether infinity and NaN are refused.
    """
    metadata = {
        "help": help,
        "choices": tuple(choices) if choices else None,
        "flags": flags,
        "metavar": metavar,
        "minimum": minimum,
        "above": above,
        "finite": finite,
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class StackSettings:
    """How a folder of GeoTIFFs becomes the cube: section [stack]."""

    bands: tuple[str, ...] = setting(
        (), "bands to keep, by name or number, comma-separated; default: all", metavar="B,B"
    )
    date_regex: str = setting(
        "",
        "regular expression whose first group (or groups year, month, day, doy, hour, minute, "
        "second) is the date",
        metavar="REGEX",
    )
    mask: str = setting(
        "auto",
        "mask profile, or the name of the mask band or of the file-name part: "
        "auto, none, scl, landsat-c1, landsat-c2, fmask, cloud, clear, or PROFILE:NAME",
        metavar="MASK",
    )
    mask_values: tuple[int, ...] = setting(
        (), "mask values that mean unusable, comma-separated; overrides the profile", metavar="V,V"
    )
    dilate: int = setting(
        0, "grow masked areas by this many mask pixels", minimum=0, metavar="PIXELS"
    )
    scale: float | None = setting(None, "physical = raw * scale + offset; overrides the tags")
    offset: float | None = setting(None, "see --scale; overrides the tags")
    nodata: float | None = setting(
        None, "raw value that means no data; overrides the tags (`nan` for none)", finite=False
    )
    crs: str = setting("", "target CRS; default: the commonest one", flags=("--dst-crs",))
    res: tuple[float, ...] = setting(
        (),
        "target pixel size in CRS units, one number or x,y; default: the median",
        flags=("-r",),
        metavar="RES",
        above=0,
    )
    bounds: tuple[float, ...] = setting(
        (),
        "target left,bottom,right,top in the target CRS; default: union",
        metavar="L,B,R,T",
    )
    like: str = setting("", "take the target grid from this GeoTIFF", metavar="FILE")
    resampling: str = setting(
        "auto",
        "auto is bilinear for numbers and nearest for classes; masks are always nearest",
        choices=("auto", "nearest", "bilinear"),
    )
    kind: str = setting(
        "continuous",
        "categorical keeps class codes as they are and never averages them",
        choices=("continuous", "categorical"),
    )
    merge: str = setting(
        "auto",
        "scenes of the same time and band: first valid pixel in name order, or their mean; "
        "auto is `first`, and stops if most times collide on one grid",
        choices=("auto", "first", "mean"),
    )
    cadence: str = setting(
        "none",
        "regular step such as 5min, 3h, 16D, 1M, 1Y; none keeps the times found",
        metavar="STEP",
    )
    composite: str = setting(
        "median",
        "how the scenes of one step combine under --cadence",
        choices=("median", "mean", "max", "min", "first", "last"),
    )
    normalise: str = setting(
        "zscore",
        "statistics, fitted on training steps, that models see the values through",
        choices=("zscore", "minmax", "robust", "log1p", "none"),
    )
    on_error: str = setting(
        "fail",
        "a file that cannot be used stops the stack, or is set aside and listed in scenes.csv",
        choices=("fail", "quarantine"),
    )
    overwrite: bool = setting(False, "make the cube again, whatever is there")


@dataclasses.dataclass(frozen=True)
class InputSettings:
    """What is stacked when the line names no folder: a key of section [stack] too."""

    inputs: tuple[Path, ...] = setting((), "folders and files of scenes, relative to the project")


@dataclasses.dataclass(frozen=True)
class SplitSettings:
    """How steps are shared out by time: section [split]."""

    test: float = setting(
        0.0,
        "last steps kept for testing, a fraction or a count; 0: max(3, 20 %)",
        flags=("--test",),
        minimum=0,
    )
    validation: float = setting(
        0.0,
        "steps before those for validation, a fraction of the rest or a count; 0: max(2, 20 %)",
        flags=("--validation",),
        minimum=0,
    )


@dataclasses.dataclass(frozen=True)
class TrainSettings:
    """How a run is trained: section [train]."""

    run: str = setting("default", "name of the run", metavar="NAME")
    model: str = setting("convlstm", "architecture of the correction, a file of models/")
    reference: str = setting(
        "auto", "reference forecast to correct; auto picks the best one on the validation block"
    )
    epochs: int = setting(30, "most passes over the training samples", minimum=0)
    lookback: int = setting(
        0, "input steps; 0: 6, fewer if the series is short", minimum=0, metavar="STEPS"
    )
    horizon: int = setting(
        0,
        "predicted steps; 0: 3, fewer if the series is short",
        minimum=0,
        metavar="STEPS",
    )
    hidden: int = setting(16, "channels of each recurrent layer", minimum=1)
    layers: int = setting(2, "recurrent layers", minimum=1)
    kernel: int = setting(3, "odd kernel size in pixels", minimum=1)
    peepholes: bool = setting(False, "let ConvLSTM gates see the cell state")
    lr: float = setting(3e-3, "peak learning rate", above=0)
    batch_size: int = setting(8, "samples a step", minimum=1)
    patch: int = setting(32, "side of the training crops in pixels", minimum=4, metavar="PIXELS")
    seed: int = setting(0, "seed of every random draw", minimum=0)
    patience: int = setting(
        12, "epochs without a better validation score before stopping", minimum=1
    )
    device: str = setting(
        "auto", "where tensors live", choices=("auto", "cpu", "cuda", "mps"), metavar=None
    )
    time_limit: str = setting(
        "",
        "stop cleanly after this long, such as 50min or 3h, and exit 75; running again goes on",
        metavar="TIME",
    )
    overwrite: bool = setting(False, "train again, whatever is there")


@dataclasses.dataclass(frozen=True)
class PredictSettings:
    """Which forecasts are written: section [predict]."""

    run: str = setting("default", "name of the run to use", metavar="NAME")
    steps: int = setting(0, "steps to forecast; 0: the run's horizon", minimum=0)
    from_: str = setting(
        "",
        "forecast from this date of the cube instead of its end",
        flags=("--from",),
        metavar="DATE",
    )
    tile: int = setting(512, "side of the tiles in pixels; never changes the result", minimum=16)
    device: str = setting(
        "auto", "where tensors live", choices=("auto", "cpu", "cuda", "mps"), metavar=None
    )


@dataclasses.dataclass(frozen=True)
class ValidateSettings:
    """How a run is verified: section [validate]."""

    run: str = setting("default", "name of the run to verify", metavar="NAME")
    fail_under: tuple[str, ...] = setting(
        (),
        "exit 1 unless METRIC-skill over the best reference exceeds this, e.g. rmse-skill=0",
        metavar="METRIC-skill=X",
    )
    tile: int = setting(512, "side of the tiles in pixels; never changes the result", minimum=16)
    device: str = setting(
        "auto", "where tensors live", choices=("auto", "cpu", "cuda", "mps"), metavar=None
    )


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
    """One section's settings from flags, variables, the file and defaults.

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
    return cls(**values)
