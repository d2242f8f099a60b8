"""Hostile places, names, neighbours and moments; and all cases together, by group.

What is no plain file, what a name can hold, what GDAL would read along, what happens while a
file is read, and the collected files as they are and with a place on earth.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import hostile_files as files
import numpy as np
import rasterio
from hostile_files import Case, scene, write
from hostile_run import forked
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning


def places() -> Iterator[Case]:
    yield Case("pipe", "a FIFO that nobody writes into", os.mkfifo)
    yield Case("folder", "a folder called .tif", Path.mkdir)
    yield Case("dangling link", "its target is missing", lambda p: p.symlink_to("nowhere"))
    yield Case("link loop", "a link to itself", lambda p: p.symlink_to(p.name))
    yield Case("links in a circle", "two links to one another", _circle)
    yield Case("link to its folder", "a loop of folders", lambda p: p.symlink_to("."))
    yield Case("link to the root", "a link to all files", lambda p: p.symlink_to("/"))
    yield Case("link to a device", "/dev/zero has no end", lambda p: p.symlink_to("/dev/zero"))
    yield Case("unreadable", "mode 000", _unreadable)
    yield Case("unreadable folder", "mode 000, a scene inside", _locked, "locked_{}")
    for number, most in ((19, "4,000"), (30, "6,000")):
        make = partial(_deep, folders=number)
        yield Case(f"{most} characters deep", "a scene in folders in folders", make, "deep_{}")


def names() -> Iterator[Case]:
    good = partial(write, content=scene(9))
    for name, pattern in (
        ("line break", "nd\nvi_{}.tif"),
        ("terminal codes", "ndvi\x1b[2J\r_{}.tif"),
        ("dots", "ndvi..{}...tif"),
        ("comma, quote, formula", '=cmd,"{}".tif'),
        ("markup", "<b>&{}.tif"),
        ("255 bytes", f"{'x' * 242}_{{}}.tif"),
        ("no UTF-8", os.fsdecode(b"\xff_{}.tif")),
        ("GDAL prefix", "GTIFF_DIR:1:{}.tif"),
        ("option", "--help_{}.tif"),
    ):
        yield Case(name, "good pixels", good, pattern)
    for name, line in (
        ("listed with ..", lambda p: f"{p.parent}/../{p.parent.name}/./{p.name}"),
        ("listed, 10,000 characters", lambda p: f"{'x' * 9_987}_{p.name[5:]}"),
        ("listed by 10,000 characters", lambda p: f"{p.parent}{'/.' * 5_000}/{p.name}"),
        ("listed, absent", lambda p: f"absent_{p.name}"),
        ("listed, outside", lambda p: f"/etc/hostname/{p.name}"),
        ("listed by /vsicurl", lambda p: f"/vsicurl/http://127.0.0.1/{p.name}"),
    ):
        yield Case(name, "a line of a list", good, line=line)


def _circle(path: Path) -> None:
    other = path.with_suffix(".link")
    path.symlink_to(other.name)
    other.symlink_to(path.name)


def _unreadable(path: Path) -> None:
    write(path, scene(9))
    path.chmod(0)


def _locked(path: Path) -> None:
    path.mkdir()
    write(path / "ndvi.tif", scene(9))
    path.chmod(0)


def _deep(path: Path, folders: int) -> None:
    """A scene whose path may be longer than any call takes."""
    here = os.open(path.parent, os.O_RDONLY)
    for name in (path.name, *["d" * 200] * folders):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    handle = os.open("ndvi.tif", os.O_WRONLY | os.O_CREAT, dir_fd=here)
    os.write(handle, scene(9))
    os.close(handle)
    os.close(here)


def beside() -> Iterator[Case]:
    def with_beside(path: Path, suffix: str, content: bytes) -> None:
        write(path, scene(9))
        path.with_name(path.name + suffix).write_bytes(content)

    aux = b"<PAMDataset><PAMRasterBand band='1'><%s>7</%s></PAMRasterBand></PAMDataset>"
    for suffix, what, content in (
        (".msk", "a mask in another file", scene(3)),
        (".msk", "a VRT for a mask", b"<VRTDataset rasterXSize='50' rasterYSize='40'/>"),
        (".aux.xml", "another nodata beside it", aux % (b"NoDataValue", b"NoDataValue")),
        (".aux.xml", "a scale beside it", aux % (b"Scale", b"Scale")),
        (".aux.xml", "statistics beside it", b"<PAMDataset><Metadata/></PAMDataset>"),
        (".aux.xml", "no XML", b"\xff\x00<"),
        (".ovr", "overviews of something else", scene(3)),
        (".tfw", "a world file that says otherwise", b"1\n0\n0\n-1\n0\n0\n"),
    ):
        yield Case(suffix, what, partial(with_beside, suffix=suffix, content=content))


def changes() -> Iterator[Case]:
    old, new = scene(9), scene(10, compress="zstd")

    def rewritten(path: Path, tick: int) -> None:
        write(path, new if tick % 3 else new[: len(new) // 2])

    def replaced(path: Path, tick: int) -> None:
        draft = path.with_name(f".{path.name}.part")
        write(draft, (old, new)[tick % 2])
        draft.replace(path)

    def flickering(path: Path, tick: int) -> None:
        if tick % 2:
            write(path, old)
        else:
            path.unlink(missing_ok=True)

    def growing(path: Path, tick: int) -> None:
        date = path.stem[-8:]
        write(path.with_name(f"late{tick % 7}_{date}.tif"), (old, old[:900])[tick % 2])

    def turning(path: Path, tick: int) -> None:
        path.unlink(missing_ok=True)
        if tick % 2:
            path.symlink_to("/dev/zero")
        else:
            write(path, old)

    for name, what, meanwhile in (
        ("rewritten", "cut and written again", rewritten),
        ("replaced", "one of two files by turns", replaced),
        ("comes and goes", "removed and written again", flickering),
        ("file or device", "a scene, a link to /dev/zero, by turns", turning),
        ("others appear", "more files of its date", growing),
    ):
        make = partial(write, content=old)
        yield Case(name, what, make, meanwhile=meanwhile, versions=(old, new))


def copies(folder: Path) -> list[Case]:
    """One case a file of a folder of collected hostile files."""
    paths = sorted(path for path in folder.iterdir() if path.suffix in (".tif", ".tiff"))
    return [files.content_case(path.name, "as it is", path.read_bytes()) for path in paths]


def placed(folder: Path) -> Iterator[Case]:
    """The collected files that have no place or no CRS, given both: now their pixels count."""
    for case in copies(folder):
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / case.name
            case.make(path)
            # GDAL may refuse to write into such a file, or crash.
            if forked(partial(_place, path), seconds=10).code == 0:
                yield files.content_case(case.name, "placed", path.read_bytes())


def _place(path: Path) -> int:
    warnings.simplefilter("ignore", NotGeoreferencedWarning)
    with rasterio.open(path, driver="GTiff") as dataset:
        known = dataset.crs is not None and not dataset.transform.is_identity
        if known or dataset.gcps[0] or dataset.rpcs or dataset.width > 10_000:
            return 1
    with rasterio.open(path, "r+", driver="GTiff") as dataset:
        dataset.transform = files.TRANSFORM
        dataset.crs = "EPSG:32633"
    return 0


def generated() -> list[Case]:
    """All cases that are made here, with their groups."""
    groups: dict[str, Callable[[], Iterator[Case]]] = {
        "Truncated": files.truncations,
        "One bit flipped": files.bit_flips,
        "Header edited": files.header_edits,
        "Renamed .tif": files.disguises,
        "No plain file": places,
        "Names": names,
        "With a file beside it": beside,
        "Changing while it is read": changes,
    }
    return [replace(case, group=group) for group, make in groups.items() for case in make()]


def collected(folder: Path) -> list[Case]:
    """The collected files, with their groups."""
    return [
        *(replace(case, group="Collected") for case in copies(folder)),
        *(replace(case, group="Collected, given a place") for case in placed(folder)),
    ]


def reference(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(band, y, x) physical values and validity of a file as GDAL itself reads it.

    North is up, and an alpha band masks the others and is none itself.
    """
    with rasterio.open(path, driver="GTiff") as dataset:
        colours = [c != ColorInterp.alpha for c in dataset.colorinterp]
        bands = [number for number, kept in enumerate(colours, 1) if kept]
        raw = dataset.read(bands)
        valid = dataset.read_masks(bands) > 0
        physical = raw.astype(np.float32)
        for index, band in enumerate(bands):
            scale, offset = dataset.scales[band - 1], dataset.offsets[band - 1]
            physical[index] = physical[index] * np.float32(scale) + np.float32(offset)
        if dataset.transform.e > 0:
            physical, valid = physical[:, ::-1], valid[:, ::-1]
    return physical, valid & np.isfinite(physical)


def remove(folder: Path) -> None:
    """Remove a folder with whatever a case put into it."""
    if folder.exists():
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o700)
        shutil.rmtree(folder)
