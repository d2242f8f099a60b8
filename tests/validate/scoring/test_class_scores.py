"""Classes scored over a raster: against arrays, and what is told of each class."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as oracle

from geoforecast.errors import SettingsError
from geoforecast.settings import ValidateSettings
from geoforecast.validate.metrics.one_class import NEVER_SEEN
from geoforecast.validate.result import ValidateResult
from geoforecast.validate.scoring.class_scores import SUMMED, class_plan, score_classes
from geoforecast.validate.scoring.frames import Frames
from geoforecast.validate.scoring.part_rows import rows_of_parts
from geoforecast.validate.scoring.partings import Parting, Partings
from geoforecast.validate.writing import write_validation


def pairs(engine: Any, method: str, lead: int) -> tuple[np.ndarray, np.ndarray]:
    """Observed and forecast class numbers of all scored pixels; 3 was never seen in training."""
    came, said = [], []
    for one in engine.hindcasts(engine.cube.grid.whole, engine.split.test_steps):
        if one.lead == lead:
            own = one.valid[0]
            observed = np.where(one.observed.any(axis=0), one.observed.argmax(axis=0), 3)
            came.append(observed[own])
            said.append(one.forecasts[method].argmax(axis=0)[own])
    return np.concatenate(came), np.concatenate(said)


@pytest.fixture(scope="module")
def told(class_result: ValidateResult) -> dict[Any, tuple[float, str]]:
    return {
        (r.method, r.lead, r.metric): (r.value, r.reason) for r in class_result.rows if not r.part
    }


@pytest.mark.parametrize("method", ["forecast", "persistence"])
@pytest.mark.parametrize("lead", [1, 2])
def test_each_class_is_that_of_the_arrays(
    class_engine: Any, told: Any, method: str, lead: int
) -> None:
    came, said = pairs(class_engine, method, lead)
    found = oracle.precision_recall_fscore_support(came, said, labels=[0, 1, 2])
    for name, values in zip(("precision", "recall", "f1"), found[:3], strict=True):
        for number, code in enumerate((3, 7, 200)):
            value, _ = told[method, lead, f"{name}_class_{code}"]
            assert value == pytest.approx(values[number]), (name, code)
    assert told[method, lead, "f1_class_unknown"] == (0.0, NEVER_SEEN)


def test_the_confusion_matrix_is_told_in_pixels(
    class_engine: Any, class_result: ValidateResult
) -> None:
    blocks = json.loads(class_result.json_path.read_text())["confusion"]
    assert len(blocks) == 2 * 2  # methods, leads
    for block in blocks:
        came, said = pairs(class_engine, block["method"], block["lead"])
        expected = oracle.confusion_matrix(came, said, labels=[0, 1, 2, 3])[:, :3]
        np.testing.assert_array_equal(block["pixels"], expected)
        assert block["observed"] == [3, 7, 200, "unknown"]
        assert block["forecast"] == [3, 7, 200]


def test_rows_and_reasons_are_in_the_table(class_result: ValidateResult) -> None:
    with class_result.csv_path.open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["metric"].endswith("class_unknown")]
    values = {row["metric"]: (row["value"], row["reason"]) for row in rows}
    assert values["recall_class_unknown"] == ("0.0", NEVER_SEEN)
    assert values["precision_class_unknown"] == ("", "the class was never forecast")


def test_the_report_shows_each_class(class_engine: Any, class_result: ValidateResult) -> None:
    text = class_result.report_path.read_text()
    came, said = pairs(class_engine, "forecast", 1)
    hits = int(((came == 0) & (said == 0)).sum())
    share = hits / (came == 0).sum()
    words = f'title="observed 3, forecast 3: {100 * share:.3g} % of what was observed">{hits}</td>'
    assert words in text
    assert f"{oracle.f1_score(came, said, labels=[1], average='macro'):.3f}" in text
    assert "two steps" not in text
    assert "What was forecast, and what came: 2 steps ahead" in text
    # A value with a reason is no dash.
    assert NEVER_SEEN not in text


HALVES = Parting(
    ("region west", "region east"),
    lambda tile: np.broadcast_to(
        np.where(np.arange(tile.col0, tile.col1) < 11, 0, 1), tile.shape
    ).astype(np.int32),
)
NOWHERE = Parting(("class 1",), lambda tile: np.full(tile.shape, -1, np.int32))
PARTINGS = Partings((HALVES, NOWHERE))


def in_part(engine: Any, lead: int, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Observed and forecast class numbers of a half, or of a season."""
    came, said = [], []
    for one in engine.hindcasts(engine.cube.grid.whole, engine.split.test_steps):
        month = int(str(engine.cube.times[one.step])[5:7])
        own = one.valid[0].copy()
        if part.startswith("region"):
            own[:, 11:] &= part == "region east"
            own[:, :11] &= part == "region west"
        else:
            own &= part == ("season DJF" if month in (12, 1, 2) else "season MAM")
        if one.lead == lead:
            observed = np.where(one.observed.any(axis=0), one.observed.argmax(axis=0), 3)
            came.append(observed[own])
            said.append(one.forecasts["forecast"].argmax(axis=0)[own])
    return np.concatenate(came), np.concatenate(said)


def merit(engine: Any, part: str) -> float:
    """Figure of merit of the forecast two steps ahead in a half, pixel by pixel."""
    hits = changes = 0
    cols = slice(0, 11) if part == "region west" else slice(11, None)
    for one in engine.hindcasts(engine.cube.grid.whole, engine.split.test_steps):
        own = one.valid[0] & (one.last > 0).any(axis=0)
        if one.lead == 2:
            came = np.where(one.observed.any(axis=0), one.observed.argmax(axis=0), 3)[:, cols]
            last, said = one.last.argmax(axis=0), one.forecasts["forecast"].argmax(axis=0)
            last, said, own = last[:, cols], said[:, cols], own[:, cols]
            hits += int(((came != last) & (said == came) & own).sum())
            changes += int((((came != last) | (said != last)) & own).sum())
    return hits / changes


def test_parts_are_those_of_the_arrays(class_engine: Any) -> None:
    scores = score_classes(class_engine, class_engine.methods, 8, partings=PARTINGS)
    rows = rows_of_parts(scores, class_engine.cube.times)
    value = {(r.part, r.method, r.lead, r.metric): (r.value, r.pixels) for r in rows}
    months = {int(str(class_engine.cube.times[step])[5:7]) for step in scores.steps}
    assert months == {12, 1, 2, 3, 4, 5}
    for part in ("region west", "region east", "season DJF", "season MAM"):
        for lead in (1, 2):
            came, said = in_part(class_engine, lead, part)
            found, pixels = value[part, "forecast", lead, "kappa"]
            assert found == pytest.approx(oracle.cohen_kappa_score(came, said))
            assert pixels == came.size
    # Some became something else in each half, and not all of it in one.
    merits = [value[part, "forecast", 2, "figure_of_merit"][0] for part in HALVES.titles]
    assert merits == pytest.approx([merit(class_engine, part) for part in HALVES.titles])
    # Wrong pixels by step are those of the tables.
    for number, method in enumerate(class_engine.methods):
        wrong = int(scores.wrong[:, 0, number, 0].sum())
        assert wrong / scores.pooled(method, 0, 1).n == pytest.approx(
            1 - oracle.accuracy_score(*pairs(class_engine, method, 1))
        )
    # What all pixels have is what the halves have together.
    whole = scores.pooled("forecast", 0, 1)
    assert sum(scores.parts[0].n[0, 0]) == whole.n
    np.testing.assert_array_equal(scores.parts[0].tables[0, 0, 0].sum(axis=0), whole.table)
    np.testing.assert_array_equal(scores.parts[0].changes[0, 0, 0].sum(axis=0), whole.change)
    brier = [value[part, "forecast", 1, "brier"] for part in HALVES.titles]
    assert sum(mean * n for mean, n in brier) == pytest.approx(whole.brier)
    assert np.isnan(value["class 1", "forecast", 1, "accuracy"][0])
    # Skill is over the reference of the same part.
    ours, theirs = (value["region west", m, 2, "brier"][0] for m in class_engine.methods)
    assert value["region west", "forecast", 2, "brier_skill"][0] == pytest.approx(1 - ours / theirs)


def test_yes_and_no_have_parts_too(binary_engine: Any) -> None:
    scores = score_classes(binary_engine, binary_engine.methods, 8, partings=PARTINGS)
    rows = rows_of_parts(scores, binary_engine.cube.times)
    value = {(r.part, r.metric): r.value for r in rows if (r.method, r.lead) == ("forecast", 1)}
    came, said = [], []
    for one in binary_engine.hindcasts(binary_engine.cube.grid.whole, scores.steps):
        if one.lead == 1:
            own = one.valid[0][:, 11:]
            came.append(one.observed[0][:, 11:][own] >= 0.5)
            said.append(one.forecasts["forecast"][0][:, 11:][own] >= 0.5)
    expected = oracle.jaccard_score(np.concatenate(came), np.concatenate(said))
    assert value["region east", "csi"] == pytest.approx(expected)
    assert ("region east", "roc_auc") not in value


def test_threads_change_no_bit_of_classes(class_engine: Any) -> None:
    found = []
    for jobs in (1, 3):
        frames = Frames(class_plan(class_engine), tracks=False)
        done: list[int] = []
        scores = score_classes(
            class_engine,
            class_engine.methods,
            8,
            lambda count, _, done=done: done.append(count),  # type: ignore[misc]
            frames,
            PARTINGS,
            jobs,
        )
        assert done == sorted(done)
        assert done[-1] == 12 * 6 * 2  # tiles, steps, leads
        found.append((scores, frames))
    (one, first), (other, second) = found
    for name in SUMMED:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for own, more in zip(one.parts, other.parts, strict=True):
        np.testing.assert_array_equal(own.brier, more.brier)
    np.testing.assert_array_equal(first.values, second.values)


def test_by_divides_classes_and_ranges_do_not(
    class_engine: Any, tmp_path: Path, write_tif: Any
) -> None:
    grid = class_engine.cube.grid
    zones = np.ones(grid.shape, np.uint8)
    zones[:, 11:] = 2
    path = write_tif(tmp_path / "zones.tif", zones, transform=grid.transform, crs=grid.wkt)
    settings = ValidateSettings(by=str(path))
    result = write_validation(tmp_path / "run", class_engine, settings)
    came, said = in_part(class_engine, 1, "region west")
    kappa = next(
        r.value for r in result.parts if (r.part, r.metric, r.lead) == ("class 1", "kappa", 1)
    )
    assert kappa == pytest.approx(oracle.cohen_kappa_score(came, said))
    text = result.report_path.read_text()
    assert "By class of the raster of --by" in text
    assert "By season of the valid time" in text
    assert "cover: skill by part" in result.describe()
    with pytest.raises(SettingsError, match="what is forecast is categorical"):
        write_validation(tmp_path / "no", class_engine, ValidateSettings(ranges=(1.0,)))
