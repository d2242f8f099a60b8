"""Where models run, and in what precision."""

import logging

import pytest
import torch

from geoforecast.forecast import device
from geoforecast.forecast.device import pick_precision

CPU = torch.device("cpu")


@pytest.fixture
def a_gpu(monkeypatch):
    def make(*, bf16):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: bf16)
        return torch.device("cuda")

    return make


def test_the_precision_asked_for_is_taken(a_gpu):
    for name in ("fp32", "bf16"):
        assert pick_precision(name, CPU) == name
        assert pick_precision(name, a_gpu(bf16=True)) == name


def test_auto_is_bfloat16_on_gpus_that_compute_it_and_nowhere_else(a_gpu):
    assert pick_precision("auto", CPU) == "fp32"
    assert pick_precision("auto", a_gpu(bf16=False)) == "fp32"
    assert pick_precision("auto", a_gpu(bf16=True)) == "bf16"


@pytest.mark.parametrize(
    ("has", "warned"), [({"avx2": True}, True), ({"avx512_bf16": True}, False)]
)
def test_a_cpu_without_bfloat16_is_told_of(has, warned, monkeypatch, caplog):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has, raising=False)
    with caplog.at_level(logging.WARNING, device.__name__):
        pick_precision("bf16", CPU)
        pick_precision("fp32", CPU)
    assert ("slower here than fp32" in caplog.text) == warned
