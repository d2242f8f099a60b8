"""The crime-grid model: shapes and parameters as published, and batch normalisation that tiles."""

import pytest
import torch

from geoforecast.models import ModelConfig, build_model
from geoforecast.models.crime_grid import CrimeGrid
from geoforecast.samples.features import channel_count
from geoforecast.settings import resolve_settings

TYPES, LOOKBACK, HEIGHT, WIDTH = 6, 6, 77, 59


def published(**changes):
    preset = resolve_settings("train", {"preset": "crime-grid"}, file_values={}, environ={})
    config = {
        "architecture": preset.model,
        "in_channels": channel_count(TYPES),
        "out_channels": TYPES,
        "hidden": preset.hidden,
        "layers": preset.layers,
        "kernel": preset.kernel,
        "peepholes": preset.peepholes,
    }
    torch.manual_seed(0)
    return build_model(ModelConfig(**{**config, **changes}))


def shaken(model):
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn(weight.shape))
    return model


def test_the_parameters_are_as_many_as_published():
    # Gates of layer 1: 4 x 32 kernels of 3 x 3 over 6 types and 32 states, with bias.
    # Scale and shift of each normalisation: 2 x 32. Gates of layer 2 over 32 and 32. The 1 x 1.
    by_hand = 4 * 32 * (9 * (6 + 32) + 1) + 64 + 4 * 32 * (9 * 64 + 1) + 64 + 32 * 6 + 6
    assert by_hand == 43904 + 64 + 73856 + 64 + 198 == 118086
    assert sum(weight.numel() for weight in published().parameters()) == by_hand


def test_the_shapes_are_as_published():
    model = shaken(published()).eval()
    x = torch.randn(2, LOOKBACK + 1, channel_count(TYPES), HEIGHT, WIDTH)
    with torch.inference_mode():
        output = model(x, 1)
    assert output.shape == (2, 1, TYPES, HEIGHT, WIDTH)
    assert output.abs().sum() > 0


def test_it_sees_the_frames_of_the_lookback_and_nothing_else():
    model = shaken(published(hidden=4)).eval()
    x = torch.randn(1, LOOKBACK + 1, channel_count(TYPES), 9, 9, requires_grad=True)
    model(x, 1).square().sum().backward()
    seen = x.grad.abs().sum(dim=(0, 3, 4)) > 0
    expected = torch.zeros_like(seen)
    expected[:LOOKBACK, :TYPES] = True
    assert (seen == expected).all()


def test_later_leads_go_on_with_the_reference_as_frames():
    model = shaken(published(hidden=4)).eval()
    x = torch.randn(1, LOOKBACK + 2, channel_count(TYPES), 9, 9)
    with torch.inference_mode():
        both = model(x, 2)
        torch.testing.assert_close(both[:, :1], model(x[:, :-1], 1))
        torch.testing.assert_close(both[:, 1:], model(x, 1))


def test_each_layer_is_normalised_before_the_next():
    model = published(hidden=4).train()
    inputs = []
    model.layers[1].register_forward_pre_hook(lambda _, args: inputs.extend(args[0]))
    model(3 + 5 * torch.randn(4, LOOKBACK + 1, channel_count(TYPES), 9, 9), 1)
    together = torch.stack(inputs).double()
    torch.testing.assert_close(
        together.mean(dim=(0, 1, 3, 4)), torch.zeros(4).double(), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(
        together.var(dim=(0, 1, 3, 4)), torch.ones(4).double(), atol=0.01, rtol=0
    )


@pytest.mark.parametrize("leads", [1, 2])
def test_in_forecasts_a_tile_is_the_whole(leads):
    model = shaken(published(hidden=4)).double()
    x = torch.randn(2, LOOKBACK + leads, channel_count(TYPES), 30, 40, dtype=torch.float64)
    model.train()(x, leads)  # so that the running statistics are not those of a new model
    model.eval()
    halo = model.halo_px(LOOKBACK + leads)
    assert halo == 1 * (2 + LOOKBACK + leads - 2)
    with torch.inference_mode():
        whole = model(x, leads)
        part = model(x[..., : 12 + halo, : 15 + halo], leads)[..., :12, :15]
    torch.testing.assert_close(part, whole[..., :12, :15], rtol=1e-10, atol=1e-12)


def test_a_new_model_corrects_nothing_in_either_mode():
    x = torch.randn(2, LOOKBACK + 1, channel_count(TYPES), 8, 9)
    for mode in (True, False):
        model = published().train(mode)
        assert isinstance(model, CrimeGrid)
        assert (model(x, 1) == 0).all()
