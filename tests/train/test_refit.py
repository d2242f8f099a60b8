"""--refit: a second checkpoint that has seen everything, and never where it is scored."""

import json
import shutil

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from safetensors.numpy import load_file

from geoforecast.cli import cli
from geoforecast.errors import InterruptedRunError, RunError
from geoforecast.forecast.engine import open_engine
from geoforecast.predict import predict_rasters
from geoforecast.raster.cube import Cube, open_cube
from geoforecast.train import cache as cache_module
from geoforecast.train import material as material_module
from geoforecast.train import train_model
from geoforecast.validate import validate_run

FAST = {
    "model": "convlstm",
    "epochs": 6,
    "lookback": 3,
    "horizon": 2,
    "hidden": 6,
    "batch_size": 4,
    "patch": 8,
}
FAST |= {"lr": 0.05, "kernel": 1, "layers": 1}
STEPS, TEST = 25, 20  # steps, and the first of the test block; whole chunks come before it
LAST = STEPS - 1
HONEST = ("model.json", "model.safetensors", "errors.safetensors")


def tent(steps=STEPS):
    """A field whose changes no linear rule finds: a tent map, each pixel by itself."""
    x = np.empty((steps, 1, 8, 8), np.float32)
    x[0] = np.random.default_rng(5).random((1, 8, 8))
    for t in range(1, len(x)):
        x[t] = 1 - np.abs(1 - 1.98 * x[t - 1])
    return x


def content(project, *, final=False, run="default"):
    """The bytes of each file of a checkpoint."""
    folder = project.run_dir(run) / ("final" if final else "")
    return {name: (folder / name).read_bytes() for name in HONEST}


def meta(project, *, final=False):
    return json.loads(content(project, final=final)["model.json"])


def tags(path):
    with rasterio.open(path) as dataset:
        return dataset.tags()


def moment(project, step):
    return str(open_cube(project.cube_path).times[step])


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Where one trained project is kept for tests that only look at it."""
    return tmp_path_factory.mktemp("refit")


@pytest.fixture
def refitted(make_project, shared):
    """A project whose run is refitted; copied, so that a test may change it."""
    project = make_project(tent())
    kept = shared / "runs"
    if kept.exists():
        shutil.copytree(kept, project.root / "runs")
    else:
        train_model(project, **FAST, refit=True)
        shutil.copytree(project.root / "runs", kept)
    return project


def test_nothing_honest_changes(make_project, refitted):
    assert any(meta(refitted)["blend"]), "the field must be learnable, or nothing is tested"
    plain = make_project(tent(), name="plain")
    train_model(plain, **FAST)
    assert content(plain) == content(refitted)
    assert not (plain.run_dir("default") / "final").exists()


def test_test_pixels_change_the_final_part_alone(make_project, refitted):
    changed = tent()
    changed[TEST:] = changed[TEST:, :, ::-1]
    other = make_project(changed, name="other")
    train_model(other, **FAST, refit=True)
    assert content(other) == content(refitted)
    final = content(refitted, final=True)
    for name, found in content(other, final=True).items():
        assert found != final[name], name


def test_no_test_pixel_is_read_before_the_honest_part_is_complete(make_project, monkeypatch):
    project = make_project(tent())
    read = Cube.read
    late = []

    def watched(self, start, stop, tile=None, **kwargs):
        if stop > TEST and not late:
            late.append((project.run_dir("default") / "model.json").exists())
        return read(self, start, stop, tile, **kwargs)

    monkeypatch.setattr(Cube, "read", watched)
    train_model(project, **{**FAST, "epochs": 1}, refit=True)
    assert late == [True]


def test_the_final_part_has_seen_every_step(refitted):
    honest, final = meta(refitted), meta(refitted, final=True)
    assert honest["known_until"] == moment(refitted, TEST - 1)
    assert final["known_until"] == moment(refitted, LAST)
    for name in ("blend", "narrowing", "normaliser", "split", "epoch", "kept", "reference"):
        assert final[name] == honest[name], name
    assert final["residual_scale"] != honest["residual_scale"]
    assert final["parameters"] != honest["parameters"]
    weights = [
        load_file(refitted.run_dir("default") / place / "model.safetensors")
        for place in ("", "final")
    ]
    assert all((weights[0][name] != weights[1][name]).any() for name in weights[0])


def test_the_numbers_are_those_of_a_run_whose_test_block_is_empty(refitted):
    """Residual scale and pooled numbers again, from all steps, the plain way."""
    cube = open_cube(refitted.cube_path)
    series = open_engine(refitted, "default").series.with_parameters({})
    stop = type("Never", (), {"check": lambda *_: None})()
    names = cache_module.MIXTURE, *meta(refitted)["members"]
    numbers = cache_module.fit_references(series, [cube.grid.whole], names[1:], STEPS, stop)
    assert meta(refitted, final=True)["parameters"] == numbers
    split = material_module.Split(STEPS, STEPS, STEPS)
    sites, tally, _ = cache_module.load_sites(
        series.with_parameters(numbers), [cube.grid.whole], "mixture", split, 2, stop
    )
    scale = cache_module.residual_scale(sites, STEPS)
    np.testing.assert_array_equal(meta(refitted, final=True)["residual_scale"], scale)
    errors = load_file(refitted.run_dir("default") / "final" / "errors.safetensors")
    for name, array in tally.arrays().items():
        np.testing.assert_array_equal(errors[name], array)


def test_forecasts_from_the_end_use_it_and_say_so(refitted):
    result = predict_rasters(refitted)
    assert result.weights == "final"
    assert f"fitted on everything up to {moment(refitted, LAST)}" in result.describe()
    assert tags(result.files[0])["weights"] == "final"
    assert tags(result.files[0])["weights_seen_until"] == moment(refitted, LAST)
    engine = open_engine(refitted, "default", final=True)
    with rasterio.open(result.files[0]) as dataset:
        pixels = dataset.read()
    days = [float(engine.series.days[-1]) + 16 * lead for lead in (1, 2)]
    made = engine.forecast(engine.cube.grid.whole, LAST, days).values[0]
    np.testing.assert_array_equal(pixels, made)
    honest = open_engine(refitted, "default").forecast(engine.cube.grid.whole, LAST, days).values[0]
    assert (made != honest).any()


def test_forecasts_from_an_earlier_date_do_not(make_project, refitted):
    plain = make_project(tent(), name="plain")
    train_model(plain, **FAST)
    for step in (LAST - 1, 12):
        made = []
        for project in (refitted, plain):
            result = predict_rasters(project, from_=moment(refitted, step))
            assert result.weights == "honest"
            assert "fitted on everything" not in result.describe()
            assert tags(result.files[0])["weights_seen_until"] == moment(refitted, TEST - 1)
            with rasterio.open(result.files[0]) as dataset:
                made.append(dataset.read())
        np.testing.assert_array_equal(*made)


def test_a_cube_that_has_grown_is_forecast_with_it(make_project, refitted):
    grown = make_project(tent(STEPS + 4), name="grown")
    times = open_cube(refitted.cube_path).meta["split"]
    shutil.copytree(refitted.root / "runs", grown.root / "runs")
    assert predict_rasters(grown).weights == "final"
    assert predict_rasters(grown, from_=moment(refitted, LAST)).weights == "final"
    assert predict_rasters(grown, from_=moment(refitted, LAST - 1)).weights == "honest"
    assert meta(grown)["split"] == times


@pytest.mark.slow
def test_scores_are_those_of_the_honest_part(make_project, refitted):
    plain = make_project(tent(), name="plain")
    train_model(plain, **FAST)
    texts = [
        validate_run(project, project.settings("validate")).csv_path.read_text()
        for project in (plain, refitted)
    ]
    assert texts[0] == texts[1]


def test_the_final_part_refuses_to_forecast_what_it_has_seen(refitted):
    engine = open_engine(refitted, "default", final=True)
    with pytest.raises(AssertionError):
        engine.forecast(engine.cube.grid.whole, LAST - 1, [float(engine.series.days[LAST])])
    with pytest.raises(AssertionError):
        next(engine.hindcasts(engine.cube.grid.whole, engine.split.test_steps))


def test_a_finished_run_is_refitted_later(make_project, refitted):
    later = make_project(tent(), name="later")
    train_model(later, **FAST)
    first = content(later)
    result = train_model(later, **FAST, refit=True)
    assert result.epochs == 0
    assert result.final_until == moment(later, LAST)
    assert f"for forecasts from {moment(later, LAST)} on" in result.describe()
    assert content(later) == first
    assert content(later, final=True) == content(refitted, final=True)
    # And again is nothing to do, with the flag or without it.
    for more in (True, False):
        assert train_model(later, **FAST, refit=more).final_until == moment(later, LAST)
    assert content(later, final=True) == content(refitted, final=True)


# References take 24 steps to fit and 25 to be looked at, and each epoch 6.
@pytest.mark.slow
@pytest.mark.parametrize("at", [5, 40, 52, 57])
def test_a_refit_that_was_stopped_goes_on_to_the_same_bits(make_project, refitted, at):
    project = make_project(tent(), name="stopped")
    folder = project.run_dir("default")
    asked = []

    def stop():
        asked.append((folder / "model.json").exists())
        return sum(asked) == at

    with pytest.raises(InterruptedRunError) as error:
        train_model(project, **FAST, refit=True, interrupted=stop)
    assert "nothing is trained" not in str(error.value)
    assert (folder / "final" / "last.pt").exists() == (at == 57)
    assert not (folder / "final" / "model.json").exists()
    assert predict_rasters(project).weights == "honest"
    train_model(project, **FAST, refit=True)
    assert content(project) == content(refitted)
    assert content(project, final=True) == content(refitted, final=True)


@pytest.mark.slow
def test_members_are_refitted_each_for_its_own_epochs(make_project):
    project = make_project(tent())
    train_model(project, **FAST, members=2, refit=True)
    kept = meta(project)["kept"]
    assert len(kept) == 2
    for number, epochs in enumerate(kept):
        folder = project.run_dir("default") / "final" / ("member2" if number else "")
        log = (folder / "log.csv").read_text().splitlines()
        assert len(log) == epochs + 1
    assert predict_rasters(project).weights == "final"


def test_without_a_model_the_numbers_alone_are_fitted_again(make_project, wave):
    project = make_project(wave)
    train_model(project, model="none", refit=True)
    honest, final = meta(project), meta(project, final=True)
    assert final["parameters"] != honest["parameters"]
    assert final["known_until"] == moment(project, 35)
    assert not (project.run_dir("default") / "final" / "last.pt").exists()
    assert predict_rasters(project).weights == "final"


def test_where_nothing_helped_nothing_is_trained_again(make_project, wave):
    project = make_project(wave)
    train_model(project, **{**FAST, "epochs": 1, "lr": 1e-30}, refit=True)
    assert not any(meta(project)["blend"])
    assert not (project.run_dir("default") / "final" / "last.pt").exists()
    assert (
        content(project)["model.safetensors"] == content(project, final=True)["model.safetensors"]
    )
    assert predict_rasters(project).weights == "final"


def test_sites_keep_to_the_memory_budget(make_project, monkeypatch):
    """More steps are decoded than in the honest part, so fewer pixels are."""
    values = np.random.default_rng(0).random((STEPS, 1, 48, 48)).astype(np.float32)
    project = make_project(values)
    monkeypatch.setattr(cache_module, "SITE_PX", 16)
    monkeypatch.setattr(cache_module, "BUDGET_BYTES", 1_500_000)
    chosen = []
    choose = material_module.choose_sites

    def noted(series, steps, *rest):
        chosen.append((steps, len(choose(series, steps, *rest))))
        return choose(series, steps, *rest)

    monkeypatch.setattr(material_module, "choose_sites", noted)
    train_model(project, model="none", horizon=2, refit=True)
    (honest, many), (everything, fewer) = chosen
    assert (honest, everything) == (TEST, STEPS)
    assert fewer < many


def test_a_damaged_final_part_names_the_run(refitted):
    path = refitted.run_dir("default") / "final" / "model.json"
    path.write_text("{broken")
    for use in (lambda: predict_rasters(refitted), lambda: train_model(refitted, **FAST)):
        with pytest.raises(RunError, match=r"'default' is damaged.*(?s:.*)--overwrite"):
            use()
    path.unlink()
    assert predict_rasters(refitted).weights == "honest"


def test_status_tells_it(refitted):
    result = CliRunner().invoke(cli, ["-p", str(refitted.root), "status"], catch_exceptions=False)
    line = next(line for line in result.stdout.splitlines() if line.startswith("run "))
    assert line.endswith(f"fitted again on everything up to {moment(refitted, LAST)}")
    assert "final" not in line.split(":")[0]


def test_the_correction_is_trusted_as_far_as_the_test_block_says(refitted):
    honest = open_engine(refitted, "default")
    last = len(honest.cube.times) - 1
    learned = honest.trust.evidence(last)
    assert not np.allclose(learned, honest.checkpoint.evidence)
    np.testing.assert_array_equal(meta(refitted, final=True)["evidence"], learned)
