"""What is known of a kind of data, and which files and bands it is known of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from geoforecast.raster.geotiff import Header
from geoforecast.stack.reading.mask_kinds import MaskProfile

# What bands are called by what they measure, where platforms number them differently.
ROLE_WORDS = {
    "A": "coastal",
    "B": "blue",
    "G": "green",
    "R": "red",
    "RE1": "rededge1",
    "RE2": "rededge2",
    "RE3": "rededge3",
    "N": "nir",
    "N2": "nir2",
    "WV": "watervapour",
    "S1": "swir1",
    "S2": "swir2",
    "T": "thermal",
    "T1": "thermal1",
    "T2": "thermal2",
}


@dataclass(frozen=True)
class SensorBand:
    """A band of a sensor, or several that are read alike.

    Attributes:
        name: for people.
        patterns: of band names and file-name parts that mean this band.
        role: the letter under which spectral indices know it, such as R or N, or "".
        unit: of the physical values.
        scale, offset: physical = raw * scale + offset, in integer rasters only.
        nodata: raw values that mean no data.
        float_nodata: the same in floating-point rasters.
        low, high: raw numbers below or above are unusable; None for no bound.
        floats: scale, offset, nodata and bounds hold for floating-point rasters too.
        conversion: a conversion with its numbers, or "".
        resampling: overrides --resampling auto, or "".
        categorical: class codes, which are never averaged.
        flag: quality, angles and the like: no data unless --bands asks for it.
        files: pattern of the paths of the files that this holds for; "" for all.
    """

    name: str
    patterns: tuple[str, ...]
    role: str = ""
    unit: str = ""
    scale: float = 1.0
    offset: float = 0.0
    nodata: tuple[float, ...] = ()
    float_nodata: tuple[float, ...] = ()
    low: float | None = None
    high: float | None = None
    floats: bool = False
    conversion: str = ""
    resampling: str = ""
    categorical: bool = False
    flag: bool = False
    files: str = ""


@dataclass(frozen=True)
class OffsetRule:
    """An offset that raw numbers hold from some version of the processing on.

    Attributes:
        raw: what to add to raw numbers before they are scaled, such as -1000.
        bands: names of the sensor's bands that hold it.
        minimum: first version with it.
        version_names: patterns of paths; group 1 is the version as a whole number.
        version_tags: tags whose value, a number with decimals, is the version / 100.
    """

    raw: float
    bands: tuple[str, ...]
    minimum: int
    version_names: tuple[str, ...]
    version_tags: tuple[str, ...]


@dataclass(frozen=True)
class DecibelRule:
    """Bands that come in decibels or as linear power, told apart by their values.

    Attributes:
        bands: names of the sensor's bands.
        linear_nodata: raw values that mean no data if they are linear.
        conversion: applied to linear ones, or "".
    """

    bands: tuple[str, ...]
    linear_nodata: tuple[float, ...]
    conversion: str


@dataclass(frozen=True)
class PrivateTags:
    """Scale, offset and nodata written inside a tag that only its producer knows.

    Attributes:
        tag: its name.
        scale, offset, nodata: patterns whose group 1 is the number; "" for none.
    """

    tag: str
    scale: str
    offset: str
    nodata: str


@dataclass(frozen=True)
class Example:
    """A file such as this sensor's, and what one raw number in it means; tests check it.

    Attributes:
        file: path with a folder.
        dtype: of its pixels.
        band: name of its band, which is also its description if ``bands`` is empty.
        bands: descriptions of all bands, if it has several.
        tags: of the file.
        raw, value: a raw number and its physical value; no value: it means no data.
    """

    file: str
    dtype: str
    band: str
    bands: tuple[str, ...]
    tags: Mapping[str, str]
    raw: float
    value: float | None


@dataclass(frozen=True)
class Sensor:
    """What is known of a kind of data.

    Attributes:
        name: of its TOML file.
        title, description: for people.
        source: where its numbers are documented.
        cadence: how often it comes; for people.
        auto: whether --sensor auto may choose it.
        files: patterns of paths (from the input folder's name down) that are its own.
        unless: patterns of paths that are not.
        tags: tag -> pattern of a value that is its own.
        band_names: patterns; a file in which each fits a band is its own.
        masks: its mask profiles, best first.
        bands: in order; the first that fits a band and its file is taken.
        offset_rule, decibel_rule, private: see there; None if it has none.
        examples: for tests.
    """

    name: str
    title: str
    description: str
    source: str
    cadence: str
    auto: bool
    files: tuple[str, ...]
    unless: tuple[str, ...]
    tags: Mapping[str, str]
    band_names: tuple[str, ...]
    masks: tuple[MaskProfile, ...]
    bands: tuple[SensorBand, ...]
    offset_rule: OffsetRule | None = None
    decibel_rule: DecibelRule | None = None
    private: PrivateTags | None = None
    examples: tuple[Example, ...] = field(default=(), repr=False)

    def recognises(self, key: str, header: Header | None) -> bool:
        """Whether a file is one of this sensor's, by its path, tags or band names.

        Args:
            key: its path from the input folder's own name down, with "/".
            header: what it says about itself, or None.
        """
        if any(compiled(p).search(key) for p in self.unless):
            return False
        if any(compiled(p).search(key) for p in self.files):
            return True
        if header is None:
            return False
        told = tags_of(header)
        if any(t in told and compiled(p).search(told[t]) for t, p in self.tags.items()):
            return True
        names = [text for text in header.descriptions if text]
        return bool(self.band_names) and all(
            any(compiled(p).fullmatch(name) for name in names) for p in self.band_names
        )

    def band(self, name: str, key: str) -> SensorBand | None:
        """What is known of a band of a file, or None.

        Args:
            name: of the band in the cube.
            key: path of the file, whose name may say more than the band's.
        """
        if (name, key) not in self._found:
            self._found[name, key] = _band(self.bands, name, key)
        return self._found[name, key]

    @cached_property
    def _found(self) -> dict[tuple[str, str], SensorBand | None]:
        return {}


def tags_of(header: Header) -> dict[str, str]:
    """Dataset tags under lower-case names, with the first band's unit as "band_unit"."""
    told = {key.lower(): value for key, value in header.tags.items()}
    if header.units and header.units[0]:
        told.setdefault("band_unit", header.units[0])
    return told


@lru_cache(maxsize=4096)
def compiled(pattern: str) -> re.Pattern[str]:
    """A pattern that ignores case, compiled once."""
    return re.compile(pattern, re.IGNORECASE)


def _band(bands: tuple[SensorBand, ...], name: str, key: str) -> SensorBand | None:
    here = [band for band in bands if not band.files or compiled(band.files).search(key)]
    for band in here:
        if any(compiled(p).fullmatch(name) for p in band.patterns):
            return band
    for band in here:
        if ROLE_WORDS.get(band.role) == name:
            return band
    # Names such as L30_B04, or a file of a single band that its name tells. Where a name tells
    # several, such as B04_B08_ratio, it is another thing than any of them.
    stem = key.rpartition("/")[2].rpartition(".")[0]
    for text in (name, stem):
        told = [b for b in here if any(compiled(_as_part(p)).search(text) for p in b.patterns)]
        if told:
            return told[0] if len(told) == 1 else None
    return None


def _as_part(pattern: str) -> str:
    return rf"(?:^|[^0-9A-Za-z])(?:{pattern})(?:$|[^0-9A-Za-z])"
