"""Tiles and threads follow the memory that is granted; estimates say what a forecast takes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from geoforecast.cli import cli
from geoforecast.errors import DateError, ProjectError, SettingsError
from geoforecast.predict import estimate_forecast, predict_rasters, predict_share, room
from geoforecast.predict.plan import make_plan
from geoforecast.predict.room import PROCESS_BYTES, room_for, tile_bytes
from geoforecast.train import train_model

GIB = 2**30


@pytest.fixture
def project(make_project, wave):
    project = make_project(wave)
    train_model(project, model="none", horizon=2, lookback=3)
    return project


def plan_of(project, **given):
    return make_plan(project, project.settings("predict", **given))


def test_smaller_tiles_and_fewer_threads_are_taken_where_memory_is_short(project, monkeypatch):
    monkeypatch.setattr(room, "tile_bytes", lambda _plan, side: side * side * 10_000)
    granted = {"bytes": 0}
    monkeypatch.setattr(room, "granted_memory_bytes", lambda: granted["bytes"])
    plan = plan_of(project, tile=256)
    found = []
    for gib in (64, 2.5, 0.7):
        granted["bytes"] = int(gib * GIB)
        made = room_for(plan, 8)
        found.append((made.side, made.jobs))
        assert made.memory_bytes <= granted["bytes"]
    # 2.5 GiB less 450 MiB hold three tiles of 655 MB; 0.7 GiB less those one of 164 MB.
    assert found == [(256, 8), (256, 3), (128, 1)]
    granted["bytes"] = 2 * GIB // 5
    with pytest.raises(SettingsError, match=r"takes about 0\.4 GiB of memory, of which 0\.4 GiB"):
        room_for(plan, 1)


def test_the_models_lattice_sets_the_least_tile(project, monkeypatch):
    monkeypatch.setattr(room, "granted_memory_bytes", lambda: 1)
    plan = plan_of(project, tile=512)
    sides = []
    monkeypatch.setattr(room, "tile_bytes", lambda _plan, side: sides.append(side) or 1)
    monkeypatch.setattr(type(plan.engine), "blend", (0.5, 0.5))
    with pytest.raises(SettingsError):
        room_for(plan, 1)
    assert min(sides) == 256


def test_memory_grows_with_leads_and_halo_but_not_with_the_raster(project):
    plan = plan_of(project, tile=16)
    assert tile_bytes(plan, 16) < tile_bytes(plan, 31)
    more = plan_of(project, tile=16, steps=9)
    assert tile_bytes(more, 16) > tile_bytes(plan, 16)
    assert tile_bytes(plan, 512) == tile_bytes(plan, 64)  # the raster is no larger


def files_of(root: Path):
    return sorted(str(path) for path in root.rglob("*"))


def test_a_dry_run_writes_nothing_and_says_what_it_would_take(project):
    before = files_of(project.root)
    told = estimate_forecast(project, steps=3, samples=1, jobs=2)
    assert files_of(project.root) == before
    assert (told.units, told.jobs, told.parameters) == (1, 1, 0)
    assert told.memory_bytes > PROCESS_BYTES
    # 23 x 31 pixels of 4 bytes, 3 leads, 4 layers; as units, and as files with overviews.
    assert told.disk_bytes == int((1 + 4 / 3) * 23 * 31 * 3 * 4 * 4)
    assert told.seconds >= told.learning_seconds + told.unit_seconds > 0
    made = predict_rasters(project, steps=3, samples=1)
    written = {*made.files, *sum(made.bounds, ()), *made.samples[0]}
    assert set(told.files) == written


def test_the_command_line_shows_the_estimate(project):
    words = ["-p", str(project.root), "predict", "--dry-run"]
    shown = CliRunner().invoke(cli, words)
    assert shown.exit_code == 0
    assert "a dry run: nothing is written" in shown.stdout
    assert "forecast_20210730.tif" in shown.stdout
    told = json.loads(CliRunner().invoke(cli, [*words, "--json"]).stdout)
    assert told["units"] == 1
    assert len(told["files"]) == 6


def test_a_dry_run_refuses_what_a_forecast_would(project):
    with pytest.raises(DateError, match="2099"):
        estimate_forecast(project, from_="2099-01-01")


def test_a_place_that_cannot_be_written_to_is_told(project, monkeypatch):
    mkdir = Path.mkdir

    def refusing(path, *rest, **given):
        if path.parent.name.endswith("-making"):
            raise PermissionError(13, "Permission denied")
        mkdir(path, *rest, **given)

    monkeypatch.setattr(Path, "mkdir", refusing)
    for forecast in (predict_rasters, lambda p: predict_share(p, (0, 2))):
        with pytest.raises(ProjectError, match=r"cannot be written to .*Permission denied"):
            forecast(project)
