"""What a training goes on from: the last state, or the one before where that is damaged."""

import errno
import logging
import resource

import numpy as np
import pytest
import torch

from geoforecast.errors import InterruptedRunError, RunError, from_system
from geoforecast.models import Correction, ModelConfig, build_model
from geoforecast.raster.grid import Tile
from geoforecast.samples.context import Surroundings
from geoforecast.samples.features import Lookback, channel_count
from geoforecast.samples.split import Split
from geoforecast.settings import TrainSettings
from geoforecast.train import last as last_module
from geoforecast.train.cache import Site
from geoforecast.train.last import BEFORE, LAST, as_state, has_begun, read_last, save_last
from geoforecast.train.loop import Loop
from geoforecast.train.stop import Stop
from geoforecast.train.windows import Windows

CPU = torch.device("cpu")
GO_ON = Stop(lambda: False, None)


def number(folder):
    body = read_last(folder)
    return as_state(body, CPU)["number"] if body else None


def save_numbers(folder, *numbers):
    for one in numbers:
        save_last(folder, {"number": one, "weights": torch.arange(100.0)})


def test_the_last_state_is_read_and_the_one_before_kept(tmp_path):
    assert not has_begun(tmp_path)
    assert read_last(tmp_path) == b""
    save_numbers(tmp_path, 1)
    assert not (tmp_path / BEFORE).exists()
    save_numbers(tmp_path, 2, 3)
    assert number(tmp_path) == 3
    (tmp_path / LAST).unlink()  # killed between the two renames
    assert has_begun(tmp_path)
    assert number(tmp_path) == 2
    assert (tmp_path / LAST).exists()
    # PyTorch alone reads it too.
    assert torch.load(tmp_path / LAST, weights_only=True)["number"] == 2


def damage(path, how):
    content = path.read_bytes()
    if how == "bit":  # in the middle of the weights, where PyTorch alone would not notice
        place = content.index(torch.arange(100.0).numpy().tobytes()[100:200])
        content = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        assert torch.load(path, weights_only=True)
    elif how == "seal":
        content = content[:-1] + bytes([content[-1] ^ 1])
    elif how == "zeros":  # what a file system may leave after a power failure
        content = bytes(len(content))
    else:
        content = content[:how]
    path.write_bytes(content)


DAMAGES = [0, 1, 31, 32, 33, 200, -1, -32, -33, "bit", "seal", "zeros"]


@pytest.mark.parametrize("how", DAMAGES)
def test_any_damage_is_noticed(tmp_path, caplog, how):
    save_numbers(tmp_path, 1, 2, 3)
    damage(tmp_path / LAST, how)
    with caplog.at_level(logging.WARNING):
        assert number(tmp_path) == 2
    (line,) = [record.message for record in caplog.records]
    assert "last.pt is damaged" in line
    assert line.endswith("going on from before.pt")
    # What is damaged must not become the one before when the next is saved.
    save_numbers(tmp_path, 4)
    damage(tmp_path / LAST, how)
    assert number(tmp_path) == 2
    damage(tmp_path / LAST, how)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert number(tmp_path) is None
    assert caplog.records[0].message.endswith("training begins again")
    assert not has_begun(tmp_path)


def test_what_the_system_will_not_read_is_an_error_and_no_new_beginning(tmp_path):
    save_numbers(tmp_path, 1)
    (tmp_path / LAST).rename(tmp_path / "kept")
    (tmp_path / LAST).mkdir()
    with pytest.raises(IsADirectoryError):
        read_last(tmp_path)
    assert (tmp_path / "kept").exists()


@pytest.fixture
def small_files():
    """A function that lets the system refuse files beyond some bytes, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda most: resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_says_where_and_keeps_both(tmp_path, small_files):
    save_numbers(tmp_path, 1, 2)
    small_files(1000)
    with pytest.raises(OSError, match="too large") as found:
        save_numbers(tmp_path, 3)
    small_files(resource.RLIM_INFINITY)
    assert sorted(path.name for path in tmp_path.iterdir()) == [BEFORE, LAST]
    assert number(tmp_path) == 2
    assert str(tmp_path / LAST) in str(from_system(found.value))


def test_a_kill_between_the_renames_loses_one_epoch(tmp_path, monkeypatch):
    save_numbers(tmp_path, 1, 2)

    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("geoforecast.project.put_in_place", refuse)
    with pytest.raises(OSError, match="No space"):
        save_numbers(tmp_path, 3)
    monkeypatch.undo()
    assert not (tmp_path / LAST).exists()
    assert number(tmp_path) == 2


def test_a_checkpoint_that_cannot_be_written_says_so(tmp_path, monkeypatch):
    def refuse(*_):
        raise last_module.SafetensorError("No space left on device (os error 28)")

    monkeypatch.setattr(last_module, "save_checkpoint", refuse)
    with pytest.raises(RunError, match="No space left on device") as found:
        last_module.write_checkpoint(tmp_path, None, {})
    assert "Free some space" in str(found.value)


# ---- the loop goes on from it ---------------------------------------------------------------

SETTINGS = TrainSettings(epochs=4, hidden=4, layers=1, batch_size=2, patch=8)


def make_windows():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((24, 1, 20, 20)).astype(np.float32)
    valid = rng.random(values.shape) < 0.8
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


def make_loop(folder, identity="same"):
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    model: Correction = build_model(ModelConfig("convlstm", channel_count(1), 1, 4, 1, 3, False))
    return Loop(model, make_windows(), SETTINGS, folder, identity, CPU)


def state_of(loop):
    return {**loop.model.state_dict(), **loop.average.state_dict()}, loop.rows, loop.best_epoch


def assert_same(one, other):
    (weights, *rest), (others, *their_rest) = state_of(one), state_of(other)
    assert rest == their_rest
    assert weights.keys() == others.keys()
    for name, weight in weights.items():
        torch.testing.assert_close(others[name], weight, rtol=0, atol=0)
    logs = [(loop.folder / "log.csv").read_bytes() for loop in (one, other)]
    assert logs[0] == logs[1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    loop = make_loop(tmp_path_factory.mktemp("whole"))
    loop.run(GO_ON)
    return loop


@pytest.mark.parametrize("both", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("how", [0, 500, -40, "zeros"])
def test_a_damaged_state_ends_with_the_bits_of_an_undisturbed_run(
    tmp_path, whole, caplog, how, both
):
    first = make_loop(tmp_path)
    steps = iter(range(1000))
    with pytest.raises(InterruptedRunError, match="epoch 2 is saved"):
        first.run(Stop(lambda: next(steps) == 2 * first.steps_an_epoch + 3, None))
    damage(tmp_path / LAST, how)
    if both:
        damage(tmp_path / BEFORE, how)
    again = make_loop(tmp_path)
    with caplog.at_level(logging.INFO):
        again.run(GO_ON)
    said = [record.message for record in caplog.records]
    assert ("going on after epoch 1" in said) == (not both)
    assert any("training begins again" in line for line in said) == both
    assert_same(whole, again)


def test_stopped_before_every_step_it_ends_with_the_same_bits(tmp_path, whole):
    """Each life lasts one step longer than what the last one saved, and is then ended."""
    loop = make_loop(tmp_path)
    lives = 0
    for allowed in range(1, 4 * loop.steps_an_epoch + 1):
        steps = iter(range(1000))
        loop = make_loop(tmp_path)
        lives += 1
        try:
            loop.run(Stop(lambda steps=steps, most=allowed: next(steps) >= most, None))
            break
        except InterruptedRunError:
            continue
    assert lives > loop.steps_an_epoch
    assert_same(whole, loop)


@pytest.mark.parametrize("name", ["log.csv", "last.pt"])
@pytest.mark.parametrize("epoch", [1, 2, 4])
def test_a_disk_that_is_full_loses_nothing_that_was_saved(
    tmp_path, whole, monkeypatch, name, epoch
):
    loop = make_loop(tmp_path)
    plain = last_module.Path.replace
    written = []

    def refuse(self, target):
        if last_module.Path(target).name == name:
            written.append(target)
            if len(written) == epoch:
                raise OSError(errno.ENOSPC, "No space left on device", str(target))
        return plain(self, target)

    monkeypatch.setattr(last_module.Path, "replace", refuse)
    with pytest.raises(OSError, match="No space left"):
        loop.run(GO_ON)
    monkeypatch.undo()
    assert list(tmp_path.glob(".*")) == []
    again = make_loop(tmp_path)
    again.run(GO_ON)
    assert_same(whole, again)


def test_the_state_of_other_settings_is_refused_and_kept(tmp_path):
    make_loop(tmp_path).run_for(1, GO_ON)
    before = (tmp_path / LAST).read_bytes()
    with pytest.raises(RunError, match="other settings or another cube") as found:
        make_loop(tmp_path, identity="another").run(GO_ON)
    assert str(tmp_path / LAST) in str(found.value)
    assert "--overwrite" in str(found.value)
    assert (tmp_path / LAST).read_bytes() == before


def test_the_speed_of_each_epoch_stands_beside_the_log(tmp_path):
    loop = make_loop(tmp_path)
    loop.run_for(2, GO_ON)
    lines = (tmp_path / "speed.csv").read_text().splitlines()
    assert lines[0] == "epoch,seconds,samples_per_s,peak_mib,device_mib"
    rows = [[float(number) for number in line.split(",")] for line in lines[1:]]
    assert [row[0] for row in rows] == [1, 2]
    for _, seconds, rate, peak, gpu in rows:
        # 2 samples a step; four digits are kept.
        assert rate * seconds == pytest.approx(2 * loop.steps_an_epoch, rel=2e-3)
        assert 50 < peak < 100_000
        assert gpu == 0
    make_loop(tmp_path).run_for(3, GO_ON)
    assert len((tmp_path / "speed.csv").read_text().splitlines()) == 4
