"""Signals: 75 whenever they come, and the handlers of others come back."""

import contextlib
import os
import signal

from click.testing import CliRunner

from geoforecast.cli import cli


def invoke(*args):
    return CliRunner().invoke(cli, [str(arg) for arg in args], catch_exceptions=False)


def terminate(*_, **__):
    os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_stops_before_and_between_verbs(tmp_path, tiny_folder, monkeypatch):
    """While settings are bound, inside a verb that swallows it, and inside one that notes it."""
    handler = signal.getsignal(signal.SIGTERM)
    p = ["-p", tmp_path / "p"]

    def swallow(*_):
        with contextlib.suppress(Exception):
            terminate()
        return []

    with monkeypatch.context() as patch:
        patch.setattr("geoforecast.cli.chain.open_project", terminate)
        assert invoke(*p, "status").exit_code == 75
    with monkeypatch.context() as patch:
        patch.setattr("geoforecast.doctor.examine", swallow)
        result = invoke(*p, "doctor", "stack", tiny_folder)
        assert result.exit_code == 75
        assert "Stopped by SIGTERM; what was complete is kept." in result.stderr
    with monkeypatch.context() as patch:
        patch.setattr("geoforecast.stack.stack_scenes", terminate, raising=False)
        assert invoke(*p, "stack", tiny_folder).exit_code == 75
    noted = []

    def train(_project, _settings, *, interrupted):
        terminate()
        noted.append(interrupted())

    with monkeypatch.context() as patch:
        patch.setattr("geoforecast.train.train_model", train, raising=False)
        assert invoke(*p, "train", "stack", tiny_folder).exit_code == 75
    assert noted == [True]
    assert not (tmp_path / "p").exists()
    assert signal.getsignal(signal.SIGTERM) is handler
