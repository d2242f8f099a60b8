"""Outcome maps: what they hold, and that the pass keeps what hindcasting again would show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from geoforecast.raster.grid import Tile
from geoforecast.settings import ValidateSettings
from geoforecast.validate.class_maps import OutcomeWriter, write_outcomes
from geoforecast.validate.metrics.hotspots import NOT_SCORED
from geoforecast.validate.scoring.class_parts import OUTCOMES
from geoforecast.validate.scoring.class_scores import score_classes
from geoforecast.validate.scoring.shown import expected_steps, shown_steps
from geoforecast.validate.writing import write_validation


def outcome(engine: Any, step: int, lead: int) -> np.ndarray:
    """(y, x) what became of each pixel, one after another."""
    found = np.full(engine.cube.grid.shape, NOT_SCORED, np.uint8)
    for one in engine.hindcasts(engine.cube.grid.whole, range(step, step + 1)):
        if one.lead != lead:
            continue
        for row, col in np.argwhere(one.valid[0]):
            came, last = (
                np.flatnonzero(layer[:, row, col]).tolist() for layer in (one.observed, one.last)
            )
            if not last:
                continue
            said = [int(one.forecasts["forecast"][:, row, col].argmax())]
            changed, moved = came != last, said != last
            word = {
                (False, False): "right, unchanged",
                (False, True): "false alarm",
                (True, False): "missed",
                (True, True): "change hit" if came == said else "change to a wrong class",
            }[changed, moved]
            found[row, col] = OUTCOMES.index(word)
    return found


@pytest.mark.parametrize("lead", [1, 2])
def test_a_map_says_what_became_of_each_pixel(
    class_engine: Any, class_result: Any, lead: int
) -> None:
    path = next(p for p in class_result.maps if p.name == f"cover_lead{lead}_outcome.tif")
    with rasterio.open(path) as file:
        pixels, tags, nodata = file.read(1), file.tags(), file.nodata
    assert nodata == NOT_SCORED
    assert tags["LEAD"] == str(lead)
    assert tags["VALID_TIME"] == f"{class_engine.cube.times[-1]}Z"
    assert tags["CODE_3"] == "missed"
    np.testing.assert_array_equal(
        pixels, outcome(class_engine, len(class_engine.cube.times) - 1, lead)
    )
    assert len(np.unique(pixels)) >= 4
    assert path.with_suffix(".png").exists()
    assert path.with_suffix(".qml").exists()


@pytest.mark.parametrize("tile_px", [7, 512])
@pytest.mark.parametrize("jobs", [1, 2])
def test_the_pass_keeps_what_hindcasting_again_would_show(
    class_engine: Any, tmp_path: Path, tile_px: int, jobs: int
) -> None:
    steps, methods = expected_steps(class_engine), class_engine.methods
    again = write_outcomes(tmp_path / "again", class_engine, methods, steps, tile_px)
    with OutcomeWriter(tmp_path / "kept", class_engine, steps) as writer:

        def take(tile: Tile, kept: Any) -> None:
            for at, one in kept.items():
                writer.put(at, one, tile)

        scores = score_classes(class_engine, methods, tile_px, jobs=jobs, on_tile=take, shown=steps)
    assert shown_steps(scores) == steps
    for at, panels in again.items():
        for name, values in panels.items():
            np.testing.assert_array_equal(writer.panels[at][name], values)
    for path in (tmp_path / "again").iterdir():
        assert (tmp_path / "kept" / path.name).read_bytes() == path.read_bytes()


def test_a_step_that_no_method_covers_is_not_shown(
    class_engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hindcasts, last = type(class_engine).hindcasts, len(class_engine.cube.times) - 1

    def hindcast(self: Any, *args: Any, **kwargs: Any) -> Any:
        for one in hindcasts(self, *args, **kwargs):
            if one.step == last:
                one.valid[:] = False
            yield one

    assert set(expected_steps(class_engine).values()) == {last}
    monkeypatch.setattr(type(class_engine), "hindcasts", hindcast)
    result = write_validation(tmp_path / "run", class_engine, ValidateSettings(tile=16))
    path = next(p for p in result.maps if p.name == "cover_lead1_outcome.tif")
    with rasterio.open(path) as file:
        assert file.tags()["VALID_TIME"] == f"{class_engine.cube.times[last - 1]}Z"
        np.testing.assert_array_equal(file.read(1), outcome(class_engine, last - 1, 1))
