"""Losses that see only valid pixels, and which kinds of targets each suits.

A new loss is one function here, decorated with :func:`loss`: the sum over known pixels. What it
is divided by does not depend on the correction, so that a batch can be learned from in parts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, huber_loss, mse_loss

from geoforecast.errors import SettingsError
from geoforecast.forecast.kinds import EPSILON

Total = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
Count = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

AUTO = "auto"
MOST_LOG = 30.0  # of a mean: beyond, its exponential would not be finite for long
CHANGE_WEIGHT = 2.0  # of pixels that are sure to change, beside 1 of those sure to stay


def known_pixels(target: torch.Tensor, known: torch.Tensor) -> torch.Tensor:  # noqa: ARG001
    """How many values a loss is the mean of; at least 1."""
    return known.sum().clamp(min=1)


@dataclass(frozen=True)
class Loss:
    """One loss.

    Attributes:
        name: as ``--loss`` gives it.
        kinds: of targets that it suits.
        total: (correction, target, known) -> scalar, the sum over known pixels; see
            masked_huber.
        count: (target, known) -> scalar, what a sum is divided by.
    """

    name: str
    kinds: tuple[str, ...]
    total: Total
    count: Count

    def __call__(
        self, correction: torch.Tensor, target: torch.Tensor, known: torch.Tensor
    ) -> torch.Tensor:
        """The loss of a batch; 0 where nothing is known."""
        return self.total(correction, target, known) / self.count(target, known)


_LOSSES: dict[str, Loss] = {}


def loss(name: str, *kinds: str, count: Count = known_pixels) -> Callable[[Total], Total]:
    """Register a function as the loss of a name; the first of a kind is its default."""

    def register(total: Total) -> Total:
        _LOSSES[name] = Loss(name, kinds, total, count)
        return total

    return register


def resolve_loss(name: str, kind: str) -> str:
    """The loss to train with.

    Args:
        name: as asked for; ``auto`` takes the kind's default.
        kind: of the targets.
    Raises:
        SettingsError: the loss does not suit the kind.
    """
    suited = [one.name for one in _LOSSES.values() if kind in one.kinds]
    if name == AUTO:
        return suited[0]
    if name not in suited:
        raise SettingsError(
            f"--loss {name} does not suit {kind} targets.",
            remedy=f"Use --loss {' or '.join(suited)}, or another --kind.",
        )
    return name


def find_loss(name: str) -> Loss:
    """The loss of a resolved name."""
    return _LOSSES[name]


@loss("huber", "continuous", "count")
def masked_huber(
    correction: torch.Tensor, target: torch.Tensor, known: torch.Tensor
) -> torch.Tensor:
    """Huber loss (delta 1), summed over known pixels.

    Args:
        correction, target: (batch, lead, band, y, x), units of the reference's error.
        known: same shape, bool; False takes no part, in value or gradient.
    Returns:
        Scalar; 0 if nothing is known.
    """
    a, b = _cleared(known, correction, target)
    return huber_loss(a, b, reduction="sum")


@loss("mse", "continuous", "count")
def masked_mse(correction: torch.Tensor, target: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Squared error, summed over known pixels; arguments as of masked_huber."""
    a, b = _cleared(known, correction, target)
    return mse_loss(a, b, reduction="sum")


def _cleared(known: torch.Tensor, *parts: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The parts with 0 where nothing is known."""
    # Before the arithmetic: NaN times 0 is NaN, in the gradient too.
    zero = torch.zeros((), dtype=parts[0].dtype, device=parts[0].device)
    return tuple(torch.where(known, part, zero) for part in parts)


@loss("poisson", "count")
def masked_poisson(
    correction: torch.Tensor, target: torch.Tensor, known: torch.Tensor
) -> torch.Tensor:
    """Poisson deviance of 1 + count, summed over known pixels; least where the mean is right.

    Counted from 1, so that value and gradient are finite where the mean is 0.

    Args:
        correction: (batch, lead, band, y, x).
        target: (batch, lead, 3, band, y, x), see targets.with_level.
        known: as of masked_huber.
    Source:
        McCullagh & Nelder (1989), Generalized linear models, ch. 2.3 and 9.
    """
    c, residual, level, gain = _cleared(known, correction, *target.unbind(2))
    log_made = (level + gain * c).clamp(max=MOST_LOG)
    log_seen = level + gain * residual
    seen = log_seen.exp()
    deviance = log_made.exp() - seen - seen * (log_made - log_seen)
    return torch.where(known, deviance, 0.0).sum()


@loss("bce", "binary")
def masked_bce(correction: torch.Tensor, target: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy, summed over known pixels, of log-odds moved by the correction.

    Args:
        correction: (batch, lead, band, y, x) log-odds.
        target: (batch, lead, 3, band, y, x), see targets.with_odds.
        known: as of masked_huber.
    """
    return _entropy(correction, target, known).sum()


@loss("focal", "binary")
def masked_focal(
    correction: torch.Tensor, target: torch.Tensor, known: torch.Tensor
) -> torch.Tensor:
    """Focal loss (gamma 2): pixels that are easy weigh little; arguments as of masked_bce.

    Source:
        Lin et al. (2017), Focal loss for dense object detection, eq. 4.
    """
    entropy = _entropy(correction, target, known)
    likely = torch.exp(-entropy)  # of what came
    return ((1 - likely) ** 2 * entropy).sum()


def _change_weight(target: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """(batch, lead, y, x) what a pixel weighs in the cross-entropy of classes."""
    _, reference, last = _cleared(known, *target.unbind(2))
    leaves = 1 - (reference * last).sum(dim=2)
    return known.all(dim=2) * (1 + (CHANGE_WEIGHT - 1) * leaves)


def _weights_of_classes(target: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    return _change_weight(target, known).sum().clamp(min=1)


@loss("cross-entropy", "categorical", count=_weights_of_classes)
def masked_cross_entropy(
    correction: torch.Tensor, target: torch.Tensor, known: torch.Tensor
) -> torch.Tensor:
    """Cross-entropy, summed over known pixels; those that may change weigh more.

    A pixel weighs 1 where the reference holds its last class for certain, and CHANGE_WEIGHT
    where it holds any other for certain. The weight follows from what is known beforehand, not
    from what came: the latter would teach probabilities of change that are too high.

    Args:
        correction: (batch, lead, class, y, x), added to logarithms before a softmax.
        target: (batch, lead, 3, class, y, x), see targets.with_odds.
        known: as of masked_huber, the same for every class.
    """
    c, truth, reference, _ = _cleared(known, correction, *target.unbind(2))
    likely = torch.log_softmax(torch.log(reference + EPSILON) + c, dim=2)
    entropy = -(truth * likely).sum(dim=2)
    return (_change_weight(target, known) * entropy).sum()


def _entropy(correction: torch.Tensor, target: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of each pixel; 0 where nothing is known."""
    c, truth, reference, _ = _cleared(known, correction, *target.unbind(2))
    odds = torch.log(reference + EPSILON) - torch.log1p(EPSILON - reference) + c
    entropy = binary_cross_entropy_with_logits(odds, truth, reduction="none")
    return torch.where(known, entropy, 0.0)
