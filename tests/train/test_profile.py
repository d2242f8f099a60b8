"""--profile tells where a step spends its time, and changes no bit of the training."""

import gzip
import json
import logging

import pytest

from geoforecast.train import train_model
from geoforecast.train.loop import PARTS, DivergedError, Loop

FAST = {"epochs": 2, "lookback": 3, "horizon": 2, "hidden": 4, "batch_size": 2, "patch": 16}


@pytest.mark.slow
def test_the_training_is_that_without_a_profile(make_project, wave):
    plain, told = make_project(wave, name="plain"), make_project(wave, name="told")
    train_model(plain, **FAST, members=2)
    train_model(told, **FAST, members=2, profile=True)
    for part in ("model.safetensors", "log.csv", "member2/log.csv"):
        files = [project.run_dir("default") / part for project in (plain, told)]
        assert files[0].read_bytes() == files[1].read_bytes()
    assert not (plain.run_dir("default") / "profile").exists()
    assert not (told.run_dir("default") / "member2/profile").exists()


def test_the_page_and_the_trace(make_project, wave):
    project = make_project(wave)
    train_model(project, **FAST, profile=True)
    folder = project.run_dir("default") / "profile"
    page = (folder / "summary.txt").read_text()
    lines = page.splitlines()
    assert len(lines) < 60
    assert all(len(line) <= 100 for line in lines)
    assert "convlstm: 1 x 4 channels" in page
    assert "samples a second" in page
    shares = []
    for part in PARTS:
        line = next(line for line in lines if line.split()[:1] == [part])
        assert float(line.split()[1]) > 0
        shares.append(float(line.split()[2].rstrip("%")))
    assert abs(sum(shares) - 100) < 1
    assert "Sequence" in page  # the layer's own pass
    with gzip.open(folder / "trace.json.gz", "rt") as stream:
        names = {event.get("name") for event in json.load(stream)["traceEvents"]}
    assert set(PARTS) <= names


def test_what_cannot_be_profiled_is_said(make_project, wave, caplog, monkeypatch):
    caplog.set_level(logging.WARNING)
    project = make_project(wave)
    train_model(project, **FAST, model="none", profile=True)
    assert "nothing to profile: no correction is trained" in caplog.text
    train_model(project, **FAST, model="none", profile=True)
    assert "nothing to profile: train another --run" in caplog.text
    steps = Loop.step
    failing = iter([True])

    def lost(*given):
        if next(failing, False):
            raise DivergedError("loss nan")
        return steps(*given)

    monkeypatch.setattr(Loop, "step", lost)
    train_model(project, **FAST, run="lost", profile=True)
    assert "not profiled: the first steps diverge (loss nan)" in caplog.text
    assert not (project.run_dir("lost") / "profile").exists()
