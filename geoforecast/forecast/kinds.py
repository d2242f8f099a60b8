"""Kinds of targets: values, counts, yes or no, classes; and what each makes of a cube's bands.

Classes become indicators: one band a class that holds 1 where the class was seen and 0 where
another was. What is mixed and corrected is then the probability of each class, and whatever
forecasts values forecasts probabilities as well.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoforecast.errors import InputError
from geoforecast.raster.cube import CHUNK_STEPS, Cube
from geoforecast.references import ordered_sum
from geoforecast.samples.normaliser import (
    BandStatistics,
    Normaliser,
    fit_normaliser,
    from_meta,
)

log = logging.getLogger(__name__)

Array = NDArray[np.float32]

CONTINUOUS, COUNT, BINARY, CATEGORICAL = "continuous", "count", "binary", "categorical"
PROBABILITIES = (BINARY, CATEGORICAL)
MOST_CLASSES = 64
TILE_PX = 512
ROUNDING = 1e-6
# Added to a probability before its logarithm: what no reference thinks possible may still come.
EPSILON = 1e-4


@dataclass(frozen=True)
class Target:
    """What is forecast.

    Attributes:
        kind: continuous, count, binary or categorical.
        classes: class codes, ascending, that were seen in the training steps; () for others.
    """

    kind: str = CONTINUOUS
    classes: tuple[int, ...] = ()

    @property
    def is_probability(self) -> bool:
        """Whether forecasts are probabilities, which corrections move on the scale of odds."""
        return self.kind in PROBABILITIES

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any]) -> Target:
        """What dataclasses.asdict made of a target, as JSON returns it."""
        return cls(str(meta["kind"]), tuple(int(code) for code in meta["classes"]))


VALUES = Target()


def resolve_target(cube: Cube, bands: Sequence[str], asked: str, steps: range) -> Target:
    """The kind of target that a run forecasts.

    Args:
        cube: the pixels.
        bands: of the cube, to forecast.
        asked: as --kind gives it. ``auto`` is categorical where the cube holds classes, binary
            where training statistics prove that 0 and 1 occur and nothing else, else continuous.
        steps: the training steps.
    Raises:
        InputError: the values of a band are not of the kind.
    """
    if cube.kind == CATEGORICAL:
        if asked not in ("auto", CATEGORICAL):
            raise InputError(
                f"--kind is {asked}, but the cube holds classes.",
                remedy="Leave --kind out, or stack with --kind continuous.",
            )
        return Target(CATEGORICAL, _classes(cube, bands, steps))
    if asked == CATEGORICAL:
        raise InputError(
            "--kind is categorical, but the cube holds values that may have been averaged.",
            remedy="Stack with --kind categorical first: geoforecast stack FOLDER --kind "
            "categorical --overwrite.",
        )
    _, every = from_meta(cube.meta["normaliser"])
    statistics = [every[cube.bands.index(band)] for band in bands]
    if asked == "auto":
        return Target(BINARY if all(map(is_binary, statistics)) else CONTINUOUS)
    for band, found in zip(bands, statistics, strict=True):
        _check_range(band, found, asked)
    return Target(asked)


def is_binary(band: BandStatistics) -> bool:
    """Whether 0 and 1 occur and nothing else: then the variance is mean x (1 - mean).

    Anything between them makes it smaller.
    """
    variance = band.mean * (1 - band.mean)
    spread = abs(band.std**2 - variance) <= ROUNDING * max(variance, ROUNDING)
    return band.minimum == 0 and band.maximum == 1 and spread


def _check_range(band: str, found: BandStatistics, kind: str) -> None:
    if not found.count:
        return
    least, most = found.minimum, found.maximum
    constant = least == most and least in (0.0, 1.0)
    if kind == BINARY and not (constant or is_binary(found)):
        raise InputError(
            f"--kind is binary, but {band} holds other values than 0 and 1.",
            where=f"training steps: {least:g} to {most:g}, mean {found.mean:g}",
            remedy="Stack a band of 0 and 1 (stack --index 'name = (b > 3) * 1'), or leave "
            "--kind out.",
        )
    if kind == COUNT and least < 0:
        raise InputError(
            f"--kind is count, but {band} holds values below 0.",
            where=f"training steps: {least:g} to {most:g}",
            remedy="Leave --kind out.",
        )


def _classes(cube: Cube, bands: Sequence[str], steps: range) -> tuple[int, ...]:
    if len(bands) != 1:
        raise InputError(
            f"The cube holds classes in {len(bands)} bands, and one can be forecast at a time.",
            where=f"bands: {', '.join(bands)}",
            remedy=f"Choose one, such as --bands {bands[0]}.",
        )
    found = class_counts(cube, bands[0], steps)
    if not found:
        raise InputError(
            f"Never valid in the training steps: {bands[0]}.",
            remedy="Check the mask (stack --mask).",
        )
    if len(found) > MOST_CLASSES:
        codes = sorted(found)
        raise InputError(
            f"{bands[0]} has {len(found)} classes in the training steps, more than "
            f"{MOST_CLASSES}: perhaps these are values.",
            where=f"codes {codes[0]} to {codes[-1]}",
            remedy="Stack without --kind categorical, or with fewer classes.",
        )
    return tuple(sorted(found))


def class_counts(cube: Cube, band: str, steps: range) -> dict[int, int]:
    """How many valid pixels each class code has over some steps."""
    number = cube.bands.index(band)
    found: dict[int, int] = {}
    for start in range(steps.start, steps.stop, CHUNK_STEPS):
        for tile in cube.grid.tiles(TILE_PX):
            values, valid = cube.read(start, min(start + CHUNK_STEPS, steps.stop), tile)
            codes, counts = np.unique(values[:, number][valid[:, number]], return_counts=True)
            for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
                found[int(code)] = found.get(int(code), 0) + int(count)
    return found


def warn_unknown(cube: Cube, band: str, target: Target, steps: range, block: str) -> None:
    """Warn of classes that were not seen in the training steps: no forecast can say them."""
    found = class_counts(cube, band, steps)
    unknown = {code: count for code, count in found.items() if code not in target.classes}
    if unknown:
        total = sum(found.values())
        shares = ", ".join(f"{code} ({n / total:.2%})" for code, n in sorted(unknown.items()))
        log.warning(
            "classes of the %s steps that training never saw: %s; every forecast there counts "
            "as wrong",
            block,
            shares,
        )


def band_names(target: Target, bands: Sequence[str]) -> tuple[str, ...]:
    """Names of what is mixed and corrected: the bands, or one a class."""
    return tuple(f"class {code}" for code in target.classes) or tuple(bands)


def model_units(
    target: Target,
    cube: Cube,
    bands: Sequence[str],
    meta: Mapping[str, Any] | None,
    steps: range | None,
) -> tuple[Normaliser, list[BandStatistics]]:
    """How models see the bands of a target, and their statistics on training steps.

    Counts are seen as their logarithm, whatever the cube's normaliser; probabilities as they
    are.

    Args:
        target: the kind.
        cube: the pixels.
        bands: of the cube.
        meta: the cube's normaliser of those bands; None for classes, which have none.
        steps: the training steps, read for the shares of classes.
    """
    if target.kind == CATEGORICAL:
        assert steps is not None
        found = class_counts(cube, bands[0], steps)
        total = sum(found.values())
        statistics = [indicator_statistics(found.get(code, 0), total) for code in target.classes]
        return fit_normaliser("none", statistics), statistics
    assert meta is not None
    fitted, statistics = from_meta(meta)
    if target.kind == COUNT:
        return fit_normaliser("log1p", statistics), statistics
    return (fit_normaliser("none", statistics) if target.kind == BINARY else fitted), statistics


def indicator_statistics(count: int, total: int) -> BandStatistics:
    """Statistics of 0 and 1, of which some are 1."""
    share = count / total
    std, log2 = float(np.sqrt(share * (1 - share))), float(np.log(2.0))
    low, high = float(share == 1), float(share > 0)
    return BandStatistics(
        count=total,
        mean=share,
        std=std,
        minimum=low,
        maximum=high,
        median=float(share > 0.5),
        lower_quartile=float(share > 0.75),
        upper_quartile=float(share > 0.25),
        log_mean=share * log2,
        log_std=std * log2,
    )


def indicators(
    codes: NDArray[Any], valid: NDArray[np.bool_], classes: Sequence[int]
) -> tuple[Array, NDArray[np.bool_]]:
    """Class codes as one band of 0 and 1 a class.

    Args:
        codes: (step, y, x).
        valid: same shape.
        classes: that are known; other codes are no class at all.
    Returns:
        (step, class, y, x) 1 where it is that class, 0 elsewhere; (step, y, x) where the code is
        valid and known.
    """
    same = codes[:, None] == np.asarray(classes)[:, None, None]
    same &= valid[:, None]
    return same.astype(np.float32), same.any(axis=1)


def shared_out(values: Array, shares: Sequence[float]) -> Array:
    """Class probabilities that sum to 1, from values that are not negative.

    Args:
        values: (..., class, y, x); NaN where nothing is known.
        shares: (class,) taken where all values are 0.
    """
    total = ordered_sum(np.moveaxis(values, -3, 0))[..., None, :, :]
    nothing = total == 0
    divided = values / np.where(nothing, np.float32(1), total)
    return np.where(nothing, np.asarray(shares, dtype=np.float32)[:, None, None], divided)


def moved_odds(reference: Array, delta: Array, kind: str) -> Array:
    """Probabilities moved on the scale of log-odds; where nothing moves, to the bit the same.

    Args:
        reference: (lead, band, y, x) probabilities; NaN stays.
        delta: same shape: added to the logits (binary), or to the logarithms before a softmax
            over the bands (categorical).
        kind: binary or categorical.
    """
    if kind == BINARY:
        odds = np.log(reference + EPSILON) - np.log1p(EPSILON - reference) + delta
        moved = 1 / (1 + np.exp(-odds))
        return np.where(delta == 0, reference, moved).astype(np.float32)
    logits = np.log(reference + EPSILON) + delta
    logits -= logits.max(axis=-3, keepdims=True)
    weights = np.exp(logits)
    moved = weights / ordered_sum(np.moveaxis(weights, -3, 0))[..., None, :, :]
    still = (delta == 0).all(axis=-3, keepdims=True)
    return np.where(still, reference, moved).astype(np.float32)


def pooled(reference: Array, moved: Array, weight: Array | float) -> Array:
    """A weighted mean of probabilities; with no weight the reference to the bit.

    Of forecasts of one thing it is what least squares of the Brier score can weigh.

    Args:
        reference, moved: (lead, band, y, x).
        weight: of ``moved``, 0 to 1; a number or of a shape that fits.
    """
    return (reference + np.asarray(weight, np.float32) * (moved - reference)).astype(np.float32)


def decided(
    probabilities: Array, last: Array, shares: Sequence[float], rule: Sequence[float], kind: str
) -> NDArray[np.int16]:
    """The map that probabilities make: 0 or 1 of each band, or the number of a class.

    Args:
        probabilities: (band, y, x); NaN where there is none.
        last: same shape: what was seen last, as 0 and 1.
        shares: (band,) of each class in the training steps.
        rule: fitted on the validation block. Binary: (threshold,), reached or exceeded by a 1.
            Categorical: (stay, pull): the class of the greatest probability, after that of the
            last class seen is multiplied by ``stay``, and ``pull`` times each class' share in
            training is taken off, without which a frequent class wins too many of the pixels
            where little is known.
        kind: binary or categorical.
    Returns:
        (band, y, x) of 0 and 1 for binary, (1, y, x) for categorical; -1 where there is none.
    """
    if kind == BINARY:
        made = (probabilities >= np.float32(rule[0])).astype(np.int16)
        made[np.isnan(probabilities)] = -1
        return made
    stay, pull = rule
    scores = probabilities * np.where(last > 0, np.float32(stay), np.float32(1))
    scores -= np.float32(pull) * np.asarray(shares, dtype=np.float32)[:, None, None]
    none = np.isnan(scores[:1])
    chosen = np.where(np.isnan(scores), np.float32(-2), scores).argmax(axis=0)[None]
    return np.where(none, -1, chosen).astype(np.int16)


def maps(
    probabilities: Array,
    last: Array,
    shares: Sequence[float],
    rules: Sequence[Sequence[float]],
    kind: str,
) -> NDArray[np.int16]:
    """The maps of several leads, (lead, band, y, x); leads beyond the rules take the last one's.

    Args:
        probabilities: (lead, band, y, x).
        last, shares, kind: see decided.
        rules: one a lead.
    """
    made = [
        decided(one, last, shares, rules[min(lead, len(rules) - 1)], kind)
        for lead, one in enumerate(probabilities)
    ]
    return np.stack(made)


def plain_rule(kind: str) -> tuple[float, ...]:
    """The rule of forecasts that none was fitted for: what is more likely than not, or most."""
    return (0.5,) if kind == BINARY else (1.0, 0.0)
