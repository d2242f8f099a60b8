"""What scores must show: of itself, a perfect forecast, blur, another order, and bad input."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from geoforecast.forecast.outcome import Hindcast
from geoforecast.samples.normaliser import BandStatistics
from geoforecast.samples.split import Split
from geoforecast.settings import ValidateSettings
from geoforecast.validate.metrics.ensemble import SIZE
from geoforecast.validate.metrics.listing import describe_metrics, find_metric
from geoforecast.validate.metrics.variogram import NO_PAIRS
from geoforecast.validate.scoring.accumulate import score_raster
from geoforecast.validate.scoring.class_scores import score_classes
from geoforecast.validate.scoring.rows import MetricRow, metric_rows
from geoforecast.validate.verdict.cautions import cautions
from geoforecast.validate.writing import write_validation

FIRST, STEPS, SHAPE = 4, 14, (23, 31)
THRESHOLD = 0.55
Make = Callable[[np.ndarray, int], np.ndarray]  # (all that came, step) -> (y, x)


def truth(seed: int = 3) -> np.ndarray:
    """(step, y, x) fields that change slowly, about 0.4, without gaps."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=(STEPS, *SHAPE)), (1.5, 1, 1))
    return (0.4 + 0.1 * noise / noise.std()).astype(np.float32)


def last_seen(came: np.ndarray, step: int) -> np.ndarray:
    return came[step - 1]


def usual(came: np.ndarray, _: int) -> np.ndarray:
    return np.asarray(came[:FIRST].mean(axis=0))


class Told:
    """The engine with what came and what was forecast given as arrays; one band, one lead."""

    horizon = 1
    statistics = (BandStatistics(500, 0.4, 0.1, 0.1, 0.8, 0.4, 0.3, 0.5, 0.3, 0.1),)
    band_names, units = ("NDVI",), ("",)

    def __init__(
        self,
        engine: Any,
        came: np.ndarray,
        forecast: Make,
        valid: np.ndarray | None = None,
        *,
        steps: int = STEPS,
        likely: bool = False,
        **references: Make,
    ) -> None:
        self._engine, self._came, self._likely = engine, came, likely
        self._valid = np.ones(came.shape, bool) if valid is None else valid
        self._made = {"forecast": forecast, **references}
        self.methods, self.has_intervals = tuple(self._made), likely
        self.split = Split(FIRST - 2, FIRST, steps)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def hindcasts(self, tile: Any, steps: range, level: float = 0.0, likely: int = 0) -> Iterator:
        del level, likely
        rows, cols = tile.slices
        for step in steps:
            made = {
                name: make(self._came, step)[None, rows, cols].astype(np.float32)
                for name, make in self._made.items()
            }
            observed, valid = (
                self._came[step][None, rows, cols],
                self._valid[step][None, rows, cols],
            )
            more = {}
            if self._likely:
                more = {"lower": made["forecast"], "upper": made["forecast"]}
                more["likely"] = np.repeat(made["forecast"][None], SIZE, axis=0)
            yield Hindcast(step, 1, made, observed, valid, **more)


def rows_of(engine: Any, events: tuple[float, ...] = (THRESHOLD,)) -> dict[Any, MetricRow]:
    interval = 0.9 if engine.has_intervals else 0.0
    scores = score_raster(
        engine, engine.methods, 64, lambda *_: None, interval=interval, events=[events]
    )
    return {(row.method, row.metric): row for row in metric_rows(scores)}


def test_persistence_has_no_skill_over_itself(engine: Any, class_engine: Any) -> None:
    rows = rows_of(Told(engine, truth(), last_seen, persistence=last_seen))
    skills = {name: row for (_, name), row in rows.items() if "_skill" in name and name[-1] != "l"}
    assert {"rmse_skill_vs_persistence", "mae_skill_vs_persistence"} <= set(skills)
    told = {name: row for name, row in rows.items() if name[1].endswith("_skill")}
    assert {name for _, name in told} == {"rmse_skill", "mae_skill"}
    for row in [*skills.values(), *told.values()]:
        if not math.isnan(row.value):
            assert row.value == 0, row
        else:  # of no difference there is no chance to tell
            assert row.metric.endswith(("low", "high", "p_value")), row
            assert "both err alike" in row.reason

    class Again:
        def __getattr__(self, name: str) -> Any:
            return getattr(class_engine, name)

        def hindcasts(self, *given: Any, **more: Any) -> Iterator:
            for one in class_engine.hindcasts(*given, **more):
                said = one.forecasts | {"forecast": one.forecasts["persistence"]}
                yield dataclasses.replace(one, forecasts=said)

    probabilities = metric_rows(score_classes(Again(), class_engine.methods, 64))
    found = [row.value for row in probabilities if row.metric.startswith("brier_skill")]
    known = [value for value in found if not math.isnan(value)]
    assert known
    assert known == [0] * len(known)


# Where the best is another value than 0 or 1, or there is none: which, or why not.
NO_ERROR = "the error is zero"
SPECIAL: dict[str, float | str] = {
    "psnr": NO_ERROR,
    "spread_skill": NO_ERROR,
    "moran_error": "all pixels have one value",
    "geary_error": "all pixels have one value",
    "effective_resolution": 2.0,
    # Without spread what came is every rank: each has 1 of 21, the outermost should have 1 of 40.
    "rank_unevenness": 19 * (1 / 20 - 1 / 21) + 2 * (1 / 21 - 1 / 40),
}
BEST = {"lower": 0.0, "zero": 0.0, "higher": 1.0, "one": 1.0}


@pytest.fixture(scope="module")
def perfect(engine: Any, class_engine: Any, binary_engine: Any) -> list[MetricRow]:
    """Rows of forecasts that are what came, of every kind."""

    def right(came: np.ndarray, step: int) -> np.ndarray:
        return came[step]

    made = Told(engine, truth(), right, likely=True, persistence=last_seen, climatology=usual)
    rows = list(rows_of(made).values())

    class Right:
        def __init__(self, classes: Any) -> None:
            self._classes = classes

        def __getattr__(self, name: str) -> Any:
            return getattr(self._classes, name)

        def hindcasts(self, *given: Any, **more: Any) -> Iterator:
            for one in self._classes.hindcasts(*given, **more):
                seen = one.valid & one.observed.any(axis=0)
                came = one.observed.astype(np.float32)
                if len(came) == 1:  # yes or no: no is no unknown class
                    seen = one.valid
                said = one.forecasts | {"forecast": came}
                yield dataclasses.replace(one, forecasts=said, valid=seen)

    for classes in (class_engine, binary_engine):
        rows += metric_rows(score_classes(Right(classes), classes.methods, 64))
    return [row for row in rows if row.method == "forecast"]


def test_a_perfect_forecast_has_the_best_of_every_metric(perfect: list[MetricRow]) -> None:
    value = {row.metric: row.value for row in perfect}
    told = set()
    for row in perfect:
        found = find_metric(row.metric)
        if found is None or row.metric.endswith("class_unknown"):
            continue  # skills, and what no forecast can say
        one, _ = found
        told.add(one.name)
        best = SPECIAL.get(one.name, BEST.get(one.better))
        if row.reason == NO_PAIRS:  # blocks of this raster are 22 px
            assert row.metric.endswith("_32px")
        elif isinstance(best, str):
            assert math.isnan(row.value), row
            assert best in row.reason, row
        elif one.name == "echo":  # what came is less like what was last seen than like itself
            assert row.value < 0
        elif one.name == "brier_resolution":  # as much as what came varies
            assert 0 < row.value <= 0.25
        elif best is None:
            came = row.metric.removesuffix("_observed") + "_observed"
            assert row.value == value[came], row
        else:
            assert row.value == pytest.approx(best, abs=1e-6), row
    assert told == {note.name for note in describe_metrics()}
    assert value["rmse_skill"] == 1
    assert value["interval_coverage"] == 1


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_shuffled_observations_leave_no_skill_but_chance(engine: Any, seed: int) -> None:
    """A forecast that knows what comes is worth nothing beside dates in another order."""
    came = truth()
    order = np.arange(STEPS)
    order[FIRST:] = np.random.default_rng(seed).permutation(order[FIRST:])

    def knowing(_: np.ndarray, step: int) -> np.ndarray:
        return np.asarray(came[step] + np.float32(0.01))

    simple = {"persistence": last_seen, "climatology": usual}
    sure = rows_of(Told(engine, came, knowing, **simple))
    assert sure["forecast", "rmse_skill_low"].value > 0.5
    assert sure["forecast", "rmse_p_value"].value < 0.01
    lost = rows_of(Told(engine, came[order], knowing, **simple))
    for reference in simple:
        assert lost["forecast", f"rmse_skill_vs_{reference}"].value < 0.25
    assert lost["forecast", "rmse_skill_low"].value < 0
    assert lost["forecast", "rmse_p_value"].value > 0.1


def test_blur_shows_where_errors_do_not_tell_it(engine: Any) -> None:
    rng = np.random.default_rng(8)
    came = truth() + rng.normal(0, 0.05, (STEPS, *SHAPE)).astype(np.float32)

    def blurred(all_: np.ndarray, step: int) -> np.ndarray:
        return np.asarray(ndimage.gaussian_filter(all_[step], 1.0))

    def shifted(all_: np.ndarray, step: int) -> np.ndarray:
        return np.roll(all_[step], 1, axis=0)

    soft = rows_of(Told(engine, came, blurred, persistence=shifted))
    value = {key: row.value for key, row in soft.items()}
    # Of the two the blurred one has the smaller error, and none of the structure.
    assert value["forecast", "rmse"] < value["persistence", "rmse"]
    assert value["forecast", "fine_power"] < 0.4
    assert value["persistence", "fine_power"] > 0.8
    assert value["forecast", "effective_resolution"] > value["persistence", "effective_resolution"]
    assert value["forecast", "variance_ratio"] < 0.5
    assert value["persistence", "variance_ratio"] == pytest.approx(1, abs=0.1)
    assert value["forecast", "moran"] > value["forecast", "moran_observed"] + 0.1
    name = f"fss_{THRESHOLD}_3px"
    assert value["forecast", name] < value["persistence", name] - 0.1


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda came, step: came[step], ""),
        (lambda came, step: np.roll(came[step], 1, axis=1), "px east of what came"),
        (last_seen, "repeats what was last seen"),
    ],
)
def test_a_pixel_aside_or_a_step_late_is_said(engine: Any, make: Make, words: str) -> None:
    smooth = ndimage.gaussian_filter(truth(), (0, 1, 1))
    rows = rows_of(Told(engine, smooth, make, persistence=last_seen), ())
    said = cautions(tuple(rows.values()), engine.cube.grid)
    assert len(said) == bool(words)
    assert all(words in one for one in said)


def hurt(kind: str) -> tuple[np.ndarray, Make, np.ndarray, int]:
    """What came, the forecast, where it is valid, and how many steps there are; of a bad kind."""
    came, valid, steps = truth(), np.ones((STEPS, *SHAPE), bool), STEPS
    make: Make = lambda all_, step: all_[step] * np.float32(0.9)  # noqa: E731
    if kind == "nothing valid":
        valid[:] = False
    elif kind == "constant":
        came[:] = 0.4
        make = lambda all_, step: all_[step]  # noqa: E731
    elif kind == "constant forecast":
        make = lambda *_: np.full(SHAPE, 0.4)  # noqa: E731
    elif kind == "constant through time":
        came[:] = came[0]
    elif kind == "one frame":
        steps = FIRST + 1
    elif kind == "one pixel":
        valid[:] = False
        valid[:, 7, 9] = True
    elif kind == "no numbers":
        came[:, 2], came[:, 4], came[:, 6] = np.nan, np.inf, -np.inf
        came[-1, 8] = np.inf  # what was last seen there is a number

        def make(all_: np.ndarray, step: int) -> np.ndarray:
            made = np.where(np.isfinite(all_[step]), all_[step], 0.4) * 0.9
            made[:, 2], made[:, 3], made[:, 5] = np.nan, np.inf, -np.inf
            return np.asarray(made)

    return came, make, valid, steps


KINDS = {
    "nothing valid": 0,
    "constant": 713,  # 23 x 31
    "constant forecast": 713,
    "constant through time": 713,
    "one frame": 713,
    "one pixel": 1,
    "no numbers": 20 * 28,  # three rows and three columns less
}


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("kind", KINDS)
def test_bad_input_has_a_value_or_a_reason_and_its_pixels(
    engine: Any, kind: str, tmp_path: Any
) -> None:
    came, make, valid, steps = hurt(kind)
    made = Told(engine, came, make, valid, steps=steps, likely=True, persistence=last_seen)
    settings = ValidateSettings(tile=64, events=(THRESHOLD,))
    result = write_validation(tmp_path / "run", made, settings)
    with result.csv_path.open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    entries = json.loads(result.json_path.read_text())["rows"]
    assert len(lines) == len(entries) > 50
    each = KINDS[kind] * (steps - FIRST) - (28 if kind == "no numbers" else 0)
    for line, entry in zip(lines, entries, strict=True):
        if line["value"]:
            assert math.isfinite(float(line["value"])), line
        else:
            assert line["reason"], line
            assert entry["value"] is None
        assert entry["pixels"] == int(line["pixels"])
        if not entry["part"] and entry["metric"] in (
            "rmse",
            "crps",
            "rmse_skill",
            "moran",
            "interval_coverage",
        ):
            assert entry["pixels"] == each, entry
    rmse = next(entry for entry in entries if entry["metric"] == "rmse")
    assert (rmse["value"] is None) == (each == 0)
