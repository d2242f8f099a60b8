"""A small cube and an engine that forecasts it by simple rules, the real one's stand-in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS

from geoforecast.forecast.context import ContextSource
from geoforecast.forecast.kinds import Target, plain_rule
from geoforecast.forecast.outcome import Hindcast
from geoforecast.forecast.series import Series, make_series
from geoforecast.raster.cube import Cube, CubeWriter, open_cube
from geoforecast.raster.grid import Grid, Tile
from geoforecast.samples.normaliser import BandStatistics, fit_normaliser, fit_statistics, to_meta
from geoforecast.samples.split import Split
from geoforecast.settings import ValidateSettings
from geoforecast.validate import verb, writing
from geoforecast.validate.result import ValidateResult
from geoforecast.validate.writing import write_validation

STEPS, HEIGHT, WIDTH = 14, 23, 31
UTM = CRS.from_epsg(32633).to_wkt()


@dataclass(frozen=True)
class FakeHindcast:
    step: int
    lead: int
    forecasts: dict[str, np.ndarray]
    observed: np.ndarray
    valid: np.ndarray
    lower: np.ndarray | None = None
    upper: np.ndarray | None = None
    likely: np.ndarray | None = None


@dataclass(frozen=True)
class FakeEngine:
    """Hindcasts that depend on the pixel alone; persistence is the step before."""

    cube: Cube
    split: Split
    statistics: list[BandStatistics]
    methods: tuple[str, ...] = ("forecast", "persistence", "climatology")
    horizon: int = 3
    reference: str = "persistence"
    yardstick: str = "persistence"
    has_intervals: bool = False
    has_probabilities: bool = False
    taught: None = None  # nothing is held out
    blend: tuple[float, ...] = (0.8, 0.5, 0.2)
    fingerprint: str = "f00d" * 16
    junk: float = float("nan")  # what stands where the observation is invalid
    gone: str = ""  # a method without any value
    calls: list[Any] = field(default_factory=list)
    # Nothing is seen besides the bands.
    context: ContextSource = field(default_factory=lambda: ContextSource(None, None))

    @property
    def band_names(self) -> tuple[str, ...]:
        return self.cube.bands

    @property
    def units(self) -> tuple[str, ...]:
        return self.cube.units

    def hindcasts(
        self,
        tile: Tile,
        steps: range,
        level: float = 0.0,  # noqa: ARG002
        likely: int = 0,  # noqa: ARG002
    ) -> Iterator[FakeHindcast]:
        self.calls.append((tile, steps))
        values, valid = self.cube.read(0, self.cube.shape[0], tile)
        mean = np.array([s.mean for s in self.statistics], np.float32)[:, None, None]
        filled = np.where(valid, values, mean)
        for step in steps:
            for lead in range(1, self.horizon + 1):
                if step - lead < 0:
                    continue
                last = filled[step - lead]
                made = {
                    # Half way to the truth at lead 1, away from it later: skill must fall.
                    "forecast": last + (filled[step] - last) * np.float32(1.0 - 0.5 * lead),
                    "persistence": last,
                    "climatology": np.broadcast_to(mean, last.shape).astype(np.float32),
                }
                if self.gone:
                    made[self.gone] = np.full_like(last, np.nan)
                observed = np.where(valid[step], values[step], np.float32(self.junk))
                for name in made:
                    made[name] = np.where(valid[step], made[name], np.float32(self.junk))
                chosen = {name: made[name] for name in self.methods}
                yield FakeHindcast(step, lead, chosen, observed, valid[step])


def make_engine(
    path: Path,
    *,
    bands: tuple[str, ...] = ("NDVI", "LST"),
    shape: tuple[int, int] = (HEIGHT, WIDTH),
    **changes: Any,
) -> FakeEngine:
    """A cube of smooth moving fields, a fifth of it cloudy, and an engine on it."""
    rng = np.random.default_rng(7)
    height, width = shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    values = np.empty((STEPS, len(bands), *shape), np.float32)
    for step in range(STEPS):
        field_ = np.sin(x / 5 + step / 3) * np.cos(y / 6 - step / 4) + 0.2 * rng.normal(size=shape)
        for band in range(len(bands)):
            values[step, band] = 0.4 + 0.2 * field_ if band == 0 else 290 + 8 * field_
    valid = rng.random(values.shape) > 0.2
    valid[-1, :, : height // 2] = False
    transform = Affine(20, 0, 500_000, 0, -20, 5_100_000)
    times = np.datetime64("2024-01-01", "s") + np.arange(STEPS) * np.timedelta64(16 * 86400, "s")
    writer = CubeWriter(
        path,
        times=times,
        bands=bands,
        grid=Grid(UTM, transform, shape),
        dtype="float32",
        observed=np.ones(STEPS, bool),
    )
    for start in range(0, STEPS, 8):
        part = slice(start, start + 8)
        writer.write(start, 0, np.where(valid[part], values[part], np.nan), valid[part])
    writer.finish({"kind": "continuous", "units": ["", "K", ""][: len(bands)], "cadence": "16D"})
    cube = open_cube(path)
    split = Split(8, 10, STEPS)
    return FakeEngine(cube, split, fit_statistics(cube, split.train_steps), **changes)


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> FakeEngine:
    return make_engine(tmp_path_factory.mktemp("validate") / "cube.zarr")


@pytest.fixture(scope="session")
def result(engine: FakeEngine, tmp_path_factory: pytest.TempPathFactory) -> ValidateResult:
    """One whole validation that several tests look at."""
    folder = tmp_path_factory.mktemp("validation") / "default"
    return write_validation(folder, engine, ValidateSettings(tile=16))


@pytest.fixture
def use_engine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes validate_run open a given engine instead of the real one."""

    def use(engine: FakeEngine) -> None:
        monkeypatch.setattr(verb, "open_engine", lambda *_args, **_kwargs: engine)

    return use


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what takes seconds and is tested elsewhere."""
    monkeypatch.setattr(writing, "draw_pictures", lambda *_: ())


CODES = (3, 7, 200)
NEW_CODE = 99  # comes in the test steps only
CLASS_STEPS, CLASS_SHAPE = 12, (19, 26)


@dataclass(frozen=True)
class FakeClassEngine:
    """Probabilities that half know what comes; persistence is the step before."""

    series: Series
    split: Split
    methods: tuple[str, ...] = ("forecast", "persistence")
    horizon: int = 2
    reference: str = "persistence"
    yardstick: str = "persistence"
    has_intervals: bool = False
    has_probabilities: bool = True
    blend: tuple[float, ...] = (0.5, 0.5)
    fingerprint: str = "c1a55"

    @property
    def cube(self) -> Cube:
        return self.series.cube

    @property
    def band_names(self) -> tuple[str, ...]:
        return self.series.bands

    @property
    def units(self) -> tuple[str, ...]:
        return ("",) * len(self.series.bands)

    @property
    def statistics(self) -> list[BandStatistics]:
        return list(self.series.statistics)

    @property
    def decision(self) -> tuple[tuple[float, ...], ...]:
        return (plain_rule(self.series.target.kind),) * self.horizon

    def hindcasts(
        self,
        tile: Tile,
        steps: range,
        level: float = 0.0,  # noqa: ARG002
        likely: int = 0,  # noqa: ARG002
    ) -> Iterator[Hindcast]:
        values, _ = self.series.read(0, self.cube.shape[0], tile)
        came, valid = self.series.observed(0, self.cube.shape[0], tile)
        share = np.float32(1 / max(2, values.shape[1]))
        for step in steps:
            for lead in range(1, self.horizon + 1):
                before = values[step - lead]
                last = np.where(np.isnan(before), share, before)
                # Columns that can be divided by three know what comes, the others a third of it.
                known = np.where((tile.col0 + np.arange(tile.shape[1])) % 3 == 0, 0.8, 0.3)
                made = last + (came[step] - last) * known.astype(np.float32)
                yield Hindcast(
                    step,
                    lead,
                    {"forecast": made, "persistence": last},
                    came[step],
                    valid[step],
                    last=np.where(np.isnan(before), np.float32(0), before),
                )


def make_class_engine(path: Path, kind: str = "categorical") -> FakeClassEngine:
    """A cube of patches that wander, or of yes and no; a tenth of it is not seen."""
    rng = np.random.default_rng(11)
    y, x = np.mgrid[: CLASS_SHAPE[0], : CLASS_SHAPE[1]]
    steps = np.arange(CLASS_STEPS)[:, None, None]
    wave = np.sin((x + steps) / 4) + np.cos((y - steps) / 3) + rng.normal(0, 0.3, (1, *x.shape))
    binary = kind == "binary"
    codes = (
        (wave > 0.4).astype(np.float32)
        if binary
        else np.array(CODES, np.uint8)[np.digitize(wave, (0, 1))]
    )
    if not binary:
        codes[9:, :3, :5] = NEW_CODE
    valid = rng.random(codes.shape) > 0.1
    months = np.datetime64("2023-06-15", "s") + np.arange(CLASS_STEPS) * np.timedelta64(
        30 * 86400, "s"
    )
    writer = CubeWriter(
        path,
        times=months,
        bands=["cover"],
        grid=Grid(UTM, Affine(20, 0, 500_000, 0, -20, 5_100_000), CLASS_SHAPE),
        dtype="float32" if binary else "uint8",
        observed=np.ones(CLASS_STEPS, bool),
    )
    for start in range(0, CLASS_STEPS, 8):
        part = slice(start, start + 8)
        writer.write(
            start,
            0,
            np.where(valid, codes, codes.dtype.type(0))[part][:, None],
            valid[part][:, None],
        )
    split = Split(4, 6, CLASS_STEPS)
    writer.finish(
        {
            "kind": "continuous" if binary else "categorical",
            "units": [""],
            "cadence": {"step": "none", "median_seconds": 30 * 86400.0},
            "split": split.to_meta(months),
            "fingerprint": "c1a55",
            "normaliser": None,
        }
    )
    cube = open_cube(path)
    if not binary:
        return FakeClassEngine(make_series(cube, ["cover"], target=Target(kind, CODES)), split)
    statistics = fit_statistics(cube, split.train_steps)
    made = to_meta(fit_normaliser("none", statistics), statistics)
    series = make_series(cube, ["cover"], normaliser=made, target=Target(kind))
    return FakeClassEngine(series, split)


@pytest.fixture(scope="session")
def class_engine(tmp_path_factory: pytest.TempPathFactory) -> FakeClassEngine:
    return make_class_engine(tmp_path_factory.mktemp("classes") / "cube.zarr")


@pytest.fixture(scope="session")
def binary_engine(tmp_path_factory: pytest.TempPathFactory) -> FakeClassEngine:
    return make_class_engine(tmp_path_factory.mktemp("binary") / "cube.zarr", "binary")


@pytest.fixture(scope="session")
def class_result(
    class_engine: FakeClassEngine, tmp_path_factory: pytest.TempPathFactory
) -> ValidateResult:
    """One whole validation of classes that several tests look at."""
    folder = tmp_path_factory.mktemp("class_validation") / "default"
    return write_validation(folder, class_engine, ValidateSettings(tile=16))  # type: ignore[arg-type]
