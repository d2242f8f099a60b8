"""The mixture in a tile: members by hand, sums on a lattice, exact tiles, fixed memory."""

import dataclasses

import numpy as np
import pytest
import torch

from geoforecast.forecast import mixing as mixing_module
from geoforecast.forecast.engine import open_engine
from geoforecast.forecast.mixing import Members, Mixer, known_at, member_references
from geoforecast.forecast.series import make_series, to_days
from geoforecast.forecast.stream import TileStream
from geoforecast.raster.cube import open_cube
from geoforecast.raster.grid import Tile
from geoforecast.references import likeness, reference_classes, spread
from geoforecast.references.autoregression import RULES, coefficient_count, feature_names
from geoforecast.references.mixture import MIXTURE, Knowledge, Tally
from geoforecast.references.motion import Motion, MotionSource
from geoforecast.references.varying import level_of, widened
from geoforecast.train import train_model

NONE = {"model": "none", "lookback": 3, "horizon": 2}
TINY = {"epochs": 1, "lookback": 3, "horizon": 2, "hidden": 4, "batch_size": 2, "patch": 16}


@pytest.fixture
def rain():
    """(time, band, y, x) showers that move, with holes, five minutes apart; and the times."""
    rng = np.random.default_rng(0)
    base = np.maximum(rng.standard_normal((40, 53)).cumsum(axis=0).cumsum(axis=1), 0)
    frames = np.stack([np.roll(base, (k, 2 * k), (0, 1)) for k in range(18)])[:, None]
    frames = np.where(rng.random(frames.shape) < 0.05, np.nan, frames).astype(np.float32)
    return frames, np.datetime64("2020-01-01T00:00") + 5 * np.arange(18)


def some_knowledge(series, leads, seed=0):
    """Weights and coefficients drawn by chance."""
    rng = np.random.default_rng(seed)
    names = member_references(series)
    moving = "advection" in names
    counts = coefficient_count(names, moving), len(feature_names(names, moving))
    empty = Tally.empty(names, leads, len(series.bands), *counts)
    known = empty.knowledge([{"persistence": 1.0}] * len(series.bands))
    return dataclasses.replace(
        known,
        weights=rng.dirichlet(np.ones(len(known.members)), (leads, len(series.bands))),
        coefficients=rng.normal(0, 0.2, known.coefficients.shape),
    )


def stream_of(project, knowledge=None, *, leads=2, tile=None, lookback=2):
    cube = open_cube(project.cube_path)
    series = make_series(cube, cube.bands)
    known = knowledge or some_knowledge(series, leads)
    tile = tile or cube.grid.whole
    stream = TileStream(series, tile, MIXTURE, lookback=lookback, knowledge=lambda _: known)
    return stream, known


def test_members_and_mixture_by_hand(make_project, wave):
    project = make_project(np.concatenate([wave, 3 - wave], axis=1))
    stream, known = stream_of(project)
    stream.advance_to(9)
    days = stream.series.days[10:13].tolist()  # one lead more than is known of
    simple = stream.simple(days)
    low, high = stream.series.limits
    names = member_references(stream.series)
    assert known.members[: len(names)] == names
    for index, members in enumerate(stream.members(days, simple)):
        lead = min(index, 1)
        assert members.lead == index + 1
        base = simple["persistence"][index].astype(float)
        expected = [simple[name][index] for name in names]
        statistics = stream.series.statistics
        level = level_of(base, [s.mean for s in statistics], [s.std for s in statistics])
        np.testing.assert_allclose(members.level, level, atol=1e-5)
        assert members.season == (0, 0)  # no cycle is over
        wide = [
            widened(x.reshape(len(x), -1), z.reshape(-1), members.season, members.places)
            for x, z in zip(members.features.swapaxes(0, 1), level, strict=True)
        ]
        for rule in range(len(RULES)):
            pairs = zip(known.coefficients[rule, lead], wide, strict=True)
            added = [(c @ x.astype(float)).reshape(base.shape[1:]) for c, x in pairs]
            expected.append(base + np.stack(added))
        recent = stream.series.cube.read(4, 10)[0]
        margin = 0.1 * np.array([s.maximum - s.minimum for s in stream.series.statistics])
        lowest = np.minimum(low, recent.min(axis=0) - margin[:, None, None])
        highest = np.maximum(high, recent.max(axis=0) + margin[:, None, None])
        expected = np.clip(np.stack(expected), lowest, highest)
        np.testing.assert_allclose(members.stack, expected, atol=2e-6)
        mean, disagreement = stream.mixed(members)
        weights = known.weights[lead].T[..., None, None]
        by_hand = (weights * expected).sum(axis=0)
        np.testing.assert_allclose(mean, by_hand, atol=2e-6)
        squares = (weights * (expected - by_hand) ** 2).sum(axis=0)
        np.testing.assert_allclose(disagreement, np.sqrt(squares), atol=2e-6)


def test_where_fields_move_the_rules_correct_the_advected_one(make_project, rain):
    stream, _ = stream_of(make_project(rain[0], times=rain[1]))
    stream.advance_to(4)
    days = stream.series.days[5:7].tolist()
    simple = stream.simple(days)
    for index, members in enumerate(stream.members(days, simple)):
        np.testing.assert_array_equal(members.base, simple["advection"][index])


def test_wild_rules_are_held_near_what_was_seen(make_project, wave):
    project = make_project(wave)
    cube = open_cube(project.cube_path)
    known = some_knowledge(make_series(cube, cube.bands), 1)
    wild = dataclasses.replace(known, coefficients=1e6 * known.coefficients)
    stream, _ = stream_of(project, wild)
    stream.advance_to(8)
    (members,) = stream.members(stream.series.days[9:10].tolist())
    seen = wave[:23]
    margin = 0.1 * (seen.max() - seen.min())
    assert members.stack.min() >= seen.min() - margin - 1e-5
    assert members.stack.max() <= seen.max() + margin + 1e-5


def test_a_level_beyond_the_training_range_is_followed(make_project):
    line = np.arange(30, dtype=np.float32)[:, None, None, None] * np.ones((1, 1, 8, 8), np.float32)
    for name, values in (("up", line), ("down", -line)):
        project = make_project(values, name=name)
        train_model(project, **NONE)
        engine = open_engine(project, "default")
        for hindcast in engine.hindcasts(engine.cube.grid.whole, range(24, 30)):
            if hindcast.lead == 1:
                assert hindcast.forecasts[MIXTURE] == pytest.approx(hindcast.observed, abs=0.5)


def test_what_was_never_seen_has_no_mixture_and_all_else_has(make_project, wave):
    wave[:, :, 2:5, 3:9] = np.nan
    wave[:8, :, 10:, 10:] = np.nan  # seen late
    stream, _ = stream_of(make_project(wave))
    stream.advance_to(8)
    mixture = stream.forecasts(stream.series.days[9:11].tolist(), [MIXTURE])[MIXTURE]
    expected = np.isfinite(wave[:9]).any(axis=0)
    for lead in mixture:
        np.testing.assert_array_equal(np.isfinite(lead), expected)


# --- sums of errors -------------------------------------------------------------------------


def some_members(shape=(2, 13, 17), members=5, features=3):
    rng = np.random.default_rng(3)
    stack = rng.normal(0, 1, (members, *shape)).astype(np.float32)
    stack[2, :, 4, 5] = np.nan  # one member knows nothing there
    x = rng.normal(0, 1, (features, *shape)).astype(np.float32)
    observed = rng.normal(0, 1, shape).astype(np.float32)
    valid = rng.random(shape) < 0.7
    observed[~valid] = np.nan
    base, level = (rng.normal(0, 1, shape).astype(np.float32) for _ in range(2))
    return Members(1, stack, x, base, level, (0.6, 0.8), (1,)), observed, valid


def knows_nothing(members=5, bands=2, typical=0.0):
    zeros = np.zeros((1, bands))
    counts = np.zeros((1, bands, spread.CLASSES, spread.BINS))
    alike = np.zeros((1, bands, 2, len(likeness.DISTANCES)))
    weights = np.full((1, bands, members), 1 / members)
    rules = np.zeros((4, 1, bands, 3))
    return Knowledge((), weights, rules, zeros + typical, counts, zeros, alike)


@pytest.mark.parametrize("sampled", [1_000_000, 100, 13])
def test_sums_by_hand_and_the_same_for_any_tile(monkeypatch, sampled):
    members, observed, valid = some_members()
    monkeypatch.setattr(mixing_module, "SAMPLED_PX", sampled)
    stride = int(np.ceil(np.sqrt(13 * 17 / sampled)))
    origin = (7, 11)
    sums = members.sums(observed, valid, origin, knows_nothing())
    for band, found in enumerate(sums):
        errors, grams, products, pixels = 0.0, 0.0, 0.0, 0
        for row, col in np.ndindex(13, 17):
            on_lattice = (origin[0] + row) % stride == 0 and (origin[1] + col) % stride == 0
            stack = members.stack[:, band, row, col].astype(float)
            if not (on_lattice and valid[band, row, col] and np.isfinite(stack).all()):
                continue
            e = stack - observed[band, row, col]
            x, z = members.features[:, band, row, col].astype(float), members.level[band, row, col]
            x = np.append(x, x[1] * np.array([0.6, 0.8, z, z * z - 1, np.sign(x[1])]))
            errors, grams = errors + np.outer(e, e), grams + np.outer(x, x)
            products = products + x * (observed[band, row, col] - members.base[band, row, col])
            pixels += 1
        assert found.pixels == pixels > 0
        assert found.errors == pytest.approx(errors, rel=1e-4, abs=1e-4)
        assert found.gram == pytest.approx(grams, rel=1e-4, abs=1e-4)
        assert found.products == pytest.approx(products, rel=1e-4, abs=1e-4)


def test_how_alike_errors_are_is_measured_in_the_middle(monkeypatch):
    members, observed, valid = some_members()
    monkeypatch.setattr(likeness, "CROP_PX", 6)
    middle = (slice(3, 9), slice(5, 11))
    sums = members.sums(observed, valid, (7, 11), knows_nothing(typical=0.8))
    for band, found in enumerate(sums):
        stack = members.stack[(slice(None), band, *middle)]
        error = (observed[band] - members.stack[:, band].mean(axis=0))[middle]
        unit = np.maximum(stack.std(axis=0), 0.25 * 0.8)
        expected = likeness.pairs(np.where(valid[band][middle], error / unit, np.nan))
        assert expected[1, :3].min() > 0
        assert found.pairs == pytest.approx(expected * found.pixels, rel=1e-4)


# --- what is known ---------------------------------------------------------------------------


def test_references_of_a_cycle_get_no_weight_before_it_is_over(make_project, wave):
    cube = open_cube(make_project(wave).cube_path)
    series = make_series(cube, cube.bands)
    names = member_references(series)
    assert set(names) == set(reference_classes(16.0))
    tally = Tally.empty(names, 1, 1, coefficient_count(names, moving=False))
    rng = np.random.default_rng(0)
    e = rng.standard_normal((len(tally.members), 50))
    tally.errors[0, 0], tally.seen[:] = e @ e.T, 6.0
    early = [name for name in names if reference_classes()[name].needs_cycle]
    slots = [names.index(name) for name in early]
    assert len(slots) >= 5
    before = known_at(series, tally, 22)  # 352 days
    after = known_at(series, tally, 23)  # 368 days
    assert (before.weights[0, 0, slots] == 0).all()
    assert after.weights[0, 0, slots].sum() > 0.1
    assert before.weights.sum() == pytest.approx(1)


# --- exactness and memory --------------------------------------------------------------------


def rectangles(shape, count=10):
    """Tiles of any size and place, single pixels and full rows among them."""
    rng = np.random.default_rng(9)
    height, width = shape
    yield Tile(0, 1, 0, 1)
    yield Tile(height - 1, height, 0, width)
    for _ in range(count):
        rows, cols = (sorted(rng.choice(side + 1, 2, replace=False)) for side in shape)
        yield Tile(int(rows[0]), int(rows[1]), int(cols[0]), int(cols[1]))


def corrected(engine):
    """The engine with random weights and full blend, so that the correction matters."""
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in engine.model.parameters():
            weight.copy_(0.3 * torch.randn(weight.shape))
    checkpoint = dataclasses.replace(engine.checkpoint, blend=(1.0,) * engine.horizon)
    return dataclasses.replace(engine, checkpoint=checkpoint)


@pytest.mark.parametrize("settings", [NONE, TINY], ids=["mixture", "corrected"])
@pytest.mark.parametrize("kind", ["season", "rain"])
def test_any_tile_equals_its_part_of_the_whole_to_the_bit(
    make_project, wave, rain, monkeypatch, kind, settings
):
    # Faster than the rain is, so that every pixel of the halo is asked for.
    drift = np.random.default_rng(4).uniform(3.5, 4.0, (2, 40, 53))
    monkeypatch.setattr(MotionSource, "_mean", lambda *_: Motion(-drift, 1))
    if kind == "season":
        wave[np.random.default_rng(1).random(wave.shape) < 0.2] = np.nan
        project = make_project(np.concatenate([wave, 3 * wave], axis=1))
    else:
        project = make_project(rain[0], times=rain[1])
    train_model(project, **settings)

    def fresh():
        engine = open_engine(project, "default")
        return corrected(engine) if settings is TINY else engine

    engine = fresh()
    shape, init = engine.cube.grid.shape, len(engine.cube.times) - 3
    days = to_days(engine.cube.times[init + 1 :]).tolist()
    days.append(2 * days[-1] - days[-2])  # one lead beyond the horizon
    whole = engine.forecast(engine.cube.grid.whole, init, days, 0.9)
    assert np.isfinite(whole.values).any()
    if settings is NONE:  # and so does the interval
        assert np.isfinite(whole.lower).any()
    for number, tile in enumerate(rectangles(shape)):
        asked = fresh() if number < 2 else engine  # whoever asked before does not matter
        part = asked.forecast(tile, init, days, 0.9)
        for name in ("values", "lower", "upper"):
            if (all_of := getattr(whole, name)) is not None:
                here = all_of[(..., *tile.slices)]
                np.testing.assert_array_equal(getattr(part, name), here, err_msg=name)


def held(thing, seen):
    """Bytes of all arrays that an object holds, whatever it keeps them in."""
    if id(thing) in seen:
        return 0
    seen.add(id(thing))
    if isinstance(thing, np.ndarray):
        return thing.nbytes
    if isinstance(thing, dict):
        return sum(held(one, seen) for one in thing.values())
    if isinstance(thing, (list, tuple, set)) or hasattr(thing, "popleft"):
        return sum(held(one, seen) for one in thing)
    return held(vars(thing), seen) if hasattr(thing, "__dict__") else 0


def test_memory_does_not_grow_with_steps(make_project):
    values = np.random.default_rng(0).random((72, 1, 12, 14), dtype=np.float32)
    stream, _ = stream_of(make_project(values), lookback=4)
    sizes = []
    for step in (26, 48, 70):  # beyond a cycle, when all is at work
        stream.advance_to(step)
        stream.forecasts(stream.series.days[step + 1 : step + 2].tolist())
        stream._blocks.clear()  # decoded chunks, as many at a time as two chunks hold
        parts = (stream.references, stream._mixer, stream.lookback, stream._setting.states)
        seen = {id(stream.series)}
        sizes.append(sum(held(part, seen) for part in parts))
    assert sizes[0] > 100 * 12 * 14 * 4
    assert sizes[0] == sizes[1] == sizes[2]


def test_the_mixture_does_not_read_ahead(make_project, wave):
    changed = wave.copy()
    changed[12:] = 9.0
    made = []
    usual = None
    for name, values in (("one", wave), ("two", changed)):
        project = make_project(values, name=name)
        cube = open_cube(project.cube_path)
        series = make_series(cube, cube.bands)
        known = some_knowledge(series, 2)
        stream, _ = stream_of(project, known)
        usual = usual or stream._mixer._usual
        stream._mixer._usual = usual  # training steps, which the change is among
        stream.series.__dict__["limits"] = (np.full((1, 1, 1), -9.0), np.full((1, 1, 1), 9.0))
        stream.advance_to(11)
        made.append(stream.forecasts([19000.0, 19016.0])[MIXTURE])
    np.testing.assert_array_equal(*made)


def test_a_mixer_shares_the_states_of_the_tile(make_project, wave):
    stream, _ = stream_of(make_project(wave))
    before = stream._setting.states
    Mixer(stream.series, stream._setting)
    assert stream._setting.states == before
