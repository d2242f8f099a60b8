"""Architectures: the contract that each must meet, and ConvLSTM's own equations."""

import dataclasses

import numpy as np
import pytest
import torch

from geoforecast.errors import SettingsError
from geoforecast.models import ModelConfig, architecture_names, build_model
from geoforecast.models.convgru import ConvGRULayer
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
@pytest.mark.parametrize("shape", [(3, 1, 3), (3, 2, 4), (5, 2, 3), (1, 2, 3), (3, 4, 3)])
def test_the_halo_is_exactly_how_far_a_pixel_sees(name, shape):
    kernel, layers, steps = shape
    # Wide enough that no lead's rectified channels are all shut.
    built = shaken(model(name, kernel=kernel, layers=layers, hidden=8)).double().eval()
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
    built = shaken(model(name, peepholes=name == "convlstm"))
    built(torch.randn(1, 4, 5, 6, 6), 2).square().sum().backward()
    for label, weight in built.named_parameters():
        assert weight.grad is not None, label
        assert weight.grad.abs().sum() > 0, label


def test_the_forget_gate_begins_open():
    layer = ConvLSTMLayer(2, 3, 3, peepholes=False)
    assert layer.input_conv.bias.tolist() == [0] * 3 + [1] * 3 + [0] * 6


def convolved(weight, field):
    """A convolution with zeros around the field, pixel by pixel: no library's, and slow."""
    outputs, _, side, _ = weight.shape
    reach = side // 2
    _, height, width = field.shape
    result = np.zeros((outputs, height, width))
    for row in range(height):
        for col in range(width):
            for dy in range(-reach, reach + 1):
                for dx in range(-reach, reach + 1):
                    if 0 <= row + dy < height and 0 <= col + dx < width:
                        seen = field[:, row + dy, col + dx]
                        result[:, row, col] += weight[:, :, dy + reach, dx + reach] @ seen
    return result


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def plain_lstm(weights, inputs, hidden):
    wx, wh = (np.split(weights[f"{name}.weight"], 4) for name in ("input_conv", "state_conv"))
    bias = [part[:, None, None] for part in np.split(weights["input_conv.bias"], 4)]
    peep = weights.get("peepholes", np.zeros((3, hidden, 1, 1)))
    h = c = np.zeros((hidden, *inputs[0].shape[1:]))
    for x in inputs:
        i, f, o, g = (
            convolved(a, x) + convolved(b, h) + d for a, b, d in zip(wx, wh, bias, strict=True)
        )
        i, f = sigmoid(i + peep[0] * c), sigmoid(f + peep[1] * c)
        c = f * c + i * np.tanh(g)
        h = sigmoid(o + peep[2] * c) * np.tanh(c)
        yield h


def plain_gru(weights, inputs, hidden):
    wx = np.split(weights["input_conv.weight"], 3)
    bias = [part[:, None, None] for part in np.split(weights["input_conv.bias"], 3)]
    wz, wr = np.split(weights["gate_conv.weight"], 2)
    h = np.zeros((hidden, *inputs[0].shape[1:]))
    for x in inputs:
        from_x = [convolved(w, x) + b for w, b in zip(wx, bias, strict=True)]
        z = sigmoid(from_x[0] + convolved(wz, h))
        r = sigmoid(from_x[1] + convolved(wr, h))
        new = np.tanh(from_x[2] + convolved(weights["state_conv.weight"], r * h))
        h = (1 - z) * new + z * h
        yield h


@pytest.mark.parametrize("learning", [True, False], ids=["learning", "forecasting"])
@pytest.mark.parametrize(
    ("make", "plain"),
    [
        (lambda: ConvLSTMLayer(2, 3, 3, peepholes=False), plain_lstm),
        (lambda: ConvLSTMLayer(2, 3, 3, peepholes=True), plain_lstm),
        (lambda: ConvGRULayer(2, 3, 3), plain_gru),
    ],
    ids=["convlstm", "peepholes", "convgru"],
)
def test_cells_are_their_formulas_pixel_by_pixel(make, plain, learning):
    torch.manual_seed(3)
    layer = shaken(make()).double()
    weights = {name: weight.numpy() for name, weight in layer.state_dict().items()}
    inputs = torch.randn(4, 2, 5, 4, dtype=torch.float64)
    expected = list(plain(weights, list(inputs.numpy()), 3))
    with torch.set_grad_enabled(learning):
        found = layer(inputs[:, None]).detach()
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours[0].numpy(), theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", LEARNED)
def test_a_forecast_is_what_learning_saw(name):
    built = shaken(model(name)).double().eval()
    x = torch.randn(2, 6, 5, 9, 8, dtype=torch.float64)
    learning = built(x, 3).detach()
    with torch.inference_mode():
        forecast = built(x, 3)
    torch.testing.assert_close(forecast, learning, rtol=1e-12, atol=1e-12)


def test_a_gru_has_no_cell_to_peep_at():
    with pytest.raises(SettingsError, match="--peepholes is given for convgru"):
        model("convgru", peepholes=True)


@pytest.mark.parametrize("name", LEARNED)
def test_bfloat16_rounds_convolutions_and_nothing_else(name):
    exact, rounded = shaken(model(name)).eval(), model(name, precision="bf16").eval()
    rounded.load_state_dict(exact.state_dict())
    x = torch.randn(2, 5, 5, 8, 9)
    for learning in (True, False):
        with torch.set_grad_enabled(learning):
            one, other = exact(x, 2).detach(), rounded(x, 2).detach()
        assert other.dtype == torch.float32
        difference = (one - other).abs().max()
        assert 0 < difference < 0.03 * one.abs().max()


@pytest.mark.parametrize("name", LEARNED)
def test_what_bfloat16_learns_is_float32(name):
    built = shaken(model(name, precision="bf16"))
    built(torch.randn(1, 4, 5, 6, 6), 2).square().sum().backward()
    for label, weight in built.named_parameters():
        assert weight.dtype == weight.grad.dtype == torch.float32, label
        assert weight.grad.abs().sum() > 0, label
