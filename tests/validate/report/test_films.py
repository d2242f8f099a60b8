"""Films show what was kept, the viewer holds it within its bytes, the animation moves."""

from __future__ import annotations

import base64
import dataclasses
import io
import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from PIL import Image

from geoforecast.validate.report import animation, viewer
from geoforecast.validate.report.films import Film, value_films
from geoforecast.validate.report.palettes import NOTHING, Scale, ramp
from geoforecast.validate.report.viewer import viewers_of
from geoforecast.validate.scoring.accumulate import frame_plan
from geoforecast.validate.scoring.frames import Frames

RAMP = Scale("viridis", (0.0, 10.0), "NDVI")


def film(dates: int = 5, leads: int = 2, side: int = 6) -> Film:
    """Maps of noise around date + 2 x layer, one pixel without a value at the first date."""
    rng = np.random.default_rng(1)
    values = rng.random((dates, leads, 3, side, side)).astype(np.float32)
    values += np.arange(dates, dtype=np.float32)[:, None, None, None, None]
    values[0, 0, 0, 0, 0] = np.nan

    return Film(
        name="NDVI",
        layers=("observed", "forecast", "difference"),
        scales=(RAMP, RAMP, Scale("RdBu_r", (-1.0, 1.0), "NDVI")),
        times=tuple(f"2024-01-0{number + 1}" for number in range(dates)),
        leads=leads,
        ratio=1.0,
        look=lambda date, lead, layer: values[date, lead, layer],
    )


def decoded(uri: str) -> np.ndarray:
    data = base64.b64decode(uri.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))


@pytest.mark.parametrize("south_up", [False, True])
def test_films_are_north_up_and_share_their_colours(engine: Any, south_up: bool) -> None:
    if south_up:
        transform = Affine(20, 0, 500_000, 0, 20, 5_100_000)
        grid = dataclasses.replace(engine.cube.grid, transform=transform)
        engine = dataclasses.replace(engine, cube=dataclasses.replace(engine.cube, grid=grid))
    frames = Frames(frame_plan(engine))
    rows = frames.values.shape[-2]
    frames.values[:] = np.arange(rows)[:, None]
    frames.values[:, :, :, 1] += 3
    first = value_films(engine, frames)[0]
    top = rows - 1 if south_up else 0
    assert first.look(0, 0, 0)[0, 0] == top
    assert first.look(0, 0, 1)[0, 0] == top + 3
    assert (first.look(0, 0, 2) == 3).all()
    assert first.scales[0] is first.scales[1]
    assert first.scales[2].limits == (-3.0, 3.0)


def test_what_came_is_the_same_at_every_lead(engine: Any) -> None:
    frames = Frames(frame_plan(engine))
    frames.values[:, 0, :, 0] = 1.0  # observed, at the first lead only
    frames.values[:, :, :, 1] = 4.0
    first = value_films(engine, frames)[0]
    assert (first.look(0, 2, 0) == 1).all()
    assert (first.look(0, 2, 2) == 3).all()


def test_the_viewer_holds_every_date_lead_and_layer_once() -> None:
    shown = film()
    (made,) = viewers_of((shown,), steps=7)
    assert (made.times, made.leads, made.dropped) == (shown.times, 2, 2)
    observed, forecast, difference = (layer["images"] for layer in made.data["layers"])
    assert [len(observed), len(forecast), len(difference)] == [1, 2, 2]  # leads
    for images, layer in ((observed, 0), (forecast, 1), (difference, 2)):
        for lead, by_date in enumerate(images):
            for date, uri in enumerate(by_date):
                values = shown.look(date, lead, layer)
                scale = shown.scales[layer]
                pixels, indices = decoded(uri), scale.indices(values)
                known = indices != NOTHING
                assert (pixels[..., 3] == np.where(known, 255, 0)).all()
                assert (pixels[known][:, :3] == ramp(scale.colours)[indices[known]]).all()


def test_the_first_date_shown_is_the_fullest_and_latest() -> None:
    (made,) = viewers_of((film(),), steps=5)
    assert made.start == 4  # all but the first are full


def test_colours_lead_back_to_values() -> None:
    """As the script reads them: the place of a colour in the palette, along the limits."""
    (made,) = viewers_of((film(),), steps=5)
    told = made.data["scales"][0]
    palette = re.findall("......", told["palette"])
    values = film().look(2, 0, 0)
    pixels = decoded(made.data["layers"][0]["images"][0][2])
    step = (told["high"] - told["low"]) / (len(palette) - 1)
    for row, col in ((0, 0), (3, 5)):
        at = palette.index(bytes(pixels[row, col, :3].tolist()).hex())
        read = told["low"] + at * step
        assert read == pytest.approx(values[row, col], abs=1.6 * step)  # some colours come twice


def test_the_viewer_keeps_within_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = film(dates=30, leads=1, side=24)
    (everything,) = viewers_of((whole,), steps=30)
    size = sum(len(uri) for layer in everything.data["layers"] for uri in layer["images"][0])
    monkeypatch.setattr(viewer, "MOST_BYTES", size // 3)
    (made,) = viewers_of((whole,), steps=30)
    kept = sum(len(uri) for layer in made.data["layers"] for uri in layer["images"][0])
    assert kept <= size // 3
    assert 5 <= len(made.times) <= 10
    assert made.times[-1] == whole.times[-1]
    assert made.dropped == 30 - len(made.times)


def test_the_policy_names_the_script_that_is_in_the_page() -> None:
    assert "sha256-" in viewer.policy()
    assert "unsafe-eval" not in viewer.policy()
    assert viewer.height_share(0.5) == "2"
    assert viewer.height_share(float("nan")) == "1"


def test_the_animation_shows_each_date_once(tmp_path: Path) -> None:
    path = tmp_path / "film.gif"
    assert animation.write_animation(path, film()) == 5
    with Image.open(path) as moving:
        assert moving.n_frames == 5
        shots = []
        for number in range(5):
            moving.seek(number)
            shots.append(np.asarray(moving.convert("RGB")).copy())
    assert all((one != other).any() for one, other in itertools.pairwise(shots))


def test_a_heavy_animation_drops_dates_but_never_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "film.gif"
    animation.write_animation(path, film(dates=9))
    monkeypatch.setattr(animation, "MOST_BYTES", path.stat().st_size // 2)
    asked = []
    shown = film(dates=9)
    watched = dataclasses.replace(
        shown, look=lambda date, lead, layer: asked.append(date) or shown.look(date, lead, layer)
    )
    count = animation.write_animation(path, watched)
    assert path.stat().st_size <= animation.MOST_BYTES
    assert 1 <= count < 9
    assert asked[-1] == 8
