"""Kinds of targets, end to end: what is read, forecast, written and scored."""

import json

import numpy as np
import pytest
import rasterio
from affine import Affine
from safetensors.numpy import load_file

from geoforecast.errors import InputError, SettingsError
from geoforecast.forecast.engine import open_engine
from geoforecast.forecast.kinds import (
    Target,
    decided,
    indicators,
    moved_odds,
    pooled,
    resolve_target,
    shared_out,
)
from geoforecast.forecast.series import make_series
from geoforecast.forecast.stream import TileStream
from geoforecast.predict import predict_rasters
from geoforecast.predict.layers import code_type
from geoforecast.project import Project
from geoforecast.raster.cube import CubeWriter, open_cube
from geoforecast.raster.grid import Grid
from geoforecast.samples.split import make_split
from geoforecast.settings import SplitSettings, ValidateSettings
from geoforecast.train import train_model
from geoforecast.validate import validate_run

FAST = {"epochs": 1, "lookback": 2, "horizon": 2, "hidden": 4, "batch_size": 2, "patch": 8}
SHAPE = (14, 19)
CODES = np.array([3, 7, 200], dtype=np.uint8)


def cycle(steps=16):
    """(step, y, x) every pixel goes 3 -> 7 -> 200 -> 3, from a start of its own."""
    start = np.random.default_rng(1).integers(0, 3, SHAPE)
    return CODES[(start + np.arange(steps)[:, None, None]) % 3]


def class_project(folder, codes, valid=None):
    """A project whose cube holds classes."""
    times = (np.datetime64("2001-01-01") + 365 * np.arange(len(codes))).astype("datetime64[s]")
    valid = np.ones(codes.shape, dtype=bool) if valid is None else valid
    project = Project(folder)
    project.ensure_writable()
    writer = CubeWriter(
        project.cube_path,
        times=times,
        bands=["cover"],
        grid=Grid(
            rasterio.crs.CRS.from_epsg(32633).to_wkt(),
            Affine(10, 0, 500_000, 0, -10, 5_200_000),
            codes.shape[1:],
        ),
        dtype="uint8",
        observed=np.ones(len(codes), dtype=bool),
    )
    writer.write(0, 0, np.where(valid, codes, 0)[:, None], valid[:, None])
    split = make_split(len(codes), SplitSettings())
    writer.finish(
        {
            "kind": "categorical",
            "units": [""],
            "cadence": {"step": "none", "median_seconds": 365 * 86400.0},
            "split": split.to_meta(times),
            "fingerprint": "f0",
            "normaliser": None,
        }
    )
    return project


def checkpoint(project):
    folder = project.run_dir("default")
    return (
        json.loads((folder / "model.json").read_text()),
        load_file(folder / "model.safetensors"),
        load_file(folder / "errors.safetensors"),
    )


# ---- reading --------------------------------------------------------------------------------


def test_classes_are_read_as_one_band_each(tmp_path):
    codes, valid = cycle(), np.ones((16, *SHAPE), dtype=bool)
    valid[2, 4, 5] = False
    codes[15, 0, 0] = 99  # a test step; training never saw it
    cube = open_cube(class_project(tmp_path / "p", codes, valid).cube_path)
    target = resolve_target(cube, cube.bands, "auto", range(8))
    assert target == Target("categorical", (3, 7, 200))
    series = make_series(cube, cube.bands, target=target)
    values, known = series.read(0, 16, cube.grid.whole)
    assert series.bands == ("class 3", "class 7", "class 200")
    assert known.shape == values.shape == (16, 3, *SHAPE)
    assert not known[2, :, 4, 5].any()
    assert np.isnan(values[~known]).all()
    assert not known[15, :, 0, 0].any()
    for number, code in enumerate(CODES):
        np.testing.assert_array_equal(values[:, number] == 1, (codes == code) & valid)
    assert (values[known.copy()].reshape(-1) % 1 == 0).all()
    truth, seen = series.observed(15, 16, cube.grid.whole)
    assert seen[0, :, 0, 0].all()  # it was observed, and no forecast can say it
    assert not truth[0, :, 0, 0].any()
    stream = TileStream(series, cube.grid.whole, "persistence", lookback=1)
    stream.advance_to(14)
    for found, expected in zip(stream.came(15, 16, cube.grid.whole), (truth, seen), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert sum(series.shares) == pytest.approx(1)


def test_indicators_by_hand():
    made, known = indicators(
        np.array([[[5, 9, 5]]]), np.array([[[True, True, False]]]), classes=(5, 7)
    )
    np.testing.assert_array_equal(made[0, :, 0], [[1, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(known[0, 0], [True, False, False])


def test_shares_sum_to_one_and_unknown_stays_unknown():
    values = np.array([[2, 0, np.nan], [2, 0, np.nan]], np.float32).reshape(2, 1, 3)
    made = shared_out(values, [0.9, 0.1])
    np.testing.assert_allclose(made[:, 0, 0], [0.5, 0.5])
    np.testing.assert_allclose(made[:, 0, 1], [0.9, 0.1])  # nothing thinks anything possible
    assert np.isnan(made[:, 0, 2]).all()


# ---- odds and maps --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["binary", "categorical"])
def test_no_correction_is_the_reference_to_the_bit(kind):
    rng = np.random.default_rng(0)
    p = shared_out(rng.random((2, 3, 5, 6), dtype=np.float32), [1, 0, 0])
    p[0, :, 0, 0] = np.nan
    np.testing.assert_array_equal(moved_odds(p, np.zeros_like(p), kind), p)
    delta = rng.standard_normal(p.shape).astype(np.float32)
    delta[:, :, 1] = 0
    moved = moved_odds(p, delta, kind)
    np.testing.assert_array_equal(moved[:, :, 1], p[:, :, 1])
    assert np.isnan(moved[0, :, 0, 0]).all()
    known = np.isfinite(moved)
    assert ((moved >= 0) & (moved <= 1))[known].all()
    assert (moved != p)[known][delta[known] != 0].all()
    if kind == "categorical":
        np.testing.assert_allclose(moved.sum(axis=1)[known.all(axis=1)], 1, rtol=1e-6)


def test_log_odds_are_what_moves():
    p = np.full((1, 1, 1, 1), 0.2, np.float32)
    moved = moved_odds(p, np.full_like(p, np.log(4.0)), "binary")
    assert moved.item() == pytest.approx(0.5, abs=1e-4)  # odds 1:4 times 4
    p = np.array([0.5, 0.25, 0.25], np.float32).reshape(1, 3, 1, 1)
    delta = np.array([0, np.log(2.0), 0], np.float32).reshape(1, 3, 1, 1)
    np.testing.assert_allclose(
        moved_odds(p, delta, "categorical").ravel(), [0.4, 0.4, 0.2], atol=1e-4
    )


def test_pooled_is_a_mean_that_stays_a_probability():
    rng = np.random.default_rng(1)
    p, q = (shared_out(rng.random((2, 3, 4, 5), dtype=np.float32), [1, 0, 0]) for _ in range(2))
    p[0, :, 0, 0] = np.nan
    np.testing.assert_array_equal(pooled(p, q, 0.0), p)
    weight = np.array([0.25, 1.0], np.float32)[:, None, None, None]
    made = pooled(p, q, weight)
    np.testing.assert_allclose(made[0], 0.75 * p[0] + 0.25 * q[0], atol=1e-6)
    np.testing.assert_allclose(made[1], q[1], atol=1e-6)
    np.testing.assert_allclose(made[1].sum(axis=0), 1, atol=1e-6)
    assert made.dtype == np.float32


def test_the_rule_makes_the_map():
    p = np.array([0.5, 0.4, 0.1], np.float32).reshape(3, 1, 1)
    last = np.array([1, 0, 0], np.float32).reshape(3, 1, 1)
    shares = [0.6, 0.3, 0.1]
    assert decided(p, last, shares, (1.0, 0.0), "categorical").item() == 0
    assert decided(p, last, shares, (0.7, 0.0), "categorical").item() == 1  # 0.35 < 0.4
    assert decided(p, last, shares, (1.0, 0.5), "categorical").item() == 1  # 0.2 < 0.25
    p[:] = np.nan
    assert decided(p, last, shares, (1.0, 0.0), "categorical").item() == -1
    wet = np.array([0.3, 0.29, np.nan], np.float32).reshape(1, 1, 3)
    made = decided(wet, wet, [0.5], (0.3,), "binary")
    np.testing.assert_array_equal(made.ravel(), [1, 0, -1])


def test_codes_get_a_dtype_and_a_nodata_value_that_is_none_of_them():
    assert code_type(Target("categorical", (0, 254))) == ("uint8", 255)
    assert code_type(Target("categorical", (0, 255))) == ("int16", -32768)
    assert code_type(Target("categorical", (-5, 3))) == ("int16", -32768)
    assert code_type(Target("categorical", (0, 40_000))) == ("uint16", 65535)
    assert code_type(Target("categorical", (0, 65_535))) == ("int32", -(2**31))
    assert code_type(Target("binary")) == ("uint8", 255)


# ---- a run of classes -----------------------------------------------------------------------


def test_a_cycle_that_persistence_always_gets_wrong(tmp_path):
    project = class_project(tmp_path / "p", cycle())
    train_model(project, **{**FAST, "model": "none"})
    result = validate_run(project, ValidateSettings(tile=16))
    value = {(r.method, r.lead, r.metric): r.value for r in result.rows}
    for lead in (1, 2):
        assert value["persistence", lead, "accuracy"] == 0
        assert value["forecast", lead, "accuracy"] == 1
        assert value["forecast", lead, "figure_of_merit"] == 1
        assert value["forecast", lead, "brier"] < 0.05
    assert {row.band for row in result.rows} == {"cover"}
    text = result.report_path.read_text()
    assert "figure of merit" in text
    assert "RMSE" not in text
    with rasterio.open(result.maps[0]) as outcome:
        assert set(np.unique(outcome.read())) == {1}  # every change was hit
    written = predict_rasters(project, steps=3)
    for lead, path in enumerate(written.files, 1):
        with rasterio.open(path) as made:
            assert (made.dtypes[0], made.nodata, made.count) == ("uint8", 255, 1)
            assert made.descriptions == ("cover",)
            np.testing.assert_array_equal(made.read(1), cycle(16 + lead)[-1])
            assert {"stay", "pull"} <= set(made.tags())
    for path in written.probabilities:
        with rasterio.open(path) as made:
            p = made.read()
            assert made.descriptions == ("class 3", "class 7", "class 200")
        np.testing.assert_allclose(p.sum(axis=0), 1, rtol=1e-5)
        assert ((p >= 0) & (p <= 1)).all()
    assert not written.bounds


@pytest.mark.parametrize("change", ["replaced", "unknown", "masked"])
def test_test_pixels_change_nothing(tmp_path, change):
    noisy = cycle()
    swap = np.random.default_rng(3).random(noisy.shape) < 0.2
    noisy[swap] = 3
    changed, valid = noisy.copy(), np.ones(noisy.shape, dtype=bool)
    test = 16 - 4
    changed[test:] = {"replaced": 7, "unknown": 99, "masked": 3}[change]
    valid[test:] = change != "masked"
    runs = []
    for name, codes, seen in (("a", noisy, None), ("b", changed, valid)):
        project = class_project(tmp_path / name, codes, seen)
        train_model(project, **FAST)
        runs.append(checkpoint(project))
    assert runs[0][0] == runs[1][0]
    for left, right in zip(runs[0][1:], runs[1][1:], strict=True):
        for key in left:
            np.testing.assert_array_equal(left[key], right[key])


def test_tiles_equal_the_whole_raster(tmp_path):
    noisy = cycle()
    noisy[np.random.default_rng(3).random(noisy.shape) < 0.2] = 3
    valid = np.random.default_rng(4).random(noisy.shape) > 0.1
    project = class_project(tmp_path / "p", noisy, valid)
    train_model(project, **FAST)
    path = project.run_dir("default") / "model.json"
    meta = json.loads(path.read_text())
    meta["blend"] = [0.5, 0.0]
    path.write_text(json.dumps(meta))
    engine = open_engine(project, "default", "cpu")
    days = [float(day) for day in engine.series.days[-1] + 365 * np.arange(1, 4)]
    whole = engine.forecast(engine.cube.grid.whole, 15, days)
    np.testing.assert_allclose(whole.values.sum(axis=1), 1, rtol=1e-5)
    for tile in engine.cube.grid.tiles(8):
        part = engine.forecast(tile, 15, days)
        np.testing.assert_array_equal(part.values, whole.values[(..., *tile.slices)])
        np.testing.assert_array_equal(part.chosen, whole.chosen[(..., *tile.slices)])


def test_classes_that_training_never_saw_count_as_wrong(tmp_path, caplog):
    codes = cycle()
    codes[9, 0, :] = 50  # validation
    codes[14, 1, :] = 60  # test
    project = class_project(tmp_path / "p", codes)
    train_model(project, **{**FAST, "model": "none"})
    assert "50 (2.38%)" in caplog.text
    assert "60" not in caplog.text  # of a test step
    result = validate_run(project, ValidateSettings(tile=64))
    assert "60 (1.79%)" in caplog.text
    value = {(r.method, r.lead, r.metric): r.value for r in result.rows}
    scored = {(r.method, r.lead): r.pixels for r in result.rows if r.metric == "accuracy"}
    assert scored["forecast", 1] == 4 * 14 * 19
    wrong = 1 - value["forecast", 1, "accuracy"]
    assert 19 / (4 * 14 * 19) <= wrong <= 0.06
    # What was held for certain came not, and what came had no probability: 2 a pixel.
    assert value["forecast", 1, "brier"] >= 1.8 * 19 / (4 * 14 * 19)
    assert "unknown" in result.report_path.read_text()


def test_one_class_only(tmp_path):
    project = class_project(tmp_path / "p", np.full((12, *SHAPE), 4, np.uint8))
    train_model(project, **{**FAST, "model": "none"})
    result = validate_run(project, ValidateSettings())
    value = {(r.method, r.lead, r.metric): r.value for r in result.rows}
    assert value["forecast", 1, "accuracy"] == 1
    assert np.isnan(value["forecast", 1, "kappa"])


def test_what_cannot_be_classes_is_refused(tmp_path):
    many = np.random.default_rng(0).integers(0, 250, (12, *SHAPE)).astype(np.uint8)
    with pytest.raises(InputError, match=r"classes in the training steps, more than 64"):
        train_model(class_project(tmp_path / "many", many), **FAST)
    never = class_project(tmp_path / "n", cycle(), np.zeros((16, *SHAPE), dtype=bool))
    with pytest.raises(InputError, match="Never valid in the training steps: cover"):
        train_model(never, **FAST)
    project = class_project(tmp_path / "p", cycle())
    with pytest.raises(InputError, match="--kind is count, but the cube holds classes"):
        train_model(project, **FAST, kind="count")
    with pytest.raises(SettingsError, match="--loss mse does not suit categorical"):
        train_model(project, **FAST, loss="mse")
    with pytest.raises(SettingsError, match="no reference 'trend' for categorical"):
        train_model(project, **FAST, reference="trend")


# ---- yes or no, and counts ------------------------------------------------------------------


def flood(steps=30):
    """(step, band, y, x) a river that swells over its banks and falls again every 6 steps."""
    y = np.abs(np.mgrid[:18, :20][0] - 9)
    width = np.array([1, 3, 6, 6, 3, 1])[np.arange(steps) % 6]
    return (y[None] < width[:, None, None]).astype(np.float32)[:, None]


def test_a_flood_is_a_probability_and_a_map(make_project):
    project = make_project(flood())
    result = train_model(project, **{**FAST, "model": "none"})
    assert "mixture" in result.describe()
    meta = json.loads((project.run_dir("default") / "model.json").read_text())
    assert meta["target"] == {"kind": "binary", "classes": []}
    assert len(meta["decision"]) == 2
    scored = validate_run(project, ValidateSettings(tile=16, standard="flood"))
    value = {(r.method, r.lead, r.metric): r.value for r in scored.rows}
    iou, ssim = scored.standard
    assert iou.value == pytest.approx(np.mean([value["forecast", k, "csi"] for k in (1, 2)]))
    assert iou.persistence < iou.value
    assert (ssim.verdict, iou.skill_metric) == ("not applicable", "Brier score")
    assert "Standard: flood" in scored.report_path.read_text()
    told = json.loads(scored.item_path.read_text())["properties"]
    assert told["geoforecast:kind"] == "binary"
    csi = told["geoforecast:scores"]["b0"]["csi"]
    assert csi == [value["forecast", k, "csi"] for k in (1, 2)]
    assert "DQ_ThematicClassificationCorrectness" in scored.quality_path.read_text()
    assert value["forecast", 1, "brier"] < 0.8 * value["persistence", 1, "brier"]
    assert value["forecast", 1, "csi"] > value["persistence", 1, "csi"]
    written = predict_rasters(project)
    with rasterio.open(written.files[0]) as made:
        assert (made.dtypes[0], made.nodata) == ("uint8", 255)
        assert set(np.unique(made.read())) <= {0, 1}
        threshold = float(made.tags()["threshold"])
        chosen = made.read()
    with rasterio.open(written.probabilities[0]) as made:
        np.testing.assert_array_equal(chosen, made.read() >= np.float32(threshold))


def test_the_correction_of_a_flood_is_one_of_log_odds(make_project):
    project = make_project(flood())
    train_model(project, **FAST, loss="focal")
    engine = open_engine(project, "default", "cpu")
    assert engine.checkpoint.residual_scale == ((1.0,), (1.0,))
    day = [float(engine.series.days[-1] + 16)]
    made = engine.forecast(engine.cube.grid.whole, 29, day).values
    assert ((made >= 0) & (made <= 1)).all()


def test_what_is_no_yes_or_no_is_refused(make_project):
    values = flood()
    values[1, 0, 0, 0] = 0.5
    project = make_project(values)
    train_model(project, **{**FAST, "model": "none"})
    meta = json.loads((project.run_dir("default") / "model.json").read_text())
    assert meta["target"]["kind"] == "continuous"
    with pytest.raises(InputError, match="other values than 0 and 1"):
        train_model(project, **FAST, kind="binary", run="b")
    with pytest.raises(InputError, match="values that may have been averaged"):
        train_model(project, **FAST, kind="categorical", run="c")
    with pytest.raises(InputError, match="values below 0"):
        train_model(make_project(values - 1, name="n"), **FAST, kind="count")


def test_never_a_flood_in_training(make_project):
    values = np.zeros_like(flood())
    values[-2:] = 1
    project = make_project(values)
    train_model(project, **FAST, kind="binary")
    result = validate_run(project, ValidateSettings())
    value = {(r.method, r.lead, r.metric): r.value for r in result.rows}
    assert 0 < value["forecast", 1, "brier"] <= 1


def test_counts_are_seen_as_logarithms(make_project):
    rng = np.random.default_rng(0)
    rate = 3 + 2 * np.sin(np.arange(30) / 3)[:, None, None, None]
    counts = rng.poisson(np.broadcast_to(rate, (30, 1, *SHAPE))).astype(np.float32)
    project = make_project(counts, normalise="zscore")
    train_model(project, **FAST, kind="count", loss="poisson")
    engine = open_engine(project, "default", "cpu")
    assert engine.series.normaliser.method == "log1p"
    assert (engine.series.floor == 0).all()
    units = engine.series.normaliser.apply(counts[0])
    np.testing.assert_allclose(engine.series.normaliser.invert(units), counts[0], atol=1e-4)
    day = [float(engine.series.days[-1] + 16)]
    made = engine.forecast(engine.cube.grid.whole, 29, day).values
    assert (made >= 0).all()
    assert 1 < made.mean() < 6
