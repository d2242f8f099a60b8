"""Several processes train what one does: shares, gradients, stops, and what they refuse.

Here a process is a thread, and torch.distributed a meeting of threads: the sums are the same.
"""

import logging
import pickle
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from geoforecast.cli import cli
from geoforecast.errors import InterruptedRunError, RunError, SettingsError
from geoforecast.forecast.device import pick_device
from geoforecast.models import ModelConfig, build_model
from geoforecast.raster.grid import Tile
from geoforecast.samples.context import Surroundings
from geoforecast.samples.features import Lookback, channel_count
from geoforecast.samples.split import Split
from geoforecast.settings import TrainSettings
from geoforecast.system import Launch, launched
from geoforecast.train import losses
from geoforecast.train import ranks as ranks_module
from geoforecast.train.cache import Site
from geoforecast.train.loop import Loop
from geoforecast.train.members import Trainer
from geoforecast.train.ranks import ALONE, Ranks
from geoforecast.train.stop import Stop
from geoforecast.train.windows import Windows

CPU = torch.device("cpu")
GO_ON = Stop(lambda: False, None)
SETTINGS = TrainSettings(epochs=3, hidden=4, layers=1, batch_size=4, patch=8, members=1, lr=0.01)


class Meeting:
    """What torch.distributed does, for the threads of one process."""

    def __init__(self, size):
        self.size = size
        self.barrier = threading.Barrier(size, timeout=60)
        self.place = threading.local()
        self.slots = [None] * size

    def all_reduce(self, numbers):
        self.slots[self.place.rank] = numbers.clone()
        self.barrier.wait()
        total = sum(self.slots[1:], self.slots[0])
        self.barrier.wait()
        numbers.copy_(total)

    def broadcast_object_list(self, box, src):
        if self.place.rank == src:
            self.slots[0] = pickle.dumps(box)
        self.barrier.wait()
        box[:] = pickle.loads(self.slots[0])
        self.barrier.wait()

    def run(self, work, stops=None):
        """What ``work(ranks)`` returns or raises in each rank."""
        results = [None] * self.size

        def live(rank):
            self.place.rank = rank
            stop = stops[rank] if stops else GO_ON
            try:
                results[rank] = work(Ranks(Launch(rank, self.size, rank, self.size), CPU, stop))
            except Exception as error:
                results[rank] = error
                self.barrier.abort()  # as a process that ends closes its connections

        threads = [threading.Thread(target=live, args=(rank,)) for rank in range(self.size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=120)
        assert not any(thread.is_alive() for thread in threads)
        return results


@pytest.fixture
def meet(monkeypatch):
    """A function that lets a number of ranks do some work."""

    def run(size, work, stops=None):
        meeting = Meeting(size)
        monkeypatch.setattr(ranks_module, "distributed", meeting)
        return meeting.run(work, stops)

    return run


@pytest.mark.parametrize("samples", range(9))
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_every_sample_is_one_ranks_and_shares_are_even(samples, size):
    shares = [Ranks(Launch(rank, size), CPU, GO_ON).share(samples) for rank in range(size)]
    taken = [number for share in shares for number in range(samples)[share]]
    assert taken == list(range(samples))
    lengths = [share.stop - share.start for share in shares]
    assert max(lengths) - min(lengths) <= 1


# Name of a loss -> layers of its target after the lead; 0: none.
LAYERS = {"huber": 0, "mse": 0, "poisson": 4, "bce": 4, "focal": 4, "cross-entropy": 4}


def test_every_loss_is_tried():
    assert set(LAYERS) == set(losses._LOSSES)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize(("size", "samples"), [(2, 4), (2, 3), (3, 4), (3, 2)])
def test_loss_and_gradients_are_those_of_the_whole_batch(meet, name, size, samples):
    torch.manual_seed(0)
    leads, bands, side = 2, 3, 5
    x = torch.randn(samples, 4, 2, side, side)
    shape = torch.Size((samples, leads, bands, side, side))
    target = torch.randn(shape)
    if LAYERS[name]:
        # Three layers: what came, the reference, the last, as shares or as levels.
        target = torch.rand(samples, leads, 3, bands, side, side)
        if name == "poisson":
            target[:, :, 2] = 1.0
            target = target.clone()
    known = torch.rand(shape) < 0.9
    known[0] = torch.rand(shape[1:]) < 0.05  # a mean of means would weigh it like the others
    if name == "cross-entropy":
        known = known[:, :, :1].expand(shape)
    weight = 0.1 * torch.randn(leads * bands, 8, 3, 3)
    compute = losses.find_loss(name)

    def work(ranks):
        layer = torch.nn.Conv2d(8, leads * bands, 3, padding=1)
        idle = torch.nn.Parameter(torch.ones(3))
        with torch.no_grad():
            layer.weight.copy_(weight)
            layer.bias.zero_()

        def run(part):
            return layer(part.flatten(1, 2)).view(len(part), leads, bands, side, side)

        mine, answers = ranks.share(samples), []
        total, count = torch.zeros(()), compute.count(target, known)
        if mine.start < mine.stop:
            answers.append(run(x[mine]))
            total = compute.total(answers[0], target[mine], known[mine])
            (total / count).backward()
        ranks.add_gradients([*layer.parameters(), idle])
        with torch.no_grad():
            loss = compute(ranks.together(answers, shape), target, known)
        assert torch.isclose(loss, torch.tensor(ranks.sum((total / count).detach())))
        return loss, layer.weight.grad, layer.bias.grad, idle.grad

    alone = work(ALONE)
    assert alone[1].abs().max() > 1e-3
    found = meet(size, work)
    for one in found:
        for mine, theirs in zip(one[:3], alone[:3], strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-7)
        assert one[3] is None  # nobody's gradient stays nobody's: no decay without one
        for mine, theirs in zip(one[:3], found[0][:3], strict=True):
            assert torch.equal(mine, theirs)


def make_windows():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((24, 1, 20, 20)).astype(np.float32)
    for step in range(1, 24):  # something to learn
        values[step] = np.roll(values[step - 1], 1, axis=-1)
    valid = rng.random(values.shape) < np.linspace(0.1, 1, 20)  # and unevenly known
    zeros, nothing = np.zeros_like(values), np.zeros((24, 0, 20, 20), np.float32)
    site = Site(
        tile=Tile(0, 20, 0, 20),
        lookback=Lookback(values, valid, zeros, zeros, np.arange(24.0)),
        reference_ILBHW=np.zeros((24, 2, 1, 20, 20), np.float32),
        target_TBHW=values,
        target_valid_TBHW=valid,
        surroundings=Surroundings(nothing[0], nothing, nothing),
    )
    return Windows([site], Split(16, 20, 24), 3, 2, 1.0, np.full((2, 1), 2.0, np.float32))


@pytest.mark.parametrize("loss", ["huber", "poisson"])
def test_the_inputs_of_a_share_are_those_of_the_whole_batch(loss):
    units = ((0.0,), (1.0,)) if loss == "poisson" else ((), ())
    windows = replace(make_windows(), loss=loss, log_units=units)
    drawn = np.random.default_rng(3)
    x, target, known = windows.batch(drawn, 5, 8)
    after = drawn.random()
    assert len(x) == len(target) == 5
    for share in (slice(0, 2), slice(2, 5), slice(4, 4)):
        rng = np.random.default_rng(3)
        part, all_target, all_known = windows.batch(rng, 5, 8, share)
        assert torch.equal(all_target, target)
        assert torch.equal(all_known, known)
        assert len(part) == share.stop - share.start
        if len(part):
            assert torch.equal(part, x[share])
        # The next batch is drawn alike, too.
        assert rng.random() == after


CONFIG = ModelConfig("convlstm", channel_count(1), 1, 4, 1, 3, False)
SEEDING = threading.Lock()  # threads share torch's generator, which processes do not


def make_loop(folder, ranks=ALONE, settings=SETTINGS):
    folder.mkdir(parents=True, exist_ok=True)
    with SEEDING:
        torch.manual_seed(0)
        model = build_model(CONFIG)
    return Loop(model, make_windows(), settings, folder, "same", CPU, ranks)


def trained(folder, ranks=ALONE, stop=GO_ON, settings=SETTINGS):
    loop = make_loop(folder, ranks, settings)
    return loop.run(stop), loop


def assert_alike(loop, other):
    ours, theirs = loop.model.state_dict(), other.model.state_dict()
    for name, weight in theirs.items():
        torch.testing.assert_close(ours[name], weight, rtol=0, atol=1e-5)
    assert len(loop.rows) == len(other.rows)
    for row, their_row in zip(loop.rows, other.rows, strict=True):
        assert row == pytest.approx(their_row, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(("size", "batch"), [(2, 4), (3, 4), (3, 2)])
def test_the_curve_and_the_weights_are_those_of_one_process(tmp_path, meet, size, batch):
    settings = replace(SETTINGS, batch_size=batch)
    _, single = trained(tmp_path / "one", settings=settings)
    start = make_loop(tmp_path / "new").model.state_dict()
    moved = max((single.model.state_dict()[k] - start[k]).abs().max() for k in start)
    assert moved > 0.01, "training must change something, or nothing is tested"
    folder = tmp_path / "many"
    outcomes = meet(size, lambda ranks: trained(folder, ranks, settings=settings))
    for outcome, loop in outcomes:
        assert_alike(loop, single)
        assert outcome.epoch == outcomes[0][0].epoch
        for name, weight in outcome.weights.items():
            assert torch.equal(weight, outcomes[0][0].weights[name])
    # One process alone wrote: one line an epoch.
    assert len((folder / "speed.csv").read_text().splitlines()) == 1 + len(single.rows)


def test_all_stop_at_the_step_at_which_one_is_told_and_go_on_to_the_same_bits(tmp_path, meet):
    whole = meet(2, lambda ranks: trained(tmp_path / "whole", ranks))[0][1]
    asked = iter(range(1000))
    told = Stop(lambda: next(asked) == whole.steps_an_epoch + 2, None)  # rank 1 alone
    found = meet(2, lambda r: trained(tmp_path / "b", r, GO_ON if r.first else told))
    assert [type(one) for one in found] == [InterruptedRunError] * 2
    assert "epoch 1 is saved" in str(found[0])
    again = meet(2, lambda ranks: trained(tmp_path / "b", ranks))[0][1]
    assert again.rows == whole.rows
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], weight)
    logs = [(tmp_path / name / "log.csv").read_bytes() for name in ("whole", "b")]
    assert logs[0] == logs[1]


@pytest.mark.parametrize("told", [False, True])
def test_when_one_fails_the_others_end_and_say_so(tmp_path, meet, told):
    def work(ranks):
        loop = make_loop(tmp_path, ranks)
        if not ranks.first:
            loop.windows = None  # a crash, after the first meeting
        return loop.run(GO_ON)

    was_told = threading.Event()
    if told:
        was_told.set()
    # The first one was told to end, yet learns it only when its peer is gone.
    stops = [Stop(was_told.is_set, None), GO_ON]
    first, second = meet(2, work, stops)
    assert isinstance(second, AttributeError)
    if told:
        assert isinstance(first, InterruptedRunError)
    else:
        assert isinstance(first, RunError)
        assert "Another process of this training has ended" in str(first)


def test_what_diverges_goes_back_in_every_process(tmp_path, meet, caplog):
    def work(ranks):
        loop = make_loop(tmp_path / f"of{ranks.launch.size}", ranks)
        plain, calls = loop.loss, []

        def wrong(*parts):
            calls.append(1)
            return plain.total(*parts) * (float("nan") if len(calls) == 9 else 1.0)

        loop.loss = replace(plain, total=wrong)
        loop.run_for(3, GO_ON)
        return loop

    single = work(ALONE)
    assert single.rollbacks == 1
    with caplog.at_level(logging.WARNING):
        for loop in meet(2, work):
            assert loop.rollbacks == 1
            assert_alike(loop, single)


@pytest.mark.slow
def test_members_are_chosen_and_trained_again_alike(tmp_path, meet):
    settings = replace(SETTINGS, members=2, retrain=True)

    def build():
        return build_model(CONFIG)

    class Seeded(Trainer):
        def _loop(self, number, folder):
            with SEEDING:
                return super()._loop(number, folder)

    def work(ranks):
        folder = tmp_path / f"of{ranks.launch.size}"
        place = make_windows(), settings, folder, "same", CPU, ranks
        return Seeded(build, *place).run(GO_ON)

    single = work(ALONE)
    assert any(single.calibration.blend)
    outcomes = meet(2, work)
    for outcome in outcomes:
        assert outcome.kept == single.kept
        np.testing.assert_allclose(outcome.calibration.blend, single.calibration.blend, atol=1e-4)
        for name, weight in single.weights.items():
            torch.testing.assert_close(outcome.weights[name], weight, rtol=0, atol=1e-5)
            assert torch.equal(outcome.weights[name], outcomes[0].weights[name])


def test_models_that_normalise_by_batches_are_refused(tmp_path):
    model = build_model(replace(CONFIG, architecture="crime_grid"))
    place = make_windows(), SETTINGS, tmp_path, "same", CPU
    Loop(model, *place)
    with pytest.raises(SettingsError, match="normalises by batches") as found:
        Loop(model, *place, Ranks(Launch(0, 2), CPU, GO_ON))
    assert "without torchrun" in str(found.value)


TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Launch(3, 4, 1, 2)),
        ({"LOCAL_RANK": None, "LOCAL_WORLD_SIZE": None}, Launch(3, 4, 3, 4)),
        ({"RANK": None}, Launch()),
        ({"RANK": "x"}, Launch()),
        ({"RANK": "4"}, Launch()),
        ({"MASTER_ADDR": None}, Launch()),  # some schedulers set ranks for purposes of their own
    ],
)
def test_what_torchrun_says_is_read(monkeypatch, changes, expected):
    for name, value in {**TORCHRUN, "MASTER_ADDR": "node1", **changes}.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert launched() == expected


def set_launch(monkeypatch, **changes):
    for name, value in {**TORCHRUN, "MASTER_ADDR": "node1", **changes}.items():
        monkeypatch.setenv(name, value)


def test_each_process_takes_a_gpu_of_its_own(monkeypatch):
    taken = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert pick_device("cuda") == torch.device("cuda")
    set_launch(monkeypatch)
    assert pick_device("auto") == torch.device("cuda", 1)
    assert taken == [torch.device("cuda", 1)]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)  # a scheduler shows it no other
    assert pick_device("cuda") == torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    set_launch(monkeypatch, LOCAL_WORLD_SIZE="4")
    with pytest.raises(SettingsError, match="4 processes on this machine, but 3 GPUs"):
        pick_device("cuda")


@pytest.mark.parametrize("line", ["status", "train predict", "run"])
def test_other_verbs_are_refused_before_any_work(monkeypatch, tmp_path, line):
    set_launch(monkeypatch)
    result = CliRunner().invoke(cli, ["-p", str(tmp_path), *line.split()])
    assert result.exit_code == 2
    other = line.split()[-1]
    assert f"Error of process 3: 4 processes started together can train, not {other}." in (
        result.stderr
    )
    assert list(tmp_path.iterdir()) == []
