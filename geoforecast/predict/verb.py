"""The verb: forecast tile by tile, one COG a valid time."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from geoforecast import __version__
from geoforecast.errors import DateError, InterruptedRunError, SettingsError
from geoforecast.forecast.engine import Engine, Forecast, open_engine
from geoforecast.forecast.kinds import CATEGORICAL, Target
from geoforecast.forecast.series import future_times, to_days
from geoforecast.models.checkpoint import FINAL, final_until
from geoforecast.project import Project, recorded, replacing
from geoforecast.raster.geotiff import CogWriter
from geoforecast.raster.grid import Tile
from geoforecast.settings import PredictSettings

log = logging.getLogger(__name__)

MOST_STEPS = 500
LAYERS = ("forecast", "lower", "upper")
PROBABILITY = "probability"
# The day may be left out only where a dash tells months from days.
MOMENT = re.compile(r"(\d{4})-?(\d\d)(?:(?<=-\d\d)|-?(\d\d)(?:[T ](\d\d):?(\d\d)(?::?(\d\d))?)?)Z?")


@dataclass(frozen=True)
class PredictResult:
    """The forecasts written.

    Attributes:
        run: the run used.
        init_time: the last step that was read.
        valid_times: (lead,) the times forecast.
        files: one COG a valid time, in order.
        bounds: lower and upper COG of each, if there are intervals.
        samples: COGs of each sample, in order of valid times.
        probabilities: COG of the probabilities of each, if classes or yes and no are forecast.
        valid_fraction: share of pixels that have a forecast.
        weights: ``final`` if they were fitted on every step, test block included, else
            ``honest``.
        seen_until: the last step that the run has learned from.
    """

    run: str
    init_time: np.datetime64
    valid_times: tuple[np.datetime64, ...]
    files: tuple[Path, ...]
    bounds: tuple[tuple[Path, Path], ...]
    samples: tuple[tuple[Path, ...], ...]
    probabilities: tuple[Path, ...]
    valid_fraction: float
    weights: str
    seen_until: str

    def describe(self) -> str:
        """The result as a terminal shows it."""
        until = f", fitted on everything up to {self.seen_until}" if self.weights == FINAL else ""
        lines = [f"Forecasts from {self.init_time} (run '{self.run}'{until}):"]
        for time, path in zip(self.valid_times, self.files, strict=True):
            lines.append(f"  {time}  {path}")
        if self.bounds:
            lines.append("Beside each, lower_… and upper_… hold the ends of its interval.")
        if self.samples:
            names = ", ".join(f"{chain[0].name.split('_')[0]}_…" for chain in self.samples[:2])
            more = ", …" if len(self.samples) > 2 else ""
            lines.append(f"{names}{more} hold {len(self.samples)} draws of what may come.")
        if self.probabilities:
            lines.append("Beside each, probability_… holds how likely each class is, one a band.")
        lines.append(f"{100 * self.valid_fraction:.1f} % of the pixels have a forecast.")
        return "\n".join(lines)


def run_prediction(
    project: Project, settings: PredictSettings, *, interrupted: Callable[[], bool]
) -> PredictResult:
    """Write forecasts; see geoforecast.predict.predict_rasters."""
    with project.lock(), recorded(project, "predict", settings):
        return _predict(project, settings, interrupted)


def _predict(
    project: Project, settings: PredictSettings, interrupted: Callable[[], bool]
) -> PredictResult:
    engine, init_step = _choose_engine(project, settings)
    leads = settings.steps or engine.horizon
    if leads > MOST_STEPS:
        raise SettingsError(
            f"--steps is {leads}; the run's horizon is {engine.horizon}.",
            remedy=f"Give {MOST_STEPS} or less: nothing is known of steps that far away.",
        )
    if leads > engine.horizon:
        log.warning(
            "leads %d to %d lie beyond the run's horizon and are not validated",
            engine.horizon + 1,
            leads,
        )
    times = valid_times(engine.cube.times, init_step, leads)
    engine.context.check_drivers(init_step, times)
    init_time = engine.cube.times[init_step]
    folder = project.forecast_dir(settings.run, time_name(init_time, [init_time, *times]))
    stamps = [time_name(time, [init_time, *times]) for time in times]
    layers = LAYERS if settings.interval and engine.has_intervals else LAYERS[:1]
    if engine.series.target.is_probability:
        layers = (*layers, PROBABILITY)
        if settings.interval:
            log.info("no intervals: a probability says by itself how sure it is")
    elif settings.interval and not engine.has_intervals:
        log.info("no intervals: the run corrects %s, not the mixture", engine.reference)
    drawn = sample_names(settings, engine)
    layers = (*layers, *drawn)
    with replacing(folder) as draft:
        paths = {layer: [draft / f"{layer}_{stamp}.tif" for stamp in stamps] for layer in layers}
        fraction = _write(engine, settings, init_step, times, paths, interrupted)
    written = {name: [folder / path.name for path in found] for name, found in paths.items()}
    return PredictResult(
        run=settings.run,
        init_time=init_time,
        valid_times=tuple(times),
        files=tuple(written["forecast"]),
        bounds=tuple(zip(written.get("lower", ()), written.get("upper", ()), strict=True)),
        probabilities=tuple(written.get(PROBABILITY, ())),
        samples=tuple(tuple(written[name]) for name in drawn),
        valid_fraction=fraction,
        weights=engine.weights,
        seen_until=engine.checkpoint.known_until,
    )


def _choose_engine(project: Project, settings: PredictSettings) -> tuple[Engine, int]:
    """The engine and the step to forecast from.

    Weights that were fitted on every step forecast only what came later than all of them; from
    an earlier date the forecast is made by those that have not seen the test block.
    """
    engine = open_engine(project, settings.run, settings.device)
    init_step = find_init(engine, settings.from_)
    until = final_until(project.run_dir(settings.run))
    if not until:
        return engine, init_step
    if engine.cube.times[init_step] >= np.datetime64(until):
        log.info("using the weights that were fitted on everything up to %s", until)
        return open_engine(project, settings.run, settings.device, final=True), init_step
    log.info("using the weights that have not seen the test block: --refit went on to %s", until)
    return engine, init_step


def sample_names(settings: PredictSettings, engine: Engine) -> tuple[str, ...]:
    """The layers that samples are written as.

    Raises:
        SettingsError: the run does not know how forecasts err.
    """
    if settings.samples and engine.has_probabilities:
        raise SettingsError(
            f"--samples is {settings.samples}, but the run '{settings.run}' forecasts "
            "probabilities, and samples are drawn of values only.",
            remedy=f"Leave --samples out: {PROBABILITY}_… says how likely each class is.",
        )
    if settings.samples and not engine.has_intervals:
        raise SettingsError(
            f"--samples is {settings.samples}, but the run '{settings.run}' does not say how sure "
            "it is.",
            remedy="Use a run that corrects the mixture of a continuous or count series.",
        )
    wide = len(str(settings.samples))
    return tuple(f"sample{number:0{wide}}" for number in range(1, settings.samples + 1))


def find_init(engine: Engine, text: str) -> int:
    """The step to forecast from: the cube's last, or the last one up to a date.

    Raises:
        DateError: not a date, before the cube, or too early for the lookback.
    """
    times = engine.cube.times
    step = len(times) - 1
    if text:
        first, last = parse_moment(text)
        if first > times[-1]:
            raise DateError(
                f"--from {text} lies after the cube's last step, {times[-1]}.",
                remedy="Leave --from out to forecast from there.",
            )
        step = int(np.searchsorted(times, last, side="right")) - 1
    least = engine.checkpoint.lookback - 1
    if step < least:
        raise DateError(
            f"Forecasting from {text or times[step]} needs {engine.checkpoint.lookback} steps "
            f"up to it; the cube has {step + 1}.",
            where=f"the cube runs from {times[0]} to {times[-1]}",
            remedy=f"Give a date from {times[min(least, len(times) - 1)]} on.",
        )
    return step


def parse_moment(text: str) -> tuple[np.datetime64, np.datetime64]:
    """The first and last second of a month, day, minute or second.

    Raises:
        DateError: not a date of the forms 2023-06, 2023-06-15, 20230615, 2023-06-15T12:05.
    """
    match = MOMENT.fullmatch(text.strip())
    try:
        if match is None:
            raise ValueError(text)
        year, month, day, hour, minute, second = match.groups()
        if day is None:
            start = np.datetime64(f"{year}-{month}", "M")
            return start.astype("datetime64[s]"), (start + 1).astype("datetime64[s]") - 1
        if hour is None:
            date = np.datetime64(f"{year}-{month}-{day}", "D")
            return date.astype("datetime64[s]"), (date + 1).astype("datetime64[s]") - 1
        moment = np.datetime64(f"{year}-{month}-{day}T{hour}:{minute}:{second or '00'}", "s")
        return moment, moment if second else moment + np.timedelta64(59, "s")
    except ValueError as error:
        raise DateError(
            f"--from is {text!r}.", remedy="Give a date such as 2023-06-15 or 2023-06-15T12:05."
        ) from error


def valid_times(
    times: NDArray[np.datetime64], init_step: int, leads: int
) -> NDArray[np.datetime64]:
    """The times after a step: the cube's own as far as it goes, then its rhythm carried on."""
    known = times[init_step + 1 : init_step + 1 + leads]
    if len(known) == leads:
        return known
    return np.concatenate([known, future_times(times, leads - len(known))])


def time_name(time: np.datetime64, among: list[np.datetime64]) -> str:
    """A time as a file-name part: 20230615, or 20230615T1205 where hours matter."""
    seconds = np.asarray(among).astype("datetime64[s]").astype(np.int64)
    text = str(time.astype("datetime64[s]")).replace("-", "").replace(":", "")
    if (seconds % 86400 == 0).all():
        return text[:8]
    return text[:13] if (seconds % 60 == 0).all() else text


def _write(
    engine: Engine,
    settings: PredictSettings,
    init_step: int,
    times: NDArray[np.datetime64],
    paths: Mapping[str, Sequence[Path]],
    interrupted: Callable[[], bool],
) -> float:
    """Write the layers of all leads; the share of pixels that have a forecast."""
    days = [float(day) for day in to_days(times)]
    level = settings.interval if "lower" in paths else 0.0
    tiles = list(engine.cube.grid.tiles(settings.tile))
    filled = 0
    with contextlib.ExitStack() as stack:
        writers = {
            layer: [
                stack.enter_context(
                    _writer(
                        path,
                        engine,
                        layer,
                        _tags(engine, settings, init_step, time, lead)
                        | _layer_tags(layer, level, settings),
                    )
                )
                for lead, (path, time) in enumerate(zip(found, times, strict=True), 1)
            ]
            for layer, found in paths.items()
        }
        for tile in tqdm(tiles, desc="predict", unit="tile", disable=None):
            if interrupted():
                raise InterruptedRunError(
                    "Stopped before the forecast was complete; earlier ones are untouched.",
                    remedy="Run the same command again.",
                )
            forecast = engine.forecast(tile, init_step, days, level)
            filled += int(np.isfinite(forecast.values).sum())
            made: dict[str, NDArray[Any] | None] = {
                "forecast": forecast.values,
                "lower": forecast.lower,
                "upper": forecast.upper,
            }
            if forecast.chosen is not None:
                codes = class_map(engine.series.target, forecast.chosen)
                made = {"forecast": codes, PROBABILITY: forecast.values}
            for layer, found in writers.items():
                if layer in made:
                    values = made[layer]
                else:
                    values = _drawn(engine, settings, init_step, forecast, tile, layer)
                assert values is not None  # there are writers for what was asked for only
                for writer, lead in zip(found, values, strict=True):
                    writer.write(lead, tile)
    height, width = engine.cube.grid.shape
    return filled / (len(times) * len(engine.band_names) * height * width)


def _writer(path: Path, engine: Engine, layer: str, tags: Mapping[str, str]) -> CogWriter:
    """The file of one layer and lead: a map of codes, or values."""
    target = engine.series.target
    if layer == LAYERS[0] and target.is_probability:
        bands, (dtype, nodata) = engine.series.cube_bands, code_type(target)
        return CogWriter(path, engine.cube.grid, bands, nodata=nodata, dtype=dtype, tags=tags)
    return CogWriter(path, engine.cube.grid, engine.band_names, units=engine.units, tags=tags)


def code_type(target: Target) -> tuple[str, int]:
    """The smallest dtype that holds a target's codes, and a nodata value that is none of them."""
    codes = target.classes or (0, 1)
    for dtype in ("uint8", "int16", "uint16"):
        info = np.iinfo(dtype)
        nodata = int(info.min if info.min else info.max)
        if all(info.min <= code <= info.max and code != nodata for code in codes):
            return dtype, nodata
    return "int32", int(np.iinfo("int32").min)


def class_map(target: Target, chosen: NDArray[np.int16]) -> NDArray[Any]:
    """Numbers of classes as their codes; nodata where there is none."""
    dtype, nodata = code_type(target)
    codes = np.array([*(target.classes or (0, 1)), nodata], dtype=dtype)
    return codes[chosen]  # -1 takes the last one


def _drawn(
    engine: Engine,
    settings: PredictSettings,
    init_step: int,
    forecast: Forecast,
    tile: Tile,
    layer: str,
) -> NDArray[np.float32]:
    """(lead, band, y, x) one sample; another init time, seed or number draws another."""
    assert forecast.uncertainty is not None  # or there would be no such layer
    init = int(engine.cube.times[init_step].astype("datetime64[s]").astype(np.int64))
    # Times before 1970 are negative, which no seed may be.
    key = [settings.seed, init % 2**32, init < 0, int(layer.removeprefix("sample"))]
    return forecast.uncertainty.sample(forecast.values, tile, key)


def _layer_tags(layer: str, level: float, settings: PredictSettings) -> dict[str, str]:
    """What tells a file from the forecast itself."""
    if layer.startswith("sample"):
        return {"sample": layer.removeprefix("sample").lstrip("0"), "seed": str(settings.seed)}
    return {"interval": f"{level:g}", "end": layer} if layer in LAYERS[1:] else {}


def _tags(
    engine: Engine, settings: PredictSettings, init_step: int, time: np.datetime64, lead: int
) -> dict[str, str]:
    """Dataset tags: when the forecast holds, and where it comes from."""
    checkpoint = engine.checkpoint
    weight = engine.blend_at(init_step)[min(lead, engine.horizon) - 1]
    return {
        "TIFFTAG_SOFTWARE": f"geoforecast {__version__}",
        "TIFFTAG_DATETIME": str(time.astype("datetime64[s]")).replace("-", ":").replace("T", " "),
        "valid_time": f"{time.astype('datetime64[s]')}Z",
        "init_time": f"{engine.cube.times[init_step].astype('datetime64[s]')}Z",
        "lead": str(lead),
        "run": settings.run,
        "model": checkpoint.config.architecture,
        "reference": checkpoint.reference,
        "correction_weight": f"{weight:.6g}",
        "weights": engine.weights,
        "weights_seen_until": str(checkpoint.known_until),
        "cube": engine.fingerprint,
        "trained_on_cube": checkpoint.cube,
        "kind": engine.series.target.kind,
        **_rule_tags(engine, lead),
    }


def _rule_tags(engine: Engine, lead: int) -> dict[str, str]:
    """How probabilities became the map; see forecast.kinds.decided."""
    kind, rules = engine.series.target.kind, engine.checkpoint.decision
    if not engine.series.target.is_probability:
        return {}
    names = ("stay", "pull") if kind == CATEGORICAL else ("threshold",)
    rule = rules[min(lead, len(rules)) - 1]
    return {name: f"{number:g}" for name, number in zip(names, rule, strict=True)}
