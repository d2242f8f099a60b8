"""Which events are scored, how they are counted over the raster, and where they are told."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from geoforecast.cli import cli
from geoforecast.errors import SettingsError
from geoforecast.project import Project
from geoforecast.settings import ValidateSettings, resolve_settings
from geoforecast.validate import skill_table, validate_run
from geoforecast.validate.report import page
from geoforecast.validate.result import ValidateResult
from geoforecast.validate.scoring.accumulate import score_raster, scored_pixels
from geoforecast.validate.scoring.scores import Scores
from geoforecast.validate.scoring.thresholds import (
    band_events,
    event_summaries,
    parse_events,
    refuse_events,
)
from geoforecast.validate.writing import write_validation

NAN = math.nan
THRESHOLDS = ((0.45,), (285.0, 292.5))  # of NDVI and of LST


def score(engine: Any, tile_px: int = 512, events: Any = THRESHOLDS) -> Scores:
    return score_raster(engine, engine.methods, tile_px, lambda *_: None, events=events)


@pytest.fixture(scope="module")
def rain(engine: Any, tmp_path_factory: pytest.TempPathFactory) -> ValidateResult:
    """A validation of the same fields with events, by a list."""
    folder = tmp_path_factory.mktemp("events") / "default"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("geoforecast.validate.writing.draw_pictures", lambda *_: ())
        return write_validation(folder, engine, ValidateSettings(events=(0.45, 290.0)))


def asked(raw: Any) -> Any:
    """The setting, from text or as TOML has it."""
    file = {"validate": {"events": raw}}
    return resolve_settings("validate", {}, file_values=file, environ={}).events


def test_lists_and_none() -> None:
    assert parse_events(asked("")) is None
    assert parse_events(asked("none")) == ()
    assert parse_events(asked("-5,0.1, 1e1")) == (-5.0, 0.1, 10.0)
    assert parse_events(asked([0.1, 1, 5])) == parse_events(asked("0.1,1,5")) == (0.1, 1, 5)
    assert parse_events(asked(5)) == (5.0,)
    assert math.copysign(1, parse_events(asked("-0"))[0]) == 1  # type: ignore[index]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("0.1,heavy", "--events 0.1,heavy: heavy is not a number"),
        ("1e39", r"1e\+39 is not a number that a pixel can hold"),
        ("none,1", "none is not a number"),
        ("0.1,1,1", "--events 0.1,1,1: 1 is not above 1"),
        ("0.1,0.10", "0.1 is not above 0.1"),
        ([5, 1, 0.1], "1 is not above 5"),
    ],
)
def test_a_wrong_list_is_refused_before_any_work(raw: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=words):
        parse_events(asked(raw))
    with pytest.raises(SettingsError, match=words):
        validate_run(Project(tmp_path / "new"), ValidateSettings(events=asked(raw)))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("raw", ["0.1,nan", "inf", [0.1, math.inf], [0.1, True], [[1]]])
def test_what_is_no_finite_number_is_no_setting(raw: Any) -> None:
    with pytest.raises(SettingsError, match=r"events is .*\.\nGive"):
        asked(raw)
    if isinstance(raw, list) and math.inf in raw:
        with pytest.raises(SettingsError, match="inf is not a number that a pixel can hold"):
            parse_events(raw)


def test_the_command_line_refuses_it_before_the_verbs_before(tmp_path: Path) -> None:
    line = ["-p", str(tmp_path), "train", "validate", "--events", "1,0.1"]
    done = CliRunner().invoke(cli, line)
    assert done.exit_code == 2
    assert "--events 1,0.1: 0.1 is not above 1." in done.output


def test_only_rain_rates_have_events_of_their_own() -> None:
    spellings = ["mm/h", "mm h-1", "mm/hr", "mm hr-1", "mm h^-1", "mm / h", "mm.h-1", " mm/hour "]
    assert band_events((), spellings) == ((0.1, 1.0, 5.0),) * len(spellings)
    others = ["", "1", "K", "mm", "mm/d", "mm/s", "m/h", "kg m-2 s-1", "mm h", "mm/ha", "cm/h"]
    assert band_events((), others) == ((),) * len(others)
    assert band_events((280.0,), ["K", "mm/h"]) == ((280.0,), (280.0,))
    assert band_events(("none",), ["K", "mm/h"]) == ((), ())


def test_probabilities_have_no_thresholds(engine: Any, tmp_path: Path) -> None:
    for kind in ("binary", "categorical"):
        target = SimpleNamespace(target=SimpleNamespace(kind=kind))
        classes = SimpleNamespace(
            has_probabilities=True, series=target, split=engine.split, band_names=("flood",)
        )
        with pytest.raises(SettingsError, match=f"--events 0.5 .* targets are {kind}"):
            write_validation(tmp_path / "run", classes, ValidateSettings(events=(0.5,)))  # type: ignore[arg-type]
        refuse_events((), kind)
        refuse_events(("none",), kind)


def test_counts_equal_direct_arithmetic(engine: Any) -> None:
    scores = score(engine)
    band, lead, threshold = 1, 2, np.float32(292.5)
    expected = {method: np.zeros(3, int) for method in engine.methods}
    pixels = 0
    for one in engine.hindcasts(engine.cube.grid.whole, engine.split.test_steps):
        if one.lead != lead:
            continue
        own = scored_pixels(one, engine.methods, band)
        pixels += int(own.sum())
        for method in engine.methods:
            for f, o in zip(one.forecasts[method][band][own], one.observed[band][own], strict=True):
                if o >= threshold:
                    expected[method][0 if f >= threshold else 1] += 1
                elif f >= threshold:
                    expected[method][2] += 1
    for method, counts in expected.items():
        found = scores.event(method, band, lead, 1)
        assert [found.hits, found.misses, found.false_alarms] == counts.tolist()
        assert found.n == pixels
    assert expected["forecast"].min() > 0


@pytest.mark.parametrize("tile_px", [4, 11, 16])
def test_tile_size_does_not_matter(engine: Any, tile_px: int) -> None:
    whole = score(engine).event_counts
    assert whole.any()
    np.testing.assert_array_equal(score(engine, tile_px).event_counts, whole)


def test_invalid_pixels_do_not_count(engine: Any) -> None:
    junk = dataclasses.replace(engine, junk=1e9)  # above any threshold
    np.testing.assert_array_equal(score(junk).event_counts, score(engine).event_counts)


def test_all_methods_are_asked_about_the_same_events(engine: Any) -> None:
    class Holes:
        """Climatology lacks the left columns, more of them at each lead."""

        def __getattr__(self, name: str) -> Any:
            return getattr(engine, name)

        def hindcasts(self, tile: Any, steps: range, level: float = 0.0, likely: int = 0) -> Any:
            for one in engine.hindcasts(tile, steps, level, likely):
                columns = np.arange(tile.col0, tile.col1)
                one.forecasts["climatology"][..., columns < 5 * one.lead] = np.nan
                yield one

    scores = score(Holes())
    values, valid = engine.cube.read(10, 14)
    for lead in (1, 2, 3):
        kept = valid[:, 0, :, 5 * lead :]
        came = kept & (values[:, 0, :, 5 * lead :] >= np.float32(0.45))
        for method in engine.methods:
            event = scores.event(method, 0, lead, 0)
            assert event.hits + event.misses == came.sum()
            assert event.n == kept.sum()


def test_bands_keep_their_own_thresholds(engine: Any) -> None:
    scores = score(engine)
    assert scores.events == THRESHOLDS
    assert scores.event_counts.shape == (3, 3, 2, 2, 3)  # lead, method, band, threshold, sum
    assert not scores.event_counts[:, :, 0, 1].any()  # NDVI has one only
    alone = score(engine, events=((), (292.5,)))
    np.testing.assert_array_equal(alone.event_counts[:, :, 1, 0], scores.event_counts[:, :, 1, 1])
    assert score(engine, events=()).event_counts.size == 0


def test_csv_and_json_tell_every_method(rain: ValidateResult, engine: Any) -> None:
    with rain.csv_path.open(newline="") as stream:
        lines = [row for row in csv.DictReader(stream) if row["metric"] == "csi_290"]
    assert len(lines) == 2 * 3 * 3  # bands, leads, methods
    of_lst = {(r["method"], int(r["lead"])): r for r in lines if r["band"] == "LST"}
    scores = score(engine, events=((), (290.0,)))
    for (method, lead), row in of_lst.items():
        event = scores.event(method, 1, lead, 0)
        csi = event.hits / (event.hits + event.misses + event.false_alarms)
        assert float(row["value"]) == csi
        assert int(row["pixels"]) == event.n
    ndvi = next(r for r in lines if r["band"] == "NDVI")
    assert (ndvi["value"], ndvi["reason"]) == ("", "no event was observed and none was forecast")
    names = {row.metric for row in rain.rows}
    assert {"csi_0.45", "pod_0.45", "far_0.45", "frequency_bias_0.45"} <= names
    content = json.loads(rain.json_path.read_text())
    assert content["events"] == {"NDVI": [0.45, 290.0], "LST": [0.45, 290.0]}


def test_without_events_nothing_is_said_of_them(result: ValidateResult) -> None:
    assert not any("csi" in row.metric for row in result.rows)
    assert "CSI" not in skill_table(result)
    text = result.report_path.read_text()
    assert "Was it forecast" not in text
    assert "frequency bias" not in text
    assert json.loads(result.json_path.read_text())["events"] == {"NDVI": [], "LST": []}


@pytest.mark.usefixtures("no_pictures")
def test_rain_has_events_unasked(engine: Any, tmp_path: Path) -> None:
    class Rain:
        units = ("", "mm/h")

        def __getattr__(self, name: str) -> Any:
            return getattr(engine, name)

    result = write_validation(tmp_path / "run", Rain(), ValidateSettings())  # type: ignore[arg-type]
    assert json.loads(result.json_path.read_text())["events"] == {"NDVI": [], "LST": [0.1, 1, 5]}
    off = write_validation(tmp_path / "off", Rain(), ValidateSettings(events=("none",)))  # type: ignore[arg-type]
    assert not any("csi" in row.metric for row in off.rows)


def test_the_table_holds_the_forecast_against_the_best(rain: ValidateResult) -> None:
    value = {(r.method, r.lead): r.value for r in rain.rows if (r.band, r.metric) == LST_290}
    lines = skill_table(rain).splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("CSI at 290 K"))
    assert lines[at].split()[4:] == [f"{value['forecast', lead]:.3f}" for lead in (1, 2, 3)]
    best = [max(value["persistence", k], value["climatology", k]) for k in (1, 2, 3)]
    assert lines[at + 1].split() == ["the", "best", "reference", "has", *(f"{b:.3f}" for b in best)]
    assert "CSI at 0.45   " in lines[next(i for i, x in enumerate(lines) if "at 0.45" in x)]
    assert next(line for line in lines if "CSI at 290 " in line).split()[3:] == ["-", "-", "-"]


LST_290 = ("LST", "csi_290")


def test_the_report_has_a_table_and_curves(rain: ValidateResult) -> None:
    text = rain.report_path.read_text()
    value = {(r.method, r.lead): r.value for r in rain.rows if (r.band, r.metric) == LST_290}
    start = text.index("<td>≥ 290 K</td>")
    rows = text[start : text.index("CSI of the best reference", start)]
    for lead in (1, 2, 3):
        assert f">{value['forecast', lead]:.3f}</td>" in rows
    assert "CSI of 290 K or more, by lead" in text
    assert "CSI of 290 or more, by lead" not in text  # of NDVI: nothing to draw
    assert "forecast over observed events" in text  # what the frequency bias means


def test_the_report_marks_the_highest_and_no_best_without_a_hit(engine: Any) -> None:
    leads = {"csi": (0.5, 0.0, NAN), "pod": (0.6, 0.0, 0.1), "far": (0.7, 1.0, 0.2)}
    leads |= {"f1": (0.3, 0.0, NAN), "hss": (0.2, 0.0, NAN)}
    leads["frequency_bias"] = (0.8, 0.9, 0.3)
    value = {
        (method, lead, f"{name}_7"): values[lead - 1] + (method == "persistence") * 0.1 * (lead < 2)
        for method in ("forecast", "persistence")
        for name, values in leads.items()
        for lead in (1, 2, 3)
    }
    (event,) = page._events(engine, 1, ["forecast", "persistence"], value, [1, 2, 3])
    assert event["name"] == "7 K"
    assert list(event["csi"]) == ["forecast", "best reference"]
    assert event["highest"] == [0.6, None, None]
    assert event["best"] == ["persistence", "", ""]
    others = {"POD": "pod", "FAR": "far", "F1": "f1", "HSS": "hss"}
    others["frequency bias"] = "frequency_bias"
    assert list(event["others"]) == list(others)
    for title, name in others.items():
        np.testing.assert_array_equal(event["others"][title], leads[name])
    assert [line.name for line in event["chart"].lines] == ["forecast", "persistence"]


def test_the_best_is_the_highest_and_what_is_undefined_is_passed_over() -> None:
    csi = {
        "forecast": [0.9, NAN],
        "mixture": [0.95, NAN],
        "persistence": [0.4, NAN],
        "advection": [0.6, NAN],
    }
    value = {
        (method, lead, f"csi_{label}"): values[lead - 1]
        for label in ("0.1", "1")
        for method, values in csi.items()
        for lead in (1, 2)
    }
    first, second = event_summaries({**value, ("forecast", 1, "rmse"): 0.0}, [1, 2])
    assert (first.label, second.label) == ("0.1", "1")
    assert first.best == ("advection", "")
    assert first.best_csi[0] == 0.6
    assert math.isnan(first.best_csi[1])
    assert {method: values[0] for method, values in first.csi.items()} == {
        method: values[0] for method, values in csi.items()
    }
    assert event_summaries({("forecast", 1, "rmse"): 0.0}, [1]) == ()
