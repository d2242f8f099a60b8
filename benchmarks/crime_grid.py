"""The crime-grid preset on made-up crimes: its gain over the historical average and our default.

Daily counts of six types on a grid of 77 x 59 cells: hot spots of log-normal strength, a weekly
rhythm, a slow drift, and outbreaks that spread from a cell and die away in some days; counts are
Poisson. Everything is drawn from one seed. Both runs learn and are scored one step ahead; the
test block is the last fifth.

    python benchmarks/crime_grid.py [--days 60] [--epochs 4] [--full]
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from geoforecast.project import Project
from geoforecast.stack import stack_scenes
from geoforecast.train import train_model
from geoforecast.validate import validate_run

HEIGHT, WIDTH = 77, 59
TYPES = ("theft", "burglary", "assault", "robbery", "vandalism", "vehicle")
MEAN_COUNT = (1.2, 0.5, 0.7, 0.25, 0.6, 0.4)  # a cell and day
CELL_M = 250.0
START = np.datetime64("2023-01-02")


def crimes(days: int, seed: int) -> NDArray[np.uint16]:
    """(day, type, y, x) counts."""
    rng = np.random.default_rng(seed)
    shape = (HEIGHT, WIDTH)
    weekday = np.arange(days) % 7
    counts = np.empty((days, len(TYPES), *shape), np.uint16)
    for kind, mean in enumerate(MEAN_COUNT):
        spots = gaussian_filter(rng.standard_normal(shape), 1.5)
        spots = np.exp(1.1 * spots / spots.std())
        drift = gaussian_filter(rng.standard_normal(shape), 12)
        drift *= 0.8 / drift.std()
        rhythm = 1 + 0.25 * np.sin(2 * np.pi * (weekday + rng.uniform(0, 7)) / 7)
        unrest = np.zeros(shape)
        for day in range(days):
            sparks = rng.random(shape) < 0.004
            unrest = 0.8 * gaussian_filter(unrest, 0.6) + sparks * rng.exponential(2.0, shape)
            rate = spots * np.exp(drift * (day / days - 0.5)) * rhythm[day] * (1 + unrest)
            counts[day, kind] = rng.poisson(mean * rate / spots.mean())
    return counts


def write_scenes(folder: Path, counts: NDArray[np.uint16]) -> None:
    """One GeoTIFF a day, one band a type."""
    folder.mkdir()
    transform = rasterio.transform.from_origin(440_000, 4_640_000, CELL_M, CELL_M)
    for day, bands in enumerate(counts):
        path = folder / f"crimes_{str(START + day).replace('-', '')}.tif"
        with rasterio.open(
            path,
            "w",
            driver="GTiff",
            height=HEIGHT,
            width=WIDTH,
            count=len(TYPES),
            dtype="uint16",
            crs="EPSG:32616",
            transform=transform,
        ) as dataset:
            dataset.write(bands)
            dataset.descriptions = TYPES


def score(project: Project, run: str, **settings: Any) -> tuple[dict[str, float], float, str]:
    """Errors on the test block, CPU minutes, and what validate says."""
    begun = time.process_time()
    train_model(project, run=run, **settings)
    result = validate_run(project, project.settings("validate", run=run))
    minutes = (time.process_time() - begun) / 60
    errors = {}
    for name in ("rmse", "mae"):
        for method in ("forecast", "mean"):
            found = [
                row.value
                for row in result.rows
                if (row.method, row.metric, row.lead) == (method, name, 1)
            ]
            errors[f"{name} {method}"] = float(np.mean(found))
    return errors, minutes, result.sentence.rpartition(". ")[2]


def main() -> None:
    """Print the errors of both runs beside those of the historical average."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=4, help="of the preset, which has 150")
    parser.add_argument("--full", action="store_true", help="360 days and all 150 epochs")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    days = 360 if given.full else given.days
    preset: dict[str, Any] = {"preset": "crime-grid"}
    if not given.full:
        # A step takes seconds: few steps, each larger, and no second training.
        preset |= {"epochs": given.epochs, "lr": 3e-3, "retrain": False}
    logging.getLogger("geoforecast").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as place:
        project = Project(Path(place) / "project")
        scenes = Path(place) / "scenes"
        write_scenes(scenes, crimes(days, given.seed))
        stack_scenes(
            project,
            [str(scenes)],
            project.settings("stack", normalise="log1p"),
            project.settings("split"),
        )
        print(f"{days} days of {len(TYPES)} types on {HEIGHT} x {WIDTH} cells, one day ahead:")
        print(f"  {'':22}{'RMSE':>8}{'MAE':>8}{'below the historical average':>32}{'CPU min':>9}")
        ours: dict[str, Any] = {"horizon": 1, "kind": "count", "retrain": given.full}
        runs = {"crime-grid": preset, "default": ours}
        for run, settings in runs.items():
            errors, minutes, sentence = score(project, run, **settings)
            if run == "crime-grid":
                own, said = errors, sentence
                print(
                    f"  {'historical average':22}{errors['rmse mean']:8.4f}"
                    f"{errors['mae mean']:8.4f}"
                )
            gains = [
                100 * (1 - errors[f"{e} forecast"] / errors[f"{e} mean"]) for e in ("rmse", "mae")
            ]
            text = f"RMSE {gains[0]:.1f} %, MAE {gains[1]:.1f} %"
            print(
                f"  {run:22}{errors['rmse forecast']:8.4f}{errors['mae forecast']:8.4f}"
                f"{text:>32}{minutes:9.1f}",
                flush=True,
            )
    ratios = [100 * (1 - own[f"{e} forecast"] / errors[f"{e} forecast"]) for e in ("rmse", "mae")]
    print(f"crime-grid below our default: RMSE {ratios[0]:.1f} %, MAE {ratios[1]:.1f} %")
    print(f"validate of crime-grid: {said}")


if __name__ == "__main__":
    main()
