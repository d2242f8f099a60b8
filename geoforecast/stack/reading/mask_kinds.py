"""The kinds of masks that are known: a TOML file of mask_profiles/ for each.

A profile lists values that are unusable, or values that alone are usable, or bit fields.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from geoforecast.stack.reading.tables import Table

NONZERO = "nonzero"


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
        told_names: further ones, too common to tell the kind; they count if the sensor or the
            user has told it.
        unusable: whole values that mean unusable.
        nonzero: every value but 0 means unusable.
        bits: bit fields, each of which can make a pixel unusable.
        usable: whole values that alone mean usable; empty for no such rule.
        source: where this is documented.
        usable_example, unusable_example: values that tests decode.
    """

    name: str
    description: str
    priority: int
    names: tuple[str, ...]
    unusable: tuple[int, ...] = ()
    nonzero: bool = False
    bits: tuple[Bits, ...] = ()
    usable: tuple[int, ...] = ()
    told_names: tuple[str, ...] = ()
    source: str = ""
    usable_example: tuple[int, ...] = ()
    unusable_example: tuple[int, ...] = ()

    def recognises(self, name: str, *, told: bool = False) -> bool:
        """Whether a band name or file-name part is one of this kind's.

        Args:
            name: of the band or part.
            told: the sensor or the user says that masks are of this kind.
        """
        patterns = (*self.names, *self.told_names) if told else self.names
        return any(re.fullmatch(pattern, name, re.IGNORECASE) for pattern in patterns)


@cache
def profiles() -> dict[str, MaskProfile]:
    """The known mask profiles by name, the most specific first."""
    found = []
    for item in (resources.files("geoforecast.stack.reading") / "mask_profiles").iterdir():
        if item.name.endswith(".toml"):
            content = tomllib.loads(item.read_text(encoding="utf-8"))
            found.append(profile_from(Table(content, item.name), item.name.removesuffix(".toml")))
    return {p.name: p for p in sorted(found, key=lambda p: (p.priority, p.name))}


def profile_from(table: Table, name: str) -> MaskProfile:
    """A mask profile from its TOML table.

    Raises:
        SettingsError: an unknown key or a wrong value, with the file and the key.
    """
    bits = []
    for field in table.tables("bits"):
        values = field.values("unusable")
        bits.append(Bits(field.integer("first"), field.integer("last"), _numbers(values, field)))
        field.finish()
    example = table.table("example")
    unusable = table.values("unusable", [])
    profile = MaskProfile(
        name=name,
        description=table.text("description"),
        priority=table.integer("priority", 0),
        names=table.patterns("names", ()),
        unusable=_numbers(unusable, table),
        nonzero=NONZERO in unusable,
        bits=tuple(bits),
        usable=table.integers("usable", ()),
        told_names=table.patterns("told_names", ()),
        source=table.text("source", ""),
        usable_example=example.integers("usable", ()),
        unusable_example=example.integers("unusable", ()),
    )
    example.finish()
    table.finish()
    if not (profile.unusable or profile.nonzero or profile.bits or profile.usable):
        raise table.error("", "says of no value what it means", "Give unusable, usable or bits.")
    return profile


def _numbers(values: Sequence[Any], table: Table) -> tuple[int, ...]:
    for value in values:
        if value != NONZERO and (isinstance(value, bool) or not isinstance(value, int)):
            raise table.error("unusable", f"holds {value!r}", f'Give numbers or "{NONZERO}".')
    return tuple(v for v in values if v != NONZERO)
