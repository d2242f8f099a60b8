"""Which files and bands are data, which are masks, and which mask belongs to which scene."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geoforecast.errors import InputError, SceneError, SettingsError, did_you_mean
from geoforecast.raster.geotiff import Header
from geoforecast.settings import StackSettings
from geoforecast.stack.labels import label_scenes
from geoforecast.stack.masks import UNCLEAR, MaskChoice, MaskProfile, mask_choice
from geoforecast.stack.names import file_bands, natural
from geoforecast.stack.scenes import MaskSource, Problems, SceneFile

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Masks:
    """The mask that is applied, and the bands that are masks.

    Attributes:
        profile: what its values mean; None if there is none.
        own: file key -> number of the mask band inside a data file.
        bands: file key -> numbers of all mask bands, which are never data.
        text: a sentence for people.
    """

    profile: MaskProfile | None
    own: dict[str, int]
    bands: dict[str, set[int]]
    text: str


def assign_roles(
    files: Sequence[SceneFile], settings: StackSettings, problems: Problems
) -> tuple[tuple[str, ...], str]:
    """Tell data from masks, name the bands, pick those wanted, pair scenes with masks.

    Args:
        files: dated files with headers; changed in place.
        settings: --bands and --mask.
        problems: gathers files that cannot be used.
    Returns:
        The cube's bands; a sentence on the mask.
    Raises:
        InputError: the bands are mixed, unknown, or there is no such mask.
    """
    parts, common = label_scenes(files)
    for file, part in zip(files, parts, strict=True):
        file.parts = part
    choice = mask_choice(settings.mask, settings.mask_values)
    masks = _find_masks(files, choice, settings)
    data = [f for f in files if f.role == "data"]
    if not data:
        raise InputError(
            "All files are masks; there is no data to stack.",
            remedy="Add the data files, or name the mask with --mask.",
        )
    names = _band_names(data, common, masks)
    bands = _choose_bands(data, names, masks, settings, problems)
    _pair_masks(files, data, masks, problems)
    problems.settle(len(files))
    return bands, masks.text


def _find_masks(files: Sequence[SceneFile], choice: MaskChoice, settings: StackSettings) -> _Masks:
    """Mark mask files, and find mask bands inside data files."""
    by_label: dict[str, MaskProfile] = {}
    in_file: dict[str, dict[int, tuple[str, MaskProfile]]] = defaultdict(dict)
    looking = choice if choice.profile or choice.auto else MaskChoice(None, "", True)
    for file in files:
        label = file.parts.label
        found = looking.matches(label) if label else None
        if found is None and choice.name:
            found = next((p for t in label.split("_") if (p := looking.matches(t))), None)
        if found:
            by_label[label] = found
        elif label and UNCLEAR.fullmatch(label) and not choice.name:
            by_label.setdefault(label, _UNCLEAR_PROFILE)
        if file.header is not None and file.header.count > 1:
            for number, name in file_bands(file.header)[0].items():
                if profile := looking.matches(name):
                    in_file[file.key][number] = (name, profile)
    for file in files:
        if file.parts.label in by_label:
            file.role = "mask"
    counts: Counter[str] = Counter(f.parts.label for f in files if f.role == "mask")
    counts.update(name for found in in_file.values() for name, _ in found.values())
    known = {**by_label, **{n: p for found in in_file.values() for n, p in found.values()}}
    taken = _take(counts, known, choice, files)
    for file in files:
        if file.role == "mask" and file.parts.label != taken:
            file.skip("a mask, and not the one that is applied")
    bands = {key: set(found) for key, found in in_file.items()}
    if not taken:
        return _Masks(None, {}, bands, "Mask: none.")
    own = {
        key: number
        for key, found in in_file.items()
        for number, (name, _) in found.items()
        if name == taken and taken not in by_label
    }
    profile = known[taken]
    text = f"Mask: '{taken}' as {profile.name} ({profile.description})"
    if settings.mask_values:
        text += f", unusable by --mask-values: {', '.join(map(str, settings.mask_values))}"
    text += f", grown by {settings.dilate} px (square)" if settings.dilate else ""
    return _Masks(profile, own, bands, f"{text}; 255 and nodata are unusable too.")


_UNCLEAR_PROFILE = MaskProfile("unclear", "", 99, ())


def _take(
    counts: Counter[str],
    known: dict[str, MaskProfile],
    choice: MaskChoice,
    files: Sequence[SceneFile],
) -> str:
    """The name of the mask to apply, or ""."""
    clear = [name for name in counts if known[name] is not _UNCLEAR_PROFILE]
    if choice.profile is None and not choice.auto:
        return ""
    if clear:
        taken = min(clear, key=lambda name: (-counts[name], known[name].priority, name))
        for other in sorted(set(counts) - {taken}):
            log.warning("'%s' looks like a mask too; it is left out.", other)
        return taken
    if choice.profile is not None:
        labels = {f.parts.label for f in files} - {""}
        names = {n for f in files if f.header for n in file_bands(f.header)[0].values()}
        raise InputError(
            f"No mask is found for --mask {choice.name or choice.profile.name}.",
            remedy="File-name parts and band names here: "
            f"{', '.join(sorted(labels | names)) or 'none'}. Give PROFILE:NAME.",
        )
    if counts:
        name = min(counts)
        raise SettingsError(
            f"'{name}' looks like a mask, but whether 1 means usable is unclear.",
            where=next(f.key for f in files if f.parts.label == name),
            remedy=f"Say it: --mask cloud:{name} (1 = unusable), --mask clear:{name} "
            "(1 = usable), or --mask none.",
        )
    return ""


def _band_names(data: Sequence[SceneFile], common: str, masks: _Masks) -> dict[str, dict[int, str]]:
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
    masks: _Masks,
    settings: StackSettings,
    problems: Problems,
) -> tuple[str, ...]:
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
    common = [name for label in sorted(groups, key=natural) for name in usual[label]]
    never = {
        file_bands(f.header)[0][n].casefold()
        for f in data
        if f.header is not None
        for n in masks.bands.get(f.key, ())
    }
    bands = _picked(settings.bands, universe, never) or tuple(dict.fromkeys(common))
    _refuse_mixed(groups, names, usual, bands, bool(settings.bands), problems)
    for file in data:
        numbers = {name: number for number, name in names[file.key].items()}
        file.bands = {band: numbers[band] for band in bands if band in numbers}
        if file.used and not file.bands:
            file.skip("holds none of the bands that are picked")
    _refuse_rare(data, bands, problems)
    return tuple(b for b in bands if any(f.used and b in f.bands for f in data))


def _picked(wanted: Sequence[str], universe: list[str], masks: set[str]) -> tuple[str, ...]:
    result = []
    by_name = {name.casefold(): name for name in universe}
    for item in wanted:
        name = by_name.get(item.casefold())
        if name is None and item.isdigit() and 1 <= int(item) <= len(universe):
            name = universe[int(item) - 1]
        if name is None and item.casefold() in masks:
            raise InputError(
                f"--bands {item} is the mask, which is never data.",
                remedy=f"Pick from: {', '.join(universe)}.",
            )
        if name is None:
            raise InputError(
                f"There is no band '{item}' among {len(universe)}.",
                where=f"bands: {', '.join(universe)}",
                remedy=did_you_mean(item, universe),
            )
        result.append(name)
    return tuple(dict.fromkeys(result))


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
                f"Mixed bands: {file.key} has {', '.join(has)}; most files have "
                f"{', '.join(usual[file.parts.label])}.",
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


def _pair_masks(
    files: Sequence[SceneFile],
    data: Sequence[SceneFile],
    masks: _Masks,
    problems: Problems,
) -> None:
    """Give each scene its mask: a band of its own, else the best fitting file of its time."""
    candidates: dict[np.datetime64, list[SceneFile]] = defaultdict(list)
    for file in files:
        if file.role == "mask" and file.used and file.time is not None:
            candidates[file.time].append(file)
    used = [f for f in data if f.used]
    taken: set[str] = set()
    for file in used:
        if masks.profile is None:
            break
        if file.header is not None and file.key in masks.own:
            file.mask = MaskSource(file.key, file.header, masks.own[file.key], masks.profile)
        elif file.time is not None:
            best = _best_mask(file, candidates.get(file.time, []))
            if best is not None and best.header is not None:
                taken.add(best.key)
                number = _mask_band(best.header, masks.profile)
                file.mask = MaskSource(best.key, best.header, number, masks.profile)
    masked = sum(f.mask is not None for f in used)
    for file in used:
        if masked and file.mask is None:
            problems.add(
                file,
                SceneError(
                    f"{file.key} has no mask of its own, while {masked} of {len(used)} files do.",
                    remedy="Add the mask, or use --on-error quarantine or --mask none.",
                ),
            )
    for here in candidates.values():
        for mask in here:
            if mask.key not in taken:
                mask.skip("the mask of no scene that is used")


def _best_mask(file: SceneFile, here: list[SceneFile]) -> SceneFile | None:
    """The mask of the same time in the same folder, of the same tile, on the same grid."""

    def fit(mask: SceneFile) -> tuple[int, bool, bool]:
        same_grid = (
            file.header is not None
            and mask.header is not None
            and mask.header.grid == file.header.grid
        )
        shared = len(file.parts.rest & mask.parts.rest)
        return shared, mask.folder == file.folder, same_grid

    ranked = sorted(here, key=lambda mask: (fit(mask), mask.key), reverse=True)
    if len(ranked) > 1 and fit(ranked[0]) == fit(ranked[1]):
        log.warning("%s: two masks fit, %s is taken.", file.key, ranked[0].key)
    return ranked[0] if ranked else None


def _mask_band(header: Header, profile: MaskProfile) -> int:
    """The band of a mask file that is the mask; the first unless a name says otherwise."""
    names = file_bands(header)[0]
    return next((number for number, name in names.items() if profile.recognises(name)), 1)
