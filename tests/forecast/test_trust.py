"""Trust: the correction's weight follows what it did, and knows nothing later than it may."""

import dataclasses

import numpy as np
import pytest

from geoforecast.forecast.engine import open_engine
from geoforecast.forecast.trust import SIDE_PX, Trust, first_evidence, looked_at, weights_of
from geoforecast.raster.grid import Tile
from geoforecast.references.mixture import remaining
from geoforecast.samples.features import Array
from geoforecast.train import train_model

FAST = {"epochs": 2, "lookback": 3, "horizon": 2, "hidden": 4, "batch_size": 2, "patch": 16}


def test_the_first_weight_is_least_squares_with_caution():
    evidence = first_evidence(
        np.array([6.0, -1.0, 0]), np.array([10.0, 4, 0]), np.array([5, 5, 0]), 8
    )
    np.testing.assert_allclose(weights_of(evidence), [0.6 * 8 / 10, 0, 0])
    sure = first_evidence(np.array([30.0]), np.array([10.0]), np.array([5.0]), 8)
    assert weights_of(sure) == pytest.approx(8 / 10)  # never more than all of it


def test_later_steps_count_by_hand_and_only_once_they_are_known():
    asked = []

    def look():
        asked.append(1)
        # Two tiles at step 10, none at 11, one at 12.
        yield from [(10, 0, -6.0, 8.0, 4), (10, 0, 2.0, 2.0, 2), (12, 0, 9.0, 9.0, 3)]

    first = first_evidence(np.array([5.0]), np.array([10.0]), np.array([10]), 4)
    trust = Trust(first, 10, 13, look)
    np.testing.assert_array_equal(trust.evidence(9), first)
    assert not asked
    k = remaining(0.15, 11)
    ten = first[:, 0] * [k, k, k, k * k] + [-4 / 6, 10 / 6, 1, 1]
    np.testing.assert_allclose(trust.evidence(10)[:, 0], ten)
    np.testing.assert_allclose(trust.evidence(11)[:, 0], ten)
    k = remaining(0.15, 13)
    twelve = ten * [k, k, k, k * k] + [3, 3, 1, 1]
    np.testing.assert_allclose(trust.evidence(13)[:, 0], twelve)
    assert trust.weights(10)[0] < trust.weights(9)[0] < trust.weights(13)[0]
    assert len(asked) == 1


def test_few_pixels_are_followed():
    assert looked_at([(0, 900, 0, 700), (0, 9, 0, 9)], 1) == [
        Tile(194, 194 + SIDE_PX, 94, 94 + SIDE_PX),
        Tile(0, 9, 0, 9),
    ]
    assert looked_at([(0, 900, 0, 700), (0, 900, 0, 700)], 1) == [Tile(194, 706, 94, 606)]


def perfect(engine, step: int) -> Array:
    """What the correction should have said."""
    values, _ = engine.series.observed(step, step + 1, engine.cube.grid.whole)
    return engine.series.normaliser.apply(values)[0]


def test_a_correction_that_harms_loses_its_weight(make_project, wave, monkeypatch):
    """And one that is right gains all; both only after the step in which it shows."""
    project = make_project(wave)
    train_model(project, **FAST, model="convlstm")
    engine = open_engine(project, "default")
    test = engine.split.test
    start = ((0.5,) * 2, (1.0,) * 2, (6.0,) * 2, (6.0,) * 2)
    changes = {"blend": (0.3, 0.3), "evidence": start}
    engine = dataclasses.replace(
        engine, checkpoint=dataclasses.replace(engine.checkpoint, **changes)
    )
    scale = engine.corrector.scale(2)[:, :, None, None]
    for sign, better in ((1.0, True), (-1.0, False)):
        here = dataclasses.replace(engine)

        def output(_, stream, _context, reference, days, _tile, *, sign=sign):
            made = engine.series.normaliser.apply(reference)
            first = stream.step + 1
            came = np.stack([perfect(engine, first + n) for n in range(len(days))])
            return sign * np.nan_to_num((came - made) / scale[: len(days)])

        monkeypatch.setattr(type(here.corrector), "output", output)
        before = here.blend_at(test - 1)
        assert before == pytest.approx([0.5 * 6 / 8] * 2)
        now = here.blend_at(test)
        last = here.blend_at(len(engine.cube.times) - 1)
        if better:
            assert before[0] < now[0] < last[0]
            assert last[0] > 0.75
        else:
            assert before[0] > now[0] >= last[0]
            assert last[0] < 0.02


def test_the_weight_of_probabilities_learns_as_well(make_project, wave, monkeypatch):
    wet = (wave > np.median(wave)).astype(np.float32)
    wet[np.random.default_rng(0).random(wet.shape) < 0.2] = np.nan
    project = make_project(wet)
    train_model(project, **FAST, model="convlstm", kind="binary")
    engine = open_engine(project, "default")
    start = ((0.5,) * 2, (1.0,) * 2, (6.0,) * 2, (6.0,) * 2)
    changes = {"blend": (0.3, 0.3), "evidence": start}
    engine = dataclasses.replace(
        engine, checkpoint=dataclasses.replace(engine.checkpoint, **changes)
    )
    whole, test = engine.cube.grid.whole, engine.split.test
    for sign in (1.0, -1.0):
        here = dataclasses.replace(engine)

        def output(_, stream, _context, _reference, days, _tile, *, sign=sign):
            first = stream.step + 1
            came, _ = engine.series.observed(first, first + len(days), whole)
            return sign * np.where(np.nan_to_num(came) > 0, 2, -2).astype(np.float32)

        monkeypatch.setattr(type(here.corrector), "output", output)
        before, now = here.blend_at(test - 1), here.blend_at(test)
        last = here.blend_at(len(engine.cube.times) - 1)
        assert before == pytest.approx([0.5 * 6 / 8] * 2)
        if sign > 0:
            assert before[0] < now[0] < last[0]
        else:
            assert before[0] > now[0] >= last[0]
            assert last[0] < 0.02
