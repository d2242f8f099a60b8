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


# ---- counts and probabilities ---------------------------------------------------------------


def layers(*rows):
    """A target of three layers, each (sample, lead, band, y, x)."""
    return torch.stack([pixels(*row) for row in rows], dim=2)


def test_poisson_is_least_at_the_mean_and_finite_at_zero():
    counts = torch.tensor([0.0, 1.0, 8.0])
    level, gain = np.log(2.0), 0.5
    residual = (torch.log1p(counts) - level) / gain
    target = layers(residual.tolist(), [level] * 3, [gain] * 3)
    known = pixels(1, 1, 1) > 0

    def value(mean):
        correction = (np.log1p(mean) - level) / gain
        return float(find_loss("poisson")(pixels(*[correction] * 3), target, known))

    assert value(3.0) < min(value(2.9), value(3.1))  # 3 is the mean of 0, 1 and 8
    # By hand, for a mean of 1: 2 - (1 + y) + (1 + y) log((1 + y) / 2).
    parts = [2 - n + n * np.log(n / 2) for n in (1, 2, 9)]
    assert value(1.0) == pytest.approx(np.mean(parts), rel=1e-5)
    correction = pixels(-1e4, 0, 1e4).requires_grad_()
    find_loss("poisson")(correction, target, known).backward()
    assert torch.isfinite(correction.grad).all()


def test_binary_losses_by_hand():
    target = layers([1, 0, np.nan], [0.5, 0.5, 0.5], [0, 0, 0])
    correction = pixels(np.log(3.0), 0, 9)  # 0.75 and 0.5
    entropy = np.array([-np.log(0.75), -np.log(0.5)])
    value = find_loss("bce")(correction, target, KNOWN)
    assert float(value) == pytest.approx(entropy.mean(), rel=1e-3)
    value = find_loss("focal")(correction, target, KNOWN)
    expected = (np.array([0.25, 0.5]) ** 2 * entropy).mean()
    assert float(value) == pytest.approx(expected, rel=1e-3)


def classes(*columns):
    """(1, 1, class, 1, pixel) from one column of numbers a pixel."""
    return torch.tensor(columns, dtype=torch.float32).T.reshape(1, 1, 2, 1, -1)


def test_cross_entropy_weighs_likely_changes():
    truth, reference = classes((1, 0), (0, 1)), classes((0.75, 0.25), (0.5, 0.5))
    last, known = classes((1, 0), (1, 0)), classes((1, 1), (1, 1)) > 0
    target = torch.stack([truth, reference, last], dim=2)
    value = find_loss("cross-entropy")(torch.zeros_like(truth), target, known)
    # Weights 1 + 0.25 and 1 + 0.5, whatever came.
    expected = (1.25 * -np.log(0.75) + 1.5 * -np.log(0.5)) / 2.75
    assert float(value) == pytest.approx(expected, rel=1e-3)
    moved = classes((0, np.log(3.0)), (0, 0))  # 0.75 : 0.25 becomes even
    value = find_loss("cross-entropy")(moved, target, known)
    assert float(value) == pytest.approx(np.log(2), rel=1e-3)


@pytest.mark.parametrize("name", ["poisson", "bce", "focal", "cross-entropy"])
def test_losses_of_layers_see_known_pixels_only(name):
    target = layers([1, 0, np.nan], [0.5, 0.25, np.nan], [1, 1, np.nan])
    correction = pixels(0.5, -1, 9).requires_grad_()
    find_loss(name)(correction, target, KNOWN).backward()
    assert torch.isfinite(correction.grad).all()
    assert correction.grad.ravel()[2] == 0


def test_defaults_of_all_kinds():
    assert resolve_loss("auto", "binary") == "bce"
    assert resolve_loss("auto", "categorical") == "cross-entropy"
    assert resolve_loss("poisson", "count") == "poisson"
    for name in ("mse", "cross-entropy", "poisson"):
        with pytest.raises(SettingsError, match="does not suit binary"):
            resolve_loss(name, "binary")


@pytest.mark.parametrize(
    ("name", "three"),
    [
        ("huber", False),
        ("mse", False),
        ("poisson", True),
        ("bce", True),
        ("focal", True),
        ("cross-entropy", True),
    ],
)
def test_a_batch_in_parts_has_the_loss_and_gradient_of_the_whole(name, three):
    torch.manual_seed(2)
    shape = (5, 2, 3, 4, 6)
    target = torch.rand(5, 2, 3, *shape[2:]) if three else torch.randn(shape)
    known = torch.rand(shape) > 0.4
    known[3] = False  # a part of which nothing is known
    known[:, :, :] = known[:, :, :1]  # as classes are
    correction = torch.randn(shape, requires_grad=True)
    loss = find_loss(name)
    whole = loss(correction, target, known)
    (gradient,) = torch.autograd.grad(whole, correction)
    parts = [slice(0, 2), slice(2, 3), slice(3, 4), slice(4, 5)]
    count = loss.count(target, known)
    sums = [loss.total(correction[p], target[p], known[p]) / count for p in parts]
    torch.testing.assert_close(sum(sums), whole)
    assert sums[2] == 0
    torch.testing.assert_close(torch.autograd.grad(sum(sums), correction)[0], gradient)
