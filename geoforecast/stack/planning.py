"""The plan as it stands after what only pixels can tell: scenes with too few valid ones."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from geoforecast.project import Project
from geoforecast.raster.cube import Cube
from geoforecast.settings import SplitSettings, StackSettings
from geoforecast.stack.derived.static import check_layers
from geoforecast.stack.pixels.fill import check_fill
from geoforecast.stack.pixels.fractions import best_orders, poor_scenes, scene_fractions
from geoforecast.stack.plan import Plan, make_plan

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Planning:
    """Everything that a plan is made from."""

    inputs: Sequence[str | Path]
    settings: StackSettings
    split: SplitSettings
    project: Project
    jobs: int

    def plan(self, excluded: Mapping[str, str] | None = None) -> Plan:
        """The plan from headers alone.

        Args:
            excluded: key -> reason of files that are set aside.
        """
        plan = make_plan(
            self.inputs,
            self.settings,
            self.split,
            project=self.project,
            jobs=self.jobs,
            excluded=excluded or {},
        )
        check_fill(replace(self.settings, kind=plan.kind))
        check_layers(self.settings, plan.grid, self.project, self.jobs)
        return plan

    def refined(self, plan: Plan, excluded: dict[str, str]) -> Plan:
        """A plan less the scenes below --min-valid, and with the order of --composite best.

        The grid stays that of all scenes.

        Args:
            plan: as plan(excluded).
            excluded: key -> reason of files that are set aside; those whose pixels cannot be
                decoded are added, if --on-error says so.
        Raises:
            SceneError: pixels cannot be decoded.
        """
        settings = self.settings
        ranked = settings.composite == "best" and settings.cadence != "none"
        if not (settings.min_valid or ranked):
            return plan
        folder = self.project.root / ".stacking-fractions"
        fractions, failed = scene_fractions(plan, settings, self.jobs, folder)
        while failed:
            if settings.on_error == "fail":
                raise failed[min(failed)]
            for key, error in sorted(failed.items()):
                log.warning("Quarantined: %s", error.what)
                excluded[key] = error.what
            plan = self.plan(excluded)
            fractions, failed = scene_fractions(plan, settings, self.jobs, folder)
        poor = poor_scenes(plan, fractions, settings.min_valid)
        if poor:
            plan = self._without(plan, excluded, poor)
            fractions = scene_fractions(plan, settings, self.jobs, folder)[0] if ranked else {}
        return replace(plan, orders=best_orders(plan, fractions)) if ranked else plan

    def as_before(self, cube: Cube, excluded: Mapping[str, str]) -> Plan:
        """The plan that a cube was made by, without looking at pixels again."""
        left_out = cube.meta.get("left_out", {})
        plan = self.plan(excluded)
        return self._without(plan, excluded, left_out) if left_out else plan

    def _without(
        self, plan: Plan, excluded: Mapping[str, str], left_out: Mapping[str, str]
    ) -> Plan:
        smaller = make_plan(
            self.inputs,
            self.settings,
            self.split,
            project=self.project,
            jobs=self.jobs,
            excluded=excluded,
            left_out=left_out,
            grid=plan.grid,
        )
        return replace(smaller, grid_text=plan.grid_text)
