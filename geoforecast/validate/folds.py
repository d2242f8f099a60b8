"""The folds of a run, verified together: each test block is forecast by its own fold's run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from geoforecast.errors import RunError
from geoforecast.forecast.engine import Engine, open_engine
from geoforecast.forecast.finish import Finishing
from geoforecast.forecast.outcome import Hindcast, least_error
from geoforecast.forecast.series import Series
from geoforecast.models.checkpoint import META, Checkpoint, load_checkpoint
from geoforecast.project import Project
from geoforecast.raster.cube import Cube, open_cube
from geoforecast.raster.grid import Tile
from geoforecast.raster.view import view_of
from geoforecast.samples.normaliser import BandStatistics
from geoforecast.samples.split import Split
from geoforecast.values import fold_name

OWN = ("run", "fold")  # settings in which folds differ


@dataclass(frozen=True)
class Folded:
    """A source of hindcasts by several runs; see source.Source for what it tells.

    Ranges and deviations that scores are told in are those of the first fold's training steps,
    which all folds know.

    Attributes:
        cube: all of it.
        engines: of the folds, in the order of their blocks; each on a view of the cube that ends
            with its block.
    """

    cube: Cube
    engines: tuple[Engine, ...]

    @cached_property
    def series(self) -> Series:
        """As the last fold sees it."""
        return self.engines[-1].series

    @property
    def first(self) -> Engine:
        return self.engines[0]

    @property
    def blocks(self) -> tuple[tuple[str, range], ...]:
        """Name and test steps of each fold."""
        count = len(self.engines)
        return tuple(
            (f"fold {number}/{count}", engine.split.test_steps)
            for number, engine in enumerate(self.engines, 1)
        )

    @property
    def split(self) -> Split:
        start = self.first.split.test
        return Split(start, start, self.engines[-1].split.steps)

    @property
    def horizon(self) -> int:
        return self.first.horizon

    @property
    def band_names(self) -> tuple[str, ...]:
        return self.first.band_names

    @property
    def units(self) -> tuple[str, ...]:
        return self.first.units

    @property
    def statistics(self) -> list[BandStatistics]:
        return self.first.statistics

    @property
    def methods(self) -> tuple[str, ...]:
        return self.first.methods

    @property
    def reference(self) -> str:
        return self.first.reference

    @property
    def yardstick(self) -> str:
        errors = [one.checkpoint.scores["reference_rmse"] for one in self.engines]
        return least_error(self.first.references, errors)

    @property
    def blend(self) -> tuple[float, ...]:
        """Mean over the folds."""
        return tuple(np.mean([one.blend for one in self.engines], axis=0).tolist())

    @property
    def has_probabilities(self) -> bool:
        return self.first.has_probabilities

    @property
    def decision(self) -> tuple[tuple[float, ...], ...]:
        """The first fold's: each has one of its own, see ``fold_at``."""
        return self.first.decision

    @property
    def has_intervals(self) -> bool:
        return all(one.has_intervals for one in self.engines)

    @property
    def fingerprint(self) -> str:
        return self.first.fingerprint

    def fold_at(self, step: int) -> Engine:
        """Whose hindcasts of a test step are."""
        return next(one for one in self.engines if step in one.split.test_steps)

    def hindcasts(
        self, tile: Tile, steps: range, level: float = 0.0, *, likely: int = 0
    ) -> Iterator[Hindcast]:
        """See Engine.hindcasts; each step is forecast by the fold in whose block it lies."""
        for engine in self.engines:
            block = engine.split.test_steps
            own = range(max(steps.start, block.start), min(steps.stop, block.stop))
            if own:
                yield from engine.hindcasts(tile, own, level, likely=likely)


def open_folds(
    project: Project, run: str, count: int, device: str = "auto", finishing: Finishing | None = None
) -> Folded:
    """The folds of a run on the cube as it is now.

    Args:
        project: where they lie.
        run: the name without that of a fold.
        count: of folds.
        device: see open_engine.
        finishing: what becomes of forecasts once they are made.
    Raises:
        RunError: a fold is not trained, is no fold, or they do not belong together.
    """
    names = [fold_name(run, number, count) for number in range(1, count + 1)]
    _refuse_missing(project, run, names)
    cube = open_cube(project.cube_path)
    checkpoints = [load_checkpoint(project.run_dir(name))[0] for name in names]
    _refuse_others(project, names, checkpoints)
    engines = []
    for name, checkpoint in zip(names, checkpoints, strict=True):
        split = Split.from_meta(checkpoint.split, cube.times)
        view = view_of(cube, split.steps)
        finished = finishing or Finishing()
        engines.append(open_engine(project, name, device, finishing=finished, cube=view))
    _refuse_unlike(names, "methods", [", ".join(engine.methods) for engine in engines])
    return Folded(cube, tuple(engines))


def _refuse_missing(project: Project, run: str, names: Sequence[str]) -> None:
    """Name the commands that train what is missing."""
    count = len(names)
    missing = [
        number
        for number, name in enumerate(names, 1)
        if not (project.run_dir(name) / META).exists()
    ]
    if not missing:
        return
    line = f"geoforecast train{_run_flag(run)}"
    commands = [f"{line} --fold {number}/{count}" for number in missing]
    raise RunError(
        f"{len(missing)} of {count} folds of the run '{run}' are not trained.",
        where=commands,
        remedy=f"Run these, with the settings of the others, or all: {line} --folds {count}.",
    )


def _run_flag(run: str) -> str:
    return "" if run == "default" else f" --run {run}"


def _refuse_others(project: Project, names: Sequence[str], checkpoints: list[Checkpoint]) -> None:
    """Runs that are no folds, or folds of different trainings."""
    for name, checkpoint in zip(names, checkpoints, strict=True):
        if "gap_start" not in checkpoint.split:
            raise RunError(
                f"The run '{name}' was not trained as a fold.",
                remedy="Remove it, or give the folds another name with --run.",
            )
    kinds = [str(checkpoint.target["kind"]) for checkpoint in checkpoints]
    _refuse_unlike(names, "kind of targets", kinds)
    _refuse_unlike(names, "cube", [checkpoint.cube for checkpoint in checkpoints])
    told: list[tuple[str, Callable[[Checkpoint], Any]]] = [
        ("lookback", lambda one: one.lookback),
        ("horizon", lambda one: one.horizon),
        ("bands", lambda one: ", ".join(one.bands)),
        ("reference", lambda one: one.reference),
        ("holdout", lambda one: one.holdout or "nothing"),
    ]
    _refuse_classes(names, [tuple(one.target["classes"]) for one in checkpoints])
    for what, tell in told:
        _refuse_unlike(names, what, [str(tell(one)) for one in checkpoints])
    settings = [_settings(project, name) for name in names]
    for key in sorted(set().union(*settings) - {*OWN}):
        _refuse_unlike(names, key, [str(one.get(key)) for one in settings])


def _refuse_classes(names: Sequence[str], classes: Sequence[tuple[int, ...]]) -> None:
    """Probabilities of other classes cannot be counted in one table."""
    other = next((number for number, one in enumerate(classes) if one != classes[0]), 0)
    if other:
        told = [f"{names[k]}: {', '.join(map(str, classes[k]))}" for k in (0, other)]
        raise RunError(
            "Not every fold has seen the same classes, so they cannot be scored together.",
            where=told,
            remedy=f"Score each by itself, such as geoforecast validate --run {names[0]}, or take "
            "fewer folds, of which the first one sees more.",
        )


def _settings(project: Project, name: str) -> dict[str, Any]:
    """What decided a training, as it was given; {} if that cannot be read any more."""
    path = project.run_dir(name) / "settings.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))["settings"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"The settings of the run '{name}' cannot be read.",
            where=str(path),
            remedy="Train it again with --overwrite.",
        ) from error


def _refuse_unlike(names: Sequence[str], what: str, values: Sequence[str]) -> None:
    """Folds that differ in something cannot be scored together."""
    other = next((number for number, one in enumerate(values) if one != values[0]), 0)
    if other:
        raise RunError(
            f"The folds were trained differently: {what}.",
            where=[f"{names[number]}: {values[number]}" for number in (0, other)],
            remedy="Train all of them with the same settings on the same cube: geoforecast train "
            f"--folds {len(names)} --overwrite.",
        )
