"""The weight of a correction of probabilities, and the rule that makes a map of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from geoforecast.forecast.kinds import BINARY, PROBABILITIES, decided, moved_odds, pooled
from geoforecast.forecast.trust import first_evidence, weights_of
from geoforecast.models import Correction
from geoforecast.samples.features import Array
from geoforecast.train import calibrate as values
from geoforecast.train.calibrate import Calibration
from geoforecast.train.windows import Windows

THRESHOLDS = tuple(step / 20 for step in range(1, 20))
STAYS = (1.0, 0.9, 0.8, 0.7, 0.6)
MERIT = 0.25  # weight of the figure of merit beside kappa
PULLS = (0.0, 0.1, 0.2, 0.3, 0.4)

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class ClassCalibration(Calibration):
    """The same for probabilities; errors are roots of Brier scores.

    Attributes:
        decision: per lead, the rule of forecast.kinds.decided.
    """

    decision: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True)
class Window:
    """One validation window's pixels, (lead, band, y, x) each; ``moved`` has all the correction."""

    truth: Array
    reference: Array
    last: Array
    moved: Array
    known: NDArray[np.bool_]


def calibrate(model: Correction, windows: Windows, seed: int, device: torch.device) -> Calibration:
    """Score a model on the validation windows and fit the weight of its correction.

    Of values see calibrate.calibrate. Of probabilities the weight is that of a mean of both
    with the least Brier score, drawn towards 0 the fewer validation steps there are; and the
    rule that makes a map is fitted with it: the threshold of the best critical success index
    (binary), or the pair with the largest sum of Cohen's kappa and a quarter of the figure of
    merit: agreement comes first, but a map that never changes anything is none.

    Args:
        model: the correction, in evaluation mode.
        windows: the validation windows.
        seed: which windows, if there are too many.
        device: where the model is.
    """
    if windows.kind not in PROBABILITIES:
        return values.calibrate(model, windows, seed, device)
    sums = np.zeros((4, windows.horizon))  # missed^2, missed * added, added^2, n
    found = list(_windows(model, windows, seed, device))
    for window in found:
        missed, added = window.truth - window.reference, window.moved - window.reference
        r, c = (np.where(window.known, one, 0).astype(np.float64) for one in (missed, added))
        terms = [r * r, r * c, c * c, window.known]
        sums += np.stack([term.sum(axis=(1, 2, 3)) for term in terms])
    rr, rc, cc, n = sums
    evidence = first_evidence(rc, cc, n, len(windows.split.validation_steps))
    blend = weights_of(evidence)
    # A pixel has one class, but each of several bands that are 0 or 1.
    parts = 1 if windows.kind == BINARY or not found else found[0].known.shape[1]
    count = np.maximum(n / parts, 1)
    before, after = rr / count, np.maximum(rr - 2 * blend * rc + blend**2 * cc, 0) / count
    scored = rr > 0
    skill = float(np.mean(1 - after[scored] / before[scored])) if scored.any() else 0.0
    decision = tuple(
        _decision(found, lead, float(blend[lead]), windows) for lead in range(windows.horizon)
    )
    return ClassCalibration(blend, np.sqrt(before), np.sqrt(after), skill, evidence, decision)


def _windows(
    model: Correction, windows: Windows, seed: int, device: torch.device
) -> Iterator[Window]:
    with torch.inference_mode():
        for window in windows.validation(seed):
            x, target, known = windows.validation_sample(window)
            correction = model(x.to(device), windows.horizon)[0].cpu().numpy()
            truth, reference, last = target[0].unbind(1)
            base = reference.numpy()
            moved = moved_odds(base, correction, windows.kind)
            yield Window(truth.numpy(), base, last.numpy(), moved, known[0].numpy())


def _decision(
    found: Sequence[Window], lead: int, blend: float, windows: Windows
) -> tuple[float, ...]:
    """The best rule of one lead; the first of equals."""
    if windows.kind == BINARY:
        rules: list[tuple[float, ...]] = [(0.5,)]
        rules += [(threshold,) for threshold in THRESHOLDS if threshold != rules[0][0]]
    else:
        rules = [(stay, pull) for stay in STAYS for pull in PULLS]
    best, best_score = rules[0], -np.inf
    parts = []
    for window in found:
        parts.append((pooled(window.reference[lead], window.moved[lead], blend), window))
    for rule in rules:
        score = _score(parts, lead, rule, windows)
        if score > best_score + 1e-9:
            best, best_score = rule, score
    return best


def _score(
    parts: Sequence[tuple[Array, Window]], lead: int, rule: Sequence[float], windows: Windows
) -> float:
    """How good the maps of a rule are: CSI, or kappa plus figure of merit."""
    size = 2 if windows.kind == BINARY else len(windows.shares)
    table: Counts = np.zeros((size, size), dtype=np.int64)  # observed, forecast
    change = np.zeros(2)  # hits; pixels that changed or were said to
    for made, window in parts:
        chosen = decided(made, window.last[lead], windows.shares, rule, windows.kind)
        if windows.kind == BINARY:
            known = window.known[lead]
            seen, said = (window.truth[lead] >= 0.5)[known].astype(np.int64), chosen[known]
        else:
            known = window.known[lead, 0]
            seen, said = window.truth[lead].argmax(axis=0)[known], chosen[0][known]
            last = window.last[lead].argmax(axis=0)[known]
            moved = (seen != last) | (said != last)
            change += ((seen == said) & moved).sum(), moved.sum()
        table += np.bincount(seen * size + said, minlength=size**2).reshape(size, size)
    if windows.kind == BINARY:
        wanted = table[1].sum() + table[0, 1]
        return float(table[1, 1] / wanted) if wanted else 0.0
    total = max(int(table.sum()), 1)
    agreed = np.trace(table) / total
    chance = float(table.sum(axis=0) @ table.sum(axis=1)) / total**2
    kappa = (agreed - chance) / (1 - chance) if chance < 1 else 0.0
    return float(kappa + MERIT * change[0] / max(change[1], 1))
