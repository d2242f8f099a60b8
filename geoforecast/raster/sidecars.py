"""Files beside a GeoTIFF that change what it means: never read, so never passed over.

GDAL would open X.tif.msk and X.tif.aux.xml by any of its drivers, and what those point at;
the cube's fingerprint knows nothing of them. A scene has to carry everything itself.
"""

from __future__ import annotations

import html
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.errors import CRSError

from geoforecast.errors import SceneError
from geoforecast.raster.grid import Grid

TAKE_IN = "Take it in: {}gdal_translate IN OUT; then stack OUT, or delete the file beside it."
# What GDAL's persistent metadata can say of pixels and of their place; the rest (statistics,
# histograms, which viewers write) changes nothing.
_TELLING = re.compile(r"<(NoDataValue|Scale|Offset|SRS|GeoTransform)\b[^>]*>([^<]*)<")
_MOST_BYTES = 2**20


def refuse_sidecars(
    path: Path,
    grid: Grid,
    nodata: Sequence[float | None],
    scales: Sequence[float],
    offsets: Sequence[float],
) -> None:
    """Refuse a file whose pixels or place another file changes.

    Args:
        path: of the GeoTIFF.
        grid, nodata, scales, offsets: what it says itself; saying the same again is fine.
    Raises:
        SceneError: naming the other file.
    """
    mask = path.with_name(f"{path.name}.msk")
    # The longest names leave no room for a suffix, which pathlib's own test raises.
    if os.path.lexists(mask):
        raise SceneError(
            f"{path} has its mask in another file, {mask.name}, which is not read.",
            remedy=TAKE_IN.format("GDAL_TIFF_INTERNAL_MASK=YES "),
        )
    beside = path.with_name(f"{path.name}.aux.xml")
    if not os.path.isfile(beside):  # noqa: PTH113  as above
        return
    try:
        with beside.open("rb") as stream:
            text = stream.read(_MOST_BYTES).decode("utf-8", "replace")
    except OSError:  # what cannot be read cannot be meant
        return
    own: dict[str, Sequence[float | None]] = {
        "NoDataValue": nodata,
        "Scale": scales,
        "Offset": offsets,
    }
    for name, value in _TELLING.findall(text):
        if name in own:
            same = _number(value) in own[name]
            same |= name == "NoDataValue" and str(_number(value)) in map(str, nodata)  # nan
        elif name == "SRS":
            same = _same_crs(html.unescape(value), grid.wkt)
        else:
            same = _same_transform(value, grid)
        if not same:
            raise SceneError(
                f"{path} says otherwise than {beside.name} ({name}: {value.strip()[:40]}), which "
                "is not read.",
                remedy=TAKE_IN.format(""),
            )


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _same_crs(text: str, wkt: str) -> bool:
    try:
        return bool(wkt) and CRS.from_wkt(text) == CRS.from_wkt(wkt)
    except (CRSError, CPLE_BaseError):
        return False


def _same_transform(text: str, grid: Grid) -> bool:
    numbers = [_number(part) for part in text.split(",")]
    given = [np.nan if number is None else number for number in numbers]
    mine = grid.transform.to_gdal()
    return len(given) == 6 and bool(np.allclose(given, mine, rtol=1e-9, atol=0))
