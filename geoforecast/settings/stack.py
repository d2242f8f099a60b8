"""The settings of stack: sections [stack] and [split]."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from geoforecast.settings.field import setting


@dataclasses.dataclass(frozen=True)
class StackSettings:
    """How a folder of GeoTIFFs becomes the cube: section [stack]."""

    bands: tuple[str, ...] = setting(
        (),
        "bands to keep, by name or number, derived ones included, comma-separated; default: all",
        metavar="B,B",
    )
    sensor: str = setting(
        "auto",
        "sensor profile (see `geoforecast sensors`), or a TOML file of your own; none leaves "
        "values as the files' tags say",
        metavar="NAME|FILE",
    )
    index: tuple[str, ...] = setting(
        (), "spectral indices to derive, by name, comma-separated, such as NDVI", metavar="I,I"
    )
    expression: str = setting(
        "",
        'bands to derive, such as "ratio = B08 / B04"; several are parted by `;`',
        metavar="NAME=EXPR",
    )
    date_regex: str = setting(
        "",
        "regular expression whose first group (or groups year, month, day, doy, hour, minute, "
        "second) is the date",
        metavar="REGEX",
    )
    bands_are_times: str = setting(
        "",
        "the bands of a file are dates: START/STEP such as 2001-01-01/1M, a list, or @FILE with "
        "one date a line",
        metavar="TIMES",
    )
    mask: str = setting(
        "auto",
        "mask profile, or the name of the mask band or of the file-name part: "
        "auto, none, one of those that `geoforecast sensors` lists, or PROFILE:NAME",
        metavar="MASK",
    )
    mask_values: tuple[int, ...] = setting(
        (), "mask values that mean unusable, comma-separated; overrides the profile", metavar="V,V"
    )
    clear_values: tuple[int, ...] = setting(
        (),
        "mask values that mean usable, all others do not; overrides the profile",
        metavar="V,V",
    )
    mask_bits: str = setting(
        "",
        "mask bits that mean unusable if set, such as 3,4, or fields with values, such as "
        "8-9=2|3; overrides the profile",
        metavar="BITS",
    )
    dilate: int = setting(
        0, "grow masked areas by this many mask pixels", minimum=0, metavar="PIXELS"
    )
    scale: float | None = setting(None, "physical = raw * scale + offset; overrides the tags")
    offset: float | None = setting(None, "see --scale; overrides the tags")
    per_file_scale: bool = setting(
        False, "bring files whose numbers differ by a power of ten to the unit of most files"
    )
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
        "auto is bilinear for numbers, or average where the target is over twice as coarse, and "
        "nearest for classes; masks are always nearest",
        choices=("auto", "nearest", "bilinear", "cubic", "average", "mode"),
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
        choices=("median", "mean", "max", "min", "first", "last", "best"),
    )
    min_valid: float = setting(
        0.0,
        "leave out scenes with less than this fraction of the grid valid",
        minimum=0,
        maximum=1,
    )
    fill: str = setting(
        "none",
        "fill gaps in time; filled pixels are marked, and no forecast or score ever uses them",
        choices=("none", "linear", "harmonic", "whittaker"),
    )
    static: tuple[str, ...] = setting(
        (), "rasters without a date, such as a DEM, kept beside the series", metavar="FILE,FILE"
    )
    terrain: tuple[str, ...] = setting(
        (), "layers to derive from the first --static file: slope, aspect", metavar="LAYER,LAYER"
    )
    drivers: tuple[str, ...] = setting(
        (),
        "folders of dated rasters that are known ahead, such as weather; kept beside the series",
        metavar="FOLDER,FOLDER",
    )
    normalise: str = setting(
        "zscore",
        "statistics, fitted on training steps, that models see the values through",
        choices=("zscore", "minmax", "robust", "log1p", "none"),
    )
    chunk: int = setting(
        256,
        "side of the cube's chunks in pixels, a power of two; never changes the values",
        minimum=32,
        maximum=2048,
        metavar="PIXELS",
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
    resplit: bool = setting(
        False, "share out anew when dates were added; else the test block keeps its start and grows"
    )


@dataclasses.dataclass(frozen=True)
class Unsplit(SplitSettings):
    """No split: of a cube that is only compared with another nothing is learned.

    A cube of any length can be made so; whenever it is made again, statistics are of all steps.
    """

    resplit: bool = True
