"""Units that change within a folder: files whose numbers are off by a power of ten, or in kelvin.

Reflectances of 0..1 among those of 0..10000, or kelvins among degrees Celsius, would ruin a
cube without any error. Each file's magnitudes are sampled (a few blocks), and files are
compared with the others of their band. A file is odd only if all of its magnitudes are off by
one and the same power of ten and a gap parts it from the others, so that a storm, a snow
field or a cloudy day, which change the magnitudes unevenly, are left alone.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoforecast.errors import SceneError
from geoforecast.raster.geotiff import not_nodata, open_geotiff, read_pixels
from geoforecast.raster.grid import Tile
from geoforecast.settings import StackSettings
from geoforecast.stack.inventory.scenes import Problems, SceneFile
from geoforecast.stack.reading.readings import Reading

BLOCKS = 3  # looked at besides the one in the middle, if that holds too little
ENOUGH = 20  # usable numbers that are not 0, without which a file is not judged
PLENTY = 500  # such numbers, after which no further block is read
LARGEST, MANY = 2**20, 2**15  # pixels of a block that are read, and of those looked at
QUANTILES = (0.1, 0.5, 0.9)
GAP = 0.5  # decades without any file that part the files of two units
EVEN = 0.3  # decades by which the ratio of a file's high to low magnitudes may differ
NEAR = 0.3  # decades by which odd files, once corrected, may leave the range of the others
MOST = 0.8  # share of odd files that must be like the others once corrected
CLOSE, FAR = 0.25, 0.75  # decades by which medians may be off the power; season does that
# Decades that files may span for a factor of 10 or 100 to be told without a hint.
STEADY = {1: 0.1, 2: 0.6}
KELVIN = 273.15
MAX_CELSIUS, MIN_KELVIN, MAX_KELVIN = 70.0, 180.0, 345.0


@dataclass(frozen=True)
class Look:
    """What a sample of a file's band looks like, as physical values.

    Attributes:
        file: the file.
        levels: log10 of QUANTILES of the magnitudes that are not 0.
        typical: median of the values.
        spread: of the values, between the outer QUANTILES.
        kind: dtype, scale and offset, which often change with the unit.
    """

    file: SceneFile
    levels: tuple[float, ...]
    typical: float
    spread: float
    kind: tuple[str, float, float]


@dataclass(frozen=True)
class Odd:
    """Files of a band in another unit: value = own * 10**power + shift in that of the others."""

    looks: tuple[Look, ...]
    power: int
    shift: float

    def describe(self) -> str:
        if self.shift:
            return "kelvins" if self.shift < 0 else "degrees Celsius"
        factor = 10.0 ** abs(self.power)
        return f"numbers {factor:g} times {'smaller' if self.power > 0 else 'larger'}"


def settle_scales(
    scenes: Sequence[SceneFile], settings: StackSettings, problems: Problems, jobs: int
) -> str:
    """Find files in another unit than most, and refuse them or bring them to it.

    Args:
        scenes: data files with readings; with --per-file-scale those of odd files change.
        settings: --kind, --per-file-scale and --on-error.
        problems: takes the odd files under --on-error quarantine.
        jobs: threads.
    Returns:
        A sentence for people, or "".
    Raises:
        SceneError: files are in another unit and neither option is given.
    """
    if settings.kind == "categorical":
        return ""
    by_band: dict[str, list[Look]] = defaultdict(list)
    for band, look in _looks([file for file in scenes if file.used], jobs):
        by_band[band].append(look)
    texts = []
    for band in sorted(by_band):
        looks = by_band[band]
        for odd in find_odd(looks):
            if settings.per_file_scale:
                texts.append(_correct(odd, band, len(looks)))
            else:
                _refuse(odd, band, looks, problems)
    return " ".join(texts)


def find_odd(looks: Sequence[Look]) -> list[Odd]:
    """Files of one band that are in another unit than most.

    Args:
        looks: of each file; of equally many files those of the first one's unit count as most.
    """
    looks = list(looks)
    kelvin = _kelvin(looks)
    if kelvin is not None:
        strange = set(map(id, kelvin.looks))
        looks = [look for look in looks if id(look) not in strange]
    result = [kelvin] if kelvin else []
    groups = _units(sorted(looks, key=lambda look: look.levels[1]))
    order = {id(look): number for number, look in enumerate(looks)}
    usual = max(groups, key=lambda g: (len(g), -min(order[id(look)] for look in g)), default=[])
    for group in groups:
        if group is not usual:
            result.append(Odd(tuple(group), _power(group, usual), 0.0))
    return result


def _units(looks: list[Look]) -> list[list[Look]]:
    """Files parted by unit, given in ascending order of their median magnitude.

    The widest gap that parts two units is found first, then those on either side of it.
    """
    middle = np.array([look.levels[1] for look in looks])
    gaps = np.diff(middle)
    for cut in np.argsort(-gaps, kind="stable") + 1:
        if gaps[cut - 1] < GAP:
            break
        low, high = looks[:cut], looks[cut:]
        if _power(low, high):
            return [*_units(low), *_units(high)]
    return [looks] if looks else []


def _power(mine: Sequence[Look], theirs: Sequence[Look]) -> int:
    """The power of ten that brings one group to the other; 0 if it is no matter of units."""
    few, many = sorted((mine, theirs), key=len)
    low, high = (np.array([look.levels for look in group]) for group in (few, many))
    apart = float(np.median(high[:, 1]) - np.median(low[:, 1]))
    fits = [
        power
        for power in (4, 2, 3, 1, 5, 6, 7, 8)  # the likeliest units first
        if abs(abs(apart) - power) <= FAR
        and _alike(low + np.sign(apart) * power, high)
        and _certain(power, few, many)
    ]
    close = [power for power in fits if abs(abs(apart) - power) <= CLOSE]
    chosen = next(iter(close or fits), 0)
    return int(np.sign(apart)) * chosen * (1 if few is mine else -1)


def _alike(few: NDArray[np.float64], many: NDArray[np.float64]) -> bool:
    """Whether most of some files, (n, quantile) levels, are within the range of others."""
    inside = ((few >= many.min(axis=0) - NEAR) & (few <= many.max(axis=0) + NEAR)).all(axis=1)
    mine, theirs = (levels[:, -1] - levels[:, 0] for levels in (few, many))
    inside &= (mine >= theirs.min() - EVEN) & (mine <= theirs.max() + EVEN)
    return bool(inside.mean() >= MOST)


def _certain(power: int, few: Sequence[Look], many: Sequence[Look]) -> bool:
    """Whether nature alone would not do it: the closer the units, the more must agree."""
    if power > 2:
        return True
    if {look.kind for look in few}.isdisjoint(look.kind for look in many):
        return True
    spread = max(np.ptp([look.levels[1] for look in group]) for group in (few, many))
    return bool(spread <= STEADY[power]) and len(few) >= 3


def _kelvin(looks: Sequence[Look]) -> Odd | None:
    """Files in kelvin among files in degrees Celsius, or the reverse."""
    hot = [look for look in looks if MIN_KELVIN <= look.typical <= MAX_KELVIN]
    cold = [look for look in looks if abs(look.typical) <= MAX_CELSIUS]
    whole = all(look.kind[0].strip("u").startswith("int") for look in looks)
    plain = {look.kind[1:] for look in looks} == {(1.0, 0.0)}
    if len(looks) < 3 or not hot or not cold or len(hot) + len(cold) < len(looks):
        return None
    if whole and plain:  # counts and days, never temperatures
        return None
    usual, odd = (hot, cold) if len(hot) >= len(cold) else (cold, hot)
    shift = KELVIN if usual is hot else -KELVIN
    low, high = (f(look.typical for look in usual) for f in (min, max))
    margin = max(10.0, high - low)
    # A shift leaves differences within a file as they are; a factor does not.
    least, most = (f(look.spread for look in usual) for f in (min, max))
    fits = all(
        low - margin <= look.typical + shift <= high + margin
        and least / 3 <= look.spread <= most * 3
        for look in odd
    )
    return Odd(tuple(odd), 0, shift) if fits else None


def _looks(scenes: Sequence[SceneFile], jobs: int) -> Iterator[tuple[str, Look]]:
    """A look at each band of each scene that holds enough to judge it by."""
    with ThreadPoolExecutor(jobs) as pool:
        for found in pool.map(_look, scenes):
            yield from found


def _look(file: SceneFile) -> list[tuple[str, Look]]:
    header = file.header
    if header is None or not file.bands:
        return []
    numbers = sorted(set(file.bands.values()))
    values: dict[str, list[NDArray[np.float64]]] = {band: [] for band in file.bands}
    try:
        with open_geotiff(file.path, header) as dataset:
            for tile in _places(header.grid.shape, header.block):
                pixels = read_pixels(dataset, numbers, tile)
                for band, number in file.bands.items():
                    raw = pixels[numbers.index(number)].ravel()
                    thin = raw[:: max(1, raw.size // MANY)]
                    values[band].append(_physical(thin, file.readings[band]))
                if all(sum(map(np.count_nonzero, found)) >= PLENTY for found in values.values()):
                    break
    except (SceneError, OSError):  # told when its pixels are read
        return []
    looks = []
    for band, number in file.bands.items():
        reading = file.readings[band]
        kind = (header.dtypes[number - 1], reading.scale, reading.offset)
        if look := look_at(file, np.concatenate(values[band]), kind):
            looks.append((band, look))
    return looks


def _places(shape: tuple[int, int], block: tuple[int, int]) -> list[Tile]:
    """A few blocks spread over a raster, or parts of them; the one in the middle first."""
    high, wide = min(shape[0], block[0] * math.ceil(64 / block[0])), min(shape[1], block[1])
    down, across = math.ceil(shape[0] / high), math.ceil(shape[1] / wide)
    spread = np.linspace(0, down * across - 1, BLOCKS + 2).round().astype(int)[1:-1].tolist()
    middle = down // 2 * across + across // 2
    tiles = []
    for row, col in (divmod(number, across) for number in dict.fromkeys([middle, *spread])):
        rows = min(high, max(1, LARGEST // wide))
        top, left = row * high, col * wide
        tiles.append(Tile(top, min(top + rows, shape[0]), left, min(left + wide, shape[1])))
    return tiles


def _physical(raw: NDArray[Any], reading: Reading) -> NDArray[np.float64]:
    """Usable values before any conversion, which would bend a power of ten."""
    usable = not_nodata(raw, None)
    for value in reading.nodata:
        usable &= not_nodata(raw, value)
    if reading.low is not None:
        usable &= raw >= reading.low
    if reading.high is not None:
        usable &= raw <= reading.high
    values: NDArray[np.float64] = raw[usable].astype(np.float64)
    return values * reading.scale + reading.offset


def look_at(
    file: SceneFile, values: NDArray[np.float64], kind: tuple[str, float, float]
) -> Look | None:
    """A look at physical values, (n,); None if too few of them are other than 0."""
    values = values[np.isfinite(values)]
    magnitudes = np.abs(values[values != 0])
    if magnitudes.size < ENOUGH:
        return None
    levels = np.log10(np.quantile(magnitudes, QUANTILES)).tolist()
    low, typical, high = np.quantile(values, QUANTILES).tolist()
    return Look(file, tuple(levels), typical, high - low, kind)


def _correct(odd: Odd, band: str, total: int) -> str:
    factor = 10.0**odd.power
    for look in odd.looks:
        reading = look.file.readings[band]
        look.file.readings[band] = replace(
            reading,
            scale=reading.scale * factor,
            offset=reading.offset * factor + odd.shift,
        )
    first = min(look.file.key for look in odd.looks)
    change = f"{odd.shift:+g} added" if odd.shift else f"multiplied by {factor:g}"
    return (
        f"Units: {len(odd.looks)} of {total} files hold {band} as {odd.describe()}; their values "
        f"are {change} (--per-file-scale), such as {first}."
    )


def _refuse(odd: Odd, band: str, looks: Sequence[Look], problems: Problems) -> None:
    strange = {id(look) for look in odd.looks}
    others = [look for look in looks if id(look) not in strange]
    what = f"{len(odd.looks)} of {len(looks)} files hold {band} as {odd.describe()} than most."
    if odd.shift:
        what = f"{len(odd.looks)} of {len(looks)} files hold {band} in {odd.describe()}."
    names = sorted((look.file.key, look.typical) for look in odd.looks)
    where = [f"{key}: typically {value:g}" for key, value in names[:3]]
    where += [f"{len(names) - 3} more"] if len(names) > 3 else []
    usual = np.median([look.typical for look in others])
    where.append(f"most files: typically {usual:g}{_hint(odd.looks, others)}")
    remedy = (
        "Bring them to the unit of most files with --per-file-scale, or leave them out with "
        "--on-error quarantine."
    )
    if not problems.quarantine:
        raise SceneError(what, where=where, remedy=remedy)
    for look in odd.looks:
        if look.file.used:
            own = f"{look.file.key} holds {band} as {odd.describe()} than most files."
            if odd.shift:
                own = f"{look.file.key} holds {band} in {odd.describe()}, most files do not."
            problems.add(look.file, SceneError(own, where=where, remedy=remedy))


def _hint(odd: Sequence[Look], usual: Sequence[Look]) -> str:
    """What else differs: dtype, scale or offset."""
    mine, theirs = (Counter(look.kind for look in group).most_common(1) for group in (odd, usual))
    if not mine or not theirs or mine[0][0] == theirs[0][0]:
        return ""
    names = ("type", "scale", "offset")
    differing = [
        f"{name} {b} against {a}"
        for name, a, b in zip(names, mine[0][0], theirs[0][0], strict=True)
        if a != b
    ]
    return f" ({', '.join(differing)} in these files)"
