"""Which files and bands are data, which are masks, and which mask belongs to which scene."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from geoforecast.errors import InputError, SceneError
from geoforecast.settings import StackSettings
from geoforecast.stack.derived.bands import Derived, kept_bands, needed_derived, parse_derived
from geoforecast.stack.inventory.labels import label_scenes
from geoforecast.stack.inventory.names import file_bands, listed, natural
from geoforecast.stack.inventory.pairing import FoundMasks, find_masks, pair_masks
from geoforecast.stack.inventory.scenes import Problems, SceneFile
from geoforecast.stack.reading.masks import mask_choice
from geoforecast.stack.reading.sensors import ROLE_WORDS, Sensor, role_bands

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bands:
    """What a cube holds and what it is made of.

    Attributes:
        kept: the cube's bands, in order.
        read: source bands that are read, in their own order.
        derived: bands that are computed, in order of evaluation.
    """

    kept: tuple[str, ...]
    read: tuple[str, ...]
    derived: tuple[Derived, ...]


def assign_roles(
    files: Sequence[SceneFile],
    settings: StackSettings,
    problems: Problems,
    sensor: Sensor | None = None,
) -> tuple[Bands, str]:
    """Tell data from masks, name the bands, pick those wanted, pair scenes with masks.

    Args:
        files: dated files with headers; changed in place.
        settings: --bands and --mask.
        problems: gathers files that cannot be used.
        sensor: says which masks belong to it and which bands are flags, or None.
    Returns:
        What the cube holds; a sentence on the mask.
    Raises:
        InputError: the bands are mixed, unknown, or there is no such mask.
    """
    parts, common = label_scenes(files)
    for file, part in zip(files, parts, strict=True):
        file.parts = part
    choice = mask_choice(
        settings.mask,
        settings.mask_values,
        clear_values=settings.clear_values,
        bits=settings.mask_bits,
        preferred=sensor.masks if sensor else (),
    )
    masks = find_masks(files, choice, settings)
    data = [f for f in files if f.role == "data"]
    if not data:
        raise InputError(
            "All files are masks; there is no data to stack.",
            remedy="Add the data files, or name the mask with --mask.",
        )
    names = _by_meaning(data, _band_names(data, common, masks), sensor)
    flags = _flags(data, names, sensor)
    bands = _choose_bands(data, names, masks, settings, problems, flags, sensor)
    pair_masks(files, data, masks, problems)
    problems.settle(len(files))
    return bands, masks.text


def _by_meaning(
    data: Sequence[SceneFile], names: dict[str, dict[int, str]], sensor: Sensor | None
) -> dict[str, dict[int, str]]:
    """The names, or what bands measure if one name means different things in different files.

    B4 is near infrared on Landsat 7 and red on Landsat 8; a folder of both has bands red and nir.
    """
    if sensor is None:
        return names
    meanings: dict[str, set[str]] = defaultdict(set)
    for file in data:
        for name in names[file.key].values():
            band = sensor.band(name, file.key)
            meanings[name].add(ROLE_WORDS.get(band.role, name) if band else name)
    unclear = sorted(name for name, found in meanings.items() if len(found) > 1)
    if not unclear:
        return names
    result: dict[str, dict[int, str]] = {}
    for file in data:
        result[file.key] = {
            number: ROLE_WORDS.get(band.role, name) if band else name
            for number, name in names[file.key].items()
            for band in (sensor.band(name, file.key),)
        }
        if len(result[file.key]) == 1:  # what tells this file apart is its band
            file.parts = replace(file.parts, label=next(iter(result[file.key].values())))
    log.warning(
        "%s is not the same band in all files (%s); bands are named by what they measure.",
        unclear[0],
        ", ".join(sorted(meanings[unclear[0]])),
    )
    return result


def _flags(
    data: Sequence[SceneFile], names: dict[str, dict[int, str]], sensor: Sensor | None
) -> set[str]:
    """Bands that the sensor calls flags, unless it calls all of them so."""
    if sensor is None:
        return set()
    told = {
        name: band.flag
        for file in data
        for name in names[file.key].values()
        if (band := sensor.band(name, file.key)) is not None
    }
    every = {name for file in data for name in names[file.key].values()}
    flags = {name for name, flag in told.items() if flag}
    return set() if flags == every else flags


def _band_names(
    data: Sequence[SceneFile], common: str, masks: FoundMasks
) -> dict[str, dict[int, str]]:
    """Cube names of each data file's bands: key -> band number -> name."""
    labels = {f.parts.label for f in data}
    own = {f.key: file_bands(f.header) for f in data if f.header is not None}
    masked = {f.key: masks.bands.get(f.key, set()) for f in data}
    multi = {f.parts.label for f in data if len(set(own[f.key][0]) - masked[f.key]) > 1}
    first: dict[str, set[str]] = defaultdict(set)
    for file in data:
        names, given = own[file.key]
        first[file.parts.label].add(next(iter(names.values())) if given and names else "")
    result = {}
    for file in data:
        label = file.parts.label
        names = {n: name for n, name in own[file.key][0].items() if n not in masked[file.key]}
        if label in multi:
            prefix = f"{label}_" if len(labels) > 1 and label else ""
            names = {n: f"{prefix}{name}" for n, name in names.items()}
        else:
            described = next(iter(first[label])) if len(first[label]) == 1 else ""
            names = dict.fromkeys(names, label or described or common or "band_1")
        result[file.key] = names
    return result


def _choose_bands(
    data: Sequence[SceneFile],
    names: dict[str, dict[int, str]],
    masks: FoundMasks,
    settings: StackSettings,
    problems: Problems,
    flags: set[str],
    sensor: Sensor | None,
) -> Bands:
    groups: dict[str, list[SceneFile]] = defaultdict(list)
    for file in data:
        groups[file.parts.label].append(file)
    usual: dict[str, tuple[str, ...]] = {}
    universe: list[str] = []
    for label in sorted(groups, key=natural):
        signatures = Counter(tuple(names[f.key].values()) for f in groups[label])
        usual[label] = max(signatures, key=lambda s: (signatures[s], s))
        universe += [name for name in usual[label] if name not in universe]
        universe += [n for s in sorted(signatures) for n in s if n not in universe]
    sets = [usual[label] for label in sorted(groups, key=natural)]
    common = [name for names in sets for name in names if name not in flags]
    never = {
        file_bands(f.header)[0][n].casefold()
        for f in data
        if f.header is not None
        for n in masks.bands.get(f.key, ())
    }
    for file in data:
        file.bands = {name: number for number, name in names[file.key].items()}
    source = universe if settings.bands else list(dict.fromkeys(common))
    derived = parse_derived(settings, source, role_bands(sensor, source, data))
    kept, bands = kept_bands(settings.bands, source, derived, sorted(never))
    _refuse_mixed(groups, names, usual, bands, bool(settings.bands), problems)
    for file in data:
        numbers = {name: number for number, name in names[file.key].items()}
        file.bands = {band: numbers[band] for band in bands if band in numbers}
        if file.used and not file.bands:
            file.skip("holds none of the bands that are picked")
    _refuse_rare(data, bands, problems)
    read = tuple(b for b in bands if any(f.used and b in f.bands for f in data))
    gone = set(bands) - set(read)
    return Bands(
        tuple(name for name in kept if name not in gone), read, needed_derived(kept, derived)
    )


def _refuse_mixed(
    groups: dict[str, list[SceneFile]],
    names: dict[str, dict[int, str]],
    usual: dict[str, tuple[str, ...]],
    bands: tuple[str, ...],
    picked: bool,
    problems: Problems,
) -> None:
    """Files of several bands must all have the same, or at least all those picked."""
    odd = []
    for label, members in groups.items():
        needed = set(usual[label]) & set(bands)
        for file in members:
            has = tuple(names[file.key].values())
            if (needed - set(has)) if picked else (has != usual[label]):
                odd.append((file, has))
    for file, has in odd:
        problems.add(
            file,
            SceneError(
                f"Mixed bands: {file.key} has {listed(has)}; most files have "
                f"{listed(usual[file.parts.label])}.",
                where=[f"also: {other.key}" for other, _ in odd[1:4]],
                remedy="Pick bands that all have with --bands, or leave such files out with "
                "--on-error quarantine.",
            ),
        )
    problems.settle(sum(len(m) for m in groups.values()))


def _refuse_rare(data: Sequence[SceneFile], bands: tuple[str, ...], problems: Problems) -> None:
    """A band that most steps lack makes a cube of gaps."""
    steps = {f.time for f in data if f.used}
    for band in bands:
        holders = [f for f in data if f.used and band in f.bands]
        if 2 * len({f.time for f in holders}) >= len(steps):
            continue
        for file in holders:
            file.bands.pop(band)
            if not file.bands:
                problems.add(
                    file,
                    SceneError(
                        f"Mixed bands: '{band}' is there at {len({f.time for f in holders})} of "
                        f"{len(steps)} times only.",
                        where=[f.key for f in holders[:3]],
                        remedy="Pick bands that most times have with --bands, or leave such "
                        "files out with --on-error quarantine.",
                    ),
                )
    problems.settle(len(data))
