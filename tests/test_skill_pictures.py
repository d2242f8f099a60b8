"""The benchmark that draws one forecast: which step it shows, and what is in the picture."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from geoforecast.forecast.engine import open_engine
from geoforecast.project import Project
from geoforecast.settings import SplitSettings, StackSettings, ValidateSettings
from geoforecast.stack import stack_scenes
from geoforecast.train import train_model
from geoforecast.validate import validate_run
from geoforecast.validate.scoring.class_parts import OUTCOMES

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "skill_pictures.py"


@pytest.fixture
def script(monkeypatch):
    """The benchmark as a module."""
    spec = importlib.util.spec_from_file_location("skill_pictures", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def project(make_project, wave):
    """A run of 8 test steps, 28 to 35, of which one is all but invalid."""
    values = wave.copy()
    values[30, :, 2:] = np.nan
    values[:, :, :3, :4] = np.nan
    project = make_project(values)
    train_model(project, model="none", lookback=3, horizon=2)
    return project


@pytest.mark.slow
def test_errors_are_those_that_validate_tells(script, project) -> None:
    rows = validate_run(project, ValidateSettings()).rows
    told = {row.lead: row.value for row in rows if (row.method, row.metric) == ("forecast", "rmse")}
    for lead in (1, 2):
        found = script.frames(open_engine(project, "default"), 0, lead)
        assert [frame.step for frame in found] == list(range(28, 36))
        squares = math.fsum(frame.error**2 * frame.pixels for frame in found)
        pooled = math.sqrt(squares / sum(frame.pixels for frame in found))
        assert pooled == pytest.approx(told[lead], rel=1e-5)


def test_the_median_of_the_well_covered_steps_is_shown(script, project) -> None:
    engine = open_engine(project, "default")
    found = script.frames(engine, 0, 1)
    covered = sorted(frame.error for frame in found if frame.step != 30)
    assert script.chosen(engine, found, "")[0].error == covered[3]  # of 7
    assert script.chosen(engine, found[:2], "")[0].error == min(one.error for one in found[:2])
    frame, words = script.chosen(engine, found, "2021-04-25")
    assert frame.step == 30
    assert words.endswith("of 7 well covered test steps")
    assert np.isnan(frame.observed[2:]).all()
    assert np.isfinite(frame.forecast[3:]).all()
    known = np.isfinite(frame.compared)
    assert known.sum() == frame.pixels == 2 * 31 - 2 * 4
    difference = (frame.forecast - frame.observed)[known]
    np.testing.assert_array_equal(frame.compared[known], difference)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["categorical", "binary"])
def test_probabilities_are_judged_as_validate_does(script, tmp_path, write_tif, kind) -> None:
    rng = np.random.default_rng(2)
    codes = rng.integers(0, 2, (16, 9, 11)).astype(np.uint8)
    codes[:, :5] = codes[0, :5]
    codes[14, 0] = 255
    for step, one in enumerate(codes):
        day = str(np.datetime64("2020-01-01") + 16 * step).replace("-", "")
        write_tif(tmp_path / "in" / f"water_{day}.tif", one, nodata=255)
    project = Project(tmp_path / "p")
    settings = StackSettings(kind="categorical" if kind == "categorical" else "continuous")
    stack_scenes(project, [tmp_path / "in"], settings, SplitSettings(), jobs=1)
    train_model(project, model="none", horizon=1)
    engine = open_engine(project, "default")
    assert engine.series.target.kind == kind
    found = script.frames(engine, 0, 1)
    rows = validate_run(project, ValidateSettings()).rows
    (told,) = (row for row in rows if (row.method, row.metric) == ("forecast", "brier"))
    total = math.fsum(frame.error * frame.pixels for frame in found)
    assert total / told.pixels == pytest.approx(told.value, rel=1e-5)
    frame = next(frame for frame in found if frame.step == 14)
    assert np.isnan(frame.observed[0]).all()
    assert np.isnan(frame.compared[0]).all()
    np.testing.assert_array_equal(frame.observed[1:], codes[14, 1:])
    panels = script.panels_of(engine, frame, 0, 1)
    if kind == "categorical":
        assert (panels[0].words, panels[2].words) == (("0", "1"), OUTCOMES)
        right = frame.forecast == frame.observed
        np.testing.assert_array_equal(np.isin(frame.compared, (0, 1)), right & (codes[14] < 255))
    else:
        assert [panel.limits for panel in panels] == [(0, 1), (0, 1), (-1, 1)]


def run(script, monkeypatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["skill_pictures.py", *map(str, arguments)])
    return script.main()


def test_a_picture_is_small_and_what_it_shows_is_said(
    script, project, monkeypatch, tmp_path, capsys
) -> None:
    path = tmp_path / "new" / "a.png"
    assert run(script, monkeypatch, project.root, path, "--name", "waves", "--lead", 2) == 0
    with Image.open(path) as image:
        assert image.mode == "P"
        assert 850 < image.width < 950
        pixels = np.asarray(image.convert("RGB"), dtype=int)
    palette = {tuple(colour) for colour in script.fixed_palette().tolist()}
    assert {tuple(colour) for colour in np.unique(pixels.reshape(-1, 3), axis=0)} <= palette
    assert path.stat().st_size < 60_000
    said = capsys.readouterr().out
    assert "waves, b0, 2021-" in said
    assert "2 steps of 16 d ahead" in said
    assert "the median of 7 well covered test steps" in said


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--band", "b7", "--band is b7"),
        ("--lead", "3", "Give 1 to 2"),
        ("--date", "2020-01-01", "no test step was forecast"),
        ("--run", "other", "other"),
    ],
)
def test_what_cannot_be_shown_is_refused(
    script, project, monkeypatch, tmp_path, capsys, option, value, message
) -> None:
    assert run(script, monkeypatch, project.root, tmp_path / "a.png", option, value) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "a.png").exists()
