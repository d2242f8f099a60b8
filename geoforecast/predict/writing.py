"""The files of a forecast: one COG a layer and valid time, and what its tags say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from geoforecast import __version__
from geoforecast.errors import InterruptedRunError
from geoforecast.forecast.engine import Engine
from geoforecast.forecast.kinds import CATEGORICAL
from geoforecast.forecast.settled import Settled, with_settled
from geoforecast.predict.layers import LAYERS, SAMPLE, is_class_map, layer_bands, layer_type
from geoforecast.predict.making import Making
from geoforecast.predict.plan import Plan
from geoforecast.predict.units import pixels_of
from geoforecast.raster.cog import CogWriter


def write_files(
    making: Making,
    settled: Settled,
    folder: Path,
    *,
    jobs: int,
    interrupted: Callable[[], bool] = lambda: False,
) -> None:
    """Put the files of a forecast together from its units, all of which are done.

    Args:
        making: the units.
        settled: what their forecasts knew.
        folder: where the files go.
        jobs: threads that compress a file.
        interrupted: asked all the while; True stops.
    Raises:
        InterruptedRunError: it was interrupted.
        ProjectError: a unit is damaged.
    """
    engine = with_settled(making.plan.engine, settled)

    # One after the other: with several datasets open in several threads, GDAL's block cache
    # lost pixels of one file in three hundred. Each file is compressed by all threads instead.
    for layer, paths in making.plan.paths(folder).items():
        for lead, path in enumerate(paths, 1):
            with open_writer(path, making.plan, engine, layer, lead, jobs) as writer:
                for unit in making.units:
                    if interrupted():
                        raise InterruptedRunError(
                            "Stopped while the files were written; all units are kept.",
                            remedy="Run the same command again; it goes on where this one stopped.",
                        )
                    for tile, pixels in pixels_of(making.folder, unit, layer, lead):
                        writer.write(pixels, tile)


def open_writer(
    path: Path, plan: Plan, engine: Engine, layer: str, lead: int, jobs: int
) -> CogWriter:
    """The file of one layer and lead, 1 or more: a map of codes, or values."""
    dtype, nodata = layer_type(plan, layer)
    return CogWriter(
        path,
        engine.cube.grid,
        layer_bands(plan, layer),
        nodata=nodata,
        dtype=dtype,
        units=() if is_class_map(plan, layer) else engine.units,
        tags=_tags(plan, engine, lead) | _layer_tags(plan, layer),
        threads=jobs,
    )


def _layer_tags(plan: Plan, layer: str) -> dict[str, str]:
    """What tells a file from the forecast itself."""
    if layer.startswith(SAMPLE):
        number = layer.removeprefix(SAMPLE).lstrip("0")
        return {"sample": number, "seed": str(plan.settings.seed)}
    return {"interval": f"{plan.level:g}", "end": layer} if layer in LAYERS[1:] else {}


def _tags(plan: Plan, engine: Engine, lead: int) -> dict[str, str]:
    """Dataset tags: when the forecast holds, and where it comes from."""
    time = plan.times[lead - 1].astype("datetime64[s]")
    checkpoint = engine.checkpoint
    weight = engine.blend_at(plan.init_step)[min(lead, engine.horizon) - 1]
    return {
        "TIFFTAG_SOFTWARE": f"geoforecast {__version__}",
        "TIFFTAG_DATETIME": str(time).replace("-", ":").replace("T", " "),
        "valid_time": f"{time}Z",
        "init_time": f"{plan.init_time.astype('datetime64[s]')}Z",
        "lead": str(lead),
        "run": plan.settings.run,
        "model": checkpoint.config.architecture,
        "reference": checkpoint.reference,
        "correction_weight": f"{weight:.6g}",
        "weights": engine.weights,
        "weights_seen_until": str(checkpoint.known_until),
        "cube": engine.fingerprint,
        "trained_on_cube": checkpoint.cube,
        "kind": engine.series.target.kind,
        "bias_correction": engine.finishing.bias,
        "smoothing_steps": f"{engine.finishing.smooth:g}",
        "clipped": "yes" if engine.finishing.clip else "no",
        **_rule_tags(plan, lead),
    }


def _rule_tags(plan: Plan, lead: int) -> dict[str, str]:
    """How probabilities became the map; see forecast.kinds.decided."""
    engine = plan.engine
    kind, rules = engine.series.target.kind, engine.checkpoint.decision
    if not engine.series.target.is_probability:
        return {}
    names = ("stay", "pull") if kind == CATEGORICAL else ("threshold",)
    rule = rules[min(lead, len(rules)) - 1]
    return {name: f"{number:g}" for name, number in zip(names, rule, strict=True)}
