"""The ConvLSTM layer by hand: its cell, its gradients, its memory and its precision."""

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from geoforecast.models.convlstm import ConvLSTMLayer, _PlainSteps
from geoforecast.models.lstm import cell, sequence
from geoforecast.models.lstm.sequence import Sequence

FLOAT = torch.float64


@pytest.fixture(params=[True, False], ids=["products", "convolutions"])
def products(request, monkeypatch):
    monkeypatch.setattr(sequence, "products_win", lambda: request.param)


def layer_of(kernel=3, inputs=2, hidden=3, dtype=FLOAT, shaken=0.5):
    torch.manual_seed(5)
    layer = ConvLSTMLayer(inputs, hidden, kernel, peepholes=False).to(dtype)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.add_(shaken * torch.randn(weight.shape, dtype=dtype))
    return layer


def by_torch(layer, x_TBCHW):
    step = _PlainSteps(layer)
    return torch.stack([step(x_BCHW) for x_BCHW in x_TBCHW])


def gradients(layer, made, x, towards):
    names = [x, *layer.parameters()]
    return torch.autograd.grad((made(x) * towards).sum(), names)


def stepped(gates, before, *, first=False):
    after, state = np.empty_like(before), np.empty_like(before)
    cell.forward(gates, before, after, state, first, 0, len(gates))
    return after, state


def sigmoid(x):
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x.astype(np.float64)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_cell_is_its_formula_as_far_as_numbers_reach(dtype):
    x = np.concatenate([np.linspace(-120, 120, 4001), np.linspace(-1, 1, 2001), [0.0, 1e-30]])
    rng = np.random.default_rng(0)
    gates = np.stack([rng.permutation(x) for _ in range(4)], axis=1).astype(dtype)
    before = rng.uniform(-3, 3, (len(x), 1)).astype(dtype)
    i, f, o, g = np.split(gates.copy(), 4, axis=1)
    after, state = stepped(gates, before)
    c = sigmoid(f) * before + sigmoid(i) * np.tanh(g.astype(np.float64))
    atol = 6e-7 if dtype == np.float32 else 1e-14
    np.testing.assert_allclose(after, c, rtol=0, atol=atol)
    np.testing.assert_allclose(state, sigmoid(o) * np.tanh(c), rtol=0, atol=atol)
    for found, gate in zip(np.split(gates, 4, axis=1), (i, f, o), strict=False):
        # Relative as well: small gates are not rounded to steps of the unit.
        np.testing.assert_allclose(found, sigmoid(gate), rtol=50 * atol, atol=1e-37)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("gate", range(4))
def test_a_lost_number_stays_lost(dtype, gate):
    gates = np.zeros((1, 4), dtype)
    gates[:, gate] = np.nan
    _, state = stepped(gates, np.ones((1, 1), dtype))
    assert np.isnan(state).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_infinite_gates_are_shut_or_open(dtype):
    gates = np.array([[np.inf, -np.inf, np.inf, np.inf]], dtype)
    after, state = stepped(gates, np.full((1, 1), 7, dtype))
    assert after.item() == pytest.approx(1)
    assert state.item() == pytest.approx(np.tanh(1))


@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.usefixtures("products")
def test_gradients_are_those_of_differences(recompute, steps):
    layer = layer_of()
    x = torch.randn(steps, 2, 2, 4, 3, dtype=FLOAT, requires_grad=True)
    parts = (layer.input_conv.weight, layer.state_conv.weight, layer.input_conv.bias)
    assert gradcheck(lambda *p: Sequence.apply(*p, FLOAT, recompute), (x, *parts))


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.usefixtures("products")
def test_gradients_are_those_of_torch(kernel):
    layer = layer_of(kernel)
    x = torch.randn(5, 3, 2, 8, 7, dtype=FLOAT, requires_grad=True)
    towards = torch.randn(5, 3, 3, 8, 7, dtype=FLOAT)
    ours = gradients(layer, layer, x, towards)
    theirs = gradients(layer, lambda x: by_torch(layer, x), x, towards)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.usefixtures("products")
def test_weights_learn_where_the_input_does_not():
    layer = layer_of()
    x = torch.randn(4, 2, 2, 6, 5, dtype=FLOAT)
    ours, theirs = (
        torch.autograd.grad(made(x).square().sum(), list(layer.parameters()))
        for made in (layer, lambda x: by_torch(layer, x))
    )
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("convolved", "state_error", "gradient_error"),
    [(torch.float32, 1e-6, 1e-5), (torch.bfloat16, 1e-2, 2e-2)],
    ids=["fp32", "bf16"],
)
@pytest.mark.usefixtures("products")
def test_errors_of_a_precision_stay_small(convolved, state_error, gradient_error):
    exact = layer_of(inputs=6, hidden=8, shaken=0.1)
    layer = layer_of(inputs=6, hidden=8, shaken=0.1)
    layer.load_state_dict(exact.state_dict())
    layer.float().convolved = convolved
    x = torch.randn(6, 2, 6, 20, 18, dtype=FLOAT, requires_grad=True)
    towards = torch.randn(6, 2, 8, 20, 18, dtype=FLOAT)
    low = x.detach().float().requires_grad_()
    states = layer(low)
    assert states.dtype == torch.float32
    assert (states - exact(x)).abs().max() < state_error
    theirs = gradients(exact, exact, x, towards)
    ours = gradients(layer, layer, low, towards.float())
    for one, other in zip(ours, theirs, strict=True):
        assert (one - other).abs().max() < gradient_error * other.abs().max()


@pytest.mark.usefixtures("products")
def test_a_recomputed_gate_has_the_bits_of_a_kept_one():
    layer = layer_of(dtype=torch.float32)
    x = torch.randn(4, 2, 2, 9, 8)
    found = []
    for layer.recompute in (False, True):
        made = layer(x)
        found.append((made, *torch.autograd.grad(made.square().sum(), list(layer.parameters()))))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_recomputing_keeps_less_than_half():
    layer = layer_of(inputs=4, hidden=8)
    x = torch.randn(6, 2, 4, 16, 16, dtype=FLOAT)
    kept = {}
    for layer.recompute in (False, True):
        held = {}

        def note(tensor, held=held):
            held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            layer(x)
        kept[layer.recompute] = sum(held.values())
    assert kept[True] < 0.5 * kept[False]


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_change_no_bit_of_a_cell(threads, monkeypatch):
    monkeypatch.setattr(cell, "WORTH_SPREADING", 0)
    rng = np.random.default_rng(1)
    gates = rng.normal(size=(35, 8)).astype(np.float32)
    before = rng.normal(size=(35, 2)).astype(np.float32)
    alone = gates.copy()
    after, state = stepped(alone, before)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    shared = torch.from_numpy(gates.copy())
    others = torch.zeros(35, 2), torch.zeros(35, 2)
    cell.spread(cell.forward, shared, torch.from_numpy(before), *others, first=False)
    np.testing.assert_array_equal(shared.numpy(), alone)
    np.testing.assert_array_equal(others[0].numpy(), after)
    np.testing.assert_array_equal(others[1].numpy(), state)


def test_a_sequence_may_be_forecast_again():
    layer = layer_of(dtype=torch.float32)
    x = torch.randn(3, 2, 2, 9, 8)
    with torch.inference_mode():
        assert torch.equal(layer(x), layer(x))


def test_an_image_does_not_see_its_neighbours_in_the_batch():
    layer = layer_of(dtype=torch.float32)
    x = torch.randn(3, 2, 2, 9, 8)
    assert torch.equal(layer(x)[:, :1], layer(x[:, :1]))
