"""Architectures: the contract that each must meet, and ConvLSTM's own equations."""

import dataclasses

import numpy as np
import pytest
import torch

from geoforecast.models import ModelConfig, architecture_names, build_model
from geoforecast.models.convlstm import ConvLSTMLayer

CONFIG = ModelConfig("convlstm", 5, 2, 3, 2, 3, peepholes=False)
LEARNED = [name for name in architecture_names() if name != "none"]


def model(name, **changes):
    torch.manual_seed(0)
    return build_model(dataclasses.replace(CONFIG, architecture=name, **changes))


def shaken(built):
    with torch.no_grad():
        for weight in built.parameters():
            weight.add_(0.5 * torch.randn(weight.shape))
    return built


@pytest.mark.parametrize("name", architecture_names())
def test_a_new_model_corrects_nothing(name):
    output = model(name)(torch.randn(2, 4, 5, 6, 7), 2)
    assert output.shape == (2, 2, 2, 6, 7)
    assert (output == 0).all()


@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize("shape", [(3, 1, 3), (3, 2, 4), (5, 2, 3), (1, 2, 3)])
def test_the_halo_is_exactly_how_far_a_pixel_sees(name, shape):
    kernel, layers, steps = shape
    built = shaken(model(name, kernel=kernel, layers=layers)).double()
    halo = built.halo_px(steps)
    side = 2 * halo + 5
    x = torch.randn(1, steps, 5, side, side, dtype=torch.float64, requires_grad=True)
    built(x, 2)[..., halo + 2, halo + 2].sum().backward()
    seen = np.argwhere(x.grad.abs().sum(dim=(0, 1, 2)).numpy() > 0)
    assert seen.min() == 2
    assert seen.max() == side - 3


def test_no_architecture_has_nothing_to_learn_and_sees_nothing():
    built = model("none")
    assert list(built.parameters()) == []
    assert built.halo_px(9) == 0


@pytest.mark.parametrize("name", LEARNED)
def test_every_weight_learns(name):
    built = shaken(model(name, peepholes=True))
    built(torch.randn(1, 4, 5, 6, 6), 2).square().sum().backward()
    for label, weight in built.named_parameters():
        assert weight.grad is not None, label
        assert weight.grad.abs().sum() > 0, label


def reference_layer(layer, inputs):
    """The paper's equations, one gate at a time, in float64."""
    conv, hidden = torch.nn.functional.conv2d, layer.hidden
    pad = layer.input_conv.kernel_size[0] // 2
    weights = [*layer.input_conv.weight.split(hidden), *layer.state_conv.weight.split(hidden)]
    wxi, wxf, wxo, wxc, whi, whf, who, whc = weights
    bi, bf, bo, bc = (b[:, None, None] for b in layer.input_conv.bias.split(hidden))
    wci, wcf, wco = layer.peepholes if layer.peepholes is not None else (0.0, 0.0, 0.0)
    h = c = torch.zeros(1, hidden, *inputs[0].shape[-2:], dtype=torch.float64)
    outputs = []
    for x in inputs:

        def gate(wx, wh, b, peep=0.0, x=x, h=h):
            return conv(x, wx, padding=pad) + conv(h, wh, padding=pad) + peep + b

        i = torch.sigmoid(gate(wxi, whi, bi, wci * c))
        f = torch.sigmoid(gate(wxf, whf, bf, wcf * c))
        new = f * c + i * torch.tanh(gate(wxc, whc, bc))
        o = torch.sigmoid(gate(wxo, who, bo, wco * new))  # the new cell, not the old one
        h, c = o * torch.tanh(new), new
        outputs.append(h)
    return outputs


@pytest.mark.parametrize("peepholes", [False, True])
def test_convlstm_follows_the_paper(peepholes):
    torch.manual_seed(1)
    layer = shaken(ConvLSTMLayer(2, 3, 3, peepholes=peepholes)).double()
    inputs = [torch.randn(1, 2, 5, 6, dtype=torch.float64) for _ in range(4)]
    for ours, theirs in zip(layer(inputs), reference_layer(layer, inputs), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_the_forget_gate_begins_open():
    layer = ConvLSTMLayer(2, 3, 3, peepholes=False)
    assert layer.input_conv.bias.tolist() == [0] * 3 + [1] * 3 + [0] * 6
