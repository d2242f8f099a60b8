"""Classes scored over a raster: against arrays, and what is told of each class."""

from __future__ import annotations

import csv
import json
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as oracle

from geoforecast.validate.metrics.one_class import NEVER_SEEN
from geoforecast.validate.result import ValidateResult


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
