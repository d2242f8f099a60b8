"""What every unit of work needs to know, settled once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from geoforecast.raster.resample import coordinate_map
from geoforecast.settings import StackSettings
from geoforecast.stack.derived.bands import Derived
from geoforecast.stack.pixels.warp import Warping
from geoforecast.stack.plan import Plan


@dataclass(frozen=True)
class Job:
    """What every unit of work needs to know."""

    plan: Plan
    warping: Warping
    merge: str
    rule: str
    places: Mapping[str, int]  # cube band -> index
    quarantine: bool

    @property
    def derived(self) -> tuple[Derived, ...]:
        return self.plan.derived


def job_of(plan: Plan, settings: StackSettings) -> Job:
    """Settle how a plan's scenes become pixels, the coordinate maps included."""
    scenes = plan.scenes()
    grids = {file.header.grid for file in scenes if file.header}
    pairs = {(f.header.grid, f.mask.header.grid) for f in scenes if f.header and f.mask}
    warping = Warping(
        bands=plan.read,
        dtype=plan.dtype,
        resampling=settings.resampling,
        kind=plan.kind,
        maps={grid: coordinate_map(plan.grid, grid) for grid in grids},
        mask_maps={pair: coordinate_map(*pair) for pair in pairs},
    )
    return Job(
        plan=plan,
        warping=warping,
        merge="mean" if settings.merge == "mean" else "first",
        rule=rule_for(settings, plan.kind),
        places={band: index for index, band in enumerate(plan.bands)},
        quarantine=settings.on_error == "quarantine",
    )


def rule_for(settings: StackSettings, kind: str) -> str:
    """The composite rule; classes cannot have a median, so its default becomes ``first``."""
    if kind == "categorical" and settings.composite == "median":
        return "first"
    return settings.composite


def bands_of(plan: Plan, steps: Iterable[int]) -> dict[Path, tuple[int, ...]]:
    """Every file of some steps -> its bands that are read, masks among them."""
    numbers: dict[Path, set[int]] = defaultdict(set)
    for step in steps:
        for group in plan.steps[step]:
            for file in group:
                numbers[file.path].update(file.bands.values())
                if file.mask is not None:
                    numbers[file.mask.header.path].add(file.mask.band)
    return {path: tuple(sorted(found)) for path, found in numbers.items()}
