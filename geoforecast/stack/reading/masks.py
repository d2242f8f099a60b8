"""Which pixels a cloud mask leaves usable.

What the values mean says the mask's profile, or in its place the user's own --mask-values,
--clear-values and --mask-bits. The mask's own nodata value is never usable, nor is 255 unless
--clear-values or --mask-bits say so, nor is a place that the mask does not cover.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoforecast.errors import SettingsError, did_you_mean
from geoforecast.raster.geotiff import not_nodata
from geoforecast.stack.reading.mask_kinds import Bits, MaskProfile, profiles

ALWAYS_UNUSABLE = 255
# Names that say "mask" but not which way round.
UNCLEAR = re.compile(r"mask|msk|qa|quality|qc", re.IGNORECASE)
# Pixels looked up at a time, so that the indices stay in the processor's cache.
BLOCK = 2**16


@dataclass(frozen=True)
class MaskRule:
    """What makes a pixel usable: a profile, or the user's own rule in its place.

    Attributes:
        profile: what the values mean, if there is no rule of the user's own.
        values: --mask-values, unusable.
        clear_values: --clear-values, the only usable ones.
        bits: --mask-bits, unusable.
        dilate: grow unusable areas by this many mask pixels, in a square.
    """

    profile: MaskProfile
    values: tuple[int, ...] = ()
    clear_values: tuple[int, ...] = ()
    bits: tuple[Bits, ...] = ()
    dilate: int = 0

    def usable(self, raw: NDArray[Any], nodata: float | None = None) -> NDArray[np.bool_]:
        """Which mask pixels are usable.

        Args:
            raw: (y, x) mask values.
            nodata: the mask's nodata value, or None.
        Returns:
            (y, x) bool, True = usable.
        """
        if nodata is not None and math.isnan(nodata):
            nodata = None  # NaN pixels are unusable anyway, and NaN would never be found again
        if raw.dtype.kind in "iu" and raw.dtype.itemsize <= 2:
            table = _looked_up(replace(self, dilate=0), nodata, raw.dtype.str)
            usable = _mapped(raw, table)
        else:
            usable = _decoded(raw, self, nodata)
        return _shrunk(usable, self.dilate) if self.dilate else usable

    def describe(self) -> str:
        """The user's own rule and the dilation, for people; "" if there are none."""
        parts = []
        if self.clear_values:
            parts.append(f"usable only by --clear-values: {', '.join(map(str, self.clear_values))}")
        if self.values:
            parts.append(f"unusable by --mask-values: {', '.join(map(str, self.values))}")
        if self.bits:
            parts.append(f"unusable by --mask-bits: {', '.join(map(_bits_text, self.bits))}")
        if self.dilate:
            parts.append(f"grown by {self.dilate} px (square)")
        return ", ".join(parts)

    @property
    def always(self) -> bool:
        """Whether 255 is unusable whatever the profile says."""
        return not (self.clear_values or self.bits)


def mask_rule(
    profile: MaskProfile,
    *,
    values: Sequence[int] = (),
    clear_values: Sequence[int] = (),
    bits: str = "",
    dilate: int = 0,
) -> MaskRule:
    """The rule that the mask settings make of a profile.

    Raises:
        SettingsError: --mask-bits cannot be read, or the settings contradict each other.
    """
    rule = MaskRule(profile, tuple(values), tuple(clear_values), parse_bits(bits), dilate)
    both = sorted(set(values) & set(clear_values))
    if both:
        raise SettingsError(
            f"{both[0]} is both in --clear-values (usable) and in --mask-values (unusable).",
            remedy="Leave it out of one of them.",
        )
    clear = np.array(rule.clear_values, np.int64)
    lost = clear[~_decoded(clear, rule, None)]
    if lost.size:
        raise SettingsError(
            f"--clear-values {lost[0]} has bits set that --mask-bits {bits} calls unusable.",
            remedy="Leave that value or those bits out.",
        )
    if rule.bits and not _decoded(np.arange(2**16), rule, None).any():
        raise SettingsError(
            f"--mask-bits {bits} leaves no value usable.",
            remedy="List only the values of a field that mean unusable, such as 8-9=2|3.",
        )
    return rule


def parse_bits(text: str) -> tuple[Bits, ...]:
    """The bit fields of --mask-bits.

    Args:
        text: such as "3,4" (unusable if set) or "8-9=2|3" (unusable if the field is 2 or 3).
    Raises:
        SettingsError: it cannot be read, or a value does not fit its field.
    """
    fields = []
    for part in filter(None, (p.strip() for p in text.split(","))):
        found = re.fullmatch(r"(\d{1,2})(?:-(\d{1,2}))?(?:=(\d+(?:\|\d+)*))?", part)
        first = int(found[1]) if found else -1
        last = int(found[2] or first) if found else -1
        numbers = tuple(int(n) for n in found[3].split("|")) if found and found[3] else ()
        if found is None or not first <= last <= 31:
            raise SettingsError(
                f"--mask-bits {text}: '{part}' is no bit field.",
                remedy="Write bits such as 3,4 or fields with their unusable values such as "
                "8-9=2|3; bits are counted from 0 to 31.",
            )
        largest = 2 ** (last - first + 1) - 1
        if any(number > largest for number in numbers):
            raise SettingsError(
                f"--mask-bits {text}: {max(numbers)} does not fit into bits {first}-{last}.",
                remedy=f"A field of {last - first + 1} bits holds 0 to {largest}.",
            )
        fields.append(Bits(first, last, numbers))
    return tuple(fields)


@dataclass(frozen=True)
class MaskChoice:
    """What --mask asks for.

    Attributes:
        profile: what mask values mean; None for no masking, or for whatever is found.
        name: band name or file-name part of the mask; "" for what the profile recognises.
        auto: look for any known mask.
        preferred: profiles of the sensor, looked at before all others.
        own: stands for the user's own rule, under which names of unclear sense are clear.
    """

    profile: MaskProfile | None
    name: str
    auto: bool
    preferred: tuple[MaskProfile, ...] = ()
    own: MaskProfile | None = None

    def matches(self, name: str) -> MaskProfile | None:
        """The profile under which a band name or file-name part is the mask, or None."""
        if self.name:
            return self.profile if name.lower() == self.name.lower() else None
        if self.profile is not None:
            # A profile given by name also settles names that do not tell their sense.
            named = self.profile.recognises(name, told=True) or UNCLEAR.fullmatch(name)
            return self.profile if named else None
        found = next((p for p in self.preferred if p.recognises(name, told=True)), None)
        if found is None:
            found = next((p for p in profiles().values() if p.recognises(name)), None)
        return self.own if found is None and UNCLEAR.fullmatch(name) else found


def mask_choice(
    text: str,
    values: Sequence[int],
    *,
    clear_values: Sequence[int] = (),
    bits: str = "",
    preferred: Sequence[MaskProfile] = (),
) -> MaskChoice:
    """What the mask settings mean.

    Args:
        text: --mask.
        values, clear_values, bits: --mask-values, --clear-values, --mask-bits.
        preferred: mask profiles of the sensor.
    Raises:
        SettingsError: an unknown profile, or a name whose sense is unclear.
    """
    known = {p.name: p for p in preferred} | profiles()
    own = None
    if values or clear_values or bits:
        name = "values" if values else "clear values" if clear_values else "bits"
        own = MaskProfile(name, "your own rule", 0, (), tuple(values))
    if text in ("auto", "none", ""):
        auto = text == "auto"
        return MaskChoice(None, "", auto, tuple(preferred), own if auto else None)
    head, _, tail = text.partition(":")
    if head.lower() in known:
        return MaskChoice(known[head.lower()], tail, False)
    if tail:
        raise SettingsError(
            f"--mask {text}: there is no mask profile '{head}'.", remedy=did_you_mean(head, known)
        )
    profile = next((p for p in known.values() if p.recognises(text)), None) or own
    if profile is None:
        raise SettingsError(
            f"--mask {text} does not say what the mask's values mean.",
            remedy=f"Write PROFILE:{text} with one of {', '.join(known)}, such as "
            f"--mask cloud:{text} (1 = unusable) or --mask clear:{text} (1 = usable), or add "
            "--mask-values, --clear-values or --mask-bits.",
        )
    return MaskChoice(profile, text, False)


def _decoded(raw: NDArray[Any], rule: MaskRule, nodata: float | None) -> NDArray[np.bool_]:
    """Usable pixels, value by value."""
    profile = rule.profile
    usable = not_nodata(raw, nodata)
    if rule.always:
        usable &= raw != ALWAYS_UNUSABLE
    if rule.clear_values or rule.values or rule.bits:
        only, unusable, nonzero, bits = rule.clear_values, rule.values, False, rule.bits
    else:
        only, unusable, nonzero, bits = (
            profile.usable,
            profile.unusable,
            profile.nonzero,
            profile.bits,
        )
    if only:
        usable &= np.isin(raw, only)
    if unusable:
        usable &= ~np.isin(raw, unusable)
    if nonzero:
        usable &= raw == 0
    if bits:
        whole = np.where(usable, raw, 0).astype(np.int64)
        for field in bits:
            part = (whole >> field.first) & ((1 << (field.last - field.first + 1)) - 1)
            usable &= ~np.isin(part, field.unusable) if field.unusable else part == 0
    return usable


@lru_cache(maxsize=64)
def _looked_up(rule: MaskRule, nodata: float | None, dtype: str) -> NDArray[np.bool_]:
    """Usability of every value of an integer type of one or two bytes, by its bit pattern."""
    kind = np.dtype(dtype)
    patterns = np.arange(2 ** (8 * kind.itemsize), dtype=f"u{kind.itemsize}")
    return _decoded(patterns.view(kind), rule, nodata)


def _mapped(raw: NDArray[Any], table: NDArray[np.bool_]) -> NDArray[np.bool_]:
    flat = np.ascontiguousarray(raw).reshape(-1).view(f"u{raw.dtype.itemsize}")
    result = np.empty(raw.size, bool)
    for start in range(0, raw.size, BLOCK):
        # Every pattern is in the table, so "clip" only spares the check.
        table.take(flat[start : start + BLOCK], out=result[start : start + BLOCK], mode="clip")
    return result.reshape(raw.shape)


def _shrunk(usable: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """Usable areas less all within a square of ``pixels`` around an unusable one.

    Runs of 2, 4, 8 .. pixels that are all usable, then two overlapping ones for the full
    length: the passes grow with the logarithm of the distance.
    """
    for axis in (0, 1):
        reach = min(pixels, usable.shape[axis] - 1) if usable.shape[axis] else 0
        margin = [(0, 0), (0, 0)]
        margin[axis] = (reach, reach)
        run = np.pad(usable, margin, constant_values=True)
        length, full = 1, 2 * reach + 1
        while length < full:
            step = min(length, full - length)
            size = run.shape[axis] - step
            front = run[:size] if axis == 0 else run[:, :size]
            back = run[step:] if axis == 0 else run[:, step:]
            run = front & back
            length += step
        usable = run
    return np.ascontiguousarray(usable)


def _bits_text(field: Bits) -> str:
    span = str(field.first) if field.first == field.last else f"{field.first}-{field.last}"
    return f"{span}={'|'.join(map(str, field.unusable))}" if field.unusable else span
