"""Two folders of GeoTIFFs, stacked on one grid so that they can be compared."""

from __future__ import annotations

from dataclasses import replace

from geoforecast.cli.options import progress_bar
from geoforecast.project import Project
from geoforecast.settings import StackSettings, Unsplit, ValidateSettings


def stacked_folders(
    project: Project, settings: ValidateSettings, stack: StackSettings, jobs: int | None
) -> tuple[Project, Project]:
    """Stack the folders of --forecast and --observed; what is there already is kept.

    Forecasts are read as they are: no sensor, mask or derived band is looked for. What came is
    read as [stack] says, and laid on the grid of the forecasts.

    Args:
        project: below which both cubes will lie.
        settings: name the folders.
        stack: section [stack] of the project.
        jobs: threads; None takes all that are granted.
    Returns:
        Where the cubes of the forecasts and of the observed scenes lie.
    Raises:
        GeoforecastError: a folder cannot be stacked.
    """
    from geoforecast.stack import stack_scenes
    from geoforecast.validate import comparison_name

    name = comparison_name(settings)
    forecast, observed = (project.comparison(name, role) for role in ("forecast", "observed"))
    kind = stack.kind if settings.kind == "auto" else settings.kind
    plain = StackSettings(
        sensor="none", mask="none", kind=kind, chunk=stack.chunk, resampling=stack.resampling
    )
    with progress_bar("stack forecasts") as progress:
        made = stack_scenes(
            forecast, [settings.forecast], plain, Unsplit(), jobs=jobs, progress=progress
        )
    grid = made.grid
    on_grid = replace(
        stack,
        kind=kind,
        crs=grid.wkt,
        res=grid.res,
        bounds=grid.bounds,
        like="",
        static=(),
        terrain=(),
        drivers=(),
    )
    with progress_bar("stack observed") as progress:
        stack_scenes(
            observed, [settings.observed], on_grid, Unsplit(), jobs=jobs, progress=progress
        )
    return forecast, observed
