"""Make the two sample series: fields under Sentinel-2, and rain under a radar.

Everything is synthetic and seeded: the same numpy, scipy and PROJ give the same pixels.

    python sample_data/make_samples.py [OUT]     # default: the folder of this script

What is made, and the oddities planted in it, is told in the README.md beside this file.
"""

from __future__ import annotations

import argparse
import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.transform import Affine, from_origin
from rasterio.warp import transform as warp_points
from scipy.linalg import expm
from scipy.ndimage import gaussian_filter, map_coordinates

Field = NDArray[np.float64]

# ---- Sentinel-2 -----------------------------------------------------------------------------

S2_SEED = 20190220
S2_START = dt.datetime(2019, 2, 20, 10, 10, 21)
S2_TIMES = 48
SIDE = 96  # pixels of 10 m in the UTM 33 scenes
LEFT_33, TOP_33 = 281400.0, 5345500.0
# 86 pixels, turned by 4.5 degrees between the zones, lie inside the 96 of zone 33.
SIDE_32 = 86
LEFT_32, TOP_32 = 727080.0, 5345820.0

DUPLICATE = 9  # the overpass that comes in both zones
OVERCAST = (14, 37)  # no pixel usable
SWATH_EDGE = {4: 0.85, 12: 0.6, 21: 0.75, 28: 0.55, 41: 0.7}  # part inside the swath
IN_ZONE_32 = (3, 7, 11, 16, 20, 24, 29, 33, 38, 43)


@dataclass(frozen=True)
class Crop:
    """One kind of land and its year, in days of the year and cover fractions."""

    base: float
    peak: float
    green_up: float
    senescence: float
    pace_days: float = 9.0
    harvest: float | None = None


CROPS = (
    Crop(base=0.14, peak=0.92, green_up=92, senescence=222, harvest=188),  # winter cereal
    Crop(base=0.10, peak=0.95, green_up=158, senescence=268, pace_days=8),  # maize
    Crop(base=0.45, peak=0.85, green_up=88, senescence=300, pace_days=14),  # meadow
    Crop(base=0.35, peak=0.95, green_up=116, senescence=292, pace_days=8),  # deciduous wood
    Crop(base=0.12, peak=0.88, green_up=74, senescence=176, harvest=172),  # oilseed rape
)
YEAR_SHIFT_DAYS = {2019: 3.0, 2020: -6.0, 2021: 5.0}
WATER, VILLAGE = -1, -2


@dataclass(frozen=True)
class Landscape:
    """What stays: parcels and their crops, and static maps, on the zone 33 grid."""

    crop: NDArray[np.int64]  # (y, x) index into CROPS, or WATER, VILLAGE
    delay_days: Field  # (y, x) the wave of green-up and each parcel's own habit
    along: Field  # (y, x) 0..1 through each parcel, the way its harvest goes
    vigour: Field  # (y, x) factor about 1
    soil_red: Field  # (y, x) reflectance of bare soil


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], sigma_px: float) -> Field:
    """A Gaussian random field of mean 0 and standard deviation 1."""
    field = gaussian_filter(rng.standard_normal(shape), sigma_px, mode="wrap")
    result: Field = (field - field.mean()) / field.std()
    return result


def make_landscape(rng: np.random.Generator) -> Landscape:
    """Draw the parcels and everything about the land that does not change."""
    rows, cols = np.mgrid[0:SIDE, 0:SIDE].astype(float)
    parcels = 36
    # A stretched, turned Voronoi diagram looks like strips of fields.
    turned = (rows * 0.94 + cols * 0.34, (cols * 0.94 - rows * 0.34) * 1.7)
    seed_rows, seed_cols = rng.uniform(0, SIDE, (2, parcels))
    seeds = (seed_rows * 0.94 + seed_cols * 0.34, (seed_cols * 0.94 - seed_rows * 0.34) * 1.7)
    distance = (turned[0][..., None] - seeds[0]) ** 2 + (turned[1][..., None] - seeds[1]) ** 2
    parcel = distance.argmin(axis=-1)

    kinds = rng.choice([0, 0, 0, 1, 1, 2, 3, 4], size=parcels)
    kinds[parcel[70, 20]] = WATER
    kinds[parcel[30, 60]] = VILLAGE

    along = np.zeros((SIDE, SIDE))
    for number in range(parcels):
        inside = parcel == number
        if inside.any():
            angle = rng.uniform(0, 2 * np.pi)
            way = (rows * np.cos(angle) + cols * np.sin(angle))[inside]
            along[inside] = (way - way.min()) / max(way.max() - way.min(), 1.0)
    habit = rng.normal(0, 5, parcels)[parcel]
    wave = 36.0 * (0.6 * cols + 0.4 * rows) / SIDE
    return Landscape(
        crop=kinds[parcel],
        delay_days=wave - 18.0 + habit,
        along=along,
        vigour=1 + 0.05 * smooth_noise(rng, (SIDE, SIDE), 1.2),
        soil_red=0.15 + 0.015 * smooth_noise(rng, (SIDE, SIDE), 4.0),
    )


def green_cover(land: Landscape, time: dt.datetime) -> Field:
    """Fraction of ground under green leaves, (y, x), at one time."""
    doy = float(time.timetuple().tm_yday) - YEAR_SHIFT_DAYS[time.year]
    cover = np.zeros(land.crop.shape)
    for index, crop in enumerate(CROPS):
        rise = logistic((doy - crop.green_up - land.delay_days) / crop.pace_days)
        fall = logistic((doy - crop.senescence - 0.5 * land.delay_days) / crop.pace_days)
        value = crop.base + (crop.peak - crop.base) * (rise - fall)
        if crop.harvest is not None:
            # The harvest takes 42 days from one end of a parcel to the other.
            cut = doy > crop.harvest + 0.5 * land.delay_days + 42.0 * land.along
            regrowth = 0.16 + 0.18 * logistic((doy - 285) / 10)
            value = np.where(cut, regrowth, value)
        cover = np.where(land.crop == index, value, cover)
    return cover


def logistic(x: Field | float) -> Field:
    """1 / (1 + exp(-x))."""
    result: Field = 1.0 / (1.0 + np.exp(-np.asarray(x, dtype=float)))
    return result


@dataclass(frozen=True)
class Overpass:
    """One acquisition on the zone 33 grid, before it is cut to a scene."""

    time: dt.datetime
    red: Field
    nir: Field
    cloud: Field  # opacity 0..1
    shadow: Field  # darkness 0..1
    inside: Field  # 1 in the swath, 0 beyond its edge


def make_overpasses(rng: np.random.Generator) -> list[Overpass]:
    """All acquisitions in order of time."""
    land = make_landscape(rng)
    shape = (SIDE, SIDE)
    anomaly = smooth_noise(rng, shape, 10.0)
    gaps = rng.choice([10, 15, 20, 25, 30], size=S2_TIMES - 1, p=[0.2, 0.25, 0.25, 0.2, 0.1])
    overpasses = []
    time, days = S2_START, 0
    for number in range(S2_TIMES):
        if number:
            days = int(gaps[number - 1])
            time += dt.timedelta(days=days, seconds=int(rng.integers(-9, 10)))
        # Weather leaves an anomaly that is half forgotten after 40 days.
        memory = 0.5 ** (days / 40)
        anomaly = memory * anomaly + np.sqrt(1 - memory**2) * smooth_noise(rng, shape, 10.0)
        cover = np.clip((green_cover(land, time) + 0.04 * anomaly) * land.vigour, 0.02, 0.98)
        soil = land.soil_red * (1 + 0.05 * rng.standard_normal())
        red = soil * (1 - cover) + 0.035 * cover
        nir = (soil + 0.09) * (1 - cover) + 0.46 * cover
        for kind, values in ((WATER, (0.035, 0.02)), (VILLAGE, (0.14, 0.21))):
            red = np.where(land.crop == kind, values[0], red)
            nir = np.where(land.crop == kind, values[1], nir)
        haze = abs(rng.normal(0, 0.006))
        cloud, shadow = make_clouds(rng, number)
        overpasses.append(
            Overpass(time, red + haze, nir + 0.6 * haze, cloud, shadow, swath(rng, number))
        )
    return overpasses


def make_clouds(rng: np.random.Generator, number: int) -> tuple[Field, Field]:
    """Opacity of the clouds and darkness of their shadows, each (y, x) in 0..1."""
    field = smooth_noise(rng, (SIDE, SIDE), 9.0)
    weather = rng.choice(3, p=[0.4, 0.42, 0.18])
    fraction = (
        rng.uniform(0.0, 0.04),
        rng.uniform(0.08, 0.45),
        rng.uniform(0.6, 0.92),
    )[weather]
    if number in OVERCAST:
        return np.clip(0.85 + 0.1 * field, 0.6, 1.0), np.zeros(field.shape)
    if number == DUPLICATE:
        fraction = 0.15
    edge = np.quantile(field, 1 - fraction)
    cloud = np.clip((field - edge) / 0.35, 0.0, 1.0)
    # The morning sun stands in the south-east: shadows fall to the north-west.
    shadow = np.zeros_like(cloud)
    shadow[:-6, :-4] = cloud[6:, 4:]
    return cloud, shadow * (1 - cloud)


def swath(rng: np.random.Generator, number: int) -> Field:
    """1 inside the swath, 0 beyond its slanted edge, (y, x)."""
    tilt = rng.uniform(0.15, 0.3)
    part = SWATH_EDGE.get(number)
    rows, cols = np.mgrid[0:SIDE, 0:SIDE].astype(float)
    if part is None:
        return np.ones((SIDE, SIDE))
    inside: Field = (cols + tilt * (rows - SIDE / 2) < part * SIDE).astype(float)
    return inside


def write_scene(
    folder: Path, overpass: Overpass, zone: int, satellite: str, rng: np.random.Generator
) -> None:
    """Write B04, B08 (10 m) and SCL (20 m) of one overpass in one UTM zone."""
    if zone == 33:
        side, transform, tile = SIDE, from_origin(LEFT_33, TOP_33, 10, 10), "T33UTP"
    else:
        side, transform, tile = SIDE_32, from_origin(LEFT_32, TOP_32, 10, 10), "T32UQU"
    red, nir, cloud, shadow = (
        on_scene(field, zone, side, transform, order=1)
        for field in (overpass.red, overpass.nir, overpass.cloud, overpass.shadow)
    )
    inside = on_scene(overpass.inside, zone, side, transform, order=0) > 0.5

    bands = {}
    for name, ground, noise, bright in (("B04", red, 0.005, 0.52), ("B08", nir, 0.009, 0.6)):
        seen = ground * (1 - 0.5 * shadow)
        seen = (1 - cloud) * seen + cloud * bright
        seen = seen * (1 + 0.01 * rng.standard_normal()) + noise * rng.standard_normal(seen.shape)
        bands[name] = np.where(inside, np.clip(np.rint(seen * 10000), 1, 12000), 0)

    stem = f"{satellite}_{tile}_{overpass.time:%Y%m%dT%H%M%S}"
    for name, values in bands.items():
        write_geotiff(
            folder / f"{stem}_{name}.tif",
            values.astype(np.uint16),
            crs=f"EPSG:326{zone}",
            transform=transform,
            nodata=0,
            scale=1e-4,
            description=name,
        )
    write_geotiff(
        folder / f"{stem}_SCL.tif",
        scene_classes(red, nir, cloud, shadow, inside),
        crs=f"EPSG:326{zone}",
        transform=transform * Affine.scale(2),
        nodata=0,
        description="SCL",
    )


def on_scene(field: Field, zone: int, side: int, transform: Affine, order: int) -> Field:
    """A zone 33 field at the pixel centres of a scene, (side, side)."""
    if zone == 33:
        return field
    rows, cols = np.mgrid[0:side, 0:side] + 0.5
    x = transform.c + cols * transform.a
    y = transform.f + rows * transform.e
    x_33, y_33 = warp_points("EPSG:32632", "EPSG:32633", x.ravel(), y.ravel())
    at_cols = (np.asarray(x_33) - LEFT_33) / 10 - 0.5
    at_rows = (TOP_33 - np.asarray(y_33)) / 10 - 0.5
    sampled: Field = map_coordinates(field, [at_rows, at_cols], order=order, mode="nearest")
    return sampled.reshape(side, side)


def scene_classes(
    red: Field, nir: Field, cloud: Field, shadow: Field, inside: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """The scene classification at 20 m, in Sentinel-2's codes."""
    red, nir, cloud, shadow = (halve(field) for field in (red, nir, cloud, shadow))
    ndvi = (nir - red) / (nir + red)
    classes = np.where(ndvi > 0.4, 4, 5)
    classes[ndvi < 0] = 6
    classes[shadow > 0.15] = 3
    classes[cloud > 0.03] = 10
    classes[cloud > 0.15] = 8
    classes[cloud > 0.5] = 9
    classes[halve(inside.astype(float)) < 0.5] = 0
    return classes.astype(np.uint8)


def halve(field: Field) -> Field:
    """Means of 2x2 blocks."""
    rows, cols = field.shape
    result: Field = field.reshape(rows // 2, 2, cols // 2, 2).mean(axis=(1, 3))
    return result


def make_sentinel2(folder: Path) -> None:
    """Write the Sentinel-2 series."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(S2_SEED)
    for number, overpass in enumerate(make_overpasses(rng)):
        days = (overpass.time - S2_START).days
        satellite = "S2A" if round(days / 5) % 2 == 0 else "S2B"
        zones = (32, 33) if number == DUPLICATE else (32,) if number in IN_ZONE_32 else (33,)
        for zone in zones:
            write_scene(folder, overpass, zone, satellite, rng)


# ---- radar ----------------------------------------------------------------------------------

RADAR_SEED = 20230615
RADAR_START = dt.datetime(2023, 6, 15, 12, 0)
FRAMES = 36
RADAR_SIDE = 128  # pixels of 1 km
RADAR_RANGE_PX = 62.0
CELLS = 420
REACH_PX = 140.0  # half side of the moving frame of reference in which cells are drawn
DRIFT_PX = np.array([1.9, 0.8])  # (x, y) a step, at the centre
# Turning (antisymmetric part) and shear: 1.4 to 2.7 px a step within the radar's range.
GRADIENT = np.array([[0.000, -0.011], [0.006, 0.000]])


@dataclass(frozen=True)
class Cells:
    """Rain cells in the moving frame of reference; each array is (cell,)."""

    x: Field
    y: Field
    long_px: Field
    wide_px: Field
    angle: Field
    peak_mm_h: Field
    birth: Field
    life: Field


def make_cells(rng: np.random.Generator) -> Cells:
    """Draw all cells that ever live."""
    wide = rng.uniform(2.5, 6.5, CELLS)
    return Cells(
        x=rng.uniform(-REACH_PX, REACH_PX, CELLS),
        y=rng.uniform(-REACH_PX, REACH_PX, CELLS),
        long_px=wide * rng.uniform(1.0, 2.4, CELLS),
        wide_px=wide,
        angle=rng.uniform(0, np.pi, CELLS),
        peak_mm_h=np.minimum(4.0 * np.exp(0.8 * rng.standard_normal(CELLS)), 45.0),
        birth=rng.uniform(-30, FRAMES, CELLS),
        life=rng.uniform(24, 60, CELLS),
    )


def origin_of(x: Field, y: Field, steps: float) -> tuple[Field, Field]:
    """Where air now at (x, y), pixels from the centre, was ``steps`` ago; exact."""
    motion = np.zeros((3, 3))
    motion[:2, :2] = GRADIENT
    motion[:2, 2] = DRIFT_PX
    back = expm(-steps * motion)
    return (
        back[0, 0] * x + back[0, 1] * y + back[0, 2],
        back[1, 0] * x + back[1, 1] * y + back[1, 2],
    )


def rain_at(frame: int, cells: Cells, textures: tuple[Field, Field]) -> Field:
    """Rain rate in mm/h, (y, x), of one frame."""
    rows, cols = np.mgrid[0:RADAR_SIDE, 0:RADAR_SIDE] - (RADAR_SIDE - 1) / 2
    x, y = origin_of(cols, rows, frame - FRAMES / 2)
    rain = np.zeros(x.shape)
    age = (frame - cells.birth) / cells.life
    for k in np.flatnonzero((age > 0) & (age < 1)):
        cos, sin = np.cos(cells.angle[k]), np.sin(cells.angle[k])
        dx, dy = x - cells.x[k], y - cells.y[k]
        along = (dx * cos + dy * sin) / cells.long_px[k]
        across = (dy * cos - dx * sin) / cells.wide_px[k]
        strength = cells.peak_mm_h[k] * np.sin(np.pi * age[k]) ** 2
        rain += strength * np.exp(-0.5 * (along**2 + across**2))
    # Small-scale texture moves along and slowly turns into another one.
    turn = 0.9 * frame / FRAMES
    texture = np.cos(turn) * textures[0] + np.sin(turn) * textures[1]
    at = [y + textures[0].shape[0] / 2, x + textures[0].shape[1] / 2]
    rain *= np.exp(0.45 * map_coordinates(texture, at, order=1, mode="grid-wrap"))
    return np.maximum(rain - 0.2, 0.0)


def make_radar(folder: Path) -> None:
    """Write the radar series."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(RADAR_SEED)
    cells = make_cells(rng)
    textures = (smooth_noise(rng, (320, 320), 1.8), smooth_noise(rng, (320, 320), 1.8))
    rows, cols = np.mgrid[0:RADAR_SIDE, 0:RADAR_SIDE] - (RADAR_SIDE - 1) / 2
    outside = np.hypot(rows, cols) > RADAR_RANGE_PX
    for frame in range(FRAMES):
        speckle = np.exp(0.06 * rng.standard_normal((RADAR_SIDE, RADAR_SIDE)))
        rain = np.rint(rain_at(frame, cells, textures) * speckle * 100)
        rain[outside] = -9999
        time = RADAR_START + dt.timedelta(minutes=5 * frame)
        write_geotiff(
            folder / f"rain_{time:%Y%m%d%H%M}.tif",
            rain.astype(np.int16),
            crs="EPSG:3067",
            transform=from_origin(300000, 6900000, 1000, 1000),
            nodata=-9999,
            scale=0.01,
            description="rain_rate",
            unit="mm/h",
        )


# ---- both -----------------------------------------------------------------------------------


def write_geotiff(
    path: Path,
    values: NDArray[np.generic],
    *,
    crs: str,
    transform: Affine,
    nodata: float,
    description: str,
    scale: float | None = None,
    unit: str = "",
) -> None:
    """Write one band as a deflated GeoTIFF."""
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=values.shape[0],
        width=values.shape[1],
        count=1,
        dtype=values.dtype,
        crs=crs,
        transform=transform,
        nodata=nodata,
        compress="deflate",
        predictor=2,
        zlevel=9,
    ) as dst:
        dst.write(values, 1)
        dst.set_band_description(1, description)
        if scale is not None:
            dst.scales = (scale,)
        if unit:
            dst.set_band_unit(1, unit)


def main() -> None:
    """Make both series."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("out", nargs="?", type=Path, default=Path(__file__).parent)
    out = parser.parse_args().out
    make_sentinel2(out / "sentinel2")
    make_radar(out / "radar")


if __name__ == "__main__":
    main()
