"""Two folders of GeoTIFFs, stacked on one grid so that they can be compared."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from geoforecast.cli.options import progress_bar
from geoforecast.errors import OtherCubeError
from geoforecast.project import Project
from geoforecast.settings import StackSettings, Unsplit, ValidateSettings

if TYPE_CHECKING:
    from geoforecast.stack import StackResult


def stacked_folders(
    project: Project, settings: ValidateSettings, stack: StackSettings, jobs: int | None
) -> tuple[Project, Project]:
    """Stack the folders of --forecast and --observed; what is there already is kept if it fits.

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

    def stacked(place: Project, folder: str, how: StackSettings, title: str) -> StackResult:
        with progress_bar(title) as progress:
            try:
                return stack_scenes(place, [folder], how, Unsplit(), jobs=jobs, progress=progress)
            except OtherCubeError:  # nobody but this comparison has it: it is made again
                how = replace(how, overwrite=True)
                return stack_scenes(place, [folder], how, Unsplit(), jobs=jobs, progress=progress)

    grid = stacked(forecast, settings.forecast, plain, "stack forecasts").grid
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
    stacked(observed, settings.observed, on_grid, "stack observed")
    return forecast, observed
