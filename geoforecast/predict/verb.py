"""The verb: forecast unit by unit, and put the units together as one COG a valid time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from geoforecast.cluster.shares import call_off
from geoforecast.forecast.settled import Settled
from geoforecast.predict.catalogue import CATALOGUE, write_catalogue
from geoforecast.predict.cluster import fill_on_cluster
from geoforecast.predict.crew import Progress, fill
from geoforecast.predict.layers import LAYERS, PROBABILITY, SAMPLE
from geoforecast.predict.making import Making, begin, refuse_unfinished
from geoforecast.predict.mosaic import write_vrts
from geoforecast.predict.plan import Plan, make_plan
from geoforecast.predict.result import PredictResult, ShareResult
from geoforecast.predict.room import room_for
from geoforecast.predict.units import Unit
from geoforecast.predict.writing import write_files
from geoforecast.project import Project, recorded, replacing
from geoforecast.settings import PredictSettings
from geoforecast.system import granted_cpus, keep_heap_small
from geoforecast.values import share


def run_prediction(
    project: Project,
    settings: PredictSettings,
    *,
    interrupted: Callable[[], bool],
    jobs: int | None,
    progress: Progress | None,
    finalise: bool,
    scheduler: str,
) -> PredictResult:
    """Write forecasts; see geoforecast.predict.predict_rasters."""
    jobs = jobs or granted_cpus()
    keep_heap_small(jobs)
    with project.lock(), recorded(project, "predict", settings):
        plan = make_plan(project, settings)
        making = begin(plan, alone=not finalise)
        missing = making.missing(making.units)
        if finalise:
            refuse_unfinished(making, missing)
        settled = making.settled()
        if scheduler:
            fill_on_cluster(
                making,
                missing,
                project=project,
                address=scheduler,
                interrupted=interrupted,
                progress=progress,
            )
        else:
            call_off(making.folder)
            _fill(making, missing, settled, jobs, interrupted, progress)
        with replacing(plan.folder) as draft:
            write_files(making, settled, draft, jobs=jobs, interrupted=interrupted)
            fraction = making.valid_fraction()
            write_catalogue(plan, draft)
            vrts = write_vrts(plan, draft) if settings.vrt else []
        making.discard()
        return _result(plan, fraction, [plan.folder / path.name for path in vrts])


def _fill(
    making: Making,
    units: Sequence[Unit],
    settled: Settled,
    jobs: int,
    interrupted: Callable[[], bool],
    progress: Progress | None,
) -> None:
    """Forecast some units here, with as many threads as there is room for."""
    room = room_for(making.plan, jobs)
    fill(
        making,
        units,
        settled,
        jobs=room.jobs,
        side=room.side,
        interrupted=interrupted,
        progress=progress,
    )


def run_share(
    project: Project,
    settings: PredictSettings,
    shard: tuple[int, int],
    *,
    interrupted: Callable[[], bool],
    jobs: int | None,
    progress: Progress | None,
) -> ShareResult:
    """Do one process's share of the units; see geoforecast.predict.predict_share."""
    jobs = jobs or granted_cpus()
    keep_heap_small(jobs)
    project.ensure_writable()
    with recorded(project, "predict", {"predict": settings, "shard": list(shard)}):
        plan = make_plan(project, settings)
        making = begin(plan, alone=False)
        making.note_shard(*shard)
        units = list(share(making.units, *shard))
        missing = making.missing(units)
        if missing:
            _fill(making, missing, making.settled(), jobs, interrupted, progress)
        done = len(units) - len(missing)
        return ShareResult(settings.run, plan.init_time, shard, len(making.units), len(units), done)


def _result(plan: Plan, fraction: float, vrts: Sequence[Path]) -> PredictResult:
    """What was written, at its place."""
    written = plan.paths(plan.folder)
    drawn = [layer for layer in plan.layers if layer.startswith(SAMPLE)]
    return PredictResult(
        run=plan.settings.run,
        init_time=plan.init_time,
        valid_times=tuple(plan.times),
        files=tuple(written[LAYERS[0]]),
        bounds=tuple(zip(written.get("lower", ()), written.get("upper", ()), strict=True)),
        probabilities=tuple(written.get(PROBABILITY, ())),
        samples=tuple(tuple(written[name]) for name in drawn),
        catalogue=plan.folder / CATALOGUE,
        vrts=tuple(vrts),
        valid_fraction=fraction,
        weights=plan.engine.weights,
        seen_until=plan.engine.checkpoint.known_until,
    )
