"""The committed sample data are what their script makes, with the oddities their README tells."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from collections import Counter
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.warp

SAMPLES = Path(__file__).parents[1] / "sample_data"
CLEAR = (4, 5, 6)


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_samples", SAMPLES / "make_samples.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_samples"] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


def content(path: Path) -> dict[str, Any]:
    """Everything about a GeoTIFF but its compressed bytes."""
    with rasterio.open(path) as src:
        return {
            "crs": src.crs.to_epsg(),
            "transform": tuple(src.transform),
            "shape": src.shape,
            "dtypes": src.dtypes,
            "nodata": src.nodata,
            "scales": src.scales,
            "offsets": src.offsets,
            "units": src.units,
            "descriptions": src.descriptions,
            "tags": src.tags() | src.tags(1),
            "compression": src.compression,
            "pixels": src.read().tobytes(),
        }


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.tif"))


@pytest.mark.parametrize("series", ["sentinel2", "radar"])
def test_the_script_makes_the_committed_files(series: str, tmp_path: Path) -> None:
    getattr(load_script(), f"make_{series}")(tmp_path)
    assert names(tmp_path) == names(SAMPLES / series)
    different = [
        name
        for name in names(tmp_path)
        if content(tmp_path / name) != content(SAMPLES / series / name)
    ]
    assert different == []


def test_the_samples_stay_small() -> None:
    size = sum(path.stat().st_size for path in SAMPLES.rglob("*.tif"))
    assert size < 5_000_000


def scenes() -> dict[tuple[datetime, str], Path]:
    """(time, tile) -> SCL file."""
    result = {}
    for path in (SAMPLES / "sentinel2").glob("*_SCL.tif"):
        _, tile, time, _ = path.stem.split("_")
        result[datetime.strptime(time, "%Y%m%dT%H%M%S"), tile] = path
    return result


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as src:
        return src.read(1)


def test_sentinel2_has_48_times_in_two_zones_and_one_twice() -> None:
    tiles = Counter(tile for _, tile in scenes())
    times = Counter(time for time, _ in scenes())
    assert tiles == {"T33UTP": 38, "T32UQU": 11}
    assert len(times) == 48
    assert [f"{time:%F}" for time, count in times.items() if count > 1] == ["2019-08-19"]
    gaps = {round((b - a).total_seconds() / 86400) for a, b in itertools.pairwise(sorted(times))}
    assert gaps == {10, 15, 20, 25, 30}
    for (_, tile), path in scenes().items():
        with rasterio.open(path) as src:
            assert src.crs.to_epsg() == {"T33UTP": 32633, "T32UQU": 32632}[tile]


def test_sentinel2_scenes_of_both_zones_show_the_same_ground() -> None:
    """On the overpass that comes twice, zone 32 pixels equal the zone 33 ones they lie on."""
    folder = SAMPLES / "sentinel2"
    one = next(folder.glob("*_T32UQU_20190819*_B08.tif"))
    other = next(folder.glob("*_T33UTP_20190819*_B08.tif"))
    with rasterio.open(one) as src:
        rows, cols = (index.ravel() for index in np.mgrid[0 : src.height, 0 : src.width])
        x, y = src.xy(rows, cols)
        here, crs = src.read(1).ravel(), src.crs
    with rasterio.open(other) as src:
        x, y = rasterio.warp.transform(crs, src.crs, x, y)
        there = np.array([value[0] for value in src.sample(zip(x, y, strict=True))])
    assert (there > 0).all(), "zone 32 scenes lie inside the zone 33 ones"
    assert np.corrcoef(here, there)[0, 1] > 0.9


def test_sentinel2_has_overcast_scenes_swath_edges_and_a_coarse_mask() -> None:
    overcast, edged, classes = [], [], set()
    for (time, _), path in scenes().items():
        scl = read(path)
        red = read(path.with_name(path.name.replace("SCL", "B04")))
        assert red.shape == (2 * scl.shape[0], 2 * scl.shape[1])
        classes |= set(np.unique(scl).tolist())
        if not np.isin(scl, CLEAR).any():
            overcast.append(f"{time:%F}")
        if (red == 0).any():
            edged.append(f"{time:%F}")
            assert (scl == 0).any()
    assert sorted(overcast) == ["2019-12-12", "2021-01-20"]
    assert len(edged) == 5
    assert classes == {0, 3, 4, 5, 6, 8, 9, 10}


def test_sentinel2_clouds_look_like_valid_bright_ground() -> None:
    cloudy, clear = [], []
    for path in scenes().values():
        fine = np.kron(read(path), np.ones((2, 2), dtype=np.uint8))
        red = read(path.with_name(path.name.replace("SCL", "B04")))
        cloudy.append(red[fine == 9])
        clear.append(red[np.isin(fine, CLEAR)])
    assert np.median(np.concatenate(cloudy)) > 2 * np.median(np.concatenate(clear))
    assert np.concatenate(cloudy).max() <= 12000


def test_radar_moves_every_five_minutes_within_its_range() -> None:
    files = sorted((SAMPLES / "radar").glob("*.tif"))
    times = [datetime.strptime(path.stem, "rain_%Y%m%d%H%M") for path in files]
    assert len(times) == 36
    assert {(b - a).total_seconds() for a, b in itertools.pairwise(times)} == {300}
    frames = np.stack([read(path) for path in files]).astype(float)
    outside = frames == -9999
    assert (outside == outside[0]).all()
    assert outside[0, 0, 0]
    assert not outside[0, 64, 64]
    frames[outside] = np.nan
    assert 0.3 < np.nanmean(frames > 10) < 0.7, "about half of the pixels see rain"

    # Moved by two pixels to the east and one to the south, a frame resembles the next far better.
    inner = (slice(None), slice(30, 98), slice(30, 98))
    still = frames[1:][inner] - frames[:-1][inner]
    moved = frames[1:][inner] - np.roll(frames[:-1], (1, 2), axis=(1, 2))[inner]
    assert np.sqrt((moved**2).mean()) < 0.6 * np.sqrt((still**2).mean())
