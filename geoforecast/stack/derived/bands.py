"""Bands computed from others at one acquisition time, on the target grid.

Spectral indices go by their names in the table that spyndex carries; expressions are the
user's own. Both become text over band names that `expressions` evaluates in float32.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from geoforecast.errors import InputError, SettingsError, did_you_mean
from geoforecast.settings import StackSettings
from geoforecast.stack.derived.expressions import (
    compute,
    read_expression,
    split_assignments,
    substitute,
)

if TYPE_CHECKING:
    from geoforecast.stack.inventory.scenes import SceneFile

# What bands are called that play a role, in lower case without signs; the longest name wins.
ROLE_NAMES: dict[str, tuple[str, ...]] = {
    "A": ("coastal", "coastalaerosol", "aerosol", "ultrablue"),
    "B": ("blue",),
    "G": ("green",),
    "G1": ("green1", "greeni", "green05"),
    "Y": ("yellow",),
    "R": ("red",),
    "RE1": ("rededge", "rededge1", "re1", "rededge071"),
    "RE2": ("rededge2", "re2", "rededge075"),
    "RE3": ("rededge3", "re3", "rededge078"),
    "N": ("nir", "nir1", "nearinfrared"),
    "N2": ("nir2", "nir08", "nirnarrow", "narrownir", "rededge4"),
    "WV": ("watervapour", "watervapor", "nir09"),
    "S1": ("swir", "swir1", "swir16"),
    "S2": ("swir2", "swir22"),
    "T": ("thermal", "lst", "lwir", "tir"),
    "T1": ("thermal1", "lwir11", "tir1"),
    "T2": ("thermal2", "lwir12", "tir2"),
    "VV": ("vv",),
    "VH": ("vh",),
    "HH": ("hh",),
    "HV": ("hv",),
}
# A role that no band has may be played by the nearest one: Landsat's only infrared is narrow.
UNDERSTUDIES = {"N": "N2", "T": "T1"}
# Huete (1988), Remote Sensing of Environment 25: the soil term L of (1 + L).
SOIL_L = 0.5
_NOT_UNITLESS = {"T", "T1", "T2", "VV", "VH", "HH", "HV", "PAR"}


@dataclass(frozen=True)
class Derived:
    """A band computed from others, pixel by pixel.

    Attributes:
        name: of the band.
        inputs: bands it is computed from, earlier derived ones among them.
        unit: of its values, or "" if that cannot be told.
        text: the arithmetic over band names, as `expressions.compute` takes it.
        absolute: its constants hold for reflectance from 0 to 1 only, not for raw numbers.
    """

    name: str
    inputs: tuple[str, ...]
    unit: str
    text: str
    absolute: bool = False

    def evaluate(
        self, values: Mapping[str, NDArray[np.float32]], valid: Mapping[str, NDArray[np.bool_]]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """The band's pixels.

        Args:
            values: band -> float32 in physical units, anything where invalid; one shape.
            valid: band -> bool, True = usable.
        Returns:
            values, NaN where invalid; valid: all inputs are, and the result is finite.
        """
        usable = np.ones(np.shape(valid[self.inputs[0]]), bool)
        for name in self.inputs:
            usable &= valid[name]
        result = np.broadcast_to(compute(self.text, values), usable.shape)
        usable &= np.isfinite(result)
        return np.where(usable, result, np.float32(np.nan)), usable


def parse_derived(
    settings: StackSettings, bands: Sequence[str], roles: Mapping[str, str]
) -> tuple[Derived, ...]:
    """The bands that --index and --expression ask for.

    Args:
        settings: --index, --expression, --kind.
        bands: source bands.
        roles: role, as spyndex calls it (R, N, B, S1, VV ...) -> source band; names of bands
            tell the roles that are missing here.
    Returns:
        In order of evaluation: indices, then expressions; each may use those before it.
    Raises:
        SettingsError: unknown, ambiguous, unreadable, or a band has that name already.
    """
    if settings.kind == "categorical" and (settings.index or settings.expression):
        option = "--index" if settings.index else "--expression"
        raise SettingsError(
            f"{option} computes with numbers; class codes are none (--kind categorical).",
            remedy=f"Leave {option} or --kind categorical out.",
        )
    derived: list[Derived] = []
    if settings.index:
        cast = {**guess_roles(bands), **{r: b for r, b in roles.items() if b in bands}}
        for name in dict.fromkeys(settings.index):
            item = _index(name, cast, bands)
            _refuse_shadow(item.name, "--index", bands, derived)
            derived.append(item)
    for name, text in split_assignments(settings.expression):
        _refuse_shadow(name, "--expression", bands, derived)
        known = [*bands, *(item.name for item in derived)]
        canonical, inputs = read_expression(text, known)
        derived.append(Derived(name, inputs, "", canonical))
    return tuple(derived)


def kept_bands(
    wanted: Sequence[str],
    source_bands: Sequence[str],
    derived: Sequence[Derived],
    masks: Sequence[str] = (),
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Which bands the cube holds, and which source bands must be read for them.

    Args:
        wanted: --bands, names in any case or numbers that count source bands, then derived
            ones, from 1; empty keeps all.
        source_bands: in the order of the files.
        derived: from `parse_derived`.
        masks: names of bands that are masks.
    Returns:
        The cube's bands, as wanted; the source bands to read, in their own order.
    Raises:
        InputError: there is no such band.
    """
    universe = [*source_bands, *(item.name for item in derived)]
    by_name = {name.casefold(): name for name in universe}
    kept = []
    for item in wanted or universe:
        name = item if item in universe else by_name.get(item.casefold())
        if name is None and item.isdecimal() and 1 <= int(item) <= len(universe):
            name = universe[int(item) - 1]
        if name is None and item.casefold() in {mask.casefold() for mask in masks}:
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
        kept.append(name)
    needed = {name for item in needed_derived(kept, derived) for name in item.inputs} | {*kept}
    return tuple(dict.fromkeys(kept)), tuple(name for name in source_bands if name in needed)


def needed_derived(kept: Sequence[str], derived: Sequence[Derived]) -> tuple[Derived, ...]:
    """Those derived bands that are kept or that a kept one is computed from, in order."""
    needed = set(kept)
    for item in reversed(derived):
        if item.name in needed:
            needed |= {*item.inputs}
    return tuple(item for item in derived if item.name in needed)


def guess_roles(bands: Sequence[str]) -> dict[str, str]:
    """Role -> band, by what bands are called: ``sr_red`` is R, ``NIR`` is N.

    A role that two bands could play is left out.
    """
    places = {word: role for role, words in ROLE_NAMES.items() for word in words}
    found: dict[str, list[str]] = {}
    for band in bands:
        tokens = re.findall(r"[a-z]+|[0-9]+", band.casefold())
        runs = {
            "".join(tokens[start:stop])
            for start in range(len(tokens))
            for stop in range(start + 1, len(tokens) + 1)
        }
        known = max(runs & places.keys(), key=len, default="")
        role = band if band in ROLE_NAMES else places.get(known)
        if role is not None:
            found.setdefault(role, []).append(band)
    return {role: names[0] for role, names in found.items() if len(names) == 1}


def raw_number_doubts(derived: Sequence[Derived], scenes: Sequence[SceneFile]) -> tuple[str, ...]:
    """Sentences on indices that expect reflectance but would be fed raw numbers.

    Args:
        derived: from `parse_derived`.
        scenes: data files with headers and readings.
    """
    sentences = []
    for item in derived:
        for file in scenes if item.absolute else ():
            raw = [
                f"{band} of {file.key} is {file.header.dtypes[number - 1]} without a scale"
                for band, number in file.bands.items()
                if file.header is not None
                and band in item.inputs
                and np.dtype(file.header.dtypes[number - 1]).kind in "iu"
                and band in file.readings
                and file.readings[band].scale == 1
            ]
            if raw:
                sentences.append(
                    f"{item.name} holds constants for reflectance from 0 to 1, but {raw[0]}; "
                    "give it, such as --scale 0.0001."
                )
                break
    return tuple(sentences)


def _refuse_shadow(
    name: str, option: str, bands: Sequence[str], derived: Sequence[Derived]
) -> None:
    taken = {band.casefold(): band for band in [*bands, *(item.name for item in derived)]}
    if name.casefold() in taken:
        raise SettingsError(
            f"{option} {name} has the name of a band that is there: {taken[name.casefold()]}.",
            where=f"bands: {', '.join(taken.values())}",
            remedy="Leave it out, or derive it under another name with --expression.",
        )


@lru_cache(maxsize=1)
def _table() -> tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]]:
    """Indices, constants and bands as spyndex knows them."""
    import spyndex

    return spyndex.indices, spyndex.constants, spyndex.bands


def index_formula(name: str) -> str:
    """The formula of the index of that very name, or "" if spyndex knows none."""
    indices, _, _ = _table()
    return str(indices[name].formula) if name in indices else ""


def _index(wanted: str, roles: Mapping[str, str], bands: Sequence[str]) -> Derived:
    indices, constants, _ = _table()
    alike = [name for name in indices if name.casefold() == wanted.casefold()]
    if wanted in indices:
        alike = [wanted]
    if len(alike) != 1:
        hint = f"Write {' or '.join(alike)}." if alike else _nearest(wanted, indices)
        raise SettingsError(f"--index {wanted} is no index that spyndex knows.", remedy=hint)
    name = alike[0]
    formula = re.sub(r"\bk([A-Z])([A-Z])\b", _kernel, str(indices[name].formula))
    soil = "(1.0+L)" in formula or "(1+L)" in formula
    places: dict[str, str | float] = {}
    missing: list[str] = []
    for symbol in dict.fromkeys(re.findall(r"\b[A-Za-z]\w*(?!\w*\()", formula)):
        role = symbol if symbol in roles else UNDERSTUDIES.get(symbol, symbol)
        if symbol in constants and constants[symbol].default is not None:
            default = float(constants[symbol].default)
            own = {"L": SOIL_L} if soil else {"epsilon": 1e-10} if name.startswith("WCI") else {}
            places[symbol] = own.get(symbol, default)
        elif role in roles:
            places[symbol] = roles[role]
        else:
            missing.append(symbol)
    if missing:
        raise _missing(name, missing, formula, roles, bands)
    text = substitute(formula, places)
    unit = "nm" if name == "S2REP" else "" if _NOT_UNITLESS & places.keys() else "1"
    inputs = tuple(dict.fromkeys(str(p) for p in places.values() if isinstance(p, str)))
    return Derived(name, inputs, unit, text, unit == "1" and _is_absolute(text, inputs))


def _kernel(match: re.Match[str]) -> str:
    """The RBF kernel k(a, b) with its length scale at the mean of a and b.

    Source:
        Camps-Valls et al. (2021), Science Advances 7, eabc7447.
    """
    a, b = match.groups()
    return "1.0" if a == b else f"exp(-({a}-{b})**2/(2.0*(0.5*({a}+{b}))**2))"


def _is_absolute(text: str, inputs: Sequence[str]) -> bool:
    """Whether values ten thousand times as large would give another picture.

    They do not if every pixel's result changes by the same factor.
    """
    rng = np.random.default_rng(0)
    small = {name: rng.uniform(0.05, 0.5, 32).astype(np.float32) for name in inputs}
    large = {name: np.float32(1e4) * values for name, values in small.items()}
    with np.errstate(all="ignore"):
        ratio = compute(text, large) / compute(text, small)
    ratio = ratio[np.isfinite(ratio)]
    return not (ratio.size and np.allclose(ratio, ratio[0], rtol=1e-2, atol=0))


def _nearest(wanted: str, names: Mapping[str, Any]) -> str:
    """A near name whatever the case; never all of hundreds."""
    by_fold = {name.casefold(): name for name in names}
    hint = did_you_mean(wanted.casefold(), by_fold)
    found = re.fullmatch(r"Did you mean '(.+)'\?", hint)
    if found:
        return f"Did you mean '{by_fold[found[1]]}'?"
    return f"It knows {len(names)}, such as NDVI, EVI, NDWI and NBR; or write an --expression."


def _missing(
    name: str, missing: Sequence[str], formula: str, roles: Mapping[str, str], bands: Sequence[str]
) -> SettingsError:
    _, constants, roles_known = _table()
    said = []
    for symbol in missing:
        text = roles_known[symbol].long_name if symbol in roles_known else ""
        text = constants[symbol].description if symbol in constants else text
        said.append(f"{symbol} ({text})" if text else symbol)
    what = f"--index {name} needs {', '.join(said)}"
    written = f'--expression "{name} = {formula}"'
    if any(symbol in constants for symbol in missing):
        return SettingsError(
            f"{what}, of which not all have one value for all sensors.",
            remedy=f"Write the index out with your bands and numbers: {written}.",
        )
    cast = ", ".join(f"{role} = {band}" for role, band in sorted(roles.items()))
    return SettingsError(
        f"{what}, which no band here is known to be.",
        where=(f"bands: {', '.join(bands)}", f"known: {cast or 'none'}"),
        remedy=f"Name the sensor with --sensor, or write the index out over your bands: {written}.",
    )
