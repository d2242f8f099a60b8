"""The loop: it goes back from epochs that diverge, and says where a correction collapses."""

import logging
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from geoforecast.errors import InterruptedRunError, RunError
from geoforecast.models import Correction, ModelConfig, build_model
from geoforecast.raster.grid import Tile
from geoforecast.samples.context import Surroundings
from geoforecast.samples.features import Lookback, channel_count
from geoforecast.samples.split import Split
from geoforecast.settings import TrainSettings
from geoforecast.train import loop as loop_module
from geoforecast.train.cache import Site
from geoforecast.train.collapse import Moments, collapsed, is_constant
from geoforecast.train.loop import Loop
from geoforecast.train.stop import Stop
from geoforecast.train.windows import Windows

STEPS, SIDE = 24, 20
CPU = torch.device("cpu")
GO_ON = Stop(lambda: False, None)
SETTINGS = TrainSettings(epochs=4, hidden=4, layers=1, batch_size=2, patch=8)


def make_windows(side=SIDE, sites=1, **changes):
    rng = np.random.default_rng(0)
    values = rng.standard_normal((STEPS, 1, side, side)).astype(np.float32)
    valid = rng.random(values.shape) < 0.8
    zeros = np.zeros_like(values)
    reference = np.zeros((STEPS, 2, 1, side, side), np.float32)
    nothing = np.zeros((STEPS, 0, side, side), np.float32)
    site = Site(
        tile=Tile(0, side, 0, side),
        lookback=Lookback(values, valid, zeros, zeros, np.arange(float(STEPS))),
        reference_ILBHW=reference,
        target_TBHW=values,
        target_valid_TBHW=valid,
        surroundings=Surroundings(nothing[0], nothing, nothing),
    )
    scale = np.full((2, 1), 2.0, np.float32)
    return Windows([site] * sites, Split(16, 20, STEPS), 3, 2, 1.0, scale, **changes)


def make_loop(folder, settings=SETTINGS, windows=None, model=None):
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    config = ModelConfig("convlstm", channel_count(1), 1, settings.hidden, 1, 3, False)
    model = model or build_model(config)
    return Loop(model, windows or make_windows(), settings, folder, "same", CPU)


def rate(loop):
    return loop.optimiser.param_groups[0]["lr"]


def spoil(loop, epoch, what, above=0.0):
    """Let training go wrong in one epoch (of 0) while the rate is above a bound."""
    plain = loop.loss
    begun = []

    def wrong(correction, target, known):
        loss = plain.total(correction, target, known)
        begun.append(loop.epoch)
        if loop.epoch != epoch or rate(loop) <= above or begun.count(epoch) < 2:
            return loss
        if what == "gradient":
            correction.register_hook(lambda gradient: gradient * math.inf)
            return loss
        return loss * {"nan": math.nan, "inf": math.inf, "huge": 1e4}[what]

    loop.loss = replace(plain, total=wrong)


def column(loop, name):
    lines = (loop.folder / "log.csv").read_text().splitlines()
    place = lines[0].split(",").index(name)
    return [float(line.split(",")[place]) for line in lines[1:]]


@pytest.mark.parametrize("what", ["nan", "inf", "gradient", "huge"])
def test_an_epoch_that_diverges_is_done_again_at_a_third_of_the_rate(tmp_path, caplog, what):
    # Epoch 1 of 4 runs at a third to the full rate; a third of that is below the bound.
    spoiled = make_loop(tmp_path / "spoiled")
    spoil(spoiled, 1, what, above=1.1e-3)
    with caplog.at_level(logging.WARNING):
        outcome = spoiled.run_for(4, GO_ON)
    plain = make_loop(tmp_path / "plain")
    plain.run_for(1, GO_ON)
    (plain.folder / "last.pt").unlink()  # or it would go on as it was
    plain.rate_factor /= 3
    expected = plain.run_for(4, GO_ON)
    assert plain.epoch == 4
    for name, weight in expected.items():
        torch.testing.assert_close(outcome[name], weight, rtol=0, atol=0)
    assert column(spoiled, "epoch") == [1, 2, 3, 4]
    assert column(spoiled, "rate_factor") == pytest.approx([1, 1 / 3, 1 / 3, 1 / 3])
    assert column(spoiled, "loss") == column(plain, "loss")
    (line,) = [record.message for record in caplog.records if "diverged" in record.message]
    assert re.match(r"epoch 2 diverged \(loss .*\): back to epoch 1, peak rate 0.001 in", line)
    if what == "gradient":
        assert re.search(r"loss 0\.\d+, gradient norm (inf|nan)", line)
    assert ("best so far" in line) == (what == "huge")


def test_a_bad_epoch_is_not_yet_a_lost_one(tmp_path):
    loop = make_loop(tmp_path)
    losses = iter([0.01] * loop.steps_an_epoch + [0.99] * 3 * loop.steps_an_epoch)
    plain = loop.loss
    loop.loss = replace(
        plain,
        total=lambda *parts: plain.total(*parts) * 0 + next(losses),
        count=lambda *_: torch.ones(()),
    )
    loop.run_for(2, GO_ON)  # ten times 0.1, for so much counts at least
    assert loop.rollbacks == 0
    losses = iter([1.01] * loop.steps_an_epoch + [0.5] * loop.steps_an_epoch)
    loop.run_for(3, GO_ON)
    assert loop.rollbacks == 1


def test_what_diverges_for_good_is_an_error_with_a_remedy(tmp_path):
    loop = make_loop(tmp_path)
    spoil(loop, 2, "nan")
    with pytest.raises(RunError, match="diverged 4 times, the last time in epoch 3: loss nan") as e:
        loop.run_for(4, GO_ON)
    assert "--lr 4e-05 --overwrite" in str(e.value)  # 0.003 / 81
    assert loop.epoch == 2


@pytest.mark.parametrize("stop_at", [7, 8, 13, 16, 19, 25, 30])
def test_a_killed_run_that_diverged_goes_on_to_the_same_bits(tmp_path, stop_at):
    whole = make_loop(tmp_path / "whole")
    spoil(whole, 1, "nan", above=1.1e-3)
    whole.run(GO_ON)
    assert whole.rollbacks == 1
    calls = iter(range(1000))
    broken = make_loop(tmp_path / "broken")
    spoil(broken, 1, "nan", above=1.1e-3)
    with pytest.raises(InterruptedRunError):
        broken.run(Stop(lambda: next(calls) == stop_at, None))
    again = make_loop(tmp_path / "broken")
    if again.epoch < 2:
        spoil(again, 1, "nan", above=1.1e-3)
    again.run(GO_ON)
    assert (whole.folder / "log.csv").read_text() == (again.folder / "log.csv").read_text()
    for one, other in ((whole.model, again.model), (whole.average, again.average)):
        for name, weight in one.state_dict().items():
            torch.testing.assert_close(other.state_dict()[name], weight, rtol=0, atol=0)
    assert (again.rate_factor, again.rollbacks) == (whole.rate_factor, whole.rollbacks)


def test_young_averages_forget_fast(tmp_path):
    loop = make_loop(tmp_path, model=torch.nn.Linear(1, 1, bias=False))
    weight = loop.model.weight
    found = []
    with torch.no_grad():
        for value in (8.0, 0.0, 0.0):
            weight.fill_(value)
            loop.average.update_parameters(loop.model)
            found.append(loop.average.module.weight.item())
        loop.average.n_averaged.fill_(10_000)
        loop.average.module.weight.fill_(1.0)
        loop.average.update_parameters(loop.model)
    # The first is taken as it is; then (1 + n) / (10 + n) of the old stays, 0.98 at most.
    assert found == pytest.approx([8, 8 * 2 / 11, 8 * 2 / 11 * 3 / 12])
    assert loop.average.module.weight.item() == pytest.approx(0.98)


def test_every_validation_step_is_watched_on_fewer_pixels():
    whole = make_windows(side=200)
    assert sum(crop.shape[0] * crop.shape[1] for *_, crop in whole.validation(0)) == 5 * 200**2
    few = whole.watched().validation(0)
    pixels = [crop.shape[0] * crop.shape[1] for *_, crop in few]
    assert 25_000 < sum(pixels) <= 70_000
    assert {init for _, init, _ in few} == set(whole.validation_inits)
    assert len({(init, crop) for _, init, crop in few}) == len(few)
    assert few == whole.watched().validation(0)
    assert few != whole.watched().validation(1)
    # Where there are few pixels, all are watched.
    small = make_windows().watched().validation(0)
    assert [crop.shape for *_, crop in small] == [(SIDE, SIDE)] * 5


def test_the_weight_is_decided_on_all_pixels(tmp_path, monkeypatch):
    seen = []
    plain = loop_module.calibrate

    def spied(model, windows, *rest):
        seen.append(windows.validation_px)
        return plain(model, windows, *rest)

    monkeypatch.setattr(loop_module, "calibrate", spied)
    make_loop(tmp_path).run(GO_ON)
    assert seen == [50_000] * 4 + [300_000]


class Says(Correction):
    """A model whose answer is fixed: a number a lead, and some of the first channel."""

    def __init__(self, numbers, some=0.0):
        super().__init__()
        self.numbers = torch.nn.Parameter(torch.tensor(numbers)[:, None, None, None])
        self.some = some

    def forward(self, x_BTCHW, leads):
        last = x_BTCHW[:, -leads - 1, :1][:, None]
        return self.numbers + self.some * last.expand(-1, leads, -1, -1, -1)

    def halo_px(self, steps):  # noqa: ARG002
        return 0


@pytest.mark.parametrize(
    ("numbers", "some", "constant"),
    [
        ((0.0, 0.0), 0.0, False),  # a new model says nothing
        ((1e-4, 1e-4), 0.0, False),  # nor does this
        ((0.5, 0.5), 0.0, True),
        ((0.5, -0.5), 0.0, True),  # an offset a lead is no field
        ((0.5, 0.5), 2e-4, True),
        ((0.5, 0.5), 0.1, False),
        ((0.0, 0.0), 0.1, False),
    ],
)
def test_a_correction_that_is_the_same_everywhere_is_noticed(numbers, some, constant):
    model = Says(numbers, some).eval()
    found = collapsed(model, make_windows(), np.zeros(2), 0, CPU)
    assert ("the correction is the same everywhere" in found) == constant


def test_moments_are_of_known_pixels_within_leads_and_bands():
    values = torch.tensor([[[[[1.0, 3.0, math.nan]]], [[[10.0, 10.0, 10.0]]]]])
    known = torch.tensor([[[[[True, True, False]]], [[[True, True, True]]]]])
    moments = Moments.of(values, known)
    assert moments.count.ravel().tolist() == [2, 3]
    assert moments.variation == 2  # (1 - 2)^2 + (3 - 2)^2, and none in lead 2
    twice = moments + moments
    assert twice.variation == 4
    nothing = Moments.of(values, torch.zeros_like(known))
    assert nothing.variation == 0
    assert not is_constant(nothing, nothing)


def test_constant_forecasts_of_fields_that_vary_are_noticed():
    what = "forecast fields are constant, while observed ones vary"
    windows = make_windows()
    # The reference is 0 everywhere: without a correction that is the forecast.
    assert what in collapsed(Says((0.0, 0.0), 1.0), windows, np.zeros(2), 0, CPU)
    assert what not in collapsed(Says((0.0, 0.0), 1.0), windows, np.ones(2), 0, CPU)
    # A constant offset leaves forecasts constant.
    assert what in collapsed(Says((0.3, 0.3)), windows, np.ones(2), 0, CPU)
    windows.sites[0].reference_ILBHW[:] = np.random.default_rng(1).random((20, 20))
    assert what not in collapsed(Says((0.0, 0.0)), windows, np.zeros(2), 0, CPU)
    windows.sites[0].target_TBHW[:] = 3.0
    assert what not in collapsed(Says((0.0, 0.0)), windows, np.zeros(2), 0, CPU)


def test_training_says_that_a_correction_collapsed(tmp_path, caplog):
    windows = make_windows()
    windows.sites[0].target_TBHW[:] += 1.0  # so that an offset helps, and is kept
    windows.sites[0].reference_ILBHW[:] = np.random.default_rng(1).random((20, 20))
    loop = make_loop(tmp_path, windows=windows, model=Says((0.2, 0.2)))
    with caplog.at_level(logging.WARNING):
        outcome = loop.run(GO_ON)
    assert outcome.epoch > 0
    said = [record.message for record in caplog.records]
    (line,) = [one for one in said if one.startswith("collapse: ")]
    assert "the correction is the same everywhere on the validation block" in line
    assert "--model none" in line


def test_healthy_training_warns_of_nothing(tmp_path, caplog):
    windows = make_windows()
    windows.sites[0].reference_ILBHW[:] = np.random.default_rng(1).random((20, 20))
    with caplog.at_level(logging.WARNING):
        make_loop(tmp_path, windows=windows).run(GO_ON)
    assert caplog.records == []


def test_a_correction_that_stops_varying_is_noticed_at_once(tmp_path, caplog):
    model = Says((0.5, 0.5), 0.1)
    loop = make_loop(tmp_path, model=model)
    with caplog.at_level(logging.WARNING):
        loop.run_for(1, GO_ON)
        model.some = 0.0
        loop.run_for(3, GO_ON)
    said = [record.message for record in caplog.records]
    assert said == ["epoch 2: the correction is now the same everywhere"]
    assert column(loop, "spread")[0] > 0.01
    assert column(loop, "spread")[1:] == [0, 0]
