"""Rows, skills, the plain sentence and the text table."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import replace
from typing import Any

import pytest

from geoforecast.figures.words import four_digits
from geoforecast.validate import skill_table
from geoforecast.validate.result import ValidateResult
from geoforecast.validate.scoring.rows import MetricRow
from geoforecast.validate.scoring.scores import best_reference
from geoforecast.validate.verdict.summary import LeadSummary, improvement, percent, plain_sentences

NAN = math.nan


def item(lead: int, skill: float, best: str = "persistence", **changes: Any) -> LeadSummary:
    base = LeadSummary("NDVI", lead, 0.1, 0.5, best, 0.1, skill, skill, 7, 9, 100, 1.0)
    return dataclasses.replace(base, **changes)


def test_rows_are_tidy_and_complete(result: ValidateResult) -> None:
    keys = [(r.method, r.band, r.lead, r.metric) for r in result.rows]
    assert len(keys) == len(set(keys))
    # 2 bands x 3 leads x (3 methods x 12 metrics + rmse and mae skill x (2 references + best)
    # + interval and p-value of the skill + 32 of the maps and pixels of 2 methods)
    assert len(keys) == 2 * 3 * (3 * 12 + 2 * 3 + 3 + 2 * 32)
    assert {r.method for r in result.rows} == {"forecast", "persistence", "climatology"}


def test_skills_follow_from_the_errors(result: ValidateResult) -> None:
    value = {(r.method, r.band, r.lead, r.metric): r.value for r in result.rows}
    for band in ("NDVI", "LST"):
        for lead in (1, 2, 3):
            for name in ("rmse", "mae"):
                ours = value["forecast", band, lead, name]
                against = {m: value[m, band, lead, name] for m in ("persistence", "climatology")}
                for method, error in against.items():
                    found = value["forecast", band, lead, f"{name}_skill_vs_{method}"]
                    assert found == pytest.approx(1 - ours / error, rel=1e-12)
                found = value["forecast", band, lead, f"{name}_skill"]
                assert found == pytest.approx(1 - ours / min(against.values()), rel=1e-12)
    assert value["forecast", "NDVI", 1, "rmse_skill"] == pytest.approx(0.5, abs=1e-4)


def test_best_reference() -> None:
    assert best_reference({"forecast": 0.1, "a": 0.3, "b": 0.2, "c": NAN}) == "b"
    assert best_reference({"forecast": 0.1, "a": NAN}) == ""
    assert best_reference({"forecast": 0.9, "a": 0.3, "b": 0.2, "c": NAN}, highest=True) == "a"


def test_sentence_names_leads_gains_and_the_alternative() -> None:
    text = plain_sentences([item(1, 0.12), item(2, 0.04), item(3, -0.07, "climatology")])
    assert text == (
        "NDVI: worth trusting 1-2 steps ahead (RMSE 12 % and 4 % below the best simple "
        "forecast, persistence; better at 7 of 9 and 7 of 9 test steps); use climatology "
        "instead at lead 3 (the forecast's RMSE is 7 % higher).",
    )


def test_sentence_when_nothing_is_better() -> None:
    (text,) = plain_sentences([item(1, 0.001), item(2, -0.2), item(3, -0.3)])
    assert text == (
        "NDVI: not worth preferring to a simple forecast; no clear gain over persistence at "
        "lead 1; use persistence instead at leads 2-3 (the forecast's RMSE is 20 % and 30 % "
        "higher)."
    )


def test_sentence_gives_ranges_of_long_lists() -> None:
    leads = [item(lead, 0.5 / lead, better_steps=9 - lead) for lead in range(1, 5)]
    (text,) = plain_sentences([*leads, *(item(lead, -0.1 * lead) for lead in range(5, 9))])
    assert "1-4 steps ahead (RMSE 12 to 50 % below" in text  # 0.5 / 4 rounds to even
    assert "better at 5 to 8 of 9 test steps" in text
    assert "RMSE is 50 to 80 % higher" in text
    (text,) = plain_sentences([item(lead, 0.5, better_steps=7) for lead in range(1, 6)])
    assert "better at 7 of 9 test steps" in text


@pytest.mark.parametrize(
    ("skill", "better_steps", "verdict"),
    [
        (0.005, 5, "better"),
        (0.0049, 9, "equal"),
        (0.3, 4, "equal"),  # 4 of 9 steps: a few lucky ones
        (-0.0049, 0, "equal"),
        (-0.005, 9, "worse"),
        (NAN, 0, "unknown"),
    ],
)
def test_verdict(skill: float, better_steps: int, verdict: str) -> None:
    assert item(1, skill, better_steps=better_steps).verdict == verdict


def test_a_gain_that_may_be_chance_is_said_to_be() -> None:
    sure = replace(item(1, 0.12), low=0.04, high=0.2)
    unsure = replace(item(2, 0.06), low=-0.03, high=0.14)
    (text,) = plain_sentences([sure, unsure])
    assert text.endswith(
        "; at lead 2 that may be chance: the forecast is not distinguishable from persistence "
        "(95 % interval of the gain -3 % to +14 %)."
    )
    (text,) = plain_sentences([replace(one, low=-0.03, high=0.3) for one in (sure, unsure)])
    assert "at leads 1-2 that may be chance" in text
    assert "(the 95 % intervals of the gain hold 0)" in text
    assert "chance" not in plain_sentences([sure])[0]
    assert not item(1, 0.12).may_be_chance  # nothing is known
    (text,) = plain_sentences([replace(item(1, -0.1), low=-0.3, high=0.1)])
    assert "the forecast's RMSE is 10 % higher); at lead 1 that may be chance" in text


def test_equal_percentages_are_said_once() -> None:
    (text,) = plain_sentences([item(1, 0.012), item(2, 0.008)])
    assert "(RMSE 1 % below" in text


def test_sentence_when_nothing_could_be_scored() -> None:
    (text,) = plain_sentences([item(1, NAN, "", steps=0), item(3, NAN, "", steps=0)])
    assert text == "NDVI: cannot be judged at leads 1 and 3."


def test_sentence_warns_of_negative_r2_and_of_few_steps() -> None:
    text = " ".join(plain_sentences([item(1, 0.2, r2=-0.4, steps=5)]))
    assert "at lead 1 even so R² is below 0" in text
    assert "With only 5 test steps" in text
    assert "only" not in " ".join(plain_sentences([item(1, 0.2, steps=8)]))


@pytest.mark.parametrize(
    ("value", "text"), [(0.123, "+12 %"), (-0.4, "-40 %"), (-0.004, "0 %"), (NAN, "-")]
)
def test_percent(value: float, text: str) -> None:
    assert percent(value) == text


def test_skill_table(result: ValidateResult) -> None:
    lines = skill_table(result).splitlines()
    assert lines[0].split() == ["NDVI", "RMSE", "lead", "1", "lead", "2", "lead", "3"]
    value = {(r.method, r.band, r.lead): r.value for r in result.rows if r.metric == "rmse"}
    expected = [four_digits(value["persistence", "NDVI", lead]) for lead in (1, 2, 3)]
    assert lines[2].split() == ["persistence", *expected]
    assert lines[4].startswith("skill over the best reference")
    assert "+50 %" in lines[4]
    assert lines[5].startswith("  its 95 % interval")
    assert lines[8].startswith("LST RMSE [K]")


def test_describe_shows_table_sentence_and_places(result: ValidateResult) -> None:
    text = result.describe()
    assert text.startswith(skill_table(result))
    assert result.sentence in text
    assert str(result.report_path) in text


def test_the_improvement_over_what_is_corrected_is_the_mean_of_its_skills() -> None:
    def row(metric: str, value: float, band: str = "a") -> MetricRow:
        return MetricRow("forecast", band, 1, metric, value, 9)

    rows = [
        row("rmse_skill_vs_mean", 0.1),
        row("rmse_skill_vs_mean", 0.05, "b"),
        row("mae_skill_vs_mean", -0.02),
        row("mae_skill_vs_mean", NAN, "b"),
        row("rmse_skill_vs_trend", 0.9),
        row("rmse_skill_vs_mixture", 0.9),
    ]
    (text,) = improvement(rows, "mean")
    assert text == (
        "Than mean (the historical average), which is corrected: RMSE 7.5 % lower, "
        "MAE 2.0 % higher, mean of bands and leads."
    )
    assert improvement(rows, "mixture") == ()
    assert improvement(rows, "climatology") == ()
    assert improvement(rows, "trend")[0].startswith("Than trend, which is corrected: RMSE 90.0 %")
