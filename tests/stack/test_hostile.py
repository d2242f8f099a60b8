"""Hostile files through the whole stack: used correctly or refused, and good scenes untouched.

`make hostile` runs each file in a process of its own; here all of them meet in one folder.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import os
import random
import struct
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner

import geoforecast.stack.plan as plan_module
from geoforecast.cli import cli
from geoforecast.errors import SceneError
from geoforecast.project import Project
from geoforecast.raster.cube import open_cube
from geoforecast.raster.geotiff import glimpse, open_geotiff, read_header, read_pixels
from geoforecast.raster.grid import Tile
from geoforecast.settings import SplitSettings, StackSettings
from geoforecast.stack import stack_scenes

ROOT = Path(__file__).parents[2]


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


files = load("hostile_files")
load("hostile_run")
places = load("hostile_places")


def contents(folder: Path) -> dict[bytes, tuple[int, str]]:
    """Everything in a folder: kind, and hash of what can be read."""
    found = {}
    for path in folder.rglob("*"):
        info = path.lstat()
        plain = path.is_file() and not path.is_symlink() and os.access(path, os.R_OK)
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if plain else ""
        found[os.fsencode(path)] = (info.st_mode, digest)
    return found


def stack(folder: Path, place: Path, *, on_error: str = "quarantine", like: str = ""):
    settings = StackSettings(on_error=on_error, like=like)
    stack_scenes(Project(place), [folder], settings, SplitSettings(), jobs=2)
    cube = open_cube(place / "cube.zarr")
    return cube, *cube.read(0, len(cube.times))


def fates(place: Path) -> dict[str, tuple[str, str]]:
    with (place / "scenes.csv").open(newline="", encoding="utf-8") as stream:
        return {Path(r["path"]).name: (r["status"], r["reason"]) for r in csv.DictReader(stream)}


def mixed(folder: Path, cases) -> tuple[list[str], dict[str, object]]:
    """Good scenes and hostile ones, each with a date of its own."""
    dates = files.good_series(folder)
    start = np.datetime64("2021-01-01")
    made = {}
    for number, case in enumerate(cases):
        path = folder / case.pattern.format(str(start + number).replace("-", ""))
        case.make(path)
        made[path.name] = case
    return dates, made


def check_mixed(tmp_path: Path, cases) -> dict[str, tuple[str, str]]:
    """Stack good and hostile files; return the fates of the hostile ones."""
    good, folder = tmp_path / "good", tmp_path / "mixed"
    files.good_series(good)
    like = str(next(good.iterdir()))
    _, values, valid = stack(good, tmp_path / "baseline", like=like)
    dates, made = mixed(folder, cases)
    before = contents(folder)
    cube, found, usable = stack(folder, tmp_path / "project", like=like)
    assert contents(folder) == before
    stamps = [str(time)[:10].replace("-", "") for time in cube.times]
    steps = [stamps.index(date) for date in dates]
    np.testing.assert_array_equal(found[steps], values)
    np.testing.assert_array_equal(usable[steps], valid)
    told = fates(tmp_path / "project")
    assert {told[f"ndvi_{date}.tif"][0] for date in dates} == {"used"}
    for name in set(told) & set(made):
        status, reason = told[name]
        assert status in ("used", "quarantined", "skipped")
        assert (status == "used") == (not reason)
    return {made[name].name: fate for name, fate in told.items() if name in made}


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_generated_files_among_good_ones(tmp_path):
    """One stack meets every truncation, flip, edit, disguise, odd place and side-car."""
    cases = [
        case
        for case in places.generated()
        if case.pattern == "ndvi_{}.tif" and case.line is None and case.meanwhile is None
    ]
    found = check_mixed(tmp_path, cases)
    assert len(found) > 60
    for name, (status, reason) in found.items():
        if name.startswith("cut at") or "300 GB" in name or "beyond" in name:
            assert status == "quarantined", name
            assert ".tif" in reason
    assert found[".ovr"][0] == "used"
    assert found[".msk"][0] == "quarantined"


@pytest.mark.slow
def test_collected_files_among_good_ones(tmp_path, real_data):
    found = check_mixed(tmp_path, places.copies(real_data("_hostile")))
    assert len(found) == 55
    assert found["byte_ZSTD.tif"][0] == "used"
    for name in ("byte_truncated.tif", "lzw_corrupted.tif", "huge4GB.tif", "au-gcp.tif"):
        assert found[name][0] == "quarantined"
    reason = found["tiff_srs_iau_2015_30110.tif"][1]  # of the Moon
    assert "does not fit the other scenes: there is no way between two" in reason


@pytest.mark.parametrize(("bad", "told"), [(5, False), (8, True)])
def test_files_set_aside_that_are_not_listed_are_counted(tmp_path, caplog, bad, told):
    files.good_series(tmp_path / "scenes")
    for number in range(bad):
        (tmp_path / "scenes" / f"ndvi_2021010{number + 1}.tif").write_bytes(b"no raster")
    with caplog.at_level("INFO"):
        stack(tmp_path / "scenes", tmp_path / "project")
    assert caplog.text.count("1 quarantined: ") == 5
    assert ("3 more skipped or quarantined: scenes.csv tells why." in caplog.text) == told


def test_pages_are_counted_in_words(tmp_path, caplog):
    dates = files.good_series(tmp_path / "scenes")
    for number, words in ((0, "1 file has several pages"), (1, "2 files have several pages")):
        path = tmp_path / "scenes" / f"ndvi_{dates[number]}.tif"
        path.write_bytes(files.two_pages(path.read_bytes()))
        caplog.clear()
        stack(tmp_path / "scenes", tmp_path / str(number))
        assert f"{words}; the first is read." in caplog.text


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="gives up Linux capabilities")
@pytest.mark.parametrize(("mib", "code"), [("1024", 0), ("1", 1)])
def test_the_table_ends_with_counts_and_with_1_if_a_rule_is_broken(tmp_path, mib, code):
    """A mebibyte is too little for any stack, and breaks the rule on memory."""
    arguments = ["--data", str(tmp_path), "--only", "Names: listed, absent", "--mib", mib]
    result = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "hostile.py"), *arguments],
        capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert result.returncode == code, result.stdout + result.stderr
    assert "absent_FILE does not exist" in result.stdout
    assert result.stdout.splitlines()[-1].endswith(f"MiB; {code} broke a rule.")
    assert ("BROKEN alone" in result.stdout) == bool(code)
    assert "Touched outside" not in result.stdout


@pytest.mark.parametrize("pattern", ["nd\nvi_{}.tif", "ndvi..{}...tif", "GTIFF_DIR:1:{}.tif"])
def test_odd_names_of_good_files_are_used(tmp_path, pattern):
    folder = tmp_path / "scenes"
    folder.mkdir()
    for step in range(8):
        (folder / pattern.format(f"2020010{step + 1}")).write_bytes(files.scene(step))
    _, values, _ = stack(folder, tmp_path / "project", on_error="fail")
    np.testing.assert_array_equal(values[3, 0], files.values(3))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
@pytest.mark.parametrize("name", ["cut at 5/10", "VRT", "10 KB say 300 GB", "lengths zero"])
def test_fail_names_the_file_and_the_remedy(tmp_path, name):
    case = next(case for case in places.generated() if case.name == name)
    mixed(tmp_path / "mixed", [case])
    arguments = ["-p", str(tmp_path / "project"), "stack", str(tmp_path / "mixed")]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2
    assert "ndvi_20210101.tif" in result.stderr
    assert "--on-error quarantine" in result.stderr
    assert "Traceback" not in result.stderr


def test_damaged_headers_and_pixels_give_nothing_but_scene_errors(tmp_path, capfd):
    """Seeded: bytes, words and directory entries of five kinds of file are replaced."""
    rng = random.Random(7)
    bases = list(files.bases().values())
    path = tmp_path / "x.tif"
    used, refused = 0, []
    for _ in range(250):
        path.write_bytes(spoilt(bytearray(rng.choice(bases)), rng))
        try:
            header = read_header(path)
            rows, cols = (min(size, 64) for size in header.grid.shape)
            with open_geotiff(path, header) as dataset:
                read_pixels(dataset, [1], Tile(0, rows, 0, cols))
            glimpse(path, 1)
            used += 1
        except SceneError as error:
            refused.append(error)
    assert 30 < used < 220
    assert all("x.tif" in error.what and error.remedy for error in refused)
    told = capfd.readouterr().err
    assert "Traceback" not in told
    assert "Exception ignored" not in told


def spoilt(content: bytearray, rng: random.Random) -> bytes:
    numbers = [0, 1, 2, 3, 7, 100, 2**15, 2**16 - 1, 2**20, 2**24, 2**31 - 1, 2**31, 2**32 - 1]
    kind = rng.choice(("byte", "word", "entry"))
    if kind == "byte":
        for _ in range(rng.choice((1, 20))):
            content[rng.randrange(len(content))] = rng.randrange(256)
    elif kind == "word":
        for _ in range(3):
            struct.pack_into("<I", content, rng.randrange(500), rng.choice(numbers))
    else:
        places = files.entries(bytes(content))
        place, wide, _, order = places[rng.choice(list(places))]
        code = files.CODES[wide]
        where, code = rng.choice(((0, "H"), (2, "H"), (4, code), (4 + wide, code)))
        mask = 0xFFFF if code == "H" else 0xFFFFFFFF
        struct.pack_into(f"{order}{code}", content, place + where, rng.choice(numbers) & mask)
    return bytes(content)


@pytest.mark.parametrize("change", ["replaced", "removed", "cut"])
def test_a_folder_that_changes_between_header_and_pixels(tmp_path, monkeypatch, change):
    """The file is set aside; the others are stacked as if it had never been there."""
    folder = tmp_path / "scenes"
    dates = files.good_series(folder)
    victim = folder / f"ndvi_{dates[4]}.tif"
    settle = plan_module.target_grid

    def meanwhile(*arguments, **options):
        if change == "removed":
            victim.unlink(missing_ok=True)
        elif change == "cut":
            victim.write_bytes(files.scene(4)[:1500])
        else:
            victim.write_bytes(files.scene(77))
            os.utime(victim, ns=(1, 1))
        return settle(*arguments, **options)

    monkeypatch.setattr(plan_module, "target_grid", meanwhile)
    cube, values, _ = stack(folder, tmp_path / "project")
    stamps = [str(time)[:10].replace("-", "") for time in cube.times]
    for step, date in enumerate(dates):
        if date in stamps and date != dates[4]:
            np.testing.assert_array_equal(values[stamps.index(date), 0], files.values(step))
    if dates[4] in stamps:  # wholly the new file, or it is not there
        expected = files.values(77)
        np.testing.assert_array_equal(values[stamps.index(dates[4]), 0], expected)
    else:
        assert fates(tmp_path / "project").get(victim.name, ("quarantined",))[0] == "quarantined"


LIMITED = """
import resource, sys
from geoforecast.cli import cli
sys.argv = ["geoforecast", *sys.argv[1:]]
try:
    cli()
finally:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print("PEAK", peak // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss in KiB")
def test_bombs_take_no_memory(tmp_path):
    """300 GB in 10 KB, blocks of 64 GB, a million strips: one stack stays below 1 GiB."""
    wanted = ("10 KB", "width", "height", "tile", "rows per strip", "samples", "lengths", "bits")
    cases = [c for c in places.generated() if c.name.startswith(wanted)]
    assert len(cases) > 20
    mixed(tmp_path / "mixed", cases)
    result = subprocess.run(
        [sys.executable, "-c", LIMITED, "-p", str(tmp_path / "project"), "stack",
         str(tmp_path / "mixed"), "--on-error", "quarantine"],
        capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert int(result.stdout.rpartition("PEAK")[2]) < 1024


@pytest.mark.parametrize("offset", [0.0, 3.5])
@pytest.mark.parametrize(
    "creation",
    [
        {"dtype": "uint8", "nbits": 1}, {"dtype": "uint8", "nbits": 2},
        {"dtype": "uint8", "nbits": 4}, {"dtype": "uint16", "nbits": 12},
        {"dtype": "int8"}, {"dtype": "int64"}, {"dtype": "uint64"},
        {"dtype": "float32", "nbits": 16}, {"dtype": "float32", "predictor": 3},
        {"dtype": "float64", "predictor": 3}, {"dtype": "int16", "predictor": 2},
        {"dtype": "int16", "ENDIANNESS": "BIG"}, {"dtype": "int16", "BIGTIFF": "YES"},
        {"dtype": "int16", "tiled": True, "blockxsize": 16, "blockysize": 16},
        {"dtype": "uint8", "nodata": 1}, {"dtype": "float32", "nodata": float("nan")},
        {"dtype": "uint8", "SPARSE_OK": True, "nodata": 0},
    ],
    ids=lambda creation: " ".join(map(str, creation.values())),
)  # fmt: skip
def test_used_pixels_are_those_that_gdal_reads(tmp_path, creation, offset):
    """GDAL itself, through rasterio with its own defaults, is the oracle."""
    rng = np.random.default_rng(3)
    folder = tmp_path / "scenes"
    folder.mkdir()
    most = 2 ** min(7, creation.get("nbits", 7))
    options = {"compress": "deflate"} | creation
    for day in range(1, 9):
        pixels = rng.integers(0, most, (20, 30)).astype(creation["dtype"])
        with rasterio.open(
            folder / f"v_2020010{day}.tif", "w", driver="GTiff", height=20, width=30, count=1,
            crs="EPSG:32633", transform=files.TRANSFORM, **options,
        ) as dataset:  # fmt: skip
            dataset.write(pixels, 1)
            dataset.scales, dataset.offsets = (0.5,), (offset,)
    _, values, valid = stack(folder, tmp_path / "project", on_error="fail")
    for step in range(8):
        expected, usable = places.reference(folder / f"v_2020010{step + 1}.tif")
        np.testing.assert_array_equal(valid[step], usable)
        np.testing.assert_array_equal(values[step][usable], expected[usable])
