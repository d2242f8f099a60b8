"""Changes of unit that no scale and offset can make. They come before resampling.

To add one, write a function and decorate it; a sensor's TOML then names it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from geoforecast.errors import SettingsError, did_you_mean

Floats = NDArray[np.float32]
CONVERSIONS: dict[str, Callable[..., Floats]] = {}


def conversion(name: str) -> Callable[[Callable[..., Floats]], Callable[..., Floats]]:
    """Make a function known as a conversion: float32 values in, float32 values out.

    Further arguments are the numbers after ":", in order. What has no value in the new unit
    comes out as NaN or infinity, which is never valid.
    """

    def register(function: Callable[..., Floats]) -> Callable[..., Floats]:
        CONVERSIONS[name] = function
        return function

    return register


def apply_conversion(values: Floats, text: str) -> Floats:
    """Values in another unit.

    Args:
        values: float32, of any shape.
        text: name of a conversion, with numbers after ":", such as "dbz-to-rain:200,1.6".
    Returns:
        float32, of the same shape.
    Raises:
        SettingsError: there is no such conversion, or the numbers are not its own.
    """
    name, numbers = parse_conversion(text)
    return np.asarray(CONVERSIONS[name](values, *numbers), np.float32)


def parse_conversion(text: str) -> tuple[str, tuple[float, ...]]:
    """Name and numbers of a conversion.

    Raises:
        SettingsError: there is no such conversion, or the numbers are not its own.
    """
    name, _, rest = text.partition(":")
    if name not in CONVERSIONS:
        raise SettingsError(
            f"There is no conversion '{name}'.", remedy=did_you_mean(name, CONVERSIONS)
        )
    try:
        numbers = tuple(float(part) for part in rest.split(",")) if rest else ()
        inspect.signature(CONVERSIONS[name]).bind(None, *numbers)
    except (TypeError, ValueError) as error:
        wanted = list(inspect.signature(CONVERSIONS[name]).parameters)[1:]
        raise SettingsError(
            f"Conversion '{text}' has other numbers than {', '.join(wanted) or 'none'}.",
            remedy="Write them after a colon, parted by commas, such as dbz-to-rain:200,1.6.",
        ) from error
    return name, numbers


@conversion("db-to-power")
def db_to_power(db: Floats) -> Floats:
    """Linear power of decibels: 10^(dB / 10)."""
    power: Floats = np.power(np.float32(10), db / np.float32(10))
    return power


@conversion("power-to-db")
def power_to_db(power: Floats) -> Floats:
    """Decibels of linear power: 10 log10(power); NaN where the power is not above 0."""
    positive = np.where(power > 0, power, np.float32(np.nan))
    db: Floats = np.float32(10) * np.log10(positive)
    return db


@conversion("dbz-to-rain")
def dbz_to_rain(dbz: Floats, a: float = 200, b: float = 1.6, dry: float = -np.inf) -> Floats:
    """Rain rate of radar reflectivity by Z = a R^b, in mm/h.

    Args:
        dbz: 10 log10(Z), Z in mm^6 m^-3.
        a, b: of the relation; 200 and 1.6 are Marshall and Palmer's for stratiform rain.
        dry: reflectivity below which there is no rain at all.
    Returns:
        R = (Z / a)^(1 / b), and 0 below ``dry``.
    Source:
        Marshall, Hitschfeld and Gunn (1955), Advances in Geophysics 2, 1-56.
    """
    rate: Floats = np.power(
        np.float32(10), (dbz - np.float32(10 * np.log10(a))) / np.float32(10 * b)
    )
    return np.where(dbz < np.float32(dry), np.float32(0), rate)
