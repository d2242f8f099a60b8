"""A cube in the making: killed and gone on with, grown, shared out, always the same bits."""

from __future__ import annotations

import json

import numpy as np
import pytest

from geoforecast.errors import CubeError, SettingsError
from geoforecast.project import Project
from geoforecast.raster import cube_writer, measures
from geoforecast.raster.cube import open_cube
from geoforecast.raster.grid import Tile
from geoforecast.raster.measures import Part
from geoforecast.settings import SplitSettings, StackSettings
from geoforecast.stack import stack_scenes
from geoforecast.stack.pixels import making as making_module
from geoforecast.stack.pixels import units
from geoforecast.values import parse_shard


def stack(project, folder, *, split=None, **options):
    extra = {k: options.pop(k) for k in ("jobs", "shard", "finalise") if k in options}
    return stack_scenes(
        project, [folder], StackSettings(chunk=32, **options), split or SplitSettings(), **extra
    )


@pytest.fixture(autouse=True)
def small_units(monkeypatch):
    """Units of one chunk of 32 pixels."""
    monkeypatch.setattr(measures, "CELL_PX", 32)
    monkeypatch.setattr(cube_writer, "CELL_PX", 32)
    monkeypatch.setattr(making_module, "CELL_PX", 32)
    monkeypatch.setattr(units, "UNIT_VALUES", 1)
    monkeypatch.setattr(cube_writer, "SHARD_VALUES", 1)


@pytest.fixture
def folder(tmp_path, write_tif):
    """Eighteen noisy scenes of two bands, with gaps: 60 x 70 pixels."""
    for step in range(18):
        scene(write_tif, tmp_path / "in", step)
    return tmp_path / "in"


def scene(write_tif, folder, step, seed=0):
    rng = np.random.default_rng([seed, step])
    data = rng.integers(1, 900, (2, 60, 70)).astype(np.uint16)
    data[:, rng.random((60, 70)) < 0.2] = 0
    day = str(np.datetime64("2020-01-01") + 16 * step).replace("-", "")
    return write_tif(
        folder / f"a_{day}.tif", data, nodata=0, descriptions=("red", "nir"), compress="deflate"
    )


def contents(project):
    """All files of a cube but its metadata, and the metadata that do not name the folder."""
    path = project.cube_path
    files = {
        str(p.relative_to(path)): p.read_bytes()
        for p in path.rglob("*")
        if p.is_file() and p != path / "zarr.json"
    }
    meta = open_cube(path).meta
    return files, {k: v for k, v in meta.items() if k not in ("fingerprint", "settings")}


def count_units(monkeypatch):
    done = []
    note = units.Ledger.note
    monkeypatch.setattr(
        units.Ledger, "note", lambda self, unit, *rest: done.append(unit) or note(self, unit, *rest)
    )
    return done


class Killed(BaseException):
    pass


@pytest.mark.parametrize("after", [1, 4, 11])
def test_units_that_are_done_survive_a_kill(tmp_path, folder, monkeypatch, after):
    undisturbed, project = Project(tmp_path / "whole"), Project(tmp_path / "killed")
    stack(undisturbed, folder, jobs=1)
    done = count_units(monkeypatch)
    note = units.Ledger.note

    def killing(self, unit, *rest):
        if len(done) == after:
            raise Killed
        note(self, unit, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(units.Ledger, "note", killing)
        with pytest.raises(Killed):
            stack(project, folder, jobs=1)
    assert not project.cube_path.exists()
    before = len(done)
    assert before == after
    stack(project, folder, jobs=2)
    assert len(done) == 30  # 5 blocks in time x 2 x 3 chunks, none of them twice
    assert contents(project) == contents(undisturbed)
    assert not project.stacking_dir.exists()


@pytest.mark.parametrize("damage", ["shorter", "gone", "changed source"])
def test_a_unit_whose_files_or_sources_changed_is_done_again(
    tmp_path, folder, monkeypatch, write_tif, damage
):
    project = Project(tmp_path / "p")
    with monkeypatch.context() as patch:
        patch.setattr("geoforecast.stack.verb._complete", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            stack(project, folder)
    chunk = project.stacking_dir / "cube.zarr/values/c/1/0/0/0"
    if damage == "gone":
        chunk.unlink()
    elif damage == "shorter":  # as a power failure leaves it
        chunk.write_bytes(b"")
    else:
        scene(write_tif, folder, 5, seed=1)  # in the second block of steps
    done = count_units(monkeypatch)
    stack(project, folder)
    assert len(done) == (6 if damage == "changed source" else 1)
    fresh = Project(tmp_path / "fresh")
    stack(fresh, folder)
    assert contents(project) == contents(fresh)


@pytest.mark.parametrize("grown", [1, 2, 9])
def test_a_grown_folder_is_appended_and_equals_a_fresh_stack(
    tmp_path, folder, monkeypatch, write_tif, grown
):
    project, fresh = Project(tmp_path / "p"), Project(tmp_path / "fresh")
    stack(project, folder)
    old = {p: p.stat().st_ino for p in sorted(project.cube_path.glob("values/c/**/*"))}
    split = open_cube(project.cube_path).meta["split"]
    statistics = open_cube(project.cube_path).meta["normaliser"]
    for step in range(18, 18 + grown):
        scene(write_tif, folder, step)
    done = count_units(monkeypatch)
    result = stack(project, folder)
    assert result.steps == 18 + grown
    # 18 steps are four blocks of 4 and 2 more: those four are taken over as they are.
    taken = [unit for unit in done if unit.steps.start < 16]
    assert len(taken) == 24
    kept = [p for p in old if p.is_file() and int(p.parts[-4]) < 4]
    assert kept
    assert all(p.stat().st_ino == old[p] for p in kept)
    # The split and what was fitted stay where they were; the test block has grown.
    meta = open_cube(project.cube_path).meta
    assert meta["split"] == split
    assert meta["normaliser"] == statistics
    stack(fresh, folder)
    files, fresh_files = contents(project)[0], contents(fresh)[0]
    assert files == fresh_files
    assert meta["valid_pixels"] == open_cube(fresh.cube_path).meta["valid_pixels"]
    # With the split made anew, all is as in the fresh one.
    assert stack(project, folder, split=SplitSettings(resplit=True)).up_to_date
    assert contents(project) == contents(fresh)


def test_scenes_before_the_first_or_between_make_a_cube_as_a_fresh_one(tmp_path, folder):
    project, fresh = Project(tmp_path / "p"), Project(tmp_path / "fresh")
    late = sorted(folder.iterdir())[3]
    late.rename(tmp_path / "kept")
    stack(project, folder)
    (tmp_path / "kept").rename(late)
    stack(project, folder, split=SplitSettings(resplit=True))
    stack(fresh, folder)
    assert contents(project) == contents(fresh)


def test_a_file_that_is_gone_needs_overwrite(tmp_path, folder, write_tif):
    project = Project(tmp_path / "p")
    stack(project, folder)
    scene(write_tif, folder, 18)
    sorted(folder.iterdir())[0].unlink()
    with pytest.raises(CubeError, match="files: 1 new, 1 gone, 0 changed"):
        stack(project, folder)


@pytest.mark.parametrize("count", [1, 3, 7, pytest.param(40, marks=pytest.mark.slow)])
def test_shares_of_several_processes_equal_one(tmp_path, folder, monkeypatch, count):
    one, project = Project(tmp_path / "one"), Project(tmp_path / "shares")
    stack(one, folder)
    order = np.random.default_rng(0).permutation(count)
    for index in order[:-1]:
        result = stack(project, folder, shard=(int(index), count))
        assert result.partial
        assert not project.cube_path.exists()
    if count < 40:  # of 40 shares some are empty
        with pytest.raises(CubeError, match=r"of 30 units of the cube are not done") as caught:
            stack(project, folder, finalise=True)
        assert "Run the shards that did not end well again" in str(caught.value)
    stack(project, folder, shard=(int(order[-1]), count))
    done = count_units(monkeypatch)
    result = stack(project, folder, finalise=True)
    assert done == []
    assert not result.partial
    assert contents(project) == contents(one)


def test_a_share_that_is_done_again_does_nothing(tmp_path, folder, monkeypatch):
    project = Project(tmp_path / "p")
    stack(project, folder, shard=(1, 3))
    done = count_units(monkeypatch)
    result = stack(project, folder, shard=(1, 3))
    assert done == []
    assert "Share 1 of 3: 10 of 30 units are done, 10 of them before." in result.describe()


def test_what_another_stack_left_is_removed(tmp_path, folder):
    project = Project(tmp_path / "p")
    stack(project, folder, shard=(0, 2))
    stack(project, folder, bands=("nir",))
    assert open_cube(project.cube_path).bands == ("nir",)


def test_shards_beyond_few_files_are_whole_units(tmp_path, folder, monkeypatch):
    plain, project = Project(tmp_path / "plain"), Project(tmp_path / "sharded")
    stack(plain, folder)
    monkeypatch.setattr(cube_writer, "MOST_FILES", 20)
    stack(project, folder)
    assert len(list(project.cube_path.glob("values/c/**/*"))) < len(
        list(plain.cube_path.glob("values/c/**/*"))
    )
    a, b = open_cube(plain.cube_path), open_cube(project.cube_path)
    for x, y in zip(a.read(0, 18), b.read(0, 18), strict=True):
        np.testing.assert_array_equal(x, y)
    assert json.dumps(a.meta["normaliser"]) == json.dumps(b.meta["normaliser"])


@pytest.mark.parametrize("text", ["3", "3/3", "a/b", "-1/3", "1/", "/"])
def test_shards_that_are_none(text):
    with pytest.raises(SettingsError, match="is no share"):
        parse_shard(text)


def test_shards():
    assert parse_shard("") is None
    assert parse_shard("2/8") == (2, 8)


UNIT = units.Unit(7, 0, range(5), range(4, 6), Tile(256, 300, 0, 5))


def test_a_note_gives_back_what_was_noted(tmp_path):
    rng = np.random.default_rng(0)
    cells = rng.random((2, 3, 1, 2, 5))
    cells[0, 0] = np.nan
    overview = rng.random((2, 3, 11, 4)).astype(np.float32)
    units.Ledger(tmp_path).note(UNIT, "ab", Part(4, 256, 0, cells, overview), 99)
    ledger = units.Ledger(tmp_path)
    assert ledger.key(UNIT) == ("ab", 99)
    part = ledger.part(UNIT)
    assert (part.step, part.row, part.col) == (4, 256, 0)
    np.testing.assert_array_equal(part.cells, cells)
    np.testing.assert_array_equal(part.overview, overview)


@pytest.mark.parametrize("keep", [0, 1, 60, -500, -4, -1, None])
def test_a_spoilt_note_counts_as_none(tmp_path, keep):
    ledger = units.Ledger(tmp_path)
    part = Part(4, 256, 0, np.zeros((2, 3, 1, 2, 5)), np.zeros((2, 3, 11, 4), np.float32))
    assert ledger.key(UNIT) == ("", 0)
    ledger.note(UNIT, "ab", part, 99)
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    path.write_bytes(bytes(len(content)) if keep is None else content[:keep])
    assert ledger.key(UNIT) == ("", 0)
