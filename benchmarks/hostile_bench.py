"""Runs one hostile case, alone and among good scenes, and holds it to the rules."""

from __future__ import annotations

import csv
import hashlib
import os
import stat
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import hostile_files
import hostile_places
import numpy as np
import rasterio
from hostile_files import Case
from hostile_run import TOUCHED, Run, forked, run_stack

from geoforecast.project import Project
from geoforecast.raster.cube import Cube, open_cube
from geoforecast.raster.geotiff import GDAL_ERRORS
from geoforecast.settings import SplitSettings, StackSettings
from geoforecast.stack import stack_scenes

ALONE = tuple(f"202001{day:02}" for day in range(1, 9))  # the fewest steps a split takes
AMONG = "20200310"  # between two good scenes
ROUNDS = 6  # a file that changes meets another moment in each
LARGEST = 2**26  # pixels that GDAL is asked to read
STATUSES = ("used", "quarantined", "skipped")
SPEAKS_PYTHON = ("Traceback", "Exception ignored", "Errno", "NoneType", "object at 0x")


@dataclass
class Fate:
    """What became of a case.

    Attributes:
        runs: by name.
        gdal: whether GDAL itself reads the file to its end; None if that was not tried.
        broken: the rules that were broken.
    """

    runs: dict[str, Run] = field(default_factory=dict)
    gdal: bool | None = None
    broken: list[str] = field(default_factory=list)

    @property
    def used(self) -> bool:
        return self.runs["alone"].code == 0


def listing(folder: Path) -> dict[str, str]:
    """Name -> kind and content of everything in a folder; links are not followed."""
    found = {}
    for place, folders, names, handle in os.fwalk(os.fsencode(folder), follow_symlinks=False):
        for name in folders + names:
            info = os.stat(name, dir_fd=handle, follow_symlinks=False)
            digest = ""
            if stat.S_ISREG(info.st_mode):
                with open(os.open(name, os.O_RDONLY, dir_fd=handle), "rb") as stream:  # noqa: PTH123
                    digest = hashlib.sha256(stream.read()).hexdigest()
            found[os.path.join(place, name).hex()] = f"{info.st_mode} {digest}"  # noqa: PTH118
    return found


class Bench:
    """Runs cases in a scratch folder and holds them to the rules."""

    def __init__(self, work: Path, *, seconds: float, mib: float) -> None:
        self.work, self.seconds, self.mib = work, seconds, mib
        work.mkdir()
        self.good, self.home = work / "good", work / "home"
        self.home.mkdir()
        self.dates = hostile_files.good_series(self.good)
        # Once in this process, so that its children need not import anything again.
        stack_scenes(Project(work / "first"), [self.good], StackSettings(), SplitSettings(), jobs=1)
        self.pin = ("--like", str(self.good / f"ndvi_{self.dates[0]}.tif"))
        baseline = self._stack([str(self.good)], "baseline", ())
        if baseline.code != 0:
            raise RuntimeError(f"The good series does not stack:\n{baseline.output}")
        cube = open_cube(work / "baseline" / "cube.zarr")
        self.values, self.valid = cube.read(0, len(cube.times))

    def judge(self, case: Case) -> Fate:
        """Run a case alone and among good scenes."""
        fate = Fate()
        before = listing(self.home), listing(self.good)
        self._alone(case, fate)
        self._among(case, fate)
        if (listing(self.home), listing(self.good)) != before:
            fate.broken.append("something outside the project changed")
        for name, run in fate.runs.items():
            self._hold(case, fate, name, run)
        return fate

    def _alone(self, case: Case, fate: Fate) -> None:
        folder = self._folder("alone")
        paths = [folder / case.pattern.format(date) for date in ALONE]
        for path in paths:
            case.make(path)
        before = listing(folder)
        fate.gdal = self._gdal_reads(case, paths[0])
        inputs = self._inputs(case, folder, [], paths)
        meanwhile = partial(case.meanwhile, paths[3]) if case.meanwhile else None
        options: tuple[str, ...] = ("--mask", "none")
        run = fate.runs["alone"] = self._stack(inputs, "alone project", options, meanwhile)
        if run.code == 0 and case.meanwhile is None:
            cube = open_cube(self.work / "alone project" / "cube.zarr")
            if os.path.isfile(paths[0]):  # noqa: PTH113  a folder of scenes is none
                told = self._differs(cube, 0, [paths[0]], place=True)
                fate.broken += [f"alone: {text}" for text in told]
        options = (*options, "--on-error", "quarantine")
        fate.runs["alone, quarantine"] = self._stack(inputs, "alone project", options, meanwhile)
        if case.meanwhile is None and listing(folder) != before:
            fate.broken.append("alone: the input folder changed")

    def _among(self, case: Case, fate: Fate) -> None:
        folder = self._folder("mixed")
        for date in self.dates:
            os.link(self.good / f"ndvi_{date}.tif", folder / f"ndvi_{date}.tif")
        path = folder / case.pattern.format(AMONG)
        case.make(path)
        before = listing(folder)
        good = [folder / f"ndvi_{date}.tif" for date in self.dates]
        inputs = self._inputs(case, folder, good, [path])
        quarantine = ("--on-error", "quarantine")
        runs = {"mixed": quarantine, "mixed, --like": (*self.pin, *quarantine)}
        if case.meanwhile is not None:
            runs |= {f"mixed, {number}": quarantine for number in range(3, ROUNDS + 1)}
        meanwhile = partial(case.meanwhile, path) if case.meanwhile else None
        for name, options in (runs | {"mixed, fail": self.pin}).items():
            run = fate.runs[name] = self._stack(inputs, "mixed project", options, meanwhile)
            if run.code == 0:
                cube = open_cube(self.work / "mixed project" / "cube.zarr")
                fate.broken += [f"{name}: {text}" for text in self._good_differ(cube)]
                fate.broken += [f"{name}: {text}" for text in self._look_up(case, path, run, cube)]
        if case.meanwhile is None and listing(folder) != before:
            fate.broken.append("mixed: the input folder changed")

    def _gdal_reads(self, case: Case, path: Path) -> bool | None:
        """Whether GDAL reads all pixels, in a process that may hang or crash."""
        if case.meanwhile is not None or not os.path.isfile(path):  # noqa: PTH113
            return None

        def read() -> int:
            warnings.simplefilter("ignore")
            with rasterio.open(path, driver="GTiff") as dataset:
                if dataset.width * dataset.height * dataset.count > LARGEST:
                    return 3
                dataset.read()
            return 0

        return forked(read, seconds=self.seconds).code == 0

    def _differs(self, cube: Cube, step: int, paths: list[Path], *, place: bool) -> list[str]:
        """What is unlike GDAL's reading, at a step that one of some files made whole."""
        found, valid = cube.read(step, step + 1)
        told: list[str] = []
        for path in paths:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    expected, usable = hostile_places.reference(path)
                    with rasterio.open(path, driver="GTiff") as dataset:
                        bounds = tuple(dataset.bounds)
            except GDAL_ERRORS as error:
                told = [f"used, but GDAL cannot read it: {error}"]
                continue
            if expected.shape != found[0].shape:
                told = [f"shape {found[0].shape}, GDAL has {expected.shape}"]
            elif not np.array_equal(valid[0], usable):
                told = ["another validity than GDAL's"]
            elif not np.array_equal(found[0][usable], expected[usable]):
                told = ["other pixels than GDAL's"]
            elif place and not np.allclose(sorted(cube.grid.bounds), sorted(bounds), rtol=1e-12):
                told = [f"place {cube.grid.bounds}, GDAL has {bounds}"]
            else:
                return []
        return told

    def _good_differ(self, cube: Cube) -> list[str]:
        """The good scenes lie somewhere in the cube, at their own dates."""
        stamps = _stamps(cube)
        offset = ~cube.grid.transform @ (hostile_files.TRANSFORM.c, hostile_files.TRANSFORM.f)
        col, row = (round(value) for value in offset)
        high, wide = self.values.shape[2:]
        for number, date in enumerate(self.dates):
            if date not in stamps:
                return [f"the good scene of {date} is missing"]
            step = stamps.index(date)
            found, valid = cube.read(step, step + 1)
            here = (0, 0, slice(row, row + high), slice(col, col + wide))
            if not np.array_equal(valid[here], self.valid[number, 0]) or not np.array_equal(
                found[here], self.values[number, 0], equal_nan=True
            ):
                return [f"the good scene of {date} has other pixels"]
        return []

    def _look_up(self, case: Case, path: Path, run: Run, cube: Cube) -> list[str]:
        """Find the hostile file in scenes.csv; its pixels are GDAL's where it was not resampled."""
        rows = []
        table = self.work / "mixed project" / "scenes.csv"
        with table.open(newline="", encoding="utf-8") as stream:
            for entry in csv.DictReader(stream):
                if AMONG in entry["path"] and "late" not in entry["path"]:
                    rows.append(entry)
        if not rows:
            gone = case.meanwhile is not None or path.is_dir()
            return [] if gone else ["the file is not in scenes.csv"]
        run.status, run.reason = rows[0]["status"], rows[0]["reason"]
        if run.status not in STATUSES or (run.status == "used") != (not run.reason):
            return [f"status '{run.status}' with the reason '{run.reason}'"]
        if run.status != "used" or AMONG not in _stamps(cube):
            return []
        step = _stamps(cube).index(AMONG)
        if case.versions:
            paths = []
            for number, content in enumerate(case.versions):
                paths.append(self.work / f"version {number}.tif")
                paths[-1].write_bytes(content)
            return self._differs(cube, step, paths, place=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with rasterio.open(path, driver="GTiff") as dataset:
                apart = not dataset.transform.almost_equals(cube.grid.transform, 1e-9)
                if apart or dataset.shape != cube.grid.shape:
                    return []
        return self._differs(cube, step, [path], place=True)

    def _hold(self, case: Case, fate: Fate, name: str, run: Run) -> None:
        """The rules for any run."""
        broken: list[str] = []
        if run.code is None:
            broken.append(f"over {self.seconds:g} s")
        elif run.code not in (0, 2):
            broken.append(f"exit code {run.code}: {run.output.strip()[-300:]}")
        broken += [f"'{word}' in its output" for word in SPEAKS_PYTHON if word in run.output]
        broken += [line for line in run.output.splitlines() if line.startswith(TOUCHED)][:1]
        if not "".join(run.output.split("\n")).isprintable():
            broken.append("control characters in its output")
        if run.code == 2:
            broken += self._error_faults(case, name, run)
        if run.mib > self.mib:
            broken.append(f"{run.mib:.0f} MiB")
        fate.broken += [f"{name}: {text}" for text in broken]

    def _error_faults(self, case: Case, name: str, run: Run) -> list[str]:
        faults = []
        if name.startswith("mixed") and name != "mixed, fail":
            faults.append("the whole job ended")
        message = run.output.rpartition("Error: ")[2].splitlines()
        if len(message) < 2:
            faults.append("no remedy")
        dates = (AMONG,) if name.startswith("mixed") else ALONE
        named = any(date in line for date in dates for line in message)
        # One file less makes a series too short; a folder without scenes is named itself.
        many = ("There is no GeoTIFF in", f"{len(ALONE)} of {len(ALONE)} scenes", "of all 8 scenes")
        if not (named or case.meanwhile or any(text in message[0] for text in many)):
            faults.append("the message does not name the file")
        return faults

    def _inputs(self, case: Case, folder: Path, good: list[Path], hostile: list[Path]) -> list[str]:
        """The folder, or a list that names its files, the hostile ones in the case's way."""
        if case.line is None:
            return [str(folder)]
        lines = [*map(str, good), *map(case.line, hostile)]
        place = self.work / "list.txt"
        place.write_text("\n".join(lines), encoding="utf-8")
        return [f"@{place}"]

    def _folder(self, name: str) -> Path:
        folder = self.work / name
        hostile_places.remove(folder)
        folder.mkdir()
        return folder

    def _stack(
        self, inputs: list[str], project: str, options: tuple[str, ...],
        meanwhile: Callable[[int], object] | None = None,
    ) -> Run:  # fmt: skip
        place = self.work / project
        hostile_places.remove(place)
        return run_stack(
            [*inputs, "--jobs", "2", *options], place, self.home,
            seconds=self.seconds, meanwhile=meanwhile,
        )  # fmt: skip


def _stamps(cube: Cube) -> list[str]:
    return [str(time)[:10].replace("-", "") for time in cube.times]
