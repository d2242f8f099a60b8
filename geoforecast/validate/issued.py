"""Forecasts that predict wrote some time ago, beside the scenes that came since.

Nothing is forecast anew: pixels are read from the files as users had them. Simple forecasts beside
them are made from what was known when they were issued.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoforecast.errors import DateError, GeoforecastError, GridMismatchError
from geoforecast.forecast.engine import Engine
from geoforecast.forecast.outcome import FORECAST, Hindcast
from geoforecast.forecast.stream import TileStream
from geoforecast.project import Project
from geoforecast.raster.geotiff import not_nodata, open_geotiff, read_header, read_pixels
from geoforecast.raster.grid import Tile
from geoforecast.samples.features import Array
from geoforecast.samples.split import Split
from geoforecast.validate.given import nearest_steps

log = logging.getLogger(__name__)

ENDS = ("lower", "upper")
SUFFIX = ".issued"  # of the run's name, in the name of what is written


@dataclass(frozen=True)
class IssuedFile:
    """One forecast that can be scored.

    Attributes:
        init: the step that it was made from.
        lead: steps ahead, from 1.
        step: the step that came.
        path: its values, or probabilities.
        ends: files of the interval's ends; () if there are none.
        level: that the interval was to cover; 0 for none.
    """

    init: int
    lead: int
    step: int
    path: Path
    ends: tuple[Path, ...]
    level: float


@dataclass(frozen=True)
class Issued(Engine):
    """A run whose forecasts are those that it wrote; see Engine.

    Attributes:
        files: what can be scored.
    """

    files: tuple[IssuedFile, ...] = field(default=())

    @property
    def horizon(self) -> int:
        return max(one.lead for one in self.files)

    @property
    def methods(self) -> tuple[str, ...]:
        return (FORECAST, *self.references)

    @property
    def level(self) -> float:
        """Of the intervals, if all files have one of the same; else 0."""
        levels = {one.level for one in self.files}
        return levels.pop() if len(levels) == 1 else 0.0

    @property
    def has_intervals(self) -> bool:
        return self.level > 0

    @cached_property
    def _by_init(self) -> Mapping[int, Sequence[IssuedFile]]:
        found: dict[int, list[IssuedFile]] = {}
        for one in sorted(self.files, key=lambda one: (one.init, one.lead)):
            found.setdefault(one.init, []).append(one)
        return found

    def hindcasts(
        self,
        tile: Tile,
        steps: range,
        level: float = 0.0,
        *,
        likely: int = 0,
        finished: bool = True,
    ) -> Iterator[Hindcast]:
        """What was issued for some steps, and simple forecasts from the same moments.

        Args:
            tile: the pixels wanted.
            steps: that are scored.
            level: whether the ends of the interval are wanted: they are the files'.
            likely, finished: of forecasts that are made anew.
        """
        del likely, finished
        names, leads = self.references, self.horizon
        inits = [
            init for init, files in self._by_init.items() if {f.step for f in files} & {*steps}
        ]
        if not inits:
            return
        outer = tile.expanded(self.halo_px(inits, leads, names), self.cube.grid.shape)
        inner = tile.within(outer)
        stream = TileStream(
            self.series, outer, names[0], names, lookback=1, expect_from=len(self.series.days)
        )
        for init in inits:
            stream.advance_to(init)
            files, finish = self._by_init[init], self.finish(init)
            simple = stream.forecasts(self._days(files), names)
            for one in (one for one in files if one.step in steps):
                at = (one.lead - 1, slice(None), *inner)
                observed, valid = self.series.observed(one.step, one.step + 1, tile)
                ends = [_pixels(path, tile) for path in one.ends] if level else []
                yield Hindcast(
                    step=one.step,
                    lead=one.lead,
                    forecasts={
                        FORECAST: _pixels(one.path, tile),
                        **{name: finish.clipped(made)[at] for name, made in simple.items()},
                    },
                    observed=observed[0],
                    valid=valid[0],
                    lower=ends[0] if ends else None,
                    upper=ends[1] if ends else None,
                    last=stream.lookback[-1].values_BHW[(slice(None), *inner)],
                )

    def _days(self, files: Sequence[IssuedFile]) -> list[float]:
        """Valid times of all leads up to the last: those that came, and in between by rule."""
        known = {0: float(self.series.days[files[0].init])}
        known |= {one.lead: float(self.series.days[one.step]) for one in files}
        leads = np.arange(1, max(known) + 1)
        return np.interp(leads, list(known), list(known.values())).tolist()


def open_issued(project: Project, engine: Engine, run: str) -> Issued:
    """The forecasts of a run whose scenes have come.

    Args:
        project: where they lie.
        engine: the run on the cube as it is now.
        run: its name.
    Raises:
        DateError: there is none.
        GridMismatchError: a file lies on another grid than the cube.
    """
    found: list[IssuedFile] = []
    waiting: list[str] = []
    left: list[str] = []
    layer = "probability" if engine.has_probabilities else FORECAST
    folder = project.root / "forecasts" / run
    for path in sorted(folder.glob(f"*/{layer}_*.tif")):
        try:
            one = _issued(path, engine)
        except _NotYetError:
            waiting.append(path.name)
        except _UnfitError as reason:
            left.append(f"{path.parent.name}/{path.name}: {reason}")
        else:
            found.append(one)
    for text in left:
        log.warning("not scored: %s", text)
    if waiting:
        log.info("%d forecasts wait for their scene, such as %s", len(waiting), waiting[0])
    if not found:
        raise DateError(
            f"No forecast of the run '{run}' can be scored: {len(waiting)} wait for their scene, "
            f"{len(left)} do not fit.",
            where=left[:3],
            remedy="Stack newer scenes into the cube first: geoforecast stack FOLDER.",
        )
    steps = [one.step for one in found]
    split = Split(min(steps), min(steps), max(steps) + 1)
    kept = {item.name: getattr(engine, item.name) for item in dataclasses.fields(engine)}
    return Issued(**kept | {"split": split, "files": tuple(found)})


class _NotYetError(Exception):
    """The scene of a forecast has not come."""


class _UnfitError(Exception):
    """A file that cannot be scored; the message says why."""


def _issued(path: Path, engine: Engine) -> IssuedFile:
    """What a file says of itself, held against the cube."""
    times = engine.cube.times
    try:
        header = read_header(path)
        tags = header.tags
        init_time, valid_time = (
            np.datetime64(tags[name].removesuffix("Z"), "s") for name in ("init_time", "valid_time")
        )
        lead, seen = int(tags["lead"]), np.datetime64(tags["weights_seen_until"])
    except (GeoforecastError, KeyError, ValueError) as error:
        raise _UnfitError(f"it does not say what it is ({error})") from error
    if header.grid != engine.cube.grid:
        raise GridMismatchError(
            f"{path} lies on another grid than the cube.",
            where=[header.grid.describe(), engine.cube.grid.describe()],
            remedy="Score it as a folder: validate --forecast DIR --observed DIR.",
        )
    if header.count != len(engine.band_names):
        raise _UnfitError(f"it has {header.count} bands, the run {len(engine.band_names)}")
    init = int(np.searchsorted(times, init_time))
    if init == len(times) or times[init] != init_time:
        raise _UnfitError(f"the cube has no scene of {init_time}, from which it was made")
    if seen > init_time:
        raise _UnfitError(f"its weights had seen scenes up to {seen}")
    step = nearest_steps(np.array([valid_time]), times)[0]
    if step < 0:
        raise _NotYetError
    if step < init + 1:
        raise _UnfitError("it is of the scene that it was made from")
    ends = [path.with_name(path.name.replace(f"{FORECAST}_", f"{end}_", 1)) for end in ENDS]
    there = all(end.is_file() for end in ends) and path.name.startswith(FORECAST)
    level = float(read_header(ends[0]).tags.get("interval", 0)) if there else 0.0
    return IssuedFile(init, lead, step, path, tuple(ends) if there else (), level)


def _pixels(path: Path, tile: Tile) -> Array:
    """(band, y, x) float32 of a tile; NaN where there is no forecast."""
    header = read_header(path)
    with open_geotiff(path, header) as dataset:
        raw = read_pixels(dataset, range(1, header.count + 1), tile)
    made: NDArray[np.float32] = raw.astype(np.float32)
    for number, nodata in enumerate(header.nodata):
        made[number][~not_nodata(raw[number], nodata)] = np.nan
    return made
