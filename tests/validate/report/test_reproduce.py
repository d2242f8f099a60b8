"""The recipe of a report: what was run, each once, and every setting that was not default."""

from __future__ import annotations

import tomllib
from dataclasses import asdict
from typing import Any

from geoforecast.settings import TrainSettings, ValidateSettings
from geoforecast.validate.report.reproduce import earlier_commands, recipe


def trained(run: str, **changes: Any) -> dict[str, Any]:
    settings = asdict(TrainSettings(run=run)) | changes
    argv = ["-p", "my project", "train", "--run", run]
    return {"command": "train", "argv": argv, "settings": settings, "outcome": "done"}


def test_only_what_led_to_the_run_is_told() -> None:
    history = [
        trained("a", seed=3),
        trained("b"),
        trained("a", seed=4) | {"outcome": "failed"},
        {"command": "predict", "argv": ["predict"], "settings": {}, "outcome": "done"},
        trained("a", seed=3),
    ]
    (only,) = earlier_commands(history, "a")
    assert only.line == "geoforecast -p 'my project' train --run a"
    assert only.settings == {"train": {"run": "a", "seed": 3}}


def test_what_was_done_again_counts_where_it_was_done_last() -> None:
    history = [trained("a", seed=3), trained("a", seed=4), trained("a", seed=3)]
    assert [c.settings["train"]["seed"] for c in earlier_commands(history, "a")] == [4, 3]


def test_the_settings_are_toml_and_later_ones_win() -> None:
    commands = earlier_commands([trained("a", seed=4), trained("a", seed=3, bands=["é"])], "a")
    asked = asdict(ValidateSettings(run="a", interval=0.5, regions='a"b.gpkg'))
    lines, text = recipe(commands, asked)
    assert lines == ["geoforecast -p 'my project' train --run a", "geoforecast validate"]
    assert tomllib.loads(text) == {
        "train": {"run": "a", "seed": 3, "bands": ["é"]},
        "validate": {"run": "a", "interval": 0.5, "regions": 'a"b.gpkg'},
    }


def test_nothing_but_defaults_is_no_settings() -> None:
    assert recipe((), asdict(ValidateSettings())) == (["geoforecast validate"], "")
