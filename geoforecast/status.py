"""What a project holds, and what to do next."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from geoforecast.errors import GeoforecastError
from geoforecast.project import Project, read_history


@dataclass(frozen=True)
class Status:
    """A project in brief.

    Attributes:
        project: its directory.
        cube: steps, bands, grid and period; None without a cube.
        runs, forecasts, validations: one entry each.
        last: the last command and its outcome.
        problems: what cannot be read, and why.
        next: the command that makes sense now.
    """

    project: str
    cube: dict[str, Any] | None
    runs: list[dict[str, Any]]
    forecasts: list[str]
    validations: list[str]
    last: str
    next: str
    problems: list[str] = field(default_factory=list)

    def describe(self) -> str:
        """The status as a terminal shows it."""
        lines = [f"project      {self.project}"]
        if self.cube:
            cube = self.cube
            lines.append(f"cube         {cube['steps']} steps, {cube['first']} to {cube['last']}")
            lines.append(f"             {', '.join(cube['bands'])}; {cube['grid']}")
            lines.append(f"             test block from {cube['test_start']}")
        for run in self.runs:
            skill = run.get("validation_skill")
            state = (
                f"trained on {run['reference']}, validation skill {100 * skill:.1f} %"
                if skill is not None
                else "not finished: train again to go on"
            )
            lines.append(f"run          {run['run']}: {state}")
        lines += [f"forecast     {item}" for item in self.forecasts]
        lines += [f"validation   {item}" for item in self.validations]
        lines += [f"problem      {item}" for item in self.problems]
        if self.last:
            lines.append(f"last         {self.last}")
        return "\n".join([*lines, f"next         {self.next}"])


def read_status(project: Project) -> Status:
    """Look at a project without changing it."""
    problems: list[str] = []
    cube = _cube(project, problems)
    runs = _runs(project)
    forecasts = _folders(project, "forecasts", "*/*")
    validations = _folders(project, "validation", "*")
    history = read_history(project)
    last = f"{history[-1]['command']}: {history[-1]['outcome']}" if history else ""
    name = next((run["run"] for run in runs if run["trained"]), "")
    flag = "" if name in ("", "default") else f" --run {name}"
    if cube is None:
        advice = "geoforecast stack FOLDER"
    elif not name:
        advice = "geoforecast train" + (f" --run {runs[0]['run']}" if runs else "")
    elif not any(item.startswith(f"{name}/") for item in forecasts):
        advice = f"geoforecast predict{flag}"
    elif name not in validations:
        advice = f"geoforecast validate{flag}"
    else:
        advice = f"open {project.validation_dir(name) / 'report.html'}"
    return Status(str(project.root), cube, runs, forecasts, validations, last, advice, problems)


def _cube(project: Project, problems: list[str]) -> dict[str, Any] | None:
    if not project.cube_path.exists():
        return None
    from geoforecast.raster.cube import open_cube  # Zarr and rasterio: not for --help

    try:
        cube = open_cube(project.cube_path)
    except GeoforecastError as error:
        problems.append(str(error))
        return None
    return {
        "steps": len(cube.times),
        "bands": list(cube.bands),
        "grid": cube.grid.describe(),
        "first": str(cube.times[0]),
        "last": str(cube.times[-1]),
        "test_start": cube.meta["split"]["test_start"],
    }


def _runs(project: Project) -> list[dict[str, Any]]:
    runs = []
    for folder in sorted((project.root / "runs").glob("[!.]*")):
        meta = folder / "model.json"
        entry: dict[str, Any] = {"run": folder.name, "trained": meta.exists()}
        if meta.exists():
            content = json.loads(meta.read_text(encoding="utf-8"))
            entry["reference"] = content["reference"]
            entry["validation_skill"] = content["scores"]["validation_skill"]
        runs.append(entry)
    return runs


def _folders(project: Project, kind: str, pattern: str) -> list[str]:
    base = project.root / kind
    found = (path.relative_to(base) for path in base.glob(pattern))
    return sorted(str(path) for path in found if not path.name.startswith("."))
