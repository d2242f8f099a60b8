"""A batch in pieces: every sample once, what fits, and what cannot be cut."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geoforecast.models import ModelConfig, architecture_names, build_model
from geoforecast.train import pieces as module
from geoforecast.train.pieces import kept_bytes, pieces

LEARNED = [name for name in architecture_names() if name != "none"]


def model(name="convlstm", **changes):
    config = {"hidden": 4, "layers": 2, "kernel": 3, "peepholes": False, **changes}
    return build_model(ModelConfig(name, 5, 2, **config))


SMALL = model()


@settings(deadline=None)
@given(st.integers(0, 20), st.integers(1, 4000))
def test_every_sample_is_in_one_piece(samples, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PIECE_BYTES", 100 * size)
        found = pieces(SMALL, (samples, 6, 5, 4, 4))
    assert [i for one in found for i in range(one.start, one.stop)] == list(range(samples))


def test_a_piece_holds_what_fits():
    built, shape = model(hidden=64), (3, 10, 5, 128, 128)
    size = kept_bytes(built, 128 * 128, 10)
    assert size == 4 * 10 * 128 * 128 * (5 + 64 + 2 * 7 * 64)
    assert size > 500e6 / 2  # so that one sample is a piece
    assert pieces(built, shape) == [slice(0, 1), slice(1, 2), slice(2, 3)]
    assert pieces(built, (8, 9, 5, 32, 32)) == [slice(0, 8)]


def test_gates_are_not_kept_where_one_sample_is_too_large():
    built, shape = model(hidden=64), (4, 40, 5, 128, 128)
    pieces(built, shape)
    assert all(layer.recompute for layer in built.layers)
    pieces(built, (4, 10, 5, 128, 128))
    assert not any(layer.recompute for layer in built.layers)


def test_samples_that_see_each_other_stay_together():
    assert pieces(model("crime_grid"), (9, 99, 5, 512, 512)) == [slice(0, 9)]


@pytest.mark.parametrize(
    ("name", "changes"),
    [("convlstm", {}), ("convlstm", {"peepholes": True}), ("convgru", {})],
    ids=["by hand", "by torch", "convgru"],
)
def test_what_is_kept_is_about_what_was_said(name, changes):
    built = model(name, hidden=16, **changes)
    x = torch.randn(2, 8, 5, 24, 24)
    held = {}

    def note(tensor):
        held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        built(x, 2)
    said = 2 * kept_bytes(built, 24 * 24, 8)
    assert 0.6 * said < sum(held.values()) < 1.4 * said


@pytest.mark.parametrize("name", [name for name in LEARNED if name != "crime_grid"])
def test_gradients_of_pieces_add_up_to_those_of_the_batch(name):
    torch.manual_seed(1)
    built = model(name).double()
    with torch.no_grad():
        for weight in built.parameters():
            weight.add_(0.3 * torch.randn(weight.shape))
    x = torch.randn(5, 6, 5, 8, 7, dtype=torch.float64)
    towards = torch.randn(5, 2, 2, 8, 7, dtype=torch.float64)

    def gradients(parts):
        built.zero_grad()
        for part in parts:
            (built(x[part], 2) * towards[part]).sum().backward()
        return [weight.grad.clone() for weight in built.parameters()]

    whole = gradients([slice(0, 5)])
    for one, other in zip(gradients([slice(0, 2), slice(2, 5)]), whole, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
