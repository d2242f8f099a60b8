"""Losses: by hand on few pixels, blind to what is unknown, finite in value and gradient."""

import numpy as np
import pytest
import torch

from geoforecast.errors import SettingsError
from geoforecast.train.losses import find_loss, resolve_loss


def pixels(*values):
    return torch.tensor(values, dtype=torch.float32).reshape(1, 1, 1, 1, -1)


KNOWN = pixels(1, 1, 0) > 0


def test_huber_by_hand():
    # Errors 0.5 and 3: 0.5 * 0.25 and 3 - 0.5, over two pixels.
    value = find_loss("huber")(pixels(0.5, 3, 9), pixels(0, 0, np.nan), KNOWN)
    assert float(value) == pytest.approx((0.125 + 2.5) / 2)


def test_mse_by_hand():
    value = find_loss("mse")(pixels(0.5, 3, 9), pixels(0, 0, np.nan), KNOWN)
    assert float(value) == pytest.approx((0.25 + 9) / 2)


@pytest.mark.parametrize("name", ["huber", "mse"])
def test_what_is_unknown_has_no_gradient(name):
    correction = pixels(0.5, 3, 9).requires_grad_()
    find_loss(name)(correction, pixels(0, 0, np.nan), KNOWN).backward()
    gradient = correction.grad.ravel()
    assert torch.isfinite(gradient).all()
    assert gradient[2] == 0
    assert (gradient[:2] > 0).all()
    assert float(find_loss(name)(correction.detach(), pixels(0, 0, np.nan), KNOWN & False)) == 0


def test_each_kind_has_a_default_and_refuses_what_does_not_suit():
    assert resolve_loss("auto", "continuous") == "huber"
    assert resolve_loss("auto", "count") == "huber"
    assert resolve_loss("mse", "continuous") == "mse"
    with pytest.raises(SettingsError, match="--loss huber does not suit"):
        resolve_loss("huber", "none of them")
