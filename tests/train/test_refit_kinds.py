"""--refit of classes and of yes or no: what it changes, what it must not, what is refused."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from safetensors.numpy import load_file

from geoforecast.cli import cli
from geoforecast.errors import SettingsError
from geoforecast.forecast.engine import open_engine
from geoforecast.forecast.kinds import BINARY, CATEGORICAL
from geoforecast.predict import predict_rasters
from geoforecast.project import Project
from geoforecast.raster.cube import open_cube
from geoforecast.settings import SplitSettings, StackSettings, ValidateSettings
from geoforecast.stack import stack_scenes
from geoforecast.train import train_model
from geoforecast.validate import validate_run

STEPS, TEST = 25, 20
LAST = STEPS - 1
CODES = {CATEGORICAL: (3, 7, 200), BINARY: (0, 1)}
TRAIN = {
    "model": "convlstm",
    "epochs": 10,
    "lookback": 1,
    "horizon": 1,
    "hidden": 16,
    "patch": 12,
    "lr": 0.03,
    "retrain": False,
}
HONEST = ("model.json", "model.safetensors", "errors.safetensors")


def automaton(kind):
    """(step, y, x) codes: each pixel's number and its neighbour's are added, modulo their count.

    No reference finds that, for a class tells nothing by itself; a convolution does.
    """
    codes = np.array(CODES[kind], dtype=np.uint8)
    numbers = np.empty((STEPS, 12, 12), dtype=int)
    numbers[0] = np.random.default_rng(0).integers(0, len(codes), (12, 12))
    for step in range(1, STEPS):
        before = numbers[step - 1]
        numbers[step] = (before + np.roll(before, 1, axis=1)) % len(codes)
    return codes[numbers]


@dataclass(frozen=True)
class Made:
    """The same run before --refit and after it."""

    kind: str
    plain: Project
    refitted: Project

    def content(self, project):
        """The bytes of what the honest part and its scores are made of."""
        folder = project.run_dir("default")
        scores = project.root / "validation" / "default" / "metrics.csv"
        return [path.read_bytes() for path in (*(folder / name for name in HONEST), scores)]

    def meta(self, *, final=False):
        folder = self.refitted.run_dir("default") / ("final" if final else "")
        return json.loads((folder / "model.json").read_text())

    def moment(self, step):
        return str(open_cube(self.refitted.cube_path).times[step])


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Where trained projects are kept for tests that only look at them."""
    return tmp_path_factory.mktemp("refit")


@pytest.fixture(params=[CATEGORICAL, pytest.param(BINARY, marks=pytest.mark.slow)])
def made(request, shared, tmp_path, write_tif):
    """Copies of a project that was trained and validated, and of one that was refitted as well."""
    kept = shared / request.param
    if not kept.exists():
        make(request.param, kept, write_tif)
    shutil.copytree(kept, tmp_path / "made")
    return Made(request.param, *(Project(tmp_path / "made" / name) for name in ("plain", "refit")))


def make(kind: str, folder: Path, write_tif) -> None:
    start = np.datetime64("2020-01-01")
    for step, codes in enumerate(automaton(kind)):
        day = str(start + 16 * step).replace("-", "")
        write_tif(folder / "in" / f"cover_{day}.tif", codes)
    project = Project(folder / "plain")
    settings = StackSettings(kind=CATEGORICAL if kind == CATEGORICAL else "continuous")
    stack_scenes(project, [folder / "in"], settings, SplitSettings(), jobs=1)
    train_model(project, **TRAIN)
    validate_run(project, ValidateSettings(tile=64))
    shutil.copytree(project.root, folder / "refit")
    project = Project(folder / "refit")
    train_model(project, **TRAIN, refit=True)
    validate_run(project, ValidateSettings(tile=64))


def test_the_run_and_its_scores_stay_as_they_were(made):
    assert made.meta()["target"]["kind"] == made.kind
    assert any(made.meta()["blend"]), "the rule must be learnable, or nothing is tested"
    assert made.content(made.refitted) == made.content(made.plain)


def test_the_final_part_has_seen_every_step_and_takes_over_what_was_chosen(made):
    honest, final = made.meta(), made.meta(final=True)
    assert (honest["known_until"], final["known_until"]) == (made.moment(TEST - 1), made.moment(-1))
    for name in ("blend", "decision", "target", "split", "epoch", "kept", "reference"):
        assert final[name] == honest[name], name
    assert final["parameters"] != honest["parameters"]
    weights = [
        load_file(made.refitted.run_dir("default") / place / "model.safetensors")
        for place in ("", "final")
    ]
    assert all((weights[0][name] != weights[1][name]).any() for name in weights[0])


def forecast(project, step, *, final):
    """(band, y, x) probabilities one step after a step, from one of the two checkpoints."""
    engine = open_engine(project, "default", final=final)
    day = [float(engine.series.days[step]) + 16]
    return engine.forecast(engine.cube.grid.whole, step, day).values[0]


def test_forecasts_from_the_end_use_it_and_say_so(made):
    result = predict_rasters(made.refitted)
    assert result.weights == "final"
    assert f"fitted on everything up to {made.moment(LAST)}" in result.describe()
    with rasterio.open(result.probabilities[0]) as dataset:
        assert dataset.tags()["weights"] == "final"
        pixels = dataset.read()
    np.testing.assert_array_equal(pixels, forecast(made.refitted, LAST, final=True))
    assert (pixels != forecast(made.refitted, LAST, final=False)).any()
    with rasterio.open(result.files[0]) as dataset:
        chosen, tags = dataset.read(1), dataset.tags()
    assert tags["weights_seen_until"] == made.moment(LAST)
    assert set(np.unique(chosen)) <= set(CODES[made.kind])
    if made.kind == BINARY:
        np.testing.assert_array_equal(chosen, pixels[0] >= np.float32(tags["threshold"]))


def test_forecasts_from_an_earlier_date_do_not(made):
    files = []
    for project in (made.refitted, made.plain):
        result = predict_rasters(project, from_=made.moment(LAST - 1))
        assert result.weights == "honest"
        files.append([path.read_bytes() for path in (*result.files, *result.probabilities)])
    assert files[0] == files[1]
    with rasterio.open(result.probabilities[0]) as dataset:
        expected = forecast(made.refitted, LAST - 1, final=False)
        np.testing.assert_array_equal(dataset.read(), expected)


def test_samples_are_of_values_only(made):
    with pytest.raises(SettingsError, match=r"--samples is 3, but .* forecasts probabilities"):
        predict_rasters(made.refitted, samples=3)
    line = ["-p", str(made.refitted.root), "predict", "--samples", "3"]
    result = CliRunner().invoke(cli, line)
    assert result.exit_code == 2
    assert "Leave --samples out" in result.stderr
    assert not (made.refitted.root / "forecasts" / "default").exists()
