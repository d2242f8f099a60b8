"""How the raw numbers of each file's bands become physical values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from geoforecast.settings import StackSettings
from geoforecast.stack.scenes import SceneFile


@dataclass(frozen=True)
class Reading:
    """What turns a band's raw numbers into physical values, and which of them are usable.

    physical = convert(raw * scale + offset), in float32.

    Attributes:
        nodata: raw values that mean no data.
        scale, offset: see above.
        low, high: raw numbers below or above are unusable; None for no bound.
        conversion: name of a function of CONVERSIONS, with arguments after ":", or "".
        resampling: overrides --resampling auto for this band, or "".
        unit: of the physical values, or "".
    """

    nodata: tuple[float, ...] = ()
    scale: float = 1.0
    offset: float = 0.0
    low: float | None = None
    high: float | None = None
    conversion: str = ""
    resampling: str = ""
    unit: str = ""


def settle_readings(scenes: Sequence[SceneFile], settings: StackSettings) -> str:
    """Give each scene the reading of each of its bands: options first, then the file's tags.

    Args:
        scenes: data files with headers and bands; changed in place.
        settings: --nodata, --scale, --offset.
    Returns:
        A sentence for people, or "".
    """
    for file in scenes:
        header = file.header
        assert header is not None  # scenes have headers
        for band, number in file.bands.items():
            nodata = header.nodata[number - 1] if settings.nodata is None else settings.nodata
            scale = header.scales[number - 1] if settings.scale is None else settings.scale
            offset = header.offsets[number - 1] if settings.offset is None else settings.offset
            file.readings[band] = Reading(
                nodata=() if nodata is None else (nodata,),
                scale=scale,
                offset=offset,
                unit=header.units[number - 1],
            )
    return ""
