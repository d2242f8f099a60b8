"""Local Moran's I beside another library, spots where they were put, no seam between strips."""

from __future__ import annotations

import math
from pathlib import Path

import esda
import libpysal
import numpy as np
import pytest
import rasterio
from affine import Affine

from geoforecast.validate.metrics import hotspots as module
from geoforecast.validate.metrics.hotspots import (
    HIGH_HIGH,
    HIGH_LOW,
    LOW_HIGH,
    LOW_LOW,
    NOT_REMARKABLE,
    NOT_SCORED,
    Spread,
    hotspot_strips,
    hotspots,
    spread_of,
)


def spread(values: np.ndarray) -> Spread:
    known = values[np.isfinite(values)]
    return Spread(known.size, float(known.mean()), float(((known - known.mean()) ** 2).sum()))


def write_map(path: Path, values: np.ndarray) -> Path:
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=values.shape[0],
        width=values.shape[1],
        count=1,
        dtype="float32",
        crs="EPSG:32633",
        transform=Affine(10, 0, 5e5, 0, -10, 5e6),
        nodata=np.nan,
    ) as dataset:
        dataset.write(values.astype(np.float32), 1)
    return path


def test_local_moran_is_that_of_esda() -> None:
    values = np.random.default_rng(3).normal(size=(12, 9)).cumsum(axis=0)
    weights = libpysal.weights.lat2W(12, 9, rook=False)
    expected = esda.Moran_Local(values.ravel(), weights, transformation="r", permutations=0).Is
    local, _ = hotspots(values, spread(values))
    np.testing.assert_allclose(local, expected.reshape(12, 9), rtol=1e-5)


def test_a_pixel_without_a_value_is_nobodys_neighbour() -> None:
    values = np.random.default_rng(4).normal(size=(6, 6))
    values[2, 3] = np.nan
    local, codes = hotspots(values, spread(values))
    assert np.isnan(local[2, 3])
    assert codes[2, 3] == NOT_SCORED
    about = values - np.nanmean(values)
    # The mean of the seven neighbours of (2, 2) that have a value.
    lag = np.nansum(about[1:4, 1:4]) - about[2, 2]
    expected = about[2, 2] * lag / 7 * 34 / np.nansum(about**2)
    assert local[2, 2] == pytest.approx(expected, rel=1e-5)


def test_spots_are_found_where_they_were_put() -> None:
    values = 0.01 * np.random.default_rng(5).normal(size=(60, 60))
    values[10:20, 10:20] += 1.0
    values[40:50, 40:50] -= 1.0
    values[15, 15], values[45, 45] = -0.5, 0.5
    _, codes = hotspots(values, spread(values))
    assert (codes[12, 12], codes[15, 15]) == (HIGH_HIGH, LOW_HIGH)
    assert (codes[42, 42], codes[45, 45]) == (LOW_LOW, HIGH_LOW)
    assert codes[30, 5] == NOT_REMARKABLE


def test_noise_has_hardly_any_spot() -> None:
    values = np.random.default_rng(6).normal(size=(300, 300))
    _, codes = hotspots(values, spread(values))
    # Beyond 3.29 standard deviations: one in a thousand by chance, 90 of 90,000.
    assert 40 < (codes != NOT_REMARKABLE).sum() < 160


def test_a_constant_map_has_no_spots() -> None:
    values = np.full((5, 5), 0.1)
    local, codes = hotspots(values, Spread(25, 0.1, 0.0))
    assert np.isnan(local).all()
    assert (codes == NOT_REMARKABLE).all()


def test_the_spread_of_constants_is_exactly_none(tmp_path: Path) -> None:
    found = spread_of(write_map(tmp_path / "map.tif", np.full((7, 5), 0.1)))
    assert (found.n, found.squares) == (35, 0.0)


def test_strips_have_the_bits_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(8).normal(size=(37, 11)).cumsum(axis=1).astype(np.float32)
    values[5:9, 2:6] = np.nan
    path = write_map(tmp_path / "map.tif", values)
    ((_, whole, spots),) = hotspot_strips(path)
    monkeypatch.setattr(module, "STRIP_PX", 8)
    strips = list(hotspot_strips(path))
    assert [tile.row0 for tile, _, _ in strips] == [0, 8, 16, 24, 32]
    found = spread_of(path)
    by_hand = spread(values.astype(np.float64))
    assert found.n == by_hand.n
    assert math.isclose(found.squares, by_hand.squares, rel_tol=1e-9)
    np.testing.assert_array_equal(np.concatenate([local for _, local, _ in strips]), whole)
    np.testing.assert_array_equal(np.concatenate([codes for _, _, codes in strips]), spots)
