"""What only pixels tell: whether an offset is still in them, whether they are decibels."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoforecast.errors import SceneError
from geoforecast.raster.geotiff import Header, glimpse
from geoforecast.stack.inventory.scenes import SceneFile
from geoforecast.stack.reading.sensors.sensor import OffsetRule, Sensor, compiled, tags_of
from geoforecast.system import granted_cpus

# An offset of 1000 puts a reflectance of 0 at 1000. Raw numbers under 800 would be reflectances
# under -0.02: rare, whatever the ground. Without the offset they are under 0.08, which is what
# water, shadow and plants have in visible light. All are fractions of the offset, so that the
# rule holds for others than Sentinel-2's.
DARK = 0.8
DARK_SHARE = 0.05  # more of them than this: the offset is gone
NO_DARK_SHARE = 0.001  # fewer than this in each band: the offset may be there
# With the offset, the darkest hundredth of different bands lies just above it in each of them;
# bright ground without it has dark ends that differ from band to band. On 26 dates of real
# reflectances (128 x 128 pixels in Portugal, June to November) the rule was never wrong: without
# the offset it said "gone" to 24 and with it "held" to 17; the rest, cloudy or hazy, were unclear.
DARKEST = 1.3
DARKEST_PERCENT = 1
SPECIAL = 65535  # saturated
FEW = 100  # fewer valid pixels tell nothing
SAMPLED_BANDS = 3
# Bands that show dark ground, best first.
TELLING = ("R", "B", "G", "S2", "S1", "N")


@dataclass(frozen=True)
class Offsets:
    """What to add to raw numbers before scaling.

    Attributes:
        raw: file key -> number; 0 for those that hold no offset.
        seen: file key -> what its pixels alone say: "held", "gone" or "unclear".
        text: a sentence for people.
        doubt: a warning, or "".
    """

    raw: dict[str, float]
    seen: dict[str, str]
    text: str
    doubt: str


NO_OFFSETS = Offsets({}, {}, "", "")


def settle_offsets(scenes: Sequence[SceneFile], sensor: Sensor) -> Offsets:
    """Which scenes hold the sensor's offset, by version of the processing and by pixels.

    From the version with the offset on, it is taken to be there unless pixels show that someone
    has taken it out already. Where no version is known, pixels decide if they are clear, one
    time like the other; else the numbers stay as they are, and that is said aloud.
    """
    rule = sensor.offset_rule
    if rule is None or not scenes:
        return NO_OFFSETS
    groups: dict[tuple[object, int | None], list[SceneFile]] = defaultdict(list)
    for file in scenes:
        groups[file.time, version_of(file, rule)].append(file)
    late = {g: f for g, f in groups.items() if g[1] is not None and g[1] >= rule.minimum}
    unknown = {g: f for g, f in groups.items() if g[1] is None}
    held = dict.fromkeys(groups, False)
    seen: dict[str, str] = {}
    counts: Counter[str] = Counter()
    counts["older"] = len(groups) - len(late) - len(unknown)
    for members, usual in ((late, True), (unknown, False)):
        states = _states(members, sensor, rule)
        clear = {state for state in states.values() if state != "unclear"}
        for group in members:
            state = states[group]
            seen |= {file.key: state for file in members[group]}
            if state == "unclear" and len(clear) == 1:
                state = next(iter(clear))  # one hand prepared them all
            held[group] = usual if state == "unclear" else state == "held"
            counts[("late" if usual else "unknown") + " " + state] += 1
    raw = {f.key: rule.raw if held[g] else 0.0 for g, files in groups.items() for f in files}
    return Offsets(raw, seen, _offset_text(rule, counts), _doubt(rule, counts, len(groups)))


def version_of(file: SceneFile, rule: OffsetRule) -> int | None:
    """The version of the processing by a scene's path or tags, as a whole number; or None."""
    for pattern in rule.version_names:
        if found := compiled(pattern).search(file.key):
            return int(found[1])
    told = tags_of(file.header) if file.header else {}
    for tag in rule.version_tags:
        try:
            return round(100 * float(told[tag].strip().lstrip("Nn")))
        except (KeyError, ValueError):
            continue
    return None


def offset_state(samples: Iterable[NDArray[Any]], offset: float) -> str:
    """Whether raw numbers of different bands of one time hold an offset.

    Args:
        samples: raw pixels of a band each.
        offset: what would be added to take it out, such as -1000.
    Returns:
        "held", "gone" or "unclear".
    """
    shares, darkest = [], []
    size = abs(offset)
    for sample in samples:
        valid = sample[(sample != 0) & (sample != SPECIAL)]
        if valid.size >= FEW:
            shares.append(float(np.mean(valid < DARK * size)))
            darkest.append(float(np.percentile(valid, DARKEST_PERCENT)))
    if any(share > DARK_SHARE for share in shares):
        return "gone"
    dark = sum(value <= DARKEST * size for value in darkest)
    if dark >= 2 and all(share < NO_DARK_SHARE for share in shares):
        return "held"
    return "unclear"


def is_decibel(sample: NDArray[Any], nodata: Sequence[float]) -> bool:
    """Whether pixels of backscatter are decibels: linear power is practically never negative."""
    valid = sample[np.isfinite(sample.astype(np.float64)) & ~np.isin(sample, nodata)]
    return bool(valid.size and np.mean(valid < 0) > 0.5)


def decibel_states(scenes: Sequence[SceneFile], sensor: Sensor) -> dict[tuple[str, str], bool]:
    """Whether floating-point backscatter is in decibels, by its unit or else by its pixels.

    Returns:
        (file key, band) -> decibels or not, of the bands that the sensor's rule is for.
    """
    rule = sensor.decibel_rule
    if rule is None:
        return {}
    parts = []
    for file in scenes:
        for name, number in file.bands.items():
            band = sensor.band(name, file.key)
            header = file.header
            if band is None or header is None or band.name not in rule.bands:
                continue
            if np.dtype(header.dtypes[number - 1]).kind == "f":
                parts.append((file, header, name, number))

    def state(part: tuple[SceneFile, Header, str, int]) -> bool:
        file, header, _, number = part
        if (header.units[number - 1] or header.tags.get("units", "")).casefold() == "db":
            return True
        own = header.nodata[number - 1]
        nodata = rule.linear_nodata if own is None else (own, *rule.linear_nodata)
        return is_decibel(look(file, number), nodata)

    with ThreadPoolExecutor(granted_cpus()) as pool:
        found = pool.map(state, parts)
        return {(p[0].key, p[2]): told for p, told in zip(parts, found, strict=True)}


def look(file: SceneFile, number: int) -> NDArray[Any]:
    """A few raw pixels of a band; none if it cannot be read, which the pixel pass will report."""
    try:
        return glimpse(file.path, number, blocks=2)
    except SceneError:
        return np.empty(0, np.uint16)


def _states(
    groups: dict[tuple[object, int | None], list[SceneFile]], sensor: Sensor, rule: OffsetRule
) -> dict[tuple[object, int | None], str]:
    state = partial(_group_state, sensor=sensor, rule=rule)
    with ThreadPoolExecutor(granted_cpus()) as pool:
        return dict(zip(groups, pool.map(state, groups.values()), strict=True))


def _group_state(files: Sequence[SceneFile], sensor: Sensor, rule: OffsetRule) -> str:
    found = []
    for file in files:
        for name, number in file.bands.items():
            band = sensor.band(name, file.key)
            integer = file.header is not None and file.header.dtypes[number - 1][0] in "iu"
            if band is not None and band.name in rule.bands and integer:
                rank = TELLING.index(band.role) if band.role in TELLING else len(TELLING)
                found.append((rank, file.key, number, file))
    chosen = sorted(found, key=lambda item: item[:3])[:SAMPLED_BANDS]
    return offset_state([look(file, number) for _, _, number, file in chosen], rule.raw)


def _offset_text(rule: OffsetRule, counts: Counter[str]) -> str:
    version = f"{rule.minimum / 100:05.2f}"
    lines = [
        ("older", f"processed before {version}, no offset"),
        ("late held", f"processed by {version} or later, {rule.raw:g} added"),
        ("late unclear", f"processed by {version} or later, {rule.raw:g} added"),
        ("late gone", f"processed by {version} or later, but the offset is gone from the pixels"),
        ("unknown held", f"of unknown processing whose pixels hold the offset, {rule.raw:g} added"),
        ("unknown gone", "of unknown processing whose pixels hold no offset"),
        ("unknown unclear", "of unknown processing whose pixels do not tell, left as they are"),
    ]
    merged: Counter[str] = Counter()
    for key, text in lines:
        merged[text] += counts[key]
    told = [f"{count} times {text}" for text, count in merged.items() if count]
    return f"Offset: {'; '.join(told)}."


def _doubt(rule: OffsetRule, counts: Counter[str], total: int) -> str:
    if not counts["unknown unclear"]:
        return ""
    return (
        f"At {counts['unknown unclear']} of {total} times the processing baseline is unknown and "
        f"the pixels do not tell whether an offset of {-rule.raw:g} is in them; they are left as "
        "they are. Keep the product's folder names, or give --scale and --offset."
    )
