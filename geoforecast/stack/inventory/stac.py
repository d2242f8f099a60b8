"""STAC items on disk: their GeoTIFF assets, with the times and bands that they state.

Source:
    STAC specification 1.0 and 1.1; extensions eo (``eo:bands``) and raster
    (``raster:bands``, ``raster:scale``), https://stacspec.org.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlparse

import numpy as np

from geoforecast.errors import InputError, SceneError
from geoforecast.raster.layout import printable
from geoforecast.stack.inventory.dateformats import parse_time
from geoforecast.stack.inventory.listing import (
    QUARANTINE,
    SUFFIXES,
    BandTags,
    Listed,
    absolute,
    checked_file,
    clipped,
    is_remote,
    read_text,
    remote_error,
)
from geoforecast.stack.inventory.names import clean_name

# Roles of assets that are pictures or papers about the data, never data.
NO_DATA_ROLES = {"thumbnail", "overview", "visual", "metadata"}


def read_items(path: Path) -> list[Listed]:
    """The assets of the STAC items in a JSON file.

    An asset that is no GeoTIFF, or a picture of the data, is listed as left out. Addresses
    are relative to the JSON file, absolute, or ``file://``.

    Args:
        path: a Feature (one item), or a FeatureCollection (several).
    Raises:
        InputError: it is no JSON, or holds no STAC item.
    """
    try:
        content = json.loads(read_text(path, "a STAC item"))
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{printable(path)} is no JSON: {clipped(str(error))}.",
            remedy="Name a STAC item, or a folder of GeoTIFFs.",
        ) from error
    found = [listed for item in _items(content, path) for listed in _assets(item, path)]
    if not found:
        raise InputError(
            f"The STAC items in {printable(path)} have no assets.",
            remedy="Name the GeoTIFFs themselves, or items that hold their addresses.",
        )
    return found


def _items(content: Any, path: Path) -> Sequence[Mapping[str, Any]]:
    kind = content.get("type") if isinstance(content, dict) else None
    features = content.get("features") if kind == "FeatureCollection" else [content]
    if kind in ("Catalog", "Collection"):
        raise InputError(
            f"{printable(path)} is a STAC {kind}, which holds no assets of items.",
            remedy="Name its item files, such as 'folder/**/*.json'.",
        )
    wrong = not isinstance(features, list) or not features
    wrong = wrong or not all(
        isinstance(item, dict) and item.get("type") == "Feature" and "assets" in item
        for item in features
    )
    if kind not in ("Feature", "FeatureCollection") or wrong:
        raise InputError(
            f"{printable(path)} holds no STAC item.",
            where="an item is a GeoJSON Feature with assets",
            remedy="Name a STAC item, or a folder of GeoTIFFs.",
        )
    return list(features)


def _assets(item: Mapping[str, Any], path: Path) -> Iterator[Listed]:
    base = absolute(path).parent
    properties = _mapping(item.get("properties"))
    stated = properties.get("datetime") or properties.get("start_datetime")
    time = parse_time(str(stated)) if stated else None
    name = f"{clipped(str(item.get('id', '?')))} in {printable(path)}"
    if stated and time is None:
        raise InputError(
            f"'{clipped(str(stated))}' is no time.", where=name, remedy="Correct the item."
        )
    listed = [
        _asset(str(key), _mapping(asset), base, time)
        for key, asset in _mapping(item.get("assets")).items()
    ]
    here = any(not (one.skip or one.fault) for one in listed)
    for one in listed:
        if one.fault and is_remote(str(one.path)) and here:
            # The item was copied in part, on purpose: what is there is used.
            yield replace(one, fault=None, skip="not downloaded, unlike others of its item")
        else:
            yield one


def _asset(key: str, asset: Mapping[str, Any], base: Path, time: np.datetime64 | None) -> Listed:
    href = str(asset.get("href", ""))
    media = str(asset.get("type") or "")
    roles = asset.get("roles")
    roles = {str(role) for role in roles} if isinstance(roles, list) else set()
    url = urlparse(href) if href.lower().startswith("file:") else None
    place = Path(unquote(url.path)) if url else base / href
    suffix = PurePosixPath(href.partition("?")[0]).suffix.lower()
    if roles & NO_DATA_ROLES:
        return Listed(place, base, skip=f"asset '{key}' is {min(roles & NO_DATA_ROLES)}, no data")
    if not media.lower().startswith("image/tiff") and suffix not in SUFFIXES:
        kind = clipped(media or suffix or "of no type")
        return Listed(place, base, skip=f"asset '{key}' is no GeoTIFF ({kind})")
    if is_remote(href):
        return Listed(Path(href), base, fault=remote_error(href))
    if not href:
        what = f"Asset '{printable(key)}' has no href."
        return Listed(base, base, fault=SceneError(what, remedy=f"Correct it, or {QUARANTINE}"))
    inside = absolute(place).is_relative_to(base)
    listed = checked_file(place, base if inside else absolute(place).parent)
    names, tags = _bands(asset)
    return replace(
        listed,
        time=time,
        band=clean_name(key),
        names=names if len(names) > 1 and all(names) else (),
        tags=tags,
    )


def _bands(asset: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[BandTags, ...]]:
    """Name and tags of each band, from ``bands`` (STAC 1.1) or the two extensions (1.0)."""
    bands = _mappings(asset.get("bands"))
    spectral = _mappings(asset.get("eo:bands")) or bands
    names = tuple(clean_name(str(band.get("name") or "")) for band in spectral)
    pixels = _mappings(asset.get("raster:bands")) or bands or [{}]
    tags = tuple(
        BandTags(
            scale=_number(band, asset, "scale"),
            offset=_number(band, asset, "offset"),
            nodata=_number(band, asset, "nodata"),
        )
        for band in pixels
    )
    return names, tags if tags != (BandTags(),) * len(tags) else ()


def _number(band: Mapping[str, Any], asset: Mapping[str, Any], key: str) -> float | None:
    """A number of a band, or of its asset; nodata may be the text "nan"."""
    for source, names in ((band, (key, f"raster:{key}")), (asset, (f"raster:{key}", key))):
        for name in names:
            value = source.get(name)
            if isinstance(value, bool) or value is None:
                continue
            try:
                return float(value)
            except (TypeError, ValueError, OverflowError):
                continue
    return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [_mapping(item) for item in value] if isinstance(value, list) else []
