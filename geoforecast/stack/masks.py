"""Which pixels a cloud mask leaves usable. What each kind of mask means is data: a TOML file
of mask_profiles/ for each.

Whatever the profile, 255 and the mask's own nodata value are never usable, nor is a place
that the mask does not cover.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoforecast.errors import SettingsError, did_you_mean
from geoforecast.raster.geotiff import not_nodata

ALWAYS_UNUSABLE = 255
NONZERO = "nonzero"
# Names that say "mask" but not which way round.
UNCLEAR = re.compile(r"mask|msk|qa|quality|qc", re.IGNORECASE)


@dataclass(frozen=True)
class Bits:
    """A bit field of a mask and its values that mean unusable; none listed: any but 0."""

    first: int
    last: int
    unusable: tuple[int, ...]


@dataclass(frozen=True)
class MaskProfile:
    """What the values of a kind of mask mean.

    Attributes:
        name: of its TOML file.
        description: for log lines.
        priority: lower ones are taken first if several masks are there.
        names: patterns of band names and file-name parts that such masks have.
        unusable: whole values that mean unusable.
        nonzero: every value but 0 means unusable.
        bits: bit fields, each of which can make a pixel unusable.
    """

    name: str
    description: str
    priority: int
    names: tuple[str, ...]
    unusable: tuple[int, ...] = ()
    nonzero: bool = False
    bits: tuple[Bits, ...] = ()

    def recognises(self, name: str) -> bool:
        """Whether a band name or file-name part is one of this kind's."""
        return any(re.fullmatch(pattern, name, re.IGNORECASE) for pattern in self.names)


@cache
def profiles() -> dict[str, MaskProfile]:
    """The known mask profiles by name, the most specific first."""
    found = []
    for item in (resources.files("geoforecast.stack") / "mask_profiles").iterdir():
        if item.name.endswith(".toml"):
            table = tomllib.loads(item.read_text(encoding="utf-8"))
            found.append(_profile(item.name.removesuffix(".toml"), table))
    return {p.name: p for p in sorted(found, key=lambda p: p.priority)}


@dataclass(frozen=True)
class MaskChoice:
    """What --mask asks for.

    Attributes:
        profile: what mask values mean; None for no masking, or for whatever is found.
        name: band name or file-name part of the mask; "" for what the profile recognises.
        auto: look for any known mask.
    """

    profile: MaskProfile | None
    name: str
    auto: bool

    def matches(self, name: str) -> MaskProfile | None:
        """The profile under which a band name or file-name part is the mask, or None."""
        if self.name:
            return self.profile if name.lower() == self.name.lower() else None
        if self.profile is not None:
            # A profile given by name also settles names that do not tell their sense.
            named = self.profile.recognises(name) or UNCLEAR.fullmatch(name)
            return self.profile if named else None
        return next((p for p in profiles().values() if p.recognises(name)), None)


def mask_choice(text: str, values: Sequence[int]) -> MaskChoice:
    """What the settings --mask and --mask-values mean.

    Raises:
        SettingsError: an unknown profile, or a name whose sense is unclear.
    """
    known = profiles()
    if text in ("auto", "none", ""):
        return MaskChoice(None, "", text == "auto")
    head, _, tail = text.partition(":")
    if head.lower() in known:
        return MaskChoice(known[head.lower()], tail, False)
    if tail:
        raise SettingsError(
            f"--mask {text}: there is no mask profile '{head}'.", remedy=did_you_mean(head, known)
        )
    profile = next((p for p in known.values() if p.recognises(text)), None)
    if profile is None and values:
        profile = MaskProfile("values", "--mask-values", 0, (), tuple(values))
    if profile is None:
        raise SettingsError(
            f"--mask {text} does not say what the mask's values mean.",
            remedy=f"Write PROFILE:{text} with one of {', '.join(known)}, such as "
            f"--mask cloud:{text} (1 = unusable) or --mask clear:{text} (1 = usable), or add "
            "--mask-values.",
        )
    return MaskChoice(profile, text, False)


def usable_pixels(
    raw: NDArray[Any],
    profile: MaskProfile,
    *,
    values: Sequence[int] = (),
    nodata: float | None = None,
    dilate: int = 0,
) -> NDArray[np.bool_]:
    """Which pixels a mask leaves usable.

    Args:
        raw: (y, x) mask values.
        profile: what they mean.
        values: values that mean unusable instead of the profile's.
        nodata: the mask's nodata value, or None.
        dilate: grow unusable areas by this many pixels, in a square.
    Returns:
        (y, x) bool, True = usable.
    """
    usable = not_nodata(raw, nodata) & (raw != ALWAYS_UNUSABLE)
    if values:
        usable &= ~np.isin(raw, values)
    else:
        if profile.nonzero:
            usable &= raw == 0
        if profile.unusable:
            usable &= ~np.isin(raw, profile.unusable)
        whole = np.where(usable, raw, 0).astype(np.int64) if profile.bits else raw
        for field in profile.bits:
            part = (whole >> field.first) & ((1 << (field.last - field.first + 1)) - 1)
            usable &= ~np.isin(part, field.unusable) if field.unusable else part == 0
    return _shrunk(usable, dilate) if dilate else usable


def _shrunk(usable: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """Usable areas less all within a square of ``pixels`` around an unusable one."""
    for axis in (0, 1):
        along = np.moveaxis(usable, axis, 0)
        kept = along.copy()
        for shift in range(1, min(pixels, len(along) - 1) + 1):
            kept[shift:] &= along[:-shift]
            kept[:-shift] &= along[shift:]
        usable = np.moveaxis(kept, 0, axis)
    return np.ascontiguousarray(usable)


def _profile(name: str, table: dict[str, Any]) -> MaskProfile:
    unusable = table.get("unusable", [])
    bits = tuple(
        Bits(b["first"], b["last"], tuple(v for v in b["unusable"] if v != NONZERO))
        for b in table.get("bits", [])
    )
    return MaskProfile(
        name=name,
        description=table["description"],
        priority=table["priority"],
        names=tuple(table["names"]),
        unusable=tuple(v for v in unusable if v != NONZERO),
        nonzero=NONZERO in unusable,
        bits=bits,
    )
