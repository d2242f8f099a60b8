"""What a project holds, and what to do next."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geoforecast.errors import GeoforecastError
from geoforecast.project import PLACES, Project, read_history
from geoforecast.values import fold_name, fold_of, train_command


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
            state = "not finished: train again to go on"
            if run["trained"]:
                skill = run["validation_skill"]
                known = "unknown" if skill is None else f"{100 * skill:.1f} %"
                state = f"trained on {run['reference']}, validation skill {known}"
                if run["sees"]:
                    state += f"; also sees {run['sees']}"
                if run["final_until"]:
                    state += f"; fitted again on everything up to {run['final_until']}"
            lines.append(f"run          {run['run']}: {state}")
        lines += [f"forecast     {item}" for item in self.forecasts]
        lines += [f"validation   {item}" for item in self.validations]
        lines += [f"problem      {item}" for item in self.problems]
        if self.last:
            lines.append(f"last         {self.last}")
        return "\n".join([*lines, f"next         {self.next}"])


def read_status(project: Project) -> Status:
    """Look at a project without changing it; what cannot be read becomes a problem."""
    problems = [
        f"{project.root / name} is a file where geoforecast keeps a folder"
        for name in PLACES
        if (project.root / name).is_file()
    ]
    cube = _cube(project, problems)
    runs = _runs(project, problems)
    forecasts = _folders(project, "forecasts", "*/*")
    validations = _folders(project, "validation", "*")
    last = _last(project, problems)
    advice = "geoforecast stack FOLDER"
    if cube is not None:
        trained = [run["run"] for run in runs if run["trained"]]
        alone = [name for name in trained if fold_of(name) is None]
        if alone:
            advice = _next(project, alone[0], forecasts, validations)
        elif trained:
            advice = _next_fold(project, trained, validations)
        else:
            advice = train_command(runs[0]["run"]) if runs else "geoforecast train"
    return Status(str(project.root), cube, runs, forecasts, validations, last, advice, problems)


def _next(project: Project, run: str, forecasts: list[str], validations: list[str]) -> str:
    """What to do with a trained run."""
    flag = "" if run == "default" else f" --run {run}"
    if not any(item.startswith(f"{run}/") for item in forecasts):
        return f"geoforecast predict{flag}"
    if run not in validations:
        return f"geoforecast validate{flag}"
    return f"open {project.root / 'validation' / run / 'report.html'}"


def _next_fold(project: Project, trained: list[str], validations: list[str]) -> str:
    """What to do where folds are all that is trained."""
    fold = fold_of(trained[0])
    assert fold is not None  # who asks has looked
    run, _, count = fold
    names = [fold_name(run, number, count) for number in range(1, count + 1)]
    missing = [name for name in names if name not in trained]
    if missing:
        return train_command(missing[0])
    if f"{run}.folds" not in validations:
        return f"geoforecast validate --run {run} --folds {count}"
    return f"open {project.root / 'validation' / f'{run}.folds' / 'report.html'}"


def _cube(project: Project, problems: list[str]) -> dict[str, Any] | None:
    if not project.cube_path.exists():
        return None
    from geoforecast.raster.cube import open_cube  # Zarr and rasterio: not for --help

    try:
        cube = open_cube(project.cube_path)
        return {
            "steps": len(cube.times),
            "bands": list(cube.bands),
            "grid": cube.grid.describe(),
            "first": str(cube.times[0]),
            "last": str(cube.times[-1]),
            "test_start": cube.meta["split"]["test_start"],
        }
    except GeoforecastError as error:
        problems.append(str(error))
    except Exception as error:  # a damaged file may fail in any way; say how
        problems.append(f"{project.cube_path} cannot be read ({_kind(error)})")
    return None


def _runs(project: Project, problems: list[str]) -> list[dict[str, Any]]:
    runs = []
    for folder in sorted((project.root / "runs").glob("[!.]*/")):
        meta = folder / "model.json"
        entry: dict[str, Any] = {"run": folder.name, "trained": False}
        try:
            if meta.exists():
                content = json.loads(meta.read_text(encoding="utf-8"))
                skill = content["scores"]["validation_skill"]
                entry["reference"] = str(content["reference"])
                entry["sees"] = _sees(content)
                entry["validation_skill"] = None if skill is None else float(skill)
                entry["final_until"] = _final_until(folder)
                entry["trained"] = True
        except Exception as error:
            problems.append(
                f"{meta} cannot be read ({_kind(error)}); "
                f"geoforecast train --run {folder.name} --overwrite makes it again"
            )
        runs.append(entry)
    return runs


def _final_until(folder: Path) -> str:
    """The last time that the run's second checkpoint has seen; "" if it has none."""
    path = folder / "final" / "model.json"
    if not path.exists():
        return ""
    return str(json.loads(path.read_text(encoding="utf-8"))["known_until"])


def _sees(content: dict[str, Any]) -> str:
    """What a run's correction sees besides its bands, in words."""
    from geoforecast.samples.context import Context  # NumPy: not for --help

    return Context.from_meta(content.get("context", {})).describe()


def _last(project: Project, problems: list[str]) -> str:
    try:
        history = read_history(project)
    except OSError as error:
        problems.append(f"{project.history_path} cannot be read ({_kind(error)})")
        return ""
    return f"{history[-1].get('command')}: {history[-1].get('outcome')}" if history else ""


def _kind(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _folders(project: Project, kind: str, pattern: str) -> list[str]:
    base = project.root / kind
    found = (path.relative_to(base) for path in base.glob(pattern))
    return sorted(str(path) for path in found if not path.name.startswith("."))
