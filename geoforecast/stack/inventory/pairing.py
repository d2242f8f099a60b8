"""The masks of a folder: which files and bands they are, and which belongs to which scene."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geoforecast.errors import InputError, SceneError, SettingsError
from geoforecast.raster.geotiff import Header
from geoforecast.settings import StackSettings
from geoforecast.stack.inventory.names import file_bands
from geoforecast.stack.inventory.scenes import MaskSource, Problems, SceneFile
from geoforecast.stack.reading.mask_kinds import MaskProfile
from geoforecast.stack.reading.masks import UNCLEAR, MaskChoice, MaskRule, mask_rule

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FoundMasks:
    """The mask that is applied, and the bands that are masks.

    Attributes:
        profile: what its values mean; None if there is none.
        rule: what makes a pixel usable; None if there is no mask.
        own: file key -> number of the mask band inside a data file.
        bands: file key -> numbers of all mask bands, which are never data.
        text: a sentence for people.
    """

    profile: MaskProfile | None
    rule: MaskRule | None
    own: dict[str, int]
    bands: dict[str, set[int]]
    text: str


_UNCLEAR_PROFILE = MaskProfile("unclear", "", 99, ())


def find_masks(
    files: Sequence[SceneFile], choice: MaskChoice, settings: StackSettings
) -> FoundMasks:
    """Mark mask files, and find mask bands inside data files."""
    by_label: dict[str, MaskProfile] = {}
    in_file: dict[str, dict[int, tuple[str, MaskProfile]]] = defaultdict(dict)
    looking = choice
    if choice.profile is None and not choice.auto:  # masks are no data, applied or not
        looking = MaskChoice(None, "", True, choice.preferred)
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
        return FoundMasks(None, None, {}, bands, "Mask: none.")
    own = {
        key: number
        for key, found in in_file.items()
        for number, (name, _) in found.items()
        if name == taken and taken not in by_label
    }
    profile = known[taken]
    rule = mask_rule(
        profile,
        values=settings.mask_values,
        clear_values=settings.clear_values,
        bits=settings.mask_bits,
        dilate=settings.dilate,
    )
    details = [f"Mask: '{taken}' as {profile.name} ({profile.description})", rule.describe()]
    also = "255 and nodata are" if rule.always else "nodata is"
    text = f"{', '.join(filter(None, details))}; {also} unusable too."
    return FoundMasks(profile, rule, own, bands, text)


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


def pair_masks(
    files: Sequence[SceneFile],
    data: Sequence[SceneFile],
    masks: FoundMasks,
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
        if masks.profile is None or masks.rule is None:
            break
        if file.header is not None and file.key in masks.own:
            file.mask = MaskSource(
                file.key, file.header, masks.own[file.key], masks.profile, masks.rule
            )
        elif file.time is not None:
            best = _best_mask(file, candidates.get(file.time, []))
            if best is not None and best.header is not None:
                taken.add(best.key)
                number = _mask_band(best.header, masks.profile)
                file.mask = MaskSource(best.key, best.header, number, masks.profile, masks.rule)
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
    told = (number for number, name in names.items() if profile.recognises(name, told=True))
    return next(told, min(names))  # a file whose bands are dates is seen as one of them
