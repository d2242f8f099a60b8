"""One file a layer that holds all valid times as bands: a VRT, which refers to the COGs.

GDAL writes a VRT of each COG, and the bands of these are put into one. Files are told relative to
the folder, which can be moved as a whole.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

import rasterio
import rasterio.shutil

from geoforecast.predict.layers import layer_bands
from geoforecast.predict.plan import Plan
from geoforecast.project import replacing


def write_vrts(plan: Plan, folder: Path) -> list[Path]:
    """Write LAYER.vrt for each layer of a forecast; bands are named by valid time.

    Args:
        plan: the forecast.
        folder: where its files lie.
    Returns:
        The VRTs, in the order of the layers.
    """
    made = []
    for layer, files in plan.paths(folder).items():
        names = layer_bands(plan, layer)
        labels = [
            [f"{_label(file)} {name}" if len(names) > 1 else _label(file) for name in names]
            for file in files
        ]
        made.append(folder / f"{layer}.vrt")
        stack_files(files, labels, made[-1])
    return made


def _label(file: Path) -> str:
    """The valid time of a file."""
    with rasterio.open(file) as dataset:
        return str(dataset.tags()["valid_time"]).removesuffix("T00:00:00Z")


def stack_files(files: Sequence[Path], labels: Sequence[Sequence[str]], path: Path) -> None:
    """Write a VRT of all bands of some files, one file after the other.

    Tags that all files share are tags of the whole; the others become tags of their bands.

    Args:
        files: rasters of one grid and dtype in the folder of ``path``.
        labels: a description for each band of each file.
        path: the VRT to write.
    """
    parts = [_described(file) for file in files]
    tags = [_tags(part) for part in parts]
    shared = {key: value for key, value in tags[0].items() if all(key in t for t in tags)}
    shared = {key: value for key, value in shared.items() if len({t[key] for t in tags}) == 1}
    whole = _described(files[0])
    for child in whole.findall("Metadata") + whole.findall("VRTRasterBand"):
        whole.remove(child)
    whole.append(_metadata(shared))
    number = 0
    for part, told, names in zip(parts, tags, labels, strict=True):
        own = {key: value for key, value in told.items() if key not in shared}
        for band, name in zip(part.findall("VRTRasterBand"), names, strict=True):
            number += 1
            band.set("band", str(number))
            for old in band.findall("Description") + band.findall("ColorInterp"):
                band.remove(old)
            described = ET.Element("Description")
            described.text = name
            # GDAL's own order: description and tags come before the rest.
            band.insert(0, described)
            band.insert(0, _metadata(own))
            whole.append(band)
    ET.indent(whole)
    with replacing(path) as temporary:
        ET.ElementTree(whole).write(temporary, encoding="utf-8")


def _described(file: Path) -> ET.Element:
    """A file as GDAL describes it in a VRT beside it."""
    beside = file.with_name(f".{file.stem}.vrt")
    try:
        rasterio.shutil.copy(file, beside, driver="VRT")
        return ET.fromstring(beside.read_text(encoding="utf-8"))
    finally:
        beside.unlink(missing_ok=True)


def _tags(vrt: ET.Element) -> dict[str, str]:
    """The file's own tags, without what GDAL says of its structure."""
    return {
        item.get("key", ""): item.text or ""
        for part in vrt.findall("Metadata")
        if part.get("domain") is None
        for item in part.findall("MDI")
    }


def _metadata(tags: dict[str, str]) -> ET.Element:
    made = ET.Element("Metadata")
    for key, value in tags.items():
        ET.SubElement(made, "MDI", key=key).text = value
    return made
