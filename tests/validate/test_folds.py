"""Folds verified together: each step by its own fold, rows pooled, and told fold by fold."""

import json
import math

import numpy as np
import pytest
from click.testing import CliRunner

from geoforecast.cli import cli
from geoforecast.errors import RunError
from geoforecast.forecast.engine import open_engine
from geoforecast.raster.cube import open_cube, update_meta
from geoforecast.raster.grid import Tile
from geoforecast.raster.holdout import HALO, HELD_OUT, SEEN, held_out_blocks
from geoforecast.samples.folds import cut_folds
from geoforecast.settings import ValidateSettings
from geoforecast.train import train_folds, train_model
from geoforecast.validate import validate_folds, validate_run
from geoforecast.validate.folds import open_folds
from geoforecast.validate.scoring.accumulate import score_raster
from geoforecast.validate.scoring.class_scores import score_classes
from geoforecast.validate.scoring.part_rows import rows_of_parts
from geoforecast.validate.scoring.partings import Partings
from geoforecast.validate.scoring.rows import metric_rows
from geoforecast.validate.verb import held_out_of

TINY = {"lookback": 2, "horizon": 2, "model": "none"}
NAMES = [f"default.fold{number}of3" for number in (1, 2, 3)]


def values_of(rows):
    return {(row.part, row.method, row.metric, row.lead): row for row in rows}


def scored(source, blocks=()):
    """Rows of the whole and of parts, without maps and a report."""
    methods = ("forecast", "mixture", "persistence")
    scores = score_raster(source, methods, 64, lambda *_: None)
    parts = rows_of_parts(scores, source.cube.times, blocks)
    return values_of(metric_rows(scores)), values_of(parts)


@pytest.fixture
def small(wave):
    """(24, 1, 10, 12) of the wave, some of it under clouds."""
    values = np.ascontiguousarray(wave[:24, :, :10, :12])
    values[13:22:2, :, :4] = np.nan
    return values


@pytest.fixture
def project(make_project, small):
    project = make_project(small)
    train_folds(project, **TINY, folds=3)
    return project


def test_rows_pool_those_of_the_folds(project):
    source = open_folds(project, "default", 3)
    whole, parts = scored(source, source.blocks)
    folds = [scored(open_engine(project, name))[0] for name in NAMES]
    assert {part for part, *_ in parts if part.startswith("fold")} == {
        f"fold {number}/3" for number in (1, 2, 3)
    }
    for method in ("forecast", "mixture", "persistence"):
        for lead in (1, 2):
            each = {m: [f["", method, m, lead] for f in folds] for m in ("rmse", "mae", "bias")}
            pixels = [row.pixels for row in each["rmse"]]
            assert len(set(pixels)) > 1  # or weighing them would prove nothing
            for metric, rows in each.items():
                told = np.array([row.value for row in rows])
                for number, value in enumerate(told, 1):
                    part = parts[f"fold {number}/3", method, metric, lead]
                    assert part.value == pytest.approx(value, rel=1e-6)
                    assert part.pixels == pixels[number - 1]
                if metric == "rmse":
                    by_hand = math.sqrt(np.average(told**2, weights=pixels))
                else:
                    by_hand = np.average(told, weights=pixels)
                assert whole["", method, metric, lead].value == pytest.approx(by_hand, rel=1e-6)
                assert whole["", method, metric, lead].pixels == sum(pixels)


def test_each_step_is_forecast_by_its_own_fold_alone(project):
    source = open_folds(project, "default", 3)
    tile = Tile(0, 10, 0, 12)
    steps = source.split.test_steps
    assert steps.stop == 24
    found = list(source.hindcasts(tile, steps))
    assert sorted({one.step for one in found}) == list(steps)
    blocks = dict(source.blocks)
    assert [step for block in blocks.values() for step in block] == list(steps)
    for (_, block), engine in zip(source.blocks, source.engines, strict=True):
        assert len(engine.cube.times) == block.stop  # it cannot read beyond its block
        own = list(engine.hindcasts(tile, block))
        theirs = [one for one in found if one.step in block]
        assert [(one.step, one.lead) for one in own] == [(one.step, one.lead) for one in theirs]
        for one, other in zip(own, theirs, strict=True):
            np.testing.assert_array_equal(one.forecasts["forecast"], other.forecasts["forecast"])
    one_step = list(source.hindcasts(tile, range(steps.start, steps.start + 1)))
    assert {one.step for one in one_step} == {steps.start}


def test_what_comes_after_a_block_changes_no_score_of_it(make_project, small, project):
    source = open_folds(project, "default", 3)
    _, before = scored(source, source.blocks)
    small[source.blocks[-1][1].start :] += 3
    other = make_project(small, name="other")
    train_folds(other, **TINY, folds=3)
    source = open_folds(other, "default", 3)
    _, after = scored(source, source.blocks)
    same = [key for key in before if key[0] in ("fold 1/3", "fold 2/3")]
    assert len(same) > 20
    for key in same:
        assert before[key].value == after[key].value or math.isnan(before[key].value)
    key = ("fold 3/3", "persistence", "rmse", 2)
    assert before[key].value != after[key].value


def test_missing_folds_are_named_with_their_commands(project):
    for name in NAMES[1:]:
        (project.run_dir(name) / "model.json").unlink()
    with pytest.raises(
        RunError, match="2 of 3 folds of the run 'default' are not trained"
    ) as error:
        validate_folds(project, ValidateSettings(folds=3))
    text = str(error.value)
    assert "geoforecast train --fold 2/3\n" in text
    assert "geoforecast train --fold 3/3\n" in text
    assert "--fold 1/3" not in text
    assert "geoforecast train --folds 3" in text
    with pytest.raises(RunError, match="3 of 3 folds of the run 'other'") as error:
        validate_folds(project, ValidateSettings(folds=3, run="other"))
    assert "geoforecast train --run other --fold 1/3" in str(error.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"lookback": 3}, "lookback"),
        ({"horizon": 1}, "horizon"),
        ({"bands": ("b1",)}, "bands"),
        ({"reference": "persistence"}, "reference"),
        ({"seed": 5}, "seed"),
        ({"holdout_blocks": 1, "holdout_halo": 0}, "holdout"),
        ({"kind": "count"}, "kind of targets"),
    ],
)
def test_folds_of_other_settings_are_refused(make_project, small, change, says):
    project = make_project(np.concatenate([small, small], axis=1))
    train_folds(project, **TINY, folds=2, bands=("b0",))
    train_model(project, **{**TINY, "bands": ("b0",), "overwrite": True, "fold": "2/2", **change})
    with pytest.raises(RunError, match=f"trained differently: {says}") as error:
        validate_folds(project, ValidateSettings(folds=2))
    assert "default.fold2of2: " in str(error.value)
    assert "--folds 2 --overwrite" in str(error.value)


def test_folds_of_another_cube_are_refused(project):
    update_meta(project.cube_path, fingerprint="f1")
    train_model(project, **TINY, fold="3/3", overwrite=True)
    with pytest.raises(RunError, match="trained differently: cube"):
        validate_folds(project, ValidateSettings(folds=3))


def test_a_run_that_only_has_a_folds_name_is_refused(project):
    (project.run_dir(NAMES[0])).rename(project.root / "moved")
    train_model(project, **TINY, run=NAMES[0])
    with pytest.raises(RunError, match="was not trained as a fold"):
        validate_folds(project, ValidateSettings(folds=3))


def classes(make_project, codes):
    """A project of classes."""
    project = make_project(codes)
    update_meta(project.cube_path, kind="categorical", normaliser=None)
    return project


@pytest.mark.parametrize("kind", ["binary", "categorical"])
def test_probabilities_follow_each_folds_own_rule(make_project, small, kind):
    codes = np.digitize(small, [0.5] if kind == "binary" else [0.4, 0.6]).astype(np.float32)
    codes[np.isnan(small)] = np.nan
    project = make_project(codes) if kind == "binary" else classes(make_project, codes)
    train_folds(project, **TINY, folds=2)
    for number, rule in ((1, 0.05), (2, 0.95)):
        path = project.run_dir(f"default.fold{number}of2") / "model.json"
        rules = [[rule] if kind == "binary" else [1.0, rule / 3]] * 2
        path.write_text(json.dumps(json.loads(path.read_text()) | {"decision": rules}))
    source = open_folds(project, "default", 2)
    assert source.has_probabilities
    methods = ("forecast", "mixture", "persistence")
    pooled = score_classes(source, methods, 64, partings=Partings(blocks=source.blocks))
    each = [score_classes(engine, methods, 64) for engine in source.engines]
    for name in ("n", "brier"):
        by_hand = np.concatenate([getattr(one, name) for one in each])
        np.testing.assert_array_equal(getattr(pooled, name), by_hand)
    for name in ("tables", "changes", "chances", "seen"):
        by_hand = sum(getattr(one, name) for one in each)
        np.testing.assert_array_equal(getattr(pooled, name), by_hand)
    assert (each[0].tables[0, 0] != each[1].tables[0, 0]).any()
    told = values_of(rows_of_parts(pooled, source.cube.times))
    for number, one in enumerate(each, 1):
        row = told[f"fold {number}/2", "forecast", "brier", 2]
        assert row.value == pytest.approx(one.brier[:, 1, 0].sum() / one.n[:, 1].sum())
        assert row.pixels == one.n[:, 1].sum()
        over = told[f"fold {number}/2", "persistence", "brier", 2]
        skill = told[f"fold {number}/2", "forecast", "brier_skill", 2]
        assert skill.value == pytest.approx(1 - row.value / over.value)


def test_folds_that_know_other_classes_are_refused(make_project, small):
    codes = np.where(small > 0.5, 1, 0).astype(np.float32)
    first = open_cube(make_project(small).cube_path)
    cut = cut_folds(len(first.times), 2, 2, 2).splits
    codes[cut[0].seen : cut[1].validation, :, 0, 0] = 9
    project = classes(make_project, codes)
    train_folds(project, **TINY, folds=2)
    with pytest.raises(RunError, match="same classes") as error:
        validate_folds(project, ValidateSettings(folds=2))
    assert "default.fold2of2: 0, 1, 9" in str(error.value)


@pytest.mark.slow
def test_folds_of_classes_have_a_report(make_project, small):
    project = make_project((small > 0.5).astype(np.float32))
    train_folds(project, **TINY, folds=2, holdout_blocks=1, holdout_halo=0)
    result = validate_folds(project, ValidateSettings(folds=2))
    assert "each fold fitted" in result.report_path.read_text()
    assert "fold 2/2" in result.describe()
    assert "held out" in result.describe()


def test_the_command_line_trains_and_scores_folds(make_project, small):
    project = make_project(small)
    line = ["-p", str(project.root), "train", "--folds", "2", "--model", "none"]
    done = CliRunner().invoke(cli, [*line, "validate", "--folds", "2"], catch_exceptions=False)
    assert done.exit_code == 0
    assert "Run 'default.fold2of2'" in done.stdout
    assert "fold 2/2 " in done.stdout
    told = json.loads((project.root / "validation/default.folds/metrics.json").read_text())
    assert told["run"] == "default.folds"
    report = (project.root / "validation/default.folds/report.html").read_text()
    assert "folds of run default, verified on" in report
    assert "By fold; the skill is over the reference" in report
    assert {"fold 1/2", "fold 2/2"} <= {row["part"] for row in told["rows"]}
    times = open_cube(project.cube_path).times
    assert told["split"]["last_test_time"].startswith(str(times[-1])[:10])


def test_the_command_line_refuses_two_sources(tmp_path):
    line = ["-p", str(tmp_path), "validate", "--folds", "2", "--when-observed"]
    done = CliRunner().invoke(cli, line)
    assert done.exit_code == 2
    assert "Give one of them" in done.stderr


def test_status_knows_folds(make_project, small):
    project = make_project(small)

    def advice():
        done = CliRunner().invoke(cli, ["-p", str(project.root), "status"], catch_exceptions=False)
        assert done.exit_code == 0
        return done.stdout.splitlines()[-1].removeprefix("next").strip()

    train_model(project, **TINY, fold="2/2")
    assert advice() == "geoforecast train --run default --fold 1/2"
    train_model(project, **TINY, fold="1/2")
    assert advice() == "geoforecast validate --run default --folds 2"
    project.validation_dir("default.folds").mkdir(parents=True)
    assert advice() == f"open {project.root}/validation/default.folds/report.html"
    train_model(project, **TINY)
    assert advice() == "geoforecast predict"


def test_held_out_places_are_told_apart(make_project, wave):
    project = make_project(np.ascontiguousarray(wave[:24]))
    held = {"holdout_blocks": 2, "holdout_halo": 2}
    train_model(project, **TINY, **held)
    engine = open_engine(project, "default")
    labels = held_out_blocks(2, (23, 31), 0, 2).labels
    (parting,) = held_out_of(project, "default", engine)
    assert parting.titles == ("held out", "seen in training")
    for tile in (Tile(0, 23, 0, 31), Tile(3, 20, 8, 19)):
        part = parting.at(tile)
        for number, label in ((0, HELD_OUT), (1, SEEN), (-1, HALO)):
            np.testing.assert_array_equal(part == number, labels[tile.slices] == label)
    told = values_of(validate_run(project, ValidateSettings()).parts)
    for title, label in (("held out", HELD_OUT), ("seen in training", SEEN)):
        row = told[title, "forecast", "rmse", 1]
        assert row.pixels == (labels == label).sum() * len(engine.split.test_steps)
    train_folds(project, **TINY, **held, folds=2)
    source = open_folds(project, "default", 2)
    (parting,) = held_out_of(project, "default.fold1of2", source.first)
    assert parting.titles[0] == "held out"
    assert all(one.taught is not None for one in source.engines)


def test_a_run_that_holds_out_nothing_has_no_such_parts(project):
    assert held_out_of(project, NAMES[0], open_engine(project, NAMES[0])) == ()
